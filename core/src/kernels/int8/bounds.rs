//! Proofs that no input makes an accumulator leave its range.

use super::requantize::Folded;

/// What no accumulator of a layout for Armv6-M and Armv7-M reaches in magnitude: it fits 24 bits.
pub(super) const LIMIT: i64 = 1 << 23;

/// Whether all accumulators of a channel with this bias and these weights stay below [`LIMIT`] in magnitude, whatever the int8 inputs, and `scale` is exact for
/// them.
pub(super) fn fits(bias: i64, weights: impl Iterator<Item = i64>, scale: Folded) -> bool {
    let [low, high] = weights.fold([bias; 2], |[low, high], weight| {
        let [a, b] = [-128 * weight, 127 * weight];
        [low + a.min(b), high + a.max(b)]
    });
    -LIMIT < low && high < LIMIT && scale.is_exact(LIMIT as u64)
}
