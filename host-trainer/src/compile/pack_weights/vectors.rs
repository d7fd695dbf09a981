//! Layouts for Cortex-M55: vector pairs ([`vector_pairs`]) for convolutions and small fully connected layers, channel eights ([`eights`]) for the others, channel sixteens
//! ([`sixteens`]) for depthwise convolutions.

use std::array;

use smidgen::geometry::Window;
use smidgen::kernels::int8::PackedChannel;
use smidgen::kernels::int8::{eights, sixteens, vector_pairs};
use smidgen::ops::conv_2d::vector_pairs::shapes as conv_2d_shapes;
use smidgen::ops::conv_2d::weights;
use smidgen::ops::depthwise_conv_2d::sixteens::shapes as sixteens_shapes;
use smidgen::ops::fully_connected::eights::stream as eights_shape;
use smidgen::ops::fully_connected::vector_pairs::shapes as fully_connected_shapes;
use smidgen::ops::int8::{CHANNEL_WORDS, Channel};
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, Operator, Shape};

use super::{Layer, Packed, Unpacked};

/// The layer in each layout that can hold it.
pub(super) fn layouts(layer: &Layer<'_>) -> Vec<Packed> {
    let packed = match layer.operator {
        Operator::Conv2dI8 => [conv_2d(layer), None],
        Operator::FullyConnectedI8 => [channel_eights(layer), fully_connected_pairs(layer)],
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
    let shapes = conv_2d_shapes(&window, input, output)?;
    vector_pairs(layer, &rows(layer), Operator::Conv2dVectorPairsI8, shapes)
}

/// The weights of each channel of a filter whose output channel is its first dimension.
fn rows<'p>(layer: &Layer<'p>) -> Vec<&'p [i8]> {
    layer.filter.chunks_exact((layer.filter.len() / layer.channels().len().max(1)).max(1)).collect()
}

/// As vector pairs. For each row, the kernel computes a block of three.
fn fully_connected_pairs(layer: &Layer<'_>) -> Option<Packed> {
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (layer.input, layer.output);
    vector_pairs(
        layer,
        &rows(layer),
        Operator::FullyConnectedVectorPairsI8,
        fully_connected_shapes(in_c, out_c)?,
    )
}

/// As channel eights.
fn channel_eights(layer: &Layer<'_>) -> Option<Packed> {
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (layer.input, layer.output);
    let stream_shape = eights_shape(in_c, out_c)?;
    let pack = |eight: &[PackedChannel<'_, Multiplier>], stream: &mut [i32]| {
        eights::pack(array::from_fn(|index| eight.get(index).copied()), stream)
    };
    let stream = packed_channels(layer, &rows(layer), stream_shape, eights::CHANNELS, pack)?;
    Some(Packed { operator: Operator::FullyConnectedEightsI8, stream, stream_shape, scratch: None })
}

/// As vector pairs, with these weights of each channel.
fn vector_pairs(
    layer: &Layer<'_>,
    rows: &[&[i8]],
    operator: Operator,
    [stream_shape, scratch]: [Shape; 2],
) -> Option<Packed> {
    let pack = |four: &[PackedChannel<'_, Multiplier>], stream: &mut [i32]| {
        vector_pairs::pack(array::from_fn(|index| four.get(index).copied()), stream)
    };
    let stream = packed_channels(layer, rows, stream_shape, vector_pairs::CHANNELS, pack)?;
    Some(Packed { operator, stream, stream_shape, scratch: Some((scratch, ElementType::I32)) })
}

/// A stream of this shape in records of `count` channels, which `pack` writes.
fn packed_channels(
    layer: &Layer<'_>,
    rows: &[&[i8]],
    shape: Shape,
    count: usize,
    pack: impl Fn(&[PackedChannel<'_, Multiplier>], &mut [i32]) -> Option<()>,
) -> Option<Vec<i32>> {
    let channels: Vec<_> = rows
        .iter()
        .zip(layer.channels())
        .map(|(weights, Channel { bias, multiplier })| PackedChannel { weights, bias, scale: multiplier })
        .collect();
    let mut stream = vec![0; shape.elements()?];
    for (record, stream) in channels.chunks(count).zip(stream.chunks_exact_mut(shape.dims()[3])) {
        pack(record, stream)?;
    }
    Some(stream)
}

fn depthwise(layer: &Layer<'_>) -> Option<Packed> {
    let (window, _) = Window::read(layer.attributes).ok()?;
    let ((input, _), (output, _)) = (layer.input, layer.output);
    let [.., count] = output.dims();
    let rows: Vec<Vec<i8>> = (0..count)
        .map(|channel| layer.filter.iter().skip(channel).step_by(count).copied().collect())
        .collect();
    match input.dims()[3] {
        in_c if in_c == count => {}
        // All output channels read the same: a convolution.
        1 => {
            let (rows, shapes) = (rows.iter().map(Vec::as_slice), conv_2d_shapes(&window, input, output)?);
            let rows: Vec<&[i8]> = rows.collect();
            return vector_pairs(layer, &rows, Operator::Conv2dVectorPairsI8, shapes);
        }
        _ => return None,
    }
    let [stream_shape, scratch] = sixteens_shapes(&window, input, output)?;
    let records: Vec<Channel> = layer.channels().collect();
    let mut stream = vec![0; stream_shape.elements()?];
    for (record, stream) in stream.chunks_exact_mut(stream_shape.dims()[3]).enumerate() {
        let lane = |lane: usize| {
            let channel = sixteens::channel_of(&window, count, sixteens::LANES * record + lane)?;
            let Channel { bias, multiplier: scale } = *records.get(channel)?;
            Some(PackedChannel { weights: rows.get(channel)?, bias, scale })
        };
        sixteens::pack(array::from_fn(lane), stream)?;
    }
    let operator = Operator::DepthwiseConv2dSixteensI8;
    Some(Packed { operator, stream, stream_shape, scratch: Some((scratch, ElementType::I32)) })
}

/// What a step of one of the packed operators was.
pub(super) fn unpacked(
    operator: Operator,
    attributes: &[i32],
    [input, output]: [Shape; 2],
    stream: &[i32],
) -> Option<Unpacked> {
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let taps = || {
        let (Window { y, x }, _) = Window::read(attributes).ok()?;
        Some([u32::try_from(y.kernel).ok()?, u32::try_from(x.kernel).ok()?])
    };
    match operator {
        Operator::FullyConnectedEightsI8 => {
            let words = eights::eight_words(in_c as usize)?;
            let unpack = |record: &[i32], index, weights: &mut [i8]| eights::unpack(record, index, weights);
            let shape = Shape([out_c, 1, 1, in_c]);
            unpacked_channels(Operator::FullyConnectedI8, shape, stream, [words, eights::CHANNELS], unpack)
        }
        Operator::Conv2dVectorPairsI8 | Operator::FullyConnectedVectorPairsI8 => {
            let (operator, [k_h, k_w]) = match operator {
                Operator::Conv2dVectorPairsI8 => (Operator::Conv2dI8, taps()?),
                _ => (Operator::FullyConnectedI8, [1, 1]),
            };
            let shape = Shape([out_c, k_h, k_w, in_c]);
            let words = vector_pairs::four_words(shape.elements()? / out_c as usize)?;
            let unpack =
                |record: &[i32], index, weights: &mut [i8]| vector_pairs::unpack(record, index, weights);
            unpacked_channels(operator, shape, stream, [words, vector_pairs::CHANNELS], unpack)
        }
        Operator::DepthwiseConv2dSixteensI8 => {
            let ([k_h, k_w], count) = (taps()?, out_c as usize);
            // As if the output channel were the first dimension.
            let shape = Shape([out_c, k_h, k_w, 1]);
            let words = sixteens::sixteen_words((k_h * k_w) as usize)?;
            let unpack = |record: &[i32], lane, weights: &mut [i8]| sixteens::unpack(record, lane, weights);
            let operator = Operator::DepthwiseConv2dI8;
            let mut found = unpacked_channels(operator, shape, stream, [words, sixteens::LANES], unpack)?;
            let rows = found.filter;
            let taps = rows.len() / count;
            found.filter = (0..rows.len()).map(|index| rows[index % count * taps + index / count]).collect();
            found.filter_shape = Shape([1, k_h, k_w, out_c]);
            Some(found)
        }
        _ => None,
    }
}

/// The inverse of [`packed_channels`]: from records of so many words and channels, of which `unpack` reads one.
fn unpacked_channels(
    operator: Operator,
    filter_shape: Shape,
    stream: &[i32],
    [words, count]: [usize; 2],
    unpack: impl Fn(&[i32], usize, &mut [i8]) -> Option<(i32, Multiplier)>,
) -> Option<Unpacked> {
    let [out_c, ..] = filter_shape.dims();
    let mut filter = vec![0; filter_shape.elements()?];
    let mut channels = Vec::with_capacity(out_c * CHANNEL_WORDS);
    let weights = filter.len().checked_div(out_c)?;
    for (index, weights) in filter.chunks_exact_mut(weights).enumerate() {
        let record = stream.chunks_exact(words).nth(index / count)?;
        let (bias, multiplier) = unpack(record, index % count, weights)?;
        channels.extend(Channel { bias, multiplier }.words());
    }
    Some(Unpacked { operator, filter, filter_shape, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: [i32; 12] = [3, 2, 1, 1, 0, 0, 0, 0, 1, 1, -128, 127];

    /// The operators of a layer in each layout, whose greatest shift is this, and what it becomes again; its weights and channels have to be those that it was packed from.
    fn packed_and_unpacked(
        operator: Operator,
        shapes: [Shape; 2],
        filter_shape: Shape,
        greatest_shift: i32,
    ) -> Vec<[Operator; 2]> {
        let [input, output] = shapes;
        let length = filter_shape.elements().unwrap();
        let filter: Vec<i8> = (0..length).map(|i| ((i * 89 % 251) as u8 as i8).max(-127)).collect();
        let channel = |index: i32| {
            let multiplier = Multiplier {
                multiplier: (1 << 30) + 12_345 * index,
                shift: (greatest_shift - index).max(-31),
            };
            Channel { bias: 1000 * index - 3000, multiplier }
        };
        let count = output.dims()[3] as i32;
        let channels: Vec<i32> = (0..count).flat_map(|index| channel(index).words()).collect();
        let attributes: &[i32] = if operator == Operator::FullyConnectedI8 { &[-128, 127] } else { &WINDOW };
        let layer = Layer {
            operator,
            attributes,
            input: (input, 3),
            output: (output, -7),
            filter: &filter,
            channels: &channels,
        };
        let round_trip = |packed: Packed| {
            let found = Unpacked::of(packed.operator, attributes, shapes, -7, &packed.stream).unwrap();
            assert_eq!(found.channels, channels);
            if found.operator == operator {
                assert_eq!((&found.filter, found.filter_shape), (&filter, filter_shape));
            }
            [packed.operator, found.operator]
        };
        layouts(&layer).into_iter().map(round_trip).collect()
    }

    #[test]
    fn unpacking_is_the_inverse() {
        use Operator as Op;
        let plain = Op::FullyConnectedI8;
        for [in_c, out_c] in [[1, 1], [8, 8], [16, 9], [37, 20], [64, 7], [64, 20]] {
            for pixels in [1, 2] {
                let shapes = [in_c, out_c].map(|count| Shape([1, 1, pixels, count]));
                let found = packed_and_unpacked(plain, shapes, Shape([out_c, 1, 1, in_c]), 0);
                let packed = [Op::FullyConnectedEightsI8, Op::FullyConnectedVectorPairsI8];
                assert_eq!(found, packed.map(|packed| [packed, plain]), "{in_c} {out_c}");
            }
        }
        let shapes = |in_c: u32, out_c: u32| [Shape([1, 5, 4, in_c]), Shape([1, 3, 3, out_c])];
        for [in_c, out_c] in [[1, 1], [3, 6], [16, 4]] {
            let found = packed_and_unpacked(Op::Conv2dI8, shapes(in_c, out_c), Shape([out_c, 3, 2, in_c]), 0);
            assert_eq!(found, [[Op::Conv2dVectorPairsI8, Op::Conv2dI8]]);
        }
        for count in [1, 4, 6, 16, 20] {
            let plain = Op::DepthwiseConv2dI8;
            let found = packed_and_unpacked(plain, shapes(count, count), Shape([1, 3, 2, count]), 0);
            assert_eq!(found, [[Op::DepthwiseConv2dSixteensI8, plain]]);
        }
        let found = packed_and_unpacked(Op::DepthwiseConv2dI8, shapes(1, 5), Shape([1, 3, 2, 5]), 0);
        assert_eq!(found, [[Op::Conv2dVectorPairsI8, Op::Conv2dI8]]);
    }

    #[test]
    fn what_no_layout_can_hold_stays_as_it_is() {
        let shapes = |in_c: u32, out_c: u32| [Shape([1, 5, 4, in_c]), Shape([1, 3, 3, out_c])];
        let conv = |greatest_shift, group_c| {
            packed_and_unpacked(Operator::Conv2dI8, shapes(6, 6), Shape([6, 3, 2, group_c]), greatest_shift)
        };
        assert!(!conv(0, 6).is_empty() && conv(1, 6).is_empty() && conv(0, 3).is_empty());
        let depthwise = |greatest_shift, out_c| {
            let filter = Shape([1, 3, 2, out_c]);
            packed_and_unpacked(Operator::DepthwiseConv2dI8, shapes(6, out_c), filter, greatest_shift)
        };
        assert!(!depthwise(0, 6).is_empty() && depthwise(1, 6).is_empty() && depthwise(0, 12).is_empty());
    }
}
