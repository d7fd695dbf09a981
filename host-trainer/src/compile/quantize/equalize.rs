//! Cross-layer equalisation: weights of neighbouring layers share their range evenly, without changing what the network computes.

use crate::graph::{Graph, GraphOp, NodeId, Role, TensorId};
use smidgen::Shape;
use smidgen::ops::activation::Activation;

/// Passes over the network at most; each halves the imbalance that longer chains leave.
const PASSES: usize = 20;
/// A pass whose factors are all nearer to 1 is the last.
const NEAR: f64 = 1e-3;
/// The greatest factor, and one over the smallest.
const LARGEST_FACTOR: f64 = 1e4;

/// Scales the output channels of each layer with weights, and the input channels of the one behind it by the inverse, so that for every channel both
/// have weights of the same greatest magnitude (Nagel et al. 2019, `arXiv:1906.04721`, section 4.1). Gives the number of pairs of layers.
///
/// For graphs whose batch norms are folded and activations fused. Between the two layers there may be what commutes with a positive factor for each
/// channel: ReLU and leaky ReLU, pools, reshapes; nothing else may read what lies between.
pub fn equalize(graph: &mut Graph) -> usize {
    let pairs: Vec<(usize, usize)> = (0..graph.nodes.len()).filter_map(|first| pair(graph, first)).collect();
    for _ in 0..PASSES {
        let mut farthest = 0.0_f64;
        for &(first, second) in &pairs {
            farthest = farthest.max(balance(graph, first, second).unwrap_or(0.0));
        }
        if farthest < NEAR {
            break;
        }
    }
    pairs.len()
}

fn has_weights(graph: &Graph, node: usize) -> bool {
    let node = &graph.nodes[node];
    let known = matches!(
        &node.op,
        GraphOp::Conv2d { .. } | GraphOp::FullyConnected { .. } | GraphOp::DepthwiseConv2d { .. }
    );
    let own = |&id: &TensorId| graph.tensor(id).role == Role::Weights && graph.consumers(id).len() == 1;
    known && node.inputs.get(1).is_some_and(own)
}

fn commutes(activation: Activation) -> bool {
    matches!(activation, Activation::None | Activation::Relu | Activation::LeakyRelu { .. })
}

/// The layer that a layer can share its range with.
fn pair(graph: &Graph, first: usize) -> Option<(usize, usize)> {
    if !has_weights(graph, first) || !commutes(graph.nodes[first].op.activation()) {
        return None;
    }
    let channels = graph.tensor(graph.nodes[first].output).shape.dims()[3];
    let mut at = graph.nodes[first].output;
    loop {
        let NodeId(next) = graph.only_consumer(at)?;
        let node = &graph.nodes[next];
        match node.op {
            GraphOp::MaxPool2d { .. } | GraphOp::AveragePool2d { .. } | GraphOp::Reshape => {}
            GraphOp::Activation { activation } if commutes(activation) => {}
            _ => return (has_weights(graph, next) && inputs(graph, next, channels)).then_some((first, next)),
        }
        at = node.output;
    }
}

/// Whether each input channel of a layer is one of `channels`, again and again.
fn inputs(graph: &Graph, node: usize, channels: usize) -> bool {
    let node = &graph.nodes[node];
    let [.., in_c] = graph.tensor(node.inputs[0]).shape.dims();
    let [_, _, filter_c, out_c] = graph.tensor(node.inputs[1]).shape.dims();
    let whole = match node.op {
        GraphOp::Conv2d { .. } => filter_c == in_c,
        GraphOp::DepthwiseConv2d { .. } => out_c == in_c,
        _ => true,
    };
    whole && channels > 0 && in_c % channels == 0
}

/// The channel of the layer before that each weight of a layer meets.
fn channel_before(op: &GraphOp, shape: Shape, channels: usize) -> impl Fn(usize) -> usize + use<> {
    let [.., out_c] = shape.dims();
    let is_depthwise = matches!(op, GraphOp::DepthwiseConv2d { .. });
    let [_, _, in_c, _] = shape.dims();
    move |index| if is_depthwise { index % out_c } else { index / out_c % in_c % channels }
}

/// Balances one pair; gives the greatest distance of a factor's logarithm from 0.
fn balance(graph: &mut Graph, first: usize, second: usize) -> Option<f64> {
    let (weights, bias) = (graph.nodes[first].inputs[1], graph.nodes[first].inputs.get(2).copied());
    let behind = graph.nodes[second].inputs[1];
    let [.., channels] = graph.tensor(weights).shape.dims();
    let before = channel_before(&graph.nodes[second].op, graph.tensor(behind).shape, channels);
    let (mut own, mut next) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
    for (index, &weight) in graph.tensor(weights).value.as_ref()?.as_f32()?.iter().enumerate() {
        own[index % channels] = own[index % channels].max(f64::from(weight).abs());
    }
    for (index, &weight) in graph.tensor(behind).value.as_ref()?.as_f32()?.iter().enumerate() {
        next[before(index)] = next[before(index)].max(f64::from(weight).abs());
    }
    let factor = |(&own, &next): (&f64, &f64)| {
        // A channel that is dead stays as it is.
        let factor = if own > 0.0 && next > 0.0 { libm::sqrt(own / next) } else { 1.0 };
        factor.clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    };
    let factors: Vec<f64> = own.iter().zip(&next).map(factor).collect();
    for id in [Some(weights), bias].into_iter().flatten() {
        let values = graph.tensor_mut(id).value.as_mut()?.as_f32_mut()?;
        for (index, value) in values.iter_mut().enumerate() {
            *value = (f64::from(*value) / factors[index % channels]) as f32;
        }
    }
    let values = graph.tensor_mut(behind).value.as_mut()?.as_f32_mut()?;
    for (index, value) in values.iter_mut().enumerate() {
        *value = (f64::from(*value) * factors[before(index)]) as f32;
    }
    Some(factors.iter().fold(0.0, |farthest, &factor| farthest.max(libm::log(factor).abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::calibrate::GraphRun;
    use crate::compile::{fold_batch_norm, fuse_activation};
    use crate::graph::Network;

    /// A network whose channels are of very different sizes.
    fn uneven() -> Graph {
        let network = Network::new("n", [6, 6, 2]).conv_2d(4, 3).with_bias().relu().max_pool_2d(2);
        let network =
            network.depthwise_conv_2d(3).with_bias().leaky_relu(0.1).flatten().fully_connected(3).relu();
        let mut graph = fuse_activation(fold_batch_norm(network.fully_connected(2).seed(3).build().unwrap()));
        for (name, channels) in
            [("conv_2d_1/weights", 4), ("conv_2d_1/bias", 4), ("fully_connected_1/weights", 3)]
        {
            let id = graph.find(name).unwrap();
            let values = graph.tensor_mut(id).value.as_mut().unwrap().as_f32_mut().unwrap();
            for (index, value) in values.iter_mut().enumerate() {
                *value = (*value + 0.01) * [0.01, 1.0, 30.0, 0.3][index % channels];
            }
        }
        graph
    }

    fn outputs(graph: &Graph) -> Vec<f32> {
        let mut run = GraphRun::new(graph).unwrap();
        let input = run.activation_mut::<f32>(graph.inputs[0]);
        input.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * 0.37).sin());
        run.run();
        run.activation::<f32>(graph.outputs[0]).to_vec()
    }

    #[test]
    fn the_network_computes_the_same_with_even_weights() {
        /// Sums of some hundred products in f32.
        const TOLERANCE: f32 = 1e-4;
        let plain = uneven();
        let mut even = plain.clone();
        assert_eq!(equalize(&mut even), 3);
        let largest = outputs(&plain).iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        for (found, expected) in outputs(&even).iter().zip(outputs(&plain)) {
            assert!((found - expected).abs() < TOLERANCE * largest, "{found} {expected}");
        }
        let spread = |graph: &Graph| {
            let values = graph.tensor(graph.find("conv_2d_1/weights").unwrap()).value.clone().unwrap();
            let mut largest = [0.0_f32; 4];
            for (index, weight) in values.as_f32().unwrap().iter().enumerate() {
                largest[index % 4] = largest[index % 4].max(weight.abs());
            }
            largest.iter().fold(0.0_f32, |a, &b| a.max(b)) / largest.iter().fold(f32::MAX, |a, &b| a.min(b))
        };
        assert!(spread(&plain) > 500.0 && spread(&even) < 60.0, "{} {}", spread(&plain), spread(&even));
    }

    #[test]
    fn what_something_else_reads_or_another_function_limits_stays() {
        let tapped = Network::new("n", [4, 4, 2]).conv_2d(2, 1).tap("a").conv_2d(2, 1).add("a");
        let limited = Network::new("n", [4, 4, 2]).conv_2d(2, 1).relu6().conv_2d(2, 1);
        for network in [tapped, limited] {
            let mut graph = fuse_activation(network.build().unwrap());
            assert_eq!(equalize(&mut graph), 0);
        }
    }
}
