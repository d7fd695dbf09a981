//! The layout of taps: depthwise convolutions of any window that is at most [`MAX_WIDTH`] by [`MAX_HEIGHT`] taps large, with any strides and dilations.
//!
//! # The stream
//!
//! For each output channel, one after another, with `T = K_h * K_w` taps:
//!
//! | words | what |
//! |---|---|
//! | 1 | bias |
//! | `ceil(T / 4)` | the weights, a byte each, row by row |
//! | 3 | [`Folded`] of the channel |
//!
//! # Four pixels of a channel
//!
//! Where a depthwise convolution has many channels, neighbouring pixels of one channel lie far apart; where it has few, they do not. What is always the same is the distance from pixel to pixel in a
//! row. So four pixels of one channel are computed at once: a weight is loaded once, and each pixel's tap by its distance from the first one's. It takes neither many channels nor
//! a certain number of them, and with an input of one channel, which all output channels read, it is the same but for where the next channel begins.
//!
//! A number of pixels in a row that is no multiple of four ends with a block of fewer, in which the missing ones are the last one: it is computed, and written, more than once.
//!
//! # The rows
//!
//! As in [`quads`](super::quads), kernels read rows that have their padding: copies of the rows of the input under the window, in scratch memory, as a ring. Since nothing reads
//! an input row once it is in the ring, the output may lie over what has been copied.

use super::bounds::fits;
#[cfg(arm_dsp)]
use super::dsp::copy_rows;
#[cfg(not(arm_dsp))]
use super::gather::copy_rows;
use super::layer::PackedLayer;
use super::requantize::{FOLDED_WORDS, Folded};
#[cfg(any(arm_v6m, arm_v7m, arm_dsp))]
use super::scalar::taps::block;
use crate::geometry::{Axis, Window};
use crate::memory::{InOut, elements, elements_mut};

/// The most taps in a row of a window.
pub const MAX_WIDTH: usize = 8;
/// The most rows of a window.
pub const MAX_HEIGHT: usize = 16;
/// Pixels that are computed at once.
pub(super) const PIXELS: usize = 4;

/// Whether the kernels can do it: the window is not too large, and output channels read the input channel of their number, or there is one.
pub const fn takes(window: &Window, [in_c, out_c]: [usize; 2]) -> bool {
    window.x.kernel <= MAX_WIDTH && window.y.kernel <= MAX_HEIGHT && (in_c == out_c || in_c == 1)
}

/// Words of a channel with so many taps.
pub const fn channel_words(taps: usize) -> usize {
    1 + taps.div_ceil(4) + FOLDED_WORDS
}

/// Bytes of scratch for an input of this width and this many channels: as many rows as the window extends over, with their padding.
pub fn scratch_bytes(window: &Window, in_w: usize, channels: usize) -> Option<usize> {
    let width = in_w.checked_add(window.x.pad_before)?.checked_add(window.x.pad_after)?;
    width.checked_mul(channels)?.checked_mul(window.y.extent()?)
}

/// How many bytes of the input an output may be written over, at least: the output may begin this many bytes before the input. `None` if nothing is known.
///
/// An output row is written when all input rows under its window are in the ring.
pub fn overlap(window: &Window, [in_h, in_row]: [usize; 2], [out_h, out_row]: [usize; 2]) -> Option<usize> {
    let extent = window.y.extent()?;
    let mut distance = 0usize;
    for out_y in 0..out_h {
        let copied =
            (out_y.checked_mul(window.y.stride)?.checked_add(extent)?).saturating_sub(window.y.pad_before);
        if copied >= in_h {
            break;
        }
        let written = out_y.checked_add(1)?.checked_mul(out_row)?;
        distance = distance.max(written.saturating_sub(copied.checked_mul(in_row)?));
    }
    Some(distance)
}

/// Writes the words of a channel: the weights of its taps, row by row, its bias with the input's zero point folded in, and its requantization.
/// `None` if an input could make its accumulator leave 24 bits, if the requantization is not one that [`is_sound`] accepts, or if `stream` does
/// not have [`channel_words`].
pub fn pack(
    weights: impl ExactSizeIterator<Item = i8> + Clone,
    bias: i32,
    scale: Folded,
    stream: &mut [i32],
) -> Option<()> {
    let fitting = fits(i64::from(bias), weights.clone().map(i64::from), scale);
    if !fitting || stream.len() != channel_words(weights.len()) {
        return None;
    }
    let (first, rest) = stream.split_first_mut()?;
    let (words, scales) = rest.split_last_chunk_mut::<FOLDED_WORDS>()?;
    *first = bias;
    let mut weights = weights;
    for word in words {
        *word = i32::from_le_bytes(core::array::from_fn(|_| weights.next().unwrap_or(0) as u8));
    }
    *scales = scale.words();
    Some(())
}

/// Whether `stream` is one channel that [`pack`] could have written for this many taps: no input makes its accumulator leave 24 bits, and its
/// requantization is exact.
pub fn is_sound(stream: &[i32], taps: usize) -> bool {
    let Some((&bias, rest)) = stream.split_first() else { return false };
    let Some((words, &scale)) = rest.split_last_chunk::<FOLDED_WORDS>() else { return false };
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).take(taps);
    let weights = bytes.map(|byte| i64::from(byte.cast_signed()));
    stream.len() == channel_words(taps) && fits(i64::from(bias), weights, Folded::from_words(scale))
}

/// Computes a sample of a layer that [`takes`] accepts. `scratch` has [`scratch_bytes`].
///
/// Does nothing more where a slice is too short.
pub fn depthwise(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let PackedLayer {
        window,
        size: [in_h, in_w, in_c],
        out_size: [out_h, out_w, out_c],
        padding,
        stream,
        ..
    } = *layer;
    let scratch: &mut [i8] = elements_mut(scratch).unwrap_or_default();
    let Window { y, x } = window;
    let Some(ring_rows) = y.extent() else { return };
    let width = (in_w + x.pad_before + x.pad_after) * in_c;
    let (in_row, out_row, left) = (in_w * in_c, out_w * out_c, x.pad_before * in_c);
    scratch.fill(padding);
    // Rows count from the first one of the padding. The next one to be copied and its place in the ring; the place of the window's first one.
    let (mut fresh, mut fresh_place, mut first_place) = (0, 0, 0);
    for out_y in 0..out_h {
        let first = out_y * y.stride;
        while fresh < first + ring_rows {
            if fresh >= first {
                let source: &[i8] = elements(both.input()).unwrap_or_default();
                let in_y = fresh.checked_sub(y.pad_before).filter(|&in_y| in_y < in_h);
                let row = in_y.and_then(|in_y| source.get(in_y * in_row..));
                let Some(slot) = scratch.get_mut(fresh_place * width..(fresh_place + 1) * width) else {
                    return;
                };
                match row {
                    Some(row) => {
                        copy_rows(row, slot.get_mut(left..).unwrap_or_default(), [0, 0], [1, in_row]);
                    }
                    None => slot.fill(padding),
                }
            }
            (fresh, fresh_place) = (fresh + 1, after(fresh_place, 1, ring_rows));
        }
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let output = output.get_mut(out_y * out_row..(out_y + 1) * out_row).unwrap_or_default();
        let ring = Ring { elements: scratch, rows: ring_rows, width, first: first_place };
        let row = Row { ring, window, channels: [in_c, out_c], stream };
        first_place = after(first_place, y.stride, ring_rows);
        let mut out_x = 0;
        while out_x < out_w {
            let count = PIXELS.min(out_w - out_x);
            block(&row, [out_x, count], output.get_mut(out_x * out_c..).unwrap_or_default());
            out_x += count;
        }
    }
}

/// The place in a ring so many after this one, without a division.
fn after(place: usize, count: usize, ring_rows: usize) -> usize {
    let mut place = place + count;
    while place >= ring_rows && ring_rows > 0 {
        place -= ring_rows;
    }
    place
}

/// Copies of rows of the input, with their padding.
pub(super) struct Ring<'a> {
    pub(super) elements: &'a [i8],
    /// How many rows there are, and the elements of each.
    rows: usize,
    width: usize,
    /// The place of the window's first row.
    first: usize,
}

/// An output row.
pub(super) struct Row<'a> {
    pub(super) ring: Ring<'a>,
    pub(super) window: &'a Window,
    /// Channels of the input and of the output.
    pub(super) channels: [usize; 2],
    pub(super) stream: &'a [i32],
}

/// What a kernel is told of a block of pixels, whose preconditions are checked.
#[cfg_attr(not(any(arm_v6m, arm_v7m, arm_dsp)), allow(dead_code))]
pub(super) struct Block {
    /// Elements from tap to tap.
    pub(super) step: usize,
    /// Elements from the first row's beginning to the first pixel's first tap, and from it to those of the other pixels.
    pub(super) offset: usize,
    pub(super) steps: [usize; PIXELS - 1],
    /// The same of the output.
    pub(super) out_steps: [usize; PIXELS - 1],
    /// Elements from the taps of a channel to those of the next one: 1 or 0.
    pub(super) channel_step: usize,
}

impl Row<'_> {
    /// Where in the ring each row of the window begins.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> {
        let (Ring { rows, width, first, .. }, Axis { kernel, dilation, .. }) = (&self.ring, self.window.y);
        let mut place = *first;
        (0..kernel).map(move |_| {
            let start = place * width;
            place = after(place, dilation, *rows);
            start
        })
    }

    /// The block of `count` pixels, at least one and at most four, from pixel `out_x` on; `None` unless, for each channel of the stream, each row of the window has all taps of these
    /// pixels in the ring, and `output`, which begins at the first of them, has all of them.
    #[inline(always)]
    pub(super) fn block(&self, [out_x, count]: [usize; 2], output: &[i8]) -> Option<Block> {
        let ([in_c, out_c], Window { y, x }, ring) = (self.channels, self.window, &self.ring);
        let last = count.checked_sub(1)?;
        let all = |stride: usize| [1, 2, 3].map(|pixel: usize| pixel.min(last) * stride);
        let words = channel_words(y.kernel.checked_mul(x.kernel)?);
        let reach =
            (out_x.checked_add(last)?.checked_mul(x.stride)?).checked_add(x.extent()?)?.checked_mul(in_c)?;
        let fits = count <= PIXELS
            && (in_c == out_c || in_c == 1)
            && out_c.checked_mul(words) == Some(self.stream.len())
            && reach <= ring.width
            // The places of all rows are less than their number, if the first one's is.
            && ring.first < ring.rows
            && ring.rows.checked_mul(ring.width)? <= ring.elements.len()
            && (1..=MAX_HEIGHT).contains(&y.kernel)
            && output.len() >= count.checked_mul(out_c)?
            && out_c > 0
            && (1..=MAX_WIDTH).contains(&x.kernel);
        let stride = x.stride.wrapping_mul(in_c);
        fits.then(|| Block {
            step: x.dilation.wrapping_mul(in_c),
            offset: out_x.wrapping_mul(stride),
            steps: all(stride),
            out_steps: all(out_c),
            channel_step: usize::from(in_c == out_c && in_c > 1),
        })
    }
}

/// All channels of `count` pixels, at most four, from pixel `out_x` on, which is at the beginning of `output`.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(any(arm_v6m, arm_v7m, arm_dsp)))]
fn block(row: &Row<'_>, [out_x, count]: [usize; 2], output: &mut [i8]) {
    let Some(block) = row.block([out_x, count], output) else { return };
    let ([in_c, out_c], Window { y, x }) = (row.channels, row.window);
    let words = channel_words(y.kernel * x.kernel);
    for pixel in 0..count {
        for (channel, stream) in row.stream.chunks_exact(words).enumerate() {
            let Some((&bias, rest)) = stream.split_first() else { return };
            let Some((weights, &scale)) = rest.split_last_chunk::<FOLDED_WORDS>() else { return };
            let mut weights = weights.iter().flat_map(|word| word.to_le_bytes());
            let mut sum = bias;
            let first = block.offset + pixel * x.stride * in_c + channel * block.channel_step;
            for start in row.starts() {
                for k_x in 0..x.kernel {
                    let tap = row.ring.elements.get(start + first + k_x * block.step).copied().unwrap_or(0);
                    let weight = weights.next().unwrap_or(0).cast_signed();
                    sum = sum.wrapping_add(i32::from(tap) * i32::from(weight));
                }
            }
            let output = output.get_mut(pixel * out_c + channel);
            output.into_iter().for_each(|output| *output = Folded::from_words(scale).apply(sum << 1, false));
        }
    }
}
