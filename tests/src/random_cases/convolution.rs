//! Convolutions, depthwise convolutions and fully connected layers, in every layout.

use smidgen::geometry::Window;
use smidgen::kernels::int8::{
    Folded, PackedChannel, PackedKernel, PackedLayer, double_pairs, eights, fours, pairs, quads,
    rows as weight_rows, sixteens, taps, vector_pairs,
};
use smidgen::ops::conv_2d::int8::{self as conv_2d, Conv2dI8};
use smidgen::ops::depthwise_conv_2d::int8::{self as depthwise_conv_2d, DepthwiseConv2dI8};
use smidgen::ops::fully_connected::int8::{self as fully_connected_i8, FullyConnectedI8};
use smidgen::ops::int8::{Channel, OutputRange};
use smidgen::quantization::Multiplier;
use smidgen::{InOut, Shape};

use super::Outputs;
use super::reference::{Random, requantize};

/// What may be in a layer.
#[derive(Clone, Copy)]
struct Limits {
    /// No accumulator reaches it in magnitude.
    accumulator: i64,
    /// The least shift, to the right, and the greatest, to the left.
    shifts: [i32; 2],
    clamps: bool,
    least_weight: i8,
}

/// Any layer that the plain operators take.
const PLAIN: Limits = Limits { accumulator: 1 << 31, shifts: [-31, 3], clamps: true, least_weight: -128 };
/// What the packed layouts take, or refuse.
const PACKED: Limits = Limits { accumulator: 1 << 23, shifts: [-22, -1], clamps: false, least_weight: -128 };
/// What the layouts for vectors take.
const VECTORS: Limits = Limits { accumulator: 1 << 31, shifts: [-31, 0], clamps: false, least_weight: -128 };

/// A layer of one sample. Of a depthwise one, the filter is `[K_h, K_w, C_out]`, otherwise `[C_out, K_h, K_w, C_in]`.
struct Layer {
    window: Window,
    input: [usize; 3],
    output: [usize; 3],
    depthwise: bool,
    samples: Vec<i8>,
    filter: Vec<i8>,
    channels: Vec<Channel>,
    zero_points: [i32; 2],
    clamp: [i32; 2],
}

/// Windows, and channels of input and output.
#[derive(Clone, Copy)]
struct Size {
    window: Window,
    in_size: [usize; 2],
    in_c: usize,
    out_c: usize,
}

impl Layer {
    fn random(random: &mut Random, size: &Size, limits: Limits, depthwise: bool) -> Self {
        let Size { window, in_size: [in_h, in_w], in_c, out_c } = *size;
        let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
        let taps = window.y.kernel * window.x.kernel;
        let per_channel = if depthwise { taps } else { taps * in_c };
        // Sums that are long are of small weights.
        let most = if per_channel > 500 { (127 * 500 / per_channel).clamp(1, 127) as i8 } else { 127 };
        let mut filter = random.bytes(per_channel * out_c, most);
        filter.iter_mut().for_each(|weight| *weight = (*weight).max(limits.least_weight));
        let samples = random.bytes(in_h * in_w * in_c, 127);
        let zero_points = [random.zero_point(), random.zero_point()];
        let mut layer = Self {
            window,
            input: [in_h, in_w, in_c],
            output: [out_h, out_w, out_c],
            depthwise,
            samples,
            filter,
            channels: Vec::new(),
            zero_points,
            clamp: if limits.clamps { random.clamp() } else { [-128, 127] },
        };
        layer.channels = (0..out_c).map(|index| layer.channel(random, index, limits)).collect();
        layer
    }

    /// The weights of an output channel.
    fn weights(&self, channel: usize) -> Vec<i8> {
        let [.., out_c] = self.output;
        if self.depthwise {
            return self.filter.iter().skip(channel).step_by(out_c).copied().collect();
        }
        let length = self.filter.len() / out_c;
        self.filter[channel * length..(channel + 1) * length].to_vec()
    }

    /// Bias and factor of a channel: most spread its outputs over int8 and a little beyond, the others are at the ends of what `limits` allow.
    fn channel(&self, random: &mut Random, index: usize, limits: Limits) -> Channel {
        let weights = self.weights(index);
        let sum: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let norm: i64 = weights.iter().map(|&weight| i64::from(weight).abs()).sum::<i64>() + 1;
        let folded = -i64::from(self.zero_points[0]) * sum;
        // Where all accumulators of whatever bias are still below the limit.
        let room = limits.accumulator - 1 - 128 * norm;
        let bias = match random.size(0, 7) {
            0 => room,
            1 => -room,
            _ => (folded + random.range(-20 * norm, 20 * norm)).clamp(-room.max(0), room.max(0)),
        };
        let spread = -(i64::from(norm.ilog2()) - 1 + random.range(-2, 2)) as i32;
        let [least, greatest] = limits.shifts;
        let shift = match random.size(0, 9) {
            0 => least,
            1 => greatest,
            _ => spread.clamp(least, greatest),
        };
        // A left shift must leave the accumulator in 32 bits.
        let shift =
            if shift > 0 && (bias.abs() + 128 * norm) << shift > i64::from(i32::MAX) { 0 } else { shift };
        let multiplier = Multiplier { multiplier: random.significand(), shift };
        Channel { bias: i32::try_from(bias.clamp(i32::MIN.into(), i32::MAX.into())).unwrap(), multiplier }
    }

    fn range(&self) -> OutputRange {
        let [activation_min, activation_max] = self.clamp;
        OutputRange { zero_point: self.zero_points[1], activation_min, activation_max }
    }

    fn padding(&self) -> i8 {
        self.zero_points[0] as i8
    }

    fn records(&self) -> Vec<[i32; 3]> {
        self.channels.iter().map(|channel| channel.words()).collect()
    }

    fn folded(&self, index: usize) -> Option<(i32, Folded)> {
        let Channel { bias, multiplier } = self.channels[index];
        Some((bias, Folded::new(multiplier, self.zero_points[1], self.bound(index))?))
    }

    fn scale(&self, index: usize) -> Option<(i32, Multiplier)> {
        self.channels.get(index).map(|&Channel { bias, multiplier }| (bias, multiplier))
    }

    /// The bound that is true of a channel's accumulators.
    fn bound(&self, index: usize) -> u64 {
        let norm: u64 = self.weights(index).iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
        u64::from(self.channels[index].bias.unsigned_abs()) + 128 * norm
    }

    /// Every output from the definition: the padding reads as the input's zero point.
    fn expected(&self) -> Vec<i8> {
        let ([in_h, in_w, in_c], [out_h, out_w, out_c]) = (self.input, self.output);
        let Window { y, x } = self.window;
        let rows: Vec<Vec<i8>> = (0..out_c).map(|channel| self.weights(channel)).collect();
        let mut outputs = Vec::with_capacity(out_h * out_w * out_c);
        for (out_y, out_x) in (0..out_h).flat_map(|out_y| (0..out_w).map(move |out_x| (out_y, out_x))) {
            let mut patch = vec![self.padding(); y.kernel * x.kernel * in_c];
            for (k_y, k_x) in (0..y.kernel).flat_map(|k_y| (0..x.kernel).map(move |k_x| (k_y, k_x))) {
                let in_y = (out_y * y.stride + k_y * y.dilation).wrapping_sub(y.pad_before);
                let in_x = (out_x * x.stride + k_x * x.dilation).wrapping_sub(x.pad_before);
                if in_y < in_h && in_x < in_w {
                    let (to, from) = ((k_y * x.kernel + k_x) * in_c, (in_y * in_w + in_x) * in_c);
                    patch[to..to + in_c].copy_from_slice(&self.samples[from..from + in_c]);
                }
            }
            for (index, (row, channel)) in rows.iter().zip(&self.channels).enumerate() {
                let [first, step] = if self.depthwise { [index / (out_c / in_c), in_c] } else { [0, 1] };
                let taps = patch.iter().skip(first).step_by(step);
                let sum: i64 = row.iter().zip(taps).map(|(&w, &x)| i64::from(w) * i64::from(x)).sum();
                let accumulator = i64::from(channel.bias) + sum;
                outputs.push(requantize(accumulator, channel.multiplier, self.zero_points[1], self.clamp));
            }
        }
        outputs
    }

    fn outputs(&self, found: Vec<i8>) -> Outputs {
        let what = format!(
            "{:?} input {:?} output {:?} zero points {:?} clamp {:?} channels {:?}",
            self.window, self.input, self.output, self.zero_points, self.clamp, self.channels
        );
        Outputs { expected: self.expected(), found, what }
    }

    fn out_length(&self) -> usize {
        self.output.iter().product()
    }
}

fn shape([h, w, c]: [usize; 3]) -> Shape {
    Shape([1, h as u32, w as u32, c as u32])
}

/// A convolution: every other one pointwise, now and then very long sums.
fn convolution(random: &mut Random, limits: Limits) -> Layer {
    let long = random.once_in(500);
    let (window, in_size) = if long || random.once_in(2) {
        (Window::ONE, [random.size(1, 3), random.size(1, 5)])
    } else {
        random.window(4)
    };
    let in_c = if long { random.size(1000, 8000) } else { random.size(1, 24) };
    let size = Size { window, in_size, in_c, out_c: random.size(1, 9) };
    Layer::random(random, &size, limits, false)
}

/// A fully connected layer of up to three rows: a window of one tap.
fn rows(random: &mut Random, limits: Limits) -> Layer {
    let in_c = if random.once_in(500) { random.size(1000, 8000) } else { random.size(1, 80) };
    let size = Size { window: Window::ONE, in_size: [1, random.size(1, 3)], in_c, out_c: random.size(1, 13) };
    Layer::random(random, &size, limits, false)
}

pub(super) fn plain(random: &mut Random) -> Option<Outputs> {
    let layer = convolution(random, PLAIN);
    let ([.., in_c], [.., out_c]) = (layer.input, layer.output);
    let Window { y, x } = layer.window;
    let params = Conv2dI8 {
        window: layer.window,
        input: shape(layer.input),
        filter: Shape([out_c, y.kernel, x.kernel, in_c].map(|dim| dim as u32)),
        output: shape(layer.output),
        input_zero_point: layer.zero_points[0],
        range: layer.range(),
    };
    let mut found = vec![0; layer.out_length()];
    conv_2d::forward(&params, &layer.samples, &layer.filter, &layer.records(), &mut found).unwrap();
    Some(layer.outputs(found))
}

pub(super) fn fully_connected(random: &mut Random) -> Option<Outputs> {
    let layer = rows(random, PLAIN);
    let params =
        FullyConnectedI8 { input: shape(layer.input), output: shape(layer.output), range: layer.range() };
    let mut found = vec![0; layer.out_length()];
    fully_connected_i8::forward(&params, &layer.samples, &layer.filter, &layer.records(), &mut found)
        .unwrap();
    Some(layer.outputs(found))
}

pub(super) fn depthwise(random: &mut Random) -> Option<Outputs> {
    let (window, in_size) = random.window(4);
    let in_c = random.size(1, 40);
    let size = Size { window, in_size, in_c, out_c: in_c * random.size(1, 2) };
    let layer = Layer::random(random, &size, PLAIN, true);
    let params = DepthwiseConv2dI8 {
        window,
        input: shape(layer.input),
        output: shape(layer.output),
        input_zero_point: layer.zero_points[0],
        range: layer.range(),
    };
    let mut found = vec![0; layer.out_length()];
    depthwise_conv_2d::forward(&params, &layer.samples, &layer.filter, &layer.records(), &mut found).unwrap();
    Some(layer.outputs(found))
}

/// What a kernel on packed weights computes, in so many words of scratch, whatever they hold.
fn run(layer: &Layer, stream: &[i32], words: usize, kernel: PackedKernel) -> Option<Outputs> {
    let mut scratch = vec![-1i32; words];
    let mut found = vec![0; layer.out_length()];
    let range = layer.range().words();
    let (size, out_size, padding) = (layer.input, layer.output, layer.padding());
    let call = PackedLayer { window: &layer.window, size, out_size, padding, range, stream };
    let both = &mut InOut::apart(&layer.samples, &mut found);
    kernel(&call, both, bytemuck::cast_slice_mut(&mut scratch));
    Some(layer.outputs(found))
}

/// As [`run`], of a fully connected layer: row by row.
fn run_rows(layer: &Layer, stream: &[i32], words: usize, kernel: PackedKernel) -> Option<Outputs> {
    let mut scratch = vec![-1i32; words];
    let mut found = vec![0; layer.out_length()];
    let ([.., in_c], [.., out_c]) = (layer.input, layer.output);
    let (size, out_size, padding) = ([1, 1, in_c], [1, 1, out_c], layer.padding());
    let range = layer.range().words();
    let call = PackedLayer { window: &layer.window, size, out_size, padding, range, stream };
    for (input, output) in layer.samples.chunks(in_c).zip(found.chunks_mut(out_c)) {
        kernel(&call, &mut InOut::apart(input, output), bytemuck::cast_slice_mut(&mut scratch));
    }
    Some(layer.outputs(found))
}

/// The stream of pairs.
fn in_pairs(layer: &Layer) -> Option<Vec<i32>> {
    let [.., out_c] = layer.output;
    let rows: Vec<Vec<i8>> = (0..out_c).map(|channel| layer.weights(channel)).collect();
    let channel = |index: usize| {
        let (bias, scale) = layer.folded(index)?;
        Some(PackedChannel { weights: rows.get(index)?, bias, scale })
    };
    let words = pairs::pair_words(rows[0].len());
    let mut stream = vec![0; words * out_c.div_ceil(2)];
    for (pair, stream) in stream.chunks_mut(words).enumerate() {
        let odd = if 2 * pair + 1 < out_c { Some(channel(2 * pair + 1)?) } else { None };
        pairs::pack([Some(channel(2 * pair)?), odd], stream)?;
    }
    Some(stream)
}

pub(super) fn pairs(random: &mut Random) -> Option<Outputs> {
    let layer = convolution(random, PACKED);
    let stream = in_pairs(&layer)?;
    let [.., out_c] = layer.output;
    let words = pairs::scratch_words(layer.filter.len() / out_c, layer.window == Window::ONE);
    run(&layer, &stream, words, pairs::convolve)
}

pub(super) fn fully_connected_pairs(random: &mut Random) -> Option<Outputs> {
    let layer = rows(random, PACKED);
    let stream = in_pairs(&layer)?;
    let [.., in_c] = layer.input;
    run_rows(&layer, &stream, pairs::row_words(in_c), pairs::convolve)
}

pub(super) fn rows_of_weights(random: &mut Random) -> Option<Outputs> {
    let layer = convolution(random, PACKED);
    let [.., out_c] = layer.output;
    let weights = layer.filter.len() / out_c;
    let words = weight_rows::channel_words(weights);
    let mut stream = vec![0; words * out_c];
    for (index, stream) in stream.chunks_mut(words).enumerate() {
        let (bias, scale) = layer.folded(index)?;
        weight_rows::pack(&layer.weights(index), bias, scale, stream)?;
        assert!(weight_rows::is_sound(stream, weights));
    }
    let words = weight_rows::scratch_words(weights, layer.window == Window::ONE);
    run(&layer, &stream, words, weight_rows::convolve)
}

/// How a layout packs the channels of a record.
type Pack<const CHANNELS: usize, Scale> =
    fn([Option<PackedChannel<'_, Scale>>; CHANNELS], &mut [i32]) -> Option<()>;

/// The stream of a layer in records of `CHANNELS` channels, so many words each, with the bias and the requantization that `scale` gives a channel.
fn in_records<const CHANNELS: usize, Scale: Copy>(
    layer: &Layer,
    words: usize,
    scale: fn(&Layer, usize) -> Option<(i32, Scale)>,
    pack: Pack<CHANNELS, Scale>,
) -> Option<Vec<i32>> {
    let [.., out_c] = layer.output;
    let rows: Vec<Vec<i8>> = (0..out_c).map(|channel| layer.weights(channel)).collect();
    let scales: Option<Vec<_>> = (0..out_c).map(|index| scale(layer, index)).collect();
    let scales = scales?;
    let channel = |index: usize| {
        let &(bias, scale) = scales.get(index)?;
        Some(PackedChannel { weights: rows.get(index)?, bias, scale })
    };
    let mut stream = vec![0; words * out_c.div_ceil(CHANNELS)];
    for (record, stream) in stream.chunks_mut(words).enumerate() {
        pack(std::array::from_fn(|index| channel(CHANNELS * record + index)), stream)?;
    }
    Some(stream)
}

pub(super) fn fully_connected_double_pairs(random: &mut Random) -> Option<Outputs> {
    let layer = rows(random, PACKED);
    let [.., in_c] = layer.input;
    let stream = in_records(&layer, double_pairs::double_words(in_c), Layer::folded, double_pairs::pack)?;
    run_rows(&layer, &stream, double_pairs::row_words(in_c), double_pairs::fully_connected)
}

pub(super) fn fully_connected_fours(random: &mut Random) -> Option<Outputs> {
    let layer = rows(random, PACKED);
    let [.., in_c] = layer.input;
    let words = fours::four_words(in_c);
    let stream = in_records(&layer, words, Layer::folded, fours::pack)?;
    assert!(stream.chunks(words).all(|record| fours::is_sound(record, in_c)));
    run_rows(&layer, &stream, 0, fours::fully_connected)
}

pub(super) fn fully_connected_eights(random: &mut Random) -> Option<Outputs> {
    let layer = rows(random, PLAIN);
    let [.., in_c] = layer.input;
    let stream = in_records(&layer, eights::eight_words(in_c)?, Layer::scale, eights::pack)?;
    run_rows(&layer, &stream, 0, eights::fully_connected)
}

pub(super) fn vector_pairs(random: &mut Random) -> Option<Outputs> {
    let layer = convolution(random, VECTORS);
    let [.., out_c] = layer.output;
    let weights = layer.filter.len() / out_c;
    let stream = in_records(&layer, vector_pairs::four_words(weights)?, Layer::scale, vector_pairs::pack)?;
    run(&layer, &stream, vector_pairs::scratch_words(weights)?, vector_pairs::convolve)
}

pub(super) fn fully_connected_vector_pairs(random: &mut Random) -> Option<Outputs> {
    let layer = rows(random, VECTORS);
    let [.., in_c] = layer.input;
    let stream = in_records(&layer, vector_pairs::four_words(in_c)?, Layer::scale, vector_pairs::pack)?;
    run_rows(&layer, &stream, vector_pairs::scratch_words(in_c)?, vector_pairs::convolve)
}

pub(super) fn depthwise_sixteens(random: &mut Random) -> Option<Outputs> {
    let (window, in_size) = random.window(5);
    let in_c = [1, 2, 4, 8, 16, random.size(1, 40)][random.size(0, 5)];
    let limits = Limits { least_weight: -127, ..VECTORS };
    let layer = Layer::random(random, &Size { window, in_size, in_c, out_c: in_c }, limits, true);
    let rows: Vec<Vec<i8>> = (0..in_c).map(|channel| layer.weights(channel)).collect();
    let words = sixteens::sixteen_words(window.y.kernel * window.x.kernel)?;
    let mut stream = vec![0; words * in_c.div_ceil(sixteens::LANES)];
    for (record, stream) in stream.chunks_mut(words).enumerate() {
        let lane = |lane: usize| {
            let channel = sixteens::channel_of(&window, in_c, sixteens::LANES * record + lane)?;
            let (bias, scale) = layer.scale(channel)?;
            Some(PackedChannel { weights: rows.get(channel)?, bias, scale })
        };
        sixteens::pack(std::array::from_fn(lane), stream)?;
    }
    let [_, out_w, _] = layer.output;
    run(&layer, &stream, sixteens::scratch_words(&window, out_w, in_c)?, sixteens::depthwise)
}

pub(super) fn depthwise_quads(random: &mut Random) -> Option<Outputs> {
    let (window, in_size) = loop {
        let ((y, height), (x, width)) = (random.axis(quads::TAPS, 1), random.axis(quads::TAPS, 1));
        let window = Window { y, x };
        if quads::takes(&window, quads::CHANNELS) {
            break (window, [height, width]);
        }
    };
    let in_c = quads::CHANNELS * random.size(1, 5);
    let layer = Layer::random(random, &Size { window, in_size, in_c, out_c: in_c }, PACKED, true);
    let [_, in_w, _] = layer.input;
    let mut stream = vec![0; quads::QUAD_WORDS * in_c / quads::CHANNELS];
    for (quad, stream) in stream.as_chunks_mut().0.iter_mut().enumerate() {
        let first = quads::CHANNELS * quad;
        let mut channels = [(0, Folded::constant(0)); quads::CHANNELS];
        for (index, channel) in channels.iter_mut().enumerate() {
            *channel = layer.folded(first + index)?;
        }
        quads::pack(|channel, tap| layer.filter[tap * in_c + first + channel], channels, stream)?;
    }
    run(&layer, &stream, quads::scratch_bytes(&window, in_w, in_c)?.div_ceil(4), quads::depthwise)
}

pub(super) fn depthwise_taps(random: &mut Random) -> Option<Outputs> {
    let wide = random.once_in(10);
    let (window, in_size) = random.window(if wide { taps::MAX_WIDTH } else { 5 });
    let in_c = random.size(1, 16);
    let out_c = if in_c == 1 { random.size(1, 8) } else { in_c };
    let layer = Layer::random(random, &Size { window, in_size, in_c, out_c }, PACKED, true);
    let words = taps::channel_words(window.y.kernel * window.x.kernel);
    let mut stream = vec![0; words * out_c];
    for (index, stream) in stream.chunks_mut(words).enumerate() {
        let (bias, scale) = layer.folded(index)?;
        taps::pack(layer.weights(index).into_iter(), bias, scale, stream)?;
    }
    let [_, in_w, _] = layer.input;
    run(&layer, &stream, taps::scratch_bytes(&window, in_w, in_c)?.div_ceil(4), taps::depthwise)
}
