//! int8 reductions, bit for bit TensorFlow Lite Micro's.

use super::{Params, fold, store};
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization};
use crate::ops::operands::{all_are, bounded, flag, quantization};
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// Channels that are reduced together.
const BLOCK: usize = 8;

/// A sum or a mean in int8: how the sum of the differences from the input's zero point becomes the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// What is reduced.
    pub params: Params,
    /// Zero point of the input.
    pub input_zero_point: i32,
    /// Zero point of the output.
    pub output_zero_point: i32,
    /// Input scale over output scale, and for a mean over the number of elements as well.
    pub factor: Multiplier,
}

impl Sum {
    /// The sum from one quantization to another. `None` if the quotient of the scales is `2^30` or more.
    pub fn new(params: Params, input: Quantization, output: Quantization) -> Option<Self> {
        Some(Self {
            params,
            input_zero_point: input.zero_point,
            output_zero_point: output.zero_point,
            factor: Multiplier::from_real(f64::from(input.scale) / f64::from(output.scale))?,
        })
    }

    /// The mean from one quantization to another: the division is part of the multiplier, rounded down, as in TensorFlow Lite's
    /// `QuantizedMeanOrSum`. `None` if the quotient of the scales is `2^30` or more.
    pub fn mean(params: Params, input: Quantization, output: Quantization) -> Option<Self> {
        let sum = Self::new(params, input, output)?;
        let Multiplier { multiplier, shift } = sum.factor;
        let count = params.count().max(1);
        // Keeps as many bits as there are, without a right shift of more than 31.
        let kept = i64::from(count.ilog2()).min(32).min(31 + i64::from(shift));
        let multiplier = (i64::from(multiplier) << kept) / i64::try_from(count).ok()?;
        let factor = Multiplier { multiplier: i32::try_from(multiplier).ok()?, shift: shift - kept as i32 };
        Some(Self { factor, ..sum })
    }

    /// The attributes of a step: mask of the axes, multiplier, shift.
    pub fn attributes(&self) -> [i32; 3] {
        [self.params.mask(), self.factor.multiplier, self.factor.shift]
    }

    fn read(step: Step<'_>) -> Result<Self, StepError> {
        let ([input], [output]) = (step.reads()?, step.writes()?);
        let &[mask, multiplier, shift] = step.attributes()?;
        all_are(step, ElementType::I8)?;
        let (from, to) = (quantization(input, 0)?, quantization(output, 1)?);
        let params = Params::read(mask, 0, (input, 0), (output, 1))?;
        // A mean's multiplier may lie below the 2^30 that others have.
        bounded(multiplier, 1, 0..=i32::MAX)?;
        bounded(shift, 2, -31..=30)?;
        Ok(Self {
            params,
            input_zero_point: from.zero_point,
            output_zero_point: to.zero_point,
            factor: Multiplier { multiplier, shift },
        })
    }

    /// Whether the sum and its left shift fit 32 bits, whatever the input.
    fn fits(&self) -> bool {
        // A difference of two int8 is at most 255.
        let most = u64::try_from(self.params.count()).unwrap_or(u64::MAX).saturating_mul(255);
        most.checked_shl(self.factor.shift.max(0).unsigned_abs())
            .is_some_and(|most| most <= i32::MAX as u64 && self.params.count() <= i32::MAX as usize)
    }

    /// The output of a sum.
    #[inline(always)]
    fn finish(&self, sum: i32) -> i8 {
        let zeros = (self.params.count() as i32).wrapping_mul(self.input_zero_point);
        let scaled = self.factor.apply(sum.wrapping_sub(zeros));
        scaled.saturating_add(self.output_zero_point).clamp(-128, 127) as i8
    }
}

/// `output = clamp(zero point + factor * sum(input - input zero point))` for every sample.
pub fn sum(sum: &Sum, input: &[i8], output: &mut [i8]) {
    let (in_length, out_length) = sum.params.lengths();
    for (input, output) in pieces((input, output), [in_length, out_length]) {
        let mut store = store(output);
        let add = |sum: i32, element: i8, _| sum.wrapping_add(i32::from(element));
        fold::<BLOCK, _, _>(&sum.params, input, 0, add, |total| store(sum.finish(total)));
    }
}

/// The largest, or with `minimum` the smallest, of the elements that make an output. Both tensors have one quantization.
pub fn extreme(minimum: bool, params: &Params, input: &[i8], output: &mut [i8]) {
    let (in_length, out_length) = params.lengths();
    for (input, output) in pieces((input, output), [in_length, out_length]) {
        let store = store(output);
        if minimum {
            fold::<BLOCK, _, _>(
                params,
                input,
                i8::MAX,
                |least: i8, element: i8, _| least.min(element),
                store,
            );
        } else {
            fold::<BLOCK, _, _>(params, input, i8::MIN, |most: i8, element: i8, _| most.max(element), store);
        }
    }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    if Sum::read(step)?.fits() { Ok(()) } else { Err(StepError::Accumulator { channel: 0 }) }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let params = Sum::read(step)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    sum(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

fn read_extreme<'s>(step: Step<'s>) -> Result<(bool, Params, [&'s Operand; 2]), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let &[_, mask] = step.attributes()?;
    all_are(step, ElementType::I8)?;
    let (from, to) = (quantization(input, 0)?, quantization(output, 1)?);
    if from != to {
        return Err(StepError::Quantization { operand: 1 });
    }
    let params = Params::read(mask, 1, (input, 0), (output, 1))?;
    Ok((flag(step.attributes, 0)?, params, [input, output]))
}

pub(in crate::ops) fn check_extreme(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    read_extreme(step).map(|_| ())
}

pub(in crate::ops) fn run_extreme(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (minimum, params, [input, output]) = read_extreme(step)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    extreme(minimum, &params, elements(input)?, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::reference::{all_axes, places};
    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, expect_operand_errors, requantize, shape};

    fn case(
        operator: Operator,
        attributes: &[i32],
        n: usize,
        params: &Params,
        quantizations: [Option<Quantization>; 2],
    ) -> Case {
        let ([h, w, c], [out_h, out_w, out_c]) = (params.input, params.output());
        Case::new(operator, attributes).reads(ElementType::I8, shape([n, h, w, c]), quantizations[0]).writes(
            ElementType::I8,
            shape([n, out_h, out_w, out_c]),
            quantizations[1],
        )
    }

    fn random_params(random: &mut Random, axes: [bool; 3]) -> Params {
        Params { input: [random.size(1, 5), random.size(1, 6), random.size(1, 19)], axes }
    }

    /// `of` the elements that make each output.
    fn outputs(params: &Params, input: &[i8], of: impl Fn(&[i64]) -> i8) -> Vec<i8> {
        let samples = input.chunks_exact(params.lengths().0);
        let outputs = samples.flat_map(|input| {
            let values = |places: Vec<usize>| places.iter().map(|&place| i64::from(input[place])).collect();
            places(params).into_iter().map(values).map(|values: Vec<i64>| of(&values)).collect::<Vec<_>>()
        });
        outputs.collect()
    }

    #[test]
    fn sums_and_means_are_those_of_the_definition() {
        let mut random = Random(51);
        for axes in (0..30).flat_map(|_| all_axes()) {
            let (params, n) = (random_params(&mut random, axes), random.size(1, 2));
            let mut quantization = || Quantization {
                scale: random.range(1, 1000) as f32 / 4000.0,
                zero_point: random.zero_point(),
            };
            let (from, to) = (quantization(), quantization());
            let input = random.bytes(n * params.lengths().0);
            for sum in [Sum::new(params, from, to).unwrap(), Sum::mean(params, from, to).unwrap()] {
                let case = case(Operator::SumI8, &sum.attributes(), n, &params, [Some(from), Some(to)]);
                let expected = outputs(&params, &input, |values| {
                    let total: i64 = values.iter().map(|value| value - i64::from(from.zero_point)).sum();
                    requantize(total, sum.factor, to.zero_point, [-128, 127])
                });
                assert_eq!(case.run::<i8, i8>(&[&input]), expected, "{sum:?}");
            }
        }
    }

    #[test]
    fn a_mean_is_a_mean() {
        let mut random = Random(52);
        for axes in (0..20).flat_map(|_| all_axes()) {
            let params = random_params(&mut random, axes);
            let mut quantization = || Quantization {
                scale: random.range(100, 1000) as f32 / 4000.0,
                zero_point: random.zero_point(),
            };
            let (from, to) = (quantization(), quantization());
            let input = random.bytes(params.lengths().0);
            let mean = Sum::mean(params, from, to).unwrap();
            let case = case(Operator::SumI8, &mean.attributes(), 1, &params, [Some(from), Some(to)]);
            let real = outputs(&params, &input, |values| {
                let sum: i64 = values.iter().map(|value| value - i64::from(from.zero_point)).sum();
                let mean = f64::from(from.scale) * sum as f64 / values.len() as f64;
                (mean / f64::from(to.scale) + f64::from(to.zero_point)).round().clamp(-128.0, 127.0) as i8
            });
            for (found, expected) in case.run::<i8, i8>(&[&input]).into_iter().zip(real) {
                // Two roundings, of which the second may go the other way at a tie.
                assert!((i32::from(found) - i32::from(expected)).abs() <= 1, "{mean:?} {found} {expected}");
            }
        }
    }

    #[test]
    fn the_multiplier_of_a_mean_has_the_division_in_it() {
        let params = Params { input: [3, 1, 1], axes: [true, false, false] };
        let one = Quantization { scale: 1.0, zero_point: 0 };
        // 1.0 is (2^30, 1); with one bit kept it is (2^31, 0), and a third of that.
        let mean = Sum::mean(params, one, one).unwrap().factor;
        assert_eq!(mean, Multiplier { multiplier: 715_827_882, shift: 0 });
        // A factor so small that no bit can be kept.
        let tiny = Quantization { scale: 2f32.powi(-32), zero_point: 0 };
        let found = Sum::mean(params, tiny, one).unwrap().factor;
        assert_eq!(found, Multiplier { multiplier: (1 << 30) / 3, shift: -31 });
    }

    #[test]
    fn extremes_are_those_of_the_definition() {
        let mut random = Random(53);
        for axes in (0..10).flat_map(|_| all_axes()) {
            let (params, n) = (random_params(&mut random, axes), random.size(1, 2));
            let input = random.bytes(n * params.lengths().0);
            for minimum in [0, 1] {
                let attributes = [minimum, params.mask()];
                let case = case(Operator::ReduceExtremeI8, &attributes, n, &params, [at(3), at(3)]);
                let expected = outputs(&params, &input, |values| {
                    let values = values.iter().copied();
                    (if minimum == 1 { values.min() } else { values.max() }).unwrap() as i8
                });
                assert_eq!(case.run::<i8, i8>(&[&input]), expected);
            }
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let params = Params { input: [3, 2, 4], axes: [true, true, false] };
        let sum = case(Operator::SumI8, &[3, 1 << 30, 1], 2, &params, [at(3), at(4)]);
        let extreme = case(Operator::ReduceExtremeI8, &[1, 3], 2, &params, [at(3), at(3)]);
        for case in [&sum, &extreme] {
            expect_operand_errors(case, &[0, 1]);
            case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] = 3);
            case.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[1] = 0);
        }
        let attribute = |index, found| StepError::Attribute { index, found };
        for found in [0, 8] {
            sum.expect(attribute(0, found), |step| step.attributes[0] = found);
            extreme.expect(attribute(1, found), |step| step.attributes[1] = found);
        }
        sum.expect(attribute(1, -1), |step| step.attributes[1] = -1);
        sum.expect(attribute(2, -32), |step| step.attributes[2] = -32);
        sum.expect(attribute(2, 31), |step| step.attributes[2] = 31);
        // 6 * 255 takes 11 bits.
        sum.expect_ok(|step| step.attributes[2] = 20);
        sum.expect(StepError::Accumulator { channel: 0 }, |step| step.attributes[2] = 21);
        extreme.expect(attribute(0, 2), |step| step.attributes[0] = 2);
        extreme.expect(StepError::Quantization { operand: 1 }, |step| {
            step.writes[0].quantization = at(4).unwrap();
        });
    }
}
