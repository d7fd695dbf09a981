//! gemmlowp's fixed-point functions (`fixedpoint/fixedpoint.h`), with whose rounding TensorFlow Lite Micro computes sigmoid and hyperbolic tangent of
//! int8, and the reciprocal square root of `quantization_util.h`.
//!
//! A number of `n` integer bits is an i32 that stands for `raw / 2^(31 - n)`. A product has as many integer bits as its factors together.

use smidgen::quantization::{
    rounding_divide_by_power_of_two, saturating_rounding_doubling_high_mul as multiply,
};

/// `raw * 2^exponent`, saturated.
fn shift_left(raw: i32, exponent: u32) -> i32 {
    let wide = i64::from(raw) << exponent;
    wide.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// `exp(x)` with no integer bits, for `x` with none in [-1/4, 0): the Taylor polynomial of degree four around -1/8.
fn exp_of_small(x: i32) -> i32 {
    /// `exp(-1/8)`.
    const CENTRE: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = x + (1 << 28);
    let square = multiply(x, x);
    let cube = multiply(square, x);
    let fourth = rounding_divide_by_power_of_two(multiply(square, square), 2);
    let tail = rounding_divide_by_power_of_two(multiply(fourth + cube, THIRD) + square, 1);
    CENTRE + multiply(CENTRE, x + tail)
}

/// `exp(x)` with no integer bits, for `x` with `integer_bits` (at most 5) that is not positive.
fn exp_of_negative(x: i32, integer_bits: u32) -> i32 {
    /// `exp(-2^exponent)`, from the exponent -2 on.
    const FACTORS: [i32; 7] =
        [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    if x == 0 {
        return i32::MAX;
    }
    let fraction_bits = 31 - integer_bits;
    let quarter = 1 << (fraction_bits - 2);
    let within = (x & (quarter - 1)) - quarter;
    let rest = within.wrapping_sub(x);
    let mut result = exp_of_small(shift_left(within, integer_bits));
    for (factor, bit) in FACTORS.into_iter().zip(fraction_bits - 2..31) {
        if rest & (1 << bit) != 0 {
            result = multiply(result, factor);
        }
    }
    result
}

/// `2 / (1 + x)` with two integer bits, for `x` with none in [0, 1): three steps of Newton and Raphson.
fn twice_reciprocal_of_one_plus(x: i32) -> i32 {
    /// 48/17 and -32/17 with two integer bits.
    const START: [i32; 2] = [1_515_870_810, -1_010_580_540];
    const ONE: i32 = 1 << 29;
    let half_denominator = ((i64::from(x) + i64::from(i32::MAX) + 1) / 2) as i32;
    let mut y = START[0] + multiply(half_denominator, START[1]);
    for _ in 0..3 {
        let error = ONE - multiply(half_denominator, y);
        y += shift_left(multiply(y, error), 2);
    }
    y
}

/// `1 / (1 + exp(-x))` with no integer bits, for `x` with four.
pub(super) fn logistic(x: i32) -> i32 {
    if x == 0 {
        return 1 << 30;
    }
    let positive = shift_left(twice_reciprocal_of_one_plus(exp_of_negative(-x.abs(), 4)), 1);
    if x > 0 { positive } else { i32::MAX - positive }
}

/// The hyperbolic tangent with no integer bits, for `x` with four.
pub(super) fn tanh(x: i32) -> i32 {
    if x == 0 {
        return 0;
    }
    // The same bits with five integer bits are twice the number. (1 - e) / (1 + e) is 2 / (1 + e) - 1.
    let twice = twice_reciprocal_of_one_plus(exp_of_negative(-x.abs(), 5));
    let positive = shift_left(twice - (1 << 29), 2);
    if x > 0 { positive } else { -positive }
}

/// `1 / sqrt(x)` for positive `x`, as a factor and a right shift: `factor / 2^31 / 2^shift`.
pub(super) fn inverse_square_root(x: i32) -> (i32, i32) {
    if x <= 1 {
        return (i32::MAX, 0);
    }
    let (mut x, mut shift) = (x, 11);
    while x >= 1 << 29 {
        x /= 4;
        shift += 1;
    }
    let pairs = (x.leading_zeros() - 1) / 2 - 1;
    shift -= pairs as i32;
    x <<= 2 * pairs;
    // Three integer bits: 1.0 is 2^28. A product of several has more, which `shift_left` takes back.
    let half = rounding_divide_by_power_of_two(x >> 1, 1);
    let mut y: i32 = 1 << 28;
    for _ in 0..5 {
        let cube = shift_left(multiply(multiply(y, y), y), 6);
        y = shift_left(multiply((1 << 28) + (1 << 27), y) - multiply(half, cube), 3);
    }
    /// `sqrt(2) / 2` with no integer bits.
    const HALF_SQRT_2: i32 = 1_518_500_250;
    let factor = multiply(y, HALF_SQRT_2);
    if shift < 0 { (factor << -shift, 0) } else { (factor, shift) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of three Newton steps and of the polynomial, in units of 1.
    const TOLERANCE: f64 = 2e-7;

    #[test]
    fn functions_are_close_to_the_real_ones() {
        for raw in (i32::MIN + 1..i32::MAX).step_by(1_000_003) {
            let x = f64::from(raw) / f64::from(1 << 27);
            let unit = |raw: i32| f64::from(raw) / 2f64.powi(31);
            assert!((unit(logistic(raw)) - 1.0 / (1.0 + (-x).exp())).abs() < TOLERANCE, "{x}");
            assert!((unit(tanh(raw)) - x.tanh()).abs() < TOLERANCE, "{x}");
        }
        assert_eq!((logistic(0), tanh(0)), (1 << 30, 0));
    }

    #[test]
    fn inverse_square_roots_are_close_to_the_real_ones() {
        for x in (2..2000).chain((2000..i32::MAX).step_by(7_654_321)) {
            let (factor, shift) = inverse_square_root(x);
            let found = f64::from(factor) / 2f64.powi(31 + shift);
            assert!((found * f64::from(x).sqrt() - 1.0).abs() < 2e-6, "{x}: {found}");
        }
    }
}
