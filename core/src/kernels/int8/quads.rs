//! The layout of channel quads: depthwise convolutions for processors with two 16-bit multiplications in an instruction.
//!
//! # The stream
//!
//! For each four neighbouring channels, with `T = K_h * K_w` taps:
//!
//! | words | what |
//! |---|---|
//! | 4 | twice the bias of each channel |
//! | `4 * ceil(T / 2)` | for each two taps, a word of each channel: twice its weights at the two taps, the first in the lower half. If the number of taps is odd, the upper halves of the last four words mean nothing |
//! | `4 * 3` | [`Folded`] of each channel |
//!
//! Accumulators are twice what they are elsewhere, which saves the doubling before the requantization: int8 weights have room for it in 16 bits.
//!
//! # The rows
//!
//! A kernel reads rows that have their padding, so that no pixel is special: `Rows` keeps copies of the last `K_h` rows of the input in
//! scratch memory, as a ring. An input row is copied once, a fraction of an instruction a byte. And since nothing reads the input itself
//! once it is in the ring, the output may lie in the input's place: an output row is written when the rows that it overwrites have been copied.

#[cfg(arm_dsp)]
use super::dsp::{copy_rows, row};
#[cfg(not(arm_dsp))]
use super::gather::copy_rows;
use super::layer::PackedLayer;
use super::requantize::{FOLDED_WORDS, Folded};
use crate::geometry::{Axis, Window};
use crate::memory::{InOut, elements, elements_mut};

/// Channels that are computed at once.
pub const CHANNELS: usize = 4;
/// Taps on a side of the window.
pub const TAPS: usize = 3;
/// Words of weights in a quad.
const WEIGHT_WORDS: usize = CHANNELS * (TAPS * TAPS).div_ceil(2);
/// Words of a quad.
pub const QUAD_WORDS: usize = CHANNELS + WEIGHT_WORDS + CHANNELS * FOLDED_WORDS;

/// Bytes of scratch for rows of this width and this many channels, padding included: [`TAPS`] rows.
pub fn scratch_bytes(window: &Window, in_w: usize, channels: usize) -> Option<usize> {
    let width = in_w.checked_add(window.x.pad_before)?.checked_add(window.x.pad_after)?;
    width.checked_mul(channels)?.checked_mul(TAPS)
}

/// Whether the kernels can do it: three by three taps without dilation, and whole quads.
pub fn takes(window: &Window, channels: usize) -> bool {
    let three = |axis: &Axis| (axis.kernel, axis.dilation) == (TAPS, 1);
    three(&window.y) && three(&window.x) && channels.is_multiple_of(CHANNELS)
}

/// Writes the words of a quad: of each channel the weight at a tap, the bias with the input's zero point folded in, and the
/// requantization. `None` if twice an accumulator, or a bias, could leave 32 bits.
pub fn pack(
    weight: impl Fn(usize, usize) -> i8,
    channels: [(i32, Folded); CHANNELS],
    stream: &mut [i32; QUAD_WORDS],
) -> Option<()> {
    let taps = TAPS * TAPS;
    let (biases, rest) = stream.split_first_chunk_mut::<CHANNELS>()?;
    let (weights, scales) = rest.split_first_chunk_mut::<WEIGHT_WORDS>()?;
    let scales = scales.as_chunks_mut::<FOLDED_WORDS>().0;
    for (index, ((bias, scale), (value, folded))) in biases.iter_mut().zip(scales).zip(channels).enumerate() {
        let sum: u64 = (0..taps).map(|tap| u64::from(weight(index, tap).unsigned_abs())).sum();
        if u64::from(value.unsigned_abs()) + 128 * sum >= 1 << 30 {
            return None;
        }
        *bias = 2 * value;
        *scale = folded.words();
    }
    for (pair, words) in weights.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
        for (channel, word) in words.iter_mut().enumerate() {
            let twice = |tap: usize| if tap < taps { 2 * i32::from(weight(channel, tap)) } else { 0 };
            *word = (twice(2 * pair) & 0xffff) | twice(2 * pair + 1) << 16;
        }
    }
    Some(())
}

/// Computes a sample of a layer that [`takes`] accepts. `scratch` has [`scratch_bytes`]. The output may lie in the place of the input, or run over it as far as the rows allow: each
/// is written when all rows up to the last that it needs have been copied.
///
/// Does nothing more where a slice is too short.
pub fn depthwise(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let PackedLayer {
        window,
        size: [in_h, in_w, channels],
        out_size: [out_h, out_w, _],
        padding,
        stream,
        ..
    } = *layer;
    let scratch: &mut [i8] = elements_mut(scratch).unwrap_or_default();
    let width = (in_w + window.x.pad_before + window.x.pad_after) * channels;
    let (in_row, out_row, left) = (in_w * channels, out_w * channels, window.x.pad_before * channels);
    let Some((a, rest)) = scratch.split_at_mut_checked(width) else { return };
    let Some((b, rest)) = rest.split_at_mut_checked(width) else { return };
    let Some((c, _)) = rest.split_at_mut_checked(width) else { return };
    // What is left and right of an input row stays as it is.
    for row in [&mut *a, &mut *b, &mut *c] {
        if let Some((before, rest)) = row.split_at_mut_checked(left) {
            before.fill(padding);
            rest.get_mut(in_row..).unwrap_or_default().fill(padding);
        }
    }
    // The rows under the window, in order. Those that the window leaves make room for those that it comes to.
    let (mut rows, mut fresh) = ([a, b, c], TAPS);
    for (out_y, place) in (0..out_h).map(|out_y| (out_y, out_y * out_row)) {
        for (tap, slot) in rows.iter_mut().enumerate().skip(TAPS - fresh) {
            let in_y = (out_y * window.y.stride + tap).checked_sub(window.y.pad_before);
            let source: &[i8] = elements(both.input()).unwrap_or_default();
            let row = in_y.filter(|&in_y| in_y < in_h).and_then(|in_y| source.get(in_y * in_row..));
            match row {
                Some(row) => copy_rows(row, slot.get_mut(left..).unwrap_or_default(), [0, 0], [1, in_row]),
                None => slot.fill(padding),
            }
        }
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let output = output.get_mut(place..place + out_row).unwrap_or_default();
        row(stream, rows.each_ref().map(|row| &**row), [channels, window.x.stride], layer.relu(), output);
        let [a, b, c] = rows;
        (rows, fresh) = match window.y.stride {
            1 => ([b, c, a], 1),
            2 => ([c, b, a], 2),
            _ => ([a, b, c], TAPS),
        };
    }
}

/// One output row, from the three rows of the input with their padding. `output` has a whole number of pixels, as `stream` has of quads.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_dsp))]
fn row(stream: &[i32], rows: [&[i8]; TAPS], [channels, stride]: [usize; 2], relu: bool, output: &mut [i8]) {
    let (quads, _) = stream.as_chunks::<QUAD_WORDS>();
    for (pixel, output) in output.chunks_exact_mut(channels.max(1)).enumerate() {
        for ((quad, stream), output) in quads.iter().enumerate().zip(output.as_chunks_mut::<CHANNELS>().0) {
            let Some((&biases, rest)) = stream.split_first_chunk::<CHANNELS>() else { return };
            let Some((weights, scales)) = rest.split_first_chunk::<WEIGHT_WORDS>() else { return };
            let first = pixel * stride * channels + quad * CHANNELS;
            let taps = rows.into_iter().flat_map(|row| {
                (0..TAPS)
                    .map(move |k_x| row.get(first + k_x * channels..).and_then(<[_]>::first_chunk).copied())
            });
            let mut sums = biases;
            for (tap, values) in taps.enumerate() {
                let Some(values): Option<[i8; CHANNELS]> = values else { return };
                let words = weights.get(tap / 2 * CHANNELS..).unwrap_or_default();
                for ((sum, &word), value) in sums.iter_mut().zip(words).zip(values) {
                    let weight = if tap.is_multiple_of(2) { i32::from(word as i16) } else { word >> 16 };
                    *sum = sum.wrapping_add(weight * i32::from(value));
                }
            }
            for ((output, sum), &scale) in output.iter_mut().zip(sums).zip(scales.as_chunks().0) {
                *output = Folded::from_words(scale).apply(sum, relu);
            }
        }
    }
}
