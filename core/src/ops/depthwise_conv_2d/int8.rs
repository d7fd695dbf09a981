//! int8 depthwise convolution with TensorFlow Lite Micro's arithmetic.

use crate::geometry::{Taps, WINDOW_ATTRIBUTES, Window};
use crate::memory::{Memory, Views, elements, elements_mut};
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
const BLOCK: usize = 4;

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
    let DepthwiseConv2dI8 { window, input_zero_point, range, .. } = *params;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    let per_input = out_c.checked_div(in_c).unwrap_or_default();
    let samples = input.chunks_exact((in_h * in_w * in_c).max(1));
    for (input, output) in samples.zip(output.chunks_exact_mut((out_h * out_w * out_c).max(1))) {
        for (out_y, output) in output.chunks_exact_mut((out_w * out_c).max(1)).enumerate() {
            let y = window.y.taps(out_y, in_h);
            for (out_x, output) in output.chunks_exact_mut(out_c.max(1)).enumerate() {
                let x = window.x.taps(out_x, in_w);
                let padding = [input_zero_point as i8; BLOCK];
                let pixel = Pixel { window: &window, y, x, in_w, in_c, out_c, padding, input, filter, range };
                if per_input == 1 {
                    // Neighbouring output channels read neighbouring input channels: blocks of them, then the rest.
                    let (blocks, left) = output.as_chunks_mut::<BLOCK>();
                    let (records, records_left) = channels.as_chunks();
                    for (block, (output, records)) in blocks.iter_mut().zip(records).enumerate() {
                        pixel.finish(block * BLOCK, block * BLOCK, records, output);
                    }
                    let done = out_c - left.len();
                    for (c, (output, record)) in left.iter_mut().zip(records_left).enumerate() {
                        let (output, record) = (core::array::from_mut(output), core::array::from_ref(record));
                        pixel.finish(done + c, done + c, record, output);
                    }
                } else {
                    let groups = output.chunks_exact_mut(per_input.max(1));
                    let groups = groups.zip(channels.chunks_exact(per_input.max(1)));
                    for (in_c, (output, records)) in groups.enumerate() {
                        for (c, (output, record)) in output.iter_mut().zip(records).enumerate() {
                            let (output, record) =
                                (core::array::from_mut(output), core::array::from_ref(record));
                            pixel.finish(in_c, in_c * per_input + c, record, output);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// One output pixel, with all that its channels have in common.
struct Pixel<'a> {
    window: &'a Window,
    /// The taps that lie in the input.
    y: Taps,
    x: Taps,
    in_w: usize,
    in_c: usize,
    out_c: usize,
    /// What a tap in the padding reads.
    padding: [i8; BLOCK],
    input: &'a [i8],
    filter: &'a [i8],
    range: OutputRange,
}

impl Pixel<'_> {
    /// Computes `COUNT` neighbouring output channels from `out_c` on, which read as many input channels from `in_c` on.
    #[inline(always)]
    fn finish<const COUNT: usize>(
        &self,
        in_c: usize,
        out_c: usize,
        records: &[[i32; CHANNEL_WORDS]; COUNT],
        output: &mut [i8; COUNT],
    ) {
        let channels = records.map(Channel::from_words);
        let mut sums = channels.map(|channel| channel.bias);
        let mut weights = self.filter.get(out_c..).unwrap_or_default();
        let mut row = (self.y.position * self.in_w + self.x.position) * self.in_c + in_c;
        let (row_stride, pixel_stride) =
            (self.window.y.dilation * self.in_w * self.in_c, self.window.x.dilation * self.in_c);
        for k_y in 0..self.window.y.kernel {
            let y_inside = self.y.start <= k_y && k_y < self.y.end;
            let mut at = row;
            for k_x in 0..self.window.x.kernel {
                let inside = y_inside && self.x.start <= k_x && k_x < self.x.end;
                let taps = if inside {
                    let taps = self.input.get(at..).and_then(<[i8]>::first_chunk::<COUNT>);
                    at += pixel_stride;
                    taps
                } else {
                    self.padding.first_chunk::<COUNT>()
                };
                if let (Some(taps), Some(weights)) = (taps, weights.first_chunk::<COUNT>()) {
                    for (sum, (&tap, &weight)) in sums.iter_mut().zip(taps.iter().zip(weights)) {
                        *sum = sum.wrapping_add(product(tap, weight));
                    }
                }
                weights = weights.get(self.out_c..).unwrap_or_default();
            }
            if y_inside {
                row += row_stride;
            }
        }
        for ((output, sum), channel) in output.iter_mut().zip(sums).zip(channels) {
            *output = self.range.requantize(sum, channel.multiplier);
        }
    }
}

/// How many attributes the operator has.
const ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

fn params(step: &Step) -> Result<(DepthwiseConv2dI8, [&Operand; 4]), StepError> {
    let ([input, filter, channels], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ATTRIBUTES>()?;
    let (window, range) = Window::read(&step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 3)?.zero_point)?;
    let input_zero_point = quantization(input, 0)?.zero_point;
    let params =
        DepthwiseConv2dI8 { window, input: input.shape, output: output.shape, input_zero_point, range };
    Ok((params, [input, filter, channels, output]))
}

pub(in crate::ops) fn check(step: &Step, constant: &[u8]) -> Result<(), StepError> {
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

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, filter, channels, output]) = params(step)?;
    let Views { reads: [input, filter, channels], writes: [output] } =
        memory.views([input, filter, channels], [output])?;
    let channels = elements::<i32>(channels)?.as_chunks().0;
    forward(&params, elements(input)?, elements(filter)?, channels, elements_mut(output)?).map_err(unchecked)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{
        Case, Random, at, expect_clamp_errors, expect_constant_errors, expect_operand_errors, requantize,
        requantize_once, shape,
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
            let (n, in_c) = (random.size(1, 2), random.size(1, 11));
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
        let (params, _) = params(&problem.case().step).unwrap();
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
