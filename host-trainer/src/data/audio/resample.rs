//! Another sample rate.

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 16.0;

/// The samples at another rate, by interpolation with a sinc under a Hann window that lets pass what both rates can hold.
///
/// Everything in f64 and by `libm`, so that it is the same on every machine. (J. O. Smith: *Digital Audio Resampling*, 2002.)
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || samples.is_empty() {
        return samples.to_vec();
    }
    let step = f64::from(from) / f64::from(to);
    // Cut off at the lower of the two half rates, in units of the old one; a little below, for the filter's slope.
    let cutoff = (1.0 / step).min(1.0) * 0.95;
    let reach = CROSSINGS / cutoff;
    let length = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from)) as usize;
    let value = |index: usize| {
        let centre = index as f64 * step;
        let first = libm::ceil(centre - reach).max(0.0) as usize;
        let last = (libm::floor(centre + reach) as usize).min(samples.len() - 1);
        let part = (first..=last).map(|at| {
            let distance = at as f64 - centre;
            let window = 0.5 + 0.5 * libm::cos(core::f64::consts::PI * distance / reach);
            f64::from(samples[at]) * cutoff * sinc(cutoff * distance) * window
        });
        part.sum::<f64>() as f32
    };
    (0..length).map(value).collect()
}

/// `sin(pi x) / (pi x)`.
fn sinc(x: f64) -> f64 {
    let angle = core::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { libm::sin(angle) / angle }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, length: usize) -> Vec<f32> {
        let turn = |n: usize| std::f64::consts::TAU * hz * n as f64 / f64::from(rate);
        (0..length).map(|n| turn(n).sin() as f32).collect()
    }

    #[test]
    fn a_tone_stays_the_tone() {
        for (from, to) in [(16_000, 8_000), (44_100, 8_000), (8_000, 16_000)] {
            let found = resample(&tone(700.0, from, from as usize), from, to);
            assert_eq!(found.len(), to as usize);
            let expected = tone(700.0, to, to as usize);
            let inner = 200..found.len() - 200;
            let error = inner.map(|n| (found[n] - expected[n]).abs()).fold(0.0, f32::max);
            assert!(error < 0.01, "{from} to {to}: off by {error}");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_gone() {
        let found = resample(&tone(6_000.0, 16_000, 16_000), 16_000, 8_000);
        let loudest = found[200..7_800].iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        assert!(loudest < 0.02, "{loudest}");
    }

    #[test]
    fn the_same_rate_changes_nothing() {
        let samples = tone(700.0, 8_000, 100);
        assert_eq!(resample(&samples, 8_000, 8_000), samples);
        assert!(resample(&[], 8_000, 16_000).is_empty());
    }
}
