//! Cosines of fractions of a turn.

use core::num::NonZeroU32;

/// `cos(2 pi n / d)`, correct to 2e-7, for `d` below 2^28.
///
/// The angle is brought into an eighth of a turn in integers, so that nothing is lost, and sine and cosine there are the first terms of their Taylor series:
/// the next ones are below 2e-9. All of it is f32, so that a processor with a unit for f32 only needs no arithmetic of f64 in its flash.
pub fn cosine_of_turn(n: u32, d: NonZeroU32) -> f32 {
    let eighths = (n % d) * 8;
    let (octant, rest) = (eighths / d, eighths % d);
    // How far into the eighth, or, in every other one, how far before its end.
    let part = if octant % 2 == 0 { rest } else { d.get() - rest };
    let angle = part as f32 / d.get() as f32 * core::f32::consts::FRAC_PI_4;
    match octant {
        0 | 7 => cosine(angle),
        1 | 6 => sine(angle),
        2 | 5 => -sine(angle),
        _ => -cosine(angle),
    }
}

/// `sin(2 pi n / d)`.
pub(super) fn sine_of_turn(n: u32, d: NonZeroU32) -> f32 {
    // A quarter of a turn earlier: in quarters of the fraction, so that it is one.
    let quarters = d.saturating_mul(NonZeroU32::MIN.saturating_add(3));
    cosine_of_turn(4 * (n % d) + 3 * d.get(), quarters)
}

/// From 0 to a quarter of pi.
fn sine(x: f32) -> f32 {
    let square = x * x;
    let terms = [1.0 / 362_880.0, -1.0 / 5_040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0];
    terms.into_iter().fold(0.0, |sum, term| sum * square + term) * x
}

/// From 0 to a quarter of pi.
fn cosine(x: f32) -> f32 {
    let square = x * x;
    let terms = [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0];
    terms.into_iter().fold(0.0, |sum, term| sum * square + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_cosine() {
        for d in [1, 2, 3, 7, 8, 96, 256, 1000, 16_384] {
            let denominator = NonZeroU32::new(d).unwrap();
            for n in 0..2 * d {
                let turn = core::f64::consts::TAU * f64::from(n) / f64::from(d);
                let found = [cosine_of_turn(n, denominator), sine_of_turn(n, denominator)];
                let found = found.map(f64::from);
                let error = (found[0] - turn.cos()).abs().max((found[1] - turn.sin()).abs());
                assert!(error < 2e-7, "{n}/{d}: {found:?}, off by {error:e}");
            }
        }
    }

    #[test]
    fn quarters_are_exact() {
        let four = NonZeroU32::new(4).unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| cosine_of_turn(n, four)), [1.0, 0.0, -1.0, 0.0]);
    }
}
