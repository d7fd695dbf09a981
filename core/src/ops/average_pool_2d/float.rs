//! f32 average pooling.

use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::pooling::PoolParams;
use crate::step::{Step, StepError};

/// `output = mean over the window's taps in the input`, channel by channel, as `TensorFlow` does it (and `PyTorch` with `count_include_pad=False`):
/// padding counts neither in the sum nor in the divisor. A window with no tap in the input, which only a dilated one can be, gives 0.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`. Taps are summed in row-major order, then divided by their number.
pub fn forward(params: &PoolParams, input: &[f32], output: &mut [f32]) {
    let (in_length, out_length, c) = params.lengths();
    for (input, output) in input.chunks_exact(in_length).zip(output.chunks_exact_mut(out_length)) {
        for (window, output) in params.windows().zip(output.chunks_exact_mut(c)) {
            output.fill(0.0);
            window.for_each(|pixel| {
                let taps = input.get(pixel * c..).unwrap_or_default();
                output.iter_mut().zip(taps).for_each(|(sum, &tap)| *sum += tap);
            });
            let count = window.count().max(1) as f32;
            output.iter_mut().for_each(|sum| *sum /= count);
        }
    }
}

/// Gradient of [`forward`] with respect to its input: each tap of a window gets the output's gradient divided by their number.
///
/// `grad_output` is `[N, H_out, W_out, C]`, `grad_input` `[N, H, W, C]` (overwritten). Windows are added in their order.
pub fn backward(params: &PoolParams, grad_output: &[f32], grad_input: &mut [f32]) {
    let (in_length, out_length, c) = params.lengths();
    let samples = grad_output.chunks_exact(out_length).zip(grad_input.chunks_exact_mut(in_length));
    for (grad_output, grad_input) in samples {
        grad_input.fill(0.0);
        for (window, grad_output) in params.windows().zip(grad_output.chunks_exact(c)) {
            let count = window.count().max(1) as f32;
            window.for_each(|pixel| {
                let taps = grad_input.get_mut(pixel * c..).unwrap_or_default();
                taps.iter_mut().zip(grad_output).for_each(|(tap, &grad)| *tap += grad / count);
            });
        }
    }
}

pub(in crate::ops) fn check(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, input, output, 1).map(|_| ())
}

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, input, output, 1)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(in crate::ops) fn check_grad(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, grad_input, grad_output, 0).map(|_| ())
}

pub(in crate::ops) fn run_grad(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, grad_input, grad_output, 0)?;
    let Views { reads: [grad_output], writes: [grad_input] } = memory.views([grad_output], [grad_input])?;
    backward(&params, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}
