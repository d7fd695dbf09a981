//! Channels that nobody needs leave an int8 graph.
//!
//! A channel of a layer is *constant* if no input can change it: its weights are zero, or its activation cuts everything that they can sum up to one value. A layer
//! that reads a constant channel has a constant part of its sum, which is part of its bias then; if all layers that read it can do that, or never look at it, nothing
//! needs the channel, and it is not computed any more. What the network computes stays the same, bit by bit: the sums are the same integers, in fewer parts.
//!
//! Operators that work on each channel by itself (depthwise convolutions, pools, tables, sums) pass constants on, and lose a channel on both sides or on none. A tap in the
//! padding reads the zero point: a window with padding keeps a constant channel unless its value is just that.

use std::collections::HashMap;

use smidgen::geometry::Window;
use smidgen::ops::int8::{CHANNEL_WORDS, Channel};
use smidgen::quantization::requantize;
use smidgen::{ElementType, Shape};

use crate::graph::{Graph, GraphOp, Node, Range, Role, TensorId, Value};

/// What is left of a number of channels that is a multiple of this stays one: kernels compute as many at once.
const TOGETHER: usize = 4;

/// The graph without the channels that nothing needs, and the same outputs for every input.
#[must_use]
pub fn eliminate_dead_channels(graph: Graph) -> Graph {
    let channels = Channels::of(&graph);
    let dropped = channels.dropped(&graph);
    if dropped.values().all(|dropped| !dropped.contains(&true)) {
        return graph;
    }
    channels.without(graph, &dropped)
}

/// What a channel can be: every value between two.
type Values = (i8, i8);

/// What is known of the channels of int8 activations.
struct Channels(HashMap<TensorId, Vec<Values>>);

/// How an operator treats the channels of what it reads.
enum Kind {
    /// Each output channel is a sum over all input channels.
    Mixes,
    /// Each output channel comes from the same channel of each input.
    Keeps,
    /// Not known.
    Other,
}

/// Whether the tensor is an int8 activation.
fn is_activation(graph: &Graph, id: TensorId) -> bool {
    let tensor = graph.tensor(id);
    tensor.role == Role::Activation && tensor.element_type == ElementType::I8
}

fn kind(graph: &Graph, node: &Node) -> Kind {
    let count = |id: TensorId| graph.tensor(id).shape.dims()[3];
    let Some((&input, rest)) = node.inputs.split_first() else { return Kind::Other };
    if !is_activation(graph, input) || !is_activation(graph, node.output) {
        return Kind::Other;
    }
    let known = |position: usize| rest.get(position).is_some_and(|&id| graph.tensor(id).value.is_some());
    match node.op {
        GraphOp::Conv2dI8 { .. } if known(0) && known(1) && count(rest[0]) == count(input) => Kind::Mixes,
        GraphOp::FullyConnectedI8 { .. } if known(0) && known(1) => Kind::Mixes,
        GraphOp::DepthwiseConv2dI8 { .. } if known(0) && known(1) && count(node.output) == count(input) => {
            Kind::Keeps
        }
        GraphOp::MaxPool2dI8 { .. } | GraphOp::AveragePool2dI8 { .. } => Kind::Keeps,
        GraphOp::LookupI8 if known(0) => Kind::Keeps,
        GraphOp::Reshape if count(input) == count(node.output) => Kind::Keeps,
        GraphOp::AddI8 { .. }
            if rest.iter().all(|&id| {
                is_activation(graph, id) && graph.tensor(id).shape == graph.tensor(input).shape
            }) =>
        {
            Kind::Keeps
        }
        _ => Kind::Other,
    }
}

/// The inputs that are activations.
fn activations<'g>(graph: &'g Graph, node: &'g Node) -> impl Iterator<Item = TensorId> + 'g {
    node.inputs.iter().copied().filter(|&id| is_activation(graph, id))
}

/// The weights of a filter and the records of its channels.
fn constants<'g>(graph: &'g Graph, node: &Node) -> Option<(&'g [i8], Vec<Channel>)> {
    let &[_, filter, channels] = node.inputs.as_slice() else { return None };
    let (Some(Value::I8(weights)), Some(Value::I32(words))) =
        (&graph.tensor(filter).value, &graph.tensor(channels).value)
    else {
        return None;
    };
    let records = words.as_chunks::<CHANNEL_WORDS>().0.iter().map(|&words| Channel::from_words(words));
    Some((weights, records.collect()))
}

fn zero_point(graph: &Graph, id: TensorId) -> i32 {
    graph.tensor(id).quantization.map_or(0, |quantization| quantization.zero_point)
}

fn has_padding(window: &Window) -> bool {
    [window.y, window.x].iter().any(|axis| axis.pad_before + axis.pad_after > 0)
}

fn clamp(range: Range) -> Values {
    (range.min, range.max)
}

impl Channels {
    fn of(graph: &Graph) -> Self {
        let mut found = Self(HashMap::new());
        for node in &graph.nodes {
            if is_activation(graph, node.output) {
                let values = found.values(graph, node);
                found.0.insert(node.output, values);
            }
        }
        found
    }

    /// The values that a channel can have.
    fn get(&self, id: TensorId, channel: usize) -> Values {
        self.0.get(&id).and_then(|values| values.get(channel)).copied().unwrap_or((i8::MIN, i8::MAX))
    }

    fn constant(&self, id: TensorId, channel: usize) -> Option<i8> {
        let (low, high) = self.get(id, channel);
        (low == high).then_some(low)
    }

    /// What the channels of a node's output can be.
    fn values(&self, graph: &Graph, node: &Node) -> Vec<Values> {
        let count = graph.tensor(node.output).shape.dims()[3];
        let input = node.inputs[0];
        let sums = |window: Option<&Window>, range: Range, depthwise: bool| {
            self.sums(graph, node, window, range, depthwise)
        };
        let each = |of: &dyn Fn(Values) -> Values| (0..count).map(|c| of(self.get(input, c))).collect();
        let found = match (&node.op, kind(graph, node)) {
            (GraphOp::Conv2dI8 { window, range }, Kind::Mixes) => sums(Some(window), *range, false),
            (GraphOp::FullyConnectedI8 { range }, Kind::Mixes) => sums(None, *range, false),
            (GraphOp::DepthwiseConv2dI8 { window, range }, Kind::Keeps) => sums(Some(window), *range, true),
            // The mean and the maximum of some values lie among them.
            (GraphOp::MaxPool2dI8 { range, .. } | GraphOp::AveragePool2dI8 { range, .. }, Kind::Keeps) => {
                let (least, most) = clamp(*range);
                Some(each(&|(low, high)| (low.clamp(least, most), high.clamp(least, most))))
            }
            (GraphOp::Reshape, Kind::Keeps) => Some(each(&|values| values)),
            (GraphOp::LookupI8, Kind::Keeps) => match &graph.tensor(node.inputs[1]).value {
                Some(Value::I8(table)) => {
                    let at = |value: i8| table.get((i32::from(value) + 128) as usize).copied();
                    let values = |(low, high): Values| {
                        let all: Vec<i8> = (low..=high).filter_map(at).collect();
                        let least = all.iter().copied().min().unwrap_or(i8::MIN);
                        (least, all.iter().copied().max().unwrap_or(i8::MAX))
                    };
                    Some(each(&values))
                }
                _ => None,
            },
            _ => None,
        };
        found.unwrap_or_else(|| vec![(i8::MIN, i8::MAX); count])
    }

    /// The values of a layer that sums up products, from the least and the greatest sum of each channel: requantizing keeps their order.
    fn sums(
        &self,
        graph: &Graph,
        node: &Node,
        window: Option<&Window>,
        range: Range,
        depthwise: bool,
    ) -> Option<Vec<Values>> {
        let (weights, records) = constants(graph, node)?;
        let (input, count) = (node.inputs[0], records.len());
        let in_c = graph.tensor(input).shape.dims()[3];
        let padding = zero_point(graph, input) as i8;
        let padded = window.is_some_and(has_padding);
        let per_channel = weights.len().checked_div(count)?;
        let zero_point = zero_point(graph, node.output);
        let (min, max) = (range.min.into(), range.max.into());
        let channel = |(channel, record): (usize, &Channel)| {
            let (mut least, mut most) = (i64::from(record.bias), i64::from(record.bias));
            for tap in 0..per_channel {
                let (weight, in_channel) = if depthwise {
                    (weights[tap * count + channel], channel)
                } else {
                    (weights[channel * per_channel + tap], tap % in_c)
                };
                let (mut low, mut high) = self.get(input, in_channel);
                if padded {
                    (low, high) = (low.min(padding), high.max(padding));
                }
                let products = [low, high].map(|value| i64::from(value) * i64::from(weight));
                least += products.into_iter().min().unwrap_or(0);
                most += products.into_iter().max().unwrap_or(0);
            }
            let output = |sum: i64| {
                // What is shifted to the left has to have room for it.
                let shifted = sum.checked_mul(1 << record.multiplier.shift.clamp(0, 31))?;
                i32::try_from(shifted).ok()?;
                Some(requantize(sum as i32, record.multiplier, zero_point, min, max))
            };
            Some((output(least)?, output(most)?))
        };
        records.iter().enumerate().map(channel).collect()
    }

    /// Which channels of which tensors leave.
    fn dropped(&self, graph: &Graph) -> HashMap<TensorId, Vec<bool>> {
        let mut dropped: HashMap<TensorId, Vec<bool>> = HashMap::new();
        for node in &graph.nodes {
            if is_activation(graph, node.output) && !graph.outputs.contains(&node.output) {
                let leaves = !matches!(kind(graph, node), Kind::Other);
                dropped.insert(node.output, vec![leaves; graph.tensor(node.output).shape.dims()[3]]);
            }
        }
        // What cannot leave keeps others, until nothing changes any more.
        loop {
            let mut change = false;
            let leaves = |dropped: &HashMap<TensorId, Vec<bool>>, id: TensorId, channel: usize| {
                dropped.get(&id).and_then(|dropped| dropped.get(channel)).copied().unwrap_or(false)
            };
            let ids: Vec<TensorId> = dropped.keys().copied().collect();
            for &id in &ids {
                for channel in 0..dropped[&id].len() {
                    if dropped[&id][channel]
                        && !self.can_leave(graph, id, channel, &|id, channel| leaves(&dropped, id, channel))
                    {
                        dropped.get_mut(&id).into_iter().for_each(|dropped| dropped[channel] = false);
                        change = true;
                    }
                }
            }
            if change {
                continue;
            }
            // Nothing, or a number that kernels do not like, is not left. What stays in one tensor stays in all that are tied to it: the lowest channels.
            for &id in &ids {
                let dropped = dropped.get_mut(&id).map(Vec::as_mut_slice).unwrap_or_default();
                let count = dropped.iter().filter(|&&dropped| dropped).count();
                let left = dropped.len() - count;
                let together = if dropped.len().is_multiple_of(TOGETHER) { TOGETHER } else { 1 };
                let wanted = left.max(1).next_multiple_of(together).min(dropped.len()) - left;
                for dropped in dropped.iter_mut().filter(|dropped| **dropped).take(wanted) {
                    *dropped = false;
                    change = true;
                }
            }
            if !change {
                return dropped;
            }
        }
    }

    /// Whether nothing needs a channel, if certain others leave.
    fn can_leave(
        &self,
        graph: &Graph,
        id: TensorId,
        channel: usize,
        leaves: &dyn Fn(TensorId, usize) -> bool,
    ) -> bool {
        let is_free = |node: &Node| match kind(graph, node) {
            Kind::Mixes => self.is_foldable(graph, node, channel),
            Kind::Keeps => leaves(node.output, channel),
            Kind::Other => false,
        };
        let mut consumers =
            graph.nodes.iter().filter(|node| node.inputs.contains(&id) || node.updates.contains(&id));
        let made = graph.nodes.iter().filter(|node| node.output == id).all(|node| match kind(graph, node) {
            Kind::Mixes => true,
            Kind::Keeps => activations(graph, node).all(|input| leaves(input, channel)),
            Kind::Other => false,
        });
        made && consumers.all(is_free)
    }

    /// Whether a layer can do without a channel of its input: its weights there are zero, or the channel is the same at every tap.
    fn is_foldable(&self, graph: &Graph, node: &Node, channel: usize) -> bool {
        let input = node.inputs[0];
        let Some((weights, _)) = constants(graph, node) else { return false };
        let in_c = graph.tensor(input).shape.dims()[3];
        if weights.iter().skip(channel).step_by(in_c).all(|&weight| weight == 0) {
            return true;
        }
        let padded = matches!(&node.op, GraphOp::Conv2dI8 { window, .. } if has_padding(window));
        let constant = self.constant(input, channel);
        constant.is_some_and(|value| !padded || i32::from(value) == zero_point(graph, input))
    }

    /// The graph without what leaves.
    fn without(&self, mut graph: Graph, dropped: &HashMap<TensorId, Vec<bool>>) -> Graph {
        let none = Vec::new();
        let original = graph.clone();
        for (index, node) in original.nodes.iter().enumerate() {
            let of = |id: TensorId| dropped.get(&id).unwrap_or(&none);
            let (input, output) = (of(node.inputs.first().copied().unwrap_or(node.output)), of(node.output));
            if !input.contains(&true) && !output.contains(&true) {
                continue;
            }
            let is_depthwise = matches!(node.op, GraphOp::DepthwiseConv2dI8 { .. });
            if let Some((weights, records)) = constants(&original, node) {
                let [filter, table] = [node.inputs[1], node.inputs[2]];
                let shape = original.tensor(filter).shape;
                let (weights, records) = if is_depthwise {
                    keep_depthwise(weights, &records, output)
                } else {
                    let in_c = shape.dims()[3];
                    let value = |channel: usize| self.constant(node.inputs[0], channel).unwrap_or(0);
                    keep(weights, &records, in_c, [input, output], value)
                };
                let mut dims = shape.0;
                let left = records.len() as u32;
                if is_depthwise {
                    dims[3] = left;
                } else {
                    dims[0] = left;
                    dims[3] -= input.iter().filter(|&&dropped| dropped).count() as u32;
                }
                let words = records.iter().flat_map(|record| record.words()).collect();
                // Other nodes may have the same constants.
                let mut renewed = |id: TensorId, shape, value| {
                    let mut tensor = original.tensor(id).clone();
                    (tensor.shape, tensor.value) = (shape, Some(value));
                    if original.consumers(id).len() > 1 {
                        tensor.name = format!("{}/{}", node.name, tensor.name);
                        graph.add_tensor(tensor)
                    } else {
                        *graph.tensor_mut(id) = tensor;
                        id
                    }
                };
                let filter = renewed(filter, Shape(dims), Value::I8(weights));
                let table = renewed(table, Shape([1, 1, left, CHANNEL_WORDS as u32]), Value::I32(words));
                graph.nodes[index].inputs[1..].copy_from_slice(&[filter, table]);
            }
        }
        for (&id, dropped) in dropped {
            let Shape(dims) = &mut graph.tensor_mut(id).shape;
            dims[3] -= dropped.iter().filter(|&&dropped| dropped).count() as u32;
        }
        graph.without_unused_tensors()
    }
}

/// The weights and records of a layer without these input and output channels; what an input channel added to each sum is part of the bias.
fn keep(
    weights: &[i8],
    records: &[Channel],
    in_c: usize,
    [input, output]: [&[bool]; 2],
    value: impl Fn(usize) -> i8,
) -> (Vec<i8>, Vec<Channel>) {
    let leaves = |dropped: &[bool], channel: usize| dropped.get(channel).copied().unwrap_or(false);
    let per_channel = weights.len() / records.len().max(1);
    let (mut kept, mut kept_records) = (Vec::new(), Vec::new());
    for (channel, (&record, row)) in records.iter().zip(weights.chunks(per_channel.max(1))).enumerate() {
        if leaves(output, channel) {
            continue;
        }
        let mut bias = record.bias;
        for (tap, &weight) in row.iter().enumerate() {
            let in_channel = tap % in_c.max(1);
            if leaves(input, in_channel) {
                bias = bias.wrapping_add(i32::from(weight) * i32::from(value(in_channel)));
            } else {
                kept.push(weight);
            }
        }
        kept_records.push(Channel { bias, ..record });
    }
    (kept, kept_records)
}

/// The same of a depthwise layer, whose channels are the innermost.
fn keep_depthwise(weights: &[i8], records: &[Channel], output: &[bool]) -> (Vec<i8>, Vec<Channel>) {
    let stays = |channel: usize| !output.get(channel).copied().unwrap_or(false);
    let count = records.len().max(1);
    let kept =
        weights.iter().enumerate().filter(|(index, _)| stays(index % count)).map(|(_, &weight)| weight);
    let records =
        records.iter().enumerate().filter(|&(channel, _)| stays(channel)).map(|(_, &record)| record);
    (kept.collect(), records.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::calibrate::GraphRun;
    use crate::compile::quantize::{Options, post_training};
    use crate::compile::{fold_batch_norm, fuse_activation};
    use crate::graph::Network;
    use crate::recipe;

    fn int8(network: Network) -> Graph {
        let graph = fuse_activation(fold_batch_norm(network.seed(3).build().unwrap()));
        let mut fill = |sample: usize, input: &mut [f32]| {
            let value = |place: usize| ((place + 1000 * sample) as f32 * 12.9898).sin() * 2.0;
            input.iter_mut().enumerate().for_each(|(place, slot)| *slot = value(place));
        };
        post_training(&graph, &recipe::Quantization::default(), Options::default(), 8, &mut fill).unwrap()
    }

    /// Sets the weights of the channels of a layer to zero, and their biases.
    fn kill(graph: &mut Graph, name: &str, channels: &[usize], bias: i32) {
        let node = graph.nodes.iter().find(|node| node.name == name).unwrap().clone();
        let depthwise = matches!(node.op, GraphOp::DepthwiseConv2dI8 { .. });
        let Some(Value::I32(words)) = &mut graph.tensor_mut(node.inputs[2]).value else { panic!("{name}") };
        channels.iter().for_each(|&channel| words[CHANNEL_WORDS * channel] = bias);
        let count = words.len() / CHANNEL_WORDS;
        let Some(Value::I8(weights)) = &mut graph.tensor_mut(node.inputs[1]).value else { panic!("{name}") };
        let row = weights.len() / count;
        for (index, weight) in weights.iter_mut().enumerate() {
            if channels.contains(&if depthwise { index % count } else { index / row }) {
                *weight = 0;
            }
        }
    }

    /// The channels of each layer, after eliminating those that are dead; the outputs are the same.
    fn channels(graph: &Graph) -> Vec<(String, u32)> {
        let less = eliminate_dead_channels(graph.clone());
        less.validate().unwrap();
        let mut runs = [graph, &less].map(|graph| GraphRun::new(graph).unwrap());
        for seed in 0..8usize {
            let outputs = [graph, &less].into_iter().zip(&mut runs).map(|(graph, run)| {
                let input = run.activation_mut::<i8>(graph.inputs[0]);
                let value = |place: usize| ((place + 977 * seed).wrapping_mul(0x9E37_79B1) >> 24) as u8 as i8;
                input.iter_mut().enumerate().for_each(|(place, slot)| *slot = value(place));
                run.run();
                run.activation::<i8>(graph.outputs[0]).to_vec()
            });
            let [all, left] = outputs.collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(all, left);
        }
        let of = |node: &Node| (node.name.clone(), less.tensor(node.output).shape.0[3]);
        less.nodes
            .iter()
            .map(of)
            .filter(|(name, _)| name.contains("conv") || name.contains("fully"))
            .collect()
    }

    fn expected(counts: &[(&str, u32)]) -> Vec<(String, u32)> {
        counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    fn separable() -> Graph {
        let network = Network::new("n", [8, 8, 2]).conv_2d(8, 3).relu().depthwise_conv_2d(3).relu();
        int8(network.conv_2d(12, 1).relu().global_average_pool_2d().fully_connected(4))
    }

    #[test]
    fn a_network_without_dead_channels_stays() {
        let graph = separable();
        assert_eq!(eliminate_dead_channels(graph.clone()), graph);
    }

    #[test]
    fn channels_leave_on_both_sides_of_what_keeps_them_apart() {
        let mut graph = separable();
        kill(&mut graph, "conv_2d_1", &[0, 3, 4, 7], 0);
        kill(&mut graph, "conv_2d_2", &[1, 2, 5, 8, 11], 0);
        let left = [("conv_2d_1", 4), ("depthwise_conv_2d_1", 4), ("conv_2d_2", 8), ("fully_connected_1", 4)];
        assert_eq!(channels(&graph), expected(&left));
    }

    #[test]
    fn what_only_dead_channels_read_is_dead() {
        let mut graph = separable();
        // Of the first layer, nothing looks at what these depthwise channels would read; they are a constant above zero.
        kill(&mut graph, "depthwise_conv_2d_1", &[0, 1, 2, 3, 4], 3000);
        let left =
            [("conv_2d_1", 4), ("depthwise_conv_2d_1", 4), ("conv_2d_2", 12), ("fully_connected_1", 4)];
        assert_eq!(channels(&graph), expected(&left));
    }

    #[test]
    fn a_constant_that_is_not_the_zero_point_stays_before_padding() {
        let network = Network::new("n", [8, 8, 2]).conv_2d(8, 3).relu();
        let mut graph =
            int8(network.clone().conv_2d(4, 3).relu().global_average_pool_2d().fully_connected(4));
        kill(&mut graph, "conv_2d_1", &[0, 1, 2, 3], 3000);
        assert_eq!(channels(&graph)[0], ("conv_2d_1".to_owned(), 8));
        let mut graph = int8(network.conv_2d(4, 1).relu().global_average_pool_2d().fully_connected(4));
        kill(&mut graph, "conv_2d_1", &[0, 1, 2, 3], 3000);
        assert_eq!(channels(&graph)[0], ("conv_2d_1".to_owned(), 4));
    }

    #[test]
    fn sums_keep_what_one_side_needs_and_one_channel_is_left_of_all() {
        let network =
            Network::new("n", [8, 8, 4]).conv_2d(4, 3).relu().tap("a").conv_2d(4, 3).add("a").relu();
        let mut graph = int8(network.conv_2d(4, 1).relu().global_average_pool_2d().fully_connected(4));
        kill(&mut graph, "conv_2d_2", &[0, 1, 2, 3], 0);
        kill(&mut graph, "conv_2d_3", &[0, 1, 2, 3], 0);
        let left = [("conv_2d_1", 4), ("conv_2d_2", 4), ("conv_2d_3", 4), ("fully_connected_1", 4)];
        assert_eq!(channels(&graph), expected(&left));
        // A layer of which nothing is needed keeps as many channels as kernels compute at once.
        let wide = Network::new("n", [8, 8, 4]).conv_2d(12, 1).relu().conv_2d(5, 1).relu();
        let mut graph = int8(wide.global_average_pool_2d().fully_connected(4));
        kill(&mut graph, "conv_2d_1", &(0..12).collect::<Vec<_>>(), 0);
        kill(&mut graph, "conv_2d_2", &[0, 2, 4], 0);
        // All that the second layer reads is constant, and so is what it computes: one channel is left.
        let left = [("conv_2d_1", 4), ("conv_2d_2", 1), ("fully_connected_1", 4)];
        assert_eq!(channels(&graph), expected(&left));
    }
}
