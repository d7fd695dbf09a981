//! Of a convolution's weights, a part learns.

use std::collections::BTreeSet;

use smidgen::Shape;
use smidgen::ops::activation::Activation;

use crate::graph::{Graph, GraphOp, Movement, MovementKind, Node, Role, Value};

/// Lets of each convolution whose weights learn (`learning` has the names) only those learn that read the first of `one_in` equal parts of its input channels, which takes that much less memory (J.
/// Lin et al.: *On-Device Training Under 256KB Memory*, 2022, update a part of the channels likewise).
///
/// The convolution keeps its weights, in flash; a second one beside it, `NAME/change`, begins at zero and learns what is added to them.
#[must_use]
pub fn share(mut graph: Graph, learning: &mut BTreeSet<String>, one_in: usize) -> Graph {
    let mut index = 0;
    while index < graph.nodes.len() {
        index += split(&mut graph, index, learning, one_in).unwrap_or(0) + 1;
    }
    graph
}

/// Splits the convolution at `index`, if it is one, and returns how many nodes there are more.
fn split(graph: &mut Graph, index: usize, learning: &mut BTreeSet<String>, one_in: usize) -> Option<usize> {
    let node = graph.nodes.get(index)?.clone();
    let GraphOp::Conv2d { window, activation } = node.op else { return None };
    let (&input, &weights) = (node.inputs.first()?, node.inputs.get(1)?);
    let (Shape([k_h, k_w, depth, channels]), [n, h, w, in_c]) =
        (graph.tensor(weights).shape, graph.tensor(input).shape.dims());
    let part = (depth as usize).checked_div(one_in)?;
    let weights_name = graph.tensor(weights).name.clone();
    if one_in < 2 || part == 0 || depth as usize != in_c || !learning.contains(&weights_name) {
        return None;
    }
    let dims = [n, h, w, in_c];
    let ranges = [(0, 1, n), (0, 1, h), (0, 1, w), (0, 1, part)];
    let slice = Movement::slice(MovementKind::Slice, &dims, &ranges, &[n, h, w, part])?;
    let name = &node.name;
    let output_shape = graph.tensor(node.output).shape;
    let taken = graph.add_activation(format!("{name}/part"), slice.output);
    let [whole, changed] = ["as it was", "change"]
        .map(|what| graph.add_activation(format!("{name}/{what}/output"), output_shape));
    let shape = Shape([k_h, k_w, part as u32, channels]);
    let zeros = Value::F32(vec![0.0; shape.elements()?]);
    let change = graph.add_value(format!("{name}/change"), shape, Role::Weights, zeros);
    learning.remove(&weights_name);
    learning.insert(format!("{name}/change"));
    let make = |what: &str, op, inputs, output| Node {
        name: format!("{name}{what}"),
        op,
        inputs,
        output,
        updates: Vec::new(),
    };
    let plain = GraphOp::Conv2d { window, activation: Activation::None };
    let nodes = [
        make("/part", GraphOp::Movement(slice), vec![input], taken),
        make("", plain.clone(), node.inputs.clone(), whole),
        make("/change", plain, vec![taken, change], changed),
        make("/sum", GraphOp::Add { activation }, vec![whole, changed], node.output),
    ];
    let more = nodes.len() - 1;
    graph.nodes.splice(index..=index, nodes);
    Some(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    #[test]
    fn a_part_of_the_weights_learns() {
        let network = Network::new("n", [4, 4, 8]).conv_2d(6, 1).conv_2d(5, 3).global_average_pool_2d();
        let graph = crate::compile::fuse_activation(network.fully_connected(2).build().unwrap());
        let mut learning: BTreeSet<String> =
            ["conv_2d_2/weights", "conv_2d_2/bias"].map(str::to_owned).into();
        let shared = share(graph.clone(), &mut learning, 3);
        shared.validate().unwrap();
        let names: Vec<&str> = learning.iter().map(String::as_str).collect();
        assert_eq!(names, ["conv_2d_2/bias", "conv_2d_2/change"]);
        let change = shared.find("conv_2d_2/change").unwrap();
        assert_eq!(shared.tensor(change).shape, Shape([3, 3, 2, 5]));
        assert_eq!(shared.nodes.len(), graph.nodes.len() + 3);
        assert_eq!(share(graph.clone(), &mut learning, 1), graph);
    }
}
