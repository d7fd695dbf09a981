//! int8 as far as nothing learns, f32 from there on.

use std::collections::BTreeSet;

use smidgen::ops::activation::Activation;
use smidgen::ops::int8::Channel;
use smidgen::ops::reduce::float::Reduction;
use smidgen::{ElementType, Quantization, Shape};

use super::PersonalizeError;
use crate::graph::{Elementwise, Graph, GraphOp, Node, Range, Reduce, ReduceKind, Role, TensorId, Value};

/// Turns every layer in which something learns, and all behind the first of them, into f32: weights are what the int8 ones stand for, and
/// a `dequantize` stands where the two parts meet. An int8 layer's parameters are `NAME/weights` and `NAME/bias` then.
///
/// # Errors
/// [`PersonalizeError::NoFloat`] for a layer behind that has no form in f32.
pub fn float_tail(graph: &Graph, learning: &BTreeSet<String>) -> Result<Graph, PersonalizeError> {
    let mut to = Graph::new(graph.name.clone());
    to.class_names.clone_from(&graph.class_names);
    let mut tail = Tail {
        from: graph,
        to,
        as_is: vec![None; graph.tensors.len()],
        float: vec![None; graph.tensors.len()],
    };
    for &input in &graph.inputs {
        let id = tail.keep(input);
        tail.to.inputs.push(id);
    }
    for node in &graph.nodes {
        let behind = node.inputs.iter().any(|id| tail.float[id.0].is_some() && tail.as_is[id.0].is_none());
        if learning.contains(&node.name) || behind {
            tail.float(node)?;
        } else {
            let inputs = node.inputs.iter().map(|&id| tail.keep(id)).collect();
            let output = tail.keep(node.output);
            tail.to.add_node(node.name.clone(), node.op.clone(), inputs, output);
        }
    }
    for &output in &graph.outputs {
        let id = match tail.float[output.0] {
            Some(id) => id,
            None => tail.keep(output),
        };
        tail.to.outputs.push(id);
    }
    let graph = tail.to.without_unused_nodes().without_unused_tensors();
    graph.validate().map_err(crate::compile::CompileError::from)?;
    Ok(graph)
}

struct Tail<'a> {
    from: &'a Graph,
    to: Graph,
    /// A tensor as it was, in the new graph.
    as_is: Vec<Option<TensorId>>,
    /// A tensor as f32. What is f32 anyway stands in one of both: here, if something behind it has to be f32.
    float: Vec<Option<TensorId>>,
}

impl Tail<'_> {
    fn keep(&mut self, id: TensorId) -> TensorId {
        *self.as_is[id.0].get_or_insert_with(|| self.to.add_tensor(self.from.tensor(id).clone()))
    }

    /// The f32 form of a tensor, dequantized where it is not f32.
    fn float_of(&mut self, id: TensorId) -> TensorId {
        if let Some(float) = self.float[id.0] {
            return float;
        }
        let kept = self.keep(id);
        let tensor = self.from.tensor(id);
        if tensor.element_type != ElementType::I8 || tensor.role != Role::Activation {
            return kept;
        }
        let name = format!("{}/dequantized", tensor.name);
        let float = self.to.add_activation(name.clone(), tensor.shape);
        self.to.add_node(name, GraphOp::Dequantize, vec![kept], float);
        self.float[id.0] = Some(float);
        float
    }

    fn float(&mut self, node: &Node) -> Result<(), PersonalizeError> {
        let output = self.from.tensor(node.output);
        let quantization = output.quantization;
        let fused = |range: &Range| quantization.map_or(Activation::None, |found| activation(*range, found));
        let op = match &node.op {
            // The same tensor in f32.
            GraphOp::Quantize | GraphOp::Dequantize => {
                self.float[node.output.0] = Some(self.float_of(node.inputs[0]));
                return Ok(());
            }
            GraphOp::Conv2dI8 { window, range } => {
                return self.layer(node, GraphOp::Conv2d { window: *window, activation: fused(range) });
            }
            GraphOp::DepthwiseConv2dI8 { window, range } => {
                return self
                    .layer(node, GraphOp::DepthwiseConv2d { window: *window, activation: fused(range) });
            }
            GraphOp::FullyConnectedI8 { range } => {
                return self.layer(node, GraphOp::FullyConnected { activation: fused(range) });
            }
            GraphOp::MaxPool2dI8 { window, .. } => GraphOp::MaxPool2d { window: *window },
            GraphOp::AveragePool2dI8 { window, .. } => GraphOp::AveragePool2d { window: *window },
            GraphOp::SoftmaxI8 { .. } => GraphOp::Softmax,
            GraphOp::AddI8 { range, .. } => GraphOp::Add { activation: fused(range) },
            GraphOp::Elementwise(Elementwise::WeightedSumI8(sum)) => {
                let limit = |limit: i32| limit.clamp(-128, 127) as i8;
                let [min, max] = sum.clamp;
                let activation = fused(&Range { min: limit(min), max: limit(max) });
                let [_, right] = sum.weights;
                if right < 0 {
                    GraphOp::Elementwise(Elementwise::Sub { activation })
                } else {
                    GraphOp::Add { activation }
                }
            }
            &GraphOp::Reduce(Reduce { kind: ReduceKind::SumI8 { mean, .. }, axes }) => {
                let kind = ReduceKind::Float(if mean { Reduction::Mean } else { Reduction::Sum });
                GraphOp::Reduce(Reduce { kind, axes })
            }
            other if output.element_type == ElementType::F32 && !matches!(other, GraphOp::Frozen(_)) => {
                other.clone()
            }
            GraphOp::Reshape => GraphOp::Reshape,
            other => {
                return Err(PersonalizeError::NoFloat { layer: node.name.clone(), operator: other.name() });
            }
        };
        let inputs = node.inputs.iter().map(|&id| self.float_of(id)).collect();
        self.push(node, op, inputs);
        Ok(())
    }

    fn push(&mut self, node: &Node, op: GraphOp, inputs: Vec<TensorId>) {
        let output = self.from.tensor(node.output);
        let id = self.to.add_activation(output.name.clone(), output.shape);
        self.to.add_node(node.name.clone(), op, inputs, id);
        self.float[node.output.0] = Some(id);
    }

    /// An int8 layer with weights.
    fn layer(&mut self, node: &Node, op: GraphOp) -> Result<(), PersonalizeError> {
        let no_float = || PersonalizeError::NoFloat { layer: node.name.clone(), operator: node.op.name() };
        let &[input, filter, channels] = node.inputs.as_slice() else { return Err(no_float()) };
        let quantization = |id: TensorId| self.from.tensor(id).quantization.ok_or_else(no_float);
        let (from, to) = (quantization(input)?, quantization(node.output)?);
        let (Some(Value::I8(weights)), Some(Value::I32(records))) =
            (&self.from.tensor(filter).value, &self.from.tensor(channels).value)
        else {
            return Err(no_float());
        };
        let shape = self.from.tensor(filter).shape;
        let records: Vec<Channel> =
            records.as_chunks().0.iter().map(|&words| Channel::from_words(words)).collect();
        let scales: Vec<f64> = records.iter().map(|record| weight_scale(record, from, to)).collect();
        // A depthwise filter has its output channels innermost already.
        let depthwise = matches!(op, GraphOp::DepthwiseConv2d { .. });
        let channel_count = records.len();
        let taps = weights.len() / channel_count.max(1);
        let mut values = vec![0.0; weights.len()];
        let mut sums = vec![0i64; channel_count];
        for channel in 0..channel_count {
            for tap in 0..taps {
                let place = tap * channel_count + channel;
                let weight = weights[if depthwise { place } else { channel * taps + tap }];
                sums[channel] += i64::from(weight);
                values[place] = (f64::from(weight) * scales[channel]) as f32;
            }
        }
        let bias = records.iter().zip(&sums).zip(&scales).map(|((record, sum), scale)| {
            let bias = i64::from(record.bias) + i64::from(from.zero_point) * sum;
            (bias as f64 * f64::from(from.scale) * scale) as f32
        });
        let bias = bias.collect();
        let shape = if depthwise {
            shape
        } else {
            let Shape([out_c, k_h, k_w, in_c]) = shape;
            Shape([k_h, k_w, in_c, out_c])
        };
        let name = &node.name;
        let weights = self.to.add_value(format!("{name}/weights"), shape, Role::Weights, Value::F32(values));
        let vector = Shape::vector(channel_count as u32);
        let bias = self.to.add_value(format!("{name}/bias"), vector, Role::Bias, Value::F32(bias));
        let input = self.float_of(input);
        self.push(node, op, vec![input, weights, bias]);
        Ok(())
    }
}

/// What a weight of 1 stands for: the multiplier is `input scale * weight scale / output scale`.
fn weight_scale(record: &Channel, from: Quantization, to: Quantization) -> f64 {
    let multiplier = record.multiplier;
    let factor = f64::from(multiplier.multiplier) / (1u64 << 31) as f64 * 2f64.powi(multiplier.shift);
    factor * f64::from(to.scale) / f64::from(from.scale)
}

/// The activation that an int8 output's clamp stands for. An end of the clamp that is an end of int8 as well only says that the numbers end there.
fn activation(range: Range, quantization: Quantization) -> Activation {
    let Quantization { scale, zero_point } = quantization;
    let real = |value: i8| (f32::from(value) - zero_point as f32) * scale;
    let is = |value: i8, expected: f32| (real(value) - expected).abs() < scale * 0.75;
    if is(range.min, 0.0) {
        if is(range.max, 6.0) { Activation::Relu6 } else { Activation::Relu }
    } else if range.min > i8::MIN && is(range.min, -1.0) && is(range.max, 1.0) {
        Activation::ReluN1To1
    } else {
        Activation::None
    }
}
