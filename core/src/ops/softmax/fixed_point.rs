//! Fixed-point functions of TensorFlow Lite (gemmlowp, `fixedpoint/fixedpoint.h`; TensorFlow Lite, `kernels/internal/common.h`), bit for bit.
//!
//! Numbers of `n` integer bits are `Qn`: an i32 that stands for `raw / 2^(31 - n)`. Their product is [`multiply`], which adds the numbers of
//! integer bits.

use crate::quantization::rounding_divide_by_power_of_two;
use crate::quantization::saturating_rounding_doubling_high_mul;

/// Integer bits of the scaled difference from a row's maximum.
pub(in crate::ops) const DIFFERENCE_BITS: u32 = 5;
/// Integer bits of the sum of exponentials.
pub(in crate::ops) const ACCUMULATOR_BITS: u32 = 12;

/// The product of two numbers, see the [module](self). A function of its own: there are many products, and of none are there many.
#[inline(never)]
pub(in crate::ops) fn multiply(a: i32, b: i32) -> i32 {
    saturating_rounding_doubling_high_mul(a, b)
}

/// `exp(x)` as `Q0`, for `x` of `Q5` in [-16, 0].
///
/// The part of `x` in [-1/4, 0) goes through a polynomial; for each bit of the rest, which is a power of two times -1/4, the result is multiplied with
/// that power's exponential.
pub(in crate::ops) fn exp_on_negative_values(x: i32) -> i32 {
    /// `exp(-2^(position - 26))` as `Q0`, for the bits from 1/4 (position 24) on.
    static FACTORS: [(u32, i32); 7] = [
        (24, 1_672_461_947),
        (25, 1_302_514_674),
        (26, 790_015_084),
        (27, 290_630_308),
        (28, 39_332_535),
        (29, 720_401),
        (30, 242),
    ];
    const QUARTER: i32 = 1 << 24;
    if x == 0 {
        return i32::MAX;
    }
    let within = (x & (QUARTER - 1)) - QUARTER;
    // In [-1/4, 0), so that the step from Q5 to Q0 cannot overflow.
    let mut result = exp_between_minus_quarter_and_zero(within << DIFFERENCE_BITS);
    let rest = within.wrapping_sub(x);
    for &(position, factor) in &FACTORS {
        if rest & (1 << position) != 0 {
            result = multiply(result, factor);
        }
    }
    result
}

/// `exp(x)` as `Q0`, for `x` of `Q0` in [-1/4, 0): the Taylor polynomial of degree four around -1/8.
fn exp_between_minus_quarter_and_zero(x: i32) -> i32 {
    /// `exp(-1/8)`.
    const AT_CENTRE: i32 = 1_895_147_668;
    const ONE_THIRD: i32 = 715_827_883;
    let x = x + (1 << 28);
    let squared = multiply(x, x);
    let cubed = multiply(squared, x);
    let fourth_over_4 = rounding_divide_by_power_of_two(multiply(squared, squared), 2);
    // x^4 / 24 + x^3 / 6 + x^2 / 2
    let rest = rounding_divide_by_power_of_two(multiply(fourth_over_4 + cubed, ONE_THIRD) + squared, 1);
    AT_CENTRE + multiply(AT_CENTRE, x + rest)
}

/// `1 / (1 + x)` as `Q0`, for `x` of `Q0` in [0, 1): three steps of Newton's method, in `Q2`, from `48/17 - 32/17 * (1 + x) / 2`.
pub(in crate::ops) fn one_over_one_plus_x(x: i32) -> i32 {
    const ONE: i32 = 1 << 29;
    const C_48_OVER_17: i32 = 1_515_870_810;
    const C_MINUS_32_OVER_17: i32 = -1_010_580_540;
    // (x + 1) / 2, rounded; 1 is the greatest Q0.
    let half_denominator = ((i64::from(x) + i64::from(i32::MAX) + 1) / 2) as i32;
    let mut y = C_48_OVER_17.wrapping_add(multiply(half_denominator, C_MINUS_32_OVER_17));
    for _ in 0..3 {
        let error = ONE.wrapping_sub(multiply(half_denominator, y));
        // Q2 times Q2 is Q4; two bits bring it back.
        y = y.wrapping_add(multiply(y, error).saturating_mul(4));
    }
    // Twice the half denominator halves the reciprocal, which then is a Q1 with the same bits; one more bit makes it Q0.
    y.saturating_mul(2)
}

/// `ln(x)` as `Q5`, for `x` of `Q12` that is 1 or more.
///
/// `x = 2^power * r` in two ways, with `r` in about `[sqrt(1/2), 1)` and `power` a quarter above or below an integer; the one with the greater
/// power counts. `ln(r)` is a rational function around the fourth root of 1/2.
pub(in crate::ops) fn ln(x: i32) -> i32 {
    const LN_2: i32 = 1_488_522_236;
    const FOURTH_ROOT_OF_HALF: i32 = 1_805_811_301;
    const ROOT_OF_HALF: i32 = 1_518_500_250;
    /// With `d` the fourth root of 2: `11/240 * d`, `d / 20`, `2 / d - d` and `d / 4`.
    const NUMERATOR: i32 = 117_049_297;
    const DENOMINATOR_SQUARE: i32 = 127_690_142;
    const DENOMINATOR_CONSTANT: i32 = 1_057_819_769;
    const DENOMINATOR_FACTOR: i32 = 638_450_708;
    /// Integer bits of the result, and one more against saturation.
    const SUM_BITS: u32 = DIFFERENCE_BITS + 1;
    /// 1/4 in `Q6`.
    const QUARTER: i32 = 1 << (31 - SUM_BITS - 2);

    // `x` is positive: `zeros` is in 1..=31.
    let zeros = x.leading_zeros();
    let power = |integer_bits: u32| {
        let power = i64::from(ACCUMULATOR_BITS) - i64::from(integer_bits);
        saturated(power << (31 - SUM_BITS))
    };
    // x times the root of 1/2, which is put back by the quarters.
    let scaled = multiply(shifted_left(x, zeros.saturating_sub(1)), ROOT_OF_HALF);
    let (above, power_above) = (shifted_left(scaled, 1), power(zeros).saturating_add(QUARTER));
    let headroom = multiply(x, ROOT_OF_HALF).leading_zeros().saturating_sub(1);
    let (below, power_below) = (shifted_left(x, headroom), power(headroom).saturating_sub(QUARTER));
    let (r, power) = (above.min(below), power_above.max(power_below));

    let p = half_sum(r, FOURTH_ROOT_OF_HALF);
    let q = r.wrapping_sub(FOURTH_ROOT_OF_HALF).wrapping_mul(2);
    let squared = multiply(q, q);
    let numerator = multiply(q, r).wrapping_add(multiply(multiply(q, squared), NUMERATOR));
    let inner = DENOMINATOR_CONSTANT.wrapping_add(q).wrapping_add(multiply(DENOMINATOR_SQUARE, squared));
    let denominator_less_one = multiply(p, inner).wrapping_add(multiply(DENOMINATOR_FACTOR, q));
    let reciprocal = one_over_one_plus_x(denominator_less_one);
    let quotient = multiply(rounding_divide_by_power_of_two(numerator, SUM_BITS), reciprocal);
    shifted_left(multiply(power, LN_2).wrapping_add(quotient), SUM_BITS - DIFFERENCE_BITS)
}

/// `x * 2^bits`, saturated; `bits` is below 32.
fn shifted_left(x: i32, bits: u32) -> i32 {
    saturated(i64::from(x) << bits)
}

fn saturated(x: i64) -> i32 {
    x.max(i32::MIN.into()).min(i32::MAX.into()) as i32
}

/// `(a + b) / 2`, to nearest, ties away from zero.
fn half_sum(a: i32, b: i32) -> i32 {
    let sum = i64::from(a) + i64::from(b);
    ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_close_over_the_whole_range() {
        let unit = 1i64 << (31 - ACCUMULATOR_BITS);
        let mut largest: f64 = 0.0;
        for x in
            (unit..1 << 31).step_by(7919).chain([unit, unit + 1, 2 * unit - 1, 2 * unit, i64::from(i32::MAX)])
        {
            let exact = (x as f64 / unit as f64).ln();
            let found = f64::from(ln(x as i32)) / f64::from(1 << (31 - DIFFERENCE_BITS));
            largest = largest.max((found - exact).abs());
        }
        // TensorFlow Lite's approximation is good to about 2^-25 of what it is used for.
        assert!(largest < 3e-7, "{largest:e}");
        assert!(ln(unit as i32).abs() < 8);
    }
}
