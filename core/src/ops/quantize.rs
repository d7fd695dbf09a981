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

pub(super) fn check_quantize(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(input, 0, ElementType::F32)?;
    is(output, 1, ElementType::I8)?;
    quantization(output, 1)?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run_quantize(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let quantization = quantization(output, 1)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    quantize(quantization, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(super) fn check_dequantize(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(input, 0, ElementType::I8)?;
    is(output, 1, ElementType::F32)?;
    quantization(input, 0)?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run_dequantize(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let quantization = quantization(input, 0)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    dequantize(quantization, elements(input)?, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::int8::reference::{Case, Random, expect_operand_errors, shape};
    use super::*;

    fn case(operator: Operator, quantization: Quantization) -> Case {
        let (f32, int8) = ((ElementType::F32, None), (ElementType::I8, Some(quantization)));
        let (from, to) = if operator == Operator::Quantize { (f32, int8) } else { (int8, f32) };
        let shape = shape([1, 2, 1, 128]);
        Case::new(operator, &[]).reads(from.0, shape, from.1).writes(to.0, shape, to.1)
    }

    #[test]
    fn rounds_half_away_from_zero_and_saturates() {
        let quantization = Quantization { scale: 0.5, zero_point: -3 };
        let input = [0.0, 0.25, -0.25, 0.2499, 0.75, -0.75, 65.0, 65.25, 1e30, -62.5, -1e30, f32::NAN];
        let expected = [-3, -2, -4, -3, -1, -5, 127, 127, 127, -128, -128, -3];
        assert_eq!(input.map(|value| quantize_one(quantization, value)), expected);
        let ends = [f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, -0.0];
        assert_eq!(ends.map(|value| quantize_one(quantization, value)), [127, -128, -3, -3]);
    }

    #[test]
    fn every_int8_survives_the_way_there_and_back() {
        let all: Vec<i8> = (-128..=127).collect();
        let mut random = Random(11);
        for _ in 0..50 {
            let scale = f32::from_bits(random.range(0x3000_0000, 0x4800_0000) as u32);
            let quantization = Quantization { scale, zero_point: random.zero_point() };
            let real: Vec<f32> = case(Operator::Dequantize, quantization).run(&[&all]);
            for (&real, &x) in real.iter().zip(&all) {
                // Exact in 64 bits; rounded once.
                let exact = f64::from(scale) * f64::from(i32::from(x) - quantization.zero_point);
                assert_eq!(real.to_bits(), (exact as f32).to_bits());
            }
            let back: Vec<i8> = case(Operator::Quantize, quantization).run(&[&real]);
            assert_eq!(back, all);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        for operator in [Operator::Quantize, Operator::Dequantize] {
            let case = case(operator, Quantization { scale: 1.0, zero_point: 0 });
            expect_operand_errors(&case, &[usize::from(operator == Operator::Quantize)]);
            case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] = 127);
        }
    }
}
