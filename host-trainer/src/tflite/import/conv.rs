//! `CONV_2D`, `DEPTHWISE_CONV_2D`, `TRANSPOSE_CONV`, `FULLY_CONNECTED`.

use smidgen::geometry::{Axis, Window};
use smidgen::quantization::Multiplier;
use smidgen::{Quantization, Shape};
use smidgen_tflite_schema::{ActivationFunctionType as Fused, Padding};

use super::importer::{Importer, quantization};
use super::view::{Arithmetic, View, options};
use super::{Refusal, constant, describe_tensor, fused, unsupported};
use crate::graph::{GraphOp, Role, TensorId, Value};
use crate::tflite::net::NetTensor;

/// Where an operator has its input, its filter and its bias.
#[derive(Clone, Copy)]
struct Places {
    input: usize,
    filter: usize,
    bias: usize,
}

/// Of all but one.
const PLACES: Places = Places { input: 0, filter: 1, bias: 2 };
/// Of a transposed convolution, whose first input is the output's shape.
const TRANSPOSED: Places = Places { input: 2, filter: 1, bias: 3 };

/// What the options of both convolutions say.
struct Convolution {
    padding: Padding,
    /// Height, width.
    strides: [i32; 2],
    dilations: [i32; 2],
    fused: Fused,
}

pub(super) fn conv_2d(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, Conv2DOptions)?;
    let convolution = Convolution {
        padding: options.padding()?,
        strides: [options.stride_h()?, options.stride_w()?],
        dilations: [options.dilation_h_factor()?, options.dilation_w_factor()?],
        fused: options.fused_activation_function()?,
    };
    let (input, filter) = (view.input(0)?, view.input(1)?);
    image(input)?;
    // With fewer channels than the input, the filter is of groups.
    let &[out_c, k_h, k_w, filter_c] = rank_4(filter)?;
    let window = window(&convolution, [k_h, k_w], input)?;
    let input_id = importer.activation(view, 0)?;
    let node = view.node_name();
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let activation = fused::activation(convolution.fused)?;
            // Output channels first becomes output channels last.
            let filter = transposed(&constant::f32s(filter)?, out_c);
            let shape = Shape([k_h, k_w, filter_c, out_c].map(|dim| dim as u32));
            let filter = importer.constant(&node, "weights", shape, Role::Weights, Value::F32(filter))?;
            let op = GraphOp::Conv2d { window, activation };
            weighted_f32(importer, view, PLACES, op, [input_id, filter], out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(convolution.fused, quantization(view.output(0)?)?)?;
            // First of all: there are as many of them as the dimensions say, which are as large as they like.
            let weights = constant::i8s(filter)?;
            let scales = ChannelScales::of_convolution(view, PLACES, out_c, 0)?;
            let rows = weights.chunks_exact((k_h * k_w * filter_c).max(1));
            let channels =
                scales.records(view, rows.map(|row| Sums::of(row.iter(), scales.input)).collect())?;
            let shape = Shape([out_c, k_h, k_w, filter_c].map(|dim| dim as u32));
            let op = GraphOp::Conv2dI8 { window, range };
            weighted_i8(importer, view, op, input_id, (shape, weights), channels)
        }
    }
}

pub(super) fn depthwise_conv_2d(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, DepthwiseConv2DOptions)?;
    let convolution = Convolution {
        padding: options.padding()?,
        strides: [options.stride_h()?, options.stride_w()?],
        dilations: [options.dilation_h_factor()?, options.dilation_w_factor()?],
        fused: options.fused_activation_function()?,
    };
    let (input, filter) = (view.input(0)?, view.input(1)?);
    image(input)?;
    let &[_, k_h, k_w, out_c] = rank_4(filter)?;
    let window = window(&convolution, [k_h, k_w], input)?;
    let input_id = importer.activation(view, 0)?;
    let node = view.node_name();
    let shape = Shape([1, k_h, k_w, out_c].map(|dim| dim as u32));
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let activation = fused::activation(convolution.fused)?;
            let weights = Value::F32(constant::f32s(filter)?);
            let filter = importer.constant(&node, "weights", shape, Role::Weights, weights)?;
            let op = GraphOp::DepthwiseConv2d { window, activation };
            weighted_f32(importer, view, PLACES, op, [input_id, filter], out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(convolution.fused, quantization(view.output(0)?)?)?;
            let weights = constant::i8s(filter)?;
            let scales = ChannelScales::of_convolution(view, PLACES, out_c, 3)?;
            let sums = (0..out_c).map(|c| Sums::of(weights.iter().skip(c).step_by(out_c), scales.input));
            let channels = scales.records(view, sums.collect())?;
            let op = GraphOp::DepthwiseConv2dI8 { window, range };
            weighted_i8(importer, view, op, input_id, (shape, weights), channels)
        }
    }
}

pub(super) fn transpose_conv(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, TransposeConvOptions)?;
    let (padding, fused) = (options.padding()?, options.fused_activation_function()?);
    let strides = [options.stride_h()?, options.stride_w()?];
    let (input, filter, output) =
        (view.input(TRANSPOSED.input)?, view.input(TRANSPOSED.filter)?, view.output(0)?);
    let ([_, in_h, in_w, in_c], [_, height, width, _]) = (image(input)?, image(output)?);
    let &[out_c, k_h, k_w, _] = rank_4(filter)?;
    let window = Window {
        y: transposed_axis(padding, [k_h, in_h, height], strides[0])?,
        x: transposed_axis(padding, [k_w, in_w, width], strides[1])?,
    };
    let size = [height as u32, width as u32];
    let input_id = importer.activation(view, TRANSPOSED.input)?;
    match view.arithmetic_of(input)? {
        Arithmetic::F32 => {
            let activation = fused::activation(fused)?;
            // Output channels first becomes output channels last but one.
            let weights = constant::f32s(filter)?;
            let per_channel = k_h * k_w * in_c;
            let taps = (0..k_h * k_w).flat_map(|tap| (0..out_c).map(move |c| c * per_channel + tap * in_c));
            let weights = taps.flat_map(|at| weights.iter().skip(at).take(in_c).copied()).collect();
            let shape = Shape([k_h, k_w, out_c, in_c].map(|dim| dim as u32));
            let (node, weights) = (view.node_name(), Value::F32(weights));
            let filter = importer.constant(&node, "weights", shape, Role::Weights, weights)?;
            let op = GraphOp::TransposeConv { window, size, activation };
            weighted_f32(importer, view, TRANSPOSED, op, [input_id, filter], out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(fused, quantization(output)?)?;
            let weights = constant::i8s(filter)?;
            let scales = ChannelScales::of_convolution(view, TRANSPOSED, out_c, 0)?;
            let rows = weights.chunks_exact((k_h * k_w * in_c).max(1));
            let channels = scales.records(view, rows.map(|row| Sums::plain(row.iter())).collect())?;
            let shape = Shape([out_c, k_h, k_w, in_c].map(|dim| dim as u32));
            let op = GraphOp::TransposeConvI8 { window, size, range };
            weighted_i8(importer, view, op, input_id, (shape, weights), channels)
        }
    }
}

/// One axis of the window that slides over the output of a transposed convolution, with the padding before it that TensorFlow Lite computes from
/// the output's length (`ComputePaddingHeightWidth`), and as much after it as the input's length needs.
fn transposed_axis(
    padding: Padding,
    [kernel, input, output]: [usize; 3],
    stride: i32,
) -> Result<Axis, Refusal> {
    let found = fused::axis(padding, [i32::try_from(kernel).unwrap_or(i32::MAX), stride, 1], output as u32)?;
    let reached = (input - 1).checked_mul(found.stride).and_then(|last| last.checked_add(kernel));
    let reached = reached.ok_or_else(|| unsupported("the window is too large"))?;
    Ok(Axis { pad_after: reached.saturating_sub(found.pad_before + output), ..found })
}

pub(super) fn fully_connected(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, FullyConnectedOptions)?;
    let fused = options.fused_activation_function()?;
    if options.weights_format()? != 0 {
        return Err(unsupported("its weights are shuffled, expected them in the default order"));
    }
    let (input, filter) = (view.input(0)?, view.input(1)?);
    let &[out_c, in_c] = filter.dims.as_slice() else {
        return Err(unsupported(format!("the weights {} have no two dimensions", describe_tensor(filter))));
    };
    let elements = input.elements().unwrap_or(0);
    if in_c == 0 || elements == 0 || !elements.is_multiple_of(in_c) {
        return Err(unsupported(format!(
            "the input {} has {elements} elements, expected rows of {in_c}",
            describe_tensor(input)
        )));
    }
    let input_id = importer.activation(view, 0)?;
    let rows = Shape([1, 1, (elements / in_c) as u32, in_c as u32]);
    let input_id = importer.reshaped(view, input_id, rows)?;
    let node = view.node_name();
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let activation = fused::activation(fused)?;
            let weights = transposed(&constant::f32s(filter)?, out_c);
            let shape = Shape([1, 1, in_c as u32, out_c as u32]);
            let filter = importer.constant(&node, "weights", shape, Role::Weights, Value::F32(weights))?;
            let op = GraphOp::FullyConnected { activation };
            weighted_f32(importer, view, PLACES, op, [input_id, filter], out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(fused, quantization(view.output(0)?)?)?;
            let weights = constant::i8s(filter)?;
            let scales = ChannelScales::of_fully_connected(view, out_c)?;
            let rows = weights.chunks_exact(in_c);
            let channels =
                scales.records(view, rows.map(|row| Sums::of(row.iter(), scales.input)).collect())?;
            let shape = Shape([out_c as u32, 1, 1, in_c as u32]);
            let op = GraphOp::FullyConnectedI8 { range };
            weighted_i8(importer, view, op, input_id, (shape, weights), channels)
        }
    }
}

/// The dimensions of an image, a batch of one.
fn image(tensor: &NetTensor<'_>) -> Result<[usize; 4], Refusal> {
    match *rank_4(tensor)? {
        dims @ [1, ..] => Ok(dims),
        [batch, ..] => Err(unsupported(format!("it works on a batch of {batch}, expected 1"))),
    }
}

/// The dimensions of a tensor of rank 4.
pub(super) fn rank_4<'n>(tensor: &'n NetTensor<'_>) -> Result<&'n [usize; 4], Refusal> {
    let dims = tensor.dims.as_slice().try_into();
    dims.map_err(|_| unsupported(format!("{} does not have four dimensions", describe_tensor(tensor))))
}

fn window(
    convolution: &Convolution,
    [k_h, k_w]: [usize; 2],
    input: &NetTensor<'_>,
) -> Result<Window, Refusal> {
    let ([stride_y, stride_x], [dilation_y, dilation_x]) = (convolution.strides, convolution.dilations);
    let [_, height, width, _] = image(input)?;
    let kernel = |kernel: usize| i32::try_from(kernel).unwrap_or(i32::MAX);
    Ok(Window {
        y: fused::axis(convolution.padding, [kernel(k_h), stride_y, dilation_y], height as u32)?,
        x: fused::axis(convolution.padding, [kernel(k_w), stride_x, dilation_x], width as u32)?,
    })
}

/// `[out_c, rest]` as `[rest, out_c]`.
fn transposed(values: &[f32], out_c: usize) -> Vec<f32> {
    let rest = values.len() / out_c.max(1);
    (0..rest).flat_map(|position| values.iter().skip(position).step_by(rest).copied()).collect()
}

/// Adds an f32 node with its bias.
fn weighted_f32(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    places: Places,
    op: GraphOp,
    inputs: [TensorId; 2],
    out_c: usize,
) -> Result<(), Refusal> {
    let mut inputs = inputs.to_vec();
    if let Some(bias) = view.optional_input(places.bias) {
        let values = Value::F32(constant::f32s(bias)?);
        let shape = Shape::vector(out_c as u32);
        has_elements(bias, out_c)?;
        inputs.push(importer.constant(&view.node_name(), "bias", shape, Role::Bias, values)?);
    }
    finish(importer, view, op, inputs)
}

/// Adds an int8 node with its constants.
fn weighted_i8(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    op: GraphOp,
    input: TensorId,
    (shape, weights): (Shape, Vec<i8>),
    channels: Vec<i32>,
) -> Result<(), Refusal> {
    let node = view.node_name();
    let out_c = channels.len() / 3;
    let filter = importer.constant(&node, "weights", shape, Role::Constant, Value::I8(weights))?;
    let shape = Shape([1, 1, out_c as u32, 3]);
    let channels = importer.constant(&node, "channels", shape, Role::Constant, Value::I32(channels))?;
    finish(importer, view, op, vec![input, filter, channels])
}

/// Adds the node; a fully connected layer computes rows, which the file may give another shape.
fn finish(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    op: GraphOp,
    inputs: Vec<TensorId>,
) -> Result<(), Refusal> {
    let output = importer.output(view, 0)?;
    let read: Vec<_> = inputs.iter().map(|&id| importer.tensor(id)).collect();
    let computed = importer.tensor(output);
    let is_rows = matches!(op, GraphOp::FullyConnected { .. } | GraphOp::FullyConnectedI8 { .. });
    let rows = op.output(&read).ok().filter(|&(rows, _)| is_rows && rows != computed.shape);
    let Some((rows, _)) = rows else {
        return importer.push(view.node_name(), op, inputs, output);
    };
    let (element_type, quantization) = (computed.element_type, computed.quantization);
    let name = format!("{}/rows", view.node_name());
    let inner = importer.intermediate(name, rows, element_type, quantization);
    importer.push(view.node_name(), op, inputs, inner)?;
    importer.push(format!("{}/reshape", view.node_name()), GraphOp::Reshape, vec![inner], output)
}

fn has_elements(tensor: &NetTensor<'_>, expected: usize) -> Result<(), Refusal> {
    if tensor.elements() == Some(expected) {
        return Ok(());
    }
    Err(unsupported(format!("{} does not have {expected} elements", describe_tensor(tensor))))
}

/// What the sums of an int8 layer are scaled by, as TensorFlow Lite Micro's `Prepare` computes it.
struct ChannelScales {
    input: Quantization,
    /// For each output channel.
    real: Vec<f64>,
    /// Where the bias is.
    places: Places,
}

/// What the weights of an output channel do to its accumulator.
struct Sums {
    /// What the input's zero point adds to it.
    zero: i64,
    /// How far the inputs can move it.
    reach: i64,
}

impl Sums {
    /// Of a layer that reads every weight: the input's zero point becomes part of the bias.
    fn of<'w>(weights: impl Iterator<Item = &'w i8>, input: Quantization) -> Self {
        // A sum of fewer than 2^31 weights has 39 bits.
        let (sum, magnitudes) = weights.fold((0, 0), |(sum, magnitudes), &weight| {
            (sum + i64::from(weight), magnitudes + i64::from(weight.unsigned_abs()))
        });
        Self { zero: -i64::from(input.zero_point) * sum, reach: 128 * magnitudes }
    }

    /// Of a layer that takes the zero point off each input.
    fn plain<'w>(weights: impl Iterator<Item = &'w i8>) -> Self {
        Self { zero: 0, reach: 255 * weights.map(|weight| i64::from(weight.unsigned_abs())).sum::<i64>() }
    }
}

impl ChannelScales {
    /// Of a convolution: `input scale * filter scale / output scale`, all in f64 (`PopulateConvolutionQuantizationParams`). `axis` is the filter's dimension of
    /// output channels.
    fn of_convolution(
        view: &View<'_, '_>,
        places: Places,
        out_c: usize,
        axis: usize,
    ) -> Result<Self, Refusal> {
        let (input, output) = (quantization(view.input(places.input)?)?, quantization(view.output(0)?)?);
        let scales = filter_scales(view.input(places.filter)?, out_c, axis)?;
        let real = |&scale: &f32| f64::from(input.scale) * f64::from(scale) / f64::from(output.scale);
        let mut real: Vec<f64> = scales.iter().map(real).collect();
        if let &[one] = real.as_slice() {
            real = vec![one; out_c];
        }
        Ok(Self { input, real, places })
    }

    /// Of a fully connected layer: with several scales as a convolution; with one, the product of input and filter scale is an f32
    /// (`GetQuantizedConvolutionMultipler`).
    fn of_fully_connected(view: &View<'_, '_>, out_c: usize) -> Result<Self, Refusal> {
        let (input, output) = (quantization(view.input(0)?)?, quantization(view.output(0)?)?);
        match filter_scales(view.input(1)?, out_c, 0)? {
            &[scale] => {
                let real = f64::from(input.scale * scale) / f64::from(output.scale);
                Ok(Self { input, real: vec![real; out_c], places: PLACES })
            }
            _ => Self::of_convolution(view, PLACES, out_c, 0),
        }
    }

    /// The records of the output channels: biases, with what the input's zero point adds to them, multipliers and shifts. `sums` are those of each
    /// channel's weights.
    fn records(&self, view: &View<'_, '_>, sums: Vec<Sums>) -> Result<Vec<i32>, Refusal> {
        let biases = match view.optional_input(self.places.bias) {
            Some(bias) => {
                has_elements(bias, self.real.len())?;
                constant::i32s(bias)?
            }
            None => vec![0; self.real.len()],
        };
        let mut records = Vec::with_capacity(self.real.len() * 3);
        for (channel, ((&bias, sum), &real)) in biases.iter().zip(sums).zip(&self.real).enumerate() {
            let folded = i64::from(bias) + sum.zero;
            let most = folded.abs() + sum.reach;
            if most > i64::from(i32::MAX) {
                return Err(unsupported(format!(
                    "output channel {channel}: with the bias {bias} its sum can be {most}, which does not fit 32 bits"
                )));
            }
            let Multiplier { multiplier, shift } = Multiplier::from_real(real).ok_or_else(|| {
                unsupported(format!("output channel {channel}: its factor {real:e} is not below 2^30"))
            })?;
            records.extend([folded as i32, multiplier, shift]);
        }
        Ok(records)
    }
}

/// The scales of int8 weights: one, or one for each output channel.
fn filter_scales<'n>(filter: &'n NetTensor<'_>, out_c: usize, axis: usize) -> Result<&'n [f32], Refusal> {
    let name = || describe_tensor(filter);
    let found = filter.quantization.as_ref();
    let found = found.ok_or_else(|| unsupported(format!("the weights {} have no scale", name())))?;
    if found.zero_points.iter().any(|&zero_point| zero_point != 0) {
        return Err(unsupported(format!("the weights {} have a zero point other than 0", name())));
    }
    match found.scales.len() {
        1 => Ok(&found.scales),
        count if count == out_c && found.axis == axis => Ok(&found.scales),
        count => Err(unsupported(format!(
            "the weights {} have {count} scales along dimension {}, expected 1, or {out_c} along dimension {axis}",
            name(),
            found.axis
        ))),
    }
}
