//! Layouts for Cortex-M0 and M3: weight rows ([`rows`]), channel fours ([`fours`]) and taps ([`taps`]).

use smidgen::geometry::Window;
use smidgen::kernels::int8::fours::{self, CHANNELS, FourthChannel};
use smidgen::kernels::int8::{rows, taps};
use smidgen::ops::conv_2d::rows::Conv2dRowsI8;
use smidgen::ops::depthwise_conv_2d::taps::shapes as taps_shapes;
use smidgen::ops::fully_connected::fours::stream;
use smidgen::ops::int8::OutputRange;
use smidgen::{ElementType, Operator, Shape};

use super::{Layer, Packed, fold};

/// The layer as one of the packed operators, if one of them can hold it.
pub(super) fn packed(layer: &Layer<'_>) -> Option<Packed> {
    match layer.operator {
        Operator::Conv2dI8 => conv_2d(layer),
        Operator::FullyConnectedI8 => channel_fours(layer),
        Operator::DepthwiseConv2dI8 => depthwise(layer),
        _ => None,
    }
}

fn conv_2d(layer: &Layer<'_>) -> Option<Packed> {
    let (window, clamp) = Window::read(layer.attributes).ok()?;
    let ((input, input_zero_point), (output, zero_point)) = (layer.input, layer.output);
    let range = OutputRange::read(clamp, 0, zero_point).ok()?;
    let params = Conv2dRowsI8 { window, input, output, input_zero_point, range };
    let weights = params.weights()?;
    // In groups, the filter has fewer weights.
    if layer.filter.len().checked_div(layer.channels().len()) != Some(weights) {
        return None;
    }
    let stream_shape = params.stream()?;
    let mut stream = vec![0; stream_shape.elements()?];
    let channels = layer.filter.chunks_exact(weights).zip(layer.channels());
    for ((weights, channel), stream) in channels.zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        let (bias, scale) = fold(weights.iter().copied(), channel, zero_point)?;
        rows::pack(weights, bias, scale, stream)?;
    }
    let scratch: Shape = params.scratch()?;
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
        Some(FourthChannel { weights, bias, scale })
    });
    let channels = channels.collect::<Option<Vec<_>>>()?;
    let mut stream = vec![0; stream_shape.elements()?];
    for (four, stream) in channels.chunks(CHANNELS).zip(stream.chunks_exact_mut(stream_shape.dims()[3])) {
        fours::pack(std::array::from_fn(|index| four.get(index).copied()), stream)?;
    }
    Some(Packed { operator: Operator::FullyConnectedFoursI8, stream, stream_shape, scratch: None })
}

/// As taps. Also for processors with the DSP extension: their own layout holds only windows of 3 by 3 taps.
pub(super) fn depthwise(layer: &Layer<'_>) -> Option<Packed> {
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
