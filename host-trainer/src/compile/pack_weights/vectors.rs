//! The layout for Cortex-M55: channel eights ([`eights`]) for fully connected layers. Convolutions are fast as they are, with memory for what windows read.

use smidgen::geometry::Window;
use smidgen::kernels::int8::PackedChannel;
use smidgen::kernels::int8::eights::{self, CHANNELS};
use smidgen::ops::conv_2d::int8::Conv2dI8;
use smidgen::ops::depthwise_conv_2d::int8::DepthwiseConv2dI8;
use smidgen::ops::fully_connected::eights::stream;
use smidgen::ops::int8::{CHANNEL_WORDS, Channel, OutputRange};
use smidgen::{Operator, Shape};

use super::{Layer, Packed, Unpacked};

/// The layer as the packed operator, if that can hold it.
pub(super) fn packed(layer: &Layer<'_>) -> Option<Packed> {
    if layer.operator != Operator::FullyConnectedI8 {
        return None;
    }
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (layer.input, layer.output);
    let stream_shape = stream(in_c, out_c)?;
    let rows = layer.filter.chunks_exact(in_c as usize).zip(layer.channels());
    let channels: Vec<_> = rows
        .map(|(weights, Channel { bias, multiplier })| PackedChannel { weights, bias, scale: multiplier })
        .collect();
    let mut stream = vec![0; stream_shape.elements()?];
    for (eight, stream) in channels.chunks(CHANNELS).zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        eights::pack(std::array::from_fn(|index| eight.get(index).copied()), stream)?;
    }
    Some(Packed { operator: Operator::FullyConnectedEightsI8, stream, stream_shape, scratch: None })
}

/// The shape of the scratch of a convolution or a depthwise one, if it can have any.
pub(super) fn scratch(layer: &Layer<'_>) -> Option<Shape> {
    let (window, clamp) = Window::read(layer.attributes).ok()?;
    let ((input, input_zero_point), (output, zero_point)) = (layer.input, layer.output);
    let range = OutputRange::read(clamp, 0, zero_point).ok()?;
    match layer.operator {
        Operator::Conv2dI8 => {
            let [.., in_c] = input.0;
            let [.., out_c] = output.0;
            let kernel = [window.y.kernel, window.x.kernel].map(|taps| u32::try_from(taps).ok());
            let filter = Shape([out_c, kernel[0]?, kernel[1]?, in_c]);
            // In groups, the filter has fewer weights.
            let params = Conv2dI8 { window, input, filter, output, input_zero_point, range };
            params.scratch().filter(|_| filter.elements() == Some(layer.filter.len()))
        }
        Operator::DepthwiseConv2dI8 => {
            DepthwiseConv2dI8 { window, input, output, input_zero_point, range }.scratch()
        }
        _ => None,
    }
}

/// What a step of the packed operator was.
pub(super) fn unpacked(operator: Operator, [input, output]: [Shape; 2], stream: &[i32]) -> Option<Unpacked> {
    if operator != Operator::FullyConnectedEightsI8 {
        return None;
    }
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let filter_shape = Shape([out_c, 1, 1, in_c]);
    let mut filter = vec![0; filter_shape.elements()?];
    let mut channels = Vec::with_capacity(out_c as usize * CHANNEL_WORDS);
    let words = eights::eight_words(in_c as usize)?;
    for (index, weights) in filter.chunks_exact_mut(in_c as usize).enumerate() {
        let eight = stream.chunks_exact(words).nth(index / CHANNELS)?;
        let (bias, multiplier) = eights::unpack(eight, index % CHANNELS, weights)?;
        channels.extend(Channel { bias, multiplier }.words());
    }
    Some(Unpacked { operator: Operator::FullyConnectedI8, filter, filter_shape, channels })
}

#[cfg(test)]
mod tests {
    use smidgen::quantization::Multiplier;

    use super::super::Packing;
    use super::*;

    /// A layer with this greatest shift.
    fn packed_and_unpacked([in_c, out_c]: [u32; 2], greatest_shift: i32) -> Option<bool> {
        let filter: Vec<i8> = (0..in_c * out_c).map(|i| (i * 89 % 251) as u8 as i8).collect();
        let channel = |index: i32| {
            let multiplier =
                Multiplier { multiplier: (1 << 30) + 12_345 * index, shift: greatest_shift - index };
            Channel { bias: 1000 * index - 3000, multiplier }
        };
        let channels: Vec<i32> = (0..out_c as i32).flat_map(|index| channel(index).words()).collect();
        let shapes @ [input, output] = [in_c, out_c].map(|count| Shape([1, 1, 2, count]));
        let layer = Layer {
            operator: Operator::FullyConnectedI8,
            attributes: &[-128, 127],
            input: (input, 3),
            output: (output, -7),
            filter: &filter,
            channels: &channels,
        };
        let packed = layer.packed(Packing::Vectors)?;
        let found = Unpacked::of(packed.operator, &[-128, 127], shapes, -7, &packed.stream)?;
        Some(
            (found.operator, found.filter, found.channels) == (Operator::FullyConnectedI8, filter, channels)
                && packed.operator != found.operator,
        )
    }

    #[test]
    fn unpacking_is_the_inverse() {
        for size in [[1, 1], [8, 8], [16, 9], [37, 20], [64, 7]] {
            assert_eq!(packed_and_unpacked(size, 0), Some(true), "{size:?}");
        }
    }

    #[test]
    fn a_shift_to_the_left_is_not_packed() {
        assert_eq!(packed_and_unpacked([16, 9], 1), None);
    }
}
