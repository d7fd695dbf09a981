//! The layout of double pairs: fully connected layers for processors with two 16-bit multiplications in an instruction.
//!
//! It is that of [`pairs`] for two pairs of channels at once. A fully connected layer has one pixel, so that no weight serves twice; what can
//! serve twice is the input, and the work at the end of the channels.
//!
//! # The stream
//!
//! The weights of an output channel are filled up with zeros to a multiple of eight, `K`. For each four output channels `c0..c4` (missing last ones have zeros
//! everywhere) there are `K + 16` words:
//!
//! | words | what |
//! |---|---|
//! | 4 | bias of `c0`; `256 * bias of c1 + bias of c0`; the same two of `c2` and `c3` |
//! | `K` | for each eight inputs, four words of the weights of `c0` and `c1`, then four of `c2` and `c3`, each as in [`pairs`] |
//! | `4 * 3` | [`Folded`] of each channel |
//!
//! The inputs are expanded as those of one pixel in [`pairs`].

#[cfg(arm_dsp)]
use super::dsp::double_single;
use super::layer::{PackedChannel, PackedLayer};
use super::pairs;
#[cfg(not(arm_dsp))]
use super::pairs::{dual, halves};
use super::requantize::FOLDED_WORDS;
#[cfg(not(arm_dsp))]
use super::requantize::Folded;
use crate::memory::{InOut, elements, elements_mut};

/// Channels that are computed at once.
pub const CHANNELS: usize = 4;
/// Words of both pairs' weights that lie side by side.
pub const SIDE: usize = 4;
/// Words of four channels besides their weights.
pub(super) const FIXED_WORDS: usize = CHANNELS * (1 + FOLDED_WORDS);

/// `inputs`, filled up.
const fn padded(inputs: usize) -> usize {
    inputs.next_multiple_of(2 * SIDE)
}

/// Words of four channels with this many inputs.
pub const fn double_words(inputs: usize) -> usize {
    padded(inputs) + FIXED_WORDS
}

/// Words of scratch for a row of this many inputs: the taps, and, unless the inputs are whole blocks, what they are expanded from.
pub const fn row_words(inputs: usize) -> usize {
    let padded = padded(inputs);
    if padded == inputs { padded / 2 } else { padded / 2 + padded / 4 }
}

/// Writes the words of four channels, of which those behind the first may be missing. `None` if a word is too large for the layout, and if `stream` does
/// not have [`double_words`].
pub fn pack(channels: [Option<PackedChannel<'_>>; CHANNELS], stream: &mut [i32]) -> Option<()> {
    let [first, ..] = channels;
    let inputs = first?.weights.len();
    if stream.len() != double_words(inputs) {
        return None;
    }
    let (biases, rest) = stream.split_first_chunk_mut::<CHANNELS>()?;
    let (weights, scales) = rest.split_last_chunk_mut::<{ CHANNELS * FOLDED_WORDS }>()?;
    let sides =
        biases.as_chunks_mut::<2>().0.iter_mut().zip(scales.as_chunks_mut::<{ 2 * FOLDED_WORDS }>().0);
    for ((side, pair), (biases, scales)) in channels.as_chunks::<2>().0.iter().enumerate().zip(sides) {
        let [even, odd] = pair.map(|channel| channel.unwrap_or(PackedChannel::NONE));
        if !pairs::fits([even, odd]) {
            return None;
        }
        *biases = pairs::biases([even, odd]);
        for (word, value) in scales.iter_mut().zip(even.scale.words().into_iter().chain(odd.scale.words())) {
            *word = value;
        }
        let words = weights.chunks_mut(SIDE).skip(side).step_by(2).flatten();
        for (word, value) in words.zip(pairs::weight_words([even, odd], padded(inputs))) {
            *word = value;
        }
    }
    Some(())
}

/// One row of a fully connected layer, of as many inputs and outputs as `both` has. `scratch` has [`row_words`]. The output may run over the input.
///
/// Does nothing more where a slice is too short.
pub fn fully_connected(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let row: &[i8] = elements(both.input()).unwrap_or_default();
    let k = padded(row.len());
    let Some(taps) = pairs::expand_row(row, k, scratch) else { return };
    let (outputs, left) = elements_mut::<i8>(both.output()).unwrap_or_default().as_chunks_mut::<CHANNELS>();
    let whole = outputs.len() * (k + FIXED_WORDS);
    let Some((whole, last)) = layer.stream.split_at_checked(whole) else { return };
    double_single(whole, taps, layer.relu(), outputs);
    if !left.is_empty() {
        let mut four = [[0; CHANNELS]];
        double_single(last, taps, layer.relu(), &mut four);
        for (output, value) in left.iter_mut().zip(four.into_iter().flatten()) {
            *output = value;
        }
    }
}

/// The fours of channels of `stream` for the pixel of `taps`.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_dsp))]
fn double_single(stream: &[i32], taps: &[i32], relu: bool, outputs: &mut [[i8; CHANNELS]]) {
    for (stream, outputs) in stream.chunks_exact(2 * taps.len() + FIXED_WORDS).zip(outputs) {
        let Some((biases, rest)) = stream.split_first_chunk::<CHANNELS>() else { return };
        let Some((weights, scales)) = rest.split_last_chunk::<{ CHANNELS * FOLDED_WORDS }>() else { return };
        let sides = biases.as_chunks::<2>().0.iter().zip(scales.as_chunks::<{ 2 * FOLDED_WORDS }>().0);
        for ((side, outputs), (biases, scales)) in
            outputs.as_chunks_mut::<2>().0.iter_mut().enumerate().zip(sides)
        {
            let &[mut even, mut both] = biases;
            let weights = weights.chunks(SIDE).skip(side).step_by(2).flatten();
            for (&weights, &taps) in weights.zip(taps) {
                even = dual(taps, halves(weights as i8, (weights >> 16) as i8), even);
                both = dual(taps, weights, both);
            }
            let sums = [even << 1, both.wrapping_sub(even) >> 7];
            for ((output, sum), &scale) in outputs.iter_mut().zip(sums).zip(scales.as_chunks().0) {
                *output = Folded::from_words(scale).apply(sum, relu);
            }
        }
    }
}
