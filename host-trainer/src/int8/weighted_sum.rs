//! Weights that make an int8 sum two multiply-adds.

use smidgen::ops::add::int8::AddI8;
use smidgen::ops::binary::int8::WeightedSumI8;

/// The weighted sum that gives the same as `sum` (or as its difference, if `subtract`) for each of the 65,536 pairs of inputs, if one is found.
///
/// TensorFlow Lite's arithmetic rounds three times, each time in 2^-20 of the output's step or less: the exact sum rounded once differs from it only next to
/// halves. Weights a little larger round exact halves away from zero, as it does. So few candidates suffice; each is compared with every pair.
pub fn weighted_sum(sum: &AddI8, subtract: bool) -> Option<WeightedSumI8> {
    let value = if subtract { AddI8::apply_sub } else { AddI8::apply };
    let all = || (-128..=127i8).flat_map(|left| (-128..=127i8).map(move |right| (left, right)));
    let expected: Vec<i8> = all().map(|(left, right)| value(sum, left, right)).collect();
    let is_same = |found: &WeightedSumI8| {
        found.fits()
            && all().zip(&expected).all(|((left, right), &expected)| found.apply(left, right) == expected)
    };
    candidates(sum, subtract).find(is_same)
}

/// Weights that are nearly right, the finest first.
fn candidates(sum: &AddI8, subtract: bool) -> impl Iterator<Item = WeightedSumI8> + '_ {
    /// What the weights are enlarged by, in 2^-22.
    const GROWTH: [i32; 9] = [1, 0, 2, 4, 8, 16, -1, -4, 32];
    /// What is added to a half, in 2^-18.
    const NUDGES: [i32; 3] = [0, -1, 1];
    let real = |factor: smidgen::quantization::Multiplier| {
        f64::from(factor.multiplier) / 2f64.powi(31) * 2f64.powi(factor.shift)
    };
    let scale = real(sum.output_multiplier) * 2f64.powi(sum.left_shift as i32);
    let [left, right] = sum.multipliers.map(|factor| real(factor) * scale);
    let weights = [left, if subtract { -right } else { right }];
    let range = sum.range;
    let of = move |shift: u32, growth: i32, nudge: i32| {
        let unit = 2f64.powi(shift as i32);
        let grown = weights.map(|weight| {
            let weight = weight * (1.0 + f64::from(growth) / f64::from(1 << 22));
            libm::round(weight * unit) as i32
        });
        let zeros: i64 =
            grown.iter().zip(sum.zero_points).map(|(&w, zero)| i64::from(w) * i64::from(zero)).sum();
        let half = (1i64 << shift) / 2 + (i64::from(nudge) << shift >> 18);
        let bias = (i64::from(range.zero_point) << shift) + half - zeros;
        let clamp = [range.activation_min, range.activation_max];
        let bias = i32::try_from(bias).ok()?;
        Some(WeightedSumI8 { weights: grown, bias, shift, clamp }).filter(WeightedSumI8::fits)
    };
    let finest = (10..=24).rev().find(|&shift| of(shift, 32, 1).is_some());
    let shifts =
        finest.into_iter().flat_map(|finest| (0..3).filter_map(move |less| finest.checked_sub(less)));
    shifts.flat_map(move |shift| {
        NUDGES.into_iter().flat_map(move |nudge| {
            let of = of;
            GROWTH.into_iter().filter_map(move |growth| of(shift, growth, nudge))
        })
    })
}

#[cfg(test)]
mod tests {
    use smidgen::Quantization;
    use smidgen::ops::activation::Activation;

    use super::*;

    fn quantization(seed: u32) -> Quantization {
        let mixed = seed.wrapping_mul(2_654_435_761);
        let scale = (1 + (mixed >> 8) % 2000) as f32 / 16_000.0;
        Quantization { scale, zero_point: ((mixed >> 20) & 255) as i32 - 128 }
    }

    #[test]
    fn nearly_every_sum_has_weights() {
        let (mut found, mut tried) = (0, 0);
        for seed in 0..60u32 {
            let [left, right] = [3 * seed, 3 * seed + 1].map(quantization);
            // The output holds the sum, as calibration sees to.
            let output =
                Quantization { scale: left.scale.max(right.scale) * 1.3, ..quantization(3 * seed + 2) };
            let activation = [Activation::None, Activation::Relu][seed as usize % 2];
            let sum = AddI8::new(left, right, output, activation).unwrap();
            let difference = AddI8::new_sub(left, right, output, activation).unwrap();
            for (params, subtract) in [(sum, false), (difference, true)] {
                tried += 1;
                let Some(weights) = weighted_sum(&params, subtract) else { continue };
                found += 1;
                let value = if subtract { AddI8::apply_sub } else { AddI8::apply };
                for (x, y) in (-128..=127i8).flat_map(|x| (-128..=127i8).map(move |y| (x, y))) {
                    assert_eq!(weights.apply(x, y), value(&params, x, y));
                }
            }
        }
        println!("{found} of {tried}");
        assert!(found * 10 >= tried * 9, "{found} of {tried}");
    }

    #[test]
    fn equal_scales_are_found_although_they_have_exact_halves() {
        for zero_point in [-128, -7, 0, 100] {
            let side = Quantization { scale: 0.05, zero_point };
            let output = Quantization { scale: 0.1, zero_point: 3 };
            let sum = AddI8::new(side, side, output, Activation::None).unwrap();
            assert!(weighted_sum(&sum, false).is_some());
        }
    }
}
