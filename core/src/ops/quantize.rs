//! Between real numbers and int8: `quantize` and `dequantize`.

use super::operands::{has_shape, is, quantization};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Quantization};
use crate::step::{Step, StepError};

/// `output = clamp(round(input / scale) + zero_point, -128..=127)`, both of the same length; rounded to nearest with ties away
/// from zero (TensorFlow Lite's `AffineQuantize`). The quotient is an f32. NaN gives the zero point.
pub fn quantize(quantization: Quantization, input: &[f32], output: &mut [i8]) {
    for (output, &input) in output.iter_mut().zip(input) {
        *output = quantize_one(quantization, input);
    }
}

/// `output = scale * (input - zero_point)`, both of the same length.
pub fn dequantize(quantization: Quantization, input: &[i8], output: &mut [f32]) {
    for (output, &input) in output.iter_mut().zip(input) {
        *output = dequantize_one(quantization, input);
    }
}

/// One element of [`quantize`].
#[inline(always)]
pub fn quantize_one(quantization: Quantization, value: f32) -> i8 {
    // The conversion saturates, and gives 0 for NaN.
    let rounded = libm::roundf(value / quantization.scale) as i32;
    rounded.saturating_add(quantization.zero_point).clamp(-128, 127) as i8
}

/// One element of [`dequantize`].
#[inline(always)]
pub fn dequantize_one(quantization: Quantization, value: i8) -> f32 {
    quantization.scale * (i32::from(value).wrapping_sub(quantization.zero_point)) as f32
}

pub(super) fn check_quantize(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(input, 0, ElementType::F32)?;
    is(output, 1, ElementType::I8)?;
    quantization(output, 1)?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run_quantize(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let quantization = quantization(output, 1)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    quantize(quantization, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(super) fn check_dequantize(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(input, 0, ElementType::I8)?;
    is(output, 1, ElementType::F32)?;
    quantization(input, 0)?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run_dequantize(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let quantization = quantization(input, 0)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    dequantize(quantization, elements(input)?, elements_mut(output)?);
    Ok(())
}
