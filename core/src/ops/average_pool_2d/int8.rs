//! int8 average pooling.

use crate::kernels::int8::sums::{CHANNELS, add_pixels};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::int8::{OutputRange, pool, pool_params};
use crate::ops::pooling::PoolParams;
use crate::step::{Step, StepError};

/// The most taps a window can have: the sum of so many int8, and half their number, fit 32 bits.
pub const MAX_TAPS: usize = 1 << 23;

/// `output = clamp(mean over the window's taps in the input)`, channel by channel, rounded to nearest with ties away from zero.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`; both have one scale and zero point, so that the mean is that of the
/// integers. Padding counts neither in the sum nor in the divisor. A window with no tap in the input, which only a dilated one can be,
/// gives the zero point. A window of more than [`MAX_TAPS`] taps may overflow.
///
/// Slices that are shorter than the shapes say leave outputs unwritten or sums incomplete; nothing panics.
pub fn forward(params: &PoolParams, range: OutputRange, input: &[i8], output: &mut [i8]) {
    let (_, _, c) = params.lengths();
    params.for_each_pixel(input, output, &mut |input, window, output| {
        let count = window.count() as i32;
        if count == 0 {
            output.fill(range.clamp(range.zero_point));
            return;
        }
        for (block, output) in output.chunks_mut(CHANNELS).enumerate() {
            let first = block * CHANNELS;
            let mut sums = [0i32; CHANNELS];
            let sums = sums.get_mut(..output.len()).unwrap_or_default();
            window.for_each_run(|pixel, count, step| {
                let input = input.get(pixel * c + first..).unwrap_or_default();
                add_pixels(input, step * c, count, sums);
            });
            for (output, &mut sum) in output.iter_mut().zip(sums) {
                *output = range.clamp(rounded_mean(sum, count));
            }
        }
    });
}

/// `sum / count`, rounded to nearest with ties away from zero.
#[inline(always)]
pub(super) fn rounded_mean(sum: i32, count: i32) -> i32 {
    let count = count.max(1);
    // Division rounds towards zero.
    (if sum > 0 { sum.wrapping_add(count / 2) } else { sum.wrapping_sub(count / 2) }) / count
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let (PoolParams { window, input, .. }, _) = pool(step)?;
    // Only taps in the input count.
    let [_, in_h, in_w, _] = input.dims();
    match window.y.kernel.min(in_h).checked_mul(window.x.kernel.min(in_w)) {
        Some(..=MAX_TAPS) => Ok(()),
        _ => Err(StepError::Accumulator { channel: 0 }),
    }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (attributes, [input], [output]) = step.parts()?;
    let (params, range) = pool_params(attributes, [input, output]);
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, range, elements(input)?, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::geometry::{WINDOW_ATTRIBUTES, Window};
    use crate::operand::ElementType;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{
        Case, Random, at, divide, expect_clamp_errors, expect_operand_errors, shape,
    };

    fn case(window: &Window, input: [usize; 4], zero_point: i32, clamp: [i32; 2]) -> Case {
        let [n, in_h, in_w, c] = input;
        let output = [n, window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap(), c];
        Case::new(Operator::AveragePool2dI8, &[window.attributes().as_slice(), &clamp].concat())
            .reads(ElementType::I8, shape(input), at(zero_point))
            .writes(ElementType::I8, shape(output), at(zero_point))
    }

    /// From the definition.
    fn expected(
        window: &Window,
        dims: [usize; 4],
        zero_point: i32,
        clamp: [i32; 2],
        input: &[i8],
    ) -> Vec<i8> {
        let [n, in_h, in_w, c] = dims;
        let mut output = Vec::new();
        for b in 0..n {
            for out_y in 0..window.y.output(in_h).unwrap() {
                for out_x in 0..window.x.output(in_w).unwrap() {
                    for channel in 0..c {
                        let taps =
                            (0..window.y.kernel).flat_map(|y| (0..window.x.kernel).map(move |x| (y, x)));
                        let values = taps.filter_map(|(k_y, k_x)| {
                            let y = window.y.input(out_y, k_y, in_h)?;
                            let x = window.x.input(out_x, k_x, in_w)?;
                            Some(i128::from(input[((b * in_h + y) * in_w + x) * c + channel]))
                        });
                        let (sum, count) =
                            values.fold((0, 0), |(sum, count), value| (sum + value, count + 1));
                        let mean = if count == 0 { zero_point } else { divide(sum, count) as i32 };
                        output.push(mean.clamp(clamp[0], clamp[1]) as i8);
                    }
                }
            }
        }
        output
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(10);
        let mut empty_windows = 0;
        for _ in 0..600 {
            let (window, [in_h, in_w]) = random.window();
            let dims = [random.size(1, 2), in_h, in_w, random.size(1, 19)];
            let (zero_point, clamp) = (random.zero_point(), random.clamp());
            let input = random.bytes(dims.iter().product());
            let found: Vec<i8> = case(&window, dims, zero_point, clamp).run(&[&input]);
            assert_eq!(found, expected(&window, dims, zero_point, clamp, &input), "{window:?} {dims:?}");
            let rows = 0..window.y.output(in_h).unwrap();
            empty_windows += rows.filter(|&out_y| window.y.taps(out_y, in_h).count() == 0).count();
        }
        assert!(empty_windows > 0);
    }

    #[test]
    fn ties_go_away_from_zero() {
        let (window, _) = Window::read(&[1, 2, 1, 2, 0, 0, 0, 0, 1, 1]).unwrap();
        let input: [i8; 10] = [1, 2, -1, -2, 0, -1, 127, 126, -128, -127];
        let found: Vec<i8> = case(&window, [1, 1, 10, 1], 0, [-128, 127]).run(&[&input]);
        assert_eq!(found, [2, -2, -1, 127, -128]);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let (window, _) = Window::read(&[2, 2, 2, 2, 0, 0, 0, 0, 1, 1]).unwrap();
        let case = case(&window, [1, 4, 4, 3], 5, [-128, 127]);
        expect_operand_errors(&case, &[0, 1]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        case.expect(StepError::Quantization { operand: 1 }, |step| {
            step.writes[0].quantization = at(4).unwrap();
        });
        case.expect(StepError::ZeroWindow { index: 0 }, |step| step.attributes[0] = 0);
        for dim in 0..4 {
            case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Accumulator { channel: 0 }, |step| {
            step.attributes[..2].copy_from_slice(&[4096, 4096]);
            step.reads[0].shape = shape([1, 4096, 4096, 1]);
            step.writes[0].shape = shape([1; 4]);
        });
    }
}
