//! int8 transposed convolution with TensorFlow Lite Micro's arithmetic.

use super::check_shapes;
use crate::geometry::{Axis, WINDOW_ATTRIBUTES, Window};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, unchecked};
use crate::ops::int8::{
    CHANNEL_WORDS, Channel, FilterLayout, OutputRange, channels_shape, check_channels_from, check_lengths,
    wrong_shape,
};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// What an int8 transposed convolution is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposeConvI8 {
    /// The window over the output; not dilated.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C_in]`.
    pub input: Shape,
    /// Shape of the output, `[N, H_out, W_out, C_out]`. [`Axis::output`] of its height and width is at least the input's.
    pub output: Shape,
    /// Taken off each input.
    pub input_zero_point: i32,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

impl TransposeConvI8 {
    /// The filter's shape, `[C_out, K_h, K_w, C_in]`.
    pub fn filter(&self) -> Shape {
        let ([.., in_c], [.., out_c]) = (self.input.0, self.output.0);
        let Window { y, x } = self.window;
        Shape([out_c, y.kernel as u32, x.kernel as u32, in_c])
    }

    fn check(&self) -> Result<(), Tensor> {
        let Window { y, x } = self.window;
        // Each tap of an undilated window with a stride meets at most one input.
        if [y.dilation, x.dilation] != [1, 1] || [y.stride, x.stride].contains(&0) {
            return Err(Tensor::Output);
        }
        check_shapes(&self.window, self.input, self.output)
    }
}

/// `output = clamp(zero_point + multiplier * (bias + sum over k_y, k_x, in_c of filter * (input - input_zero_point)))`, over the input
/// pixels with `out_y = in_y * stride_y + k_y - padding_top`, `out_x` likewise.
///
/// `filter` is `[C_out, K_h, K_w, C_in]`; `channels` has a record (see [`Channel`]) per output channel, whose bias is plain: without the
/// input's zero point, because how many taps meet an input differs from pixel to pixel. The sum is exact if
/// `|bias| + 255 * sum(|weight|)` of each channel is at most `i32::MAX`; otherwise it wraps.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
#[doc(alias = "deconvolution")]
pub fn forward(
    params: &TransposeConvI8,
    input: &[i8],
    filter: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) -> Result<(), CallError> {
    params.check().map_err(|tensor| CallError::Shape { tensor })?;
    let lengths = [input.len(), filter.len(), channels.len(), output.len()];
    check_lengths([params.input, params.filter(), params.output], lengths)?;
    let TransposeConvI8 { window: Window { y, x }, range, .. } = *params;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    let per_channel = (y.kernel * x.kernel * in_c).max(1);
    let images = input.chunks_exact((in_h * in_w * in_c).max(1));
    for (input, output) in images.zip(output.chunks_exact_mut((out_h * out_w * out_c).max(1))) {
        for (out_y, output) in output.chunks_exact_mut((out_w * out_c).max(1)).enumerate() {
            let over_height = Met::new(y, out_y, in_h);
            for (out_x, output) in output.chunks_exact_mut(out_c.max(1)).enumerate() {
                let pixel = Pixel {
                    y: over_height,
                    x: Met::new(x, out_x, in_w),
                    kernel_w: x.kernel,
                    in_w,
                    in_c,
                    zero_point: params.input_zero_point as i16,
                };
                // Four output channels at once, then what is left of them.
                let (outputs, outputs_left) = output.as_chunks_mut::<4>();
                let (blocks, channels_left) =
                    channels.split_at_checked(outputs.len() * 4).unwrap_or_default();
                let filters = filter.chunks_exact((per_channel * 4).max(1));
                for ((output, channels), filter) in outputs.iter_mut().zip(blocks.as_chunks().0).zip(filters)
                {
                    pixel.finish(input, filter, per_channel, channels, output, range);
                }
                let filters = filter.get(outputs.len() * 4 * per_channel..).unwrap_or_default();
                let left = outputs_left.iter_mut().zip(channels_left).zip(filters.chunks_exact(per_channel));
                for ((output, channel), filter) in left {
                    let (outputs, channels) = (core::array::from_mut(output), core::array::from_ref(channel));
                    pixel.finish(input, filter, per_channel, channels, outputs, range);
                }
            }
        }
    }
    Ok(())
}

/// The taps of one axis that meet an input at one output, and these inputs: the `i`-th is tap `tap + i * stride`, which meets
/// `source - i`.
#[derive(Clone, Copy)]
struct Met {
    tap: usize,
    source: usize,
    stride: usize,
    count: usize,
}

impl Met {
    fn new(axis: Axis, target: usize, sources: usize) -> Self {
        let stride = axis.stride.max(1);
        let position = target + axis.pad_before;
        // Tap `first` meets input `nearest`, if there is one; each stride further the input before it.
        let (nearest, first) = (position / stride, position % stride);
        let skipped = (nearest + 1).saturating_sub(sources);
        let end = match axis.kernel.checked_sub(first + 1) {
            Some(rest) => (rest / stride).min(nearest) + 1,
            None => 0,
        };
        let (tap, source) = (first + skipped * stride, nearest - skipped);
        Self { tap, source, stride, count: end.saturating_sub(skipped) }
    }

    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).map(move |i| (self.tap + i * self.stride, self.source - i))
    }
}

/// One output pixel.
#[derive(Clone, Copy)]
struct Pixel {
    y: Met,
    x: Met,
    kernel_w: usize,
    in_w: usize,
    in_c: usize,
    zero_point: i16,
}

impl Pixel {
    /// Computes `COUNT` neighbouring channels, whose filters of `per_channel` weights each follow each other.
    #[inline(always)]
    fn finish<const COUNT: usize>(
        &self,
        input: &[i8],
        filter: &[i8],
        per_channel: usize,
        channels: &[[i32; CHANNEL_WORDS]; COUNT],
        output: &mut [i8; COUNT],
        range: OutputRange,
    ) {
        let channels = channels.map(Channel::from_words);
        let mut sums = channels.map(|channel| channel.bias);
        for (k_y, in_y) in self.y.pairs() {
            for (k_x, in_x) in self.x.pairs() {
                let (at, tap) =
                    ((in_y * self.in_w + in_x) * self.in_c, (k_y * self.kernel_w + k_x) * self.in_c);
                let Some(values) = input.get(at..at + self.in_c) else { break };
                for (sum, filter) in sums.iter_mut().zip(filter.chunks_exact(per_channel)) {
                    let weights = filter.get(tap..tap + self.in_c).unwrap_or_default();
                    for (&value, &weight) in values.iter().zip(weights) {
                        let difference = i16::from(value).wrapping_sub(self.zero_point);
                        let product = i32::from(difference) * i32::from(i16::from(weight));
                        *sum = sum.wrapping_add(product);
                    }
                }
            }
        }
        for ((output, sum), channel) in output.iter_mut().zip(sums).zip(channels) {
            *output = range.requantize(sum, channel.multiplier);
        }
    }
}

fn params<'a>(step: Step<'a>) -> Result<(TransposeConvI8, [&'a Operand; 4]), StepError> {
    let ([input, filter, channels], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<{ WINDOW_ATTRIBUTES + 2 }>()?;
    let (window, range) = Window::read(step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 3)?.zero_point)?;
    let input_zero_point = quantization(input, 0)?.zero_point;
    let (input_shape, output_shape) = (input.shape, output.shape);
    let params =
        TransposeConvI8 { window, input: input_shape, output: output_shape, input_zero_point, range };
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
    params.check().map_err(wrong_shape)?;
    has_shape(channels, 2, channels_shape(out_c))?;
    let weights = filter.shape.elements().and_then(|all| all.checked_div(out_c as usize));
    let weights = weights.ok_or(StepError::Shape { operand: 1 })?;
    let layout = FilterLayout { weights, channel_stride: weights, weight_stride: 1 };
    // An input differs from its zero point by at most 255.
    check_channels_from(filter, channels, layout, constant, 255)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
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

    /// An axis with the lengths of its input and output. Now and then a few outputs are met by no tap.
    fn axis(random: &mut Random) -> (Axis, [usize; 2]) {
        loop {
            let (kernel, stride, input) = (random.size(1, 5), random.size(1, 4), random.size(1, 6));
            let (pad_before, pad_after) = (random.size(0, kernel - 1), random.size(0, kernel - 1));
            let axis = Axis { kernel, stride, dilation: 1, pad_before, pad_after };
            let whole = (input - 1) * stride + kernel + [0, 0, 0, 1, 5][random.size(0, 4)];
            if whole > pad_before + pad_after {
                return (axis, [input, whole - pad_before - pad_after]);
            }
        }
    }

    impl Problem {
        fn random(random: &mut Random) -> Self {
            let ((y, [in_h, out_h]), (x, [in_w, out_w])) = (axis(random), axis(random));
            let (n, in_c, out_c) = (random.size(1, 2), random.size(1, 9), random.size(1, 9));
            let weights = y.kernel * x.kernel * in_c;
            let filter = random.bytes(out_c * weights);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels = filter.chunks(weights).map(|w| random.channel(w.iter().copied(), 0)).collect();
            let clamp = random.clamp();
            let (input, output) = ([n, in_h, in_w, in_c], [n, out_h, out_w, out_c]);
            Self { window: Window { y, x }, input, output, zero_points, clamp, filter, channels }
        }

        fn case(&self) -> Case {
            let filter = [self.output[3], self.window.y.kernel, self.window.x.kernel, self.input[3]];
            let attributes = [self.window.attributes().as_slice(), &self.clamp].concat();
            Case::new(Operator::TransposeConvI8, &attributes)
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I8, shape(filter), &self.filter)
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        /// As TensorFlow Lite defines it, in 64 bits: every input adds to the outputs that its taps reach.
        fn expected(&self, input: &[i8], finish: impl Fn(i64, Multiplier, i32, [i32; 2]) -> i8) -> Vec<i8> {
            let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (self.input, self.output);
            let Window { y, x } = self.window;
            let mut sums = std::vec![0i64; self.output.iter().product()];
            for (index, &value) in input.iter().enumerate() {
                let (i, in_x) = (index % in_c, index / in_c % in_w);
                let (in_y, b) = (index / (in_c * in_w) % in_h, index / (in_c * in_w * in_h));
                for (k_y, k_x) in (0..y.kernel).flat_map(|k_y| (0..x.kernel).map(move |k_x| (k_y, k_x))) {
                    let (out_y, out_x) = (in_y * y.stride + k_y, in_x * x.stride + k_x);
                    let place = out_y.checked_sub(y.pad_before).zip(out_x.checked_sub(x.pad_before));
                    let Some((out_y, out_x)) = place.filter(|&(h, w)| h < out_h && w < out_w) else {
                        continue;
                    };
                    for c in 0..out_c {
                        let weight = self.filter[((c * y.kernel + k_y) * x.kernel + k_x) * in_c + i];
                        sums[((b * out_h + out_y) * out_w + out_x) * out_c + c] +=
                            (i64::from(value) - i64::from(self.zero_points[0])) * i64::from(weight);
                    }
                }
            }
            let finished = sums.iter().zip(self.channels.iter().cycle()).map(|(sum, channel)| {
                let sum = sum + i64::from(channel.bias);
                finish(sum, channel.multiplier, self.zero_points[1], self.clamp)
            });
            finished.collect()
        }
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(31);
        let (mut differ_if_rounded_once, mut saturated) = (0, [0, 0]);
        for _ in 0..400 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.input.iter().product());
            let found: Vec<i8> = problem.case().run(&[&input]);
            let expected = problem.expected(&input, requantize);
            assert_eq!(found, expected, "{:?} {:?} {:?}", problem.window, problem.input, problem.output);
            differ_if_rounded_once += usize::from(found != problem.expected(&input, requantize_once));
            saturated[0] += found.iter().filter(|&&value| value == -128).count();
            saturated[1] += found.iter().filter(|&&value| value == 127).count();
        }
        // The reference tells the two rules apart, and the problems reach both ends.
        assert!(differ_if_rounded_once > 0 && saturated[0] > 0 && saturated[1] > 0);
    }

    fn single(channel: Channel) -> Problem {
        Problem {
            window: Window::ONE,
            input: [1; 4],
            output: [1; 4],
            zero_points: [0; 2],
            clamp: [-128, 127],
            filter: [1].into(),
            channels: [channel].into(),
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let mut random = Random(32);
        let mut problem = Problem::random(&mut random);
        problem.window.y = Axis { kernel: 3, stride: 2, dilation: 1, pad_before: 1, pad_after: 0 };
        problem.input[1] = 4;
        problem.output[1] = 8;
        let weights = 3 * problem.window.x.kernel * problem.input[3];
        problem.filter = random.bytes(problem.output[3] * weights);
        let case = problem.case();
        expect_operand_errors(&case, &[0, 3]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        expect_constant_errors(&case, |channel| single(channel).case());
        case.expect(StepError::ZeroWindow { index: 2 }, |step| step.attributes[2] = 0);
        case.expect(StepError::Shape { operand: 3 }, |step| step.attributes[8] = 2);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[0].shape.0[0] += 1);
        // Too small for the input; a few more rows are bias.
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[0].shape.0[1] = 7);
        let mut larger = case.step.clone();
        larger.writes[0].shape.0[1] = 12;
        let constant = bytemuck::cast_slice(&case.constant);
        assert_eq!(crate::ops::check::<crate::ops::AllOperators>(larger.step(), constant), Ok(()));
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[0].shape.0[3] += 1);
    }

    #[test]
    fn the_accumulator_bound_is_exact() {
        let multiplier = Multiplier { multiplier: 1 << 30, shift: 0 };
        let bound = i32::MAX - 255;
        for (bias, fits) in [(bound, true), (-bound, true), (bound + 1, false), (-bound - 1, false)] {
            let found = single(Channel { bias, multiplier }).case().check();
            assert_eq!(found, if fits { Ok(()) } else { Err(StepError::Accumulator { channel: 0 }) });
        }
    }

    #[test]
    fn shapes_and_lengths_are_checked() {
        let problem = Problem::random(&mut Random(33));
        let (params, _) = params(problem.case().step.step()).unwrap();
        let input = std::vec![0; problem.input.iter().product()];
        let mut output = std::vec![0; problem.output.iter().product()];
        let records: Vec<_> = problem.channels.iter().map(|channel| channel.words()).collect();
        let filter = &problem.filter;
        assert_eq!(forward(&params, &input, filter, &records, &mut output), Ok(()));
        let (expected, found) = (input.len(), input.len() - 1);
        let error = Err(CallError::Length { tensor: Tensor::Input, expected, found });
        assert_eq!(forward(&params, &input[1..], filter, &records, &mut output), error);
        let mut other = params;
        other.window.y.stride = 0;
        let error = Err(CallError::Shape { tensor: Tensor::Output });
        assert_eq!(forward(&other, &input, filter, &records, &mut output), error);
    }
}
