//! int8 log-softmax with TensorFlow Lite's fixed-point arithmetic.

use crate::memory::Memory;
use crate::operand::Quantization;
use crate::ops::softmax::fixed_point::{DIFFERENCE_BITS, ln};
use crate::ops::softmax::int8::{SoftmaxI8, check_rows, run_rows};
use crate::quantization::{Multiplier, rounding_divide_by_power_of_two};
use crate::step::{Step, StepError};

/// The quantization of every output: logarithms of probabilities from -15.9375 to 0, in steps of 1/16.
pub const OUTPUT: Quantization = Quantization { scale: 1.0 / 16.0, zero_point: 127 };

/// Integer bits of a logarithm that is 127 steps of 1/16 and a sign.
const OUTPUT_BITS: u32 = 4;

/// The parameters of an int8 log-softmax: its attributes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSoftmaxI8 {
    /// How differences from a row's maximum are scaled, and which of them count: as for softmax.
    pub differences: SoftmaxI8,
    /// Back from a scaled difference to one of inputs.
    pub reverse: Multiplier,
}

impl LogSoftmaxI8 {
    /// The parameters for an input's scale (TensorFlow Lite's `PreprocessLogSoftmaxScalingExp`). `None` if it is not above `2^-26` and finite.
    pub fn new(scale: f32) -> Option<Self> {
        let differences = SoftmaxI8::new(scale)?;
        let SoftmaxI8 { input_multiplier, input_left_shift, .. } = differences;
        let bits = u32::try_from(input_left_shift).ok()?;
        let one = 1i64.checked_shl(31u32.checked_sub(bits)?)?;
        let reverse = Multiplier::from_real(one as f64 / f64::from(input_multiplier))?;
        Some(Self { differences, reverse })
    }

    /// The attributes of a step.
    pub const fn attributes(&self) -> [i32; 5] {
        let [multiplier, left_shift, smallest] = self.differences.attributes();
        [multiplier, left_shift, smallest, self.reverse.multiplier, self.reverse.shift]
    }
}

/// `output = ln(softmax(input))` for each row of `row` elements, in the place of the input.
///
/// The output's scale is 1/16 and its zero point 127 ([`OUTPUT`]); what is below -15.9375 becomes that. A row has at most
/// [`MAX_ROW`](crate::ops::softmax::int8::MAX_ROW) elements.
pub fn forward_in_place(params: &LogSoftmaxI8, row: usize, values: &mut [i8]) {
    let LogSoftmaxI8 { differences, reverse } = params;
    for values in values.chunks_exact_mut(row.max(1)) {
        let max = i32::from(values.iter().copied().max().unwrap_or_default());
        let log_sum = ln(differences.sum_of_exponentials(values, max));
        // A difference that is not above it has no scaled one, or a logarithm below every `Q5`.
        let least =
            reverse.apply(log_sum.wrapping_add(i32::MIN)).max(differences.difference_min.wrapping_sub(1));
        for value in values {
            let difference = i32::from(*value) - max;
            *value = if difference > least {
                let logarithm = differences.scaled(difference).wrapping_sub(log_sum);
                let steps = rounding_divide_by_power_of_two(logarithm, 31 - DIFFERENCE_BITS - OUTPUT_BITS);
                steps.saturating_add(127).clamp(-128, 127) as i8
            } else {
                i8::MIN
            };
        }
    }
}

const fn params(attributes: &[i32; 5]) -> LogSoftmaxI8 {
    let &[input_multiplier, input_left_shift, difference_min, multiplier, shift] = attributes;
    let differences = SoftmaxI8 { input_multiplier, input_left_shift, difference_min };
    LogSoftmaxI8 { differences, reverse: Multiplier { multiplier, shift } }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let LogSoftmaxI8 { differences, reverse } = params(step.attributes()?);
    check_rows(step, differences, OUTPUT)?;
    if reverse.is_valid() {
        Ok(())
    } else {
        Err(StepError::Attribute { index: 3, found: reverse.multiplier })
    }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (attributes, [input], [output]) = step.parts()?;
    run_rows([input, output], memory, |row, values| forward_in_place(&params(attributes), row, values))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::operand::ElementType;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, expect_operand_errors, shape};
    use crate::ops::softmax::int8::MAX_ROW;

    fn case(params: &LogSoftmaxI8, rows: usize, row: usize) -> Case {
        let shape = shape([rows, 1, 1, row]);
        Case::new(Operator::LogSoftmaxI8, &params.attributes()).reads(ElementType::I8, shape, at(7)).writes(
            ElementType::I8,
            shape,
            Some(OUTPUT),
        )
    }

    #[test]
    fn is_the_logarithm_of_softmax() {
        let mut random = Random(21);
        for _ in 0..300 {
            let scale = random.range(1, 200) as f32 / 400.0;
            let (rows, row) = (random.size(1, 3), random.size(1, 300));
            let input = random.bytes(rows * row);
            let mut case = case(&LogSoftmaxI8::new(scale).unwrap(), rows, row);
            let found: Vec<i8> = case.run(&[&input]);
            for (input, found) in input.chunks(row).zip(found.chunks(row)) {
                let real: Vec<f64> = input.iter().map(|&x| f64::from(scale) * f64::from(x)).collect();
                let max = real.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let log_sum = real.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
                for (found, x) in found.iter().zip(real) {
                    let exact = ((x - max - log_sum) * 16.0 + 127.0).max(-128.0);
                    assert!((f64::from(*found) - exact).abs() < 0.51, "{scale} {row}: {found} {exact}");
                }
            }
            case.step.writes[0].offset = case.step.reads[0].offset;
            assert_eq!(case.run::<i8, i8>(&[&input]), found);
        }
    }

    #[test]
    fn parameters_are_tensorflow_lites() {
        // 0.1 * 2^26 = 0.8 * 2^23; 2^8 / (0.8 * 2^31) = 0.625 * 2^-22.
        let found = LogSoftmaxI8::new(0.1).unwrap();
        assert_eq!((found.differences.input_left_shift, found.reverse.shift), (23, -22));
        assert!((f64::from(found.reverse.multiplier) / 2f64.powi(31) - 0.625).abs() < 1e-7);
        assert_eq!([0.0, -1.0, 1e-9, f32::NAN, f32::INFINITY].map(LogSoftmaxI8::new), [None; 5]);
    }

    #[test]
    fn extremes_do_not_overflow() {
        for scale in [2f32.powi(-25), 15.9, 16.0, 1e20] {
            let params = LogSoftmaxI8::new(scale).unwrap();
            for length in [1, 2, 511, 512, MAX_ROW] {
                let mut values = std::vec![127; length];
                case(&params, 1, length).check().unwrap();
                values[length / 2] = -128;
                forward_in_place(&params, length, &mut values);
                let equal = length - usize::from(length > 1);
                let exact = 127.0 - (equal as f64).ln() * 16.0;
                let tolerance = if scale < 1.0 { 0.6 + 16.0 / equal as f64 } else { 0.51 };
                assert!(
                    (f64::from(values[length - 1]) - exact).abs() < tolerance || length <= 2,
                    "{scale} {length}"
                );
            }
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = case(&LogSoftmaxI8::new(0.1).unwrap(), 2, 5);
        expect_operand_errors(&case, &[0, 1]);
        case.expect(StepError::Quantization { operand: 1 }, |step| {
            step.writes[0].quantization = at(127).unwrap();
        });
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] = 4);
        for (index, found) in [(0, 1), (1, -1), (1, 32), (2, 1), (3, 1), (3, -1)] {
            case.expect(StepError::Attribute { index: index as u8, found }, |step| {
                step.attributes[index] = found;
            });
        }
        case.expect(StepError::Accumulator { channel: 4095 }, |step| {
            step.reads[0].shape.0[3] = 4096;
            step.writes[0].shape.0[3] = 4096;
        });
    }
}
