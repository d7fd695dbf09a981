//! The layout of channel pairs: convolutions for processors with two 16-bit multiplications in an instruction.
//!
//! # The stream
//!
//! The weights of one output channel are a row of `K = K_h * K_w * C_in` numbers, filled up with zeros to a multiple of four. For each pair of output
//! channels `c0, c1` (a missing last one has zeros everywhere) there are `K / 2 + 8` words, one pair after another:
//!
//! | words | what |
//! |---|---|
//! | 1 | bias of `c0` |
//! | 1 | `256 * bias of c1 + bias of c0` |
//! | `K / 2` | for each four weights `k..k+4`, two words: the weights `k` and `k+2`, and `k+1` and `k+3`. The first is in the lower half of the word. A half is `256 * weight of c1 + weight of c0` |
//! | 3 | [`Folded`] of `c0` |
//! | 3 | [`Folded`] of `c1` |
//!
//! So a word has four weights in four bytes, and two uses: as it is, it is a factor of a dual multiplication that sums up
//! `256 * (sum of c1) + (sum of c0)`; with its bytes 0 and 2 sign-extended (one `SXTB16`), of one that sums up `c0` alone. One subtraction
//! at the end gives `c1`. It needs `|accumulator of c1| < 2^23`, which the host proves of each layer before it chooses the layout.
//!
//! # The taps
//!
//! Four output pixels are computed at once. What they read is expanded to 16 bits once, for all channels: for each four taps `k..k+4`, the words
//! `(k, k+2)` of the pixels 0 to 3, then the words `(k+1, k+3)` of the pixels 0 to 3. They lie in scratch memory, `2 * K` words.
//! Pixels that are left over from fours, and the one pixel of a fully connected layer, are computed one at a time, from the same stream: for each four taps
//! the words `(k, k+2)` and `(k+1, k+3)` of the pixel.

#[cfg(arm_dsp)]
use super::dsp::{Tiles, copy_rows, expand, expand_colour, expand_one, single};
use super::gather::Image;
#[cfg(not(arm_dsp))]
use super::gather::{copy_rows, runs_fit};
use super::layer::{PackedChannel, PackedLayer};
use super::requantize::{FOLDED_WORDS, Folded};
use crate::memory::{InOut, elements, elements_mut};

/// Pixels that are computed at once.
pub const PIXELS: usize = 4;
/// Words of a pair besides its weights.
pub(super) const FIXED_WORDS: usize = 2 + 2 * FOLDED_WORDS;

/// Rows of the window of a first layer on colours, elements of one of them, and words of the taps of four pixels.
pub(super) const COLOUR_ROWS: usize = 3;
pub(super) const COLOUR_ROW: usize = 9;
#[cfg(arm_dsp)]
pub(super) const COLOUR_WORDS: usize = 2 * padded(COLOUR_ROWS * COLOUR_ROW);

/// `weights` of one output channel, filled up.
pub const fn padded(weights: usize) -> usize {
    weights.next_multiple_of(4)
}

/// Words of a pair of channels with this many weights each.
pub const fn pair_words(weights: usize) -> usize {
    padded(weights) / 2 + FIXED_WORDS
}

/// Words of scratch for a layer with this many weights in an output channel: the taps, and, unless the window has one tap and no padding
/// and takes whole words, what they are expanded from.
pub const fn scratch_words(weights: usize, single_tap: bool) -> usize {
    let padded = padded(weights);
    if single_tap && padded == weights { 2 * padded } else { 3 * padded }
}

/// Words of scratch for a row of a fully connected layer with this many inputs: the taps, and, unless the inputs are whole words, what they are
/// expanded from.
pub const fn row_words(inputs: usize) -> usize {
    let padded = padded(inputs);
    if padded == inputs { padded / 2 } else { padded / 2 + padded / 4 }
}

/// Writes the words of a pair; the second channel may be missing. `None` if a word is too large for the layout, and if `stream` does
/// not have [`pair_words`].
pub fn pack([even, odd]: [Option<PackedChannel<'_>>; 2], stream: &mut [i32]) -> Option<()> {
    let (even, odd) = (even?, odd.unwrap_or(PackedChannel::NONE));
    if !fits([even, odd]) || stream.len() != pair_words(even.weights.len()) {
        return None;
    }
    let weights = weight_words([even, odd], padded(even.weights.len()));
    let scales = [even.scale, odd.scale].into_iter().flat_map(Folded::words);
    for (word, value) in stream.iter_mut().zip(biases([even, odd]).into_iter().chain(weights).chain(scales)) {
        *word = value;
    }
    Some(())
}

/// Whether no input makes an accumulator of these two channels leave its range.
pub(super) fn fits([even, odd]: [PackedChannel<'_>; 2]) -> bool {
    let bound = |channel: PackedChannel<'_>| {
        let weights: u64 = channel.weights.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
        u64::from(channel.bias.unsigned_abs()) + 128 * weights
    };
    bound(even) < 1 << 30 && bound(odd) < 1 << 23 && !odd.weights.contains(&-128)
}

/// The words of two channels' biases.
pub(super) fn biases([even, odd]: [PackedChannel<'_>; 2]) -> [i32; 2] {
    [even.bias, odd.bias.wrapping_mul(256).wrapping_add(even.bias)]
}

/// The words of two channels' weights, filled up to so many, a multiple of four.
pub(super) fn weight_words(channels: [PackedChannel<'_>; 2], padded: usize) -> impl Iterator<Item = i32> {
    let weight = move |k: usize| {
        let [low, high] = channels.map(|channel| i32::from(channel.weights.get(k).copied().unwrap_or(0)));
        256 * high + low
    };
    let words = (0..padded).step_by(4).flat_map(|k| [k, k + 1]);
    words.map(move |k| (weight(k) & 0xffff) | weight(k + 2) << 16)
}

/// Computes a sample. `scratch` has [`scratch_words`], or [`row_words`] for a row of a fully connected layer, which is a sample of one pixel. What one to four
/// neighbouring pixels read is gathered before they are written, so that the output may run over the input.
///
/// Does nothing more where a slice is too short.
pub fn convolve(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let PackedLayer { window, size, out_size, padding, stream, .. } = *layer;
    let ([in_h, in_w, in_c], [out_h, out_w, channels]) = (size, out_size);
    let (weights, pixels) = (layer.weights(), out_h * out_w);
    let k = padded(weights);
    let scratch: &mut [i32] = elements_mut(scratch).unwrap_or_default();
    let taps = if pixels < PIXELS { k / 2 } else { 2 * k };
    let Some((taps, patches)) = scratch.split_at_mut_checked(taps) else { return };
    let Ok(patches) = bytemuck::try_cast_slice_mut::<i32, i8>(patches) else { return };
    // A window of one tap that gives as many pixels as it is given goes from each to the next.
    let in_order = k == in_c && [in_h, in_w] == [out_h, out_w];
    let mut blocks = Blocks::new(stream, k, layer.relu(), channels);
    let (mut pixel, mut place) = (0, [0, 0]);
    while pixel < pixels {
        // What is left over from fours goes one by one.
        let count = if pixels - pixel < PIXELS { 1 } else { PIXELS };
        let input: &[i8] = elements(both.input()).unwrap_or_default();
        let rows = if in_order {
            input.get(pixel * k..)
        } else {
            let (image, first) = (Image { input, size, window, padding }, place);
            place = forward(place, count, out_w);
            if count == PIXELS && expand_in_place(&image, first, out_w, taps) {
                None
            } else {
                let mut at = first;
                for patch in patches.chunks_exact_mut(k.max(1)).take(count) {
                    image.patch(at, patch.get_mut(..weights).unwrap_or_default());
                    at = forward(at, 1, out_w);
                }
                Some(&*patches)
            }
        };
        match rows {
            Some(row) if count == 1 => expand_one(row, taps.get_mut(..k / 2).unwrap_or_default()),
            Some(rows) => expand(rows, k, taps),
            None => {}
        }
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let output = output.get_mut(pixel * channels..).unwrap_or_default();
        if count == 1 {
            let (one, output) = (taps.get(..k / 2), output.get_mut(..channels));
            block_of_one(stream, one.unwrap_or_default(), output.unwrap_or_default());
        } else {
            blocks.run(taps, output);
        }
        pixel += count;
    }
}

/// The pixel that is `count` further, in rows of `out_w`.
#[inline(always)]
const fn forward([mut out_y, mut out_x]: [usize; 2], count: usize, out_w: usize) -> [usize; 2] {
    out_x += count;
    while out_x >= out_w && out_w > 0 {
        (out_y, out_x) = (out_y + 1, out_x - out_w);
    }
    [out_y, out_x]
}

/// The taps of a row that is filled up to `k` elements, a multiple of four; `None` if the scratch is too short.
#[inline(always)]
pub(super) fn expand_row<'s>(row: &[i8], k: usize, scratch: &'s mut [u8]) -> Option<&'s [i32]> {
    let scratch: &mut [i32] = elements_mut(scratch).unwrap_or_default();
    let (taps, patch) = scratch.split_at_mut_checked(k / 2)?;
    if k == row.len() {
        expand_one(row, taps);
    } else {
        let patch = bytemuck::try_cast_slice_mut::<i32, i8>(patch).ok()?;
        copy_rows(row, patch, [0, 0], [1, row.len()]);
        expand_one(patch, taps);
    }
    Some(taps)
}

/// All channels of four pixels.
struct Blocks<'a> {
    pairs: Option<Tiles<'a>>,
    /// The words of an odd last channel.
    last: &'a [i32],
    relu: bool,
    channels: usize,
}

impl<'a> Blocks<'a> {
    /// For `k` taps of a pixel.
    fn new(stream: &'a [i32], k: usize, relu: bool, channels: usize) -> Self {
        let whole = if channels.is_multiple_of(2) {
            stream.len()
        } else {
            stream.len().saturating_sub(k / 2 + FIXED_WORDS)
        };
        let (pairs, last) = stream.split_at_checked(whole).unwrap_or_default();
        Self { pairs: Tiles::new(pairs, 2 * k, relu, channels), last, relu, channels }
    }

    #[inline(always)]
    fn run(&mut self, taps: &[i32], output: &mut [i8]) {
        if let Some(pairs) = &mut self.pairs {
            pairs.run(taps, output);
        }
        if !self.last.is_empty() {
            self.odd(taps, output);
        }
    }

    /// The odd last channel, with one that is missing: computed beside the output.
    #[inline(never)]
    fn odd(&self, taps: &[i32], output: &mut [i8]) {
        let mut two = [0; 2 * PIXELS];
        if let Some(mut last) = Tiles::new(self.last, taps.len(), self.relu, 2) {
            last.run(taps, &mut two);
        }
        let outputs = output.iter_mut().skip(self.channels.saturating_sub(1)).step_by(self.channels.max(1));
        for (output, &[even, _]) in outputs.zip(two.as_chunks().0) {
            *output = even;
        }
    }
}

/// The last `length` words of a stream, and those before them.
fn split_last(stream: &[i32], length: usize) -> Option<(&[i32], &[i32])> {
    stream.split_at_checked(stream.len().checked_sub(length)?)
}

/// All channels of one pixel.
fn block_of_one(stream: &[i32], taps: &[i32], output: &mut [i8]) {
    if output.len().is_multiple_of(2) {
        single(stream, taps, output);
        return;
    }
    let Some((stream, last)) = split_last(stream, taps.len() + FIXED_WORDS) else { return };
    single(stream, taps, output);
    let mut two = [0; 2];
    single(last, taps, &mut two);
    if let (Some(output), [even, _]) = (output.last_mut(), two) {
        *output = even;
    }
}

/// Expands the taps of four pixels from where they lie in the input. That takes four pixels of one row that do not reach into the padding at the
/// left or right, and rows of the window that are whole words, or those of a first layer on colours; `false` if it is not so.
fn expand_in_place(image: &Image<'_>, [out_y, out_x]: [usize; 2], out_w: usize, taps: &mut [i32]) -> bool {
    let ([_, in_w, in_c], window, row) = (image.size, image.window, image.row());
    if window.x.dilation != 1 || out_x + PIXELS > out_w {
        return false;
    }
    let stride = window.x.stride * in_c;
    if row == COLOUR_ROW && in_c == 3 && (window.y.kernel, window.y.dilation) == (COLOUR_ROWS, 1) {
        let rows = [0, 2].map(|k_y| image.row_of_taps([out_y, out_x], PIXELS, k_y).unwrap_or_default());
        return match rows {
            [&[], _] | [_, &[]] => false,
            [input, _] => {
                expand_colour(input, [in_w * in_c, stride], taps);
                true
            }
        };
    }
    if !row.is_multiple_of(4) {
        return false;
    }
    for k_y in 0..window.y.kernel {
        let Some(taps) = taps.get_mut(k_y * 2 * row..(k_y + 1) * 2 * row) else { return false };
        match image.row_of_taps([out_y, out_x], PIXELS, k_y) {
            None => return false,
            Some(&[]) => taps.fill(halves(image.padding, image.padding)),
            Some(rows) => expand(rows, stride, taps),
        }
    }
    true
}

/// Expands the taps of four pixels of a window of three by three taps of three channels, none of which lies in the padding: rows of nine elements,
/// `row` elements apart, of pixels `stride` elements apart. The 27 taps are filled up with a zero.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_dsp))]
fn expand_colour(input: &[i8], [row, stride]: [usize; 2], taps: &mut [i32]) {
    for pixel in 0..PIXELS {
        let mut patch = [0; 28];
        let input = input.get(pixel * stride..).unwrap_or_default();
        copy_rows(input, &mut patch, [row, COLOUR_ROW], [COLOUR_ROWS, COLOUR_ROW]);
        for (words, &[a, b, c, d]) in taps.as_chunks_mut::<8>().0.iter_mut().zip(patch.as_chunks().0) {
            for (word, value) in
                words.iter_mut().skip(pixel).step_by(PIXELS).zip([halves(a, c), halves(b, d)])
            {
                *word = value;
            }
        }
    }
}

/// Expands the taps of four pixels: `taps.len() / 2` elements each, a multiple of four, `stride` elements apart.
///
/// Does nothing if `rows` is too short.
#[cfg(not(arm_dsp))]
fn expand(rows: &[i8], stride: usize, taps: &mut [i32]) {
    let k = taps.len() / 2;
    if !runs_fit(rows.len(), stride, [PIXELS, k]) {
        return;
    }
    let row = |pixel: usize| rows.get(pixel * stride..).unwrap_or_default().as_chunks::<4>().0;
    let pixels: [&[[i8; 4]]; PIXELS] = core::array::from_fn(row);
    let [a, b, c, d] = pixels;
    let rows = a.iter().zip(b).zip(c.iter().zip(d));
    for (words, ((a, b), (c, d))) in taps.as_chunks_mut::<8>().0.iter_mut().zip(rows) {
        let pixels = [a, b, c, d];
        let even = pixels.map(|&[first, _, third, _]| halves(first, third));
        let odd = pixels.map(|&[_, second, _, fourth]| halves(second, fourth));
        let [a, b, c, d] = even;
        let [e, f, g, h] = odd;
        *words = [a, b, c, d, e, f, g, h];
    }
}

/// Two int8 as the halves of a word.
#[inline(always)]
pub(super) fn halves(low: i8, high: i8) -> i32 {
    i32::from(low) & 0xffff | i32::from(high) << 16
}

/// The channel pairs of a stream, for four pixels at a time.
#[cfg(not(arm_dsp))]
struct Tiles<'a> {
    stream: &'a [i32],
    taps: usize,
    relu: bool,
    stride: usize,
}

#[cfg(not(arm_dsp))]
impl<'a> Tiles<'a> {
    /// For `taps` words of taps of four pixels, whose outputs are `stride` apart. `None` if the lengths do not fit each other.
    fn new(stream: &'a [i32], taps: usize, relu: bool, stride: usize) -> Option<Self> {
        let words = taps / 4 + FIXED_WORDS;
        let fits =
            !stream.is_empty() && stream.len().is_multiple_of(words) && taps > 0 && taps.is_multiple_of(8);
        fits.then_some(Self { stream, taps, relu, stride })
    }

    /// The outputs for the four pixels of `taps`: pixel `p`'s are `output[p * stride..]`, two for each pair.
    ///
    /// Does nothing if the lengths do not fit.
    fn run(&mut self, taps: &[i32], output: &mut [i8]) {
        let Self { stream, relu, stride, .. } = *self;
        let words = taps.len() / 4 + FIXED_WORDS;
        let pairs = stream.len() / words;
        if taps.len() != self.taps || !runs_fit(output.len(), stride, [PIXELS, 2 * pairs]) {
            return;
        }
        for (pair, stream) in stream.chunks_exact(words).enumerate() {
            let Some((&[even_bias, both_bias], rest)) = stream.split_first_chunk() else { return };
            let Some((weights, &scales)) = rest.split_last_chunk::<{ 2 * FOLDED_WORDS }>() else { return };
            let (mut even, mut both) = ([even_bias; PIXELS], [both_bias; PIXELS]);
            for (&weights, taps) in weights.iter().zip(taps.as_chunks::<PIXELS>().0) {
                // `SXTB16`: the bytes 0 and 2.
                let even_weights = halves(weights as i8, (weights >> 16) as i8);
                for ((even, both), &taps) in even.iter_mut().zip(&mut both).zip(taps) {
                    *even = dual(taps, even_weights, *even);
                    *both = dual(taps, weights, *both);
                }
            }
            let [m0, h0, e0, m1, h1, e1] = scales;
            let [even_scale, odd_scale] =
                [Folded::from_words([m0, h0, e0]), Folded::from_words([m1, h1, e1])];
            for (pixel, (&even, &both)) in even.iter().zip(&both).enumerate() {
                // 256 times the accumulator of the odd channel, so that shifting by 7 leaves its double.
                let odd = both.wrapping_sub(even) >> 7;
                let outputs = output.get_mut(pixel * stride + 2 * pair..).and_then(<[_]>::first_chunk_mut);
                if let Some(outputs) = outputs {
                    *outputs = [even_scale.apply(even << 1, relu), odd_scale.apply(odd, relu)];
                }
            }
        }
    }
}

/// Expands the taps of one pixel: `2 * taps.len()` elements, a multiple of four.
///
/// Does nothing if `row` is too short.
#[cfg(not(arm_dsp))]
fn expand_one(row: &[i8], taps: &mut [i32]) {
    if row.len() < 2 * taps.len() {
        return;
    }
    for (words, &[a, b, c, d]) in taps.as_chunks_mut::<2>().0.iter_mut().zip(row.as_chunks().0) {
        *words = [halves(a, c), halves(b, d)];
    }
}

/// The channel pairs of `stream` for the pixel of `taps`, two outputs for each pair.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_dsp))]
fn single(stream: &[i32], taps: &[i32], output: &mut [i8]) {
    for (stream, output) in stream.chunks_exact(taps.len() + FIXED_WORDS).zip(output.as_chunks_mut().0) {
        let Some((&[mut even, mut both], rest)) = stream.split_first_chunk() else { return };
        let Some((weights, &scales)) = rest.split_last_chunk::<{ 2 * FOLDED_WORDS }>() else { return };
        for (&weights, &taps) in weights.iter().zip(taps) {
            even = dual(taps, halves(weights as i8, (weights >> 16) as i8), even);
            both = dual(taps, weights, both);
        }
        let [m0, h0, e0, m1, h1, e1] = scales;
        let [even_scale, odd_scale] = [Folded::from_words([m0, h0, e0]), Folded::from_words([m1, h1, e1])];
        *output = [even_scale.apply(even << 1, false), odd_scale.apply(both.wrapping_sub(even) >> 7, false)];
    }
}

/// `SMLAD`: both products of halves, added.
#[cfg(not(arm_dsp))]
#[inline(always)]
pub(super) fn dual(a: i32, b: i32, sum: i32) -> i32 {
    let low = i32::from(a as i16) * i32::from(b as i16);
    let high = (a >> 16) * (b >> 16);
    sum.wrapping_add(low).wrapping_add(high)
}
