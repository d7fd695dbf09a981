//! Layouts for Cortex-M4, M7 and M33: channel pairs ([`pairs`]), double pairs ([`double_pairs`]) and channel quads ([`quads`]).

use std::array;

use smidgen::geometry::Window;
use smidgen::kernels::int8::double_pairs;
use smidgen::kernels::int8::pairs;
use smidgen::kernels::int8::quads::{self, CHANNELS, QUAD_WORDS};
use smidgen::kernels::int8::{FOLDED_WORDS, Folded, PackedChannel};
use smidgen::ops::conv_2d::pairs::shapes as conv_2d_shapes;
use smidgen::ops::conv_2d::weights;
use smidgen::ops::depthwise_conv_2d::quads::shapes as quads_shapes;
use smidgen::ops::fully_connected::double_pairs::shapes as double_pairs_shapes;
use smidgen::ops::fully_connected::pairs::shapes as pairs_shapes;
use smidgen::ops::int8::{CHANNEL_WORDS, Channel};
use smidgen::{ElementType, Operator, Shape};

use super::{Layer, Packed, Unpacked, fold, unfold};

/// The layer in each layout that can hold it.
pub(super) fn layouts(layer: &Layer<'_>) -> Vec<Packed> {
    let packed = match layer.operator {
        Operator::Conv2dI8 => [conv_2d(layer), None],
        Operator::FullyConnectedI8 => [fully_connected(layer), fully_connected_pairs(layer)],
        Operator::DepthwiseConv2dI8 => [depthwise(layer), None],
        _ => [None, None],
    };
    packed.into_iter().flatten().collect()
}

fn conv_2d(layer: &Layer<'_>) -> Option<Packed> {
    let (window, _) = Window::read(layer.attributes).ok()?;
    let ((input, _), (output, _)) = (layer.input, layer.output);
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    // In groups, the filter has fewer weights.
    if layer.filter.len().checked_div(layer.channels().len()) != weights(&window, [in_c, out_c]) {
        return None;
    }
    channel_pairs(layer, Operator::Conv2dPairsI8, conv_2d_shapes(&window, input, output)?)
}

/// As double pairs.
fn fully_connected(layer: &Layer<'_>) -> Option<Packed> {
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (layer.input, layer.output);
    let [stream, scratch] = double_pairs_shapes(in_c, out_c)?;
    let pack = |four: &[PackedChannel<'_>], stream: &mut [i32]| {
        double_pairs::pack(array::from_fn(|index| four.get(index).copied()), stream)
    };
    packed_channels(
        layer,
        Operator::FullyConnectedDoublePairsI8,
        [stream, scratch],
        double_pairs::CHANNELS,
        pack,
    )
}

/// As channel pairs, in which convolutions are, too.
fn fully_connected_pairs(layer: &Layer<'_>) -> Option<Packed> {
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (layer.input, layer.output);
    channel_pairs(layer, Operator::FullyConnectedPairsI8, pairs_shapes(in_c, out_c)?)
}

/// As channel pairs, for a filter whose output channel is its first dimension.
fn channel_pairs(layer: &Layer<'_>, operator: Operator, shapes: [Shape; 2]) -> Option<Packed> {
    packed_channels(layer, operator, shapes, 2, |pair, stream| {
        pairs::pack([pair.first().copied(), pair.get(1).copied()], stream)
    })
}

/// In records of `count` channels, which `pack` writes. `shapes` are those of the stream and of the scratch.
fn packed_channels(
    layer: &Layer<'_>,
    operator: Operator,
    [stream_shape, scratch]: [Shape; 2],
    count: usize,
    pack: impl Fn(&[PackedChannel<'_>], &mut [i32]) -> Option<()>,
) -> Option<Packed> {
    let (_, zero_point) = layer.output;
    let weights = layer.filter.len().checked_div(layer.channels().len())?;
    let rows = layer.filter.chunks_exact(weights).zip(layer.channels());
    let channels = rows.map(|(weights, channel)| {
        let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
        Some(PackedChannel { weights, bias, scale })
    });
    let channels = channels.collect::<Option<Vec<_>>>()?;
    let mut stream = vec![0; stream_shape.elements()?];
    for (record, stream) in channels.chunks(count).zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        pack(record, stream)?;
    }
    Some(Packed { operator, stream, stream_shape, scratch: Some((scratch, ElementType::I32)) })
}

/// As channel quads.
fn depthwise(layer: &Layer<'_>) -> Option<Packed> {
    let (window, _) = Window::read(layer.attributes).ok()?;
    let ((input, _), (output, zero_point)) = (layer.input, layer.output);
    let [.., count] = input.dims();
    if output.dims()[3] != count {
        return None;
    }
    let [stream_shape, scratch] = quads_shapes(&window, input)?;
    let mut stream = vec![0; stream_shape.elements()?];
    let records: Vec<Channel> = layer.channels().collect();
    for (quad, stream) in stream.as_chunks_mut::<QUAD_WORDS>().0.iter_mut().enumerate() {
        let weight = |index: usize, tap: usize| layer.filter[tap * count + CHANNELS * quad + index];
        let mut channels = [(0, Folded::constant(0)); CHANNELS];
        for (index, channel) in channels.iter_mut().enumerate() {
            let taps = (0..layer.filter.len() / count).map(|tap| weight(index, tap));
            *channel = fold(taps, *records.get(CHANNELS * quad + index)?, zero_point)?;
        }
        quads::pack(weight, channels, stream)?;
    }
    let operator = Operator::DepthwiseConv2dQuadsI8;
    Some(Packed { operator, stream, stream_shape, scratch: Some((scratch, ElementType::I8)) })
}

/// What a step of one of the packed operators was.
pub(super) fn unpacked(
    operator: Operator,
    attributes: &[i32],
    [input, output]: [Shape; 2],
    zero_point: i32,
    stream: &[i32],
) -> Option<Unpacked> {
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let window = || Window::read(attributes).ok().map(|(window, _)| window);
    match operator {
        Operator::Conv2dPairsI8 => {
            let Window { y, x } = window()?;
            let shape = Shape([out_c, u32::try_from(y.kernel).ok()?, u32::try_from(x.kernel).ok()?, in_c]);
            unpacked_pairs(Operator::Conv2dI8, shape, zero_point, stream)
        }
        Operator::FullyConnectedDoublePairsI8 => unpacked_double_pairs([in_c, out_c], zero_point, stream),
        Operator::FullyConnectedPairsI8 => {
            unpacked_pairs(Operator::FullyConnectedI8, Shape([out_c, 1, 1, in_c]), zero_point, stream)
        }
        Operator::DepthwiseConv2dQuadsI8 => {
            let count = out_c as usize;
            let shape = Shape([1, quads::TAPS as u32, quads::TAPS as u32, out_c]);
            let (mut filter, mut channels) = (vec![0; shape.elements()?], Vec::new());
            for (quad, words) in stream.as_chunks::<QUAD_WORDS>().0.iter().enumerate() {
                let (biases, rest) = words.split_first_chunk::<CHANNELS>()?;
                let (weights, scales) = rest.split_last_chunk::<{ CHANNELS * FOLDED_WORDS }>()?;
                for (index, (&bias, &scale)) in biases.iter().zip(scales.as_chunks().0).enumerate() {
                    for tap in 0..quads::TAPS * quads::TAPS {
                        let word = weights[tap / 2 * CHANNELS + index];
                        let twice = if tap % 2 == 0 { i32::from(word as i16) } else { word >> 16 };
                        *filter.get_mut(tap * count + CHANNELS * quad + index)? = (twice / 2) as i8;
                    }
                    channels.extend(unfold(bias / 2, Folded::from_words(scale), zero_point));
                }
            }
            Some(Unpacked { operator: Operator::DepthwiseConv2dI8, filter, filter_shape: shape, channels })
        }
        _ => None,
    }
}

/// The inverse of [`fully_connected`]: as two pairs, one after the other.
fn unpacked_double_pairs([in_c, out_c]: [u32; 2], zero_point: i32, stream: &[i32]) -> Option<Unpacked> {
    let inputs = in_c as usize;
    let mut pairs = Vec::new();
    for words in stream.chunks_exact(double_pairs::double_words(inputs)) {
        let (biases, rest) = words.split_first_chunk::<{ double_pairs::CHANNELS }>()?;
        let (weights, scales) = rest.split_last_chunk::<{ double_pairs::CHANNELS * FOLDED_WORDS }>()?;
        for (side, (biases, scales)) in biases.chunks(2).zip(scales.chunks(2 * FOLDED_WORDS)).enumerate() {
            let weights = weights.chunks(double_pairs::SIDE).skip(side).step_by(2).flatten();
            let weights = weights.take(pairs::padded(inputs) / 2);
            pairs.extend(biases.iter().chain(weights).chain(scales).copied());
        }
    }
    // A missing pair has no place in the other layout.
    pairs.truncate(out_c.div_ceil(2) as usize * pairs::pair_words(inputs));
    unpacked_pairs(Operator::FullyConnectedI8, Shape([out_c, 1, 1, in_c]), zero_point, &pairs)
}

/// The inverse of [`channel_pairs`].
fn unpacked_pairs(operator: Operator, shape: Shape, zero_point: i32, stream: &[i32]) -> Option<Unpacked> {
    let [out_c, k_h, k_w, in_c] = shape.dims();
    let per_channel = k_h * k_w * in_c;
    let (mut filter, mut channels) = (vec![0; shape.elements()?], Vec::new());
    let words = pairs::pair_words(per_channel);
    for (rows, stream) in filter.chunks_mut(2 * per_channel).zip(stream.chunks_exact(words)) {
        let (&[bias, both], rest) = stream.split_first_chunk()?;
        let (weights, &scales) = rest.split_last_chunk::<{ 2 * FOLDED_WORDS }>()?;
        for (index, &word) in weights.iter().enumerate() {
            // Two words hold four taps, the even ones and the odd ones.
            let first = index / 2 * 4 + index % 2;
            for (tap, half) in [(first, word as i16), (first + 2, (word >> 16) as i16)] {
                let even = half as i8;
                let odd = ((half - i16::from(even)) >> 8) as i8;
                if tap < per_channel {
                    rows[tap] = even;
                    rows.get_mut(per_channel + tap).into_iter().for_each(|weight| *weight = odd);
                }
            }
        }
        let [m0, h0, e0, m1, h1, e1] = scales;
        let odd_bias = both.wrapping_sub(bias) >> 8;
        channels.extend(unfold(bias, Folded::from_words([m0, h0, e0]), zero_point));
        channels.extend(unfold(odd_bias, Folded::from_words([m1, h1, e1]), zero_point));
    }
    channels.truncate(out_c * CHANNEL_WORDS);
    Some(Unpacked { operator, filter, filter_shape: shape, channels })
}
