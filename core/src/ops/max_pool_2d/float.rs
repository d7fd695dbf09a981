//! f32 maximum pooling.

use crate::kernels::channels::{columns, columns_mut, for_each_block};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::operands::has_shape;
use crate::ops::pooling::{Covered, PoolParams};
use crate::step::{Step, StepError};

/// Whether `tap` takes the place of the largest value so far. Of equal values the first stays; a NaN counts as the largest, the last
/// one of several, as in `PyTorch`.
#[inline(always)]
fn replaces(tap: f32, largest: f32) -> bool {
    tap > largest || tap.is_nan()
}

/// `output = largest of the window's taps in the input`, channel by channel. A NaN among them gives NaN. A window with no tap in the
/// input, which only a dilated one can be, gives 0.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`.
pub fn forward(params: &PoolParams, input: &[f32], output: &mut [f32]) {
    let (in_length, out_length, c) = params.lengths();
    for (input, output) in input.chunks_exact(in_length).zip(output.chunks_exact_mut(out_length)) {
        for (window, output) in params.windows().zip(output.chunks_exact_mut(c)) {
            output.fill(if window.count() == 0 { 0.0 } else { f32::NEG_INFINITY });
            window.for_each(|pixel| {
                let taps = input.get(pixel * c..).unwrap_or_default();
                for (largest, &tap) in output.iter_mut().zip(taps) {
                    *largest = if replaces(tap, *largest) { tap } else { *largest };
                }
            });
        }
    }
}

/// Gradient of [`forward`] with respect to its input: in each window all of the output's gradient goes to the tap that is the output,
/// the first in row-major order if several are. It is found again from the `input`.
///
/// `input` and `grad_input` (overwritten) are `[N, H, W, C]`, `grad_output` `[N, H_out, W_out, C]`. Windows are added in their order.
pub fn backward(params: &PoolParams, input: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    let (in_length, out_length, c) = params.lengths();
    let inputs = input.chunks_exact(in_length).zip(grad_input.chunks_exact_mut(in_length));
    for ((input, grad_input), grad_output) in inputs.zip(grad_output.chunks_exact(out_length)) {
        grad_input.fill(0.0);
        for (window, grad_output) in params.windows().zip(grad_output.chunks_exact(c)) {
            for_each_block!(c, backward_block(window, c, input, grad_output, grad_input));
        }
    }
}

#[inline(always)]
fn backward_block<const W: usize>(
    first: usize,
    window: Covered,
    channels: usize,
    input: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
) {
    let Some(grad_output) = columns::<W>(grad_output, first) else { return };
    let mut largest = [f32::NEG_INFINITY; W];
    // If all taps are negative infinity, the first one is the output.
    let mut winners = [u32::MAX; W];
    window.for_each(|pixel| {
        let Some(taps) = columns::<W>(input, pixel * channels + first) else { return };
        for ((largest, winner), &tap) in largest.iter_mut().zip(&mut winners).zip(taps) {
            let wins = replaces(tap, *largest) || *winner == u32::MAX;
            *largest = if wins { tap } else { *largest };
            *winner = if wins { pixel as u32 } else { *winner };
        }
    });
    window.for_each(|pixel| {
        let Some(taps) = columns_mut::<W>(grad_input, pixel * channels + first) else { return };
        for ((tap, &winner), &grad) in taps.iter_mut().zip(&winners).zip(grad_output) {
            *tap = if winner == pixel as u32 { *tap + grad } else { *tap };
        }
    });
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
    let ([input, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, input, grad_output, 1)?;
    has_shape(grad_input, 2, input.shape)
}

pub(in crate::ops) fn run_grad(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, input, grad_output, 1)?;
    let Views { reads: [input, grad_output], writes: [grad_input] } =
        memory.views([input, grad_output], [grad_input])?;
    backward(&params, elements(input)?, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}
