//! int8 `mul`, `maximum`, `minimum` and `weighted_sum` with broadcasting. (`add` and `sub` are in [`add::int8`](crate::ops::add::int8).)

use crate::kernels::int8::clamp;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization};
use crate::ops::activation::Activation;
use crate::ops::broadcast;
use crate::ops::int8::OutputRange;
use crate::ops::operands::{has_shape, quantization};
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// The parameters of an int8 product: `clamp(zero point + multiplier * ((left - left zero point) * (right - right zero point)))`.
///
/// Attributes, in order: multiplier and shift, and the clamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulI8 {
    /// Zero points of the left and the right side.
    pub zero_points: [i32; 2],
    /// Scale of the product to the output's.
    pub multiplier: Multiplier,
    /// Zero point and clamp of the output.
    pub range: OutputRange,
}

/// How many attributes a [`MulI8`] takes.
const MUL_ATTRIBUTES: usize = 4;
/// The greatest left shift of a product: 16 bits and a sign, shifted so far, fit 32 bits.
pub const MAX_MUL_SHIFT: i32 = 14;

impl MulI8 {
    /// The parameters for these quantizations, as TensorFlow Lite's `Prepare` has them. `None` if the factor is `2^14` or more, or for a leaky
    /// `ReLU`.
    pub fn new(
        left: Quantization,
        right: Quantization,
        output: Quantization,
        activation: Activation,
    ) -> Option<Self> {
        let factor = f64::from(left.scale) * f64::from(right.scale) / f64::from(output.scale);
        Some(Self {
            zero_points: [left.zero_point, right.zero_point],
            multiplier: Multiplier::from_real(factor).filter(|found| found.shift <= MAX_MUL_SHIFT)?,
            range: OutputRange::of(activation, output)?,
        })
    }

    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; MUL_ATTRIBUTES] {
        let Multiplier { multiplier, shift } = self.multiplier;
        [multiplier, shift, self.range.activation_min, self.range.activation_max]
    }

    /// One element of the product.
    #[inline(always)]
    pub fn apply(&self, left: i8, right: i8) -> i8 {
        let [left_zero, right_zero] = self.zero_points;
        let (left, right) =
            (i32::from(left).wrapping_sub(left_zero), i32::from(right).wrapping_sub(right_zero));
        self.range.requantize(left.wrapping_mul(right), self.multiplier)
    }
}

fn mul_params(step: Step<'_>) -> Result<MulI8, StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    let &[multiplier, shift, activation_min, activation_max] = step.attributes::<MUL_ATTRIBUTES>()?;
    let zero_points = [quantization(left, 0)?.zero_point, quantization(right, 1)?.zero_point];
    let zero_point = quantization(output, 2)?.zero_point;
    let range = OutputRange::read(&[activation_min, activation_max], 2, zero_point)?;
    Ok(MulI8 { zero_points, multiplier: Multiplier { multiplier, shift }, range })
}

pub(in crate::ops) fn check_mul(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let MulI8 { multiplier, .. } = mul_params(step)?;
    broadcast::check(step, ElementType::I8)?;
    if !(-31..=MAX_MUL_SHIFT).contains(&multiplier.shift) {
        return Err(StepError::Attribute { index: 1, found: multiplier.shift });
    }
    if !multiplier.is_valid() {
        return Err(StepError::Attribute { index: 0, found: multiplier.multiplier });
    }
    Ok(())
}

pub(in crate::ops) fn run_mul(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = mul_params(step)?;
    broadcast::zip(step, memory, |left, right| params.apply(left, right))
}

fn quantized(step: Step<'_>) -> Result<[&Operand; 3], StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    quantization(left, 0)?;
    quantization(right, 1)?;
    quantization(output, 2)?;
    Ok([left, right, output])
}

/// Maximum and minimum compare the integers; the quantizations of both sides and of the output are meant to be one, as TensorFlow Lite's converter
/// sees to.
pub(in crate::ops) fn check_extremum(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    step.attributes::<0>()?;
    quantized(step)?;
    broadcast::check(step, ElementType::I8)
}

pub(in crate::ops) fn run_maximum(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    broadcast::zip(step, memory, |left: i8, right: i8| left.max(right))
}

pub(in crate::ops) fn run_minimum(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    broadcast::zip(step, memory, |left: i8, right: i8| left.min(right))
}

/// The parameters of a weighted sum of two int8 tensors: `clamp((left * weight + right * weight + bias) >> shift)`, the shift rounding down.
/// The two are of one shape.
///
/// It is what a quantized sum or difference is when the compiler has found weights that give the same 65,536 results as
/// [`AddI8`](crate::ops::add::int8::AddI8): two multiply-adds an element instead of three double roundings. The zero points are part of the bias.
///
/// Attributes, in order: the left weight, the right weight, the bias, the shift, and the clamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedSumI8 {
    /// Factors of the left and the right side.
    pub weights: [i32; 2],
    /// Added to the sum; with the greatest products it fits 32 bits.
    pub bias: i32,
    /// Bits that the sum is shifted right by, in `0..=31`.
    pub shift: u32,
    /// Least and greatest output.
    pub clamp: [i32; 2],
}

/// How many attributes a [`WeightedSumI8`] takes.
const SUM_ATTRIBUTES: usize = 6;

impl WeightedSumI8 {
    /// The attributes of a step.
    pub const fn attributes(&self) -> [i32; SUM_ATTRIBUTES] {
        let Self { weights: [left, right], bias, shift, clamp: [min, max] } = *self;
        [left, right, bias, shift as i32, min, max]
    }

    /// Whether no pair of int8 makes the sum leave 32 bits.
    pub fn fits(&self) -> bool {
        let [left, right] = self.weights.map(|weight| 128 * i64::from(weight).abs());
        left + right + i64::from(self.bias).abs() <= i64::from(i32::MAX)
    }

    /// One element of the sum.
    #[inline(always)]
    pub fn apply(&self, left: i8, right: i8) -> i8 {
        let ([left_weight, right_weight], [min, max]) = (self.weights, self.clamp);
        let sum = i32::from(left).wrapping_mul(left_weight).wrapping_add(self.bias);
        let sum = i32::from(right).wrapping_mul(right_weight).wrapping_add(sum);
        sum.wrapping_shr(self.shift).max(min).min(max) as i8
    }
}

fn sum_params(&[left, right, bias, shift, min, max]: &[i32; SUM_ATTRIBUTES]) -> WeightedSumI8 {
    WeightedSumI8 { weights: [left, right], bias, shift: shift as u32, clamp: [min, max] }
}

pub(in crate::ops) fn check_sum(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let params = sum_params(step.attributes()?);
    OutputRange::read(&params.clamp, 4, 0)?;
    let [left, right, _] = quantized(step)?;
    broadcast::check(step, ElementType::I8)?;
    has_shape(right, 1, left.shape)?;
    if params.shift > 31 {
        return Err(StepError::Attribute { index: 3, found: params.shift as i32 });
    }
    if !params.fits() {
        return Err(StepError::Accumulator { channel: 0 });
    }
    Ok(())
}

pub(in crate::ops) fn run_sum(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (attributes, [left, right], [output]) = step.parts()?;
    // A side that lies in the output's place is read from there.
    let Views { reads: [left, right], writes: [output] } =
        memory.views([left.beside(output), right.beside(output)], [output])?;
    let (left, right, output) = (elements::<i8>(left)?, elements::<i8>(right)?, elements_mut::<i8>(output)?);
    let params = sum_params(attributes);
    // To int8, which is an instruction on many cores, and not further.
    let mut sum = WeightedSumI8 { clamp: [-128, 127], ..params };
    if !left.is_empty() && !right.is_empty() {
        for ((value, &left), &right) in output.iter_mut().zip(left).zip(right) {
            *value = sum.apply(left, right);
        }
    } else if left.is_empty() && right.is_empty() {
        output.iter_mut().for_each(|value| *value = sum.apply(*value, *value));
    } else {
        let other = if left.is_empty() {
            sum.weights.reverse();
            right
        } else {
            left
        };
        for (value, &other) in output.iter_mut().zip(other) {
            *value = sum.apply(other, *value);
        }
    }
    clamp(output, params.clamp);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::operand::Shape;
    use crate::ops::Operator;
    use crate::ops::broadcast::Broadcast;
    use crate::ops::broadcast::tests::{SIDES, places};
    use crate::ops::int8::reference::{Case, Random, expect_clamp_errors, expect_operand_errors, requantize};

    fn quantization(random: &mut Random) -> Quantization {
        Quantization { scale: random.range(1, 2000) as f32 / 9000.0, zero_point: random.zero_point() }
    }

    fn case(
        operator: Operator,
        attributes: &[i32],
        sides: ([u32; 4], [u32; 4]),
        of: [Quantization; 3],
    ) -> Case {
        let (left, right) = (Shape(sides.0), Shape(sides.1));
        Case::new(operator, attributes)
            .reads(ElementType::I8, left, Some(of[0]))
            .reads(ElementType::I8, right, Some(of[1]))
            .writes(ElementType::I8, Broadcast::shape(left, right).unwrap(), Some(of[2]))
    }

    /// Runs a case on random bytes; the inputs of each output, and the outputs.
    fn run(random: &mut Random, case: &Case) -> Vec<([i8; 2], i8)> {
        let shapes = [case.step.reads[0].shape, case.step.reads[1].shape];
        let [x, y] = shapes.map(|shape| random.bytes(shape.elements().unwrap()));
        let found: Vec<i8> = case.run(&[&x, &y]);
        let places = places(shapes[0], shapes[1]);
        places.into_iter().map(|[l, r]| [x[l], y[r]]).zip(found).collect()
    }

    #[test]
    fn products_are_the_definition() {
        let mut random = Random(21);
        for round in 0..40 {
            for sides in SIDES {
                let of = [(); 3].map(|()| quantization(&mut random));
                let activation =
                    [Activation::None, Activation::Relu, Activation::Relu6, Activation::ReluN1To1][round % 4];
                let params = MulI8::new(of[0], of[1], of[2], activation).unwrap();
                let OutputRange { activation_min, activation_max, .. } = params.range;
                let case = case(Operator::MulI8, &params.attributes(), sides, of);
                for ([x, y], found) in run(&mut random, &case) {
                    let product = (i64::from(x) - i64::from(of[0].zero_point))
                        * (i64::from(y) - i64::from(of[1].zero_point));
                    let clamp = [activation_min, activation_max];
                    let expected = requantize(product, params.multiplier, of[2].zero_point, clamp);
                    assert_eq!(found, expected, "{x} {y} {of:?}");
                }
            }
        }
    }

    #[test]
    fn extremes_are_those_of_the_integers() {
        let mut random = Random(22);
        let of = [quantization(&mut random); 3];
        for sides in SIDES {
            for ([x, y], found) in run(&mut random, &case(Operator::MaximumI8, &[], sides, of)) {
                assert_eq!(found, if x > y { x } else { y });
            }
            for ([x, y], found) in run(&mut random, &case(Operator::MinimumI8, &[], sides, of)) {
                assert_eq!(found, if x < y { x } else { y });
            }
        }
    }

    #[test]
    fn weighted_sums_are_the_definition() {
        let mut random = Random(23);
        for round in 0..200 {
            let shape = [1, random.size(1, 3), random.size(1, 4), random.size(1, 9)].map(|size| size as u32);
            let of = [quantization(&mut random); 3];
            let weights = [random.range(-7_000_000, 7_000_000) as i32, random.range(0, 7_000_000) as i32];
            let clamp = if round % 2 == 0 { [-128, 127] } else { [-20, 90] };
            let shift = random.range(15, 25) as u32;
            let params =
                WeightedSumI8 { weights, bias: random.range(-200_000_000, 200_000_000) as i32, shift, clamp };
            assert!(params.fits());
            let mut case = case(Operator::WeightedSumI8, &params.attributes(), (shape, shape), of);
            // Beside both sides, or in the place of either or of both.
            let (left, right) = (case.step.reads[0].offset, case.step.reads[1].offset);
            match round % 4 {
                1 => case.step.writes[0].offset = left,
                2 => case.step.writes[0].offset = right,
                3 => (case.step.reads[1].offset, case.step.writes[0].offset) = (left, left),
                _ => {}
            }
            let sides = if round % 4 == 3 { [1, 1] } else { [0, 1] };
            for (pair, found) in run(&mut random, &case) {
                let [x, y] = sides.map(|side: usize| pair[side]);
                let sum = i64::from(x) * i64::from(weights[0])
                    + i64::from(y) * i64::from(weights[1])
                    + i64::from(params.bias);
                let expected = sum.div_euclid(1 << shift).clamp(clamp[0].into(), clamp[1].into());
                assert_eq!(i64::from(found), expected);
            }
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let q = Quantization { scale: 0.1, zero_point: 1 };
        let sides = ([1, 1, 2, 5], [1, 1, 1, 5]);
        let mul = MulI8::new(q, q, q, Activation::None).unwrap();
        let mul = case(Operator::MulI8, &mul.attributes(), sides, [q; 3]);
        let sum = WeightedSumI8 { weights: [1 << 20; 2], bias: 5, shift: 21, clamp: [-128, 127] };
        let sum = case(Operator::WeightedSumI8, &sum.attributes(), ([1, 1, 2, 5], [1, 1, 2, 5]), [q; 3]);
        sum.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[2] = 1);
        let maximum = case(Operator::MaximumI8, &[], sides, [q; 3]);
        for case in [&mul, &sum, &maximum, &case(Operator::MinimumI8, &[], sides, [q; 3])] {
            expect_operand_errors(case, &[0, 1, 2]);
            case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 4);
            case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[2] = 1);
        }
        expect_clamp_errors(&mul, 2);
        expect_clamp_errors(&sum, 4);
        for (index, found) in [(0, 1), (0, -5), (1, -32), (1, 15)] {
            mul.expect(StepError::Attribute { index: index as u8, found }, |step| {
                step.attributes[index] = found;
            });
        }
        for found in [-1, 32] {
            sum.expect(StepError::Attribute { index: 3, found }, |step| step.attributes[3] = found);
        }
        for index in 0..3 {
            sum.expect(StepError::Accumulator { channel: 0 }, |step| step.attributes[index] = i32::MIN);
        }
        let huge = Quantization { scale: 1e9, zero_point: 0 };
        assert_eq!(MulI8::new(huge, q, q, Activation::None), None);
    }
}
