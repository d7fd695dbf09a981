//! Layers on the plain layout for processors with vectors of int8: Armv8.1-M with Helium, which is Cortex-M55 and M85.
//!
//! Such a processor multiplies and sums up sixteen neighbouring bytes in an instruction, and the weights of an output channel are neighbours in TensorFlow
//! Lite's order already. So there is nothing to be packed: any model file runs fast. What an output needs is computed in two parts, sums and outputs from
//! sums, which lie in a small block on the stack between the two.
//!
//! Convolutions need memory: for sums and for what three pixels read, or for the rows that a row of a depthwise one reads, with their padding. The
//! compiler plans it as scratch of the step. A step without it takes its memory from the stack, if it is not too much.
//!
//! A kernel in assembly ([`helium`](super::helium)) and its twin in safe Rust, below, give the same bytes for all numbers; sums wrap. What they may touch in memory
//! depends only on lengths of slices.

use super::depthwise_rows::DepthwiseScratch;
#[cfg(not(arm_helium))]
use super::depthwise_rows::depthwise;
use super::gather::Image;
#[cfg(not(arm_helium))]
use super::gather::copy_rows;
#[cfg(arm_helium)]
use super::helium::{SLACK, any_left_shift, depthwise, dots, finish, short_patch, three_rows, window_rows};
use crate::geometry::Window;
use crate::kernels::pieces::pieces;
use crate::memory::{InOut, elements, elements_mut};
#[cfg(not(arm_helium))]
use crate::quantization::{Multiplier, requantize};

/// Whether this processor has such vectors.
pub(crate) const FAST: bool = cfg!(arm_helium);

/// Rows of inputs that are computed together.
pub(crate) const ROWS: usize = 3;
/// Channels whose sums are computed before they become outputs.
pub(super) const BLOCK: usize = 32;
/// Words for the sums of [`ROWS`] rows.
pub(super) const SUMS: usize = ROWS * BLOCK;
/// Memory for these.
pub(super) type Sums = [i32; SUMS];
/// Weights of an output channel up to which what a pixel of a convolution reads is gathered on the stack.
pub(crate) const GATHERED: usize = 640;
/// Words of the stack that a depthwise convolution takes if it has no scratch.
const STACK_WORDS: usize = 1024;
/// Channels of a depthwise convolution that are computed together.
pub(crate) const LANES: usize = 16;

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
    #[cfg_attr(
        not(arm_helium),
        expect(dead_code, reason = "only the kernels in assembly have a shorter way")
    )]
    pub(super) shifts_left: bool,
}

impl Finish {
    /// For a layer with these channels.
    pub(crate) fn new([zero_point, min, max]: [i32; 3], channels: &[Record]) -> Self {
        Self { zero_point, min, max, shifts_left: any_left_shift(channels) }
    }
}

/// Weights and channels of a layer, and how its sums become outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'a> {
    /// A row for each channel, one after the other; of a depthwise convolution, one for each tap.
    pub(crate) weights: &'a [i8],
    pub(crate) channels: &'a [Record],
    pub(crate) finish: Finish,
}

/// Rows of `in_c` inputs to rows of outputs, one for each channel: fully connected layers, and convolutions with a window of one pixel.
///
/// Takes 96 words of scratch, or as many of the stack if there are fewer. Does nothing more where a slice is too short.
pub(crate) fn rows(layer: &Layer<'_>, in_c: usize, input: &[i8], output: &mut [i8], scratch: &mut [i32]) {
    match scratch.first_chunk_mut() {
        Some(sums) => rows_with(layer, in_c, input, output, sums),
        None => rows_on_the_stack(layer, in_c, input, output),
    }
}

#[inline(never)]
fn rows_on_the_stack(layer: &Layer<'_>, in_c: usize, input: &[i8], output: &mut [i8]) {
    rows_with(layer, in_c, input, output, &mut [0; SUMS]);
}

/// [`rows`] with memory for sums.
fn rows_with(layer: &Layer<'_>, in_c: usize, input: &[i8], output: &mut [i8], sums: &mut Sums) {
    let out_c = layer.channels.len();
    let whole = input.len().checked_div(in_c).unwrap_or(0) / ROWS * ROWS;
    let halves = (input.split_at_checked(whole * in_c), output.split_at_mut_checked(whole * out_c));
    let (Some((input, input_left)), Some((output, output_left))) = halves else { return };
    three(layer, in_c, input, output, sums);
    for (input, output) in pieces((input_left, output_left), [in_c, out_c]) {
        one(layer, input, output);
    }
}

/// The outputs of rows of `length` inputs each, a multiple of three of them.
fn three(layer: &Layer<'_>, length: usize, inputs: &[i8], output: &mut [i8], sums: &mut Sums) {
    let stride = layer.channels.len();
    let (even, odd) = layer.channels.split_at_checked(stride / 2 * 2).unwrap_or_default();
    three_rows(&Layer { channels: even, ..*layer }, length, inputs, output, stride, sums);
    if !odd.is_empty() {
        let weights = layer.weights.get(even.len() * length..).unwrap_or_default();
        let last = Layer { weights, channels: odd, ..*layer };
        for (row, input) in inputs.chunks_exact(length.max(1)).enumerate() {
            one(&last, input, output.get_mut(row * stride + even.len()..).unwrap_or_default());
        }
    }
}

/// The outputs of one row, as many as there are channels.
#[inline(never)]
fn one(layer: &Layer<'_>, input: &[i8], output: &mut [i8]) {
    let mut sums = [0; BLOCK];
    let (mut weights, mut output) = (layer.weights, output);
    for channels in layer.channels.chunks(BLOCK) {
        let Some(sums) = sums.get_mut(..channels.len()) else { return };
        dots(input, weights, sums);
        finish(sums, channels, &layer.finish, output);
        weights = weights.get(channels.len() * input.len()..).unwrap_or_default();
        output = output.get_mut(channels.len()..).unwrap_or_default();
    }
}

/// A convolution of one sample, or a depthwise one. With a window of one pixel, all pixels may be taken for one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution<'a> {
    pub(crate) layer: Layer<'a>,
    pub(crate) window: &'a Window,
    /// Height, width and channels of the input.
    pub(crate) size: [usize; 3],
    /// Height and width of the output.
    pub(crate) out_size: [usize; 2],
    /// What a tap in the padding reads: the input's zero point.
    pub(crate) padding: i8,
}

/// Words of scratch for a convolution with so many weights in a channel; `None` if they are too many to count.
pub(crate) fn convolution_words(weights: usize) -> Option<usize> {
    weights.checked_mul(ROWS)?.checked_add(SLACK)?.div_ceil(4).checked_add(SUMS)
}

/// Computes a sample. Each pixel reads all that it needs before it is written, or three of them do before they are: the output may run over the input as far as that
/// allows.
///
/// Does nothing if the scratch is shorter than [`convolution_words`] says and there are more than [`GATHERED`] weights in a channel, and nothing more where a slice is too short.
pub(crate) fn convolve(call: &Convolution<'_>, both: &mut InOut<'_>, scratch: &mut [i32]) {
    if convolution_words(call.weights()).is_some_and(|words| scratch.len() >= words) {
        by_pixels(call, both, scratch);
    } else if call.weights() <= GATHERED {
        convolve_on_the_stack(call, both);
    }
}

#[inline(never)]
fn convolve_on_the_stack(call: &Convolution<'_>, both: &mut InOut<'_>) {
    by_pixels(call, both, &mut [0; SUMS + (GATHERED + SLACK).div_ceil(4)]);
}

/// Computes a sample with memory for sums, what at least one pixel reads, and [`SLACK`].
fn by_pixels(call: &Convolution<'_>, both: &mut InOut<'_>, scratch: &mut [i32]) {
    let Some((sums, taps)) = scratch.split_first_chunk_mut() else { return };
    let taps: &mut [i8] = bytemuck::try_cast_slice_mut(taps).unwrap_or_default();
    let [out_h, out_w] = call.out_size;
    let length = call.weights();
    let pixels = out_h * out_w;
    let whole = if length <= taps.len().saturating_sub(SLACK) / ROWS { pixels / ROWS * ROWS } else { 0 };
    if whole > 0 {
        by_threes(call, both, whole, (taps, sums));
    }
    if whole < pixels {
        one_by_one(call, both, [whole, pixels], taps);
    }
}

/// The pixels `0..end`, three at a time.
#[inline(never)]
fn by_threes(call: &Convolution<'_>, both: &mut InOut<'_>, end: usize, (taps, sums): (&mut [i8], &mut Sums)) {
    let length = call.weights();
    let ([_, in_w, in_c], Window { y, x }) = (call.size, call.window);
    let windows = Windows {
        rows: y.kernel,
        length: x.kernel * in_c,
        row_stride: y.dilation * in_w * in_c,
        pixel_stride: x.stride * in_c,
    };
    let out_c = call.layer.channels.len();
    let mut place = Place::new(call, 0);
    let mut pixel = 0;
    while pixel < end {
        // Threes of neighbours without a tap in the padding, or any three.
        let (threes, first) = place.inside(call, (end - pixel) / ROWS);
        if threes > 0 && out_c.is_multiple_of(2) {
            window_rows(&call.layer, both, [first, pixel * out_c], &windows, threes, (taps, sums));
            place.skip(threes * ROWS);
            pixel += threes * ROWS;
        } else {
            let image = call.image(both);
            for row in 0..ROWS {
                gather(&image, place.next(), length, taps.get_mut(row * length..).unwrap_or_default());
            }
            let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
            let taps = taps.get(..ROWS * length).unwrap_or_default();
            three(&call.layer, length, taps, output.get_mut(pixel * out_c..).unwrap_or_default(), sums);
            pixel += ROWS;
        }
    }
}

/// Copies what a pixel reads to `taps`, of which it may change a few more elements.
fn gather(image: &Image<'_>, place: [usize; 2], length: usize, taps: &mut [i8]) {
    if !short_patch(image, place, taps) {
        image.patch(place, taps.get_mut(..length).unwrap_or_default());
    }
}

/// The windows of pixels: rows of the window, their length, and from a row and from a pixel to the next.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Windows {
    pub(crate) rows: usize,
    pub(crate) length: usize,
    pub(crate) row_stride: usize,
    pub(crate) pixel_stride: usize,
}

/// The pixels `first..end`.
#[inline(never)]
fn one_by_one(call: &Convolution<'_>, both: &mut InOut<'_>, [first, end]: [usize; 2], taps: &mut [i8]) {
    let length = call.weights();
    let out_c = call.layer.channels.len();
    let mut place = Place::new(call, first);
    for pixel in first..end {
        gather(&call.image(both), place.next(), length, taps);
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let taps = taps.get(..length).unwrap_or_default();
        one(&call.layer, taps, output.get_mut(pixel * out_c..).unwrap_or_default());
    }
}

impl Convolution<'_> {
    /// Weights of an output channel, if it is not a depthwise one.
    fn weights(&self) -> usize {
        let ([.., in_c], Window { y, x }) = (self.size, self.window);
        y.kernel * x.kernel * in_c
    }

    fn image<'b>(&'b self, both: &'b InOut<'_>) -> Image<'b> {
        let Self { window, size, padding, .. } = *self;
        Image { input: elements(both.input()).unwrap_or_default(), size, window, padding }
    }
}

/// Row and column of an output pixel.
struct Place {
    at: [usize; 2],
    width: usize,
}

impl Place {
    fn new(call: &Convolution<'_>, pixel: usize) -> Self {
        let [_, width] = call.out_size;
        let row = pixel.checked_div(width).unwrap_or(0);
        Self { at: [row, pixel - row * width], width }
    }

    /// How many threes of neighbours from this pixel on are in one row and have no tap in the padding, at most so many, and where in the input the first tap
    /// lies. None, if the taps of a row of the window are not neighbours.
    fn inside(&self, call: &Convolution<'_>, most: usize) -> (usize, usize) {
        let ([out_y, out_x], [in_h, in_w, in_c], Window { y, x }) = (self.at, call.size, call.window);
        let found = || {
            let top = (out_y * y.stride).checked_sub(y.pad_before)?;
            let left = (out_x * x.stride).checked_sub(x.pad_before)?;
            let room = in_w.checked_sub(left + x.kernel)?.checked_div(x.stride)? + 1;
            if x.dilation != 1 || top + (y.kernel - 1) * y.dilation >= in_h {
                return None;
            }
            let threes = room.min(self.width - out_x) / ROWS;
            Some((threes.min(most), (top * in_w + left) * in_c))
        };
        found().unwrap_or_default()
    }

    /// Goes to the pixel `count` further, which is in the same row or the first one of the next.
    fn skip(&mut self, count: usize) {
        let [row, column] = self.at;
        self.at = if column + count < self.width { [row, column + count] } else { [row + 1, 0] };
    }

    /// The place, which then is that of the next pixel.
    fn next(&mut self) -> [usize; 2] {
        let place = self.at;
        self.skip(1);
        place
    }
}

/// Computes a sample of a depthwise convolution with as many channels in the input as in the output, row by row, each of which reads all that it needs before it
/// is written: the output may run over the input if it stays behind the first tap of the pixel that is written.
///
/// Takes [`DepthwiseScratch`], or so much of the stack if the scratch is shorter. `false`, and nothing is written, if that would be too much. Does nothing more where a slice is too short.
pub(crate) fn depthwise_by_rows(call: &Convolution<'_>, both: &mut InOut<'_>, scratch: &mut [i32]) -> bool {
    let [.., in_c] = call.size;
    let [_, out_w] = call.out_size;
    match DepthwiseScratch::new(call.window, out_w, in_c).and_then(|parts| parts.words()) {
        Some(words) if words <= scratch.len() => depthwise(call, both, scratch),
        Some(..=STACK_WORDS) => depthwise_on_the_stack(call, both),
        _ => return false,
    }
    true
}

#[inline(never)]
fn depthwise_on_the_stack(call: &Convolution<'_>, both: &mut InOut<'_>) {
    depthwise(call, both, &mut [0; STACK_WORDS]);
}

/// The outputs of rows of `length` inputs, which follow each other; those of one row lie `stride` elements after those of the row before.
#[cfg(not(arm_helium))]
fn three_rows(
    layer: &Layer<'_>,
    length: usize,
    inputs: &[i8],
    output: &mut [i8],
    stride: usize,
    _: &mut Sums,
) {
    for (row, input) in inputs.chunks_exact(length.max(1)).enumerate() {
        one(layer, input, output.get_mut(row * stride..).unwrap_or_default());
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
pub(super) fn finish(sums: &[i32], channels: &[Record], how: &Finish, output: &mut [i8]) {
    let Finish { zero_point, min, max, .. } = *how;
    for ((output, &sum), &[bias, multiplier, shift]) in output.iter_mut().zip(sums).zip(channels) {
        let multiplier = Multiplier { multiplier, shift };
        *output = requantize(sum.wrapping_add(bias), multiplier, zero_point, min, max);
    }
}

/// The outputs of the windows of neighbouring pixels, a multiple of three of them, which are copied to `taps` three at a time.
#[cfg(not(arm_helium))]
fn window_rows(
    layer: &Layer<'_>,
    both: &mut InOut<'_>,
    [input, output]: [usize; 2],
    windows: &Windows,
    threes: usize,
    (taps, sums): (&mut [i8], &mut Sums),
) {
    let Windows { rows, length, row_stride, pixel_stride } = *windows;
    let (count, elements_of_one) = (layer.channels.len(), rows * length);
    let taps = taps.get_mut(..ROWS * elements_of_one).unwrap_or_default();
    for three in 0..threes {
        for (pixel, taps) in taps.chunks_exact_mut(elements_of_one.max(1)).enumerate() {
            let from: &[i8] = elements(both.input()).unwrap_or_default();
            let from = from.get(input + (ROWS * three + pixel) * pixel_stride..).unwrap_or_default();
            copy_rows(from, taps, [row_stride, length], [rows, length]);
        }
        let to: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let to = to.get_mut(output + ROWS * three * count..).unwrap_or_default();
        three_rows(layer, elements_of_one, taps, to, count, sums);
    }
}

/// A copy of a patch by vectors, which this processor does not have.
#[cfg(not(arm_helium))]
fn short_patch(_: &Image<'_>, _: [usize; 2], _: &mut [i8]) -> bool {
    false
}

#[cfg(not(arm_helium))]
const SLACK: usize = 15;

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
    use crate::ops::conv_2d::int8 as conv_2d;
    use crate::ops::depthwise_conv_2d::int8 as depthwise_conv_2d;
    use crate::ops::fully_connected::int8::{FullyConnectedI8, forward};
    use crate::ops::int8::OutputRange;
    use crate::ops::int8::reference::{Random, shape};

    #[test]
    fn convolutions_are_those_of_the_operators() {
        let mut random = Random(101);
        for round in 0..400 {
            let (window, [in_h, in_w]) = random.window();
            let depthwise_too = round % 2 == 0;
            let in_c = random.size(1, 40);
            let out_c = if depthwise_too { in_c } else { random.size(1, 40) };
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let taps = window.y.kernel * window.x.kernel;
            let weights = random.bytes(taps * if depthwise_too { in_c } else { in_c * out_c });
            let [input_zero_point, zero_point] = core::array::from_fn(|_| random.zero_point());
            let channels: Vec<Record> = (0..out_c)
                .map(|c| {
                    let row = weights.len() / out_c;
                    let (first, step) = if depthwise_too { (c, out_c) } else { (c * row, 1) };
                    let weights = weights.iter().skip(first).step_by(step).take(row).copied();
                    random.channel(weights, input_zero_point).words()
                })
                .collect();
            let [min, max] = random.clamp();
            let range = OutputRange { zero_point, activation_min: min, activation_max: max };
            let (input_shape, output_shape) = (shape([1, in_h, in_w, in_c]), shape([1, out_h, out_w, out_c]));
            let input = random.bytes(in_h * in_w * in_c);
            let [mut expected, mut found] = core::array::from_fn(|_| vec![0; out_h * out_w * out_c]);
            let call = Convolution {
                layer: Layer {
                    weights: &weights,
                    channels: &channels,
                    finish: Finish::new([zero_point, min, max], &channels),
                },
                window: &window,
                size: [in_h, in_w, in_c],
                out_size: [out_h, out_w],
                padding: input_zero_point as i8,
            };
            let mut both = InOut::apart(&input, &mut found);
            if depthwise_too {
                let params = depthwise_conv_2d::DepthwiseConv2dI8 {
                    window,
                    input: input_shape,
                    output: output_shape,
                    input_zero_point,
                    range,
                };
                depthwise_conv_2d::forward(&params, &input, &weights, &channels, &mut expected).unwrap();
                assert!(depthwise_by_rows(&call, &mut both, &mut []));
            } else {
                let params = conv_2d::Conv2dI8 {
                    window,
                    input: input_shape,
                    filter: shape([out_c, window.y.kernel, window.x.kernel, in_c]),
                    output: output_shape,
                    input_zero_point,
                    range,
                };
                conv_2d::forward(&params, &input, &weights, &channels, &mut expected).unwrap();
                let words = convolution_words(taps * in_c).unwrap();
                convolve(&call, &mut both, &mut vec![-1; if round % 3 == 0 { 0 } else { words }]);
            }
            assert_eq!(found, expected, "{window:?} {:?} {:?}", call.size, call.out_size);
        }
    }

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
            rows(&layer, in_c, &input, &mut found, &mut vec![-1; random.size(0, 1) * SUMS]);
            assert_eq!(found, expected, "{n} {in_c} {out_c}");
        }
    }
}
