//! The layout of weight rows: convolutions for processors that multiply one pair of numbers at a time, Armv6-M and Armv7-M.
//!
//! # The stream
//!
//! The weights of one output channel are a row of `K = K_h * K_w * C_in` numbers, filled up with zeros to a multiple of eight. For each output channel
//! there are `K / 4 + 4` words, one channel after another:
//!
//! | words | what |
//! |---|---|
//! | 1 | bias, less 128 times the sum of the weights |
//! | `K / 4` | the weights, a byte each, plus 128 |
//! | 3 | [`Folded`] of the channel |
//!
//! A weight takes one byte of flash, as it does unpacked. It is unsigned because these processors load an unsigned byte from an address with an offset in one
//! instruction where a Cortex-M0 needs two for a signed one, and because unsigned products do not borrow from each other, see below. So are the taps:
//! `x + 128` instead of `x`. What that adds to the sum, `128 * sum(w + 128) + 128 * sum(x)`, is known: the part of the weights is taken off the bias by the
//! host, the part of the taps is summed up while they are expanded, once for all channels.
//!
//! # The taps
//!
//! Four output pixels are computed at once, so that a weight is loaded once for four multiplications. What they read is expanded once, for all channels,
//! two pixels to a word: for each tap `k`, a word of the pixels 0 and 1, and a word of the pixels 2 and 3. One multiplication of such a word by a weight is
//! two products, side by side. How far apart they lie is each processor's own affair:
//!
//! - 16 bits on a Cortex-M0, which keeps 32 bits of a product: a product of two unsigned bytes fits 16 bits, so that it does not touch its neighbour. The sum of the
//!   words and the sum of their upper halves give both sums, at no more than two additions and a shift for two multiplications;
//! - 24 bits on a Cortex-M3, whose `UMLAL` adds a product to 64 bits: one instruction for two multiplications. At the end the lower 24 bits are one sum and the rest
//!   is the other, provided that what they stand for, the accumulator itself, fits 24 bits. That is what the host proves of each channel
//!   ([`pack`]) and the loader proves again ([`is_sound`]). On the way the sums may be larger; they are taken modulo `2^64`.
//!
//! Before the taps, four words say how much the taps' part of each sum is. All of it is scratch memory: `2 * K + 4` words. A number of pixels that is no multiple of four
//! is filled up with the last one, which is then computed, and written, more than once.

#[cfg(arm_v6m)]
use super::armv6m::rows::clear;
#[cfg(arm_v7m)]
use super::armv7m::rows::clear;
use super::bounds::fits;
use super::gather::Image;
#[cfg(not(any(arm_v6m, arm_v7m)))]
use super::gather::fits_steps;
use super::layer::PackedLayer;
use super::requantize::{FOLDED_WORDS, Folded};
#[cfg(any(arm_v6m, arm_v7m))]
use super::scalar::rows::{expand, tile};
use crate::geometry::Window;
use crate::memory::{InOut, elements, elements_mut};

/// Pixels that are computed at once.
pub const PIXELS: usize = 4;
/// Words before the taps.
pub(super) const HEADER: usize = 4;
/// Words of taps for each weight.
pub(super) const TAP_WORDS: usize = PIXELS / 2;
/// Weights that a kernel takes in a round.
pub(super) const ROUND: usize = 8;
/// Words of a channel besides its weights.
pub(super) const FIXED_WORDS: usize = 1 + FOLDED_WORDS;

/// `weights` of one output channel, filled up.
pub const fn padded(weights: usize) -> usize {
    weights.next_multiple_of(ROUND)
}

/// Words of a channel with this many weights.
pub const fn channel_words(weights: usize) -> usize {
    padded(weights) / 4 + FIXED_WORDS
}

/// Words of scratch for a layer with this many weights in an output channel: the taps, and, unless the window has a single tap, what they are
/// expanded from where some of them lie in the padding.
pub const fn scratch_words(weights: usize, single_tap: bool) -> usize {
    let padded = padded(weights);
    let patches = if single_tap { 0 } else { padded };
    HEADER + TAP_WORDS * padded + patches
}

/// The bias of a channel for unsigned weights: less 128 times their sum. `None` if an input could make the accumulator leave 24 bits, or if the requantization
/// would not be exact.
pub(super) fn unsigned_bias(weights: &[i8], bias: i32, scale: Folded) -> Option<i32> {
    let weights = || weights.iter().map(|&weight| i64::from(weight));
    if !fits(i64::from(bias), weights(), scale) {
        return None;
    }
    i32::try_from(i64::from(bias) - 128 * weights().sum::<i64>()).ok()
}

/// Whether a channel with these unsigned weights and their bias is one of which [`unsigned_bias`] says that no input makes its accumulator leave 24 bits and that its
/// requantization is exact.
pub(super) fn is_exact(bias: i32, weights: impl Iterator<Item = u8> + Clone, scale: Folded) -> bool {
    let weights = weights.map(|weight| i64::from(weight) - 128);
    let bias = i64::from(bias) + 128 * weights.clone().sum::<i64>();
    fits(bias, weights, scale)
}

/// Writes the words of a channel: its weights in the order `[K_h, K_w, C_in]`, its bias with the input's zero point folded in, and its
/// requantization. `None` if an input could make its accumulator leave 24 bits, if the requantization is not one that
/// [`is_sound`] accepts, or if `stream` does not have [`channel_words`].
pub fn pack(weights: &[i8], bias: i32, scale: Folded, stream: &mut [i32]) -> Option<()> {
    if stream.len() != channel_words(weights.len()) {
        return None;
    }
    let (first, rest) = stream.split_first_mut()?;
    let (row, scales) = rest.split_last_chunk_mut::<FOLDED_WORDS>()?;
    *first = unsigned_bias(weights, bias, scale)?;
    for (word, four) in row.iter_mut().zip((0..).step_by(4)) {
        let byte = |index: usize| weights.get(four + index).copied().unwrap_or(0) as u8 ^ 0x80;
        *word = i32::from_le_bytes(core::array::from_fn(byte));
    }
    *scales = scale.words();
    Some(())
}

/// Whether `stream` is one channel that [`pack`] could have written for this many weights: no input makes its accumulator leave 24 bits, and its
/// requantization is exact.
pub fn is_sound(stream: &[i32], weights: usize) -> bool {
    let Some((&bias, rest)) = stream.split_first() else { return false };
    let Some((row, &scale)) = rest.split_last_chunk::<FOLDED_WORDS>() else { return false };
    let bytes = row.iter().flat_map(|word| word.to_le_bytes()).take(weights);
    stream.len() == channel_words(weights) && is_exact(bias, bytes, Folded::from_words(scale))
}

/// Computes a sample. `scratch` has [`scratch_words`].
///
/// Pixels are computed in fours, from front to back: of four, everything is read before anything is written, so that the output may lie over what no later
/// pixel needs.
///
/// Does nothing more where a slice is too short.
pub fn convolve(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let PackedLayer { window, size, out_size: [out_h, out_w, channels], padding, stream, .. } = *layer;
    let [.., in_c] = size;
    let weights = layer.weights();
    let scratch: &mut [i32] = elements_mut(scratch).unwrap_or_default();
    let Some((taps, patches)) = scratch.split_at_mut_checked(HEADER + TAP_WORDS * padded(weights)) else {
        return;
    };
    let Ok(patches) = bytemuck::try_cast_slice_mut::<i32, i8>(patches) else { return };
    // No expansion reaches the taps behind the last weight.
    taps.fill(0);
    let (mut first, mut left, mut place) = (0, out_h * out_w, [0, 0]);
    while left > 0 {
        let count = left.min(PIXELS);
        let image = Image { input: elements(both.input()).unwrap_or_default(), size, window, padding };
        clear(taps);
        if window == &Window::ONE {
            let row = image.input.get(first * in_c..).unwrap_or_default();
            expand(row, steps(in_c, count), in_c, taps, 0);
        } else if !expand_in_place(&image, place, out_w, count, taps) {
            let (mut at, mut rest) = (place, &mut *patches);
            for _ in 0..count {
                let Some((patch, more)) = rest.split_at_mut_checked(weights) else { return };
                image.patch(at, patch);
                (at, rest) = (next(at, 1, out_w), more);
            }
            expand(patches, steps(weights, count), weights, taps, 0);
        }
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let output = output.get_mut(first * channels..(first + count) * channels).unwrap_or_default();
        tile(stream, taps, steps(channels, count), output);
        (first, left, place) = (first + count, left - count, next(place, count, out_w));
    }
}

/// From the first of `count` pixels to the others, `stride` apart: a missing one is the last one.
fn steps(stride: usize, count: usize) -> [usize; PIXELS - 1] {
    let last = count.saturating_sub(1);
    [1, 2, 3].map(|pixel: usize| pixel.min(last) * stride)
}

/// The pixel `count` after this one. By subtraction: a division takes a Cortex-M0 more than a hundred instructions.
fn next([out_y, out_x]: [usize; 2], count: usize, out_w: usize) -> [usize; 2] {
    let (mut out_y, mut out_x) = (out_y, out_x + count);
    while out_x >= out_w && out_w > 0 {
        (out_y, out_x) = (out_y + 1, out_x - out_w);
    }
    [out_y, out_x]
}

/// Expands the taps of `count` pixels from where they lie in the input. That takes pixels of one row that do not reach into the padding; `false` if it is
/// not so.
#[inline(never)]
fn expand_in_place(
    image: &Image<'_>,
    [out_y, out_x]: [usize; 2],
    out_w: usize,
    count: usize,
    taps: &mut [i32],
) -> bool {
    let ([in_h, .., in_c], window, row) = (image.size, image.window, image.row());
    let first = (out_y * window.y.stride).checked_sub(window.y.pad_before);
    let last = first.map(|first| first + (window.y.kernel - 1) * window.y.dilation);
    if window.x.dilation != 1 || out_x + count > out_w || last.is_none_or(|last| last >= in_h) {
        return false;
    }
    for k_y in 0..window.y.kernel {
        let Some(rows) = image.row_of_taps([out_y, out_x], count, k_y) else { return false };
        expand(rows, steps(window.x.stride * in_c, count), row, taps, k_y * row);
    }
    true
}

/// Makes the taps' part of all sums nothing.
#[cfg(not(any(arm_v6m, arm_v7m)))]
fn clear(taps: &mut [i32]) {
    if let Some(header) = taps.first_chunk_mut::<HEADER>() {
        *header = [0; HEADER];
    }
}

/// Expands `length` taps of four pixels, the first of which is at the beginning of `rows` and the others `steps` elements further, to `taps` from number
/// `at` on, and adds 128 times each pixel's sum of them to the taps' part.
///
/// Does nothing if `rows` or `taps` is too short.
#[cfg(not(any(arm_v6m, arm_v7m)))]
fn expand(rows: &[i8], steps: [usize; PIXELS - 1], length: usize, taps: &mut [i32], at: usize) {
    let Some((header, taps)) = taps.split_first_chunk_mut::<HEADER>() else { return };
    let taps = taps.get_mut(TAP_WORDS * at..TAP_WORDS * (at + length)).unwrap_or_default();
    if taps.is_empty() || !fits_steps(rows.len(), steps, length) {
        return;
    }
    let [one, two, three] = steps;
    let pixels = [0, one, two, three].map(|step| rows.get(step..).unwrap_or_default());
    for (k, words) in taps.as_chunks_mut::<TAP_WORDS>().0.iter_mut().enumerate() {
        let values = pixels.map(|pixel| i32::from(pixel.get(k).copied().unwrap_or(0)) + 128);
        let [a, b, c, d] = values;
        *words = [a | b << 16, c | d << 16];
        for (part, value) in header.iter_mut().zip(values) {
            *part = part.wrapping_add(128 * value);
        }
    }
}

/// The channels of `stream` for the four pixels of `taps`: the first pixel's are at the beginning of `output`, the others' `steps` further.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(any(arm_v6m, arm_v7m)))]
fn tile(stream: &[i32], taps: &[i32], steps: [usize; PIXELS - 1], output: &mut [i8]) {
    let Some((header, taps)) = taps.split_first_chunk::<HEADER>() else { return };
    let words = taps.len() / (4 * TAP_WORDS) + FIXED_WORDS;
    let channels = stream.len() / words;
    if !fits_steps(output.len(), steps, channels) {
        return;
    }
    let [one, two, three] = steps;
    for (channel, stream) in stream.chunks_exact(words).enumerate() {
        let Some((bias, rest)) = stream.split_first() else { return };
        let Some((weights, &scale)) = rest.split_last_chunk::<FOLDED_WORDS>() else { return };
        let mut sums = header.map(|part| bias.wrapping_sub(part));
        for (word, taps) in weights.iter().zip(taps.as_chunks::<{ 4 * TAP_WORDS }>().0) {
            for (weight, &[ab, cd]) in word.to_le_bytes().into_iter().zip(taps.as_chunks::<TAP_WORDS>().0) {
                for (sum, tap) in sums.iter_mut().zip([ab & 0xff, ab >> 16, cd & 0xff, cd >> 16]) {
                    *sum = sum.wrapping_add(tap * i32::from(weight));
                }
            }
        }
        for (step, sum) in [0, one, two, three].into_iter().zip(sums) {
            let output = output.get_mut(step + channel);
            output.into_iter().for_each(|output| *output = Folded::from_words(scale).apply(sum << 1, false));
        }
    }
}
