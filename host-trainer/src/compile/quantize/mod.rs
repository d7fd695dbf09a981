//! Quantization: from a float graph and the ranges of its activations to an int8 graph.
//!
//! The scheme is TensorFlow Lite's 8-bit quantization specification; `docs/quantization.md` has its formulas. The rules for activations
//! are in [`RealRange::quantization`], those for weights in `weights.rs`.

mod aware;
mod correct_bias;
mod elementwise;
mod equalize;
mod error;
mod movement;
mod range;
mod recurrent;
mod sensitivity;
mod split;
#[cfg(test)]
mod tests;
mod weights;

use smidgen::ops::add::int8::AddI8;
use smidgen::ops::int8::OutputRange;
use smidgen::ops::log_softmax::int8::{LogSoftmaxI8, OUTPUT as LOG_SOFTMAX_OUTPUT};
use smidgen::ops::softmax::int8::{OUTPUT as SOFTMAX_OUTPUT, SoftmaxI8};
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, Quantization, Shape};

use crate::compile::calibrate::calibrate;
use crate::graph::{
    Graph, GraphOp, Node, Range, Reduce, ReduceKind, ResizeBilinear, Role, Tensor, TensorId, Value,
};
use crate::int8::{TableFunction, table};
use crate::recipe;

pub use aware::{Simulation, learned_ranges, simulate};
pub use correct_bias::correct_bias;
pub use equalize::equalize;
pub use error::QuantizeError;
use movement::{keeps_quantization_moving, reduce_i8};
pub use range::{NamedRanges, Ranges, RealRange};
pub use sensitivity::{LayerSensitivity, Sensitivity, Truth, pixel_classes, sensitivity};
pub use split::split_leaky_relu;
use weights::{QuantizedChannel, quantize_channel, quantize_plain_channel};

/// What can be chosen about an int8 graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether inputs and outputs are f32, with a `quantize` behind each input and a `dequantize` before each output. Otherwise they are
    /// int8, and the caller quantizes.
    pub float_io: bool,
}

/// Quantizes a trained float graph whose batch norms are folded: splits fused leaky `ReLU`s, [`calibrate`]s on `count` samples (of which it takes
/// as many as the settings say, evenly spread) and [`quantize`]s. `fill` writes the sample with this index.
///
/// # Errors
/// See [`QuantizeError`].
pub fn post_training(
    graph: &Graph,
    settings: &recipe::Quantization,
    options: Options,
    count: usize,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<Graph, QuantizeError> {
    let graph = split_leaky_relu(graph);
    let ranges = calibrate(&graph, settings, count, fill)?;
    quantize(&graph, &ranges, options)
}

/// The int8 graph of a float graph, with the ranges of its activations.
///
/// Pools and reshapes keep the quantization of their input, a softmax and its logarithm have their own; every other activation needs a range. Names of layers and
/// activations stay.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize(graph: &Graph, ranges: &Ranges, options: Options) -> Result<Graph, QuantizeError> {
    graph.validate()?;
    let ranges = &movement::shared_ranges(graph, ranges);
    let mut quantizer = Quantizer {
        source: graph,
        ranges,
        target: Graph::new(graph.name.clone()),
        activations: vec![None; graph.tensors.len()],
    };
    quantizer.target.class_names.clone_from(&graph.class_names);
    for &input in &graph.inputs {
        quantizer.input(input, options)?;
    }
    for node in &graph.nodes {
        quantizer.node(node)?;
    }
    for &output in &graph.outputs {
        quantizer.output(output, options)?;
    }
    let quantized = quantizer.target.without_unused_tensors();
    quantized.validate()?;
    Ok(quantized)
}

/// An int8 activation of the target.
#[derive(Clone, Copy)]
struct Activated {
    id: TensorId,
    quantization: Quantization,
}

struct Quantizer<'g> {
    source: &'g Graph,
    ranges: &'g Ranges,
    target: Graph,
    /// What became of the source's activations.
    activations: Vec<Option<Activated>>,
}

impl Quantizer<'_> {
    fn input(&mut self, id: TensorId, options: Options) -> Result<(), QuantizeError> {
        let quantization = self.calibrated(id)?;
        let Tensor { name, shape, .. } = self.source.tensor(id).clone();
        if options.float_io {
            let outer = self.target.add_activation(name.clone(), shape);
            let inner = self.activation(id, format!("{name}/quantized"), quantization);
            self.target.inputs.push(outer);
            self.target.add_node(format!("{name}/quantize"), GraphOp::Quantize, vec![outer], inner);
        } else {
            let inner = self.activation(id, name, quantization);
            self.target.inputs.push(inner);
        }
        Ok(())
    }

    fn output(&mut self, id: TensorId, options: Options) -> Result<(), QuantizeError> {
        let Activated { id: inner, .. } = self.quantized(id)?;
        if options.float_io && self.target.tensor(inner).element_type == ElementType::I8 {
            let Tensor { name, shape, .. } = self.source.tensor(id);
            let outer = self.target.add_activation(format!("{name}/real"), *shape);
            self.target.add_node(format!("{name}/dequantize"), GraphOp::Dequantize, vec![inner], outer);
            self.target.outputs.push(outer);
        } else {
            self.target.outputs.push(inner);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), QuantizeError> {
        let unsupported = |advice| QuantizeError::Unsupported {
            layer: node.name.clone(),
            operator: node.op.name(),
            advice,
        };
        if let GraphOp::Elementwise(operator) = &node.op {
            return self.elementwise(node, operator);
        }
        let input = match node.inputs.first() {
            Some(_) => self.side(node, 0)?,
            None => return Err(unsupported("it reads nothing")),
        };
        if let GraphOp::Movement(movement) = &node.op {
            return self.movement(node, movement);
        }
        if let GraphOp::Reduce(Reduce { kind: ReduceKind::ArgMax { .. }, .. }) = node.op {
            return self.arg_max(node, input);
        }
        let output = match node.op {
            GraphOp::Softmax => SOFTMAX_OUTPUT,
            GraphOp::LogSoftmax => LOG_SOFTMAX_OUTPUT,
            _ if keeps_quantization(&node.op) => input.quantization,
            // Said before a missing range, which such a layer has not been asked for.
            GraphOp::BatchNorm { .. } => return Err(unsupported("fold it into the convolution before it")),
            _ => self.calibrated(node.output)?,
        };
        let clamp = |activation| {
            let range = OutputRange::of(activation, output)
                .ok_or_else(|| unsupported("split its leaky ReLU from it before the calibration"))?;
            Ok::<_, QuantizeError>(to_range(range))
        };
        let mut inputs = vec![input.id];
        let op = match node.op {
            GraphOp::Conv2d { window, activation } => {
                let range = clamp(activation)?;
                inputs.extend(self.weighted(node, input.quantization, output)?);
                GraphOp::Conv2dI8 { window, range }
            }
            GraphOp::DepthwiseConv2d { window, activation } => {
                let range = clamp(activation)?;
                inputs.extend(self.weighted(node, input.quantization, output)?);
                GraphOp::DepthwiseConv2dI8 { window, range }
            }
            GraphOp::FullyConnected { activation } => {
                let range = clamp(activation)?;
                inputs.extend(self.weighted(node, input.quantization, output)?);
                GraphOp::FullyConnectedI8 { range }
            }
            GraphOp::TransposeConv { window, size, activation } => {
                if [window.y.dilation, window.x.dilation] != [1, 1] {
                    return Err(unsupported("its window is dilated, which only its f32 form can be"));
                }
                let range = clamp(activation)?;
                inputs.extend(self.weighted(node, input.quantization, output)?);
                GraphOp::TransposeConvI8 { window, size, range }
            }
            GraphOp::MaxPool2d { window } => GraphOp::MaxPool2dI8 { window, range: Range::FULL },
            GraphOp::AveragePool2d { window } => GraphOp::AveragePool2dI8 { window, range: Range::FULL },
            GraphOp::Reshape => GraphOp::Reshape,
            GraphOp::Gather(gather) => {
                inputs.push(self.table(node)?);
                GraphOp::Gather(gather)
            }
            GraphOp::ResizeBilinear(resize) => {
                GraphOp::ResizeBilinear(ResizeBilinear { int8: true, ..resize })
            }
            GraphOp::Reduce(Reduce { kind: ReduceKind::Float(reduction), axes }) => {
                let shape = self.source.tensor(node.inputs[0]).shape;
                GraphOp::Reduce(
                    reduce_i8(reduction, axes, shape, input.quantization, output)
                        .ok_or_else(|| too_small(node, output.scale))?,
                )
            }
            GraphOp::Softmax => {
                let scale = input.quantization.scale;
                let SoftmaxI8 { input_multiplier: multiplier, input_left_shift: shift, difference_min } =
                    SoftmaxI8::new(scale).ok_or_else(|| too_small(node, scale))?;
                GraphOp::SoftmaxI8 {
                    input: Multiplier { multiplier, shift },
                    smallest_difference: difference_min,
                }
            }
            GraphOp::LogSoftmax => {
                let scale = input.quantization.scale;
                let LogSoftmaxI8 { differences, reverse } =
                    LogSoftmaxI8::new(scale).ok_or_else(|| too_small(node, scale))?;
                let SoftmaxI8 { input_multiplier: multiplier, input_left_shift: shift, difference_min } =
                    differences;
                GraphOp::LogSoftmaxI8 {
                    input: Multiplier { multiplier, shift },
                    smallest_difference: difference_min,
                    reverse,
                }
            }
            GraphOp::Activation { activation } => {
                let table = table(TableFunction::Activation(activation), input.quantization, output)
                    .ok_or_else(|| too_small(node, output.scale))?;
                let shape = Shape::vector(table.len() as u32);
                inputs.push(self.constant(node, "table", shape, Value::I8(table.to_vec())));
                GraphOp::LookupI8
            }
            GraphOp::Add { activation } => {
                let range = clamp(activation)?;
                let right = match node.inputs.get(1) {
                    Some(_) => self.side(node, 1)?,
                    None => return Err(unsupported("it reads one tensor only")),
                };
                let sum = AddI8::new(input.quantization, right.quantization, output, activation)
                    .ok_or_else(|| too_small(node, output.scale))?;
                inputs.push(right.id);
                let [left, right] = sum.multipliers;
                let left_shift = sum.left_shift.cast_signed();
                GraphOp::AddI8 { left_shift, left, right, output: sum.output_multiplier, range }
            }
            GraphOp::Lstm { time_major, cell_clip } if node.updates.is_empty() => {
                let (op, constants) = self.lstm(node, input, (time_major, cell_clip), output)?;
                inputs = constants;
                op
            }
            GraphOp::Gru { time_major } if node.updates.is_empty() => {
                let (op, constants) = self.gru(node, input, time_major, output)?;
                inputs = constants;
                op
            }
            GraphOp::Lstm { .. } | GraphOp::Gru { .. } => {
                return Err(unsupported("its state goes on from run to run"));
            }
            _ => return Err(unsupported("quantize a graph of f32 operators")),
        };
        let name = self.source.tensor(node.output).name.clone();
        let id = self.activation(node.output, name, output);
        self.target.add_node(node.name.clone(), op, inputs, id);
        Ok(())
    }

    /// The constants of a convolution or a fully connected layer: weights and channels.
    fn weighted(
        &mut self,
        node: &Node,
        input: Quantization,
        output: Quantization,
    ) -> Result<[TensorId; 2], QuantizeError> {
        let filter = node.inputs[1];
        let weights = self.finite(filter)?;
        let [a, b, c, d] = self.source.tensor(filter).shape.dims();
        // The output channel is innermost in f32 filters, but for those that have the input channel there.
        let (transposed, depthwise) = match node.op {
            GraphOp::TransposeConv { .. } => (true, false),
            GraphOp::DepthwiseConv2d { .. } => (false, true),
            _ => (false, false),
        };
        let (out_c, neighbours) = if transposed { (c, d) } else { (d, 1) };
        let bias = match node.inputs.get(2) {
            Some(&bias) => self.finite(bias)?.to_vec(),
            None => vec![0.0; out_c],
        };
        let channels: Option<Vec<QuantizedChannel>> = bias
            .iter()
            .enumerate()
            .map(|(channel, &bias)| {
                let of_channel = weights.chunks_exact(neighbours.max(1)).skip(channel).step_by(out_c);
                let weights: Vec<f32> = of_channel.flatten().copied().collect();
                let quantize = if transposed { quantize_plain_channel } else { quantize_channel };
                quantize(&weights, bias, input, output)
            })
            .collect();
        let channels = channels.ok_or_else(|| too_small(node, output.scale))?;
        let records = channels.iter().flat_map(|channel| channel.record.words()).collect();
        let per_channel = weights.len() / out_c.max(1);
        let (shape, integers) = if depthwise {
            let tap = |tap: usize| channels.iter().map(move |channel| channel.weights[tap]);
            ([1, b, c, out_c], (0..per_channel).flat_map(tap).collect())
        } else {
            let in_c = if transposed { d } else { c };
            let integers = channels.iter().flat_map(|channel| channel.weights.iter().copied()).collect();
            ([out_c, a, b, in_c], integers)
        };
        let shape = Shape(shape.map(|dimension| dimension as u32));
        let records_shape = Shape([1, 1, out_c as u32, 3]);
        Ok([
            self.constant(node, "weights", shape, Value::I8(integers)),
            self.constant(node, "channels", records_shape, Value::I32(records)),
        ])
    }

    fn constant(&mut self, node: &Node, kind: &str, shape: Shape, value: Value) -> TensorId {
        self.target.add_value(format!("{}/{kind}", node.name), shape, Role::Constant, value)
    }

    /// The finite elements of an f32 constant.
    fn finite(&self, id: TensorId) -> Result<&[f32], QuantizeError> {
        let tensor = self.source.tensor(id);
        let values = tensor.value.as_ref().and_then(Value::as_f32);
        let finite = values.filter(|values| values.iter().all(|value| value.is_finite()));
        finite.ok_or_else(|| QuantizeError::NotFinite { tensor: tensor.name.clone() })
    }

    fn calibrated(&self, id: TensorId) -> Result<Quantization, QuantizeError> {
        let range = self.ranges.get(id).filter(|range| range.is_valid());
        let no_range = || QuantizeError::NoRange { tensor: self.source.tensor(id).name.clone() };
        Ok(range.ok_or_else(no_range)?.quantization())
    }

    fn quantized(&self, id: TensorId) -> Result<Activated, QuantizeError> {
        let not_finite = || QuantizeError::NotFinite { tensor: self.source.tensor(id).name.clone() };
        self.activations[id.0].ok_or_else(not_finite)
    }

    /// Adds the int8 activation that `source` becomes.
    fn activation(&mut self, source: TensorId, name: String, quantization: Quantization) -> TensorId {
        let id = self.target.add_tensor(Tensor {
            name,
            shape: self.source.tensor(source).shape,
            element_type: ElementType::I8,
            quantization: Some(quantization),
            role: Role::Activation,
            value: None,
        });
        self.activations[source.0] = Some(Activated { id, quantization });
        id
    }
}

fn too_small(node: &Node, scale: f32) -> QuantizeError {
    QuantizeError::Scale { layer: node.name.clone(), scale }
}

fn to_range(range: OutputRange) -> Range {
    // `OutputRange` keeps both in -128..=127.
    Range { min: range.clamp(i32::from(i8::MIN)), max: range.clamp(i32::from(i8::MAX)) }
}

/// Whether the output of an operator has the quantization of its input.
pub(super) fn keeps_quantization(op: &GraphOp) -> bool {
    match op {
        GraphOp::MaxPool2d { .. }
        | GraphOp::AveragePool2d { .. }
        | GraphOp::Reshape
        | GraphOp::Gather(_)
        | GraphOp::ResizeBilinear(_) => true,
        GraphOp::Movement(movement) => keeps_quantization_moving(movement),
        GraphOp::Reduce(reduce) => matches!(reduce.kind, ReduceKind::Float(kind) if kind.is_extreme()),
        _ => false,
    }
}
