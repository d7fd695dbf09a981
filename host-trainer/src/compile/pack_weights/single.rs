//! Layouts for Cortex-M0 and M3: weight rows ([`rows`]) and channel fours ([`fours`]); and taps ([`taps`]), for all without vectors.

use smidgen::geometry::Window;
use smidgen::kernels::int8::fours::{self, CHANNELS, PLACES};
use smidgen::kernels::int8::{FOLDED_WORDS, Folded, PackedChannel, rows, taps};
use smidgen::ops::conv_2d::rows::shapes as conv_2d_shapes;
use smidgen::ops::conv_2d::weights;
use smidgen::ops::depthwise_conv_2d::taps::shapes as taps_shapes;
use smidgen::ops::fully_connected::fours::stream;
use smidgen::ops::int8::CHANNEL_WORDS;
use smidgen::{ElementType, Operator, Shape};

use super::{Layer, Packed, Unpacked, fold, unfold};

/// The layer in each layout that can hold it.
pub(super) fn layouts(layer: &Layer<'_>) -> Vec<Packed> {
    let packed = match layer.operator {
        Operator::Conv2dI8 => conv_2d(layer),
        Operator::FullyConnectedI8 => channel_fours(layer),
        Operator::DepthwiseConv2dI8 => depthwise(layer),
        _ => None,
    };
    packed.into_iter().collect()
}

fn conv_2d(layer: &Layer<'_>) -> Option<Packed> {
    let (window, _) = Window::read(layer.attributes).ok()?;
    let ((input, _), (output, zero_point)) = (layer.input, layer.output);
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let weights = weights(&window, [in_c, out_c])?;
    // In groups, the filter has fewer weights.
    if layer.filter.len().checked_div(layer.channels().len()) != Some(weights) {
        return None;
    }
    let [stream_shape, scratch] = conv_2d_shapes(&window, input, output)?;
    let mut stream = vec![0; stream_shape.elements()?];
    let channels = layer.filter.chunks_exact(weights).zip(layer.channels());
    for ((weights, channel), stream) in channels.zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
        rows::pack(weights, bias, scale, stream)?;
    }
    let operator = Operator::Conv2dRowsI8;
    Some(Packed { operator, stream, stream_shape, scratch: Some((scratch, ElementType::I32)) })
}

/// As channel fours.
fn channel_fours(layer: &Layer<'_>) -> Option<Packed> {
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), zero_point)) = (layer.input, layer.output);
    let stream_shape = stream(in_c, out_c)?;
    let rows = layer.filter.chunks_exact(in_c as usize).zip(layer.channels());
    let channels = rows.map(|(weights, channel)| {
        let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
        Some(PackedChannel { weights, bias, scale })
    });
    let channels = channels.collect::<Option<Vec<_>>>()?;
    let mut stream = vec![0; stream_shape.elements()?];
    for (four, stream) in channels.chunks(CHANNELS).zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        fours::pack(std::array::from_fn(|index| four.get(index).copied()), stream)?;
    }
    Some(Packed { operator: Operator::FullyConnectedFoursI8, stream, stream_shape, scratch: None })
}

/// As taps.
fn depthwise(layer: &Layer<'_>) -> Option<Packed> {
    let (window, _) = Window::read(layer.attributes).ok()?;
    let ((input, _), (Shape([.., out_c]), zero_point)) = (layer.input, layer.output);
    let [stream_shape, scratch] = taps_shapes(&window, input, out_c)?;
    let mut stream = vec![0; stream_shape.elements()?];
    let streams = stream.chunks_exact_mut(stream_shape.dims()[3]);
    for ((index, channel), stream) in layer.channels().enumerate().zip(streams) {
        let weights: Vec<i8> = layer.filter.iter().skip(index).step_by(out_c as usize).copied().collect();
        let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
        taps::pack(weights.iter().copied(), bias, scale, stream)?;
    }
    let operator = Operator::DepthwiseConv2dTapsI8;
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
    let kernel = || {
        let (Window { y, x }, _) = Window::read(attributes).ok()?;
        Some([u32::try_from(y.kernel).ok()?, u32::try_from(x.kernel).ok()?])
    };
    match operator {
        Operator::Conv2dRowsI8 => {
            let [k_h, k_w] = kernel()?;
            unpacked_rows(Shape([out_c, k_h, k_w, in_c]), zero_point, stream)
        }
        Operator::FullyConnectedFoursI8 => unpacked_fours([in_c, out_c], zero_point, stream),
        Operator::DepthwiseConv2dTapsI8 => {
            let [k_h, k_w] = kernel()?;
            unpacked_taps(Shape([1, k_h, k_w, out_c]), zero_point, stream)
        }
        _ => None,
    }
}

/// A weight from its unsigned byte.
fn signed(byte: u8) -> i8 {
    (byte ^ 0x80).cast_signed()
}

/// The bias from that for unsigned weights.
fn plain_bias(bias: i32, weights: &[i8]) -> i32 {
    bias + 128 * weights.iter().map(|&weight| i32::from(weight)).sum::<i32>()
}

/// The inverse of [`conv_2d`].
fn unpacked_rows(shape: Shape, zero_point: i32, stream: &[i32]) -> Option<Unpacked> {
    let per_channel = shape.elements()?.checked_div(shape.dims()[0])?;
    let (mut filter, mut channels) = (Vec::new(), Vec::new());
    for words in stream.chunks_exact(rows::channel_words(per_channel)) {
        let (&bias, rest) = words.split_first()?;
        let (row, &scale) = rest.split_last_chunk::<FOLDED_WORDS>()?;
        let bytes = row.iter().flat_map(|word| word.to_le_bytes());
        let weights: Vec<i8> = bytes.take(per_channel).map(signed).collect();
        channels.extend(unfold(plain_bias(bias, &weights), Folded::from_words(scale), zero_point));
        filter.extend(weights);
    }
    Some(Unpacked { operator: Operator::Conv2dI8, filter, filter_shape: shape, channels })
}

/// The inverse of [`channel_fours`].
fn unpacked_fours([in_c, out_c]: [u32; 2], zero_point: i32, stream: &[i32]) -> Option<Unpacked> {
    let filter_shape = Shape([out_c, 1, 1, in_c]);
    let (mut filter, mut channels) = (Vec::new(), Vec::new());
    for words in stream.chunks_exact(fours::four_words(in_c as usize)) {
        let (biases, rest) = words.split_first_chunk::<CHANNELS>()?;
        let (words, scales) = rest.split_last_chunk::<{ CHANNELS * FOLDED_WORDS }>()?;
        for ((&bias, &scale), place) in biases.iter().zip(scales.as_chunks().0).zip(PLACES) {
            let weights: Vec<i8> = words.iter().map(|word| signed(word.to_le_bytes()[place])).collect();
            channels.extend(unfold(plain_bias(bias, &weights), Folded::from_words(scale), zero_point));
            filter.extend(weights);
        }
    }
    // Missing channels have zeros.
    filter.truncate(filter_shape.elements()?);
    channels.truncate(out_c as usize * CHANNEL_WORDS);
    Some(Unpacked { operator: Operator::FullyConnectedI8, filter, filter_shape, channels })
}

/// The inverse of [`depthwise`].
fn unpacked_taps(shape: Shape, zero_point: i32, stream: &[i32]) -> Option<Unpacked> {
    let [_, k_h, k_w, out_c] = shape.dims();
    let (mut filter, mut channels) = (vec![0; shape.elements()?], Vec::new());
    for (index, words) in stream.chunks_exact(taps::channel_words(k_h * k_w)).enumerate() {
        let (&bias, rest) = words.split_first()?;
        let (weights, &scale) = rest.split_last_chunk::<FOLDED_WORDS>()?;
        let bytes = weights.iter().flat_map(|word| word.to_le_bytes());
        for (weight, byte) in filter.iter_mut().skip(index).step_by(out_c).zip(bytes) {
            *weight = byte.cast_signed();
        }
        channels.extend(unfold(bias, Folded::from_words(scale), zero_point));
    }
    Some(Unpacked { operator: Operator::DepthwiseConv2dI8, filter, filter_shape: shape, channels })
}

#[cfg(test)]
mod tests {
    use smidgen::ops::int8::Channel;
    use smidgen::quantization::Multiplier;

    use super::super::dsp;
    use super::*;

    /// Packs a layer in each layout of this file and that for processors with the DSP extension, and unpacks it again.
    fn round_trip(operator: Operator, attributes: &[i32], shapes: [Shape; 2], filter_shape: Shape) {
        let [input, output] = shapes;
        let length = filter_shape.elements().unwrap();
        let filter: Vec<i8> = (0..length).map(|i| ((i * 89 % 251) as u8 as i8).max(-127)).collect();
        let channels: Vec<i32> = (0..output.dims()[3] as i32)
            .flat_map(|index| {
                let multiplier = Multiplier { multiplier: (1 << 30) + 12_345 * index, shift: -3 - index };
                Channel { bias: 1000 * index - 3000, multiplier }.words()
            })
            .collect();
        let layer = Layer {
            operator,
            attributes,
            input: (input, 3),
            output: (output, -7),
            filter: &filter,
            channels: &channels,
        };
        let packed = [layouts(&layer), dsp::layouts(&layer)];
        assert!(packed.iter().any(|packed| !packed.is_empty()));
        for packed in packed.into_iter().flatten() {
            assert_ne!(packed.operator, operator);
            let found = Unpacked::of(packed.operator, attributes, shapes, -7, &packed.stream).unwrap();
            assert_eq!((found.operator, found.filter_shape), (operator, filter_shape));
            assert_eq!((&found.filter, &found.channels), (&filter, &channels));
        }
    }

    #[test]
    fn unpacking_is_the_inverse() {
        let window = [3, 2, 1, 1, 0, 0, 0, 0, 1, 1, -128, 127];
        let shapes = |in_c: u32, out_c: u32| [Shape([1, 5, 4, in_c]), Shape([1, 3, 3, out_c])];
        round_trip(Operator::Conv2dI8, &window, shapes(3, 6), Shape([6, 3, 2, 3]));
        round_trip(Operator::DepthwiseConv2dI8, &window, shapes(6, 6), Shape([1, 3, 2, 6]));
        round_trip(Operator::DepthwiseConv2dI8, &window, shapes(1, 5), Shape([1, 3, 2, 5]));
        let three = [3, 3, 1, 1, 0, 0, 0, 0, 1, 1, -128, 127];
        let eight = [Shape([1, 5, 5, 8]), Shape([1, 3, 3, 8])];
        round_trip(Operator::DepthwiseConv2dI8, &three, eight, Shape([1, 3, 3, 8]));
        for (in_c, out_c) in [(10, 6), (130, 9)] {
            let shapes = [Shape([1, 1, 2, in_c]), Shape([1, 1, 2, out_c])];
            round_trip(Operator::FullyConnectedI8, &[-128, 127], shapes, Shape([out_c, 1, 1, in_c]));
        }
    }
}
