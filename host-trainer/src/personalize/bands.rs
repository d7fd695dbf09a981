//! The int8 part is computed in bands of rows.

use std::collections::BTreeSet;

use smidgen::geometry::{Axis, Window};
use smidgen::{ElementType, Operator};

use crate::graph::movement::Part;
use crate::graph::{Frozen, Graph, GraphOp, Movement, MovementKind, Node, NodeId, Range, Tensor, TensorId};

/// Computes the int8 convolutions before a mean over all pixels in `count` bands of the mean's rows, one after another (patch-based inference, J. Lin et al.: *MCUNetV2*, 2021).
///
/// Each band needs its rows of every tensor and those that the windows reach beyond them, so that the largest tensors are never there as a whole; rows at the borders of bands
/// are computed more than once. The mean is put together from the bands' sums, and is what it was, bit for bit. Nothing changes where there is no such
/// mean, or it has fewer rows ([`most_bands`]).
#[must_use]
pub fn bands(graph: Graph, count: usize) -> Graph {
    let Some(chain) = Chain::of(&graph).filter(|chain| count > 1 && chain.rows() >= count) else {
        return graph;
    };
    let copy = graph.clone();
    chain.split(graph, count).unwrap_or(copy)
}

/// How many bands there can be; 1 where nothing can be computed in bands.
pub fn most_bands(graph: &Graph) -> usize {
    Chain::of(graph).map_or(1, |chain| chain.rows())
}

/// Convolutions, each the only one that reads the one before, and the mean of the last.
struct Chain {
    /// What the first reads.
    from: TensorId,
    /// In order.
    layers: Vec<Node>,
    mean: Node,
    window: Window,
    range: Range,
    names: BTreeSet<String>,
}

impl Chain {
    /// The first one.
    fn of(graph: &Graph) -> Option<Self> {
        (0..graph.nodes.len()).find_map(|node| Self::before(graph, node))
    }

    /// The chain that ends with this node.
    fn before(graph: &Graph, node: usize) -> Option<Self> {
        let mean = graph.nodes.get(node)?;
        let GraphOp::AveragePool2dI8 { window, range } = mean.op else { return None };
        let [n, h, w, _] = graph.tensor(*mean.inputs.first()?).shape.dims();
        let is_whole = |axis: Axis, length| axis.kernel == length && axis.pad_before + axis.pad_after == 0;
        if n != 1 || !is_whole(window.y, h) || !is_whole(window.x, w) {
            return None;
        }
        let (mut from, mut layers) = (*mean.inputs.first()?, Vec::new());
        while let Some(NodeId(layer)) = graph.producer(from) {
            let layer = &graph.nodes[layer];
            let is_layer = matches!(layer.op, GraphOp::Conv2dI8 { .. } | GraphOp::DepthwiseConv2dI8 { .. });
            if !is_layer || graph.only_consumer(from).is_none() || graph.outputs.contains(&from) {
                break;
            }
            from = *layer.inputs.first()?;
            layers.push(layer.clone());
        }
        layers.reverse();
        let names = layers.iter().map(|layer| layer.name.clone()).collect();
        let is_int8 = graph.tensor(from).element_type == ElementType::I8;
        let chain = Self { from, layers, mean: mean.clone(), window, range, names };
        (is_int8 && !chain.layers.is_empty()).then_some(chain)
    }

    fn rows(&self) -> usize {
        self.window.y.kernel
    }

    /// The graph with the chain in bands.
    fn split(&self, mut graph: Graph, count: usize) -> Option<Graph> {
        let mut nodes = Vec::new();
        for node in std::mem::take(&mut graph.nodes) {
            if node.name == self.mean.name {
                nodes.extend(self.bands(&mut graph, count)?);
            } else if !self.names.contains(&node.name) {
                nodes.push(node);
            }
        }
        graph.nodes = nodes;
        let graph = graph.without_unused_tensors();
        graph.validate().ok()?;
        Some(graph)
    }

    fn bands(&self, graph: &mut Graph, count: usize) -> Option<Vec<Node>> {
        let (mut nodes, mut sums) = (Vec::new(), None);
        let [_, height, width, _] = graph.tensor(*self.mean.inputs.first()?).shape.dims();
        let pixels = i32::try_from(height * width).ok()?;
        for band in 0..count {
            let [first, end] = [band, band + 1].map(|band| band * self.rows() / count);
            let suffix = format!("band {}", band + 1);
            let last = self.band(graph, &mut nodes, (first, end), &suffix)?;
            let inputs: Vec<TensorId> = [last].into_iter().chain(sums).collect();
            let Range { min, max } = self.range;
            let (output, attributes) = if band + 1 == count {
                (self.mean.output, vec![pixels, min.into(), max.into()])
            } else {
                let mean = graph.tensor(self.mean.output);
                let name = format!("{}/{suffix}", mean.name);
                let (element_type, quantization) = (ElementType::I32, None);
                let sums = Tensor { name, element_type, quantization, ..mean.clone() };
                (graph.add_tensor(sums), Vec::new())
            };
            let tensor = graph.tensor(output);
            let (shape, element_type) = (tensor.shape, tensor.element_type);
            let reads = (0..inputs.len()).collect();
            let steps = vec![Part { operator: Operator::MeanBandI8, attributes, reads }];
            let op = GraphOp::Frozen(Frozen { steps, shape, element_type });
            nodes.push(node(&self.mean.name, &suffix, op, inputs, output));
            sums = Some(output);
        }
        Some(nodes)
    }

    /// What the mean reads of the rows `first..end`.
    fn band(
        &self,
        graph: &mut Graph,
        nodes: &mut Vec<Node>,
        (first, end): (usize, usize),
        suffix: &str,
    ) -> Option<TensorId> {
        // From the mean back to the input: the rows that each layer has to write, and its operator for these.
        let (mut rows, mut operators) = ((first, end), Vec::new());
        for layer in self.layers.iter().rev() {
            let [_, height, ..] = graph.tensor(*layer.inputs.first()?).shape.dims();
            let mut op = layer.op.clone();
            let (GraphOp::Conv2dI8 { window, .. } | GraphOp::DepthwiseConv2dI8 { window, .. }) = &mut op
            else {
                return None;
            };
            let (y, needed) = part(window.y, height, rows)?;
            window.y = y;
            operators.push((op, rows.1 - rows.0));
            rows = needed;
        }
        let mut input = self.rows_of(graph, nodes, rows, suffix)?;
        for (layer, (op, count)) in self.layers.iter().zip(operators.into_iter().rev()) {
            let output = copy_of(graph, layer.output, count, suffix);
            let mut inputs = layer.inputs.clone();
            *inputs.first_mut()? = input;
            nodes.push(node(&layer.name, suffix, op, inputs, output));
            input = output;
        }
        Some(input)
    }

    /// These rows of the input.
    fn rows_of(
        &self,
        graph: &mut Graph,
        nodes: &mut Vec<Node>,
        (first, end): (usize, usize),
        suffix: &str,
    ) -> Option<TensorId> {
        let [n, h, w, c] = graph.tensor(self.from).shape.dims();
        if (first, end) == (0, h) {
            return Some(self.from);
        }
        let count = end.checked_sub(first)?;
        let ranges = [(0, 1, n), (first as i64, 1, count), (0, 1, w), (0, 1, c)];
        let slice = Movement::slice(MovementKind::Slice, &[n, h, w, c], &ranges, &[n, count, w, c])?;
        let output = copy_of(graph, self.from, count, suffix);
        let name = graph.tensor(self.from).name.clone();
        nodes.push(node(&name, suffix, GraphOp::Movement(slice), vec![self.from], output));
        Some(output)
    }
}

fn node(name: &str, suffix: &str, op: GraphOp, inputs: Vec<TensorId>, output: TensorId) -> Node {
    Node { name: format!("{name}/{suffix}"), op, inputs, output, updates: Vec::new() }
}

/// A tensor like this one, with so many rows.
fn copy_of(graph: &mut Graph, id: TensorId, rows: usize, suffix: &str) -> TensorId {
    let mut tensor = graph.tensor(id).clone();
    tensor.name = format!("{}/{suffix}", tensor.name);
    tensor.shape.0[1] = rows as u32;
    graph.add_tensor(tensor)
}

/// The axis of a window that computes the outputs `first..end` of those that it computes from `length` elements, and the elements that it needs.
fn part(axis: Axis, length: usize, (first, end): (usize, usize)) -> Option<(Axis, (usize, usize))> {
    let corner = first * axis.stride;
    let last = end.checked_sub(1)? * axis.stride + axis.extent()?;
    let pad_before = axis.pad_before.saturating_sub(corner);
    let from = corner.saturating_sub(axis.pad_before);
    let to = last.checked_sub(axis.pad_before)?;
    let pad_after = to.saturating_sub(length);
    Some((Axis { pad_before, pad_after, ..axis }, (from, to.min(length))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::quantize::{Options, post_training};
    use crate::compile::{LowerOptions, compile_inference, fuse_activation};
    use crate::device::{Device, Target};
    use crate::graph::Network;

    /// A stride, and padding on both sides.
    fn network() -> Graph {
        let network = Network::new("n", [64, 4, 1]).conv_2d(8, 3).relu().depthwise_conv_2d(3).stride(2);
        let network = network.relu().conv_2d(8, 1).relu().depthwise_conv_2d(5);
        let graph = network.global_average_pool_2d().seed(4).build().unwrap();
        let mut fill = |sample: usize, input: &mut [f32]| {
            let value = |index: usize| ((index * 31 + sample * 57) % 101) as f32 / 50.0 - 1.0;
            input.iter_mut().enumerate().for_each(|(index, to)| *to = value(index));
        };
        let graph = fuse_activation(graph);
        post_training(&graph, &Default::default(), Options::default(), 8, &mut fill).unwrap()
    }

    /// The outputs for a few samples, and the arena.
    fn outputs(graph: &Graph) -> (Vec<i8>, u32) {
        let metadata = smidgen::Metadata {
            name: "n",
            labels: "",
            step_names: "",
            provenance: "",
            preprocessing: smidgen::Preprocessing::None,
        };
        let file = compile_inference(graph, &LowerOptions::default()).unwrap().to_file(&metadata).unwrap();
        let inputs: Vec<u8> = (0..64 * 4 * 7u32).map(|index| (index * 89 % 251) as u8).collect();
        let report = Device::new(Target::Host).run(&file, &inputs).unwrap();
        (report.outputs.iter().map(|&byte| byte.cast_signed()).collect(), report.arena_bytes)
    }

    #[test]
    fn bands_give_the_mean_of_all_rows() {
        let graph = network();
        let (expected, arena) = outputs(&graph);
        for count in [2, 3, 32] {
            let split = bands(graph.clone(), count);
            assert!(split.nodes.len() > graph.nodes.len() + count, "{count}");
            let (found, less) = outputs(&split);
            assert_eq!(found, expected, "{count} bands");
            assert!(count > 2 || less < arena, "{less} of {arena}");
        }
        assert!(expected.iter().any(|&value| value != expected[0]));
        assert_eq!(most_bands(&graph), 32);
        assert_eq!(bands(graph.clone(), 1), graph);
        assert_eq!(bands(graph.clone(), 33), graph);
    }

    #[test]
    fn rows_of_a_window() {
        let axis = Axis { kernel: 3, stride: 2, dilation: 1, pad_before: 1, pad_after: 1 };
        let of = |rows| part(axis, 9, rows).map(|(axis, needed)| ([axis.pad_before, axis.pad_after], needed));
        assert_eq!(of((0, 5)), Some(([1, 1], (0, 9))));
        assert_eq!(of((0, 2)), Some(([1, 0], (0, 4))));
        assert_eq!(of((2, 4)), Some(([0, 0], (3, 8))));
        assert_eq!(of((4, 5)), Some(([0, 1], (7, 9))));
    }
}
