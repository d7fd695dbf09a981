//! Activations that no int8 operator can have fused, as operators of their own.

use smidgen::ops::activation::Activation;

use crate::graph::{Elementwise, Graph, GraphOp};

/// Splits every fused leaky `ReLU` from its operator, and every activation from a maximum or a minimum, whose int8 forms have no place for one.
///
/// It is no clamp, so that no int8 operator can have it fused: it becomes a lookup, and what it reads needs a range of its own. Layer
/// `x` becomes `x`, which computes the tensor `x/linear`, and `x/leaky_relu`; tensors keep their ids.
#[must_use]
pub fn split_leaky_relu(graph: &Graph) -> Graph {
    let mut split = graph.clone();
    split.nodes.clear();
    for node in &graph.nodes {
        let mut linear = node.clone();
        let leaky = match linear.op.activation_mut() {
            Some(fused) if must_be_split(&node.op) => std::mem::take(fused),
            _ => {
                split.nodes.push(linear);
                continue;
            }
        };
        linear.output =
            split.add_activation(format!("{}/linear", node.name), graph.tensor(node.output).shape);
        let inputs = vec![linear.output];
        split.nodes.push(linear);
        let op = GraphOp::Activation { activation: leaky };
        split.add_node(format!("{}/leaky_relu", node.name), op, inputs, node.output);
    }
    split
}

fn must_be_split(op: &GraphOp) -> bool {
    match op {
        GraphOp::Activation { .. } => false,
        GraphOp::Elementwise(Elementwise::Maximum { activation } | Elementwise::Minimum { activation }) => {
            *activation != Activation::None
        }
        _ => matches!(op.activation(), Activation::LeakyRelu { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    #[test]
    fn only_leaky_relus_are_split() {
        let mut graph =
            Network::new("n", [2, 2, 1]).conv_2d(2, 1).conv_2d(2, 1).leaky_relu(0.1).build().unwrap();
        let leaky = Activation::LeakyRelu { alpha: 0.1 };
        *graph.nodes[0].op.activation_mut().unwrap() = leaky;
        *graph.nodes[1].op.activation_mut().unwrap() = Activation::Relu;
        let split = split_leaky_relu(&graph);
        split.validate().unwrap();
        let found: Vec<_> =
            split.nodes.iter().map(|node| (node.name.as_str(), node.op.activation())).collect();
        let expected = [
            ("conv_2d_1", Activation::None),
            ("conv_2d_1/leaky_relu", leaky),
            ("conv_2d_2", Activation::Relu),
            ("leaky_relu_1", leaky),
        ];
        assert_eq!(found, expected);
        assert_eq!((split.inputs, split.outputs), (graph.inputs, graph.outputs));
    }
}
