//! Sigmoid and hyperbolic tangent of int16 fixed-point numbers, by one table and linear interpolation (TensorFlow Lite,
//! `reference/integer_ops/logistic.h` and `tanh.h`): integers only, so the same on every target.

/// Entries of the table.
const ENTRIES: usize = 256;
/// Entries for a step of 1.0 of the sigmoid's argument.
const PER_UNIT: f64 = 24.0;

/// `sigmoid(i / 24)` as unsigned 16 bits after the point, to nearest. The tangent needs no table of its own: `tanh(x) = 2 * sigmoid(2x) - 1`.
static SIGMOID: [u16; ENTRIES] = sigmoid_table();

const fn sigmoid_table() -> [u16; ENTRIES] {
    // e^(-1/24), by its series; below 1e-16 after twelve terms.
    let (mut ratio, mut term, mut n) = (1.0, 1.0, 1);
    while n < 12 {
        term *= -1.0 / PER_UNIT / n as f64;
        ratio += term;
        n += 1;
    }
    let (mut table, mut exponential, mut index) = ([0; ENTRIES], 1.0, 0);
    while index < ENTRIES {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[index] = (65_536.0 / (1.0 + exponential) + 0.5) as u16;
        }
        exponential *= ratio;
        index += 1;
    }
    table
}

/// The table at `position`, which has `fraction_bits` bits after the point: a number with 16 more. Beyond the table, `beyond`.
#[inline(always)]
fn interpolated(position: u32, fraction_bits: u32, beyond: u32) -> u32 {
    let whole = (position >> fraction_bits) as usize;
    let (Some(&low), Some(&high)) = (SIGMOID.get(whole), SIGMOID.get(whole + 1)) else {
        return beyond << fraction_bits;
    };
    let fraction = position & ((1 << fraction_bits) - 1);
    (u32::from(low) << fraction_bits) + fraction * (u32::from(high) - u32::from(low))
}

/// The sigmoid of `x / 2^12`, as 15 bits after the point.
#[inline]
pub fn sigmoid_q15(x: i16) -> i16 {
    // Three quarters of 2^12 per unit and 9 bits of fraction: 24 entries per unit.
    let scaled = i32::from(x) * 3;
    let upper = interpolated(scaled.unsigned_abs(), 9, 0x7fff << 1);
    let value = if scaled >= 0 { upper + (1 << 9) } else { (1 << 25) - upper + (1 << 9) - 1 };
    (value >> 10) as i16
}

/// The hyperbolic tangent of `x * 2^power`, as 15 bits after the point. `power` is in `-30..=0`.
#[inline]
pub fn tanh_q15(x: i16, power: i32) -> i16 {
    // The argument with 12 bits after the point, times 3.
    let shift = 12 + power;
    let scaled = if shift >= 0 {
        (i32::from(x) * 3).wrapping_shl(shift as u32)
    } else {
        let right = shift.unsigned_abs();
        (i32::from(x) * 3 + (1i32.wrapping_shl(right) >> 1)).wrapping_shr(right)
    };
    let upper = interpolated(scaled.unsigned_abs(), 8, 0xffff) as i32;
    let half = (1 << 23) - (1 << 7);
    let value = if scaled >= 0 { upper - half } else { half - upper + (1 << 8) - 1 };
    (value >> 8) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_sigmoid() {
        for (index, &entry) in SIGMOID.iter().enumerate() {
            let exact = 65_536.0 / (1.0 + libm::exp(-(index as f64) / PER_UNIT));
            assert_eq!(f64::from(entry), libm::round(exact), "{index}");
        }
        assert_eq!(SIGMOID[..4], [32768, 33451, 34133, 34813]);
    }

    /// Linear interpolation between entries that are rounded is off by this many steps of 2^-15.
    const STEPS: f64 = 2.5;

    #[test]
    fn the_functions_are_near_the_real_ones() {
        for x in i16::MIN..=i16::MAX {
            let real = f64::from(x) / 4096.0;
            let sigmoid = 32_768.0 / (1.0 + libm::exp(-real));
            assert!((f64::from(sigmoid_q15(x)) - sigmoid.min(32_767.0)).abs() < STEPS, "{x}");
            for power in [-15, -12, -11, -9] {
                let tanh = 32_768.0 * libm::tanh(f64::from(x) * libm::exp2(f64::from(power)));
                let found = f64::from(tanh_q15(x, power));
                assert!(
                    (found - tanh.clamp(-32_768.0, 32_767.0)).abs() < 4.0 * STEPS,
                    "{x} {power}: {found} {tanh}"
                );
            }
        }
    }

    /// TensorFlow Lite's formulas, term by term.
    #[test]
    fn the_functions_are_tensorflow_lite_s() {
        for x in (i16::MIN..=i16::MAX).step_by(7).chain([i16::MAX]) {
            let input = i64::from(x) * 3;
            let (high, low) = ((input.abs() >> 9) as usize, input.abs() & 511);
            let at = |index: usize| i64::from(SIGMOID[index]);
            let sum =
                if high >= 255 { 0x7fff << 10 } else { (at(high) << 9) + low * (at(high + 1) - at(high)) };
            let sum = if input >= 0 { sum + 512 } else { (1 << 25) - sum + 511 };
            assert_eq!(i64::from(sigmoid_q15(x)), sum >> 10, "{x}");
            for power in [-30, -20, -16, -15, -12, -10, -3, 0] {
                let left = 15 + power - 3;
                let input = if left < 0 {
                    (i64::from(x) * 3 + (1 << (-left - 1))) >> -left
                } else {
                    i64::from(x) * (3 << left)
                };
                let (high, low) = ((input.abs() >> 8) as usize, input.abs() & 255);
                let sum =
                    if high >= 255 { 0xffff << 8 } else { (at(high) << 8) + low * (at(high + 1) - at(high)) };
                let sum = if input >= 0 { sum - (1 << 23) + 128 } else { -sum + (1 << 23) + 127 };
                assert_eq!(i64::from(tanh_q15(x, power)), sum >> 8, "{x} {power}");
            }
        }
    }
}
