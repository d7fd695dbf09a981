//! int8 fully connected layer with TensorFlow Lite Micro's arithmetic.

use crate::kernels::int8::blocks::{FAST, add_dots as add_blocks};
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, unchecked};
use crate::ops::int8::{
    CHANNEL_WORDS, Channel, FilterLayout, OutputRange, add_dots, channels_shape, check_channels,
    check_lengths, wrong_shape,
};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// What an int8 fully connected layer is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullyConnectedI8 {
    /// Shape of the input, `[N, H, W, C_in]`: each pixel is a row of its own.
    pub input: Shape,
    /// Shape of the output, `[N, H, W, C_out]`.
    pub output: Shape,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

impl FullyConnectedI8 {
    /// The weights' shape, `[C_out, 1, 1, C_in]`.
    pub fn weights(&self) -> Shape {
        let ([.., in_c], [.., out_c]) = (self.input.0, self.output.0);
        Shape([out_c, 1, 1, in_c])
    }

    pub(super) fn check(&self) -> Result<(), Tensor> {
        let (Shape([in_n, in_h, in_w, _]), Shape([out_n, out_h, out_w, _])) = (self.input, self.output);
        if self.input.has_zero() || self.input.elements().is_none() {
            return Err(Tensor::Input);
        }
        let fits = [out_n, out_h, out_w] == [in_n, in_h, in_w];
        if !fits || self.output.has_zero() || self.output.elements().is_none() {
            return Err(Tensor::Output);
        }
        Ok(())
    }
}

/// `output = clamp(zero_point + multiplier * (bias + sum over in_c of weights * input))`.
///
/// `input` is `[N, H, W, C_in]`, `weights` `[C_out, 1, 1, C_in]`; `channels` has a record (see [`Channel`]) per output, its bias with the
/// input's zero point folded in. The sum is exact if `|bias| + 128 * sum(|weight|)` of each output is at most `i32::MAX`.
///
/// Otherwise the sum wraps.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
#[doc(alias = "linear")]
#[doc(alias = "dense")]
pub fn forward(
    params: &FullyConnectedI8,
    input: &[i8],
    weights: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) -> Result<(), CallError> {
    params.check().map_err(|tensor| CallError::Shape { tensor })?;
    let lengths = [input.len(), weights.len(), channels.len(), output.len()];
    check_lengths([params.input, params.weights(), params.output], lengths)?;
    let ([.., in_c], [.., out_c]) = (params.input.dims(), params.output.dims());
    rows([in_c, out_c], params.range, input, weights, channels, output);
    Ok(())
}

/// [`forward`] of rows of `in_c` inputs to rows of `out_c` outputs. A convolution with a window of one pixel is nothing else.
#[inline(never)]
pub(in crate::ops) fn rows(
    [in_c, out_c]: [usize; 2],
    range: OutputRange,
    input: &[i8],
    weights: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) {
    let (in_c, out_c) = (in_c.max(1), out_c.max(1));
    let (mut input, mut output) = (input, output);
    if FAST {
        let whole = input.len() / in_c / 2 * 2;
        let (Some((inputs, input_left)), Some((outputs, output_left))) =
            (input.split_at_checked(whole * in_c), output.split_at_mut_checked(whole * out_c))
        else {
            return;
        };
        for (inputs, outputs) in pieces((inputs, outputs), [2 * in_c, 2 * out_c]) {
            two_rows(inputs, weights, channels, outputs, range);
        }
        (input, output) = (input_left, output_left);
    }
    for (input, output) in pieces((input, output), [in_c, out_c]) {
        // Four outputs at once, then what is left of them.
        let (outputs, outputs_left) = output.as_chunks_mut::<4>();
        let blocks =
            outputs.iter_mut().zip(channels.as_chunks().0).zip(weights.chunks_exact((in_c * 4).max(1)));
        for ((outputs, channels), weights) in blocks {
            finish(input, weights, channels, outputs, range);
        }
        let done = out_c - outputs_left.len();
        let channels = channels.get(done..).unwrap_or_default();
        let weights = weights.get(done * in_c..).unwrap_or_default();
        for ((output, channel), weights) in
            outputs_left.iter_mut().zip(channels).zip(weights.chunks_exact(in_c))
        {
            finish(input, weights, core::array::from_ref(channel), core::array::from_mut(output), range);
        }
    }
}

/// [`rows`] of two rows: two outputs of both at once, then what is left of them.
fn two_rows(
    inputs: &[i8],
    weights: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    outputs: &mut [i8],
    range: OutputRange,
) {
    let length = inputs.len() / 2;
    let (first, second) = outputs.split_at_mut(outputs.len() / 2);
    let ((first, first_left), (second, second_left)) =
        (first.as_chunks_mut::<2>(), second.as_chunks_mut::<2>());
    let blocks = weights.chunks_exact((2 * length).max(1)).zip(channels.as_chunks::<2>().0);
    for ((weights, channels), (first, second)) in blocks.zip(first.iter_mut().zip(second)) {
        let [a, b] = channels.map(Channel::from_words);
        let mut sums = [a.bias, b.bias, a.bias, b.bias];
        add_blocks(inputs, weights, &mut sums);
        let [a_sum, b_sum, c_sum, d_sum] = sums;
        *first = [range.requantize(a_sum, a.multiplier), range.requantize(b_sum, b.multiplier)];
        *second = [range.requantize(c_sum, a.multiplier), range.requantize(d_sum, b.multiplier)];
    }
    let (inputs, left) = (inputs.split_at(length), [first_left, second_left]);
    let last = (channels.last(), weights.len().checked_sub(length).and_then(|last| weights.get(last..)));
    if let (Some(channel), Some(weights)) = last {
        for (input, left) in [inputs.0, inputs.1].into_iter().zip(left) {
            if let [output] = left {
                let output = core::array::from_mut(output);
                finish(input, weights, core::array::from_ref(channel), output, range);
            }
        }
    }
}

/// Computes `COUNT` neighbouring outputs, whose rows of weights follow each other.
#[inline(always)]
fn finish<const COUNT: usize>(
    input: &[i8],
    weights: &[i8],
    channels: &[[i32; CHANNEL_WORDS]; COUNT],
    output: &mut [i8; COUNT],
    range: OutputRange,
) {
    let mut rows: [&[i8]; COUNT] = [&[]; COUNT];
    for (row, weights) in rows.iter_mut().zip(weights.chunks_exact(input.len().max(1))) {
        *row = weights;
    }
    let channels = channels.map(Channel::from_words);
    let mut sums = channels.map(|channel| channel.bias);
    add_dots(input, rows, &mut sums);
    for ((output, sum), channel) in output.iter_mut().zip(sums).zip(channels) {
        *output = range.requantize(sum, channel.multiplier);
    }
}

fn params(step: Step<'_>) -> Result<(FullyConnectedI8, [&Operand; 4]), StepError> {
    let ([input, weights, channels], [output]) = (step.reads()?, step.writes()?);
    let range = OutputRange::read(step.attributes::<2>()?, 0, quantization(output, 3)?.zero_point)?;
    Ok((
        FullyConnectedI8 { input: input.shape, output: output.shape, range },
        [input, weights, channels, output],
    ))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, [input, weights, channels, output]) = params(step)?;
    is(input, 0, ElementType::I8)?;
    is(weights, 1, ElementType::I8)?;
    is(channels, 2, ElementType::I32)?;
    is(output, 3, ElementType::I8)?;
    quantization(input, 0)?;
    let ([.., in_c], [.., out_c]) = (input.shape.dims(), output.shape.0);
    has_shape(weights, 1, params.weights())?;
    has_shape(channels, 2, channels_shape(out_c))?;
    params.check().map_err(wrong_shape)?;
    let layout = FilterLayout { weights: in_c, channel_stride: in_c, weight_stride: 1 };
    check_channels(weights, channels, layout, constant)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, weights, channels, output]) = params(step)?;
    let Views { reads: [input, weights, channels], writes: [output] } =
        memory.views([input, weights, channels], [output])?;
    let channels = elements::<i32>(channels)?.as_chunks().0;
    forward(&params, elements(input)?, elements(weights)?, channels, elements_mut(output)?).map_err(unchecked)
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
        n: usize,
        in_c: usize,
        zero_points: [i32; 2],
        clamp: [i32; 2],
        weights: Vec<i8>,
        channels: Vec<Channel>,
    }

    impl Problem {
        fn random(random: &mut Random) -> Self {
            let (n, in_c, out_c) = (random.size(1, 3), random.size(1, 70), random.size(1, 11));
            let weights = random.bytes(in_c * out_c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels =
                weights.chunks(in_c).map(|row| random.channel(row.iter().copied(), zero_points[0])).collect();
            Self { n, in_c, zero_points, clamp: random.clamp(), weights, channels }
        }

        fn case(&self) -> Case {
            let Self { n, in_c, zero_points, .. } = *self;
            let out_c = self.channels.len();
            Case::new(Operator::FullyConnectedI8, &self.clamp)
                .reads(ElementType::I8, shape([n, 1, 1, in_c]), at(zero_points[0]))
                .constant(ElementType::I8, shape([out_c, 1, 1, in_c]), &self.weights)
                .channels(&self.channels)
                .writes(ElementType::I8, shape([n, 1, 1, out_c]), at(zero_points[1]))
        }

        /// From the definition, in 64 bits.
        fn expected(&self, input: &[i8], finish: impl Fn(i64, Multiplier, i32, [i32; 2]) -> i8) -> Vec<i8> {
            let mut output = Vec::new();
            for input in input.chunks(self.in_c) {
                for (row, channel) in self.weights.chunks(self.in_c).zip(&self.channels) {
                    let sum: i64 = row.iter().zip(input).map(|(&w, &x)| i64::from(w) * i64::from(x)).sum();
                    let sum = sum + i64::from(channel.bias);
                    output.push(finish(sum, channel.multiplier, self.zero_points[1], self.clamp));
                }
            }
            output
        }
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(7);
        let (mut differ_if_rounded_once, mut saturated) = (0, [0, 0]);
        for _ in 0..400 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.n * problem.in_c);
            let found: Vec<i8> = problem.case().run(&[&input]);
            assert_eq!(found, problem.expected(&input, requantize));
            differ_if_rounded_once += usize::from(found != problem.expected(&input, requantize_once));
            saturated[0] += found.iter().filter(|&&value| value == -128).count();
            saturated[1] += found.iter().filter(|&&value| value == 127).count();
        }
        // The reference tells the two rules apart, and the problems reach both ends.
        assert!(differ_if_rounded_once > 0 && saturated[0] > 0 && saturated[1] > 0);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let mut random = Random(8);
        let case = Problem::random(&mut random).case();
        expect_operand_errors(&case, &[0, 3]);
        expect_clamp_errors(&case, 0);
        let single = |channel| Problem {
            n: 1,
            in_c: 2,
            zero_points: [0; 2],
            clamp: [-128, 127],
            weights: [3, -4].into(),
            channels: [channel].into(),
        };
        expect_constant_errors(&case, |channel| single(channel).case());
        case.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[1] = 0);
        case.expect(StepError::Shape { operand: 3 }, |step| step.reads[0].shape.0[1] = 2);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[0].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[0].shape.0[0] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[0].shape.0[2] += 1);
        let multiplier = Multiplier { multiplier: 1 << 30, shift: 0 };
        let bound = i32::MAX - 7 * 128;
        for (bias, fits) in [(bound, true), (-bound, true), (bound + 1, false), (-bound - 1, false)] {
            let found = single(Channel { bias, multiplier }).case().check();
            assert_eq!(found, if fits { Ok(()) } else { Err(StepError::Accumulator { channel: 0 }) });
        }
    }

    #[test]
    fn shapes_and_lengths_are_checked() {
        let range = OutputRange { zero_point: 0, activation_min: -128, activation_max: 127 };
        let params = FullyConnectedI8 { input: shape([1, 1, 1, 4]), output: shape([1, 1, 1, 5]), range };
        let call = |params, [input, weights, channels, output]: [usize; 4]| {
            let (input, weights, channels) =
                (std::vec![1; input], std::vec![1; weights], std::vec![[0; 3]; channels]);
            forward(&params, &input, &weights, &channels, &mut std::vec![0; output])
        };
        let right = [4, 20, 5, 5];
        assert_eq!(call(params, right), Ok(()));
        for (index, tensor) in
            [Tensor::Input, Tensor::Filter, Tensor::Bias, Tensor::Output].into_iter().enumerate()
        {
            let (mut wrong, expected) = (right, right[index]);
            wrong[index] -= 1;
            assert_eq!(call(params, wrong), Err(CallError::Length { tensor, expected, found: expected - 1 }));
        }
        let empty = FullyConnectedI8 { input: shape([1, 1, 0, 4]), ..params };
        assert_eq!(call(empty, right), Err(CallError::Shape { tensor: Tensor::Input }));
        let rows = FullyConnectedI8 { input: shape([1, 1, 2, 4]), output: shape([1, 1, 2, 5]), ..params };
        assert_eq!(call(rows, [8, 20, 5, 10]), Ok(()));
        let many = FullyConnectedI8 { output: shape([2, 1, 1, 5]), ..params };
        assert_eq!(call(many, right), Err(CallError::Shape { tensor: Tensor::Output }));
    }
}
