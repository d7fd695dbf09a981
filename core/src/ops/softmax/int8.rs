//! int8 softmax with TensorFlow Lite's fixed-point arithmetic.

use super::fixed_point::{
    ACCUMULATOR_BITS, DIFFERENCE_BITS, exp_on_negative_values, multiply, one_over_one_plus_x,
};
use crate::memory::{Memory, Views, elements_mut};
use crate::operand::{ElementType, Operand, Quantization};
use crate::ops::operands::{all_are, has_shape, quantization};
use crate::quantization::rounding_divide_by_power_of_two;
use crate::step::{Step, StepError};

/// The quantization of every output: probabilities in steps of 1/256.
pub const OUTPUT: Quantization = Quantization { scale: 1.0 / 256.0, zero_point: -128 };

/// The most elements a row can have, so that the sum of their exponentials fits `Q12`.
pub const MAX_ROW: usize = (1 << ACCUMULATOR_BITS) - 1;

/// The parameters of an int8 softmax: its attributes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxI8 {
    /// Q31 factor that makes a difference of inputs `Q5`, in `[2^30, 2^31)`.
    pub input_multiplier: i32,
    /// Left shift before that, in `0..=31`.
    pub input_left_shift: i32,
    /// The smallest difference from the maximum that counts, zero or below; what is smaller gives probability 0. Not so small that its left
    /// shift would overflow.
    pub difference_min: i32,
}

impl SoftmaxI8 {
    /// The parameters for an input's scale. `None` if the scale is not above `2^-26` and finite.
    pub fn new(scale: f32) -> Option<Self> {
        Self::with_beta(scale, 1.0)
    }

    /// The parameters of `softmax(beta * input)` for an input's scale (TensorFlow Lite's `PreprocessSoftmaxScaling` and
    /// `CalculateInputRadius`). `None` if their product is not above `2^-26` and finite.
    pub fn with_beta(scale: f32, beta: f32) -> Option<Self> {
        let fraction_bits = 31 - DIFFERENCE_BITS;
        let product = f64::from(beta) * f64::from(scale);
        let factor = (product * f64::from(1u32 << fraction_bits)).min(f64::from(i32::MAX));
        if !(factor > 1.0 && product.is_finite()) {
            return None;
        }
        // Above 1.0 and below 2^31: the exponent is in 1..=31.
        let (significand, exponent) = libm::frexp(factor);
        let rounded = libm::round(significand * f64::from(1u32 << 31)) as i64;
        let (input_multiplier, input_left_shift) =
            if rounded == 1 << 31 { (1 << 30, exponent + 1) } else { (rounded as i32, exponent) };
        let radius = (((1i64 << DIFFERENCE_BITS) - 1) << fraction_bits) >> input_left_shift;
        Some(Self { input_multiplier, input_left_shift, difference_min: -(radius as i32) })
    }

    /// The attributes of a step.
    pub const fn attributes(&self) -> [i32; 3] {
        [self.input_multiplier, self.input_left_shift, self.difference_min]
    }

    /// The difference between a value and its row's maximum, scaled, `Q5`.
    #[inline(always)]
    pub(in crate::ops) fn scaled(&self, difference: i32) -> i32 {
        multiply(difference.wrapping_shl(self.input_left_shift as u32), self.input_multiplier)
    }

    /// `exp` of the difference between a value and its row's maximum, `Q0`; `None` if it does not count.
    #[inline(always)]
    fn exponential(&self, difference: i32) -> Option<i32> {
        (difference >= self.difference_min).then(|| exp_on_negative_values(self.scaled(difference)))
    }

    /// The sum of the exponentials of a row whose maximum is `max`, `Q12`: at least that of the maximum, 1.
    #[inline(always)]
    pub(in crate::ops) fn sum_of_exponentials(&self, row: &[i8], max: i32) -> i32 {
        let exponentials = row.iter().filter_map(|&value| self.exponential(i32::from(value) - max));
        exponentials.fold(0i32, |sum, exponential| {
            sum.wrapping_add(rounding_divide_by_power_of_two(exponential, ACCUMULATOR_BITS))
        })
    }
}

/// `output = softmax(input)` for each row of `row` elements, input and output of the same length.
///
/// The output's scale is 1/256 and its zero point -128 ([`OUTPUT`]). A row of at most 511 elements is what TensorFlow Lite computes;
/// TensorFlow Lite stops at sums of exponentials from 512 on, and this goes on up to [`MAX_ROW`] elements.
#[doc(alias = "logits")]
pub fn forward(params: &SoftmaxI8, row: usize, input: &[i8], output: &mut [i8]) {
    for (output, &input) in output.iter_mut().zip(input) {
        *output = input;
    }
    forward_in_place(params, row, output);
}

/// [`forward`] in the place of the input.
pub fn forward_in_place(params: &SoftmaxI8, row: usize, values: &mut [i8]) {
    for values in values.chunks_exact_mut(row.max(1)) {
        let max = i32::from(values.iter().copied().max().unwrap_or_default());
        // It is `2^bits_over_unit * (1 + fraction)`.
        let sum = params.sum_of_exponentials(values, max);
        let headroom = (sum as u32).leading_zeros();
        let bits_over_unit = ACCUMULATOR_BITS.saturating_sub(headroom);
        let fraction = (sum as u32).wrapping_shl(headroom).wrapping_sub(1 << 31) as i32;
        let reciprocal = one_over_one_plus_x(fraction);
        let exponent = bits_over_unit + 31 - 8;
        for value in values {
            let probability = match params.exponential(i32::from(*value) - max) {
                // A Q0 divided by 2^32 or more is below one half.
                Some(exponential) if exponent <= 31 => {
                    rounding_divide_by_power_of_two(multiply(reciprocal, exponential), exponent)
                }
                _ => 0,
            };
            *value = (probability - 128).min(127) as i8;
        }
    }
}

const fn params(&[input_multiplier, input_left_shift, difference_min]: &[i32; 3]) -> SoftmaxI8 {
    SoftmaxI8 { input_multiplier, input_left_shift, difference_min }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    check_rows(step, params(step.attributes()?), OUTPUT)
}

/// Checks the operands of a step that sums exponentials over the rows of its first read, the parameters of these, which are its first
/// attributes, and the quantization of its first write.
pub(in crate::ops) fn check_rows(
    step: Step<'_>,
    params: SoftmaxI8,
    expected: Quantization,
) -> Result<(), StepError> {
    let SoftmaxI8 { input_multiplier, input_left_shift, difference_min } = params;
    let ([input], [output]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::I8)?;
    has_shape(output, 1, input.shape)?;
    quantization(input, 0)?;
    if quantization(output, 1)? != expected {
        return Err(StepError::Quantization { operand: 1 });
    }
    if input_multiplier < 1 << 30 {
        return Err(StepError::Attribute { index: 0, found: input_multiplier });
    }
    if !(0..=31).contains(&input_left_shift) {
        return Err(StepError::Attribute { index: 1, found: input_left_shift });
    }
    let least = (i64::from(i32::MIN) >> input_left_shift) as i32;
    if !(least..=0).contains(&difference_min) {
        return Err(StepError::Attribute { index: 2, found: difference_min });
    }
    let [.., row] = input.shape.dims();
    if row > MAX_ROW {
        return Err(StepError::Accumulator { channel: MAX_ROW as u32 });
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (attributes, [input], [output]) = step.parts()?;
    run_rows([input, output], memory, |row, values| forward_in_place(&params(attributes), row, values))
}

/// Runs a step that works on the rows of its input, of as many elements as `forward` is told, in the place of its output.
pub(in crate::ops) fn run_rows(
    [input, output]: [&Operand; 2],
    memory: &mut Memory<'_>,
    forward: impl FnOnce(usize, &mut [i8]),
) -> Result<(), StepError> {
    let [.., row] = input.shape.dims();
    let Views { reads: [input], writes: [output] } = memory.views([input.beside(output)], [output])?;
    // Nothing is beside an output in the input's place.
    for (output, &input) in output.iter_mut().zip(input) {
        *output = input;
    }
    forward(row, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, divide, expect_operand_errors, high_mul, shape};

    fn case(params: &SoftmaxI8, rows: usize, row: usize) -> Case {
        let shape = shape([rows, 1, 1, row]);
        Case::new(Operator::SoftmaxI8, &params.attributes()).reads(ElementType::I8, shape, at(7)).writes(
            ElementType::I8,
            shape,
            Some(OUTPUT),
        )
    }

    /// gemmlowp's `exp_on_negative_values` in wide integers, the constants computed here.
    fn exponential(x: i128) -> i128 {
        if x == 0 {
            return (1 << 31) - 1;
        }
        let q0 = |value: f64| (value * 2f64.powi(31)).round() as i128;
        let quarters = (-x - 1) / (1 << 24);
        let a = ((x + quarters * (1 << 24)) << 5) + (1 << 28);
        let (a2, centre) = (high_mul(a, a), q0((-0.125f64).exp()));
        let (a3, a4) = (high_mul(a2, a), high_mul(a2, a2));
        let tail = divide(high_mul(divide(a4, 4) + a3, q0(1.0 / 3.0)) + a2, 2);
        let start = centre + high_mul(centre, a + tail);
        (0..7)
            .filter(|bit| quarters >> bit & 1 == 1)
            .fold(start, |result, bit| high_mul(result, q0((-(2f64.powi(bit - 2))).exp())))
    }

    fn expected(params: &SoftmaxI8, row: &[i8]) -> Vec<i8> {
        let max = *row.iter().max().unwrap();
        let exponentials: Vec<Option<i128>> = row
            .iter()
            .map(|&x| {
                let difference = i128::from(x) - i128::from(max);
                let shifted = difference << params.input_left_shift;
                (difference >= params.difference_min.into())
                    .then(|| exponential(high_mul(shifted, params.input_multiplier.into())))
            })
            .collect();
        let sum: i128 = exponentials.iter().flatten().map(|&e| divide(e, 1 << 12)).sum();
        let bits = sum.ilog2() - 19;
        // Newton's method for 1 / ((1 + f) / 2), in Q2.
        let half = ((sum << (12 - bits)) - (1 << 31) + (1 << 31)) / 2;
        let ratio = |value: f64| (value * 2f64.powi(29)).round() as i128;
        let mut y = ratio(48.0 / 17.0) + high_mul(half, ratio(-32.0 / 17.0));
        for _ in 0..3 {
            let error = (1 << 29) - high_mul(half, y);
            y += (high_mul(y, error) * 4).clamp(i32::MIN.into(), i32::MAX.into());
        }
        let reciprocal = (y * 2).clamp(i32::MIN.into(), i32::MAX.into());
        let value = |e: i128| divide(high_mul(reciprocal, e), 1 << (bits + 23));
        exponentials.into_iter().map(|e| (e.map_or(0, value) - 128).clamp(-128, 127) as i8).collect()
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(16);
        for _ in 0..400 {
            let scale = 2f32.powi(random.range(-9, 1) as i32) * (1.0 + random.range(0, 99) as f32 / 100.0);
            let params = SoftmaxI8::new(scale).unwrap();
            let (rows, row) = (random.size(1, 3), random.size(1, 40));
            let input = random.bytes(rows * row);
            let mut case = case(&params, rows, row);
            let found: Vec<i8> = case.run(&[&input]);
            let wanted: Vec<i8> = input.chunks(row).flat_map(|row| expected(&params, row)).collect();
            assert_eq!(found, wanted, "{scale} {input:?}");
            case.step.writes[0].offset = case.step.reads[0].offset;
            assert_eq!(case.run::<i8, i8>(&[&input]), wanted);
        }
    }

    #[test]
    fn is_softmax() {
        let mut random = Random(17);
        for _ in 0..200 {
            let (scale, row) = (random.range(1, 200) as f32 / 400.0, random.size(1, 500));
            let input = random.bytes(row);
            let mut output = std::vec![0; row];
            forward(&SoftmaxI8::new(scale).unwrap(), row, &input, &mut output);
            let exponentials: Vec<f64> =
                input.iter().map(|&x| (f64::from(scale) * f64::from(x)).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            for (found, exact) in output.iter().zip(exponentials) {
                let exact = (exact / sum * 256.0 - 128.0).min(127.0);
                assert!((f64::from(*found) - exact).abs() < 0.51, "{found} {exact}");
            }
        }
    }

    #[test]
    fn parameters_are_tensorflow_lites() {
        // 0.1 * 2^26 = 6,710,886.5 = 0.8 * 2^23; the radius is 31 * 2^26 / 2^23.
        let found = SoftmaxI8::new(0.1).unwrap();
        assert_eq!((found.input_left_shift, found.difference_min), (23, -248));
        assert!((f64::from(found.input_multiplier) / 2f64.powi(31) - 0.8).abs() < 1e-7);
        // Scales from 32 on are cut: only the maximum counts.
        let cut = SoftmaxI8 { input_multiplier: i32::MAX, input_left_shift: 31, difference_min: 0 };
        assert_eq!(SoftmaxI8::new(1e20), Some(cut));
        assert_eq!([0.0, -1.0, 1e-9, f32::NAN, f32::INFINITY].map(SoftmaxI8::new), [None; 5]);
    }

    #[test]
    fn extremes_do_not_overflow() {
        for scale in [2f32.powi(-25), 15.9, 16.0, 1e20] {
            let params = SoftmaxI8::new(scale).unwrap();
            for length in [1, 2, 511, 512, MAX_ROW] {
                let mut values = std::vec![127; length];
                case(&params, 1, length).check().unwrap();
                forward_in_place(&params, length, &mut values);
                // From 512 on, half a step or less rounds to nothing.
                let mean = if length < 512 { (256.0 / length as f64).round() as i32 - 128 } else { -128 };
                assert!(values.iter().all(|&value| i32::from(value) == mean.min(127)), "{length}");
            }
            let mut values = [-128, 127];
            forward_in_place(&params, 2, &mut values);
            assert_eq!(values == [-128, 127], scale > 1.0);
        }
        // Every parameter that `check` lets pass.
        for shift in 0..=31 {
            let difference_min = (i64::from(i32::MIN) >> shift) as i32;
            for input_multiplier in [1 << 30, i32::MAX] {
                let params = SoftmaxI8 { input_multiplier, input_left_shift: shift, difference_min };
                case(&params, 1, 256).check().unwrap();
                forward_in_place(&params, 256, &mut (-128..=127).collect::<Vec<i8>>());
            }
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let params = SoftmaxI8::new(0.1).unwrap();
        let case = case(&params, 1, 5);
        expect_operand_errors(&case, &[0, 1]);
        case.expect(StepError::Quantization { operand: 1 }, |step| {
            step.writes[0].quantization = at(-128).unwrap();
        });
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] = 4);
        for (index, found) in [(0, 1), (0, -1), (1, -1), (1, 32), (2, 1), (2, -257)] {
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
