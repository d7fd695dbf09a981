//! Layers on the plain layout for processors with vectors of int8: Armv8.1-M with Helium, which is Cortex-M55 and M85.
//!
//! Such a processor multiplies and sums up sixteen neighbouring bytes in an instruction, and the weights of an output channel are neighbours in TensorFlow
//! Lite's order already. So there is nothing to be packed: any model file runs fast. What an output needs is computed in two parts, sums and outputs from
//! sums, which lie in a small block on the stack between the two.
//!
//! A kernel in assembly ([`helium`](super::helium)) and its twin in safe Rust, below, give the same bytes for all numbers; sums wrap. What they may touch in memory
//! depends only on lengths of slices.

#[cfg(arm_helium)]
use super::helium::{any_left_shift, dots, finish, finish_three, three_dots};
use crate::kernels::pieces::pieces;
#[cfg(not(arm_helium))]
use crate::quantization::{Multiplier, requantize};

/// Whether this processor has such vectors.
pub(crate) const FAST: bool = cfg!(arm_helium);

/// Rows of inputs that are computed together.
pub(crate) const ROWS: usize = 3;
/// Channels whose sums are computed before they become outputs.
pub(crate) const BLOCK: usize = 32;

/// The sums of a block.
pub(crate) type Sums = [[i32; BLOCK]; ROWS];
/// What is known of an output channel: bias, multiplier and shift.
pub(crate) type Record = [i32; 3];

/// How sums become outputs, besides the records of the channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish {
    pub(crate) zero_point: i32,
    /// Least and greatest output.
    pub(crate) min: i32,
    pub(crate) max: i32,
    /// Whether the shift of any channel is to the left.
    pub(crate) shifts_left: bool,
}

impl Finish {
    /// For a layer with these channels.
    pub(crate) fn new([zero_point, min, max]: [i32; 3], channels: &[Record]) -> Self {
        Self { zero_point, min, max, shifts_left: any_left_shift(channels) }
    }

    /// Whether all outputs below the zero point are clamped.
    #[cfg_attr(
        not(arm_helium),
        expect(dead_code, reason = "only the kernels in assembly have a shorter way")
    )]
    pub(super) const fn is_relu(&self) -> bool {
        self.min >= self.zero_point
    }
}

/// Weights and channels of a layer, and how its sums become outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'a> {
    /// A row for each channel, one after the other.
    pub(crate) weights: &'a [i8],
    pub(crate) channels: &'a [Record],
    pub(crate) finish: Finish,
}

/// Rows of `in_c` inputs to rows of outputs, one for each channel: fully connected layers, and convolutions with a window of one pixel.
///
/// Does nothing more where a slice is too short.
pub(crate) fn rows(layer: &Layer<'_>, in_c: usize, input: &[i8], output: &mut [i8]) {
    let out_c = layer.channels.len();
    let mut sums = [[0; BLOCK]; ROWS];
    let whole = input.len().checked_div(in_c).unwrap_or(0) / ROWS * ROWS;
    let halves = (input.split_at_checked(whole * in_c), output.split_at_mut_checked(whole * out_c));
    let (Some((input, input_left)), Some((output, output_left))) = halves else { return };
    for (input, output) in pieces((input, output), [ROWS * in_c, ROWS * out_c]) {
        let mut rows = input.chunks_exact(in_c.max(1));
        let inputs = core::array::from_fn(|_| rows.next().unwrap_or_default());
        three_rows(layer, inputs, &mut sums, output);
    }
    let [sums, ..] = &mut sums;
    for (input, output) in pieces((input_left, output_left), [in_c, out_c]) {
        row(layer, input, sums, output);
    }
}

/// The outputs of three rows.
fn three_rows(layer: &Layer<'_>, inputs: [&[i8]; ROWS], sums: &mut Sums, output: &mut [i8]) {
    let [length, ..] = inputs.map(<[i8]>::len);
    let stride = layer.channels.len();
    let (mut weights, mut output) = (layer.weights, output);
    for channels in layer.channels.chunks(BLOCK) {
        let count = channels.len();
        three_dots(inputs, weights, count / 2, sums);
        if let Some(last) = (count - 1).checked_mul(length).filter(|_| !count.is_multiple_of(2)) {
            for (input, sums) in inputs.into_iter().zip(sums.iter_mut()) {
                let sums = sums.get_mut(count - 1..count).unwrap_or_default();
                dots(input, weights.get(last..).unwrap_or_default(), sums);
            }
        }
        finish_three(sums, channels, &layer.finish, output, stride);
        weights = weights.get(count * length..).unwrap_or_default();
        output = output.get_mut(count..).unwrap_or_default();
    }
}

/// The outputs of one row.
fn row(layer: &Layer<'_>, input: &[i8], sums: &mut [i32; BLOCK], output: &mut [i8]) {
    let (mut weights, mut output) = (layer.weights, output);
    for channels in layer.channels.chunks(BLOCK) {
        let Some(sums) = sums.get_mut(..channels.len()) else { return };
        dots(input, weights, sums);
        finish(sums, channels, &layer.finish, output);
        weights = weights.get(channels.len() * input.len()..).unwrap_or_default();
        output = output.get_mut(channels.len()..).unwrap_or_default();
    }
}

/// The dot products of three inputs with `2 * pairs` rows of weights, which follow each other: those of input `i` go to `sums[i]`.
#[cfg(not(arm_helium))]
fn three_dots(inputs: [&[i8]; ROWS], weights: &[i8], pairs: usize, sums: &mut Sums) {
    for (input, sums) in inputs.into_iter().zip(sums) {
        dots(input, weights, sums.get_mut(..2 * pairs).unwrap_or_default());
    }
}

/// The dot products of an input with as many rows of weights as there are sums; the rows follow each other.
#[cfg(not(arm_helium))]
fn dots(input: &[i8], weights: &[i8], sums: &mut [i32]) {
    for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(input.len().max(1))) {
        let products = input.iter().zip(weights).map(|(&x, &weight)| i32::from(x) * i32::from(weight));
        *sum = products.fold(0, i32::wrapping_add);
    }
}

/// The outputs of as many channels as there are records.
#[cfg(not(arm_helium))]
fn finish(sums: &[i32], channels: &[Record], how: &Finish, output: &mut [i8]) {
    let Finish { zero_point, min, max, .. } = *how;
    for ((output, &sum), &[bias, multiplier, shift]) in output.iter_mut().zip(sums).zip(channels) {
        let multiplier = Multiplier { multiplier, shift };
        *output = requantize(sum.wrapping_add(bias), multiplier, zero_point, min, max);
    }
}

/// The outputs of three rows, `stride` elements apart, of as many channels as there are records.
#[cfg(not(arm_helium))]
fn finish_three(sums: &Sums, channels: &[Record], how: &Finish, output: &mut [i8], stride: usize) {
    for (row, sums) in sums.iter().enumerate() {
        finish(sums, channels, how, output.get_mut(row * stride..).unwrap_or_default());
    }
}

/// Whether the shift of any channel is to the left.
#[cfg(not(arm_helium))]
fn any_left_shift(channels: &[Record]) -> bool {
    channels.iter().any(|&[_, _, shift]| shift > 0)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::ops::fully_connected::int8::{FullyConnectedI8, forward};
    use crate::ops::int8::OutputRange;
    use crate::ops::int8::reference::{Random, shape};

    #[test]
    fn rows_are_those_of_the_operator() {
        let mut random = Random(100);
        for _ in 0..300 {
            let (n, in_c, out_c) = (random.size(1, 8), random.size(1, 70), random.size(1, 2 * BLOCK + 7));
            let (input, weights) = (random.bytes(n * in_c), random.bytes(in_c * out_c));
            let zero_point = random.zero_point();
            let channels: Vec<Record> =
                weights.chunks(in_c).map(|row| random.channel(row.iter().copied(), 3).words()).collect();
            let [min, max] = random.clamp();
            let range = OutputRange { zero_point, activation_min: min, activation_max: max };
            let (input_shape, output_shape) = (shape([n, 1, 1, in_c]), shape([n, 1, 1, out_c]));
            let params = FullyConnectedI8 { input: input_shape, output: output_shape, range };
            let [mut expected, mut found] = core::array::from_fn(|_| vec![0; n * out_c]);
            forward(&params, &input, &weights, &channels, &mut expected).unwrap();
            let finish = Finish::new([zero_point, min, max], &channels);
            let layer = Layer { weights: &weights, channels: &channels, finish };
            rows(&layer, in_c, &input, &mut found);
            assert_eq!(found, expected, "{n} {in_c} {out_c}");
        }
    }
}
