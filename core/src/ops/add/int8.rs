//! int8 addition and subtraction with TensorFlow Lite Micro's arithmetic.

use crate::memory::Memory;
use crate::operand::{ElementType, Quantization};
use crate::ops::activation::Activation;
use crate::ops::broadcast;
use crate::ops::int8::OutputRange;
use crate::ops::operands::quantization;
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// TensorFlow Lite's left shift of int8 operands.
pub const LEFT_SHIFT: u32 = 20;
/// The greatest left shift: two differences of int8, shifted so far, have a sum of 32 bits.
pub const MAX_LEFT_SHIFT: u32 = 22;

/// How many attributes an [`AddI8`] takes.
const ATTRIBUTES: usize = 9;

/// The parameters of an int8 addition or subtraction. Both sides are brought to one scale with [`left_shift`](Self::left_shift) more bits, added or
/// subtracted there, and brought to the output's scale.
///
/// Attributes, in order: left shift, multiplier and shift of the left side, of the right side, of the output, and the clamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddI8 {
    /// Bits that both sides are shifted left by first, at most [`MAX_LEFT_SHIFT`].
    pub left_shift: u32,
    /// Zero points of the left and the right side.
    pub zero_points: [i32; 2],
    /// Factors of the left and the right side after the left shift; no shift of theirs is to the left.
    pub multipliers: [Multiplier; 2],
    /// Factor of the sum; its shift is not to the left.
    pub output_multiplier: Multiplier,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

impl AddI8 {
    /// The parameters for these quantizations, as TensorFlow Lite's `Prepare` has them: with `s` the greater scale of both sides, their
    /// factors are `scale / 2s`, and the sum's is `2s / (2^20 * output scale)`. `None` if that one is not below one, or for a leaky `ReLU`.
    pub fn new(
        left: Quantization,
        right: Quantization,
        output: Quantization,
        activation: Activation,
    ) -> Option<Self> {
        let scales = [f64::from(left.scale), f64::from(right.scale)];
        let twice = 2.0 * scales.into_iter().fold(0.0, f64::max);
        let [left_multiplier, right_multiplier] = scales.map(|scale| Multiplier::from_real(scale / twice));
        let output_factor = twice / (f64::from(1u32 << LEFT_SHIFT) * f64::from(output.scale));
        let output_multiplier = Multiplier::from_real(output_factor).filter(|found| found.shift <= 0)?;
        Some(Self {
            left_shift: LEFT_SHIFT,
            zero_points: [left.zero_point, right.zero_point],
            multipliers: [left_multiplier?, right_multiplier?],
            output_multiplier,
            range: OutputRange::of(activation, output)?,
        })
    }

    /// The parameters of a subtraction for these quantizations, as TensorFlow Lite Micro's `Prepare` has them: those of [`new`](Self::new), but for
    /// the quotients, which are of f32.
    pub fn new_sub(
        left: Quantization,
        right: Quantization,
        output: Quantization,
        activation: Activation,
    ) -> Option<Self> {
        let twice = 2.0 * left.scale.max(right.scale);
        let [left_multiplier, right_multiplier] =
            [left, right].map(|side| Multiplier::from_real(f64::from(side.scale / twice)));
        let output_factor = f64::from(twice / ((1u32 << LEFT_SHIFT) as f32 * output.scale));
        let output_multiplier = Multiplier::from_real(output_factor).filter(|found| found.shift <= 0)?;
        Some(Self {
            left_shift: LEFT_SHIFT,
            zero_points: [left.zero_point, right.zero_point],
            multipliers: [left_multiplier?, right_multiplier?],
            output_multiplier,
            range: OutputRange::of(activation, output)?,
        })
    }

    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let ([left, right], output) = (self.multipliers, self.output_multiplier);
        let OutputRange { activation_min, activation_max, .. } = self.range;
        [
            self.left_shift as i32,
            left.multiplier,
            left.shift,
            right.multiplier,
            right.shift,
            output.multiplier,
            output.shift,
            activation_min,
            activation_max,
        ]
    }

    /// Both sides in the scale of the sum.
    #[inline(always)]
    fn scaled(&self, left: i8, right: i8) -> [i32; 2] {
        let ([left_zero, right_zero], [left_multiplier, right_multiplier]) =
            (self.zero_points, self.multipliers);
        let scaled = |value: i8, zero_point: i32, multiplier: Multiplier| {
            multiplier.apply(i32::from(value).wrapping_sub(zero_point).wrapping_shl(self.left_shift))
        };
        [scaled(left, left_zero, left_multiplier), scaled(right, right_zero, right_multiplier)]
    }

    /// One element of the sum.
    #[inline(always)]
    pub fn apply(&self, left: i8, right: i8) -> i8 {
        let [left, right] = self.scaled(left, right);
        self.range.requantize(left.wrapping_add(right), self.output_multiplier)
    }

    /// One element of the difference.
    #[inline(always)]
    pub fn apply_sub(&self, left: i8, right: i8) -> i8 {
        let [left, right] = self.scaled(left, right);
        self.range.requantize(left.wrapping_sub(right), self.output_multiplier)
    }
}

/// `output = clamp(quantized(left + right))`, all of the same length.
pub fn forward(params: &AddI8, left: &[i8], right: &[i8], output: &mut [i8]) {
    for (output, (&left, &right)) in output.iter_mut().zip(left.iter().zip(right)) {
        *output = params.apply(left, right);
    }
}

fn params(step: Step<'_>) -> Result<AddI8, StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    let attributes = step.attributes::<ATTRIBUTES>()?;
    let &[left_shift, left_m, left_s, right_m, right_s, output_m, output_s, activation_min, activation_max] =
        attributes;
    let zero_points = [quantization(left, 0)?.zero_point, quantization(right, 1)?.zero_point];
    let zero_point = quantization(output, 2)?.zero_point;
    Ok(AddI8 {
        left_shift: left_shift as u32,
        zero_points,
        multipliers: [
            Multiplier { multiplier: left_m, shift: left_s },
            Multiplier { multiplier: right_m, shift: right_s },
        ],
        output_multiplier: Multiplier { multiplier: output_m, shift: output_s },
        range: OutputRange::read(&[activation_min, activation_max], 7, zero_point)?,
    })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let params = params(step)?;
    broadcast::check(step, ElementType::I8)?;
    if params.left_shift > MAX_LEFT_SHIFT {
        return Err(StepError::Attribute { index: 0, found: params.left_shift as i32 });
    }
    let [left, right] = params.multipliers;
    for (factor, index) in [left, right, params.output_multiplier].into_iter().zip([1, 3, 5]) {
        let Multiplier { multiplier, shift } = factor;
        if !(-31..=0).contains(&shift) {
            return Err(StepError::Attribute { index: index + 1, found: shift });
        }
        if !factor.is_valid() {
            return Err(StepError::Attribute { index, found: multiplier });
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    broadcast::zip(step, memory, |left, right| params.apply(left, right))
}

pub(in crate::ops) fn run_sub(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    broadcast::zip(step, memory, |left, right| params.apply_sub(left, right))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{
        Case, Random, divide, expect_clamp_errors, expect_operand_errors, high_mul, requantize, shape,
    };

    fn quantization(random: &mut Random) -> Quantization {
        Quantization { scale: random.range(1, 2000) as f32 / 9000.0, zero_point: random.zero_point() }
    }

    fn case(
        operator: Operator,
        left: Quantization,
        right: Quantization,
        output: Quantization,
        params: &AddI8,
        length: usize,
    ) -> Case {
        Case::new(operator, &params.attributes())
            .reads(ElementType::I8, shape([1, 1, 1, length]), Some(left))
            .reads(ElementType::I8, shape([1, 1, 1, length]), Some(right))
            .writes(ElementType::I8, shape([1, 1, 1, length]), Some(output))
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(14);
        let mut saturated = [false; 2];
        for round in 0..200 {
            let (left, right, output) =
                (quantization(&mut random), quantization(&mut random), quantization(&mut random));
            let activation = [Activation::None, Activation::Relu, Activation::Relu6][round % 3];
            let (operator, sign) = if round % 2 == 0 { (Operator::AddI8, 1) } else { (Operator::SubI8, -1) };
            let params = if sign > 0 { AddI8::new } else { AddI8::new_sub };
            let params = params(left, right, output, activation).unwrap();
            let length = random.size(1, 300);
            let (x, y) = (random.bytes(length), random.bytes(length));
            let case = case(operator, left, right, output, &params, length);
            let found: Vec<i8> = case.run(&[&x, &y]);
            let side = |value: i8, index: usize| {
                let Multiplier { multiplier, shift } = params.multipliers[index];
                let difference = i128::from(value) - i128::from([left, right][index].zero_point);
                divide(high_mul(difference << 20, multiplier.into()), 1 << -shift)
            };
            let six =
                (f64::from(output.zero_point) + f64::from((6.0 / output.scale).round())).min(127.0) as i32;
            let clamp = match activation {
                Activation::None => [-128, 127],
                Activation::Relu => [output.zero_point, 127],
                _ => [output.zero_point, six],
            };
            for ((&x, &y), &found) in x.iter().zip(&y).zip(&found) {
                let sum = (side(x, 0) + sign * side(y, 1)) as i64;
                assert_eq!(found, requantize(sum, params.output_multiplier, output.zero_point, clamp));
                // What it should mean, within a step of the output.
                let real =
                    |q: Quantization, v: i8| f64::from(q.scale) * f64::from(i32::from(v) - q.zero_point);
                let exact = (real(left, x) + sign as f64 * real(right, y)) / f64::from(output.scale);
                let exact = (exact + f64::from(output.zero_point)).clamp(clamp[0].into(), clamp[1].into());
                assert!((exact - f64::from(found)).abs() <= 0.501, "{left:?} {right:?} {output:?}");
            }
            saturated = [saturated[0] || found.contains(&-128), saturated[1] || found.contains(&127)];
        }
        assert_eq!(saturated, [true; 2]);
    }

    #[test]
    fn works_in_the_place_of_either_side() {
        let mut random = Random(15);
        let [left, right, output] = core::array::from_fn(|_| quantization(&mut random));
        let params = AddI8::new(left, right, output, Activation::None).unwrap();
        let mut case = case(Operator::AddI8, left, right, output, &params, 37);
        let (x, y) = (random.bytes(37), random.bytes(37));
        let expected: Vec<i8> = case.run(&[&x, &y]);
        for read in 0..2 {
            case.step.writes[0].offset = case.step.reads[read].offset;
            assert_eq!(case.run::<i8, i8>(&[&x, &y]), expected);
        }
    }

    #[test]
    fn the_largest_left_shift_does_not_overflow() {
        let one = Multiplier { multiplier: i32::MAX, shift: 0 };
        let range = OutputRange { zero_point: 0, activation_min: -128, activation_max: 127 };
        let params = AddI8 {
            left_shift: MAX_LEFT_SHIFT,
            zero_points: [-128; 2],
            multipliers: [one; 2],
            output_multiplier: Multiplier { multiplier: 1 << 30, shift: -22 },
            range,
        };
        assert_eq!(params.apply(127, 127), 127);
        assert_eq!(AddI8 { zero_points: [127; 2], ..params }.apply(-128, -128), -128);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let q = Quantization { scale: 0.1, zero_point: 1 };
        let params = AddI8::new(q, q, q, Activation::None).unwrap();
        let case = case(Operator::SubI8, q, q, q, &params, 5);
        expect_operand_errors(&case, &[0, 1, 2]);
        expect_clamp_errors(&case, 7);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 4);
        case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[3] = 4);
        let bad = [(0, -1), (0, 23), (1, 1), (1, -5), (2, 1), (2, -32), (3, 1), (4, 1), (5, 1 << 29), (6, 1)];
        for (index, found) in bad {
            case.expect(StepError::Attribute { index: index as u8, found }, |step| {
                step.attributes[index] = found;
            });
        }
        let tiny = Quantization { scale: 1e-9, zero_point: 0 };
        assert_eq!(AddI8::new(q, q, tiny, Activation::None), None);
        assert_eq!(AddI8::new(q, q, q, Activation::LeakyRelu { alpha: 0.1 }), None);
        assert_eq!(AddI8::new_sub(q, q, tiny, Activation::None), None);
    }
}
