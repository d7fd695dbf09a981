//! `prelu`: the identity for positive numbers, a learned slope for negative ones; f32 and int8.

use super::broadcast;
use super::int8::OutputRange;
use super::operands::quantization;
use crate::memory::Memory;
use crate::operand::{ElementType, Operand, Quantization, Shape};
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// `output = input >= 0 ? input : input * alpha`. Each dimension of alpha is the input's or 1; `shapes` are those of the input and of alpha.
#[doc(alias = "parametric_relu")]
pub fn forward(shapes: [Shape; 2], input: &[f32], alpha: &[f32], output: &mut [f32]) {
    broadcast::zip_slices(shapes, input, alpha, output, value);
}

#[inline(always)]
fn value(input: f32, alpha: f32) -> f32 {
    if input >= 0.0 { input } else { input * alpha }
}

fn has_input_shape(step: Step<'_>) -> Result<(), StepError> {
    let ([input, _], [output]) = (step.reads()?, step.writes()?);
    if output.shape == input.shape { Ok(()) } else { Err(StepError::Shape { operand: 1 }) }
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    step.attributes::<0>()?;
    broadcast::check(step, ElementType::F32)?;
    has_input_shape(step)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    broadcast::zip(step, memory, value)
}

/// The parameters of an int8 `prelu`: one factor for inputs from the zero point on, one for products with alpha.
///
/// Attributes, in order: multiplier and shift of the inputs, multiplier and shift of the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreluI8 {
    /// Zero points of the input and of alpha.
    pub zero_points: [i32; 2],
    /// Scale of the input to the output's.
    pub positive: Multiplier,
    /// Scale of the product of input and alpha to the output's.
    pub negative: Multiplier,
    /// Zero point of the output.
    pub zero_point: i32,
}

/// How many attributes a [`PreluI8`] takes.
const ATTRIBUTES: usize = 4;
/// The greatest left shift of a product: 16 bits and a sign, shifted so far, fit 32 bits.
const MAX_PRODUCT_SHIFT: i32 = 14;
/// The greatest left shift of an input: 8 bits and a sign, shifted so far, fit 32 bits.
const MAX_INPUT_SHIFT: i32 = 22;

impl PreluI8 {
    /// The parameters for these quantizations, as TensorFlow Lite's `Prepare` has them. `None` if a factor is too large.
    pub fn new(input: Quantization, alpha: Quantization, output: Quantization) -> Option<Self> {
        let positive = f64::from(input.scale) / f64::from(output.scale);
        let negative = f64::from(input.scale) * f64::from(alpha.scale) / f64::from(output.scale);
        Some(Self {
            zero_points: [input.zero_point, alpha.zero_point],
            positive: Multiplier::from_real(positive).filter(|factor| factor.shift <= MAX_INPUT_SHIFT)?,
            negative: Multiplier::from_real(negative).filter(|factor| factor.shift <= MAX_PRODUCT_SHIFT)?,
            zero_point: output.zero_point,
        })
    }

    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let Self { positive, negative, .. } = self;
        [positive.multiplier, positive.shift, negative.multiplier, negative.shift]
    }

    /// One element.
    #[inline(always)]
    pub fn apply(&self, input: i8, alpha: i8) -> i8 {
        let [input_zero, alpha_zero] = self.zero_points;
        let input = i32::from(input).wrapping_sub(input_zero);
        let range = OutputRange { zero_point: self.zero_point, activation_min: -128, activation_max: 127 };
        if input >= 0 {
            range.requantize(input, self.positive)
        } else {
            let alpha = i32::from(alpha).wrapping_sub(alpha_zero);
            range.requantize(input.wrapping_mul(alpha), self.negative)
        }
    }
}

fn params_i8(step: Step<'_>) -> Result<PreluI8, StepError> {
    let ([input, alpha], [output]): (&[Operand; 2], _) = (step.reads()?, step.writes()?);
    let &[positive, positive_shift, negative, negative_shift] = step.attributes::<ATTRIBUTES>()?;
    Ok(PreluI8 {
        zero_points: [quantization(input, 0)?.zero_point, quantization(alpha, 1)?.zero_point],
        positive: Multiplier { multiplier: positive, shift: positive_shift },
        negative: Multiplier { multiplier: negative, shift: negative_shift },
        zero_point: quantization(output, 2)?.zero_point,
    })
}

pub(super) fn check_i8(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let PreluI8 { positive, negative, .. } = params_i8(step)?;
    broadcast::check(step, ElementType::I8)?;
    has_input_shape(step)?;
    for (factor, most, index) in [(positive, MAX_INPUT_SHIFT, 0), (negative, MAX_PRODUCT_SHIFT, 2)] {
        if !(-31..=most).contains(&factor.shift) {
            return Err(StepError::Attribute { index: index + 1, found: factor.shift });
        }
        if !factor.is_valid() {
            return Err(StepError::Attribute { index, found: factor.multiplier });
        }
    }
    Ok(())
}

pub(super) fn run_i8(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params_i8(step)?;
    broadcast::zip(step, memory, |input, alpha| params.apply(input, alpha))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::int8::reference::{Case, Random, expect_operand_errors, requantize};
    use super::super::test_support::{changed, in_arena, run_in_arena, step};
    use super::*;

    #[test]
    fn negative_numbers_have_the_slope_of_their_channel() {
        let mut arena = std::vec![-2.0, 3.0, 4.0, -0.5, 0.5, 0.25];
        arena.resize(10, f32::NAN);
        let operands = [in_arena(0, [1, 1, 2, 2]), in_arena(4, [1, 1, 1, 2])];
        let step = step(Operator::Prelu as u8, &[], &operands, &[in_arena(6, [1, 1, 2, 2])]);
        run_in_arena(&step, &mut arena);
        assert_eq!(arena[6..], [-1.0, 3.0, 4.0, -0.125]);
        let shape = changed(&step, |step| step.reads[1].shape.0[3] = 3);
        assert_eq!(shape, Err(StepError::Shape { operand: 1 }));
        // An alpha that is larger than the input.
        let larger = changed(&step, |step| {
            step.reads[0].shape.0 = [1, 1, 1, 2];
            step.reads[1].shape.0 = [1, 1, 2, 2];
        });
        assert_eq!(larger, Err(StepError::Shape { operand: 1 }));
        let count = changed(&step, |step| step.attributes.push(0).unwrap());
        assert_eq!(count, Err(StepError::AttributeCount { expected: 0, found: 1 }));
    }

    fn case(params: &PreluI8, of: [Quantization; 3]) -> Case {
        let [input, alpha, output] = of.map(Some);
        Case::new(Operator::PreluI8, &params.attributes())
            .reads(ElementType::I8, Shape([1, 5, 3, 7]), input)
            .reads(ElementType::I8, Shape([1, 1, 1, 7]), alpha)
            .writes(ElementType::I8, Shape([1, 5, 3, 7]), output)
    }

    #[test]
    fn int8_equals_the_definition() {
        let mut random = Random(31);
        for _ in 0..200 {
            let of = [(); 3].map(|()| Quantization {
                scale: random.range(1, 2000) as f32 / 9000.0,
                zero_point: random.zero_point(),
            });
            let params = PreluI8::new(of[0], of[1], of[2]).unwrap();
            let (x, alpha) = (random.bytes(105), random.bytes(7));
            let found: Vec<i8> = case(&params, of).run(&[&x, &alpha]);
            for (index, (&x, found)) in x.iter().zip(found).enumerate() {
                let x = i64::from(x) - i64::from(of[0].zero_point);
                let alpha = i64::from(alpha[index % 7]) - i64::from(of[1].zero_point);
                let (value, factor) =
                    if x >= 0 { (x, params.positive) } else { (x * alpha, params.negative) };
                assert_eq!(found, requantize(value, factor, of[2].zero_point, [-128, 127]));
            }
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let q = Quantization { scale: 0.1, zero_point: 1 };
        let case = case(&PreluI8::new(q, q, q).unwrap(), [q; 3]);
        expect_operand_errors(&case, &[0, 1, 2]);
        for (index, found) in [(0, 1), (1, 23), (1, -32), (2, -5), (3, 15), (3, -32)] {
            case.expect(StepError::Attribute { index: index as u8, found }, |step| {
                step.attributes[index] = found;
            });
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 2);
    }
}
