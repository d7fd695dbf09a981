//! Of a convolution's weights, a part learns.

use std::collections::BTreeSet;
use std::fmt;

use smidgen::Shape;
use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;

use crate::graph::{Graph, GraphOp, Movement, MovementKind, Node, Role, TensorId, Value, even_weights};

/// What learns of the weights of a convolution that learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    #[default]
    All,
    /// Those that read the first of so many equal parts of the input channels (J. Lin et al.: *On-Device Training Under 256KB Memory*, 2022, update a part of the channels likewise).
    OneIn(usize),
    /// What is added to them, a product of two matrices with so many columns and rows between (E. Hu et al.: *Low-Rank Adaptation of Large Language Models*, 2021).
    Rank(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::OneIn(count) => write!(f, "one in {count}"),
            Self::Rank(rank) => write!(f, "rank {rank}"),
        }
    }
}

/// Lets of each convolution whose weights learn (`learning` has the names) only a part learn, which takes that much less memory.
///
/// The convolution keeps its weights, in flash. What is added to its sums is computed beside it: by a second convolution `NAME/change` of some channels, or by a convolution `NAME/down` to a few
/// channels, of which the weights are random, and a pointwise one `NAME/up` from these. What is added last begins at zero, so that the network begins as it was.
/// A convolution of which the part is not less than the whole learns as a whole.
#[must_use]
pub fn part(mut graph: Graph, learning: &mut BTreeSet<String>, part: Part) -> Graph {
    let mut index = 0;
    while index < graph.nodes.len() {
        let layer = Layer::at(&graph, index, learning);
        let more = layer.and_then(|layer| match part {
            Part::All => None,
            Part::OneIn(count) => layer.channels(&mut graph, learning, count),
            Part::Rank(rank) => layer.product(&mut graph, learning, rank),
        });
        index += more.unwrap_or(0) + 1;
    }
    graph
}

/// A convolution whose weights learn.
struct Layer {
    index: usize,
    node: Node,
    window: Window,
    activation: Activation,
    input: TensorId,
    weights: String,
    filter: Shape,
}

impl Layer {
    fn at(graph: &Graph, index: usize, learning: &BTreeSet<String>) -> Option<Self> {
        let node = graph.nodes.get(index)?.clone();
        let GraphOp::Conv2d { window, activation } = node.op else { return None };
        let (&input, &weights) = (node.inputs.first()?, node.inputs.get(1)?);
        let (filter, weights) = (graph.tensor(weights).shape, graph.tensor(weights).name.clone());
        let is_one_group = filter.0[2] == graph.tensor(input).shape.0[3];
        let found = Self { index, node, window, activation, input, weights, filter };
        (is_one_group && learning.contains(&found.weights)).then_some(found)
    }

    fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.node.name)
    }

    fn make(&self, what: &str, op: GraphOp, inputs: Vec<TensorId>, output: TensorId) -> Node {
        Node { name: self.name(what), op, inputs, output, updates: Vec::new() }
    }

    const fn plain(window: Window) -> GraphOp {
        GraphOp::Conv2d { window, activation: Activation::None }
    }

    /// The first of `count` parts of the input channels.
    fn channels(&self, graph: &mut Graph, learning: &mut BTreeSet<String>, count: usize) -> Option<usize> {
        let Shape([k_h, k_w, depth, channels]) = self.filter;
        let [n, h, w, in_c] = graph.tensor(self.input).shape.dims();
        let part = (depth as usize).checked_div(count)?.max(1);
        if part >= in_c {
            return None;
        }
        let ranges = [(0, 1, n), (0, 1, h), (0, 1, w), (0, 1, part)];
        let slice = Movement::slice(MovementKind::Slice, &[n, h, w, in_c], &ranges, &[n, h, w, part])?;
        let shape = Shape([k_h, k_w, part as u32, channels]);
        let zeros = Value::F32(vec![0.0; shape.elements()?]);
        let taken = graph.add_activation(self.name("part"), slice.output);
        let change = graph.add_value(self.name("change"), shape, Role::Weights, zeros);
        learning.insert(self.name("change"));
        let first = self.make("part", GraphOp::Movement(slice), vec![self.input], taken);
        let changed = graph.add_activation(self.name("change/output"), graph.tensor(self.node.output).shape);
        let second = self.make("change", Self::plain(self.window), vec![taken, change], changed);
        Some(self.replace(graph, learning, [first, second]))
    }

    /// A product of two smaller matrices.
    fn product(&self, graph: &mut Graph, learning: &mut BTreeSet<String>, rank: usize) -> Option<usize> {
        let Shape([k_h, k_w, depth, channels]) = self.filter;
        let rank_c = u32::try_from(rank).ok()?;
        let (down, up) = (Shape([k_h, k_w, depth, rank_c]), Shape([1, 1, rank_c, channels]));
        let (down_count, up_count) = (down.elements()?, up.elements()?);
        if rank == 0 || down_count + up_count >= self.filter.elements()? {
            return None;
        }
        let Shape([n, h, w, _]) = graph.tensor(self.node.output).shape;
        let narrow = graph.add_activation(self.name("down/output"), Shape([n, h, w, rank_c]));
        // With a variance of 1 over the rank, `down` times its transpose is the identity on average: a step changes the sums as a step of all weights would.
        let random = even_weights(&self.name("down"), rank, down_count);
        let down = graph.add_value(self.name("down"), down, Role::Weights, Value::F32(random));
        let zeros = Value::F32(vec![0.0; up_count]);
        let up = graph.add_value(self.name("up"), up, Role::Weights, zeros);
        learning.extend(["down", "up"].map(|what| self.name(what)));
        let first = self.make("down", Self::plain(self.window), vec![self.input, down], narrow);
        let changed = graph.add_activation(self.name("up/output"), graph.tensor(self.node.output).shape);
        let second = self.make("up", Self::plain(Window::ONE), vec![narrow, up], changed);
        Some(self.replace(graph, learning, [first, second]))
    }

    /// Puts the convolution without its activation, these nodes, and the sum of both in its place. Returns how many nodes there are more.
    fn replace(&self, graph: &mut Graph, learning: &mut BTreeSet<String>, change: [Node; 2]) -> usize {
        learning.remove(&self.weights);
        let output = self.node.output;
        let whole = graph.add_activation(self.name("as it was/output"), graph.tensor(output).shape);
        let plain = Node { op: Self::plain(self.window), output: whole, ..self.node.clone() };
        let [first, second] = change;
        let inputs = vec![whole, second.output];
        let sum = self.make("sum", GraphOp::Add { activation: self.activation }, inputs, output);
        let nodes = [first, plain, second, sum];
        let more = nodes.len() - 1;
        graph.nodes.splice(self.index..=self.index, nodes);
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    fn network() -> Graph {
        let network = Network::new("n", [4, 4, 8]).conv_2d(6, 1).conv_2d(5, 3).global_average_pool_2d();
        crate::compile::fuse_activation(network.fully_connected(2).build().unwrap())
    }

    fn learning() -> BTreeSet<String> {
        ["conv_2d_2/weights", "conv_2d_2/bias"].map(str::to_owned).into()
    }

    #[test]
    fn some_channels_learn() {
        let (graph, mut learning) = (network(), learning());
        let shared = part(graph.clone(), &mut learning, Part::OneIn(3));
        shared.validate().unwrap();
        let names: Vec<&str> = learning.iter().map(String::as_str).collect();
        assert_eq!(names, ["conv_2d_2/bias", "conv_2d_2/change"]);
        let change = shared.find("conv_2d_2/change").unwrap();
        assert_eq!(shared.tensor(change).shape, Shape([3, 3, 2, 5]));
        assert_eq!(shared.nodes.len(), graph.nodes.len() + 3);
        assert_eq!(part(graph.clone(), &mut self::learning(), Part::OneIn(1)), graph);
        let least = part(graph.clone(), &mut self::learning(), Part::OneIn(99));
        assert_eq!(least.tensor(least.find("conv_2d_2/change").unwrap()).shape, Shape([3, 3, 1, 5]));
    }

    #[test]
    fn a_product_is_learned() {
        let (graph, mut names) = (network(), learning());
        let changed = part(graph.clone(), &mut names, Part::Rank(2));
        changed.validate().unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["conv_2d_2/bias", "conv_2d_2/down", "conv_2d_2/up"]);
        let tensor = |name: &str| changed.tensor(changed.find(name).unwrap());
        assert_eq!(tensor("conv_2d_2/down").shape, Shape([3, 3, 6, 2]));
        assert_eq!(tensor("conv_2d_2/up").shape, Shape([1, 1, 2, 5]));
        let values = |name: &str| match &tensor(name).value {
            Some(Value::F32(values)) => values.clone(),
            other => panic!("{other:?}"),
        };
        assert!(values("conv_2d_2/up").iter().all(|&value| value == 0.0));
        // Uniform in plus and minus the root of 3 / 2.
        let down = values("conv_2d_2/down");
        assert!(down.iter().all(|value| value.abs() < 1.2248));
        assert!(down.iter().any(|&value| value > 1.1) && down.iter().any(|&value| value < -1.1));
        assert_eq!(changed.nodes.len(), graph.nodes.len() + 3);
        // 6 * 9 * 5 weights are 270; 5 columns and rows would be 295.
        assert_eq!(part(graph.clone(), &mut learning(), Part::Rank(5)), graph);
        assert_eq!(part(graph.clone(), &mut learning(), Part::All), graph);
    }
}
