//! What the int8 operators share: records of output channels, the range of an output, dot products, and their checks.

use super::activation::Activation;
use super::call::{CallError, Tensor, holds};
use super::operands::{all_are, quantization};
use super::pooling::PoolParams;
use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::kernels::int8::clamp;
use crate::memory::elements;
use crate::operand::{ElementType, Operand, Quantization, Shape, Space};
use crate::quantization::{Multiplier, requantize};
use crate::step::{Step, StepError};

#[cfg(test)]
pub(crate) mod reference;

/// How many i32 a [`Channel`] takes in the constant `channels`.
pub const CHANNEL_WORDS: usize = 3;

/// What an int8 convolution or fully connected layer knows of one output channel.
///
/// In a model it is a record of three i32: bias, multiplier, shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Bias with the input's zero point folded in: `bias - input_zero_point * sum(weights of the channel)`, in units of
    /// `input_scale * weight_scale`.
    pub bias: i32,
    /// `input_scale * weight_scale / output_scale`.
    pub multiplier: Multiplier,
}

impl Channel {
    /// The record's numbers.
    #[inline(always)]
    pub const fn from_words([bias, multiplier, shift]: [i32; CHANNEL_WORDS]) -> Self {
        Self { bias, multiplier: Multiplier { multiplier, shift } }
    }

    /// The numbers that [`Channel::from_words`] reads.
    pub const fn words(self) -> [i32; CHANNEL_WORDS] {
        [self.bias, self.multiplier.multiplier, self.multiplier.shift]
    }
}

/// Zero point and clamp of an int8 output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRange {
    /// The integer that stands for 0.0.
    pub zero_point: i32,
    /// Least output, in -128..=127.
    pub activation_min: i32,
    /// Greatest output, in -128..=127 and not below `activation_min`.
    pub activation_max: i32,
}

impl OutputRange {
    /// The range that an activation fused into an operator leaves of an output: `ReLU` cuts at the integer of 0.0, `ReLU6` also at
    /// that of 6.0, `ReLU_N1_TO_1` at those of -1.0 and 1.0 (TensorFlow Lite's `CalculateActivationRangeQuantized`). `None` for leaky `ReLU`, which is no clamp.
    pub fn of(activation: Activation, quantization: Quantization) -> Option<Self> {
        let Quantization { scale, zero_point } = quantization;
        // The conversion saturates.
        let integer =
            |real: f32| zero_point.saturating_add(libm::roundf(real / scale) as i32).clamp(-128, 127);
        let (activation_min, activation_max) = match activation {
            Activation::None => (-128, 127),
            Activation::Relu => (zero_point.max(-128), 127),
            Activation::Relu6 => (zero_point.max(-128), integer(6.0)),
            Activation::ReluN1To1 => (integer(-1.0), integer(1.0)),
            Activation::LeakyRelu { .. } => return None,
        };
        Some(Self { zero_point, activation_min, activation_max })
    }

    /// Reads the clamp from the attributes `[min, max]`; `first` is the index of the first of them, for errors.
    ///
    /// # Errors
    /// [`StepError::Attribute`] if one lies outside -128..=127 or they are upside down, [`StepError::AttributeCount`] if
    /// there are not two.
    pub fn read(attributes: &[i32], first: u8, zero_point: i32) -> Result<Self, StepError> {
        let &[activation_min, activation_max] = attributes else {
            let found = first.saturating_add(attributes.len() as u8);
            return Err(StepError::AttributeCount { expected: first.saturating_add(2), found });
        };
        if !(-128..=127).contains(&activation_min) {
            return Err(StepError::Attribute { index: first, found: activation_min });
        }
        if !(activation_min..=127).contains(&activation_max) {
            return Err(StepError::Attribute { index: first.saturating_add(1), found: activation_max });
        }
        Ok(Self { zero_point, activation_min, activation_max })
    }

    /// `value` clamped to the range. The zero point is not added.
    #[inline(always)]
    pub fn clamp(self, value: i32) -> i8 {
        // Not `clamp`, which would panic for a range that is upside down.
        value.max(self.activation_min).min(self.activation_max) as i8
    }

    /// Zero point, least and greatest output, as kernels are told.
    pub const fn words(self) -> [i32; 3] {
        [self.zero_point, self.activation_min, self.activation_max]
    }

    /// Clamps `values`, of which most layers' need no clamp.
    pub(super) fn clamp_all(self, values: &mut [i8]) {
        clamp(values, [self.activation_min, self.activation_max]);
    }

    /// `accumulator` scaled, moved to the zero point and clamped.
    #[inline(always)]
    pub fn requantize(self, accumulator: i32, multiplier: Multiplier) -> i8 {
        requantize(accumulator, multiplier, self.zero_point, self.activation_min, self.activation_max)
    }
}

/// Adds to `sums` the dot products of `input` with each of `rows`, all of the same length.
///
/// Four at once read each input once for four products. Sums wrap; for a step that `check` found right they never do.
#[inline(always)]
pub(super) fn add_dots<const ROWS: usize>(input: &[i8], rows: [&[i8]; ROWS], sums: &mut [i32; ROWS]) {
    if let (&[a, b, c, d], [sum_a, sum_b, sum_c, sum_d]) = (rows.as_slice(), sums.as_mut_slice()) {
        for ((((&x, &a), &b), &c), &d) in input.iter().zip(a).zip(b).zip(c).zip(d) {
            *sum_a = sum_a.wrapping_add(product(x, a));
            *sum_b = sum_b.wrapping_add(product(x, b));
            *sum_c = sum_c.wrapping_add(product(x, c));
            *sum_d = sum_d.wrapping_add(product(x, d));
        }
    } else {
        for (sum, row) in sums.iter_mut().zip(rows) {
            for (&x, &weight) in input.iter().zip(row) {
                *sum = sum.wrapping_add(product(x, weight));
            }
        }
    }
}

/// The product of two int8 as a 16-bit by 16-bit multiplication.
#[inline(always)]
pub(super) fn product(x: i8, weight: i8) -> i32 {
    i32::from(i16::from(x)) * i32::from(i16::from(weight))
}

/// Where the weights of one output channel stand in a filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilterLayout {
    /// How many weights a channel has.
    pub(super) weights: usize,
    /// From a channel's first weight to the next channel's.
    pub(super) channel_stride: usize,
    /// From one weight of a channel to its next.
    pub(super) weight_stride: usize,
}

/// Checks that `filter` and `channels` (operands 1 and 2) are constants, that every record is in range, and that no input can
/// make an accumulator exceed 32 bits: `|bias| + 128 * sum(|weight|) <= i32::MAX` for every channel.
pub(super) fn check_channels(
    filter: &Operand,
    channels: &Operand,
    layout: FilterLayout,
    constant: &[u8],
) -> Result<(), StepError> {
    check_channels_from(filter, channels, layout, constant, 128)
}

/// [`check_channels`] of a layer whose weights meet numbers of a magnitude up to `greatest`, which is at most 255:
/// `|bias| + greatest * sum(|weight|) <= i32::MAX`.
pub(super) fn check_channels_from(
    filter: &Operand,
    channels: &Operand,
    layout: FilterLayout,
    constant: &[u8],
    greatest: u64,
) -> Result<(), StepError> {
    let filter = elements::<i8>(constant_bytes(filter, 1, constant)?)?;
    let channels = elements::<i32>(constant_bytes(channels, 2, constant)?)?;
    for (index, &words) in channels.as_chunks::<CHANNEL_WORDS>().0.iter().enumerate() {
        let Channel { bias, multiplier } = Channel::from_words(words);
        if !multiplier.is_valid() {
            return Err(StepError::Quantization { operand: 2 });
        }
        let first = index.checked_mul(layout.channel_stride).ok_or(StepError::Memory)?;
        let weights = filter.iter().skip(first).step_by(layout.weight_stride.max(1)).take(layout.weights);
        // A sum of fewer than 2^31 bytes' absolute values, times 255, fits 64 bits.
        let sum: u64 = weights.map(|weight| u64::from(weight.unsigned_abs())).sum();
        if u64::from(bias.unsigned_abs()) + greatest * sum > i32::MAX as u64 {
            return Err(StepError::Accumulator { channel: index as u32 });
        }
    }
    Ok(())
}

/// The bytes of operand `index`, which has to be a constant.
pub(super) fn constant_bytes<'a>(
    operand: &Operand,
    index: u8,
    constant: &'a [u8],
) -> Result<&'a [u8], StepError> {
    if operand.space != Space::Constant {
        return Err(StepError::Space { operand: index });
    }
    let (start, end) = operand.range().ok_or(StepError::Memory)?;
    constant.get(start..end).ok_or(StepError::Memory)
}

/// Checks that a window over an input has this output: of the shapes that do not follow from each other, one.
pub(super) fn check_window(window: &Window, input: Shape, output: Shape) -> Result<(), Tensor> {
    if input.has_zero() || input.elements().is_none() {
        return Err(Tensor::Input);
    }
    let fits = input.0[0] == output.0[0] && window.fits(input, output);
    if !fits || output.has_zero() || output.elements().is_none() {
        return Err(Tensor::Output);
    }
    Ok(())
}

/// Checks that the slices of a layer with an input, a filter, channels and an output have their shapes' elements.
pub(super) fn check_lengths(
    [input, filter, output]: [Shape; 3],
    lengths: [usize; 4],
) -> Result<(), CallError> {
    let [.., count] = output.0;
    let tensors = [Tensor::Input, Tensor::Filter, Tensor::Bias, Tensor::Output];
    let shapes = [input, filter, Shape::vector(count), output];
    for ((tensor, shape), length) in tensors.into_iter().zip(shapes).zip(lengths) {
        holds(tensor, shape, length)?;
    }
    Ok(())
}

/// The operand that a layer with an input, a filter, channels and an output has for a tensor whose shape is wrong.
pub(super) fn wrong_shape(tensor: Tensor) -> StepError {
    let operand = match tensor {
        Tensor::Input => 0,
        Tensor::Filter => 1,
        Tensor::Bias => 2,
        Tensor::Output => 3,
    };
    StepError::Shape { operand }
}

/// The shape of the constant `channels` for `count` output channels.
pub(super) fn channels_shape(count: u32) -> Shape {
    Shape([1, 1, count, CHANNEL_WORDS as u32])
}

/// How many attributes an int8 pool takes.
const POOL_ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

/// The parameters of a step that is an int8 pool, and the clamp of its output; everything about it is checked.
pub(super) fn pool(step: Step<'_>) -> Result<(PoolParams, OutputRange), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let attributes = step.attributes()?;
    Window::read(attributes)?;
    let (params, range) = pool_params(attributes, [input, output]);
    all_are(step, ElementType::I8)?;
    let (from, to) = (quantization(input, 0)?, quantization(output, 1)?);
    if from != to {
        return Err(StepError::Quantization { operand: 1 });
    }
    let clamp = [range.activation_min, range.activation_max];
    OutputRange::read(&clamp, WINDOW_ATTRIBUTES as u8, to.zero_point)?;
    let ([.., in_c], [.., out_c]) = (input.shape.0, output.shape.0);
    if in_c != out_c || check_window(&params.window, input.shape, output.shape).is_err() {
        return Err(StepError::Shape { operand: 1 });
    }
    Ok((params, range))
}

/// The parameters of an int8 pool with these attributes, which have been checked.
pub(super) fn pool_params(
    attributes: &[i32; POOL_ATTRIBUTES],
    [input, output]: [&Operand; 2],
) -> (PoolParams, OutputRange) {
    let &[ref window @ .., activation_min, activation_max] = attributes;
    let range = OutputRange { zero_point: output.quantization.zero_point, activation_min, activation_max };
    (PoolParams { window: Window::of(window), input: input.shape, output: output.shape }, range)
}
