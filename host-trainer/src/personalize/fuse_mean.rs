//! A pointwise convolution and the mean behind it become one.

use std::collections::BTreeSet;

use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::reduce::float::Reduction;
use smidgen::{ElementType, Shape};

use crate::graph::{Graph, GraphOp, Node, NodeId, Reduce, ReduceKind, TensorId};

/// Where a pointwise convolution of which the weights or the bias learn (`learning` has the names) is followed by the mean over all its pixels, and nothing before it learns, makes one operator of both that
/// reads int8 as it is: the largest tensors of such a network, f32, are never there.
#[must_use]
pub fn fuse_mean(mut graph: Graph, learning: &BTreeSet<String>) -> Graph {
    let mut index = 0;
    while index < graph.nodes.len() {
        if !fuse(&mut graph, index, learning) {
            index += 1;
        }
    }
    graph.without_unused_nodes().without_unused_tensors()
}

fn fuse(graph: &mut Graph, index: usize, learning: &BTreeSet<String>) -> bool {
    let node = &graph.nodes[index];
    let GraphOp::Conv2d { window: Window::ONE, activation } = node.op else { return false };
    let &[input, weights, bias] = node.inputs.as_slice() else { return false };
    let is_one_group = graph.tensor(weights).shape.0[2] == graph.tensor(input).shape.0[3];
    let is_leaky = matches!(activation, Activation::LeakyRelu { .. });
    let learns = [weights, bias].iter().any(|&id| learning.contains(&graph.tensor(id).name));
    if !is_one_group || is_leaky || !learns {
        return false;
    }
    let Some(NodeId(mean)) = graph.only_consumer(node.output) else { return false };
    if !is_mean_of_all(graph, &graph.nodes[mean]) || depends_on(graph, input, learning) {
        return false;
    }
    let (name, mean) = (node.name.clone(), graph.nodes[mean].output);
    // An input that is only dequantized for this is read as it is.
    let input = match graph.producer(input).map(|NodeId(node)| &graph.nodes[node]) {
        Some(Node { op: GraphOp::Dequantize, inputs, .. }) => inputs[0],
        _ => input,
    };
    let channels = graph.tensor(weights).shape.0[3];
    let is_vector = graph.tensor(mean).shape == Shape::vector(channels);
    if !is_vector || graph.tensor(mean).element_type != ElementType::F32 {
        return false;
    }
    let output = graph.nodes[index].output;
    let mean_node = graph.only_consumer(output);
    let fused = &mut graph.nodes[index];
    fused.op = GraphOp::PointwiseMean { activation };
    fused.inputs = vec![input, weights, bias];
    fused.output = mean;
    debug_assert_eq!(fused.name, name);
    if let Some(NodeId(node)) = mean_node {
        graph.nodes.remove(node);
    }
    true
}

/// Whether a node computes the mean over height and width.
fn is_mean_of_all(graph: &Graph, node: &Node) -> bool {
    let [_, h, w, _] = graph.tensor(node.inputs[0]).shape.dims();
    match &node.op {
        GraphOp::AveragePool2d { window } => {
            let all = |axis: smidgen::geometry::Axis, length| {
                (axis.kernel, axis.dilation, axis.pad_before, axis.pad_after) == (length, 1, 0, 0)
            };
            all(window.y, h) && all(window.x, w)
        }
        GraphOp::Reduce(Reduce { kind: ReduceKind::Float(Reduction::Mean), axes }) => {
            *axes == [true, true, false]
        }
        _ => false,
    }
}

/// Whether a tensor depends on a parameter that learns.
fn depends_on(graph: &Graph, tensor: TensorId, learning: &BTreeSet<String>) -> bool {
    if learning.contains(&graph.tensor(tensor).name) {
        return true;
    }
    let Some(NodeId(node)) = graph.producer(tensor) else { return false };
    graph.nodes[node].inputs.iter().any(|&input| depends_on(graph, input, learning))
}
