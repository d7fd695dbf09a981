//! Weights and biases to int8 and i32, one output channel at a time.

use smidgen::Quantization;
use smidgen::ops::int8::Channel;
use smidgen::quantization::Multiplier;

/// The greatest weight: the range is symmetric, -128 is not used (TensorFlow Lite's 8-bit quantization specification).
const GREATEST: f64 = 127.0;

/// A channel whose weights are all smaller counts as all zero: its scale would not be a normal f32.
const LEAST_WEIGHT: f64 = GREATEST * f32::MIN_POSITIVE as f64;

/// One output channel in integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QuantizedChannel {
    /// In the order in which they were given, in -127..=127.
    pub(super) weights: Vec<i8>,
    /// Real value of one step of the weights.
    pub(super) scale: f32,
    /// Bias with the input's zero point folded in, and the factor to the output.
    pub(super) record: Channel,
}

/// Quantizes one output channel's finite weights and bias; `None` if its outputs could be more than 2^31 steps of the output's scale.
///
/// - `scale = max |w| / 127`, as an f32, and `weights = round(w / scale)`;
/// - `bias = round(b / (input scale * scale)) - input zero point * sum(weights)`;
/// - `multiplier = input scale * scale / output scale`, in f64.
///
/// The scale is raised where that is not enough: so that the bias is at most 2^30 (TensorFlow Lite's `AdjustWeightsForBiasScale`), and so that no
/// input can overflow the accumulator: `|bias| + 128 * sum(|weights|) <= i32::MAX`. A channel whose weights are all zero has only a bias: it gets
/// the scale that makes the multiplier 2^-8, so that the bias has 256 steps to one of the output.
pub(super) fn quantize_channel(
    weights: &[f32],
    bias: f32,
    input: Quantization,
    output: Quantization,
) -> Option<QuantizedChannel> {
    quantize_with(weights, bias, input, output, 128)
}

/// [`quantize_channel`] with a plain bias, for a layer that takes the input's zero point off each input: what its weights meet is up to 255.
pub(super) fn quantize_plain_channel(
    weights: &[f32],
    bias: f32,
    input: Quantization,
    output: Quantization,
) -> Option<QuantizedChannel> {
    quantize_with(weights, bias, Quantization { zero_point: 0, ..input }, output, 255)
}

/// [`quantize_channel`] with weights that meet numbers of a magnitude up to `greatest`.
fn quantize_with(
    weights: &[f32],
    bias: f32,
    input: Quantization,
    output: Quantization,
    greatest: i64,
) -> Option<QuantizedChannel> {
    let [input_scale, output_scale, bias] = [input.scale, output.scale, bias].map(f64::from);
    let largest = weights.iter().fold(0.0, |largest: f64, &weight| largest.max(f64::from(weight).abs()));
    let of_weights =
        if largest < LEAST_WEIGHT { output_scale / (256.0 * input_scale) } else { largest / GREATEST };
    let of_bias = 2.0 * bias.abs() / (input_scale * f64::from(i32::MAX));
    let mut scale = of_weights.max(of_bias).clamp(f32::MIN_POSITIVE.into(), f32::MAX.into()) as f32;
    loop {
        let found = integers(weights, bias, input, scale, greatest);
        if let Some((weights, bias, bound)) = found {
            let multiplier = Multiplier::from_real(input_scale * f64::from(scale) / output_scale)?;
            // A left shift comes before the high multiplication, where it could overflow.
            let shifted = bound.checked_shl(multiplier.shift.max(0).unsigned_abs())?;
            if shifted > i64::from(i32::MAX) {
                return None;
            }
            return Some(QuantizedChannel { weights, scale, record: Channel { bias, multiplier } });
        }
        scale *= 2.0;
        if !scale.is_finite() {
            return None;
        }
    }
}

/// The weights, the folded bias and the bound of the accumulator; `None` if that is more than 32 bits.
pub(super) fn integers(
    weights: &[f32],
    bias: f64,
    input: Quantization,
    scale: f32,
    greatest: i64,
) -> Option<(Vec<i8>, i32, i64)> {
    let scale = f64::from(scale);
    let quantized = |&weight: &f32| {
        let steps = libm::round(f64::from(weight) / scale);
        steps.clamp(-GREATEST, GREATEST) as i8
    };
    let weights: Vec<i8> = weights.iter().map(quantized).collect();
    let sum: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let sum_of_magnitudes: i64 = weights.iter().map(|&weight| i64::from(weight.unsigned_abs())).sum();
    // The conversion saturates, far outside of 32 bits; what is added is far inside of 64.
    let plain = libm::round(bias / (f64::from(input.scale) * scale)).clamp(-1e15, 1e15) as i64;
    let folded = plain - i64::from(input.zero_point) * sum;
    let bound = folded.abs() + greatest * sum_of_magnitudes;
    (bound <= i64::from(i32::MAX)).then_some((weights, folded as i32, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn quantization(scale: f32, zero_point: i32) -> Quantization {
        Quantization { scale, zero_point }
    }

    fn real(multiplier: Multiplier) -> f64 {
        f64::from(multiplier.multiplier) / 2f64.powi(31) * 2f64.powi(multiplier.shift)
    }

    #[test]
    fn a_worked_example() {
        let (input, output) = (quantization(0.5, 3), quantization(0.25, -1));
        let found = quantize_channel(&[1.0, -2.54, 0.03], 10.01, input, output).unwrap();
        assert_eq!(found.scale, 0.02);
        // 1.0 / 0.02, -2.54 / 0.02, 0.03 / 0.02 = 1.5 away from zero.
        assert_eq!(found.weights, [50, -127, 2]);
        // 10.01 / (0.5 * 0.02) - 3 * (50 - 127 + 2)
        assert_eq!(found.record.bias, 1001 + 225);
        // 0.5 * 0.02 / 0.25 = 0.04 = 0.64 * 2^-4
        assert_eq!(found.record.multiplier.shift, -4);
        assert!((real(found.record.multiplier) / 0.04 - 1.0).abs() < 1e-7);
    }

    #[test]
    fn a_dead_channel_keeps_its_bias() {
        let (input, output) = (quantization(0.03, -128), quantization(0.07, 5));
        for bias in [0.0, 1.234, -3.0, 1e6] {
            for weights in [&[0.0; 9][..], &[1e-40; 4], &[]] {
                let found = quantize_channel(weights, bias, input, output).unwrap();
                assert!(found.weights.iter().all(|&weight| weight == 0));
                let value = f64::from(found.record.bias) * real(found.record.multiplier);
                let expected = f64::from(bias) / 0.07;
                let tolerance = 1.0 / 512.0 + expected.abs() * 1e-6;
                assert!((value - expected).abs() <= tolerance, "{bias}: {value} is not {expected}");
            }
        }
    }

    #[test]
    fn tiny_weights_do_not_overflow_the_bias() {
        let (input, output) = (quantization(0.01, -128), quantization(0.02, 0));
        for weight in [1e-6, 1e-9, 1e-15, 1e-30, 1e-37f32] {
            let found = quantize_channel(&[weight, -weight, 0.5 * weight], 2.0, input, output).unwrap();
            assert!(found.record.bias.abs() <= (1 << 30) + 128 * 3 * 127, "{weight}: {found:?}");
            let value = f64::from(found.record.bias) * real(found.record.multiplier);
            assert!((value - 100.0).abs() < 1e-3, "{weight}: {value}");
        }
        // As small, but without a bias: the scale stays, and with it the precision of the weights.
        let found = quantize_channel(&[1e-15, -5.1e-16], 0.0, input, output).unwrap();
        assert_eq!(found.weights, [127, -65]);
    }

    #[test]
    fn the_accumulator_fits_whatever_the_input() {
        // 2^18 weights of 127: 128 * 127 * 2^18 is about 2^32.
        let weights = vec![1.0; 1 << 18];
        let (input, output) = (quantization(0.01, -128), quantization(10.0, 0));
        let found = quantize_channel(&weights, 3.0, input, output).unwrap();
        let sum: i64 = found.weights.iter().map(|&weight| i64::from(weight)).sum();
        assert!(i64::from(found.record.bias).abs() + 128 * sum <= i64::from(i32::MAX));
        // Raised no more than needed: the folded bias is 128 * sum again, so that 31 is the most.
        assert!(found.weights.iter().all(|&weight| (15..=31).contains(&weight)), "{}", found.weights[0]);
    }

    #[test]
    fn an_absurd_output_scale_is_refused() {
        let tiny = quantization(1e-30, 0);
        assert_eq!(quantize_channel(&[1.0; 4], 0.0, quantization(1.0, 0), tiny), None);
        assert_eq!(quantize_channel(&[1.0; 4], 0.0, quantization(1.0, 0), quantization(1e-8, 0)), None);
    }
}
