//! From a layer's description to its node, its parameters and the shape of its output.

use smidgen::Shape;
use smidgen::ops::activation::Activation;
use smidgen::ops::reduce::float::Reduction;
use smidgen::ops::resize_bilinear::Grid;
use smidgen::ops::{gru, lstm};

use super::{BinaryLayer, Kernel, Layer, Network, Padding, Sliding, layer_names, transposed};
use crate::graph::elementwise::Elementwise;
use crate::graph::error::Problem;
use crate::graph::movement::{Gather, Movement, MovementKind, nearest};
use crate::graph::op::GraphOp;
use crate::graph::reduce::{Reduce, ReduceKind, ResizeBilinear};
use crate::graph::structure::{Graph, Role, TensorId, Value};

/// A graph, as far as it has been built.
pub(super) struct Building {
    pub(super) graph: Graph,
    /// Where the next layer goes on.
    pub(super) at: TensorId,
    pub(super) taps: Vec<(String, TensorId)>,
}

impl Building {
    pub(super) fn new(network: &Network) -> Result<Self, Problem> {
        let mut graph = Graph::new(network.name.clone());
        let [height, width, channels] = network.input;
        let shape = to_shape([1, height, width, channels], "the smallest dimension of the input")?;
        let at = graph.add_activation("input", shape);
        graph.inputs.push(at);
        Ok(Self { graph, at, taps: Vec::new() })
    }

    pub(super) fn parameter(
        &mut self,
        layer: &str,
        kind: &str,
        shape: [usize; 4],
        role: Role,
    ) -> Result<TensorId, Problem> {
        let shape = to_shape(shape, "the smallest dimension of its weights")?;
        let elements = shape.elements().unwrap_or(0);
        let value = Value::F32(vec![0.0; elements]);
        Ok(self.graph.add_value(format!("{layer}/{kind}"), shape, role, value))
    }

    pub(super) fn node(&mut self, name: &str, op: GraphOp, inputs: Vec<TensorId>) -> Result<(), Problem> {
        let tensors: Vec<_> = inputs.iter().map(|&id| self.graph.tensor(id)).collect();
        let (shape, _) = op.output(&tensors)?;
        self.node_to(name, op, inputs, shape);
        Ok(())
    }

    pub(super) fn node_to(&mut self, name: &str, op: GraphOp, inputs: Vec<TensorId>, shape: Shape) {
        let output = self.graph.add_activation(name, shape);
        self.graph.add_node(name, op, inputs, output);
        self.at = output;
    }

    fn weighted(&mut self, name: &str, op: GraphOp, weights: [usize; 4], bias: bool) -> Result<(), Problem> {
        let out_c = if let GraphOp::TransposeConv { .. } = op { weights[2] } else { weights[3] };
        let mut inputs = vec![self.at, self.parameter(name, "weights", weights, Role::Weights)?];
        if bias {
            inputs.push(self.parameter(name, "bias", [1, 1, 1, out_c], Role::Bias)?);
        }
        self.node(name, op, inputs)
    }

    fn tapped(&self, tap: &str) -> Result<TensorId, Problem> {
        let found = self.taps.iter().find(|(name, _)| name == tap);
        let known = || self.taps.iter().map(|(name, _)| name.clone()).collect();
        found.map(|&(_, at)| at).ok_or_else(|| Problem::NoTap { tap: tap.to_owned(), known: known() })
    }

    /// Adds layers, with `prefix` before their names. An error has the name of its layer.
    pub(super) fn push_all(&mut self, layers: &[Layer], prefix: &str) -> Result<(), (String, Problem)> {
        for (index, (layer, name)) in layers.iter().zip(layer_names(layers)).enumerate() {
            let name = format!("{prefix}{name}");
            let bias = !matches!(layers.get(index + 1), Some(Layer::BatchNorm { .. }));
            self.push(layer, &name, bias).map_err(|problem| (name, problem))?;
        }
        Ok(())
    }

    /// Adds a layer by this name. `default_bias` says whether it has a bias if nothing was said about that.
    fn push(&mut self, layer: &Layer, name: &str, default_bias: bool) -> Result<(), Problem> {
        let input = self.graph.tensor(self.at).shape;
        let [_, height, width, in_c] = input.dims();
        let activation = Activation::None;
        match layer {
            Layer::Conv2d { filters, groups, sliding, bias } => {
                if *groups == 0 || !in_c.is_multiple_of(*groups) {
                    let (found, expected) = (*groups, "a divisor of the input's channels");
                    return Err(Problem::Number { what: "the number of groups", found, expected });
                }
                let op = GraphOp::Conv2d { window: sliding.window(input)?, activation };
                let weights = [sliding.kernel.y, sliding.kernel.x, in_c / groups, *filters];
                self.weighted(name, op, weights, bias.unwrap_or(default_bias))
            }
            Layer::DepthwiseConv2d { multiplier, sliding, bias } => {
                let op = GraphOp::DepthwiseConv2d { window: sliding.window(input)?, activation };
                let weights = [1, sliding.kernel.y, sliding.kernel.x, in_c.saturating_mul(*multiplier)];
                self.weighted(name, op, weights, bias.unwrap_or(default_bias))
            }
            Layer::TransposeConv { filters, sliding, bias } => {
                let (window, size) = transposed(sliding, input)?;
                let op = GraphOp::TransposeConv { window, size, activation };
                let weights = [sliding.kernel.y, sliding.kernel.x, *filters, in_c];
                self.weighted(name, op, weights, bias.unwrap_or(default_bias))
            }
            Layer::FullyConnected { units, bias } => {
                if height * width != 1 {
                    return Err(Problem::NotAVector { found: input });
                }
                let op = GraphOp::FullyConnected { activation };
                self.weighted(name, op, [1, 1, in_c, *units], bias.unwrap_or(default_bias))
            }
            Layer::Lstm { units } => {
                let columns = units.saturating_mul(lstm::GATES);
                let weights = self.parameter(name, "weights", [1, 1, in_c, columns], Role::Weights)?;
                let recurrent = self.parameter(name, "recurrent", [1, 1, *units, columns], Role::Weights)?;
                let bias = self.parameter(name, "bias", [1, 1, 1, columns], Role::Bias)?;
                let op = GraphOp::Lstm { time_major: false, cell_clip: 0.0 };
                self.node(name, op, vec![self.at, weights, recurrent, bias])
            }
            Layer::Gru { units } => {
                let columns = units.saturating_mul(gru::GATES);
                let op = GraphOp::FullyConnected { activation };
                self.weighted(&format!("{name}/gates"), op, [1, 1, in_c, columns], true)?;
                let recurrent = self.parameter(name, "recurrent", [1, 1, *units, columns], Role::Weights)?;
                let bias = self.parameter(name, "bias", [1, 1, 1, columns], Role::Bias)?;
                let op = GraphOp::Gru { time_major: false };
                self.node(&format!("{name}/states"), op, vec![self.at, recurrent, bias])
            }
            Layer::MaxPool2d(sliding) => {
                self.node(name, GraphOp::MaxPool2d { window: sliding.window(input)? }, vec![self.at])
            }
            Layer::AveragePool2d(sliding) => {
                self.node(name, GraphOp::AveragePool2d { window: sliding.window(input)? }, vec![self.at])
            }
            Layer::GlobalAveragePool2d => {
                let whole = Kernel { y: height, x: width };
                let window = Sliding::new(whole, 1.into(), Padding::Valid).window(input)?;
                self.node(name, GraphOp::AveragePool2d { window }, vec![self.at])
            }
            &Layer::BatchNorm { epsilon, momentum } => {
                let table = [1, 1, 2, in_c];
                let parameters = self.parameter(name, "parameters", table, Role::BatchNormParameters)?;
                let running = self.parameter(name, "running", table, Role::RunningStatistics)?;
                let op = GraphOp::BatchNorm { epsilon, momentum, activation };
                self.node(name, op, vec![self.at, parameters, running])
            }
            &Layer::Activation(activation) => {
                self.node(name, GraphOp::Activation { activation }, vec![self.at])
            }
            &Layer::Dropout(rate) => self.node(name, GraphOp::Dropout { rate }, vec![self.at]),
            Layer::Softmax => self.node(name, GraphOp::Softmax, vec![self.at]),
            Layer::LogSoftmax => self.node(name, GraphOp::LogSoftmax, vec![self.at]),
            &Layer::Reshape([out_h, out_w, out_c]) => self.reshape(name, [1, out_h, out_w, out_c]),
            Layer::Flatten => self.reshape(name, [1, 1, 1, height * width * in_c]),
            &Layer::Norm(norm) => self.norm(name, norm),
            &Layer::Maxout(pieces) => self.maxout(name, pieces),
            &Layer::ChannelShuffle(groups) => self.channel_shuffle(name, groups),
            &Layer::Block(block) => self.block(name, block),
            &Layer::Function(function) => {
                let op = GraphOp::Elementwise(Elementwise::Function { function });
                self.node(name, op, vec![self.at])
            }
            Layer::Prelu => {
                let alpha = self.parameter(name, "alpha", [1, 1, 1, in_c], Role::Bias)?;
                self.node(name, GraphOp::Elementwise(Elementwise::Prelu), vec![self.at, alpha])
            }
            Layer::Binary(layer, tap) => {
                let other = self.tapped(tap)?;
                let op = match layer {
                    BinaryLayer::Sub => Elementwise::Sub { activation },
                    BinaryLayer::Mul => Elementwise::Mul { activation },
                    BinaryLayer::Maximum => Elementwise::Maximum { activation },
                    BinaryLayer::Minimum => Elementwise::Minimum { activation },
                };
                self.node(name, GraphOp::Elementwise(op), vec![self.at, other])
            }
            Layer::Add(tap) => {
                let other = self.tapped(tap)?;
                self.node(name, GraphOp::Add { activation }, vec![self.at, other])
            }
            Layer::Concat(tap) => {
                let other = self.tapped(tap)?;
                let dims = [self.at, other].map(|id| self.graph.tensor(id).shape.dims().to_vec());
                let moved = Movement::concatenation(&dims, 3).ok_or(Problem::Shape {
                    what: "what it is joined with, but for the channels,",
                    found: self.graph.tensor(other).shape,
                    expected: input,
                })?;
                self.node(name, GraphOp::Movement(moved.0), vec![self.at, other])
            }
            &Layer::Pad { top, bottom, left, right } => {
                let amounts = [(0, 0), (top, bottom), (left, right), (0, 0)];
                let moved = Movement::pad(&input.dims(), &amounts, 0);
                let (moved, _) =
                    moved.ok_or(Problem::TooLarge { what: "the output, larger than", shape: input })?;
                self.node(name, GraphOp::Movement(moved), vec![self.at])
            }
            &Layer::Crop { top, bottom, left, right } => {
                let rest = |length: usize, before: usize, after: usize| {
                    let rest = length.checked_sub(before)?.checked_sub(after).filter(|&rest| rest > 0)?;
                    Some((i64::try_from(before).ok()?, 1, rest))
                };
                let (what, expected) = ("what is cut off", "less than the height and the width");
                let too_much = Problem::Number { what, found: (top + bottom).max(left + right), expected };
                let rows = rest(height, top, bottom).ok_or(too_much.clone())?;
                let columns = rest(width, left, right).ok_or(too_much.clone())?;
                let output = [1, rows.2, columns.2, in_c];
                let ranges = [(0, 1, 1), rows, columns, (0, 1, in_c)];
                let moved = Movement::slice(MovementKind::Slice, &input.dims(), &ranges, &output);
                self.node(name, GraphOp::Movement(moved.ok_or(too_much)?), vec![self.at])
            }
            &Layer::Upsample { scale, bilinear } => {
                let wanted = [1, height.saturating_mul(scale.y), width.saturating_mul(scale.x), in_c];
                let output = to_shape(wanted, "the smallest dimension of the output")?;
                let [_, out_h, out_w, _] = output.0;
                if bilinear {
                    let op =
                        ResizeBilinear { grid: Grid::HalfPixelCenters, output: [out_h, out_w], int8: false };
                    return self.node(name, GraphOp::ResizeBilinear(op), vec![self.at]);
                }
                let [rows, columns] = [(height, scale.y), (width, scale.x)]
                    .map(|(from, scale)| nearest(from, from * scale, false, false));
                let table = [rows, columns].concat();
                let shape = Shape::vector(table.len() as u32);
                let table =
                    self.graph.add_value(format!("{name}/table"), shape, Role::Constant, Value::I32(table));
                let op = Gather {
                    kind: MovementKind::ResizeNearestNeighbor,
                    axes: [true, true, false],
                    output: [out_h, out_w, in_c as u32],
                };
                self.node(name, GraphOp::Gather(op), vec![self.at, table])
            }
            &Layer::DepthToSpace(block) => {
                let moved = Movement::depth_and_space(input.dims(), block, true).ok_or(Problem::Number {
                    what: "the number of channels",
                    found: in_c,
                    expected: "a multiple of the square of the block",
                })?;
                self.node(name, GraphOp::Movement(moved.0), vec![self.at])
            }
            Layer::GlobalMaxPool2d => {
                let op = Reduce { kind: ReduceKind::Float(Reduction::Max), axes: [true, true, false] };
                self.node(name, GraphOp::Reduce(op), vec![self.at])
            }
            Layer::Tap(tap) => {
                if self.tapped(tap).is_ok() {
                    return Err(Problem::TapTwice { tap: tap.clone() });
                }
                self.taps.push((tap.clone(), self.at));
                Ok(())
            }
            Layer::From(tap) => {
                self.at = self.tapped(tap)?;
                Ok(())
            }
        }
    }
}

/// The dimensions as a shape, if they are one.
pub(super) fn to_shape(dimensions: [usize; 4], what: &'static str) -> Result<Shape, Problem> {
    if dimensions.contains(&0) {
        return Err(Problem::Number { what, found: 0, expected: "at least 1" });
    }
    let shape = Shape(dimensions.map(|dimension| u32::try_from(dimension).unwrap_or(u32::MAX)));
    if shape.elements().is_none() { Err(Problem::TooLarge { what, shape }) } else { Ok(shape) }
}
