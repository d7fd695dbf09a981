//! f32 maximum pooling.

use crate::kernels::channels::{columns, columns_mut, for_each_block};
use crate::kernels::each_isa::each_isa;
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::ElementType;
use crate::ops::operands::has_shape;
use crate::ops::pooling::{Covered, PoolParams};
use crate::step::{Step, StepError};

use super::index;

/// Whether `tap` takes the place of the largest value so far. Of equal values the first stays; a NaN counts as the largest, the last
/// one of several, as in `PyTorch`.
#[inline(always)]
pub(super) fn replaces(tap: f32, largest: f32) -> bool {
    tap > largest || tap.is_nan()
}

/// `output = largest of the window's taps in the input`, channel by channel. A NaN among them gives NaN. A window with no tap in the
/// input, which only a dilated one can be, gives 0.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`.
pub fn forward(params: &PoolParams, input: &[f32], output: &mut [f32]) {
    forward_kernel(params, input, output);
}

each_isa! {
    fn forward_kernel<WIDE>(params: &'a PoolParams, input: &'a [f32], output: &'a mut [f32]) {
        let (in_length, out_length, c) = params.lengths();
        for (input, output) in pieces((input, output), [in_length, out_length]) {
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
}

/// Gradient of [`forward`] with respect to its input: in each window all of the output's gradient goes to the tap that is the output,
/// the first in row-major order if several are. It is found again from the `input`.
///
/// `input` and `grad_input` (overwritten) are `[N, H, W, C]`, `grad_output` `[N, H_out, W_out, C]`. Windows are added in their order.
pub fn backward(params: &PoolParams, input: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    backward_kernel(params, input, grad_output, grad_input);
}

each_isa! {
    fn backward_kernel<WIDE>(
        params: &'a PoolParams,
        input: &'a [f32],
        grad_output: &'a [f32],
        grad_input: &'a mut [f32],
    ) {
        let (in_length, out_length, c) = params.lengths();
        let inputs = input.chunks_exact(in_length).zip(grad_input.chunks_exact_mut(in_length));
        for ((input, grad_input), grad_output) in inputs.zip(grad_output.chunks_exact(out_length)) {
            grad_input.fill(0.0);
            for (window, grad_output) in params.windows().zip(grad_output.chunks_exact(c)) {
                for_each_block!(WIDE, c, backward_block(window, c, input, grad_output, grad_input));
            }
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

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    if step.writes.len() == 2 {
        return index::check(step);
    }
    let ([input], [output]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, input, output, 1).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    if step.writes.len() == 2 {
        return index::run(step, memory);
    }
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, input, output, 1)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(in crate::ops) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    if input.element_type == ElementType::U8 {
        return index::check_grad(step);
    }
    PoolParams::read(step, input, grad_output, 1)?;
    has_shape(grad_input, 2, input.shape)
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    if input.element_type == ElementType::U8 {
        return index::run_grad(step, memory);
    }
    let params = PoolParams::read(step, input, grad_output, 1)?;
    let Views { reads: [input, grad_output], writes: [grad_input] } =
        memory.views([input, grad_output], [grad_input])?;
    backward(&params, elements(input)?, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::geometry::{Axis, Window};
    use crate::ops::pooling::tests::{
        Passes, assert_is_reference, assert_padding_alone_gives_zero, assert_steps_are_checked, params,
    };
    use crate::ops::test_support::Random;

    fn largest(taps: &[f64]) -> f64 {
        taps.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    const PASSES: Passes = Passes { forward, backward };

    #[test]
    fn output_and_gradient_are_the_reference_s() {
        assert_is_reference(&PASSES, largest, 0.0);
    }

    #[test]
    fn the_first_maximum_and_the_last_nan_win() {
        let axis = |kernel| Axis { kernel, stride: kernel, dilation: 1, pad_before: 0, pad_after: 0 };
        let params = params(Window { y: axis(1), x: axis(3) }, [1, 1, 12, 1]);
        let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
        let input = [1.0, 2.0, 2.0, nan, 5.0, nan, low, low, low, -1.0, nan, 7.0];
        let (mut output, mut grad_input) = ([0.0; 4], [9.0; 12]);
        forward(&params, &input, &mut output);
        assert!(
            output[0] == 2.0 && output[1].is_nan() && output[2] == low && output[3].is_nan(),
            "{output:?}"
        );
        backward(&params, &input, &[1.0, 2.0, 3.0, 4.0], &mut grad_input);
        assert_eq!(grad_input, [0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn a_channel_s_bits_do_not_depend_on_its_neighbours() {
        let axis = Axis { kernel: 3, stride: 2, dilation: 1, pad_before: 1, pad_after: 1 };
        let window = Window { y: axis, x: axis };
        let mut random = Random(3);
        for channels in [3, 8, 29, 70] {
            let wide = params(window, [1, 5, 5, channels]);
            let (input, grads) = (random.values(25 * channels), random.values(9 * channels));
            let mut grad_input = vec![f32::NAN; input.len()];
            backward(&wide, &input, &grads, &mut grad_input);
            let narrow = params(window, [1, 5, 5, 1]);
            for c in 0..channels {
                let column =
                    |values: &[f32]| values.iter().skip(c).step_by(channels).copied().collect::<Vec<_>>();
                let mut expected = [f32::NAN; 25];
                backward(&narrow, &column(&input), &column(&grads), &mut expected);
                assert_eq!(column(&grad_input), expected);
            }
        }
    }

    #[test]
    fn a_window_over_padding_alone_gives_zero() {
        assert_padding_alone_gives_zero(&PASSES);
    }

    #[test]
    fn steps_are_checked() {
        assert_steps_are_checked([4, 47], true);
    }
}
