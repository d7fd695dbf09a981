//! The arithmetic of TensorFlow Lite's 8-bit quantization, with TensorFlow Lite Micro's double rounding.
//!
//! A real factor below one is a [`Multiplier`]: a Q31 `multiplier` in `[2^30, 2^31)` and a power of two. The product is
//! rounded twice, first to the high word of the doubled product, then at the right shift; every kernel on every target
//! reproduces exactly this (gemmlowp, `fixedpoint/fixedpoint.h`; TensorFlow Lite Micro, `MultiplyByQuantizedMultiplier`).

/// The high 32 bits of `2 * a * b`, rounded to nearest with ties upward, saturated.
#[inline(always)]
pub const fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    // gemmlowp adds a nudge that depends on the sign and divides towards zero; this is the same number in fewer instructions.
    ((a as i64 * b as i64 + (1 << 30)) >> 31) as i32
}

/// `x / 2^exponent`, rounded to nearest with ties away from zero. `exponent` is in `0..=31`.
#[inline(always)]
pub const fn rounding_divide_by_power_of_two(x: i32, exponent: u32) -> i32 {
    let mask = 1u32.wrapping_shl(exponent).wrapping_sub(1) as i32;
    let remainder = x & mask;
    let threshold = (mask >> 1) + (x < 0) as i32;
    (x >> exponent) + (remainder > threshold) as i32
}

/// A real factor as a Q31 `multiplier` and a `shift` (positive is left): `multiplier / 2^31 * 2^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// Q31 significand, in `[2^30, 2^31)`, or 0 for a factor of zero.
    pub multiplier: i32,
    /// Power of two, in `-31..=30`.
    pub shift: i32,
}

impl Multiplier {
    /// Whether both numbers are in range.
    pub const fn is_valid(self) -> bool {
        (self.multiplier == 0 || self.multiplier >= 1 << 30) && self.shift >= -31 && self.shift <= 30
    }

    /// The nearest multiplier to `real`, which is not negative and below `2^30` (TensorFlow Lite's
    /// `QuantizeMultiplier`); `None` if it is not. A factor too small to represent becomes zero.
    pub fn from_real(real: f64) -> Option<Self> {
        if real == 0.0 {
            return Some(Self { multiplier: 0, shift: 0 });
        }
        if !real.is_finite() || real < 0.0 {
            return None;
        }
        let (significand, mut shift) = libm::frexp(real);
        let mut multiplier = libm::round(significand * (1i64 << 31) as f64) as i64;
        if multiplier == 1 << 31 {
            multiplier /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Some(Self { multiplier: 0, shift: 0 });
        }
        let found = Self { multiplier: multiplier as i32, shift };
        found.is_valid().then_some(found)
    }

    /// `accumulator` times this factor, rounded twice as TensorFlow Lite Micro does. A left shift wraps.
    #[inline(always)]
    pub const fn apply(self, accumulator: i32) -> i32 {
        let (left, right) =
            if self.shift > 0 { (self.shift as u32, 0) } else { (0, self.shift.unsigned_abs()) };
        let scaled = accumulator.wrapping_shl(left);
        rounding_divide_by_power_of_two(saturating_rounding_doubling_high_mul(scaled, self.multiplier), right)
    }
}

/// `accumulator` scaled by `multiplier`, moved to `zero_point` and clamped to `activation_min..=activation_max`.
#[inline(always)]
pub fn requantize(
    accumulator: i32,
    multiplier: Multiplier,
    zero_point: i32,
    activation_min: i32,
    activation_max: i32,
) -> i8 {
    // `max` then `min`, not `clamp`: `clamp` would panic for a range that is upside down.
    multiplier.apply(accumulator).saturating_add(zero_point).max(activation_min).min(activation_max) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_twice() {
        let half = Multiplier { multiplier: 1 << 30, shift: 0 };
        assert_eq!([1, -1, 3, -3, 2].map(|x| half.apply(x)), [1, 0, 2, -1, 1]);
        let eighth = Multiplier { multiplier: 1 << 30, shift: -2 };
        // 11/8 = 1.375: the first rounding gives 6 (5.5 up), the second 6/4 = 1.5 up to 2. One rounding would give 1.
        assert_eq!(eighth.apply(11), 2);
    }

    #[test]
    fn one_shift_is_gemmlowps_nudge_and_division() {
        let nudged = |a: i32, b: i32| {
            let product = i64::from(a) * i64::from(b);
            let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
            ((product + nudge) / (1 << 31)) as i32
        };
        let ends = [i32::MIN, i32::MIN + 1, -(1 << 30), -1, 0, 1, 1 << 30, i32::MAX];
        // Odd multiples of 2^30 are the ties.
        let ties = (-50..50).map(|odd| (2 * odd + 1, 1 << 30));
        let mixed = (0..100_000i32).map(|i| (i.wrapping_mul(-1_640_531_527), i.wrapping_mul(1_013_904_223)));
        for (a, b) in ends.into_iter().flat_map(|a| ends.map(|b| (a, b))).chain(ties).chain(mixed) {
            if (a, b) != (i32::MIN, i32::MIN) {
                assert_eq!(saturating_rounding_doubling_high_mul(a, b), nudged(a, b), "{a} {b}");
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert_eq!(saturating_rounding_doubling_high_mul(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(rounding_divide_by_power_of_two(i32::MIN, 31), -1);
        assert_eq!(rounding_divide_by_power_of_two(i32::MAX, 31), 1);
        let most = Multiplier { multiplier: i32::MAX, shift: 30 };
        assert_eq!(
            requantize(i32::MAX, most, 127, -128, 127),
            most.apply(i32::MAX).saturating_add(127).clamp(-128, 127) as i8
        );
    }

    #[test]
    fn from_real_is_the_nearest() {
        assert_eq!(Multiplier::from_real(0.5), Some(Multiplier { multiplier: 1 << 30, shift: 0 }));
        assert_eq!(Multiplier::from_real(1.0), Some(Multiplier { multiplier: 1 << 30, shift: 1 }));
        assert_eq!(Multiplier::from_real(1e-12), Some(Multiplier { multiplier: 0, shift: 0 }));
        assert_eq!([-0.1, f64::NAN, f64::INFINITY, 1e30].map(Multiplier::from_real), [None; 4]);
        for real in [0.001, 0.3, 0.7499, 0.999_999_999_9, 1.5, 100.0] {
            let found = Multiplier::from_real(real).unwrap();
            let value = f64::from(found.multiplier) / (1u64 << 31) as f64 * 2f64.powi(found.shift);
            assert!((value / real - 1.0).abs() < 1.0 / (1u64 << 30) as f64, "{real} {found:?}");
        }
    }
}
