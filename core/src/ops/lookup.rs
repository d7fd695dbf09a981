//! `lookup_i8`: any element-wise int8 function of one input, as a table of its 256 values. Input and output may be uint8, too.

use super::activation::Activation;
use super::int8::OutputRange;
use super::operands::{has_shape, is, quantization};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization, Shape};
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// Values of a table, one per int8; entry `x + 128` is the value at `x`. For a uint8 input, entry `x` with its greatest bit flipped.
pub const TABLE_ELEMENTS: usize = 256;

/// The table of `activation` from one quantization to another, with TensorFlow Lite Micro's arithmetic.
///
/// `None`, `Relu` and `Relu6` scale the difference from the zero point by `input scale / output scale`, as `Requantize` and
/// `ReluQuantized` do, and clamp. (`Relu6Quantized` only clamps; it has the same quantization on both sides, for which the factor
/// is exactly one.) `LeakyRelu` has two factors, one for each sign, as `QuantizeLeakyRelu` has. `None` if a factor is `2^30` or more.
pub fn table(
    activation: Activation,
    input: Quantization,
    output: Quantization,
) -> Option<[i8; TABLE_ELEMENTS]> {
    let (positive, negative, range) = if let Activation::LeakyRelu { alpha } = activation {
        // These quotients are of f32 in TensorFlow Lite Micro, unlike the other activations'.
        let positive = Multiplier::from_real(f64::from(input.scale / output.scale))?;
        let negative = Multiplier::from_real(f64::from(input.scale * alpha / output.scale))?;
        (positive, negative, OutputRange::of(Activation::None, output)?)
    } else {
        let factor = Multiplier::from_real(f64::from(input.scale) / f64::from(output.scale))?;
        (factor, factor, OutputRange::of(activation, output)?)
    };
    let mut table = [0; TABLE_ELEMENTS];
    for (entry, x) in table.iter_mut().zip(-128i32..) {
        let difference = x.saturating_sub(input.zero_point);
        *entry = range.requantize(difference, if difference >= 0 { positive } else { negative });
    }
    Some(table)
}

/// `output = table[input + 128]`, both of the same length.
pub fn forward(table: &[i8; TABLE_ELEMENTS], input: &[i8], output: &mut [i8]) {
    for (output, &input) in output.iter_mut().zip(input) {
        *output = value(table, input);
    }
}

/// `values = table[values + 128]`.
pub fn forward_in_place(table: &[i8; TABLE_ELEMENTS], values: &mut [i8]) {
    for x in values {
        *x = value(table, *x);
    }
}

#[inline(always)]
fn value(table: &[i8; TABLE_ELEMENTS], x: i8) -> i8 {
    // Flipping the sign bit adds 128. The index is below 256, so that the default is never taken and not compiled.
    table.get(usize::from(x as u8 ^ 0x80)).copied().unwrap_or_default()
}

fn operands(step: Step<'_>) -> Result<[&Operand; 3], StepError> {
    let ([input, table], [output]) = (step.reads()?, step.writes()?);
    Ok([input, table, output])
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let [input, table, output] = operands(step)?;
    step.attributes::<0>()?;
    for (index, operand) in [(0, input), (2, output)] {
        if !matches!(operand.element_type, ElementType::I8 | ElementType::U8) {
            return Err(StepError::ElementType { operand: index });
        }
    }
    is(table, 1, output.element_type)?;
    quantization(input, 0)?;
    quantization(output, 2)?;
    has_shape(table, 1, Shape::vector(TABLE_ELEMENTS as u32))?;
    has_shape(output, 2, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [input, table, output] = operands(step)?;
    let as_table = |table| <&[i8; TABLE_ELEMENTS]>::try_from(table).map_err(|_| StepError::Memory);
    if input.same_place(output) {
        let Views { reads: [table], writes: [output] } = memory.views([table], [output])?;
        forward_in_place(as_table(elements(table)?)?, elements_mut(output)?);
    } else {
        let Views { reads: [input, table], writes: [output] } = memory.views([input, table], [output])?;
        forward(as_table(elements(table)?)?, elements(input)?, elements_mut(output)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::int8::reference::{Case, Random, at, expect_operand_errors, requantize, shape};
    use super::*;

    fn case(table: &[i8; TABLE_ELEMENTS]) -> Case {
        Case::new(Operator::LookupI8, &[])
            .reads(ElementType::I8, shape([2, 1, 4, 32]), at(1))
            .constant(ElementType::I8, Shape::vector(256), table)
            .writes(ElementType::I8, shape([2, 1, 4, 32]), at(2))
    }

    #[test]
    fn looks_up_in_place_or_not() {
        let mut random = Random(12);
        let table: [i8; 256] = random.bytes(256).try_into().unwrap();
        let input: Vec<i8> = (-128..=127).collect();
        let mut case = case(&table);
        assert_eq!(case.run::<i8, i8>(&[&input]), table);
        case.step.writes[0].offset = case.step.reads[0].offset;
        assert_eq!(case.run::<i8, i8>(&[&input]), table);
    }

    #[test]
    fn tables_are_the_functions() {
        let mut random = Random(13);
        let activations = [
            Activation::None,
            Activation::Relu,
            Activation::Relu6,
            Activation::LeakyRelu { alpha: 0.3 },
            Activation::LeakyRelu { alpha: 0.0 },
        ];
        for activation in (0..40).flat_map(|_| activations) {
            let mut quantization = || Quantization {
                scale: random.range(1, 1000) as f32 / 4000.0,
                zero_point: random.zero_point(),
            };
            let (from, to) = (quantization(), quantization());
            for (found, x) in table(activation, from, to).unwrap().into_iter().zip(-128i8..=127) {
                let real = activation.apply(from.scale * (i32::from(x) - from.zero_point) as f32);
                let expected = (real / to.scale + to.zero_point as f32).clamp(-128.0, 127.0);
                // Two roundings of at most a half each, and f32's.
                assert!((f32::from(found) - expected).abs() <= 1.01, "{activation:?} {from:?} {to:?} {x}");
            }
        }
    }

    #[test]
    fn tables_round_as_tensorflow_lite_micro() {
        let from = Quantization { scale: 0.1, zero_point: 3 };
        let to = Quantization { scale: 0.07, zero_point: -20 };
        let expected = |factor: f64, x: i8, clamp| {
            requantize(i64::from(x) - 3, Multiplier::from_real(factor).unwrap(), -20, clamp)
        };
        let of_f32 = |alpha: f32| f64::from(0.1f32 * alpha / 0.07f32);
        let of_f64 = f64::from(0.1f32) / f64::from(0.07f32);
        assert_ne!(of_f32(1.0), of_f64);
        let leaky = table(Activation::LeakyRelu { alpha: 0.2 }, from, to).unwrap();
        let relu6 = table(Activation::Relu6, from, to).unwrap();
        for (x, (leaky, relu6)) in (-128i8..=127).zip(leaky.into_iter().zip(relu6)) {
            let factor = if x < 3 { of_f32(0.2) } else { of_f32(1.0) };
            assert_eq!(leaky, expected(factor, x, [-128, 127]));
            // Six is 86 steps of 0.07.
            assert_eq!(relu6, expected(of_f64, x, [-20, 66]));
        }
        // With one quantization on both sides nothing but the clamp happens.
        for (x, found) in (-128i8..=127).zip(table(Activation::Relu6, from, from).unwrap()) {
            assert_eq!(found, x.clamp(3, 63));
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = case(&[0; 256]);
        expect_operand_errors(&case, &[0, 2]);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 255);
        case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[3] = 31);
    }
}
