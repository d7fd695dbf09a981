//! Zeros around an image become padding of the convolution behind them.

use smidgen::ElementType;
use smidgen::geometry::{Axis, Window};

use crate::graph::{Graph, GraphOp, Movement, MovementKind, Node, NodeId, TensorId};

/// Rows above and below, columns to the left and to the right.
#[derive(Clone, Copy)]
struct Amounts {
    rows: (usize, usize),
    columns: (usize, usize),
}

/// Makes each pad with zeros, int8's being the zero point, part of the windows of the convolutions that read it, where nothing else does.
///
/// Exact: a tap in the padding of a convolution counts as zero. Pools stay as they are, because their padding counts as nothing.
#[must_use]
pub fn fold_padding(mut graph: Graph) -> Graph {
    let mut index = 0;
    while index < graph.nodes.len() {
        if fold(&mut graph, index).is_some() {
            graph.nodes.remove(index);
        } else {
            index += 1;
        }
    }
    graph.without_unused_tensors()
}

fn fold(graph: &mut Graph, index: usize) -> Option<()> {
    let Node { op: GraphOp::Movement(movement), inputs, output, .. } = &graph.nodes[index] else {
        return None;
    };
    let (&[input], output) = (inputs.as_slice(), *output) else { return None };
    let amounts = zeros(graph, movement, input, output)?;
    let readers = graph.consumers(output);
    if readers.is_empty() || graph.outputs.contains(&output) {
        return None;
    }
    let folded = |&NodeId(reader): &NodeId| {
        let mut node = graph.nodes[reader].clone();
        let reads_once = node.inputs.iter().filter(|&&id| id == output).count() == 1;
        let window = window_mut(&mut node.op).filter(|_| reads_once && node.inputs[0] == output)?;
        window.y = widened(window.y, amounts.rows)?;
        window.x = widened(window.x, amounts.columns)?;
        node.inputs[0] = input;
        Some((reader, node))
    };
    let folded: Vec<(usize, Node)> = readers.iter().map(folded).collect::<Option<_>>()?;
    for (reader, node) in folded {
        graph.nodes[reader] = node;
    }
    Some(())
}

/// The amounts, if the movement pads rows and columns with what stands for 0.
fn zeros(graph: &Graph, movement: &Movement, input: TensorId, output: TensorId) -> Option<Amounts> {
    let (from, to) = (graph.tensor(input), graph.tensor(output));
    let bits = movement.fill.filter(|_| movement.kind == MovementKind::Pad)?;
    let is_zero = match from.element_type {
        ElementType::F32 => f32::from_bits(bits.cast_unsigned()) == 0.0,
        ElementType::I8 => from.quantization.is_some_and(|found| found.zero_point == bits),
        _ => false,
    };
    if !is_zero || from.quantization != to.quantization {
        return None;
    }
    let ([_, h, w, c], [_, out_h, out_w, out_c]) = (from.shape.dims(), to.shape.dims());
    let offset = usize::try_from(movement.transfers.first()?.destination.offset).ok()?;
    let (top, left) = (offset / (out_w * out_c), offset % (out_w * out_c) / out_c);
    let rows = (top, out_h.checked_sub(h)?.checked_sub(top)?);
    let columns = (left, out_w.checked_sub(w)?.checked_sub(left)?);
    // That is all of what it does.
    let (same, _) = Movement::pad(&[1, h, w, c], &[(0, 0), rows, columns, (0, 0)], bits)?;
    (same == *movement).then_some(Amounts { rows, columns })
}

/// The window of a convolution.
const fn window_mut(op: &mut GraphOp) -> Option<&mut Window> {
    match op {
        GraphOp::Conv2d { window, .. }
        | GraphOp::DepthwiseConv2d { window, .. }
        | GraphOp::Conv2dI8 { window, .. }
        | GraphOp::DepthwiseConv2dI8 { window, .. } => Some(window),
        _ => None,
    }
}

/// The axis with more padding, if it stays below the extent of the window, as an operator wants it.
fn widened(axis: Axis, (before, after): (usize, usize)) -> Option<Axis> {
    let (pad_before, pad_after) = (axis.pad_before + before, axis.pad_after + after);
    let fits = axis.extent().is_some_and(|extent| pad_before.max(pad_after) < extent);
    fits.then_some(Axis { pad_before, pad_after, ..axis })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::calibrate::GraphRun;
    use crate::graph::{Network, Role};

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.op.name()).collect()
    }

    fn outputs(graph: &Graph) -> Vec<f32> {
        let mut run = GraphRun::new(graph).unwrap();
        let input = run.activation_mut::<f32>(graph.inputs[0]);
        input.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * 0.7).sin());
        run.run();
        run.activation::<f32>(graph.outputs[0]).to_vec()
    }

    #[test]
    fn zeros_before_convolutions_are_their_padding() {
        let network =
            Network::new("n", [5, 6, 2]).pad(1, 0, 0, 2).tap("p").conv_2d(3, 3).valid().stride(2).tap("a");
        let network = network.from("p").depthwise_conv_2d(3).stride(2).valid().conv_2d(3, 1).add("a");
        let graph = network.seed(3).build().unwrap();
        let folded = fold_padding(graph.clone());
        folded.validate().unwrap();
        assert_eq!(names(&folded), ["conv_2d", "depthwise_conv_2d", "conv_2d", "add"]);
        assert_eq!(outputs(&folded), outputs(&graph));
        let GraphOp::Conv2d { window, .. } = &folded.nodes[0].op else { panic!() };
        assert_eq!(
            [window.y.pad_before, window.y.pad_after, window.x.pad_before, window.x.pad_after],
            [1, 0, 0, 2]
        );
    }

    #[test]
    fn what_would_not_be_the_same_stays() {
        let start = || Network::new("n", [6, 6, 2]);
        // A pool counts no padding; the whole window would lie in it; something else reads it.
        let pool = start().pad(1, 1, 1, 1).average_pool_2d(2);
        let wide = start().pad(3, 0, 0, 0).conv_2d(2, 3).valid();
        let read = start().pad(1, 1, 1, 1).tap("p").conv_2d(2, 3).add("p");
        for network in [pool, wide, read] {
            let graph = network.build().unwrap();
            assert_eq!(fold_padding(graph.clone()), graph);
        }
        // Another value than zero, and an output of the network.
        let mut graph = start().pad(1, 1, 1, 1).conv_2d(2, 3).valid().build().unwrap();
        let GraphOp::Movement(movement) = &mut graph.nodes[0].op else { panic!() };
        movement.fill = Some(1.0f32.to_bits().cast_signed());
        assert_eq!(fold_padding(graph.clone()), graph);
        let mut graph = start().pad(1, 1, 1, 1).conv_2d(2, 3).valid().build().unwrap();
        graph.outputs.push(graph.nodes[0].output);
        assert_eq!(fold_padding(graph.clone()), graph);
    }

    #[test]
    fn an_int8_zero_is_the_zero_point() {
        let mut graph =
            Network::new("n", [4, 4, 2]).pad(1, 1, 1, 1).depthwise_conv_2d(3).valid().build().unwrap();
        let quantization = Some(smidgen::Quantization { scale: 0.5, zero_point: 7 });
        for tensor in graph.tensors.iter_mut().filter(|tensor| tensor.role == Role::Activation) {
            (tensor.element_type, tensor.quantization) = (ElementType::I8, quantization);
        }
        let node = graph.nodes[0].clone();
        let amounts = |fill| {
            let GraphOp::Movement(movement) = &node.op else { panic!() };
            let movement = Movement { fill: Some(fill), ..movement.clone() };
            zeros(&graph, &movement, node.inputs[0], node.output).map(|found| (found.rows, found.columns))
        };
        assert_eq!(amounts(7), Some(((1, 1), (1, 1))));
        assert_eq!(amounts(0), None);
    }
}
