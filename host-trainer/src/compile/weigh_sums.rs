//! int8 sums become weighted sums.

use smidgen::ops::add::int8::AddI8;
use smidgen::ops::int8::OutputRange;

use crate::graph::{Elementwise, Graph, GraphOp, Node};
use crate::int8::weighted_sum;

/// Turns each int8 sum and difference of two tensors of one shape into a weighted sum, two multiply-adds an element, where there are weights that give the same
/// result for every pair of inputs.
#[must_use]
pub fn weigh_sums(mut graph: Graph) -> Graph {
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if node.inputs.iter().any(|&side| graph.tensor(side).shape != graph.tensor(node.output).shape) {
            continue;
        }
        let weights = match &node.op {
            GraphOp::AddI8 { .. } => params(&graph, node).and_then(|sum| weighted_sum(&sum, false)),
            GraphOp::Elementwise(Elementwise::SubI8(difference)) => weighted_sum(difference, true),
            _ => None,
        };
        if let Some(weights) = weights {
            graph.nodes[index].op = GraphOp::Elementwise(Elementwise::WeightedSumI8(weights));
        }
    }
    graph
}

/// The parameters of a sum.
fn params(graph: &Graph, node: &Node) -> Option<AddI8> {
    let GraphOp::AddI8 { left_shift, left, right, output, range } = node.op else { return None };
    let quantization = |id| graph.tensor(id).quantization;
    let (&[a, b], to) = (node.inputs.as_slice(), quantization(node.output)?) else { return None };
    Some(AddI8 {
        left_shift: u32::try_from(left_shift).ok()?,
        zero_points: [quantization(a)?.zero_point, quantization(b)?.zero_point],
        multipliers: [left, right],
        output_multiplier: output,
        range: OutputRange {
            zero_point: to.zero_point,
            activation_min: range.min.into(),
            activation_max: range.max.into(),
        },
    })
}
