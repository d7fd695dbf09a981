//! Random numbers that are a function of a counter: no state, no order, the same bits wherever and whenever they are drawn.

/// Philox4x32-10: four uniform words for a 128-bit counter and a 64-bit key.
///
/// J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011.
#[inline(always)]
pub(crate) fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const INCREMENTS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, key);
    for _ in 0..10 {
        let [left, right] = MULTIPLIERS;
        let (left, right) = (u64::from(a) * left, u64::from(c) * right);
        [a, b, c, d] = [(right >> 32) as u32 ^ b ^ k, right as u32, (left >> 32) as u32 ^ d ^ l, left as u32];
        let [first, second] = INCREMENTS;
        (k, l) = (k.wrapping_add(first), l.wrapping_add(second));
    }
    [a, b, c, d]
}

/// A uniform multiple of 2^-24 in `[0, 1)`, from the upper bits of a uniform word.
#[inline(always)]
pub(crate) fn unit(word: u32) -> f32 {
    const STEP: f32 = 1.0 / 16_777_216.0;
    (word >> 8) as f32 * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with their library, Random123.
    #[test]
    fn the_words_are_the_authors() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn units_are_below_1() {
        assert_eq!((unit(0), unit(u32::MAX)), (0.0, 1.0 - f32::EPSILON / 2.0));
    }
}
