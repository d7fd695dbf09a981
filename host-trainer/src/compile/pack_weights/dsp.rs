//! Layouts for Cortex-M4, M7 and M33: channel pairs ([`pairs`]) and channel quads ([`quads`]); depthwise convolutions of other windows in that of
//! [`taps`](smidgen::kernels::int8::taps).

use smidgen::geometry::Window;
use smidgen::kernels::int8::Folded;
use smidgen::kernels::int8::pairs::{self, PairedChannel};
use smidgen::kernels::int8::quads::{self, CHANNELS, QUAD_WORDS};
use smidgen::ops::conv_2d::pairs::Conv2dPairsI8;
use smidgen::ops::depthwise_conv_2d::quads::shapes as quads_shapes;
use smidgen::ops::fully_connected::pairs::shapes as pairs_shapes;
use smidgen::ops::int8::{Channel, OutputRange};
use smidgen::{ElementType, Operator, Shape};

use super::{Layer, Packed, fold};

/// The layer as one of the packed operators, if one of them can hold it.
pub(super) fn packed(layer: &Layer<'_>) -> Option<Packed> {
    match layer.operator {
        Operator::Conv2dI8 => conv_2d(layer),
        Operator::FullyConnectedI8 => fully_connected(layer),
        Operator::DepthwiseConv2dI8 => depthwise(layer).or_else(|| super::single::depthwise(layer)),
        _ => None,
    }
}

fn conv_2d(layer: &Layer<'_>) -> Option<Packed> {
    let (window, clamp) = Window::read(layer.attributes).ok()?;
    let ((input, input_zero_point), (output, zero_point)) = (layer.input, layer.output);
    let range = OutputRange::read(clamp, 0, zero_point).ok()?;
    let params = Conv2dPairsI8 { window, input, output, input_zero_point, range };
    // In groups, the filter has fewer weights.
    if layer.filter.len().checked_div(layer.channels().len()) != params.weights() {
        return None;
    }
    channel_pairs(layer, Operator::Conv2dPairsI8, params.stream()?, params.scratch()?)
}

fn fully_connected(layer: &Layer<'_>) -> Option<Packed> {
    let ((Shape([.., in_c]), _), (Shape([.., out_c]), _)) = (layer.input, layer.output);
    let [stream, scratch] = pairs_shapes(in_c, out_c)?;
    channel_pairs(layer, Operator::FullyConnectedPairsI8, stream, scratch)
}

/// As channel pairs, for a filter whose output channel is its first dimension.
fn channel_pairs(
    layer: &Layer<'_>,
    operator: Operator,
    stream_shape: Shape,
    scratch: Shape,
) -> Option<Packed> {
    let (_, zero_point) = layer.output;
    let weights = layer.filter.len().checked_div(layer.channels().len())?;
    let rows = layer.filter.chunks_exact(weights).zip(layer.channels());
    let channels = rows.map(|(weights, channel)| {
        let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
        Some(PairedChannel { weights, bias, scale })
    });
    let channels = channels.collect::<Option<Vec<_>>>()?;
    let mut stream = vec![0; stream_shape.elements()?];
    for (pair, stream) in channels.chunks(2).zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        pairs::pack([pair.first().copied(), pair.get(1).copied()], stream)?;
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
