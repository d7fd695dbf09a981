//! The layout of vector pairs: convolutions of any window, and small fully connected layers, for processors with vectors of int8, Armv8.1-M with Helium.
//!
//! # The stream
//!
//! The weights of one output channel are a row of `K = K_h * K_w * C_in` numbers, filled up with zeros to whole vectors of sixteen: `V = ceil(K / 16)` of them. For each
//! four output channels (missing last ones have zeros everywhere):
//!
//! | words | what |
//! |---|---|
//! | `8 * V` | a pair of rows: a vector of channel 0, one of channel 2, the next one of channel 0, and so on |
//! | `8 * V` | the rows of channels 1 and 3 in the same way |
//! | 4 | biases |
//! | 4 | multipliers |
//! | 4 | shifts |
//!
//! So all that four channels need comes from one address, in the order in which it is needed. Two sums go into a vector register at once, two lanes apart: that
//! is why neighbours are in different pairs.
//!
//! Sums wrap, and the requantization is TensorFlow Lite Micro's for any multiplier from 0 on and any shift that is not to the left: [`is_sound`] says what is.
//!
//! # The taps
//!
//! Three output pixels are computed at once. What each of them reads is copied to scratch memory first, one behind the other, each in whole vectors. What lies behind the last tap of a
//! pixel may be anything: its weights are zero. Pixels that are left over from threes are computed by the same kernel, as two or three that are the same one.

use super::gather::Image;
#[cfg(not(arm_helium))]
use super::gather::copy_rows;
#[cfg(arm_helium)]
use super::helium::pixels;
use super::layer::{PackedChannel, PackedLayer};
use crate::geometry::Window;
use crate::memory::{InOut, elements, elements_mut};
use crate::quantization::Multiplier;
#[cfg(not(arm_helium))]
use crate::quantization::requantize;

/// Channels of a record of the stream.
pub const CHANNELS: usize = 4;
/// Pixels that are computed at once.
pub(super) const PIXELS: usize = 3;
/// Weights of a vector.
const VECTOR: usize = 16;
/// Words of a vector of both rows of a pair.
const PAIR_WORDS: usize = 2 * VECTOR / 4;
/// Biases, multipliers and shifts.
const SCALE_WORDS: usize = 3 * CHANNELS;

/// Vectors of the taps of a pixel.
pub(super) const fn vectors(weights: usize) -> usize {
    weights.div_ceil(VECTOR)
}

/// Bytes of the taps of a pixel.
pub(super) const fn tap_bytes(weights: usize) -> usize {
    vectors(weights) * VECTOR
}

/// Words of four channels with this many weights each; `None` if they are too many to count.
pub const fn four_words(weights: usize) -> Option<usize> {
    match vectors(weights).checked_mul(2 * PAIR_WORDS) {
        Some(words) => words.checked_add(SCALE_WORDS),
        None => None,
    }
}

/// Words of scratch for a layer with this many weights in an output channel: the taps of three pixels. `None` if they are too many to count.
pub const fn scratch_words(weights: usize) -> Option<usize> {
    vectors(weights).checked_mul(PIXELS * VECTOR / 4)
}

/// Where among the words of four channels a vector of a channel's weights begins.
const fn vector_place(channel: usize, vector: usize, vectors: usize) -> usize {
    let (pair, side) = (channel % 2, channel / 2);
    (pair * vectors + vector) * PAIR_WORDS + side * VECTOR / 4
}

/// Writes the words of four channels with as many weights each, of which those behind the first may be missing. `None` if a requantization is not one that [`is_sound`]
/// accepts, or if `stream` does not have [`four_words`].
pub fn pack(channels: [Option<PackedChannel<'_, Multiplier>>; CHANNELS], stream: &mut [i32]) -> Option<()> {
    let [first, ..] = channels;
    let weights = first?.weights.len();
    if Some(stream.len()) != four_words(weights) {
        return None;
    }
    stream.fill(0);
    for (index, channel) in channels.into_iter().enumerate() {
        let Some(PackedChannel { weights, bias, scale }) = channel else { continue };
        for (vector, weights) in weights.chunks(VECTOR).enumerate() {
            let mut bytes = [[0; 4]; VECTOR / 4];
            bytes.as_flattened_mut().iter_mut().zip(weights).for_each(|(byte, &w)| *byte = w.cast_unsigned());
            let words = stream.get_mut(vector_place(index, vector, vectors(first?.weights.len()))..)?;
            *words.first_chunk_mut()? = bytes.map(i32::from_le_bytes);
        }
        let scales = stream.last_chunk_mut::<SCALE_WORDS>()?;
        for (word, value) in
            scales.iter_mut().skip(index).step_by(CHANNELS).zip([bias, scale.multiplier, scale.shift])
        {
            *word = value;
        }
    }
    is_sound(stream).then_some(())
}

/// Bias and requantization of one of the four channels of `stream`.
fn scale(stream: &[i32], channel: usize) -> Option<(i32, Multiplier)> {
    let scales = stream.last_chunk::<SCALE_WORDS>()?;
    let word = |kind: usize| scales.get(kind * CHANNELS + channel).copied();
    Some((word(0)?, Multiplier { multiplier: word(1)?, shift: word(2)? }))
}

/// A vector of weights of one of the four channels of `stream`, whose rows have so many.
fn vector(stream: &[i32], channel: usize, vector: usize, vectors: usize) -> Option<[[u8; 4]; VECTOR / 4]> {
    let words = stream.get(vector_place(channel, vector, vectors)..)?.first_chunk::<{ VECTOR / 4 }>()?;
    Some(words.map(i32::to_le_bytes))
}

/// Whether the requantizations of the four channels of `stream` are valid and none of them shifts to the left.
pub fn is_sound(stream: &[i32]) -> bool {
    (0..CHANNELS)
        .all(|channel| scale(stream, channel).is_some_and(|(_, scale)| scale.is_valid() && scale.shift <= 0))
}

/// The inverse of [`pack`], for a channel of the stream of four: its bias and its multiplier; its weights are written to `weights`. `None` if there is no such channel.
pub fn unpack(stream: &[i32], channel: usize, weights: &mut [i8]) -> Option<(i32, Multiplier)> {
    let count = vectors(weights.len());
    for (index, weights) in weights.chunks_mut(VECTOR).enumerate() {
        let bytes = vector(stream, channel, index, count)?;
        weights.iter_mut().zip(bytes.as_flattened()).for_each(|(w, &byte)| *w = byte.cast_signed());
    }
    scale(stream, channel)
}

/// Computes a sample, or a row of a fully connected layer. `scratch` has [`scratch_words`]. What one to three neighbouring pixels read is gathered before they are written, so that
/// the output may run over the input.
///
/// Does nothing more where a slice is too short. What becomes of sums is defined for streams that [`is_sound`] accepts.
pub fn convolve(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let [out_h, out_w, _] = layer.out_size;
    let taps: &mut [i8] = elements_mut(scratch).unwrap_or_default();
    let (mut pixel, count) = (0, out_h * out_w);
    while pixel < count {
        let windows = inside(layer, pixel);
        let end = match windows {
            Some((_, threes)) => pixel + PIXELS * threes,
            None => count.min(pixel + PIXELS),
        };
        if windows.is_none() {
            gather(layer, both, taps, [pixel, end]);
        }
        pixels(layer, both, taps, windows.as_ref().map(|(windows, _)| windows), [pixel, end]);
        pixel = end;
    }
}

/// Copies what the pixels `first..end` read to `taps`.
#[inline(never)]
fn gather(layer: &PackedLayer<'_>, both: &InOut<'_>, taps: &mut [i8], [first, end]: [usize; 2]) {
    let PackedLayer { window, size, padding, .. } = *layer;
    let image = Image { input: elements(both.input()).unwrap_or_default(), size, window, padding };
    let weights = layer.weights();
    for (pixel, taps) in (first..end).zip(taps.chunks_exact_mut(tap_bytes(weights).max(1))) {
        image.patch(place(layer, pixel), taps.get_mut(..weights).unwrap_or_default());
    }
}

/// Row and column of a pixel of the output.
fn place(layer: &PackedLayer<'_>, pixel: usize) -> [usize; 2] {
    let [_, out_w, _] = layer.out_size;
    let row = pixel.checked_div(out_w).unwrap_or(0);
    [row, pixel - row * out_w]
}

/// The windows of neighbouring pixels, none of whose taps lies in the padding: where the first one begins, its rows, their length, and from a row and from a pixel to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) length: usize,
    pub(super) row_stride: usize,
    pub(super) pixel_stride: usize,
}

/// The windows of an output pixel and of those behind it in its row, or of all with a window of one tap, as far as none reaches into the padding, and how many threes they are. `None` if there is
/// no three, or where the taps of a row of the window are not neighbours.
fn inside(layer: &PackedLayer<'_>, pixel: usize) -> Option<(Windows, usize)> {
    let PackedLayer { window: window @ Window { y, x }, size: [in_h, in_w, in_c], .. } = *layer;
    let [out_h, out_w, _] = layer.out_size;
    let (first, pixels) = if window == &Window::ONE {
        (pixel, out_h * out_w - pixel)
    } else {
        let [out_y, out_x] = place(layer, pixel);
        let top = (out_y * y.stride).checked_sub(y.pad_before)?;
        let left = (out_x * x.stride).checked_sub(x.pad_before)?;
        let room = in_w.checked_sub(left + x.kernel)?;
        if x.dilation != 1 || top + (y.kernel - 1) * y.dilation >= in_h {
            return None;
        }
        (top * in_w + left, (room.checked_div(x.stride)? + 1).min(out_w - out_x))
    };
    let threes = pixels / PIXELS;
    let windows = Windows {
        first: first * in_c,
        rows: y.kernel,
        length: x.kernel * in_c,
        row_stride: y.dilation * in_w * in_c,
        pixel_stride: x.stride * in_c,
    };
    (threes > 0).then_some((windows, threes))
}

/// The outputs of the pixels `first..end`: of those with these windows, which are copied to `taps`, or of at most three whose taps are there.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_helium))]
fn pixels(
    layer: &PackedLayer<'_>,
    both: &mut InOut<'_>,
    taps: &mut [i8],
    windows: Option<&Windows>,
    [first, end]: [usize; 2],
) {
    let (weights, [.., channels]) = (layer.weights(), layer.out_size);
    let bytes = tap_bytes(weights);
    for pixel in 0..end - first {
        let mut at = pixel;
        if let Some(&Windows { first, rows, length, row_stride, pixel_stride }) = windows {
            at = 0;
            let input: &[i8] = elements(both.input()).unwrap_or_default();
            let input = input.get(first + pixel * pixel_stride..).unwrap_or_default();
            copy_rows(input, taps, [row_stride, length], [rows, length]);
        }
        let taps = taps.get(at * bytes..at * bytes + weights).unwrap_or_default();
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let output = output.get_mut((first + pixel) * channels..(first + pixel + 1) * channels);
        one(layer, taps, output.unwrap_or_default());
    }
}

/// All channels of a pixel.
#[cfg(not(arm_helium))]
fn one(layer: &PackedLayer<'_>, taps: &[i8], output: &mut [i8]) {
    let [zero_point, ..] = layer.range;
    let Some(words) = four_words(taps.len()) else { return };
    let count = vectors(taps.len());
    for (stream, outputs) in layer.stream.chunks_exact(words).zip(output.chunks_mut(CHANNELS)) {
        for (channel, output) in outputs.iter_mut().enumerate() {
            let Some((mut sum, multiplier)) = scale(stream, channel) else { return };
            for (index, taps) in taps.chunks(VECTOR).enumerate() {
                let Some(weights) = vector(stream, channel, index, count) else { return };
                for (&tap, &weight) in taps.iter().zip(weights.as_flattened()) {
                    sum = sum.wrapping_add(i32::from(tap) * i32::from(weight.cast_signed()));
                }
            }
            *output = requantize(sum, multiplier, zero_point, i8::MIN.into(), i8::MAX.into());
        }
    }
}
