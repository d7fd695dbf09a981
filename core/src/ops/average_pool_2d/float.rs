//! f32 average pooling.

use crate::kernels::each_isa::each_isa;
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::pooling::PoolParams;
use crate::step::{Step, StepError};

/// `output = mean over the window's taps in the input`, channel by channel, as `TensorFlow` does it (and `PyTorch` with `count_include_pad=False`):
/// padding counts neither in the sum nor in the divisor. A window with no tap in the input, which only a dilated one can be, gives 0.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`. Taps are summed in row-major order, then divided by their number.
pub fn forward(params: &PoolParams, input: &[f32], output: &mut [f32]) {
    forward_kernel(params, input, output);
}

each_isa! {
    fn forward_kernel<WIDE>(params: &'a PoolParams, input: &'a [f32], output: &'a mut [f32]) {
        let (in_length, out_length, c) = params.lengths();
        for (input, output) in pieces((input, output), [in_length, out_length]) {
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
}

/// Gradient of [`forward`] with respect to its input: each tap of a window gets the output's gradient divided by their number.
///
/// `grad_output` is `[N, H_out, W_out, C]`, `grad_input` `[N, H, W, C]` (overwritten). Windows are added in their order.
pub fn backward(params: &PoolParams, grad_output: &[f32], grad_input: &mut [f32]) {
    backward_kernel(params, grad_output, grad_input);
}

each_isa! {
    fn backward_kernel<WIDE>(params: &'a PoolParams, grad_output: &'a [f32], grad_input: &'a mut [f32]) {
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
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, input, output, 1).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, input, output, 1)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(in crate::ops) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, grad_input, grad_output, 0).map(|_| ())
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, grad_input, grad_output, 0)?;
    let Views { reads: [grad_output], writes: [grad_input] } = memory.views([grad_output], [grad_input])?;
    backward(&params, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::geometry::{Axis, Window};
    use crate::ops::pooling::tests::{
        Passes, TOLERANCE, assert_is_reference, assert_padding_alone_gives_zero, assert_steps_are_checked,
        params,
    };
    use crate::ops::test_support::{Random, assert_close};

    fn mean(taps: &[f64]) -> f64 {
        taps.iter().sum::<f64>() / taps.len() as f64
    }

    const PASSES: Passes =
        Passes { forward, backward: |params, _, grads, grad_input| backward(params, grads, grad_input) };

    #[test]
    fn output_and_gradient_are_the_reference_s() {
        assert_is_reference(&PASSES, mean, TOLERANCE);
    }

    #[test]
    fn global_pooling_is_the_mean_of_the_image() {
        let axis = |kernel| Axis { kernel, stride: 1, dilation: 1, pad_before: 0, pad_after: 0 };
        let params = params(Window { y: axis(5), x: axis(3) }, [2, 5, 3, 40]);
        let input = Random(2).values(2 * 15 * 40);
        let mut output = vec![f32::NAN; 80];
        forward(&params, &input, &mut output);
        let expected: Vec<f64> = (0..80)
            .map(|index| {
                let (sample, channel) = (index / 40, index % 40);
                let image = input[sample * 600..][..600].iter().skip(channel).step_by(40);
                image.map(|&x| f64::from(x)).sum::<f64>() / 15.0
            })
            .collect();
        assert_close("output", &output, &expected, TOLERANCE);
    }

    #[test]
    fn a_window_over_padding_alone_gives_zero() {
        assert_padding_alone_gives_zero(&PASSES);
    }

    #[test]
    fn steps_are_checked() {
        assert_steps_are_checked([5, 48], false);
    }
}
