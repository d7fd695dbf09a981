//! Holds the int8 kernels in assembly against the plain operators, and these, which have kernels in assembly on some processors, against their definition, on
//! random layers.
//!
//! The inputs are three u32: a seed, how many layers of each kind, and 1 if a weight is to be changed after packing, which has to be noticed. The
//! outputs are two: how many layers were compared, and how many differed.

#![no_std]
#![no_main]

mod definition;
mod random;

use random::Random;
use smidgen::InOut;
use smidgen::Shape;
use smidgen::geometry::{Axis, Window};
use smidgen::kernels::int8::{
    Folded, PackedChannel, PackedKernel, PackedLayer, double_pairs, eights, fours, pairs, quads, rows,
    sixteens, taps, vector_pairs,
};
use smidgen::ops::int8::{CHANNEL_WORDS, Channel, OutputRange};
use smidgen::ops::{conv_2d::int8 as plain_conv, depthwise_conv_2d::int8 as plain_depthwise};
use smidgen::quantization::Multiplier;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::exit;
use smidgen_protocol::job::Host;

/// The longest tensor.
const LENGTH: usize = 30_000;
/// The most output channels.
const CHANNELS: usize = 160;
/// What an output that nobody writes keeps.
const UNTOUCHED: i8 = 99;

struct Memory {
    input: [i8; LENGTH],
    filter: [i8; LENGTH],
    channels: [[i32; CHANNEL_WORDS]; CHANNELS],
    stream: [i32; LENGTH],
    scratch: [i32; LENGTH],
    rows: [i8; LENGTH],
    expected: [i8; LENGTH],
    found: [i8; LENGTH],
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory {
        input: [0; LENGTH],
        filter: [0; LENGTH],
        channels: [[0; CHANNEL_WORDS]; CHANNELS],
        stream: [0; LENGTH],
        scratch: [0; LENGTH],
        rows: [0; LENGTH],
        expected: [0; LENGTH],
        found: [0; LENGTH],
    };
    semihosting::exit(run(MEMORY))
}

fn run(memory: &mut Memory) -> u32 {
    let Ok(mut files) = Files::open() else { return exit::FILES };
    let mut request = [0; 12];
    if files.input(&mut request).is_err() {
        return exit::FILES;
    }
    let [seed, layers, spoil] =
        core::array::from_fn(|i| u32::from_le_bytes(core::array::from_fn(|j| request[4 * i + j])));
    let mut random = Random(u64::from(seed) << 20 | 1);
    let (mut compared, mut different) = (0u32, 0u32);
    for _ in 0..layers {
        let spoil = spoil == 1;
        let kinds = [convolution, depthwise, definition::layer];
        for same in kinds.map(|layer| layer(&mut random, memory, spoil)) {
            compared += u32::from(same.is_some());
            different += u32::from(same == Some(false));
        }
    }
    let report = [compared.to_le_bytes(), different.to_le_bytes()];
    if files.output(report.as_flattened()).is_ok() { exit::SUCCESS } else { exit::FILES }
}

fn shape(dims: [usize; 4]) -> Shape {
    Shape(dims.map(|dim| dim as u32))
}

/// Whether the first outputs are the same, and nothing behind them was written.
fn same(expected: &[i8; LENGTH], found: &[i8; LENGTH], length: usize) -> bool {
    expected[..length] == found[..length] && found[length..].iter().all(|&value| value == UNTOUCHED)
}

/// A convolution; one of a single tap also in place and as a fully connected layer. `None` if the layout cannot hold it.
fn convolution(random: &mut Random, memory: &mut Memory, spoil: bool) -> Option<bool> {
    let Memory { input, filter, channels, stream, scratch, expected, found, .. } = memory;
    let kind = random.range(0, 5);
    let ((y, in_h), (x, in_w)) = match kind {
        0 => ((Axis::ONE, random.size(1, 6)), (Axis::ONE, random.size(1, 6))),
        1 => {
            let (stride, in_h, in_w) = (random.size(1, 2), random.size(3, 12), random.size(3, 16));
            ((Axis::same(3, stride, 1, in_h)?, in_h), (Axis::same(3, stride, 1, in_w)?, in_w))
        }
        _ => (random.axis(4), random.axis(4)),
    };
    let window = Window { y, x };
    let in_c = if kind == 1 { 3 } else { random.size(1, 40) };
    let out_c = random.size(1, 13);
    let (out_h, out_w) = (y.output(in_h)?, x.output(in_w)?);
    let weights = y.kernel * x.kernel * in_c;
    let (in_length, out_length) = (in_h * in_w * in_c, out_h * out_w * out_c);
    let (input, filter) = (input.get_mut(..in_length)?, filter.get_mut(..weights * out_c)?);
    let (input_zero_point, zero_point) = (random.zero_point(), random.zero_point());
    random.fill(input, -128);
    random.fill(filter, -127);
    for (words, row) in channels.iter_mut().zip(filter.chunks(weights)) {
        *words = random.channel(row.iter().copied(), input_zero_point).words();
    }
    let channels = channels.get(..out_c)?;
    let range = OutputRange { zero_point, activation_min: -128, activation_max: 127 };
    let params = plain_conv::Conv2dI8 {
        window,
        input: shape([1, in_h, in_w, in_c]),
        filter: shape([out_c, y.kernel, x.kernel, in_c]),
        output: shape([1, out_h, out_w, out_c]),
        input_zero_point,
        range,
    };
    plain_conv::forward(&params, input, filter, channels, expected.get_mut(..out_length)?).ok()?;

    if spoil {
        filter[0] = if filter[0] == 0 { 100 } else { 0 };
    }
    let layer = Layer {
        window: &window,
        size: [in_h, in_w, in_c],
        out_size: [out_h, out_w, out_c],
        padding: input_zero_point as i8,
    };
    let constants = Constants { filter, channels, zero_point };
    let by_pairs = in_pairs(&layer, &constants, input, [stream, scratch], [expected, found]);
    let by_rows = in_rows(&layer, &constants, input, [stream, scratch], [expected, found]);
    let by_double_pairs = in_double_pairs(&layer, &constants, input, [stream, scratch], [expected, found]);
    let by_fours = in_fours(&layer, &constants, input, stream, [expected, found]);
    let by_vector_pairs = in_vector_pairs(&layer, &constants, input, [stream, scratch], [expected, found]);
    let by_eights = in_eights(&layer, &constants, input, stream, [expected, found]);
    // One that no layout can hold is not counted.
    let all = [by_pairs, by_rows, by_double_pairs, by_fours, by_vector_pairs, by_eights];
    all.into_iter().flatten().reduce(|all, same| all && same)
}

/// A convolution's shape.
struct Layer<'a> {
    window: &'a Window,
    size: [usize; 3],
    out_size: [usize; 3],
    padding: i8,
}

impl Layer<'_> {
    fn weights(&self) -> usize {
        let [.., in_c] = self.size;
        self.window.y.kernel * self.window.x.kernel * in_c
    }

    /// What a kernel on packed weights is told.
    fn packed<'a>(&'a self, constants: &Constants<'_>, stream: &'a [i32]) -> PackedLayer<'a> {
        let &Layer { window, size, out_size, padding } = self;
        PackedLayer { window, size, out_size, padding, range: [constants.zero_point, -128, 127], stream }
    }

    fn out_length(&self) -> usize {
        self.out_size.iter().product()
    }
}

/// A layer's numbers.
struct Constants<'a> {
    filter: &'a [i8],
    channels: &'a [[i32; CHANNEL_WORDS]],
    zero_point: i32,
}

impl Constants<'_> {
    /// An output channel with its requantization as it is.
    fn channel(&self, index: usize, weights: usize) -> Option<PackedChannel<'_, Multiplier>> {
        let Channel { bias, multiplier: scale } = Channel::from_words(*self.channels.get(index)?);
        Some(PackedChannel { weights: self.filter.chunks(weights).nth(index)?, bias, scale })
    }

    /// An output channel with a folded requantization.
    fn folded(&self, index: usize, weights: usize) -> Option<PackedChannel<'_>> {
        let PackedChannel { weights, bias, scale } = self.channel(index, weights)?;
        Some(PackedChannel { weights, bias, scale: Folded::new(scale, self.zero_point, 1 << 28)? })
    }
}

/// The stream of `count` channels, of which `N` at a time are packed into `words` words. `None` if the layout cannot hold it.
fn packed<C, const N: usize>(
    stream: &mut [i32; LENGTH],
    words: usize,
    count: usize,
    channel: impl Fn(usize) -> Option<C>,
    pack: impl Fn([Option<C>; N], &mut [i32]) -> Option<()>,
) -> Option<&[i32]> {
    let stream = stream.get_mut(..words * count.div_ceil(N))?;
    for (record, words) in stream.chunks_mut(words).enumerate() {
        pack(core::array::from_fn(|lane| channel(N * record + lane)), words)?;
    }
    Some(stream)
}

/// Memory for a stream and for scratch.
type Words<'a> = [&'a mut [i32; LENGTH]; 2];
/// The expected output, and memory for the one that is found.
type Outputs<'a> = [&'a mut [i8; LENGTH]; 2];

/// An input at the beginning of `both`, and an output over it that is no longer.
fn in_place(both: &mut [i8; LENGTH], in_length: usize, out_length: usize) -> InOut<'_> {
    let region = bytemuck::cast_slice_mut(&mut both[..in_length]);
    InOut::Over { region, input: (0, in_length), output: (0, out_length) }
}

/// Whether a kernel gives the same, and, where its output may be in the place of an input that is no shorter, there as well.
fn layer_is_same(
    layer: &PackedLayer<'_>,
    kernel: PackedKernel,
    input: &[i8],
    scratch: &mut [u8],
    [expected, found]: Outputs<'_>,
    may_be_in_place: bool,
) -> bool {
    let (in_length, out_length) = (input.len(), layer.out_size.iter().product());
    found.fill(UNTOUCHED);
    kernel(layer, &mut InOut::apart(input, &mut found[..out_length]), scratch);
    let mut all_same = same(expected, found, out_length);
    if may_be_in_place && out_length <= in_length {
        found[..in_length].copy_from_slice(input);
        kernel(layer, &mut in_place(found, in_length, out_length), scratch);
        found[out_length..in_length].fill(UNTOUCHED);
        all_same &= same(expected, found, out_length);
    }
    all_same
}

/// Whether a fully connected layer's kernel gives the same, row by row.
fn rows_are_same(
    layer: &PackedLayer<'_>,
    kernel: PackedKernel,
    input: &[i8],
    scratch: &mut [i32],
    [expected, found]: Outputs<'_>,
) -> bool {
    let (PackedLayer { size: [.., in_c], out_size: [.., out_c], .. }, mut length) = (*layer, 0);
    let row = PackedLayer { size: [1, 1, in_c], out_size: [1, 1, out_c], ..*layer };
    found.fill(UNTOUCHED);
    for (input, output) in input.chunks_exact(in_c).zip(found.chunks_exact_mut(out_c)) {
        kernel(&row, &mut InOut::apart(input, output), bytemuck::cast_slice_mut(scratch));
        length += out_c;
    }
    same(expected, found, length)
}

/// Whether the layer in channel pairs is the same. `None` if they cannot hold it.
fn in_pairs(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    [stream, scratch]: Words<'_>,
    [expected, found]: Outputs<'_>,
) -> Option<bool> {
    let ([.., in_c], [.., out_c], weights) = (layer.size, layer.out_size, layer.weights());
    let single_tap = layer.window == &Window::ONE;
    let channel = |index| constants.folded(index, weights);
    let stream = packed(stream, pairs::pair_words(weights), out_c, channel, pairs::pack)?;
    let scratch = scratch.get_mut(..pairs::scratch_words(weights, single_tap))?;
    let call = layer.packed(constants, stream);
    let (bytes, over) = (bytemuck::cast_slice_mut(scratch), single_tap && in_c == out_c);
    let mut all_same =
        layer_is_same(&call, pairs::convolve, input, bytes, [&mut *expected, &mut *found], over);
    if single_tap {
        all_same &= rows_are_same(&call, pairs::convolve, input, scratch, [expected, found]);
    }
    Some(all_same)
}

/// Whether the layer in double pairs, as a fully connected one, is the same. `None` if it has more than one tap, or they cannot hold it.
fn in_double_pairs(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    [stream, scratch]: Words<'_>,
    outputs: Outputs<'_>,
) -> Option<bool> {
    let ([.., in_c], [.., out_c]) = (layer.size, layer.out_size);
    if layer.window != &Window::ONE {
        return None;
    }
    let channel = |index| constants.folded(index, in_c);
    let stream = packed(stream, double_pairs::double_words(in_c), out_c, channel, double_pairs::pack)?;
    let scratch = scratch.get_mut(..double_pairs::row_words(in_c))?;
    let call = layer.packed(constants, stream);
    Some(rows_are_same(&call, double_pairs::fully_connected, input, scratch, outputs))
}

/// Whether the layer in rows is the same, also over its input if the window has a single tap and the output is no larger. `None` if they cannot hold it.
fn in_rows(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    [stream, scratch]: Words<'_>,
    outputs: Outputs<'_>,
) -> Option<bool> {
    let ([.., out_c], weights) = (layer.out_size, layer.weights());
    let single_tap = layer.window == &Window::ONE;
    let pack = |[channel]: [Option<PackedChannel<'_>>; 1], words: &mut [i32]| {
        let PackedChannel { weights, bias, scale } = channel?;
        rows::pack(weights, bias, scale, words)
    };
    let channel = |index| constants.folded(index, weights);
    let stream = packed(stream, rows::channel_words(weights), out_c, channel, pack)?;
    let scratch = scratch.get_mut(..rows::scratch_words(weights, single_tap))?;
    let call = layer.packed(constants, stream);
    Some(layer_is_same(&call, rows::convolve, input, bytemuck::cast_slice_mut(scratch), outputs, single_tap))
}

/// Whether the layer in channel fours, as a fully connected one, is the same. `None` if it has more than one tap, or they cannot hold it.
fn in_fours(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    stream: &mut [i32; LENGTH],
    outputs: Outputs<'_>,
) -> Option<bool> {
    let ([.., in_c], [.., out_c]) = (layer.size, layer.out_size);
    if layer.window != &Window::ONE {
        return None;
    }
    let channel = |index| constants.folded(index, in_c);
    let stream = packed(stream, fours::four_words(in_c), out_c, channel, fours::pack)?;
    let call = layer.packed(constants, stream);
    Some(rows_are_same(&call, fours::fully_connected, input, &mut [], outputs))
}

/// Whether the layer in vector pairs is the same, also over its input if the window has a single tap and the output is no larger, and then as a fully connected one. `None` if they cannot hold it.
fn in_vector_pairs(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    [stream, scratch]: Words<'_>,
    [expected, found]: Outputs<'_>,
) -> Option<bool> {
    let ([.., out_c], weights) = (layer.out_size, layer.weights());
    let channel = |index| constants.channel(index, weights);
    let stream = packed(stream, vector_pairs::four_words(weights)?, out_c, channel, vector_pairs::pack)?;
    let scratch = scratch.get_mut(..vector_pairs::scratch_words(weights)?)?;
    let call = layer.packed(constants, stream);
    let (bytes, single_tap) = (bytemuck::cast_slice_mut(scratch), layer.window == &Window::ONE);
    let mut all_same =
        layer_is_same(&call, vector_pairs::convolve, input, bytes, [&mut *expected, &mut *found], single_tap);
    if single_tap {
        all_same &= rows_are_same(&call, vector_pairs::convolve, input, scratch, [expected, found]);
    }
    Some(all_same)
}

/// Whether the layer in channel eights, as a fully connected one, is the same, also with the least output that a ReLU has, which is left in `expected`. `None` if it has more than one tap,
/// or they cannot hold it.
fn in_eights(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    stream: &mut [i32; LENGTH],
    [expected, found]: Outputs<'_>,
) -> Option<bool> {
    let ([.., in_c], [.., out_c]) = (layer.size, layer.out_size);
    if layer.window != &Window::ONE {
        return None;
    }
    let channel = |index| constants.channel(index, in_c);
    let stream = packed(stream, eights::eight_words(in_c)?, out_c, channel, eights::pack)?;
    let (call, zero_point) = (layer.packed(constants, stream), constants.zero_point);
    let all_same =
        rows_are_same(&call, eights::fully_connected, input, &mut [], [&mut *expected, &mut *found]);
    let relu = PackedLayer { range: [zero_point, zero_point, 127], ..call };
    expected[..layer.out_length()]
        .iter_mut()
        .for_each(|value| *value = i32::from(*value).max(zero_point) as i8);
    let relu_same = rows_are_same(&relu, eights::fully_connected, input, &mut [], [expected, found]);
    Some(all_same && relu_same)
}

/// A depthwise convolution: of any window in taps and in sixteens, and of 3 by 3 taps and whole quads in these, too, also in place.
fn depthwise(random: &mut Random, memory: &mut Memory, spoil: bool) -> Option<bool> {
    let Memory { input, filter, channels, stream, scratch, rows, expected, found } = memory;
    let in_quads = random.range(0, 1) == 0;
    let mut axis = || loop {
        let (axis, length) = random.axis(if in_quads { quads::TAPS } else { taps::MAX_WIDTH });
        if !in_quads || (axis.kernel, axis.dilation) == (quads::TAPS, 1) {
            return (axis, length);
        }
    };
    let ((y, in_h), (x, in_w)) = (axis(), axis());
    let window = Window { y, x };
    let in_c = if in_quads { quads::CHANNELS * random.size(1, 9) } else { random.size(1, 36) };
    let out_c = if in_c == 1 { random.size(1, 12) } else { in_c };
    let (out_h, out_w) = (y.output(in_h)?, x.output(in_w)?);
    let (in_length, out_length) = (in_h * in_w * in_c, out_h * out_w * out_c);
    let (input, filter) = (input.get_mut(..in_length)?, filter.get_mut(..y.kernel * x.kernel * out_c)?);
    let (input_zero_point, zero_point) = (random.zero_point(), random.zero_point());
    random.fill(input, -128);
    let least = if random.range(0, 3) == 0 { -128 } else { -127 };
    random.fill(filter, least);
    for (channel, words) in channels.iter_mut().take(out_c).enumerate() {
        let taps = filter.iter().skip(channel).step_by(out_c).copied();
        *words = random.channel(taps, input_zero_point).words();
    }
    let channels = channels.get(..out_c)?;
    let range = OutputRange { zero_point, activation_min: -128, activation_max: 127 };
    let params = plain_depthwise::DepthwiseConv2dI8 {
        window,
        input: shape([1, in_h, in_w, in_c]),
        output: shape([1, out_h, out_w, out_c]),
        input_zero_point,
        range,
    };
    plain_depthwise::forward(&params, input, filter, channels, expected.get_mut(..out_length)?).ok()?;

    if spoil {
        filter[0] = if filter[0] == 0 { 100 } else { 0 };
    }
    let layer = Layer {
        window: &window,
        size: [in_h, in_w, in_c],
        out_size: [out_h, out_w, out_c],
        padding: input_zero_point as i8,
    };
    let constants = Constants { filter, channels, zero_point };
    let by_taps = depthwise_taps(&layer, &constants, input, (stream, rows), [expected, found]);
    let by_quads = if in_quads {
        depthwise_quads(&layer, &constants, input, (stream, rows), [expected, found])
    } else {
        None
    };
    let by_sixteens = depthwise_sixteens(&layer, &constants, input, [stream, scratch], [expected, found]);
    [by_taps, by_quads, by_sixteens].into_iter().flatten().reduce(|all, same| all && same)
}

/// Whether the layer in taps is the same, also in place. `None` if they cannot hold it.
fn depthwise_taps(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    (stream, rows): (&mut [i32; LENGTH], &mut [i8; LENGTH]),
    outputs: Outputs<'_>,
) -> Option<bool> {
    let Layer { window, size: [in_h, in_w, in_c], out_size: [out_h, out_w, out_c], .. } = *layer;
    let taps = window.y.kernel * window.x.kernel;
    let stream = stream.get_mut(..taps::channel_words(taps) * out_c)?;
    for (index, words) in stream.chunks_mut(taps::channel_words(taps)).enumerate() {
        let Channel { bias, multiplier } = Channel::from_words(*constants.channels.get(index)?);
        let scale = Folded::new(multiplier, constants.zero_point, 1 << 23)?;
        let weights = (0..taps).map(|tap| constants.filter[tap * out_c + index]);
        taps::pack(weights, bias, scale, words)?;
    }
    let scratch = rows.get_mut(..taps::scratch_bytes(window, in_w, in_c)?)?;
    let call = layer.packed(constants, stream);
    let over = taps::overlap(window, [in_h, in_w * in_c], [out_h, out_w * out_c])? == 0;
    Some(layer_is_same(&call, taps::depthwise, input, bytemuck::cast_slice_mut(scratch), outputs, over))
}

/// Whether the layer in sixteens is the same, also in place. `None` if they cannot hold it.
fn depthwise_sixteens(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    [stream, scratch]: Words<'_>,
    outputs: Outputs<'_>,
) -> Option<bool> {
    const MOST_TAPS: usize = 128;
    let Layer { window, size: [in_h, in_w, in_c], out_size: [out_h, out_w, out_c], .. } = *layer;
    let taps = window.y.kernel * window.x.kernel;
    if in_c != out_c || taps > MOST_TAPS {
        return None;
    }
    let words = sixteens::sixteen_words(taps)?;
    let stream = stream.get_mut(..words * out_c.div_ceil(sixteens::LANES))?;
    let mut weights = [[0; MOST_TAPS]; sixteens::LANES];
    for (record, words) in stream.chunks_mut(words).enumerate() {
        let channel = |lane: usize| sixteens::channel_of(window, out_c, sixteens::LANES * record + lane);
        for (lane, row) in weights.iter_mut().enumerate() {
            let Some(channel) = channel(lane) else { continue };
            let from = constants.filter.iter().skip(channel).step_by(out_c);
            row.iter_mut().zip(from).for_each(|(to, &weight)| *to = weight);
        }
        let lane = |lane: usize| {
            let words = constants.channels.get(channel(lane)?)?;
            let Channel { bias, multiplier: scale } = Channel::from_words(*words);
            Some(PackedChannel { weights: weights.get(lane)?.get(..taps)?, bias, scale })
        };
        sixteens::pack(core::array::from_fn(lane), words)?;
    }
    let scratch = scratch.get_mut(..sixteens::scratch_words(window, out_w, out_c)?)?;
    let call = layer.packed(constants, stream);
    let over = (in_h, in_w, window.y.dilation) == (out_h, out_w, 1) && window.y.pad_before < window.y.kernel;
    Some(layer_is_same(&call, sixteens::depthwise, input, bytemuck::cast_slice_mut(scratch), outputs, over))
}

/// Whether the layer in quads is the same, also in place. `None` if they cannot hold it.
fn depthwise_quads(
    layer: &Layer<'_>,
    constants: &Constants<'_>,
    input: &[i8],
    (stream, rows): (&mut [i32; LENGTH], &mut [i8; LENGTH]),
    outputs: Outputs<'_>,
) -> Option<bool> {
    let Layer { window, size: [in_h, in_w, count], out_size: [out_h, out_w, _], .. } = *layer;
    let stream = stream.get_mut(..quads::QUAD_WORDS * count / quads::CHANNELS)?;
    for (quad, words) in stream.as_chunks_mut().0.iter_mut().enumerate() {
        let first = quad * quads::CHANNELS;
        let mut packed = [(0, Folded::constant(0)); quads::CHANNELS];
        for (packed, &words) in packed.iter_mut().zip(constants.channels.get(first..)?) {
            let Channel { bias, multiplier } = Channel::from_words(words);
            *packed = (bias, Folded::new(multiplier, constants.zero_point, 1 << 28)?);
        }
        quads::pack(|channel, tap| constants.filter[tap * count + first + channel], packed, words)?;
    }
    let scratch = rows.get_mut(..quads::scratch_bytes(window, in_w, count)?)?;
    let call = layer.packed(constants, stream);
    let over = (in_h, in_w) == (out_h, out_w);
    Some(layer_is_same(&call, quads::depthwise, input, bytemuck::cast_slice_mut(scratch), outputs, over))
}
