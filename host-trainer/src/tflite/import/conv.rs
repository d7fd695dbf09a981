//! `CONV_2D`, `DEPTHWISE_CONV_2D`, `FULLY_CONNECTED`.

use smidgen::geometry::Window;
use smidgen::quantization::Multiplier;
use smidgen::{Quantization, Shape};
use smidgen_tflite_schema::{ActivationFunctionType as Fused, Padding};

use super::importer::{Importer, quantization};
use super::view::{Arithmetic, View, options};
use super::{Refusal, constant, describe_tensor, fused, unsupported};
use crate::graph::{GraphOp, Role, TensorId, Value};
use crate::tflite::net::NetTensor;

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
    let [_, _, _, in_c] = image(input)?;
    let &[out_c, k_h, k_w, filter_c] = rank_4(filter)?;
    if in_c != filter_c {
        return Err(unsupported(format!("the input has {in_c} channels, the filter {filter_c}")));
    }
    let window = window(&convolution, [k_h, k_w], input)?;
    let input_id = importer.activation(view, 0)?;
    let node = view.node_name();
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let activation = fused::activation(convolution.fused)?;
            // Output channels first becomes output channels last.
            let filter = transposed(&constant::f32s(filter)?, out_c);
            let shape = Shape([k_h, k_w, in_c, out_c].map(|dim| dim as u32));
            let filter = importer.constant(&node, "weights", shape, Role::Weights, Value::F32(filter))?;
            let op = GraphOp::Conv2d { window, activation };
            weighted_f32(importer, view, op, input_id, filter, out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(convolution.fused, quantization(view.output(0)?)?)?;
            let scales = ChannelScales::of_convolution(view, out_c, 0)?;
            let weights = constant::i8s(filter)?;
            let rows = weights.chunks_exact((k_h * k_w * in_c).max(1));
            let sums = rows.map(|row| row.iter().map(|&weight| i64::from(weight)).sum()).collect();
            let channels = scales.records(view, sums)?;
            let shape = Shape([out_c, k_h, k_w, in_c].map(|dim| dim as u32));
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
            weighted_f32(importer, view, op, input_id, filter, out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(convolution.fused, quantization(view.output(0)?)?)?;
            let scales = ChannelScales::of_convolution(view, out_c, 3)?;
            let weights = constant::i8s(filter)?;
            let mut sums = vec![0i64; out_c];
            for taps in weights.chunks_exact(out_c.max(1)) {
                sums.iter_mut().zip(taps).for_each(|(sum, &weight)| *sum += i64::from(weight));
            }
            let channels = scales.records(view, sums)?;
            let op = GraphOp::DepthwiseConv2dI8 { window, range };
            weighted_i8(importer, view, op, input_id, (shape, weights), channels)
        }
    }
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
    if elements != in_c {
        return Err(unsupported(format!(
            "the input {} has {elements} elements, expected one row of {in_c}",
            describe_tensor(input)
        )));
    }
    let input_id = importer.activation(view, 0)?;
    let input_id = importer.reshaped(view, input_id, Shape::vector(in_c as u32))?;
    let node = view.node_name();
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let activation = fused::activation(fused)?;
            let weights = transposed(&constant::f32s(filter)?, out_c);
            let shape = Shape([1, 1, in_c as u32, out_c as u32]);
            let filter = importer.constant(&node, "weights", shape, Role::Weights, Value::F32(weights))?;
            weighted_f32(importer, view, GraphOp::FullyConnected { activation }, input_id, filter, out_c)
        }
        Arithmetic::I8 => {
            let range = fused::range(fused, quantization(view.output(0)?)?)?;
            let scales = ChannelScales::of_fully_connected(view, out_c)?;
            let weights = constant::i8s(filter)?;
            let rows = weights.chunks_exact(in_c.max(1));
            let sums = rows.map(|row| row.iter().map(|&weight| i64::from(weight)).sum()).collect();
            let channels = scales.records(view, sums)?;
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
    op: GraphOp,
    input: TensorId,
    filter: TensorId,
    out_c: usize,
) -> Result<(), Refusal> {
    let mut inputs = vec![input, filter];
    if let Some(bias) = view.optional_input(2) {
        let values = Value::F32(constant::f32s(bias)?);
        let shape = Shape::vector(out_c as u32);
        has_elements(bias, out_c)?;
        inputs.push(importer.constant(&view.node_name(), "bias", shape, Role::Bias, values)?);
    }
    finish(importer, view, op, inputs, out_c)
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
    finish(importer, view, op, vec![input, filter, channels], out_c)
}

/// Adds the node; a fully connected layer computes a vector, which the file may give another shape.
fn finish(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    op: GraphOp,
    inputs: Vec<TensorId>,
    out_c: usize,
) -> Result<(), Refusal> {
    let output = importer.output(view, 0)?;
    let computed = importer.tensor(output);
    let vector = Shape::vector(out_c as u32);
    let is_vector = matches!(op, GraphOp::FullyConnected { .. } | GraphOp::FullyConnectedI8 { .. });
    if !is_vector || computed.shape == vector {
        return importer.push(view.node_name(), op, inputs, output);
    }
    let (element_type, quantization) = (computed.element_type, computed.quantization);
    let name = format!("{}/vector", view.node_name());
    let inner = importer.intermediate(name, vector, element_type, quantization);
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
}

impl ChannelScales {
    /// Of a convolution: `input scale * filter scale / output scale`, all in f64 (`PopulateConvolutionQuantizationParams`). `axis` is the filter's dimension of
    /// output channels.
    fn of_convolution(view: &View<'_, '_>, out_c: usize, axis: usize) -> Result<Self, Refusal> {
        let (input, output) = (quantization(view.input(0)?)?, quantization(view.output(0)?)?);
        let scales = filter_scales(view.input(1)?, out_c, axis)?;
        let real = |&scale: &f32| f64::from(input.scale) * f64::from(scale) / f64::from(output.scale);
        let mut real: Vec<f64> = scales.iter().map(real).collect();
        if let &[one] = real.as_slice() {
            real = vec![one; out_c];
        }
        Ok(Self { input, real })
    }

    /// Of a fully connected layer: with several scales as a convolution; with one, the product of input and filter scale is an f32
    /// (`GetQuantizedConvolutionMultipler`).
    fn of_fully_connected(view: &View<'_, '_>, out_c: usize) -> Result<Self, Refusal> {
        let (input, output) = (quantization(view.input(0)?)?, quantization(view.output(0)?)?);
        match filter_scales(view.input(1)?, out_c, 0)? {
            &[scale] => {
                let real = f64::from(input.scale * scale) / f64::from(output.scale);
                Ok(Self { input, real: vec![real; out_c] })
            }
            _ => Self::of_convolution(view, out_c, 0),
        }
    }

    /// The records of the output channels: biases with the input's zero point folded in, multipliers and shifts. `sums` are those of each channel's weights.
    fn records(&self, view: &View<'_, '_>, sums: Vec<i64>) -> Result<Vec<i32>, Refusal> {
        let biases = match view.optional_input(2) {
            Some(bias) => {
                has_elements(bias, self.real.len())?;
                constant::i32s(bias)?
            }
            None => vec![0; self.real.len()],
        };
        let mut records = Vec::with_capacity(self.real.len() * 3);
        for (channel, ((&bias, sum), &real)) in biases.iter().zip(sums).zip(&self.real).enumerate() {
            // A sum of fewer than 2^31 weights has 39 bits.
            let folded = i64::from(bias) - i64::from(self.input.zero_point) * sum;
            let folded = i32::try_from(folded).map_err(|_| {
                unsupported(format!("output channel {channel}: bias and zero point have more than 32 bits"))
            })?;
            let Multiplier { multiplier, shift } = Multiplier::from_real(real).ok_or_else(|| {
                unsupported(format!("output channel {channel}: its factor {real:e} is not below 2^30"))
            })?;
            records.extend([folded, multiplier, shift]);
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
