//! The range of an activation, from its histogram.

use smidgen::Quantization;

use super::histogram::{Bin, Histogram};
use crate::compile::quantize::RealRange;

/// The smallest and the greatest value.
pub(super) fn min_max(histogram: &Histogram) -> Option<RealRange> {
    let (min, max) = histogram.extremes()?;
    Some(RealRange { min, max })
}

/// The narrowest range of whole bins that leaves out at most half of `100 - percentage` percent of the values on each side.
pub(super) fn percentile(histogram: &Histogram, percentage: f64) -> Option<RealRange> {
    let tail = (histogram.count() as f64 * (100.0 - percentage) / 200.0).max(0.0) as u64;
    let mut left_out = 0;
    let mut stays = |bin: &Bin| {
        left_out += bin.count;
        left_out > tail
    };
    let min = histogram.bins().find(&mut stays)?.low;
    left_out = 0;
    let mut stays = |bin: &Bin| {
        left_out += bin.count;
        left_out > tail
    };
    let max = histogram.bins().rev().find(&mut stays)?.high;
    Some(RealRange { min, max: max.max(min) })
}

/// The range whose quantization gives the least squared error over the values.
///
/// Both ends are searched in turn, each over a geometric series from its extreme value to 2^-20 of it and then more finely around the best.
pub(super) fn mean_squared_error(histogram: &Histogram) -> Option<RealRange> {
    /// Times that both ends are searched; later rounds change nothing any more.
    const ROUNDS: usize = 2;
    let full = min_max(histogram)?;
    let values: Vec<(f64, f64)> = histogram.bins().map(|bin| (bin.centre(), bin.count as f64)).collect();
    // Every range includes zero, so that ends on its far side make no difference.
    let mut best = RealRange { min: full.min.min(0.0), max: full.max.max(0.0) };
    let mut least = squared_error(best.quantization(), &values);
    for _ in 0..ROUNDS {
        for end in [End::Max, End::Min] {
            // Coarse: 20 octaves in quarters. Fine: a quarter octave to both sides, in 32nds.
            for (steps, per_octave) in [(0..=80, 4.0), (-8..=8, 32.0)] {
                let start = if steps.start() == &0 { full } else { best };
                for step in steps {
                    let part = libm::exp2(-f64::from(step) / per_octave);
                    let candidate = end.scaled(best, start, full, part);
                    let error = squared_error(candidate.quantization(), &values);
                    if error < least {
                        (best, least) = (candidate, error);
                    }
                }
            }
        }
    }
    Some(best)
}

#[derive(Clone, Copy)]
enum End {
    Min,
    Max,
}

impl End {
    /// `range` with this end at `part` of where it is in `start`, but not outside of `full`.
    fn scaled(self, range: RealRange, start: RealRange, full: RealRange, part: f64) -> RealRange {
        let scaled = |value: f32| (f64::from(value) * part) as f32;
        match self {
            Self::Min => RealRange { min: scaled(start.min).max(full.min).min(0.0), ..range },
            Self::Max => RealRange { max: scaled(start.max).min(full.max).max(0.0), ..range },
        }
    }
}

/// Sum of the squared errors of quantized `(value, count)` pairs, in their order.
fn squared_error(quantization: Quantization, values: &[(f64, f64)]) -> f64 {
    let scale = f64::from(quantization.scale);
    let (least, greatest) =
        (f64::from(-128 - quantization.zero_point), f64::from(127 - quantization.zero_point));
    values
        .iter()
        .map(|&(value, count)| {
            let steps = libm::rint(value / scale).max(least).min(greatest);
            let error = steps * scale - value;
            count * error * error
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f32>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.add(value));
        histogram
    }

    /// Values in -1..1 by a linear congruential generator, denser towards zero.
    fn bell(count: usize) -> impl Iterator<Item = f32> {
        let mut state = 1u32;
        let mut uniform = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(move || (uniform() + uniform() + uniform()) / 3.0).take(count)
    }

    fn error(range: RealRange, values: impl Iterator<Item = f32>) -> f64 {
        let values: Vec<_> = values.map(|value| (f64::from(value), 1.0)).collect();
        squared_error(range.quantization(), &values) / values.len() as f64
    }

    #[test]
    fn a_percentile_leaves_out_what_it_says() {
        let histogram = of((1..=1000).map(|x| x as f32));
        let found = percentile(&histogram, 99.0).unwrap();
        // Whole bins: half a unit wide where 995 is.
        assert!(found.min == 6.0 && (995.0..995.5).contains(&found.max), "{found:?}");
        assert_eq!(percentile(&histogram, 100.0), min_max(&histogram));
        assert_eq!(percentile(&Histogram::default(), 99.0), None);
        // Of few values none is left out.
        assert_eq!(percentile(&of([-5.0, 1.0, 7.0]), 99.0), Some(RealRange { min: -5.0, max: 7.0 }));
    }

    #[test]
    fn without_outliers_the_least_squared_error_is_near_the_extremes() {
        let histogram = of((0..=10_000).map(|x| x as f32 / 10_000.0));
        let found = mean_squared_error(&histogram).unwrap();
        assert!(found.min == 0.0 && found.max > 0.98 && found.max <= 1.0, "{found:?}");
    }

    #[test]
    fn an_outlier_spoils_only_the_extremes() {
        for outlier in [50.0f32, -3000.0, 1e6] {
            let histogram = of(bell(50_000).chain([outlier]));
            let [extremes, percentile] = [min_max(&histogram), percentile(&histogram, 99.99)]
                .map(|range| error(range.unwrap(), bell(50_000)));
            // The negative control: the extremes waste nearly all steps on the outlier.
            assert!(extremes > 100.0 * percentile, "{outlier}: {extremes:e} and {percentile:e}");
        }
    }

    #[test]
    fn an_outlier_is_cut_off_where_that_lowers_the_squared_error() {
        // The error of cutting `r` off is `r^2`; keeping it costs each of `n` values `(r / 255)^2 / 12`: more from 780,000 values on.
        let mut histogram = of([-200.0]);
        for _ in 0..100 {
            bell(40_000).for_each(|value| histogram.add(value));
        }
        let values = || (0..100).flat_map(|_| bell(40_000)).chain([-200.0]);
        let [extremes, least] = [min_max(&histogram), mean_squared_error(&histogram)].map(Option::unwrap);
        assert!(least.min > -100.0, "{least:?}");
        let [extremes, least] = [extremes, least].map(|range| error(range, values()));
        assert!(extremes > 4.0 * least, "{extremes:e} and {least:e}");
    }

    #[test]
    fn no_candidate_of_a_fine_grid_is_much_better() {
        let values = || bell(20_000).map(|x| if x > 0.0 { x * x * 9.0 } else { x });
        let found = error(mean_squared_error(&of(values())).unwrap(), values());
        for max in 1..=60 {
            for min in 1..=20 {
                let range = RealRange { min: min as f32 / -20.0, max: max as f32 * 0.15 };
                let other = error(range, values());
                assert!(found <= other * 1.02, "{range:?}: {other:e} is below {found:e}");
            }
        }
    }
}
