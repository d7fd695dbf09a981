//! int8 depthwise convolution with TensorFlow Lite Micro's arithmetic.

use core::ops::Range;

use crate::geometry::{Taps, WINDOW_ATTRIBUTES, Window};
use crate::kernels::pieces::pieces;
use crate::memory::{InOut, Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, unchecked};
use crate::ops::int8::{
    CHANNEL_WORDS, Channel, FilterLayout, OutputRange, channels_shape, check_channels, check_lengths,
    check_window, product, wrong_shape,
};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// What an int8 depthwise convolution is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthwiseConv2dI8 {
    /// The window.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C_in]`.
    pub input: Shape,
    /// Shape of the output, `[N, H_out, W_out, C_out]`, where `C_out` is a multiple of `C_in`.
    pub output: Shape,
    /// What a tap in the padding reads: the input's zero point, in -128..=127.
    pub input_zero_point: i32,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

impl DepthwiseConv2dI8 {
    /// The filter's shape, `[1, K_h, K_w, C_out]`.
    pub fn filter(&self) -> Shape {
        let [.., out_c] = self.output.0;
        let Window { y, x } = self.window;
        Shape([1, y.kernel as u32, x.kernel as u32, out_c])
    }

    fn check(&self) -> Result<(), Tensor> {
        check_window(&self.window, self.input, self.output)?;
        let ([.., in_c], [.., out_c]) = (self.input.0, self.output.0);
        if out_c.checked_rem(in_c) == Some(0) { Ok(()) } else { Err(Tensor::Output) }
    }
}

/// Channels that are computed together.
const BLOCK: usize = 32;

/// `output = clamp(zero_point + multiplier * (bias + sum over k_y, k_x of filter * input))`, where output channel `c` reads input
/// channel `c / (C_out / C_in)`.
///
/// `filter` is `[1, K_h, K_w, C_out]`; `channels` has a record (see [`Channel`]) per output channel, its bias with the input's zero point
/// folded in. The sum is exact if `|bias| + 128 * sum(|weight|)` of each channel is at most `i32::MAX`.
///
/// Otherwise the sum wraps.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn forward(
    params: &DepthwiseConv2dI8,
    input: &[i8],
    filter: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) -> Result<(), CallError> {
    params.check().map_err(|tensor| CallError::Shape { tensor })?;
    let lengths = [input.len(), filter.len(), channels.len(), output.len()];
    check_lengths([params.input, params.filter(), params.output], lengths)?;
    let lengths = [params.input, params.output].map(|shape| {
        let [_, h, w, c] = shape.dims();
        h * w * c
    });
    for (input, output) in pieces((input, output), lengths) {
        by_pixels(params, &mut InOut::apart(input, output), filter, channels);
    }
    Ok(())
}

/// One sample, pixel by pixel and in each channels from the first to the last: the output may lie over the input as far as [`overlap`] says.
#[inline(never)]
fn by_pixels(
    params: &DepthwiseConv2dI8,
    both: &mut InOut<'_>,
    filter: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
) {
    let DepthwiseConv2dI8 { window, input_zero_point, range, .. } = *params;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    let mut written = 0;
    for out_y in 0..out_h {
        let y = window.y.taps(out_y, in_h);
        for out_x in 0..out_w {
            let x = window.x.taps(out_x, in_w);
            let pixel = Pixel { window: &window, y, x, in_w, in_c, out_c, padding: input_zero_point as i8 };
            let mut first = 0;
            for channels in channels.chunks(BLOCK) {
                let mut sums = [0; BLOCK];
                for (sum, &[bias, ..]) in sums.iter_mut().zip(channels) {
                    *sum = bias;
                }
                // Bytes as i8: neither conversion fails.
                let input = elements(both.input()).unwrap_or_default();
                pixel.add_channels(first..first + channels.len(), input, filter, &mut sums);
                let output = both.output().get_mut(written..written + channels.len()).unwrap_or_default();
                for ((output, sum), channel) in output.iter_mut().zip(&sums).zip(channels) {
                    *output = range.requantize(*sum, Channel::from_words(*channel).multiplier) as u8;
                }
                written += channels.len();
                first += BLOCK;
            }
        }
    }
}

/// How far the output may lie over the input, see [`crate::ops::overlap`].
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    let (params, ..) = params(step).ok()?;
    let distance = crate::ops::overlap::pixel_by_pixel(&params.window, params.input, params.output)?;
    let [.., out_c] = params.output.dims();
    // The first channels of a pixel are written before the others have read theirs.
    distance.checked_add(if out_c > BLOCK { out_c } else { 0 })
}

/// One output pixel.
struct Pixel<'a> {
    window: &'a Window,
    /// The taps that lie in the input.
    y: Taps,
    x: Taps,
    in_w: usize,
    in_c: usize,
    out_c: usize,
    /// What a tap in the padding reads.
    padding: i8,
}

impl Pixel<'_> {
    /// Adds to `sums` the products of these output channels, of which there are at most [`BLOCK`].
    ///
    /// Channels are the inner loop: what they read lies side by side.
    #[inline(never)]
    fn add_channels(&self, channels: Range<usize>, input: &[i8], filter: &[i8], sums: &mut [i32; BLOCK]) {
        let Self { window, y, x, in_w, in_c, out_c, padding } = *self;
        let mut spread = [0; BLOCK];
        let Some(spread) = spread.get_mut(..channels.len()) else { return };
        let per_input = out_c.checked_div(in_c).unwrap_or(1).max(1);
        let mut row = (y.position * in_w + x.position) * in_c;
        let mut weight = channels.start;
        for k_y in 0..window.y.kernel {
            let mut pixel = row;
            for k_x in 0..window.x.kernel {
                let weights = filter.get(weight..).unwrap_or_default();
                weight += out_c;
                if !(y.contains(k_y) && x.contains(k_x)) {
                    spread.fill(padding);
                    add_products(sums, spread, weights);
                    continue;
                }
                if per_input == 1 {
                    let taps = input.get(pixel + channels.start..pixel + channels.end).unwrap_or_default();
                    add_products(sums, taps, weights);
                } else {
                    for (tap, c) in spread.iter_mut().zip(channels.start..) {
                        *tap = input.get(pixel + c / per_input).copied().unwrap_or_default();
                    }
                    add_products(sums, spread, weights);
                }
                pixel += window.x.dilation * in_c;
            }
            if y.contains(k_y) {
                row += window.y.dilation * in_w * in_c;
            }
        }
    }
}

/// Adds to each sum the product of its tap and its weight.
#[inline(never)]
fn add_products(sums: &mut [i32; BLOCK], taps: &[i8], weights: &[i8]) {
    let weights = weights.get(..taps.len()).unwrap_or_default();
    let (taps, taps_left) = taps.as_chunks::<4>();
    let (weights, weights_left) = weights.as_chunks::<4>();
    let (sums, _) = sums.as_chunks_mut::<4>();
    for ((sums, taps), weights) in sums.iter_mut().zip(taps).zip(weights) {
        for (sum, (&tap, &weight)) in sums.iter_mut().zip(taps.iter().zip(weights)) {
            *sum = sum.wrapping_add(product(tap, weight));
        }
    }
    let left = sums.get_mut(taps.len()..).unwrap_or_default().as_flattened_mut();
    for (sum, (&tap, &weight)) in left.iter_mut().zip(taps_left.iter().zip(weights_left)) {
        *sum = sum.wrapping_add(product(tap, weight));
    }
}

/// How many attributes the operator has.
const ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

/// With the input, the filter, the channels and the output.
fn params(step: Step<'_>) -> Result<(DepthwiseConv2dI8, [&Operand; 4]), StepError> {
    let ([input, filter, channels], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ATTRIBUTES>()?;
    let (window, range) = Window::read(step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 3)?.zero_point)?;
    let input_zero_point = quantization(input, 0)?.zero_point;
    let params =
        DepthwiseConv2dI8 { window, input: input.shape, output: output.shape, input_zero_point, range };
    Ok((params, [input, filter, channels, output]))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, [input, filter, channels, output]) = params(step)?;
    is(input, 0, ElementType::I8)?;
    is(filter, 1, ElementType::I8)?;
    is(channels, 2, ElementType::I32)?;
    is(output, 3, ElementType::I8)?;
    let [.., out_c] = output.shape.0;
    has_shape(filter, 1, params.filter())?;
    has_shape(channels, 2, channels_shape(out_c))?;
    params.check().map_err(wrong_shape)?;
    let Window { y, x } = params.window;
    let weights = y.kernel.checked_mul(x.kernel).ok_or(StepError::Shape { operand: 1 })?;
    let layout = FilterLayout { weights, channel_stride: 1, weight_stride: out_c as usize };
    check_channels(filter, channels, layout, constant)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, filter, channels, output]) = params(step)?;
    let (mut both, Views { reads: [_, filter, channels], .. }) =
        memory.over([input, filter, channels], [output])?;
    let (filter, channels) = (elements(filter)?, elements::<i32>(channels)?.as_chunks().0);
    if let InOut::Apart { input, output } = both {
        return forward(&params, elements(input)?, filter, channels, elements_mut(output)?)
            .map_err(unchecked);
    }
    // One sample: more never overlap.
    by_pixels(&params, &mut both, filter, channels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{
        Case, Random, at, expect_clamp_errors, expect_constant_errors, expect_operand_errors, requantize,
        requantize_once, runs_over_its_input, shape,
    };
    use crate::quantization::Multiplier;

    struct Problem {
        window: Window,
        input: [usize; 4],
        output: [usize; 4],
        zero_points: [i32; 2],
        clamp: [i32; 2],
        filter: Vec<i8>,
        channels: Vec<Channel>,
    }

    impl Problem {
        fn random(random: &mut Random) -> Self {
            let (window, [in_h, in_w]) = random.window();
            let (n, in_c) = (random.size(1, 2), random.size(1, 40));
            let out_c = in_c * if random.size(0, 1) == 0 { 1 } else { random.size(2, 5) };
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let filter = random.bytes(window.y.kernel * window.x.kernel * out_c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels = (0..out_c)
                .map(|c| random.channel(filter.iter().skip(c).step_by(out_c).copied(), zero_points[0]))
                .collect();
            let clamp = random.clamp();
            let (input, output) = ([n, in_h, in_w, in_c], [n, out_h, out_w, out_c]);
            Self { window, input, output, zero_points, clamp, filter, channels }
        }

        fn case(&self) -> Case {
            let filter = [1, self.window.y.kernel, self.window.x.kernel, self.output[3]];
            let attributes = [self.window.attributes().as_slice(), &self.clamp].concat();
            Case::new(Operator::DepthwiseConv2dI8, &attributes)
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I8, shape(filter), &self.filter)
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        /// From the definition, in 64 bits; the input's zero point is taken off each tap, and the padding adds nothing.
        fn expected(&self, input: &[i8], finish: impl Fn(i64, Multiplier, i32, [i32; 2]) -> i8) -> Vec<i8> {
            let ([n, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (self.input, self.output);
            let Window { y, x } = self.window;
            let zero_point = i64::from(self.zero_points[0]);
            let mut output = Vec::new();
            for (b, out_y, out_x, c) in (0..n).flat_map(|b| {
                (0..out_h)
                    .flat_map(move |h| (0..out_w).flat_map(move |w| (0..out_c).map(move |c| (b, h, w, c))))
            }) {
                let mut sum = i64::from(self.channels[c].bias);
                for (k_y, k_x) in (0..y.kernel).flat_map(|h| (0..x.kernel).map(move |w| (h, w))) {
                    let weight = i64::from(self.filter[(k_y * x.kernel + k_x) * out_c + c]);
                    // The bias has the zero point folded in; this takes it out again.
                    sum += zero_point * weight;
                    if let (Some(at_y), Some(at_x)) = (y.input(out_y, k_y, in_h), x.input(out_x, k_x, in_w)) {
                        let tap = input[((b * in_h + at_y) * in_w + at_x) * in_c + c / (out_c / in_c)];
                        sum += (i64::from(tap) - zero_point) * weight;
                    }
                }
                output.push(finish(sum, self.channels[c].multiplier, self.zero_points[1], self.clamp));
            }
            output
        }
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(4);
        let (mut differ_if_rounded_once, mut saturated) = (0, [0, 0]);
        for _ in 0..600 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.input.iter().product());
            let found: Vec<i8> = problem.case().run(&[&input]);
            assert_eq!(
                found,
                problem.expected(&input, requantize),
                "{:?} {:?}",
                problem.window,
                problem.input
            );
            differ_if_rounded_once += usize::from(found != problem.expected(&input, requantize_once));
            saturated[0] += found.iter().filter(|&&value| value == -128).count();
            saturated[1] += found.iter().filter(|&&value| value == 127).count();
        }
        // The reference tells the two rules apart, and the problems reach both ends.
        assert!(differ_if_rounded_once > 0 && saturated[0] > 0 && saturated[1] > 0);
    }

    /// One pixel of three channels, of which the last one is `channel`.
    fn single(channel: Channel) -> Problem {
        let window = Window::read(&[2, 1, 1, 1, 0, 0, 0, 0, 1, 1]).unwrap().0;
        let quiet = Channel { bias: 0, multiplier: Multiplier { multiplier: 0, shift: 0 } };
        Problem {
            window,
            input: [1, 2, 1, 3],
            output: [1, 1, 1, 3],
            zero_points: [0; 2],
            clamp: [-128, 127],
            filter: [0, 0, 3, 0, 0, -4].into(),
            channels: [quiet, quiet, channel].into(),
        }
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        let mut random = Random(8);
        runs_over_its_input(&mut random, |random| {
            let problem = Problem::random(random);
            (problem.case(), shape(problem.input))
        });
    }

    #[test]
    fn check_says_what_is_wrong() {
        let mut random = Random(5);
        let case = Problem::random(&mut random).case();
        expect_operand_errors(&case, &[0, 3]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        expect_constant_errors(&case, |channel| single(channel).case());
        case.expect(StepError::ZeroWindow { index: 3 }, |step| step.attributes[3] = 0);
        for dim in 0..3 {
            case.expect(StepError::Shape { operand: 3 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] += 1);
        let multiplier = Multiplier { multiplier: 0, shift: 0 };
        let case = single(Channel { bias: 0, multiplier }).case();
        for (channels, operand) in [(0, 0), (2, 3), (6, 3)] {
            case.expect(StepError::Shape { operand }, |step| step.reads[0].shape.0[3] = channels);
        }
    }

    #[test]
    fn the_accumulator_bound_is_exact() {
        let multiplier = Multiplier { multiplier: 1 << 30, shift: 0 };
        let bound = i32::MAX - 7 * 128;
        for (bias, fits) in [(bound, true), (-bound, true), (bound + 1, false), (-bound - 1, false)] {
            let found = single(Channel { bias, multiplier }).case().check();
            assert_eq!(found, if fits { Ok(()) } else { Err(StepError::Accumulator { channel: 2 }) });
        }
    }

    #[test]
    fn shapes_and_lengths_are_checked() {
        let problem = Problem::random(&mut Random(6));
        let (params, ..) = params(problem.case().step.step()).unwrap();
        let input = std::vec![0; problem.input.iter().product()];
        let mut output = std::vec![0; problem.output.iter().product()];
        let records: Vec<_> = problem.channels.iter().map(|channel| channel.words()).collect();
        let (filter, expected) = (&problem.filter, [input.len(), problem.filter.len(), records.len()]);
        let wrong = |index: usize, tensor| {
            Err(CallError::Length { tensor, expected: expected[index], found: expected[index] - 1 })
        };
        assert_eq!(forward(&params, &input, filter, &records, &mut output), Ok(()));
        let found = forward(&params, &input[1..], filter, &records, &mut output);
        assert_eq!(found, wrong(0, Tensor::Input));
        let found = forward(&params, &input, &filter[1..], &records, &mut output);
        assert_eq!(found, wrong(1, Tensor::Filter));
        let found = forward(&params, &input, filter, &records[1..], &mut output);
        assert_eq!(found, wrong(2, Tensor::Bias));
        let mut other = params;
        other.output.0[1] += 1;
        let found = forward(&other, &input, filter, &records, &mut output);
        assert_eq!(found, Err(CallError::Shape { tensor: Tensor::Output }));
    }
}
