//! int8 fully connected layer with TensorFlow Lite Micro's arithmetic.

use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::int8::{
    CHANNEL_WORDS, Channel, FilterLayout, OutputRange, add_dots, channels_shape, check_channels,
};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// What an int8 fully connected layer is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Inputs of one sample.
    pub in_c: usize,
    /// Outputs of one sample.
    pub out_c: usize,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

/// `output = clamp(zero_point + multiplier * (bias + sum over in_c of weights * input))`.
///
/// `input` is `[N, 1, 1, C_in]`, `weights` `[C_out, 1, 1, C_in]`; `channels` has a record (see [`Channel`]) per output, its bias with the
/// input's zero point folded in. The sum is exact if `|bias| + 128 * sum(|weight|)` of each output is at most `i32::MAX`.
///
/// Otherwise the sum wraps. Slices that are shorter than they should be leave outputs unwritten; nothing panics.
#[doc(alias = "linear")]
#[doc(alias = "dense")]
pub fn forward(
    parameters: &Parameters,
    input: &[i8],
    weights: &[i8],
    channels: &[[i32; CHANNEL_WORDS]],
    output: &mut [i8],
) {
    let Parameters { in_c, out_c, range } = *parameters;
    let (in_c, out_c) = (in_c.max(1), out_c.max(1));
    for (input, output) in input.chunks_exact(in_c).zip(output.chunks_exact_mut(out_c)) {
        // Four outputs at once, then what is left of them.
        let (outputs, outputs_left) = output.as_chunks_mut::<4>();
        let blocks = outputs.iter_mut().zip(channels.as_chunks().0).zip(weights.chunks_exact(in_c * 4));
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

/// Computes `COUNT` neighbouring outputs, whose rows of weights follow each other.
#[inline(always)]
fn finish<const COUNT: usize>(
    input: &[i8],
    weights: &[i8],
    channels: &[[i32; CHANNEL_WORDS]; COUNT],
    output: &mut [i8; COUNT],
    range: OutputRange,
) {
    let channels = channels.map(Channel::from_words);
    let mut sums = channels.map(|channel| channel.bias);
    let mut rows: [&[i8]; COUNT] = [&[]; COUNT];
    for (row, weights) in rows.iter_mut().zip(weights.chunks_exact(input.len().max(1))) {
        *row = weights;
    }
    add_dots(input, rows, &mut sums);
    for ((output, sum), channel) in output.iter_mut().zip(sums).zip(channels) {
        *output = range.requantize(sum, channel.multiplier);
    }
}

fn parameters(step: &Step) -> Result<(Parameters, [&Operand; 4]), StepError> {
    let ([input, weights, channels], [output]) = (step.reads()?, step.writes()?);
    let range = OutputRange::read(step.attributes::<2>()?, 0, quantization(output, 3)?.zero_point)?;
    let ([.., in_c], [.., out_c]) = (input.shape.dims(), output.shape.dims());
    Ok((Parameters { in_c, out_c, range }, [input, weights, channels, output]))
}

pub(in crate::ops) fn check(step: &Step, constant: &[u8]) -> Result<(), StepError> {
    let (Parameters { in_c, .. }, [input, weights, channels, output]) = parameters(step)?;
    is(input, 0, ElementType::I8)?;
    is(weights, 1, ElementType::I8)?;
    is(channels, 2, ElementType::I32)?;
    is(output, 3, ElementType::I8)?;
    quantization(input, 0)?;
    let (Shape([n, _, _, inputs]), Shape([_, _, _, outputs])) = (input.shape, output.shape);
    has_shape(input, 0, Shape([n, 1, 1, inputs]))?;
    has_shape(weights, 1, Shape([outputs, 1, 1, inputs]))?;
    has_shape(channels, 2, channels_shape(outputs))?;
    has_shape(output, 3, Shape([n, 1, 1, outputs]))?;
    let layout = FilterLayout { weights: in_c, channel_stride: in_c, weight_stride: 1 };
    check_channels(weights, channels, layout, constant)
}

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (parameters, [input, weights, channels, output]) = parameters(step)?;
    let Views { reads: [input, weights, channels], writes: [output] } =
        memory.views([input, weights, channels], [output])?;
    let channels = elements::<i32>(channels)?.as_chunks().0;
    forward(&parameters, elements(input)?, elements(weights)?, channels, elements_mut(output)?);
    Ok(())
}
