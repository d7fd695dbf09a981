//! Batch norms become part of the weights before them.

use libm::sqrt;
use smidgen::Shape;
use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;

use crate::graph::{Graph, GraphOp, Node, NodeId, Role, TensorId, Value};

/// Merges each batch norm, with its running statistics, into the convolution or fully connected layer that computes its input, where
/// nothing else reads that and the layer has no activation of its own. Any other one becomes a depthwise convolution of one tap.
///
/// With `scale = gamma / sqrt(variance + epsilon)` the weights of an output channel become `scale * weights` and its bias
/// `beta + scale * (bias - mean)`, computed in f64. Inference only: the batch norm cannot be trained any more.
#[must_use]
pub fn fold_batch_norm(mut graph: Graph) -> Graph {
    let mut index = 0;
    while index < graph.nodes.len() {
        match Affine::of(&graph, &graph.nodes[index]) {
            Some(affine) if affine.fold(&mut graph, index).is_some() => {
                graph.nodes.remove(index);
            }
            Some(affine) => {
                affine.stand_alone(&mut graph, index);
                index += 1;
            }
            None => index += 1,
        }
    }
    graph.without_unused_tensors()
}

/// The layer that the batch norm with this index becomes part of, if it is one that can.
pub(super) fn layer_before(graph: &Graph, index: usize) -> Option<NodeId> {
    let node = &graph.nodes[index];
    let GraphOp::BatchNorm { .. } = node.op else { return None };
    let input = *node.inputs.first()?;
    let producer = graph.producer(input)?;
    if graph.only_consumer(input) != Some(NodeId(index)) {
        return None;
    }
    let layer = &graph.nodes[producer.0];
    let foldable = matches!(
        layer.op,
        GraphOp::Conv2d { .. }
            | GraphOp::DepthwiseConv2d { .. }
            | GraphOp::FullyConnected { .. }
            | GraphOp::TransposeConv { .. }
    );
    let owned = graph.only_consumer(*layer.inputs.get(1)?) == Some(producer);
    (foldable && owned && layer.op.activation() == Activation::None).then_some(producer)
}

/// What a batch norm does to each channel in inference: `scale * (x - mean) + beta`.
struct Affine {
    scale: Vec<f64>,
    mean: Vec<f64>,
    beta: Vec<f64>,
    activation: Activation,
}

impl Affine {
    /// That of a node, if it is a batch norm.
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let GraphOp::BatchNorm { epsilon, activation, .. } = node.op else { return None };
        let &[_, parameters, running] = node.inputs.as_slice() else { return None };
        let table = |id: TensorId| -> Option<(Vec<f64>, Vec<f64>)> {
            let values = graph.tensor(id).value.as_ref()?.as_f32()?;
            let (first, second) = values.split_at(values.len() / 2);
            let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
            Some((wide(first), wide(second)))
        };
        let ((gamma, beta), (mean, variance)) = (table(parameters)?, table(running)?);
        let scale = |(gamma, variance): (&f64, &f64)| gamma / sqrt(variance + f64::from(epsilon));
        let scale = gamma.iter().zip(&variance).map(scale).collect();
        Some(Self { scale, mean, beta, activation })
    }

    /// What is added, if `bias` has been added before.
    fn bias(&self, bias: &[f32]) -> Vec<f32> {
        let channels = self.beta.iter().zip(&self.scale).zip(self.mean.iter().zip(bias));
        channels
            .map(|((beta, scale), (mean, &bias))| (beta + scale * (f64::from(bias) - mean)) as f32)
            .collect()
    }

    fn fold(&self, graph: &mut Graph, index: usize) -> Option<()> {
        let NodeId(producer) = layer_before(graph, index)?;
        let output = graph.nodes[index].output;
        let layer = graph.nodes[producer].clone();
        let weights = layer.inputs.get(1).copied()?;
        let bias = match layer.inputs.get(2) {
            Some(&bias) => self.bias(graph.tensor(bias).value.as_ref()?.as_f32()?),
            None => self.bias(&vec![0.0; self.scale.len()]),
        };
        let filter = graph.tensor_mut(weights);
        // The output channel is innermost in f32 filters, but for those that have the input channel there.
        let neighbours =
            if let GraphOp::TransposeConv { .. } = layer.op { filter.shape.dims()[3] } else { 1 };
        let values = filter.value.as_mut()?.as_f32_mut()?;
        for (weights, scale) in values.chunks_exact_mut(neighbours.max(1)).zip(self.scale.iter().cycle()) {
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
        }
        let bias = add_bias(graph, &layer.name, bias);
        let layer = &mut graph.nodes[producer];
        layer.inputs.truncate(2);
        layer.inputs.push(bias);
        layer.output = output;
        *layer.op.activation_mut()? = self.activation;
        Some(())
    }

    fn stand_alone(&self, graph: &mut Graph, index: usize) {
        let name = graph.nodes[index].name.clone();
        let weights = Value::F32(self.scale.iter().map(|&scale| scale as f32).collect());
        let shape = Shape::vector(self.scale.len() as u32);
        let weights = graph.add_value(format!("{name}/weights"), shape, Role::Weights, weights);
        let bias = add_bias(graph, &name, self.bias(&vec![0.0; self.scale.len()]));
        let node = &mut graph.nodes[index];
        node.op = GraphOp::DepthwiseConv2d { window: Window::ONE, activation: self.activation };
        node.inputs.truncate(1);
        node.inputs.extend([weights, bias]);
    }
}

fn add_bias(graph: &mut Graph, layer: &str, bias: Vec<f32>) -> TensorId {
    let shape = Shape::vector(bias.len() as u32);
    graph.add_value(format!("{layer}/bias"), shape, Role::Bias, Value::F32(bias))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Initialization, Network};

    fn count(graph: &Graph, name: &str) -> usize {
        graph.nodes.iter().filter(|node| node.op.name() == name).count()
    }

    #[test]
    fn the_numbers_are_those_of_the_formula() {
        let network =
            Network::new("n", [1, 1, 1]).fully_connected(2).with_bias().batch_norm().epsilon(0.5).relu();
        let mut graph = network.build().unwrap();
        for (name, values) in [
            ("fully_connected_1/weights", vec![3.0, 5.0]),
            ("fully_connected_1/bias", vec![1.0, 2.0]),
            ("batch_norm_1/parameters", vec![2.0, 4.0, 0.25, 0.5]),
            ("batch_norm_1/running", vec![1.5, 0.0, 3.5, 15.5]),
        ] {
            let id = graph.find(name).unwrap();
            graph.tensor_mut(id).value = Some(Value::F32(values));
        }
        let folded = fold_batch_norm(graph);
        folded.validate().unwrap();
        assert_eq!(count(&folded, "batch_norm"), 0);
        let values = |name: &str| folded.tensor(folded.find(name).unwrap()).value.clone().unwrap();
        // Scales: 2 / sqrt(4) = 1 and 4 / sqrt(16) = 1.
        assert_eq!(values("fully_connected_1/weights"), Value::F32(vec![3.0, 5.0]));
        assert_eq!(values("fully_connected_1/bias"), Value::F32(vec![0.25 + (1.0 - 1.5), 0.5 + 2.0]));
        assert_eq!(folded.nodes[0].op.activation(), Activation::None);
    }

    #[test]
    fn a_fused_activation_moves_to_the_layer() {
        let network = Network::new("n", [4, 4, 2]).depthwise_conv_2d(3).batch_norm().relu();
        let folded = fold_batch_norm(super::super::fuse_activation(network.build().unwrap()));
        assert_eq!(folded.nodes.len(), 1);
        assert_eq!(folded.nodes[0].op.activation(), Activation::Relu);
    }

    #[test]
    fn a_batch_norm_that_cannot_be_folded_is_a_depthwise_convolution_of_one_tap() {
        let first = Network::new("n", [4, 4, 2]).batch_norm();
        let tapped = Network::new("n", [4, 4, 2]).conv_2d(2, 1).tap("raw").batch_norm().add("raw");
        let activated = Network::new("n", [4, 4, 2]).conv_2d(2, 1).relu().batch_norm();
        for network in [first, tapped, activated] {
            let mut graph = network.build().unwrap();
            graph.initialize(1, Initialization::HeUniform);
            let values = [2.0, 4.0, 0.25, 0.5];
            let parameters = graph.find("batch_norm_1/parameters").unwrap();
            graph.tensor_mut(parameters).value = Some(Value::F32(values.to_vec()));
            let running = graph.find("batch_norm_1/running").unwrap();
            graph.tensor_mut(running).value = Some(Value::F32(vec![1.5, 3.0, 0.999, 15.999]));
            let folded = fold_batch_norm(super::super::fuse_activation(graph));
            folded.validate().unwrap();
            assert_eq!((count(&folded, "batch_norm"), count(&folded, "depthwise_conv_2d")), (0, 1));
            let value = |name: &str| folded.tensor(folded.find(name).unwrap()).value.clone().unwrap();
            // Scales: 2 / sqrt(1) and 4 / sqrt(16).
            assert_eq!(value("batch_norm_1/weights"), Value::F32(vec![2.0, 1.0]));
            assert_eq!(value("batch_norm_1/bias"), Value::F32(vec![0.25 - 3.0, 0.5 - 3.0]));
        }
    }
}
