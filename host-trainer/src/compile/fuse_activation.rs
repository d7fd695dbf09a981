//! Activations become part of the operators before them.

use smidgen::ops::activation::Activation;

use crate::graph::{Graph, GraphOp, NodeId};

/// Merges each activation into the operator that computes its input, where that operator has a place for one, has none yet, and
/// nothing else reads what it computes.
#[must_use]
pub fn fuse_activation(mut graph: Graph) -> Graph {
    let mut index = 0;
    while index < graph.nodes.len() {
        if fuse(&mut graph, index) {
            graph.nodes.remove(index);
        } else {
            index += 1;
        }
    }
    graph.without_unused_tensors()
}

fn fuse(graph: &mut Graph, index: usize) -> bool {
    let node = &graph.nodes[index];
    let GraphOp::Activation { activation } = node.op else { return false };
    let (input, output) = (node.inputs[0], node.output);
    let Some(NodeId(producer)) = graph.producer(input) else { return false };
    if graph.only_consumer(input) != Some(NodeId(index)) {
        return false;
    }
    let producer = &mut graph.nodes[producer];
    match producer.op.activation_mut() {
        Some(place) if *place == Activation::None => *place = activation,
        _ => return false,
    }
    producer.output = output;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    fn operators(network: Network) -> Vec<(&'static str, Activation)> {
        let graph = fuse_activation(network.build().unwrap());
        graph.validate().unwrap();
        graph.nodes.iter().map(|node| (node.op.name(), node.op.activation())).collect()
    }

    #[test]
    fn an_activation_joins_what_computes_its_input() {
        let found =
            operators(Network::new("n", [4, 4, 1]).conv_2d(2, 3).batch_norm().relu().conv_2d(2, 1).relu6());
        let expected =
            [("conv_2d", Activation::None), ("batch_norm", Activation::Relu), ("conv_2d", Activation::Relu6)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_value_that_something_else_reads_stays() {
        let network = Network::new("n", [4, 4, 1]).conv_2d(1, 3).tap("raw").relu().add("raw").relu();
        let found = operators(network);
        let expected =
            [("conv_2d", Activation::None), ("activation", Activation::Relu), ("add", Activation::Relu)];
        assert_eq!(found, expected);
    }

    #[test]
    fn operators_without_a_place_and_second_activations_stay() {
        let found = operators(Network::new("n", [4, 4, 1]).max_pool_2d(2).relu().leaky_relu(0.5));
        let leaky = Activation::LeakyRelu { alpha: 0.5 };
        assert_eq!(
            found,
            [("max_pool_2d", Activation::None), ("activation", Activation::Relu), ("activation", leaky)]
        );
    }
}
