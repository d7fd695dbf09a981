//! The layout of channel fours: fully connected layers for processors that multiply one pair of numbers at a time, Armv6-M and Armv7-M.
//!
//! # The stream
//!
//! For each four output channels (missing last ones have zeros everywhere), with `K` inputs:
//!
//! | words | what |
//! |---|---|
//! | 4 | bias of each channel, less 128 times the sum of its weights |
//! | `K` | for each input a word of four weights, plus 128, a byte each: from the lowest byte on, of the channels 0, 3, 2, 1 |
//! | `4 * 3` | [`Folded`] of each channel |
//!
//! A fully connected layer has one pixel, so that no weight serves twice; what can serve twice, or four times, is the input. So four channels are computed at
//! once. A Cortex-M3 takes their weights from a word two at a time: bytes 0 and 3 with one `AND`, bytes 2 and 1 with one more of the word turned by half, which makes
//! each a number with two weights 24 bits apart. One `UMLAL` multiplies both; [`rows`] says how, why everything is unsigned, and what has to be proved.
//!
//! Inputs are read where they lie: no memory is needed besides. The inputs' part of all sums, `128 * sum(x + 128)`, is summed up first.

use super::layer::{PackedChannel, PackedLayer};
use super::requantize::{FOLDED_WORDS, Folded};
use super::rows;
#[cfg(any(arm_v6m, arm_v7m))]
use super::scalar::fours::fours;
use crate::memory::{InOut, elements, elements_mut};

/// Channels that are computed at once.
pub const CHANNELS: usize = 4;
/// Which channel a byte of a word belongs to, and which byte a channel's weight is.
pub const PLACES: [usize; CHANNELS] = [0, 3, 2, 1];
/// Words of a four besides its weights.
pub(super) const FIXED_WORDS: usize = CHANNELS * (1 + FOLDED_WORDS);

/// The most inputs of a row: their part of a sum fits 32 bits.
pub const MAX_INPUTS: usize = 1 << 15;

/// Words of four channels with this many inputs.
pub const fn four_words(inputs: usize) -> usize {
    inputs + FIXED_WORDS
}

/// Writes the words of four channels with as many inputs each, of which those behind the first may be missing. `None` if an input could make an
/// accumulator leave 24 bits, if a requantization is not one that [`is_sound`] accepts, or if `stream` does not have [`four_words`].
pub fn pack(channels: [Option<PackedChannel<'_>>; CHANNELS], stream: &mut [i32]) -> Option<()> {
    let [first, ..] = channels;
    let inputs = first?.weights.len();
    let none = PackedChannel { weights: &[], bias: 0, scale: Folded::constant(0) };
    let channels = channels.map(|channel| channel.unwrap_or(none));
    if stream.len() != four_words(inputs) {
        return None;
    }
    let (biases, rest) = stream.split_first_chunk_mut::<CHANNELS>()?;
    let (words, scales) = rest.split_last_chunk_mut::<{ CHANNELS * FOLDED_WORDS }>()?;
    let scales = scales.as_chunks_mut::<FOLDED_WORDS>().0;
    for (channel, (bias, scale)) in channels.iter().zip(biases.iter_mut().zip(scales)) {
        *bias = rows::unsigned_bias(channel.weights, channel.bias, channel.scale)?;
        *scale = channel.scale.words();
    }
    for (index, word) in words.iter_mut().enumerate() {
        let byte = |channel: usize| {
            let channel = channels.get(channel).map_or(&[][..], |channel| channel.weights);
            channel.get(index).copied().unwrap_or(0) as u8 ^ 0x80
        };
        *word = i32::from_le_bytes(PLACES.map(byte));
    }
    Some(())
}

/// Whether `stream` is four channels that [`pack`] could have written for this many inputs.
pub fn is_sound(stream: &[i32], inputs: usize) -> bool {
    let Some((biases, rest)) = stream.split_first_chunk::<CHANNELS>() else { return false };
    let Some((words, scales)) = rest.split_last_chunk::<{ CHANNELS * FOLDED_WORDS }>() else { return false };
    let channels = biases.iter().zip(scales.as_chunks::<FOLDED_WORDS>().0).zip(PLACES);
    words.len() == inputs
        && channels.into_iter().all(|((&bias, &scale), place)| {
            let bytes = words.iter().map(|word| word.to_le_bytes().get(place).copied().unwrap_or(0));
            rows::is_exact(bias, bytes, Folded::from_words(scale))
        })
}

/// One row of a fully connected layer, of as many inputs and outputs as `both` has. No scratch is needed.
///
/// Does nothing more where a slice is too short.
pub fn fully_connected(layer: &PackedLayer<'_>, both: &mut InOut<'_>, _scratch: &mut [u8]) {
    let InOut::Apart { input, output } = both else { return };
    let (row, output): (&[i8], &mut [i8]) =
        (elements(input).unwrap_or_default(), elements_mut(output).unwrap_or_default());
    let whole = output.len() / CHANNELS * four_words(row.len());
    let Some((whole, last)) = layer.stream.split_at_checked(whole) else { return };
    let sum = row.iter().fold(0i32, |sum, &x| sum.wrapping_add(i32::from(x) + 128));
    let part = sum.wrapping_mul(128);
    let (outputs, left) = output.as_chunks_mut::<CHANNELS>();
    fours(whole, row, part, outputs);
    if !left.is_empty() {
        let mut four = [[0; CHANNELS]];
        fours(last, row, part, &mut four);
        for (output, value) in left.iter_mut().zip(four.into_iter().flatten()) {
            *output = value;
        }
    }
}

/// The fours of channels of `stream` for a row of inputs, whose part of all sums is `part`.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(any(arm_v6m, arm_v7m)))]
fn fours(stream: &[i32], row: &[i8], part: i32, outputs: &mut [[i8; CHANNELS]]) {
    for (stream, outputs) in stream.chunks_exact(four_words(row.len())).zip(outputs) {
        let Some((biases, rest)) = stream.split_first_chunk::<CHANNELS>() else { return };
        let Some((words, scales)) = rest.split_last_chunk::<{ CHANNELS * FOLDED_WORDS }>() else { return };
        let mut sums = biases.map(|bias| bias.wrapping_sub(part));
        for (word, &x) in words.iter().zip(row) {
            let [a, d, c, b] = word.to_le_bytes();
            for (sum, weight) in sums.iter_mut().zip([a, b, c, d]) {
                *sum = sum.wrapping_add((i32::from(x) + 128) * i32::from(weight));
            }
        }
        for ((output, sum), &scale) in outputs.iter_mut().zip(sums).zip(scales.as_chunks().0) {
            *output = Folded::from_words(scale).apply(sum << 1, false);
        }
    }
}
