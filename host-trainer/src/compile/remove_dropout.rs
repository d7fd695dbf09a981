//! Dropout is part of training only.

use crate::graph::{Graph, GraphOp};

/// Removes every dropout: who reads its output reads its input.
#[must_use]
pub fn remove_dropout(mut graph: Graph) -> Graph {
    while let Some(index) = graph.nodes.iter().position(|node| matches!(node.op, GraphOp::Dropout { .. })) {
        let node = graph.nodes.remove(index);
        let (input, output) = (node.inputs[0], node.output);
        let readers = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        for id in readers.chain(&mut graph.outputs).filter(|id| **id == output) {
            *id = input;
        }
    }
    graph.without_unused_tensors()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    #[test]
    fn what_reads_a_dropout_reads_its_input() {
        let network = |rate| {
            let first = Network::new("n", [1, 1, 4]).fully_connected(3).relu();
            let middle = if rate > 0.0 { first.dropout(rate) } else { first };
            let last = middle.fully_connected(2);
            let graph = if rate > 0.0 { last.dropout(rate) } else { last }.build().unwrap();
            remove_dropout(graph)
        };
        let (with, without) = (network(0.5), network(0.0));
        with.validate().unwrap();
        assert_eq!(with.nodes, without.nodes);
        assert_eq!(with.outputs, without.outputs);
    }
}
