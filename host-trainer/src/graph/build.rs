//! The builder: a network as a chain of layers and their modifiers.

use std::collections::HashMap;

use smidgen::Shape;
use smidgen::geometry::{Axis, Window};
use smidgen::ops::activation::Activation;

use super::error::{GraphError, Problem};
use super::initialize::Initialization;
use super::op::GraphOp;
use super::structure::{Graph, Role, TensorId, Value};

/// Padding of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// TensorFlow's SAME: as many outputs as inputs divided by the stride, rounded up; the smaller half of the padding first.
    #[default]
    Same,
    /// None.
    Valid,
    /// So many rows and columns.
    Explicit {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns to the left.
        left: usize,
        /// Columns to the right.
        right: usize,
    },
}

/// Height and width of a kernel, a stride or a dilation; one number stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Over the height.
    pub y: usize,
    /// Over the width.
    pub x: usize,
}

impl From<usize> for Kernel {
    fn from(both: usize) -> Self {
        Self { y: both, x: both }
    }
}

impl From<[usize; 2]> for Kernel {
    fn from([y, x]: [usize; 2]) -> Self {
        Self { y, x }
    }
}

/// A window that waits for its input's size.
#[derive(Clone, Copy, Debug)]
struct Sliding {
    kernel: Kernel,
    stride: Kernel,
    dilation: Kernel,
    padding: Padding,
}

impl Sliding {
    fn new(kernel: Kernel, stride: Kernel, padding: Padding) -> Self {
        Self { kernel, stride, dilation: 1.into(), padding }
    }

    fn window(&self, input: Shape) -> Result<Window, Problem> {
        let [_, height, width, _] = input.dims();
        let (before, after) = match self.padding {
            Padding::Explicit { top, bottom, left, right } => ((top, left), (bottom, right)),
            Padding::Same | Padding::Valid => ((0, 0), (0, 0)),
        };
        let axis = |kernel, stride, dilation, pad_before, pad_after, length| {
            let plain = Axis { kernel, stride, dilation, pad_before, pad_after };
            match self.padding {
                Padding::Same if kernel > 0 && stride > 0 && dilation > 0 => {
                    let too_large = Problem::Number {
                        what: "the extent of the window",
                        found: kernel,
                        expected: "a number that fits 64 bits",
                    };
                    Axis::same(kernel, stride, dilation, length).ok_or(too_large)
                }
                _ => Ok(plain),
            }
        };
        Ok(Window {
            y: axis(self.kernel.y, self.stride.y, self.dilation.y, before.0, after.0, height)?,
            x: axis(self.kernel.x, self.stride.x, self.dilation.x, before.1, after.1, width)?,
        })
    }
}

#[derive(Clone, Debug)]
enum Layer {
    Conv2d { filters: usize, sliding: Sliding, bias: Option<bool> },
    DepthwiseConv2d { multiplier: usize, sliding: Sliding, bias: Option<bool> },
    FullyConnected { units: usize, bias: Option<bool> },
    MaxPool2d(Sliding),
    AveragePool2d(Sliding),
    GlobalAveragePool2d,
    BatchNorm { epsilon: f32, momentum: f32 },
    Activation(Activation),
    Softmax,
    Reshape([usize; 3]),
    Flatten,
    Add(String),
    Tap(String),
    From(String),
}

impl Layer {
    /// The stem of its name: TensorFlow Lite's.
    fn stem(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv_2d",
            Self::DepthwiseConv2d { .. } => "depthwise_conv_2d",
            Self::FullyConnected { .. } => "fully_connected",
            Self::MaxPool2d(_) => "max_pool_2d",
            Self::AveragePool2d(_) | Self::GlobalAveragePool2d => "average_pool_2d",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Activation(Activation::Relu6) => "relu6",
            Self::Activation(Activation::LeakyRelu { .. }) => "leaky_relu",
            Self::Activation(_) => "relu",
            Self::Softmax => "softmax",
            Self::Reshape(_) | Self::Flatten => "reshape",
            Self::Add(_) => "add",
            Self::Tap(_) => "tap",
            Self::From(_) => "from",
        }
    }
}

/// A network that is being described; [`Network::build`] makes it a [`Graph`].
///
/// Layers stand in the order in which data flows. A modifier changes the layer before it. Mistakes are collected and come out of
/// `build`.
///
/// Convolutions have SAME padding and stride 1 unless a modifier says otherwise, pools VALID padding and their kernel as stride.
/// A layer that a batch norm follows has no bias unless [`with_bias`](Self::with_bias) asks for one.
///
/// A residual block remembers a place and adds it later:
///
/// ```
/// use smidgen_trainer::graph::Network;
///
/// let graph = Network::new("residual", [8, 8, 4])
///     .tap("in")
///     .conv_2d(8, 3).stride(2).batch_norm().relu()
///     .conv_2d(8, 3).batch_norm()
///     .tap("main")
///     .from("in").conv_2d(8, 1).stride(2)
///     .add("main").relu()
///     .build()?;
/// assert_eq!(graph.tensor(graph.outputs[0]).shape.0, [1, 4, 4, 8]);
/// # Ok::<(), smidgen_trainer::graph::GraphError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Network {
    name: String,
    input: [usize; 3],
    layers: Vec<Layer>,
    class_names: Vec<String>,
    seed: u64,
    initialization: Initialization,
    mistake: Option<(String, Problem)>,
}

/// The batch norm's default epsilon and momentum.
const EPSILON: f32 = 1e-3;
const MOMENTUM: f32 = 0.1;

impl Network {
    /// A network for inputs of this shape (height, width, channels).
    pub fn new(name: impl Into<String>, input: [usize; 3]) -> Self {
        Self {
            name: name.into(),
            input,
            layers: Vec::new(),
            class_names: Vec::new(),
            seed: 0,
            initialization: Initialization::default(),
            mistake: None,
        }
    }

    fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// A convolution with `filters` output channels.
    pub fn conv_2d(self, filters: usize, kernel: impl Into<Kernel>) -> Self {
        let sliding = Sliding::new(kernel.into(), 1.into(), Padding::Same);
        self.layer(Layer::Conv2d { filters, sliding, bias: None })
    }

    /// A convolution of each channel by itself.
    pub fn depthwise_conv_2d(self, kernel: impl Into<Kernel>) -> Self {
        let sliding = Sliding::new(kernel.into(), 1.into(), Padding::Same);
        self.layer(Layer::DepthwiseConv2d { multiplier: 1, sliding, bias: None })
    }

    /// Every output from every input; the input must be a vector.
    #[doc(alias = "linear")]
    #[doc(alias = "dense")]
    pub fn fully_connected(self, units: usize) -> Self {
        self.layer(Layer::FullyConnected { units, bias: None })
    }

    /// The maximum over windows.
    pub fn max_pool_2d(self, kernel: impl Into<Kernel>) -> Self {
        let kernel = kernel.into();
        self.layer(Layer::MaxPool2d(Sliding::new(kernel, kernel, Padding::Valid)))
    }

    /// The mean over windows.
    pub fn average_pool_2d(self, kernel: impl Into<Kernel>) -> Self {
        let kernel = kernel.into();
        self.layer(Layer::AveragePool2d(Sliding::new(kernel, kernel, Padding::Valid)))
    }

    /// The mean over the whole height and width.
    pub fn global_average_pool_2d(self) -> Self {
        self.layer(Layer::GlobalAveragePool2d)
    }

    /// Normalizes each channel over the batch.
    pub fn batch_norm(self) -> Self {
        self.layer(Layer::BatchNorm { epsilon: EPSILON, momentum: MOMENTUM })
    }

    /// `max(x, 0)`.
    pub fn relu(self) -> Self {
        self.layer(Layer::Activation(Activation::Relu))
    }

    /// `min(max(x, 0), 6)`.
    pub fn relu6(self) -> Self {
        self.layer(Layer::Activation(Activation::Relu6))
    }

    /// `x` for positive `x`, else `alpha * x`; `alpha` in `0.0..=1.0`.
    pub fn leaky_relu(self, alpha: f32) -> Self {
        self.layer(Layer::Activation(Activation::LeakyRelu { alpha }))
    }

    /// Probabilities. Training with cross-entropy skips a softmax at the end: the loss has one of its own.
    pub fn softmax(self) -> Self {
        self.layer(Layer::Softmax)
    }

    /// The same elements in another shape (height, width, channels).
    pub fn reshape(self, shape: [usize; 3]) -> Self {
        self.layer(Layer::Reshape(shape))
    }

    /// The same elements as a vector.
    pub fn flatten(self) -> Self {
        self.layer(Layer::Flatten)
    }

    /// Remembers this place by a name, for [`add`](Self::add) and [`from`](Self::from).
    pub fn tap(self, name: impl Into<String>) -> Self {
        self.layer(Layer::Tap(name.into()))
    }

    /// Adds what was at the tap.
    #[expect(clippy::should_implement_trait, reason = "the layer is called add, as in every framework")]
    pub fn add(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::Add(tap.into()))
    }

    /// Goes on from the tap instead of from the layer before.
    pub fn from(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::From(tap.into()))
    }

    /// Step of the window of the layer before.
    pub fn stride(self, stride: impl Into<Kernel>) -> Self {
        let stride = stride.into();
        self.modify_window("stride", |sliding| sliding.stride = stride)
    }

    /// Padding of the layer before.
    pub fn padding(self, padding: Padding) -> Self {
        self.modify_window("padding", |sliding| sliding.padding = padding)
    }

    /// [`Padding::Valid`] for the layer before.
    pub fn valid(self) -> Self {
        self.padding(Padding::Valid)
    }

    /// Step between the taps of the kernel of the layer before.
    pub fn dilation(self, dilation: impl Into<Kernel>) -> Self {
        let dilation = dilation.into();
        self.modify_window("dilation", |sliding| sliding.dilation = dilation)
    }

    /// Output channels per input channel of the depthwise convolution before.
    pub fn channel_multiplier(self, multiplier: usize) -> Self {
        self.modify("channel_multiplier", "a depthwise_conv_2d", |layer| match layer {
            Layer::DepthwiseConv2d { multiplier: place, .. } => {
                *place = multiplier;
                true
            }
            _ => false,
        })
    }

    /// No bias in the layer before.
    pub fn no_bias(self) -> Self {
        self.modify_bias("no_bias", false)
    }

    /// A bias in the layer before, even if a batch norm follows.
    pub fn with_bias(self) -> Self {
        self.modify_bias("with_bias", true)
    }

    /// What the batch norm before adds to the variance; positive.
    pub fn epsilon(self, epsilon: f32) -> Self {
        self.modify("epsilon", "a batch_norm", |layer| match layer {
            Layer::BatchNorm { epsilon: place, .. } => {
                *place = epsilon;
                true
            }
            _ => false,
        })
    }

    /// Share of the newest batch in the running statistics of the batch norm before (PyTorch's meaning), in `0.0..=1.0`.
    pub fn momentum(self, momentum: f32) -> Self {
        self.modify("momentum", "a batch_norm", |layer| match layer {
            Layer::BatchNorm { momentum: place, .. } => {
                *place = momentum;
                true
            }
            _ => false,
        })
    }

    /// The seed of the initial weights; 0 if nothing is said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The distribution of the initial weights.
    pub fn initialization(mut self, initialization: Initialization) -> Self {
        self.initialization = initialization;
        self
    }

    /// Names of the classes, in the order of the outputs.
    pub fn class_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.class_names = names.into_iter().map(Into::into).collect();
        self
    }

    fn modify(
        mut self,
        modifier: &'static str,
        applies_to: &'static str,
        change: impl FnOnce(&mut Layer) -> bool,
    ) -> Self {
        let names = layer_names(&self.layers);
        let problem = match self.layers.last_mut() {
            Some(layer) => (!change(layer)).then_some(Problem::Modifier { modifier, applies_to }),
            None => Some(Problem::NoLayer { modifier, applies_to }),
        };
        let layer = names.last().map_or("input", String::as_str).to_owned();
        self.mistake = self.mistake.or(problem.map(|problem| (layer, problem)));
        self
    }

    fn modify_window(self, modifier: &'static str, change: impl FnOnce(&mut Sliding)) -> Self {
        self.modify(modifier, "convolutions and pools", |layer| match layer {
            Layer::Conv2d { sliding, .. }
            | Layer::DepthwiseConv2d { sliding, .. }
            | Layer::MaxPool2d(sliding)
            | Layer::AveragePool2d(sliding) => {
                change(sliding);
                true
            }
            _ => false,
        })
    }

    fn modify_bias(self, modifier: &'static str, wanted: bool) -> Self {
        self.modify(modifier, "convolutions and fully connected layers", |layer| match layer {
            Layer::Conv2d { bias, .. }
            | Layer::DepthwiseConv2d { bias, .. }
            | Layer::FullyConnected { bias, .. } => {
                *bias = Some(wanted);
                true
            }
            _ => false,
        })
    }

    /// The graph, with initial weights.
    ///
    /// # Errors
    /// The first layer that does not fit, by its name, with the numbers that do not fit.
    pub fn build(self) -> Result<Graph, GraphError> {
        let layer_error =
            |layer: String, problem| GraphError::Layer { network: self.name.clone(), layer, problem };
        if let Some((layer, problem)) = self.mistake.clone() {
            return Err(layer_error(layer, problem));
        }
        if self.layers.is_empty() {
            return Err(GraphError::Graph { network: self.name.clone(), problem: Problem::Empty });
        }
        let mut building = Building::new(&self)
            .map_err(|problem| GraphError::Graph { network: self.name.clone(), problem })?;
        for (index, name) in layer_names(&self.layers).into_iter().enumerate() {
            let layer = &self.layers[index];
            let bias = !matches!(self.layers.get(index + 1), Some(Layer::BatchNorm { .. }));
            building.push(layer, &name, bias).map_err(|problem| layer_error(name.clone(), problem))?;
        }
        let mut graph = building.graph;
        graph.outputs.push(building.at);
        graph.class_names.clone_from(&self.class_names);
        graph.initialize(self.seed, self.initialization);
        graph.validate()?;
        Ok(graph)
    }
}

/// Each layer's name: its stem and how many of that stem there were.
fn layer_names(layers: &[Layer]) -> Vec<String> {
    let mut counts: HashMap<&'static str, usize> = HashMap::new();
    let name = |layer: &Layer| {
        let count = counts.entry(layer.stem()).or_default();
        *count += 1;
        format!("{}_{count}", layer.stem())
    };
    layers.iter().map(name).collect()
}

struct Building {
    graph: Graph,
    at: TensorId,
    taps: Vec<(String, TensorId)>,
}

impl Building {
    fn new(network: &Network) -> Result<Self, Problem> {
        let mut graph = Graph::new(network.name.clone());
        let [height, width, channels] = network.input;
        let shape = to_shape([1, height, width, channels], "the smallest dimension of the input")?;
        let at = graph.add_activation("input", shape);
        graph.inputs.push(at);
        Ok(Self { graph, at, taps: Vec::new() })
    }

    fn parameter(
        &mut self,
        layer: &str,
        kind: &str,
        shape: [usize; 4],
        role: Role,
    ) -> Result<TensorId, Problem> {
        let shape = to_shape(shape, "the smallest dimension of its weights")?;
        let elements = shape.elements().unwrap_or(0);
        let value = Value::F32(vec![0.0; elements]);
        Ok(self.graph.add_value(format!("{layer}/{kind}"), shape, role, value))
    }

    fn node(&mut self, name: &str, op: GraphOp, inputs: Vec<TensorId>) -> Result<(), Problem> {
        let tensors: Vec<_> = inputs.iter().map(|&id| self.graph.tensor(id)).collect();
        let (shape, _) = op.output(&tensors)?;
        self.node_to(name, op, inputs, shape);
        Ok(())
    }

    fn node_to(&mut self, name: &str, op: GraphOp, inputs: Vec<TensorId>, shape: Shape) {
        let output = self.graph.add_activation(name, shape);
        self.graph.add_node(name, op, inputs, output);
        self.at = output;
    }

    fn weighted(&mut self, name: &str, op: GraphOp, weights: [usize; 4], bias: bool) -> Result<(), Problem> {
        let out_c = weights[3];
        let mut inputs = vec![self.at, self.parameter(name, "weights", weights, Role::Weights)?];
        if bias {
            inputs.push(self.parameter(name, "bias", [1, 1, 1, out_c], Role::Bias)?);
        }
        self.node(name, op, inputs)
    }

    fn tapped(&self, tap: &str) -> Result<TensorId, Problem> {
        let found = self.taps.iter().find(|(name, _)| name == tap);
        let known = || self.taps.iter().map(|(name, _)| name.clone()).collect();
        found.map(|&(_, at)| at).ok_or_else(|| Problem::NoTap { tap: tap.to_owned(), known: known() })
    }

    fn push(&mut self, layer: &Layer, name: &str, default_bias: bool) -> Result<(), Problem> {
        let input = self.graph.tensor(self.at).shape;
        let [_, height, width, in_c] = input.dims();
        let activation = Activation::None;
        match layer {
            Layer::Conv2d { filters, sliding, bias } => {
                let op = GraphOp::Conv2d { window: sliding.window(input)?, activation };
                let weights = [sliding.kernel.y, sliding.kernel.x, in_c, *filters];
                self.weighted(name, op, weights, bias.unwrap_or(default_bias))
            }
            Layer::DepthwiseConv2d { multiplier, sliding, bias } => {
                let op = GraphOp::DepthwiseConv2d { window: sliding.window(input)?, activation };
                let weights = [1, sliding.kernel.y, sliding.kernel.x, in_c.saturating_mul(*multiplier)];
                self.weighted(name, op, weights, bias.unwrap_or(default_bias))
            }
            Layer::FullyConnected { units, bias } => {
                if height * width != 1 {
                    return Err(Problem::NotAVector { found: input });
                }
                let op = GraphOp::FullyConnected { activation };
                self.weighted(name, op, [1, 1, in_c, *units], bias.unwrap_or(default_bias))
            }
            Layer::MaxPool2d(sliding) => {
                self.node(name, GraphOp::MaxPool2d { window: sliding.window(input)? }, vec![self.at])
            }
            Layer::AveragePool2d(sliding) => {
                self.node(name, GraphOp::AveragePool2d { window: sliding.window(input)? }, vec![self.at])
            }
            Layer::GlobalAveragePool2d => {
                let whole = Kernel { y: height, x: width };
                let window = Sliding::new(whole, 1.into(), Padding::Valid).window(input)?;
                self.node(name, GraphOp::AveragePool2d { window }, vec![self.at])
            }
            &Layer::BatchNorm { epsilon, momentum } => {
                let table = [1, 1, 2, in_c];
                let parameters = self.parameter(name, "parameters", table, Role::BatchNormParameters)?;
                let running = self.parameter(name, "running", table, Role::RunningStatistics)?;
                let op = GraphOp::BatchNorm { epsilon, momentum, activation };
                self.node(name, op, vec![self.at, parameters, running])
            }
            &Layer::Activation(activation) => {
                self.node(name, GraphOp::Activation { activation }, vec![self.at])
            }
            Layer::Softmax => self.node(name, GraphOp::Softmax, vec![self.at]),
            Layer::Reshape(_) | Layer::Flatten => {
                let [out_h, out_w, out_c] =
                    if let Layer::Reshape(wanted) = *layer { wanted } else { [1, 1, height * width * in_c] };
                let output = to_shape([1, out_h, out_w, out_c], "the smallest dimension of the output")?;
                if output.elements() != input.elements() {
                    return Err(Problem::Elements { input, output });
                }
                self.node_to(name, GraphOp::Reshape, vec![self.at], output);
                Ok(())
            }
            Layer::Add(tap) => {
                let other = self.tapped(tap)?;
                self.node(name, GraphOp::Add { activation }, vec![self.at, other])
            }
            Layer::Tap(tap) => {
                if self.tapped(tap).is_ok() {
                    return Err(Problem::TapTwice { tap: tap.clone() });
                }
                self.taps.push((tap.clone(), self.at));
                Ok(())
            }
            Layer::From(tap) => {
                self.at = self.tapped(tap)?;
                Ok(())
            }
        }
    }
}

/// The dimensions as a shape, if they are one.
fn to_shape(dimensions: [usize; 4], what: &'static str) -> Result<Shape, Problem> {
    if dimensions.contains(&0) {
        return Err(Problem::Number { what, found: 0, expected: "at least 1" });
    }
    let shape = Shape(dimensions.map(|dimension| u32::try_from(dimension).unwrap_or(u32::MAX)));
    if shape.elements().is_none() { Err(Problem::TooLarge { what, shape }) } else { Ok(shape) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(network: Network) -> [u32; 4] {
        let graph = network.build().unwrap();
        graph.tensor(graph.outputs[0]).shape.0
    }

    fn message(network: Network) -> String {
        network.build().unwrap_err().to_string()
    }

    #[test]
    fn shapes_follow() {
        let input = || Network::new("n", [28, 28, 3]);
        assert_eq!(output(input().conv_2d(8, 3).stride(2)), [1, 14, 14, 8]);
        assert_eq!(output(input().conv_2d(8, 3).valid()), [1, 26, 26, 8]);
        assert_eq!(output(input().conv_2d(8, [10, 4]).stride([2, 1])), [1, 14, 28, 8]);
        assert_eq!(output(input().conv_2d(8, 3).valid().dilation(2)), [1, 24, 24, 8]);
        assert_eq!(output(input().depthwise_conv_2d(3).channel_multiplier(2)), [1, 28, 28, 6]);
        assert_eq!(output(input().max_pool_2d(3)), [1, 9, 9, 3]);
        assert_eq!(output(input().average_pool_2d(2).stride(1)), [1, 27, 27, 3]);
        assert_eq!(output(input().global_average_pool_2d().fully_connected(5)), [1, 1, 1, 5]);
        assert_eq!(output(input().flatten()), [1, 1, 1, 2352]);
        let padding = Padding::Explicit { top: 1, bottom: 2, left: 0, right: 1 };
        assert_eq!(output(input().conv_2d(8, 3).padding(padding)), [1, 29, 27, 8]);
    }

    #[test]
    fn a_bias_is_left_out_before_a_batch_norm() {
        let names = |network: Network| {
            let graph = network.build().unwrap();
            graph.tensors.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>()
        };
        let input = || Network::new("n", [4, 4, 1]);
        let bias = "conv_2d_1/bias".to_owned();
        assert!(names(input().conv_2d(2, 1).relu()).contains(&bias));
        assert!(!names(input().conv_2d(2, 1).no_bias().relu()).contains(&bias));
        assert!(!names(input().conv_2d(2, 1).batch_norm()).contains(&bias));
        assert!(names(input().conv_2d(2, 1).with_bias().batch_norm()).contains(&bias));
    }

    #[test]
    fn mistakes_are_named_with_their_numbers() {
        let input = || Network::new("net", [4, 5, 2]);
        assert_eq!(
            message(input().conv_2d(2, 1).conv_2d(2, 7).valid()),
            "net: layer conv_2d_2: a window of 7x7 does not fit the input of 4x5 (height x width) even once; use a smaller kernel or dilation, or pad"
        );
        assert_eq!(
            message(input().fully_connected(3)),
            "net: layer fully_connected_1: the input has shape [1, 4, 5, 2], expected a vector [1, 1, 1, C]; put flatten() or global_average_pool_2d() before it"
        );
        assert_eq!(
            message(input().tap("a").conv_2d(3, 1).add("a")),
            "net: layer add_1: the second input has shape [1, 4, 5, 2], expected [1, 4, 5, 3]"
        );
        assert_eq!(
            message(input().relu().stride(2)),
            "net: layer relu_1: stride does not apply to it; it modifies convolutions and pools"
        );
        assert_eq!(
            message(input().tap("a").add("b")),
            "net: layer add_1: there is no tap \"b\" before it; the taps are a"
        );
        assert_eq!(
            message(input().reshape([3, 3, 3])),
            "net: layer reshape_1: [1, 4, 5, 2] has 40 elements, [1, 3, 3, 3] has 27"
        );
        assert_eq!(
            message(input().conv_2d(2, 3).stride(0)),
            "net: layer conv_2d_1: the window over the height is 0, expected positive kernel, stride and dilation"
        );
        assert_eq!(
            message(Network::new("net", [4, 4, 1]).stride(2).relu()),
            "net: layer input: stride stands before the first layer; it modifies convolutions and pools"
        );
        assert_eq!(message(input()), "net: the network has no layers");
    }

    #[test]
    fn zeros_are_refused_wherever_they_stand() {
        let input = || Network::new("net", [4, 4, 2]);
        for network in [
            Network::new("net", [0, 4, 2]).relu(),
            input().conv_2d(0, 3),
            input().conv_2d(2, 0),
            input().conv_2d(2, 3).stride(0),
            input().conv_2d(2, 3).dilation(0),
            input().depthwise_conv_2d(3).channel_multiplier(0),
            input().max_pool_2d(0),
            input().reshape([0, 4, 2]),
            input().flatten().fully_connected(0),
        ] {
            let message = message(network);
            assert!(message.contains('0'), "{message}");
        }
    }
}
