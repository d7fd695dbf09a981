//! What the f32 kernels share: sums of `W` neighbouring channels for a few pixels or taps at once, and how a tensor is cut
//! into such tiles.

use super::fma;

/// `sums + value * weights`, channel by channel.
#[inline(always)]
pub(super) fn add_scaled<const W: usize>(sums: &mut [f32; W], value: f32, weights: &[f32; W]) {
    for (sum, &weight) in sums.iter_mut().zip(weights) {
        *sum = fma(value, weight, *sum);
    }
}

/// `sums + values * weights`, channel by channel.
#[inline(always)]
pub(super) fn add_product<const W: usize>(sums: &mut [f32; W], values: &[f32; W], weights: &[f32; W]) {
    for (sum, (&value, &weight)) in sums.iter_mut().zip(values.iter().zip(weights)) {
        *sum = fma(value, weight, *sum);
    }
}

/// `N` slices of `length` elements, the first at `start`, each `step` after the one before; `None` if one is not in `slice`.
#[inline(always)]
pub(super) fn rows<const N: usize>(
    slice: &[f32],
    start: usize,
    step: usize,
    length: usize,
) -> Option<[&[f32]; N]> {
    let mut rows: [&[f32]; N] = [&[]; N];
    let mut start = start;
    for row in &mut rows {
        *row = slice.get(start..)?.get(..length)?;
        start += step;
    }
    Some(rows)
}

/// The matrix product at the heart of convolutions: for each row `m` and `k` ascending,
/// `sums[m] = fma(rows[m][k], weights[k], sums[m])`. Rows have `length` elements.
#[inline(always)]
pub(super) fn add_products<'a, const W: usize, const M: usize>(
    mut sums: [[f32; W]; M],
    rows: [&[f32]; M],
    length: usize,
    weights: impl Iterator<Item = &'a [f32; W]>,
) -> [[f32; W]; M] {
    for (k, weights) in (0..length).zip(weights) {
        for (sums, row) in sums.iter_mut().zip(rows) {
            // Always there; the test falls away, because the compiler knows the rows' length.
            if let Some(&value) = row.get(k) {
                add_scaled(sums, value, weights);
            }
        }
    }
    sums
}

/// Calls `$kernel.$method::<W>(channel, $arguments)` for blocks of `W` channels that cover `0..$channels`: `$wide` as long as they
/// fit, then 16, 8, 4 and 1, as far as they are narrower.
macro_rules! for_channel_blocks {
    ($wide:ident, $channels:expr, $kernel:ident.$method:ident::<_, $tile:tt>($($argument:expr),*)) => {{
        let channels: usize = $channels;
        let mut channel = 0;
        while channel < channels {
            let left = channels - channel;
            channel += if left >= $wide {
                $kernel.$method::<$wide, $tile>(channel, $($argument),*);
                $wide
            } else if $wide > 16 && left >= 16 {
                $kernel.$method::<16, $tile>(channel, $($argument),*);
                16
            } else if $wide > 8 && left >= 8 {
                $kernel.$method::<8, $tile>(channel, $($argument),*);
                8
            } else if $wide > 4 && left >= 4 {
                $kernel.$method::<4, $tile>(channel, $($argument),*);
                4
            } else {
                $kernel.$method::<1, $tile>(channel, $($argument),*);
                1
            };
        }
    }};
}
pub(super) use for_channel_blocks;

/// Calls `$kernel.$method::<$w, M>(start, $arguments)` for tiles of `M` that cover `0..$count` without overlap: `$tile` as long as
/// they fit, then 4 and 1.
macro_rules! for_tiles {
    ($tile:ident, $count:expr, $kernel:ident.$method:ident::<$w:ident, _>($($argument:expr),*)) => {{
        let count: usize = $count;
        let mut start = 0;
        while start < count {
            let left = count - start;
            start += if left >= $tile {
                $kernel.$method::<$w, $tile>(start, $($argument),*);
                $tile
            } else if $tile > 4 && left >= 4 {
                $kernel.$method::<$w, 4>(start, $($argument),*);
                4
            } else {
                $kernel.$method::<$w, 1>(start, $($argument),*);
                1
            };
        }
    }};
}
pub(super) use for_tiles;
