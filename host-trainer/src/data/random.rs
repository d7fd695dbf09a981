//! The random numbers of the data: a generator of its own for each use, so that results depend neither on threads nor on order.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// What random numbers are for. Two uses never share a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    Shuffle = 1,
    Augment = 2,
    Look = 3,
    Mix = 4,
    Dropout = 5,
    Class = 6,
    Sound = 7,
    Mask = 8,
    Background = 9,
    Silence = 10,
}

/// The output function of `SplitMix64`: a bijection of `u64` that spreads every bit over all bits.
///
/// G. L. Steele, D. Lea, C. H. Flood: *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014 (variant 13 of D. Stafford's mixers).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A number for one use, epoch and sample of the run with this seed.
pub(super) fn key(seed: u64, purpose: Use, epoch: u32, sample: u32) -> u64 {
    generator(seed, purpose, epoch, sample).next_u64()
}

/// The generator for one use, epoch and sample of the run with this seed.
pub(super) fn generator(seed: u64, purpose: Use, epoch: u32, sample: u32) -> Xoshiro256PlusPlus {
    /// `SplitMix64`'s increment, 2^64 divided by the golden ratio: keeps zeros from mapping to zero.
    const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;
    let place = u64::from(epoch) << 32 | u64::from(sample);
    let hash = [purpose as u64, place]
        .into_iter()
        .fold(mix(seed.wrapping_add(INCREMENT)), |hash, part| mix(hash.wrapping_add(INCREMENT) ^ part));
    Xoshiro256PlusPlus::seed_from_u64(hash)
}

/// A uniform integer less than `bound`, which must not be 0; every value has exactly the same probability.
///
/// D. Lemire: *Fast Random Integer Generation in an Interval*, ACM TOMACS 29(1), 2019.
pub(super) fn below(random: &mut Xoshiro256PlusPlus, bound: u32) -> u32 {
    let draw = |random: &mut Xoshiro256PlusPlus| (random.next_u64() >> 32) * u64::from(bound);
    let mut product = draw(random);
    // The low half is less than `threshold` for just the draws that would make some results likelier than others.
    if (product as u32) < bound {
        let threshold = bound.wrapping_neg() % bound;
        while (product as u32) < threshold {
            product = draw(random);
        }
    }
    (product >> 32) as u32
}

/// A uniform multiple of 2^-24 in `[0, 1)`.
pub(super) fn unit(random: &mut Xoshiro256PlusPlus) -> f32 {
    const STEP: f32 = 1.0 / 16_777_216.0;
    (random.next_u64() >> 40) as f32 * STEP
}

/// A uniform number in `[-bound, bound)`.
pub(super) fn symmetric(random: &mut Xoshiro256PlusPlus, bound: f32) -> f32 {
    (2.0 * unit(random) - 1.0) * bound
}

/// Two independent numbers of the normal distribution with mean 0 and standard deviation 1 (Box and Muller's method).
pub(super) fn gaussian_pair(random: &mut Xoshiro256PlusPlus) -> (f32, f32) {
    // In (0, 1], so that the logarithm is finite.
    let radius = libm::sqrtf(-2.0 * libm::logf(1.0 - unit(random)));
    let (sine, cosine) = libm::sincosf(core::f32::consts::TAU * unit(random));
    (radius * cosine, radius * sine)
}

/// A number of the distribution `Beta(alpha, alpha)`, `alpha` positive, as the share of the first of two numbers of the gamma distribution.
pub(super) fn beta(random: &mut Xoshiro256PlusPlus, alpha: f32) -> f32 {
    let (first, second) = (log_gamma_variate(random, alpha), log_gamma_variate(random, alpha));
    1.0 / (1.0 + libm::expf(second - first))
}

/// The logarithm of a number of the gamma distribution, which itself may be too small for an f32.
///
/// G. Marsaglia, W. W. Tsang: *A Simple Method for Generating Gamma Variables*, ACM TOMS 26(3), 2000; for `alpha` below 1 their section 6.
fn log_gamma_variate(random: &mut Xoshiro256PlusPlus, alpha: f32) -> f32 {
    let boost = if alpha < 1.0 { libm::logf(1.0 - unit(random)) / alpha } else { 0.0 };
    let d = if alpha < 1.0 { alpha + 1.0 } else { alpha } - 1.0 / 3.0;
    let c = 1.0 / libm::sqrtf(9.0 * d);
    loop {
        let (x, _) = gaussian_pair(random);
        let v = 1.0 + c * x;
        let cube = v * v * v;
        if v > 0.0 && libm::logf(1.0 - unit(random)) < 0.5 * x * x + d - d * cube + d * libm::logf(cube) {
            return libm::logf(d * cube) + boost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_changes_the_sequence() {
        let first = |seed, purpose, epoch, sample| generator(seed, purpose, epoch, sample).next_u64();
        let values = [
            first(0, Use::Shuffle, 0, 0),
            first(1, Use::Shuffle, 0, 0),
            first(0, Use::Augment, 0, 0),
            first(0, Use::Shuffle, 1, 0),
            first(0, Use::Shuffle, 0, 1),
        ];
        for (index, value) in values.iter().enumerate() {
            assert!(!values[..index].contains(value), "{values:x?}");
        }
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut random = generator(1, Use::Shuffle, 0, 0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut random, 7) as usize] += 1;
        }
        // The standard deviation of a count is 93.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(below(&mut random, 1), 0);
    }

    #[test]
    fn the_gaussian_has_the_moments_of_the_normal_distribution() {
        let mut random = generator(2, Use::Augment, 0, 0);
        let values: Vec<f64> = (0..50_000)
            .flat_map(|_| {
                let (first, second) = gaussian_pair(&mut random);
                [f64::from(first), f64::from(second)]
            })
            .collect();
        let moment = |power| values.iter().map(|value| value.powi(power)).sum::<f64>() / values.len() as f64;
        // Standard errors of 100,000 draws: 0.0032, 0.0045, 0.031.
        assert!(moment(1).abs() < 0.02, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "variance {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.2, "kurtosis {}", moment(4));
        assert!(values.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn beta_has_its_moments() {
        for alpha in [0.2_f32, 1.0, 3.0] {
            let mut random = generator(3, Use::Mix, 0, 0);
            let values: Vec<f64> = (0..40_000).map(|_| beta(&mut random, alpha).into()).collect();
            let mean = values.iter().sum::<f64>() / 40_000.0;
            let variance = values.iter().map(|value| (value - 0.5).powi(2)).sum::<f64>() / 40_000.0;
            let expected = 0.25 / (2.0 * f64::from(alpha) + 1.0);
            // Standard errors of at most 0.0021 and 0.0006.
            assert!((mean - 0.5).abs() < 0.011, "alpha {alpha}: mean {mean}");
            assert!((variance - expected).abs() < 0.003, "alpha {alpha}: variance {variance}, {expected}");
            assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
        }
    }
}
