//! Quantization-aware training: a float graph that computes what its int8 graph would.

use smidgen::Shape;

use super::{NamedRanges, RealRange, keeps_quantization, split_leaky_relu};
use crate::compile::fold_batch_norm::layer_before;
use crate::graph::{Graph, GraphOp, Node, NodeId, RangeSource, Role, TensorId, Value};

/// What of a graph is simulated, and where the ranges come from.
#[derive(Clone, Copy, Debug)]
pub struct Simulation<'a> {
    /// The ranges to begin with, by the names of the tensors of the graph with its batch norms folded.
    pub ranges: &'a NamedRanges,
    /// What becomes of the ranges in training. An input's range stays.
    pub source: RangeSource,
    /// Only these layers' weights and outputs, by the names of the layers with weights or of those without (`"input"` for the inputs); all
    /// without it.
    pub only: Option<&'a str>,
}

/// Adds fake quantization to a graph whose activations are fused, and whose batch norms may be folded or not: of weights, with a scale for each output
/// channel, and of each activation that has a range.
///
/// Between a layer and the batch norm that will be folded into it nothing is quantized, as nothing will be there in int8. The batch norm's factor
/// changes all weights of an output channel alike, and the scale with them: the integers that the folded weights become are those that the
/// weights before it become. So that to fold is simulated without folding, and the batch norm trains on.
///
/// Tensors keep their names and ids; what was computed under a name is now `NAME/exact`, the range of `NAME` is `NAME/range`.
#[must_use]
pub fn simulate(graph: &Graph, simulation: &Simulation<'_>) -> Graph {
    let mut source = split_leaky_relu(graph);
    name_as_folded(&mut source);
    let none = vec![None; source.tensors.len()];
    let mut made = Simulator {
        simulation,
        origins: none.clone(),
        ranges: none,
        source: &source,
        target: source.clone(),
    };
    made.target.nodes.clear();
    made.run();
    made.target
}

/// The ranges of a simulated graph, by the names of the tensors that they are of.
pub fn learned_ranges(graph: &Graph) -> NamedRanges {
    let range = |tensor: &crate::graph::Tensor| {
        let name = tensor.name.strip_suffix("/range")?;
        let &[min, max] = tensor.value.as_ref()?.as_f32()? else { return None };
        // As far as fake quantization looks at it.
        Some((name.to_owned(), RealRange { min: min.min(0.0), max: max.max(0.0) }))
    };
    graph.tensors.iter().filter_map(range).collect()
}

/// What a leaky `ReLU` was split from has the name of the layer that it will be part of.
fn name_as_folded(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Some(NodeId(layer)) = layer_before(graph, index) else { continue };
        let (output, name) = (graph.nodes[index].output, graph.nodes[layer].name.clone());
        if graph.tensor(output).name == format!("{}/linear", graph.nodes[index].name) {
            graph.tensor_mut(output).name = format!("{name}/linear");
        }
    }
}

struct Simulator<'a> {
    simulation: &'a Simulation<'a>,
    source: &'a Graph,
    target: Graph,
    /// For each tensor with a range, the one that it has it from: itself, if nothing before it.
    origins: Vec<Option<TensorId>>,
    /// The tensors of the ranges that there are, by what they are the ranges of.
    ranges: Vec<Option<TensorId>>,
}

impl Simulator<'_> {
    fn run(&mut self) {
        let mut inputs = Vec::new();
        for &input in &self.source.inputs {
            self.origins[input.0] = Some(input);
            if self.is_chosen("input")
                && let Some(range) = self.range(input, RangeSource::Given)
            {
                let tensor = self.source.tensor(input);
                let quantized =
                    self.target.add_activation(format!("{}/quantized", tensor.name), tensor.shape);
                self.push_fake(
                    format!("{}/fake_quantize", tensor.name),
                    input,
                    range,
                    RangeSource::Given,
                    quantized,
                );
                inputs.push((input, quantized));
            }
        }
        for (index, node) in self.source.nodes.iter().enumerate() {
            let mut node = node.clone();
            for (input, quantized) in &inputs {
                node.inputs.iter_mut().filter(|id| *id == input).for_each(|id| *id = *quantized);
            }
            self.node(index, node);
        }
    }

    fn node(&mut self, index: usize, mut node: Node) {
        let layer = match layer_before(self.source, index) {
            Some(NodeId(layer)) => self.source.nodes[layer].name.clone(),
            None => node.name.clone(),
        };
        let chosen = self.is_chosen(&layer);
        if chosen {
            self.weights(&mut node);
        }
        let output = node.output;
        let keeps = keeps_quantization(&node.op) || matches!(node.op, GraphOp::Dropout { .. });
        let before = node.inputs.first().and_then(|id| self.origins.get(id.0).copied().flatten());
        self.origins[output.0] = if keeps { before } else { Some(output) };
        let source = if keeps { RangeSource::Given } else { self.simulation.source };
        // What only picks or moves elements of int8 has nothing to round.
        let rounds = match node.op {
            GraphOp::AveragePool2d { .. } | GraphOp::ResizeBilinear(_) => true,
            GraphOp::Softmax | GraphOp::LogSoftmax => false,
            _ => !keeps && !self.is_folded(output),
        };
        let origin = self.origins[output.0].filter(|_| rounds && chosen);
        let fake = origin.and_then(|origin| Some((self.range(origin, source)?, source)));
        let name = node.name.clone();
        let Some((range, source)) = fake else {
            self.target.nodes.push(node);
            return;
        };
        let tensor = self.source.tensor(output);
        let exact = self.target.add_activation(format!("{}/exact", tensor.name), tensor.shape);
        node.output = exact;
        self.target.nodes.push(node);
        self.push_fake(format!("{name}/fake_quantize"), exact, range, source, output);
    }

    /// Quantizes the weights of a layer that has some.
    fn weights(&mut self, node: &mut Node) {
        let transposed = match node.op {
            GraphOp::Conv2d { .. } | GraphOp::DepthwiseConv2d { .. } | GraphOp::FullyConnected { .. } => {
                false
            }
            GraphOp::TransposeConv { .. } => true,
            _ => return,
        };
        let Some(weights) = node.inputs.get_mut(1) else { return };
        let tensor = self.source.tensor(*weights);
        if tensor.role != Role::Weights {
            return;
        }
        let quantized = self.target.add_activation(format!("{}/quantized", tensor.name), tensor.shape);
        let op = GraphOp::FakeQuantizeWeights { transposed };
        self.target.add_node(format!("{}/fake_quantize", tensor.name), op, vec![*weights], quantized);
        *weights = quantized;
    }

    /// Whether a batch norm follows that will be folded into what computes the tensor.
    fn is_folded(&self, id: TensorId) -> bool {
        let folds = |NodeId(node)| layer_before(self.source, node).is_some();
        self.source.only_consumer(id).is_some_and(folds)
    }

    fn is_chosen(&self, layer: &str) -> bool {
        self.simulation.only.is_none_or(|only| only == layer)
    }

    /// The tensor of the range of an activation, if that has one.
    fn range(&mut self, id: TensorId, source: RangeSource) -> Option<TensorId> {
        if let Some(range) = self.ranges[id.0] {
            return Some(range);
        }
        let name = &self.source.tensor(id).name;
        let RealRange { min, max } = *self.simulation.ranges.get(name)?;
        let role = match source {
            RangeSource::Learned => Role::Bias,
            RangeSource::Given | RangeSource::Averaged { .. } => Role::RunningStatistics,
        };
        let value = Value::F32(vec![min, max]);
        let range = self.target.add_value(format!("{name}/range"), Shape::vector(2), role, value);
        self.ranges[id.0] = Some(range);
        Some(range)
    }

    fn push_fake(
        &mut self,
        name: String,
        input: TensorId,
        range: TensorId,
        source: RangeSource,
        output: TensorId,
    ) {
        self.target.add_node(name, GraphOp::FakeQuantize { range: source }, vec![input, range], output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::calibrate::{GraphRun, calibrate};
    use crate::compile::quantize::{Options, Ranges, quantize};
    use crate::compile::{fold_batch_norm, fuse_activation, remove_dropout};
    use crate::graph::Network;
    use crate::recipe;

    fn fill(sample: usize, input: &mut [f32]) {
        input.iter_mut().enumerate().for_each(|(i, x)| *x = ((sample * 13 + i * 5) as f32 * 0.7).sin());
    }

    /// A network with all that matters, its batch norms not the identity.
    fn network() -> Graph {
        let network = Network::new("n", [8, 8, 3]).conv_2d(6, 3).stride(2).batch_norm().relu().tap("a");
        let network = network.depthwise_conv_2d(3).batch_norm().leaky_relu(0.2).conv_2d(6, 1).batch_norm();
        let network = network.add("a").relu().dropout(0.1).average_pool_2d(2).flatten().fully_connected(4);
        let mut graph = network.seed(4).build().unwrap();
        for tensor in &mut graph.tensors {
            let shift = match tensor.role {
                Role::BatchNormParameters => -1.6,
                Role::RunningStatistics => 0.3,
                _ => continue,
            };
            let values = tensor.value.as_mut().unwrap().as_f32_mut().unwrap();
            let half = values.len() / 2;
            for (index, value) in values.iter_mut().enumerate() {
                // Factors of both signs.
                let sign = if index % 3 == 0 && index < half { shift } else { 0.1 * (index as f32).cos() };
                *value += sign;
            }
        }
        fuse_activation(graph)
    }

    fn folded(graph: &Graph) -> Graph {
        fuse_activation(fold_batch_norm(remove_dropout(graph.clone())))
    }

    #[test]
    fn it_computes_what_the_int8_graph_does() {
        let graph = network();
        let float = split_leaky_relu(&folded(&graph));
        let ranges =
            calibrate(&float, &recipe::Quantization::default(), 30, &mut fill).unwrap().by_name(&float);
        let int8 = quantize(&float, &Ranges::of_names(&float, &ranges), Options::default()).unwrap();
        for source in [&graph, &float] {
            let simulation = Simulation { ranges: &ranges, source: RangeSource::Given, only: None };
            let simulated = simulate(&remove_dropout(source.clone()), &simulation);
            simulated.validate().unwrap();
            let (mut exact, mut integers) =
                (GraphRun::new(&simulated).unwrap(), GraphRun::new(&int8).unwrap());
            let input = int8.tensor(int8.inputs[0]).quantization.unwrap();
            for sample in 30..60 {
                let place = exact.activation_mut::<f32>(simulated.inputs[0]);
                fill(sample, place);
                let bytes: Vec<i8> = place.iter().map(|&value| input.quantize(value)).collect();
                integers.activation_mut::<i8>(int8.inputs[0]).copy_from_slice(&bytes);
                exact.run();
                integers.run();
                for node in &int8.nodes {
                    let tensor = int8.tensor(node.output);
                    let quantization = tensor.quantization.unwrap();
                    let Some(id) = simulated.find(&tensor.name) else { continue };
                    let exact = exact.activation::<f32>(id).iter();
                    for (&exact, &found) in exact.zip(integers.activation::<i8>(node.output)) {
                        // A tie that f32 sums decide otherwise is a step, which the layers behind it see.
                        let distance = quantization.quantize(exact).abs_diff(found);
                        assert!(distance <= 3, "{}: {distance} steps", node.name);
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_have_the_names_that_quantizing_asks_for() {
        let graph = network();
        let float = split_leaky_relu(&folded(&graph));
        let ranges =
            calibrate(&float, &recipe::Quantization::default(), 5, &mut fill).unwrap().by_name(&float);
        for source in [RangeSource::Learned, RangeSource::Averaged { share: 0.1 }] {
            let simulated = simulate(&graph, &Simulation { ranges: &ranges, source, only: None });
            simulated.validate().unwrap();
            let learned = learned_ranges(&simulated);
            assert!(learned.iter().all(|(name, range)| ranges[name].max.max(0.0) == range.max));
            quantize(&float, &Ranges::of_names(&float, &learned), Options::default()).unwrap();
            // The pool's steps are the sum's, which dropout keeps.
            let pool =
                simulated.nodes.iter().find(|node| node.name == "average_pool_2d_1/fake_quantize").unwrap();
            assert_eq!(pool.op, GraphOp::FakeQuantize { range: RangeSource::Given });
            assert_eq!(simulated.tensor(pool.inputs[1]).name, "relu_2/range");
        }
    }

    #[test]
    fn one_layer_alone_can_be_quantized() {
        let float = split_leaky_relu(&folded(&network()));
        let ranges =
            calibrate(&float, &recipe::Quantization::default(), 5, &mut fill).unwrap().by_name(&float);
        let fakes = |only| {
            let simulated =
                simulate(&float, &Simulation { ranges: &ranges, source: RangeSource::Given, only });
            simulated.validate().unwrap();
            let fake = |node: &&Node| node.op.name().starts_with("fake_quantize");
            simulated.nodes.iter().filter(fake).map(|node| node.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fakes(Some("input")), ["input/fake_quantize"]);
        assert_eq!(fakes(Some("conv_2d_1")), ["conv_2d_1/weights/fake_quantize", "conv_2d_1/fake_quantize"]);
        assert_eq!(fakes(Some("average_pool_2d_1")), ["average_pool_2d_1/fake_quantize"]);
        assert!(fakes(Some("flatten_1")).is_empty() && fakes(None).len() > 8);
    }
}
