//! The layout of channel sixteens: depthwise convolutions of any window for processors with vectors of int8, Armv8.1-M with Helium.
//!
//! # The stream
//!
//! A vector has sixteen *lanes*: sixteen channels of a pixel, or those of several neighbouring pixels if they fill it (1, 2, 4 or 8 channels) and their windows are neighbours as well (stride 1).
//! For each sixteen lanes, those of channels that are not there with zeros everywhere:
//!
//! | words | what |
//! |---|---|
//! | 16 | biases of the lanes 0, 4, 8, 12, then 2, 6, 10, 14, then 1, 5, 9, 13, then 3, 7, 11, 15 |
//! | `4 * T` | a weight of each lane for each tap; `T` is the number of taps, made even by one more with zeros |
//! | 32 | for each four biases, their multipliers and shifts |
//!
//! So lanes lie four apart because of the instructions that widen products and narrow sums: they take every other one.
//!
//! Products of two neighbouring taps are added in 16 bits and then, widened, to a sum of 32 bits; both wrap. Two products of int8 fit 16 bits unless all four
//! factors are -128, so that [`pack`] takes no such weight. The requantization is TensorFlow Lite Micro's for any multiplier from 0 on and any shift
//! that is not to the left: [`is_sound`] says what is.
//!
//! # The rows
//!
//! As many rows of the input as the window has are kept in scratch memory, with their padding, each as long as a row of outputs needs. For the next row of outputs those that are not needed any more
//! make room for others: which of them is the first goes round. So every pixel is the same work, whether it lies at a border or not, and when a row
//! of outputs is written, all that it or an earlier one reads has been copied: the output may run over the input as far as that allows.
//!
//! Before the rows lies a table of where in them each tap reads, from the first row on and again: for any first row, the taps of a window follow each other there.

use super::gather::copy_rows;
#[cfg(arm_helium)]
use super::helium::{fill, lanes};
use super::layer::{PackedChannel, PackedLayer};
use crate::geometry::Window;
use crate::memory::{InOut, elements, elements_mut};
use crate::quantization::Multiplier;
#[cfg(not(arm_helium))]
use crate::quantization::requantize;

/// Lanes of a record of the stream.
pub const LANES: usize = 16;
/// Words of the biases.
const BIAS_WORDS: usize = LANES;
/// Words of the weights of a tap.
const TAP_WORDS: usize = LANES / 4;
/// Words of the multipliers and shifts.
const SCALE_WORDS: usize = 2 * LANES;
/// Bytes behind the rows that whole vectors reach into.
const SLACK: usize = LANES - 1;

/// How many neighbouring pixels of this many channels are in the lanes of a vector.
const fn pixels_of_lanes(window: &Window, channels: usize) -> usize {
    let fill_it = channels > 0 && LANES.is_multiple_of(channels);
    if fill_it && window.x.stride == 1 { LANES / channels } else { 1 }
}

/// The channel of a lane, counted from the first record's first, if there is one.
pub const fn channel_of(window: &Window, channels: usize, lane: usize) -> Option<usize> {
    let channel = if pixels_of_lanes(window, channels) > 1 { lane % channels } else { lane };
    if channel < channels { Some(channel) } else { None }
}

/// Words of sixteen lanes with this many taps; `None` if they are too many to count.
pub const fn sixteen_words(taps: usize) -> Option<usize> {
    match taps.div_ceil(2).checked_mul(2 * TAP_WORDS) {
        Some(words) => words.checked_add(BIAS_WORDS + SCALE_WORDS),
        None => None,
    }
}

/// Words of scratch for rows of `out_w` outputs with this many channels; `None` if one of them is 0 or they are too long.
pub fn scratch_words(window: &Window, out_w: usize, channels: usize) -> Option<usize> {
    let words = table_words(window)?.checked_add(rows_bytes(window, out_w, channels)?.div_ceil(4))?;
    (channels > 0 && words <= 1 << 24).then_some(words)
}

/// Words of the table of the taps: as many rows as the window can begin with and all of it behind the last one, and one more for a tap that makes them even.
fn table_words(Window { y, x }: &Window) -> Option<usize> {
    y.kernel.checked_mul(2)?.checked_sub(1)?.checked_mul(x.kernel)?.checked_add(1)
}

/// Bytes of a row: all that a row of outputs reads.
fn row_bytes(Window { x, .. }: &Window, out_w: usize, channels: usize) -> Option<usize> {
    out_w.checked_sub(1)?.checked_mul(x.stride)?.checked_add(x.extent()?)?.checked_mul(channels)
}

/// Bytes of as many rows as the window has, and what vectors reach beyond.
fn rows_bytes(window: &Window, out_w: usize, channels: usize) -> Option<usize> {
    row_bytes(window, out_w, channels)?.checked_mul(window.y.kernel)?.checked_add(SLACK)
}

/// Where among the biases that of a lane is; and, of these places, where among the multipliers and shifts its own are.
const fn place(lane: usize) -> usize {
    let vector = match lane % 4 {
        1 => 2,
        2 => 1,
        same => same,
    };
    4 * vector + lane / 4
}

/// Where among the words behind the weights the multiplier and the shift of a lane are.
const fn scale_places(lane: usize) -> [usize; 2] {
    let (vector, index) = (place(lane) / 4, place(lane) % 4);
    [8 * vector + index, 8 * vector + 4 + index]
}

/// Writes the words of sixteen lanes; `None` is one whose channel is not there. `None` if a requantization is not one that [`is_sound`] accepts, a weight is -128, there is no lane, or
/// `stream` does not have [`sixteen_words`].
pub fn pack(lanes: [Option<PackedChannel<'_, Multiplier>>; LANES], stream: &mut [i32]) -> Option<()> {
    let taps = lanes.iter().flatten().next()?.weights.len();
    if Some(stream.len()) != sixteen_words(taps) {
        return None;
    }
    stream.fill(0);
    let (biases, rest) = stream.split_first_chunk_mut::<BIAS_WORDS>()?;
    let (words, scales) = rest.split_last_chunk_mut::<SCALE_WORDS>()?;
    for (lane, channel) in lanes.into_iter().enumerate() {
        let Some(PackedChannel { weights, bias, scale }) = channel else { continue };
        if weights.contains(&i8::MIN) {
            return None;
        }
        *biases.get_mut(place(lane))? = bias;
        let [multiplier_at, shift_at] = scale_places(lane);
        *scales.get_mut(multiplier_at)? = scale.multiplier;
        *scales.get_mut(shift_at)? = scale.shift;
        let words = words.iter_mut().skip(lane / 4).step_by(TAP_WORDS);
        for (word, &weight) in words.zip(weights) {
            *word |= i32::from(weight.cast_unsigned()) << (8 * (lane % 4));
        }
    }
    is_sound(stream).then_some(())
}

/// What the words of sixteen lanes say.
struct Sixteen<'a> {
    biases: &'a [i32; BIAS_WORDS],
    weights: &'a [i32],
    scales: &'a [i32; SCALE_WORDS],
}

impl<'a> Sixteen<'a> {
    fn of(stream: &'a [i32]) -> Option<Self> {
        let (biases, rest) = stream.split_first_chunk()?;
        let (weights, scales) = rest.split_last_chunk()?;
        Some(Self { biases, weights, scales })
    }

    fn bias(&self, lane: usize) -> i32 {
        self.biases.get(place(lane)).copied().unwrap_or(0)
    }

    /// The weights of a lane, tap by tap, with the one that makes them even.
    fn weights(&self, lane: usize) -> impl Iterator<Item = i8> {
        let words = self.weights.iter().skip(lane / 4).step_by(TAP_WORDS);
        words.map(move |word| (word >> (8 * (lane % 4))) as i8)
    }

    fn multiplier(&self, lane: usize) -> Multiplier {
        let [multiplier, shift] =
            scale_places(lane).map(|place| self.scales.get(place).copied().unwrap_or(0));
        Multiplier { multiplier, shift }
    }
}

/// Whether the requantizations of the sixteen lanes of `stream` are valid and none of them shifts to the left.
pub fn is_sound(stream: &[i32]) -> bool {
    let sound = |multiplier: Multiplier| multiplier.is_valid() && multiplier.shift <= 0;
    Sixteen::of(stream).is_some_and(|sixteen| (0..LANES).all(|lane| sound(sixteen.multiplier(lane))))
}

/// The inverse of [`pack`], for a lane of the stream of sixteen: its bias and its multiplier; its weights are written to `weights`. `None`
/// if there is no such lane.
pub fn unpack(stream: &[i32], lane: usize, weights: &mut [i8]) -> Option<(i32, Multiplier)> {
    let sixteen = Sixteen::of(stream).filter(|_| lane < LANES)?;
    weights.iter_mut().zip(sixteen.weights(lane)).for_each(|(to, weight)| *to = weight);
    Some((sixteen.bias(lane), sixteen.multiplier(lane)))
}

/// Computes a sample of a layer with as many input channels as output channels, row by row. `scratch` has [`scratch_words`].
///
/// Does nothing more where a slice is too short. What becomes of sums is defined for streams that [`is_sound`] accepts.
pub fn depthwise(layer: &PackedLayer<'_>, both: &mut InOut<'_>, scratch: &mut [u8]) {
    let [out_h, out_w, channels] = layer.out_size;
    let Some(mut rows) = Rows::new(layer, scratch) else { return };
    for out_y in 0..out_h {
        rows.load(out_y, both);
        let length = out_w * channels;
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let Some(output) = output.get_mut(out_y * length..(out_y + 1) * length) else { return };
        if pixels_of_lanes(layer.window, channels) > 1 {
            // A row is one pixel of sixteen channels after another, and what is left of one.
            let (whole, left) = output.split_at_mut_checked(length / LANES * LANES).unwrap_or_default();
            let place = whole.len();
            lanes(&rows, Pixels { place: 0, step: LANES, channels: LANES }, whole);
            lanes(&rows, Pixels { place, step: LANES, channels: left.len() }, left);
        } else {
            lanes(&rows, Pixels { place: 0, step: layer.window.x.stride * channels, channels }, output);
        }
    }
}

/// Pixels of a row: where the taps of the first one begin, how far it is to those of the next, and how many channels they have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pixels {
    pub(super) place: usize,
    pub(super) step: usize,
    pub(super) channels: usize,
}

/// Rows of the input in the scratch, and the table of the taps.
pub(super) struct Rows<'a, 's> {
    pub(super) layer: &'a PackedLayer<'a>,
    /// Where each tap of a window reads that begins with the first of the rows, with the second, and so on. The last one of each lies in the last row in which it can.
    table: &'s [i32],
    /// As many rows as the window has, and what vectors reach beyond.
    pub(super) rows: &'s mut [i8],
    row_bytes: usize,
    /// Which of them is the first row of the window.
    first: usize,
}

impl<'a, 's> Rows<'a, 's> {
    /// The table, and rows that are padding all over. `None` if the scratch is too short.
    fn new(layer: &'a PackedLayer<'a>, scratch: &'s mut [u8]) -> Option<Self> {
        let PackedLayer { window: window @ Window { y, x }, out_size: [_, out_w, channels], padding, .. } =
            *layer;
        let row_bytes = row_bytes(window, out_w, channels)?;
        let scratch: &mut [i32] = elements_mut(scratch).unwrap_or_default();
        let (table, rest) = scratch.split_at_mut_checked(table_words(window)?)?;
        let rows: &mut [i8] = bytemuck::try_cast_slice_mut(rest).unwrap_or_default();
        let rows = rows.get_mut(..rows_bytes(window, out_w, channels)?)?;
        fill(rows, padding);
        let (mut row, mut column) = (0, 0);
        for place in table.iter_mut() {
            *place = (row * row_bytes + column * x.dilation * channels) as i32;
            column += 1;
            if column == x.kernel {
                (row, column) = (if row + 1 < y.kernel { row + 1 } else { 0 }, 0);
            }
        }
        Some(Self { layer, table, rows, row_bytes, first: 0 })
    }

    /// Where the taps of a window read, and one more.
    pub(super) fn taps(&self) -> &[i32] {
        let Window { y, x } = self.layer.window;
        let first = self.first * x.kernel;
        self.table.get(first..=first + y.kernel * x.kernel).unwrap_or_default()
    }

    /// Copies what row `out_y` of the outputs reads and is not there yet; it is the row after that of the last call, or the first.
    fn load(&mut self, out_y: usize, both: &InOut<'_>) {
        let Window { y, .. } = self.layer.window;
        let mut kept = 0;
        if out_y > 0 && y.dilation == 1 && y.stride < y.kernel {
            kept = y.kernel - y.stride;
            self.first += y.stride;
            self.first -= if self.first >= y.kernel { y.kernel } else { 0 };
        }
        for k_y in kept..y.kernel {
            self.load_row(out_y, k_y, both);
        }
    }

    /// Copies row `k_y` of the window, or fills it with padding.
    fn load_row(&mut self, out_y: usize, k_y: usize, both: &InOut<'_>) {
        let PackedLayer { window: Window { y, x }, size: [in_h, in_w, in_c], padding, .. } = *self.layer;
        let place = self.first + k_y;
        let place = if place < y.kernel { place } else { place - y.kernel };
        let row = self.rows.get_mut(place * self.row_bytes..(place + 1) * self.row_bytes).unwrap_or_default();
        match y.input(out_y, k_y, in_h) {
            Some(at) => {
                let to = row.get_mut(x.pad_before * in_c..).unwrap_or_default();
                let input: &[i8] = elements(both.input()).unwrap_or_default();
                let length = in_w * in_c;
                let from = input.get(at * length..).unwrap_or_default();
                let length = length.min(to.len());
                copy_rows(from, to, [0, 0], [1, length]);
            }
            None => fill(row, padding),
        }
    }
}

/// The outputs of pixels of a row, one pixel behind the other: as many as `output` has.
///
/// Does nothing more where a slice is too short.
#[cfg(not(arm_helium))]
fn lanes(rows: &Rows<'_, '_>, Pixels { place, step, channels }: Pixels, output: &mut [i8]) {
    let (taps, [zero_point, ..]) = (rows.taps(), rows.layer.range);
    let Some(words) = taps.len().checked_sub(1).and_then(sixteen_words) else { return };
    for (pixel, outputs) in output.chunks_exact_mut(channels.max(1)).enumerate() {
        let inputs = rows.rows.get(place + pixel * step..).unwrap_or_default();
        for (lane, output) in outputs.iter_mut().enumerate() {
            let stream = rows.layer.stream.chunks_exact(words).nth(lane / LANES).unwrap_or_default();
            let Some(sixteen) = Sixteen::of(stream) else { return };
            let inputs = inputs.get(lane..).unwrap_or_default();
            let lane = lane % LANES;
            let mut sum = sixteen.bias(lane);
            let mut taps = taps.iter().map(|&tap| inputs.get(tap as usize).copied().map_or(0, i16::from));
            let mut weights = sixteen.weights(lane).map(i16::from);
            while let (Some(a), Some(b)) = (weights.next(), weights.next()) {
                let [x, y] = [taps.next(), taps.next()].map(Option::unwrap_or_default);
                sum = sum.wrapping_add(i32::from((a * x).wrapping_add(b * y)));
            }
            let multiplier = sixteen.multiplier(lane);
            *output = requantize(sum, multiplier, zero_point, i8::MIN.into(), i8::MAX.into());
        }
    }
}

/// Makes all values the same.
#[cfg(not(arm_helium))]
fn fill(values: &mut [i8], value: i8) {
    values.fill(value);
}
