//! The layout of channel eights: fully connected layers for processors with vectors of int8, Armv8.1-M with Helium.
//!
//! # The stream
//!
//! For each eight output channels (missing last ones have zeros everywhere), with `K` inputs:
//!
//! | words | what |
//! |---|---|
//! | 8 | bias of each channel |
//! | `32 * ceil(K / 16)` | for each vector of inputs, sixteen weights of each channel; the first vector has what `K` is more than a multiple of sixteen, and zeros behind |
//! | 8 | multipliers of channels 0, 2, 4, 6, then their shifts |
//! | 8 | those of channels 1, 3, 5, 7 |
//!
//! The layer has one pixel, so that no weight serves twice: sixteen products cost a load of weights and a multiplication. What can be shared is the load of the
//! inputs, and eight channels are as many as there are registers for sums. In this order their weights come from one address, so that the others are
//! free, and a channel's numbers need no gathering. Even and odd channels are apart because that is how narrowing instructions put two vectors of sums together.
//!
//! Sums wrap, and the requantization is TensorFlow Lite Micro's for any multiplier from 0 on and any shift that is not to the left: [`is_sound`] says what is.

#[cfg(arm_helium)]
use super::helium::eights;
use super::layer::{PackedChannel, PackedLayer};
use crate::memory::{InOut, elements, elements_mut};
use crate::quantization::Multiplier;
#[cfg(not(arm_helium))]
use crate::quantization::requantize;

/// Channels that are computed at once.
pub const CHANNELS: usize = 8;
/// Inputs of a vector.
pub(super) const VECTOR: usize = 16;
/// Words of a vector of weights of all channels.
const VECTOR_WORDS: usize = CHANNELS * VECTOR / 4;
/// Multipliers and shifts of all channels.
const SCALE_WORDS: usize = 2 * CHANNELS;

/// Words of eight channels with this many inputs; `None` if they are too many to count.
pub const fn eight_words(inputs: usize) -> Option<usize> {
    match inputs.div_ceil(VECTOR).checked_mul(VECTOR_WORDS) {
        Some(words) => words.checked_add(CHANNELS + SCALE_WORDS),
        None => None,
    }
}

/// Writes the words of eight channels with as many inputs each, of which those behind the first may be missing. `None` if a requantization is not one that
/// [`is_sound`] accepts, or if `stream` does not have [`eight_words`].
pub fn pack(channels: [Option<PackedChannel<'_, Multiplier>>; CHANNELS], stream: &mut [i32]) -> Option<()> {
    let [first, ..] = channels;
    let inputs = first?.weights.len();
    if Some(stream.len()) != eight_words(inputs) {
        return None;
    }
    let (biases, rest) = stream.split_first_chunk_mut::<CHANNELS>()?;
    let (words, scales) = rest.split_last_chunk_mut::<SCALE_WORDS>()?;
    words.fill(0);
    scales.fill(0);
    for (index, (bias, channel)) in biases.iter_mut().zip(channels).enumerate() {
        *bias = channel.map_or(0, |channel| channel.bias);
        let Some(PackedChannel { weights, scale: multiplier, .. }) = channel else { continue };
        let [multiplier_at, shift_at] = scale_places(index);
        *scales.get_mut(multiplier_at)? = multiplier.multiplier;
        *scales.get_mut(shift_at)? = multiplier.shift;
        let mut vectors = words.as_chunks_mut::<4>().0.iter_mut().skip(index).step_by(CHANNELS);
        for weights in vectors_of(weights) {
            let mut bytes = [[0; 4]; 4];
            bytes.as_flattened_mut().iter_mut().zip(weights).for_each(|(byte, &w)| *byte = w.cast_unsigned());
            *vectors.next()? = bytes.map(i32::from_le_bytes);
        }
    }
    is_sound(stream).then_some(())
}

/// Inputs or weights in vectors: the first one has what is more than a multiple of sixteen.
fn vectors_of(elements: &[i8]) -> impl Iterator<Item = &[i8]> {
    let (first, rest) = elements.split_at_checked(elements.len() % VECTOR).unwrap_or_default();
    Some(first).into_iter().filter(|first| !first.is_empty()).chain(rest.chunks(VECTOR))
}

/// Where among the words behind the weights the multiplier and the shift of a channel are.
fn scale_places(channel: usize) -> [usize; 2] {
    let multiplier = channel % 2 * CHANNELS + channel / 2;
    [multiplier, multiplier + CHANNELS / 2]
}

/// What the words of eight channels say.
struct Eight<'a> {
    biases: &'a [i32; CHANNELS],
    /// For each vector of inputs, four words of each channel.
    weights: &'a [i32],
    scales: &'a [i32; SCALE_WORDS],
}

impl<'a> Eight<'a> {
    fn of(stream: &'a [i32]) -> Option<Self> {
        let (biases, rest) = stream.split_first_chunk()?;
        let (weights, scales) = rest.split_last_chunk()?;
        Some(Self { biases, weights, scales })
    }

    fn multiplier(&self, channel: usize) -> Multiplier {
        let [multiplier, shift] =
            scale_places(channel).map(|place| self.scales.get(place).copied().unwrap_or(0));
        Multiplier { multiplier, shift }
    }
}

/// Whether the requantizations of the eight channels of `stream` are valid and none of them shifts to the left.
pub fn is_sound(stream: &[i32]) -> bool {
    let sound = |multiplier: Multiplier| multiplier.is_valid() && multiplier.shift <= 0;
    Eight::of(stream).is_some_and(|eight| (0..CHANNELS).all(|channel| sound(eight.multiplier(channel))))
}

/// The inverse of [`pack`], for a channel of the stream of an eight with this many inputs: its bias and its multiplier; its weights are written to `weights`. `None`
/// if there is no such channel.
pub fn unpack(stream: &[i32], channel: usize, weights: &mut [i8]) -> Option<(i32, Multiplier)> {
    let eight = Eight::of(stream)?;
    let bias = *eight.biases.get(channel)?;
    let mut vectors = eight.weights.as_chunks::<4>().0.iter().skip(channel).step_by(CHANNELS);
    let (first, rest) = weights.split_at_mut_checked(weights.len() % VECTOR)?;
    let first = Some(first).into_iter().filter(|first| !first.is_empty());
    for to in first.chain(rest.chunks_mut(VECTOR)) {
        let bytes = vectors.next()?.map(i32::to_le_bytes);
        to.iter_mut().zip(bytes.as_flattened()).for_each(|(weight, &byte)| *weight = byte.cast_signed());
    }
    Some((bias, eight.multiplier(channel)))
}

/// One row of a fully connected layer, of as many inputs and outputs as `both` has, clamped. No scratch is needed.
///
/// Does nothing more where a slice is too short. What becomes of sums is defined for streams that [`is_sound`] accepts.
#[inline]
pub fn fully_connected(layer: &PackedLayer<'_>, both: &mut InOut<'_>, _scratch: &mut [u8]) {
    let InOut::Apart { input, output } = both else { return };
    let (row, output) = (elements(input).unwrap_or_default(), elements_mut(output).unwrap_or_default());
    eights(layer.stream, row, layer.range, output);
}

/// The outputs of a row of inputs, as many as there are, at most the channels of `stream`.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_helium))]
fn eights(stream: &[i32], row: &[i8], [zero_point, min, max]: [i32; 3], output: &mut [i8]) {
    let Some(words) = eight_words(row.len()) else { return };
    if stream.len().checked_div(words) < Some(output.len().div_ceil(CHANNELS)) {
        return;
    }
    for (stream, outputs) in stream.chunks_exact(words).zip(output.chunks_mut(CHANNELS)) {
        let Some(eight) = Eight::of(stream) else { return };
        let mut sums = *eight.biases;
        for (weights, inputs) in eight.weights.as_chunks::<VECTOR_WORDS>().0.iter().zip(vectors_of(row)) {
            for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                let weights = weights.map(i32::to_le_bytes);
                for (&weight, &x) in weights.as_flattened().iter().zip(inputs) {
                    *sum = sum.wrapping_add(i32::from(weight.cast_signed()) * i32::from(x));
                }
            }
        }
        for (channel, (output, sum)) in outputs.iter_mut().zip(sums).enumerate() {
            *output = requantize(sum, eight.multiplier(channel), zero_point, min, max);
        }
    }
}
