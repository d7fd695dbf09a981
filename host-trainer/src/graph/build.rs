//! The builder: a network as a chain of layers and their modifiers.

mod blocks;
mod layers;

use std::collections::HashMap;

use smidgen::Shape;
use smidgen::geometry::{Axis, Window};
use smidgen::ops::activation::Activation;
use smidgen::ops::function::Function;

use self::blocks::{Block, Norm};
use self::layers::Building;
use super::error::{GraphError, Problem};
use super::initialize::Initialization;
use super::structure::Graph;

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

/// Of a transposed convolution: its window over the output, and the output's height and width.
fn transposed(sliding: &Sliding, input: Shape) -> Result<(Window, [u32; 2]), Problem> {
    let [_, height, width, _] = input.dims();
    let Sliding { kernel, stride, dilation, .. } = *sliding;
    if [kernel, stride, dilation].iter().any(|pair| pair.y == 0 || pair.x == 0) {
        let expected = "positive kernel, stride and dilation";
        return Err(Problem::Number { what: "the window over the output", found: 0, expected });
    }
    let too_large = |found| Problem::Number {
        what: "the size of the output",
        found,
        expected: "a positive number below 2^32",
    };
    let size = |length: usize, axis: Axis| {
        let strides = length.checked_mul(axis.stride)?;
        let reached = length.checked_sub(1)?.checked_mul(axis.stride)?.checked_add(axis.extent()?)?;
        let size = match sliding.padding {
            Padding::Same => strides,
            Padding::Valid => reached.max(strides),
            Padding::Explicit { .. } => reached.checked_sub(axis.pad_before)?.checked_sub(axis.pad_after)?,
        };
        u32::try_from(size).ok().filter(|&size| size > 0)
    };
    // For SAME padding, the window depends on the size, which depends on nothing but the stride.
    let plain = Sliding { padding: Padding::Valid, ..*sliding };
    let Window { y, x } = if let Padding::Same = sliding.padding { plain } else { *sliding }.window(input)?;
    let height = size(height, y).ok_or_else(|| too_large(height))?;
    let width = size(width, x).ok_or_else(|| too_large(width))?;
    Ok((sliding.window(Shape([1, height, width, 1]))?, [height, width]))
}

#[derive(Clone, Debug)]
enum Layer {
    Conv2d { filters: usize, groups: usize, sliding: Sliding, bias: Option<bool> },
    DepthwiseConv2d { multiplier: usize, sliding: Sliding, bias: Option<bool> },
    TransposeConv { filters: usize, sliding: Sliding, bias: Option<bool> },
    FullyConnected { units: usize, bias: Option<bool> },
    Lstm { units: usize },
    Gru { units: usize },
    MaxPool2d(Sliding),
    AveragePool2d(Sliding),
    GlobalAveragePool2d,
    BatchNorm { epsilon: f32, momentum: f32 },
    Activation(Activation),
    Dropout(f32),
    Softmax,
    LogSoftmax,
    Reshape([usize; 3]),
    Flatten,
    Add(String),
    Binary(BinaryLayer, String),
    Function(Function),
    Prelu,
    Concat(String),
    Pad { top: usize, bottom: usize, left: usize, right: usize },
    Crop { top: usize, bottom: usize, left: usize, right: usize },
    Upsample { scale: Kernel, bilinear: bool },
    DepthToSpace(usize),
    GlobalMaxPool2d,
    Norm(Norm),
    Maxout(usize),
    ChannelShuffle(usize),
    Block(Block),
    Tap(String),
    From(String),
}

/// A layer of two inputs, one of them a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BinaryLayer {
    Sub,
    Mul,
    Maximum,
    Minimum,
}

impl BinaryLayer {
    const fn stem(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
        }
    }
}

impl Layer {
    /// Its window, if it has one.
    fn sliding_mut(&mut self) -> Option<&mut Sliding> {
        match self {
            Self::Conv2d { sliding, .. }
            | Self::DepthwiseConv2d { sliding, .. }
            | Self::TransposeConv { sliding, .. }
            | Self::MaxPool2d(sliding)
            | Self::AveragePool2d(sliding) => Some(sliding),
            _ => None,
        }
    }

    /// The stem of its name: TensorFlow Lite's.
    fn stem(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv_2d",
            Self::DepthwiseConv2d { .. } => "depthwise_conv_2d",
            Self::TransposeConv { .. } => "transpose_conv",
            Self::FullyConnected { .. } => "fully_connected",
            Self::Lstm { .. } => "lstm",
            Self::Gru { .. } => "gru",
            Self::MaxPool2d(_) => "max_pool_2d",
            Self::AveragePool2d(_) | Self::GlobalAveragePool2d => "average_pool_2d",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Activation(Activation::Relu6) => "relu6",
            Self::Activation(Activation::LeakyRelu { .. }) => "leaky_relu",
            Self::Activation(Activation::ReluN1To1) => "relu_n1_to_1",
            Self::Activation(_) => "relu",
            Self::Dropout(_) => "dropout",
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log_softmax",
            Self::Reshape(_) | Self::Flatten => "reshape",
            Self::Add(_) => "add",
            Self::Binary(layer, _) => layer.stem(),
            Self::Function(function) => function.name(),
            Self::Prelu => "prelu",
            Self::Concat(_) => "concatenation",
            Self::Pad { .. } => "pad",
            Self::Crop { .. } => "slice",
            Self::Upsample { bilinear: false, .. } => "resize_nearest_neighbor",
            Self::Upsample { bilinear: true, .. } => "resize_bilinear",
            Self::DepthToSpace(_) => "depth_to_space",
            Self::GlobalMaxPool2d => "reduce_max",
            Self::Norm(Norm::Layer) => "layer_norm",
            Self::Norm(Norm::Instance) => "instance_norm",
            Self::Norm(Norm::Group(_)) => "group_norm",
            Self::Maxout(_) => "maxout",
            Self::ChannelShuffle(_) => "channel_shuffle",
            Self::Block(block) => block.stem(),
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
        self.layer(Layer::Conv2d { filters, groups: 1, sliding, bias: None })
    }

    /// A convolution of each channel by itself.
    pub fn depthwise_conv_2d(self, kernel: impl Into<Kernel>) -> Self {
        let sliding = Sliding::new(kernel.into(), 1.into(), Padding::Same);
        self.layer(Layer::DepthwiseConv2d { multiplier: 1, sliding, bias: None })
    }

    /// A transposed convolution with `filters` output channels: each pixel of its input adds its multiple of the filter to the output, a
    /// stride apart. With SAME padding the output is the input's size times the stride, with VALID as large as the taps reach, at least
    /// that; an explicit padding is cut off from what the taps reach.
    #[doc(alias = "deconvolution")]
    pub fn conv_2d_transpose(self, filters: usize, kernel: impl Into<Kernel>) -> Self {
        let sliding = Sliding::new(kernel.into(), 1.into(), Padding::Same);
        self.layer(Layer::TransposeConv { filters, sliding, bias: None })
    }

    /// Every output from every input; the input must be a vector.
    #[doc(alias = "linear")]
    #[doc(alias = "dense")]
    pub fn fully_connected(self, units: usize) -> Self {
        self.layer(Layer::FullyConnected { units, bias: None })
    }

    /// A long short-term memory with `units` units over sequences: each row of the height is one, and the width is time. The output has the hidden state of
    /// every step. It begins at zero with every sample.
    pub fn lstm(self, units: usize) -> Self {
        self.layer(Layer::Lstm { units })
    }

    /// A gated recurrent unit with `units` units, over sequences as [`lstm`](Self::lstm)'s. What the inputs give to its gates is a fully connected layer of its own before it.
    pub fn gru(self, units: usize) -> Self {
        self.layer(Layer::Gru { units })
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

    /// `min(max(x, -1), 1)`.
    pub fn relu_n1_to_1(self) -> Self {
        self.layer(Layer::Activation(Activation::ReluN1To1))
    }

    /// `x` for positive `x`, else `x` times a slope per channel that is trained and begins at 0.
    pub fn prelu(self) -> Self {
        self.layer(Layer::Prelu)
    }

    /// `1 / (1 + exp(-x))`.
    #[doc(alias = "logistic")]
    pub fn sigmoid(self) -> Self {
        self.function(Function::Logistic)
    }

    /// The hyperbolic tangent.
    pub fn tanh(self) -> Self {
        self.function(Function::Tanh)
    }

    /// `x` for positive `x`, else `exp(x) - 1`.
    pub fn elu(self) -> Self {
        self.function(Function::Elu)
    }

    /// `x * min(max(x + 3, 0), 6) / 6`.
    pub fn hard_swish(self) -> Self {
        self.function(Function::HardSwish)
    }

    /// `x` times the normal distribution function of `x`.
    pub fn gelu(self) -> Self {
        self.function(Function::Gelu)
    }

    /// Any element-wise function of one number.
    pub fn function(self, function: Function) -> Self {
        self.layer(Layer::Function(function))
    }

    /// While training, the share `rate` of the elements becomes 0 at random, and the others are divided by `1 - rate`; `rate` in `0.0..1.0`.
    pub fn dropout(self, rate: f32) -> Self {
        self.layer(Layer::Dropout(rate))
    }

    /// Probabilities. Training with cross-entropy skips a softmax at the end: the loss has one of its own.
    pub fn softmax(self) -> Self {
        self.layer(Layer::Softmax)
    }

    /// Logarithms of probabilities.
    pub fn log_softmax(self) -> Self {
        self.layer(Layer::LogSoftmax)
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

    /// Puts the channels of what was at the tap behind those of the layer before.
    #[doc(alias = "concatenate")]
    pub fn concat(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::Concat(tap.into()))
    }

    /// So many rows and columns of zeros around the image.
    #[doc(alias = "zero_padding_2d")]
    pub fn pad(self, top: usize, bottom: usize, left: usize, right: usize) -> Self {
        self.layer(Layer::Pad { top, bottom, left, right })
    }

    /// The image without so many rows and columns at its sides.
    #[doc(alias = "cropping_2d")]
    pub fn crop(self, top: usize, bottom: usize, left: usize, right: usize) -> Self {
        self.layer(Layer::Crop { top, bottom, left, right })
    }

    /// Every pixel `scale` times in height and width.
    #[doc(alias = "resize_nearest_neighbor")]
    pub fn upsample(self, scale: impl Into<Kernel>) -> Self {
        self.layer(Layer::Upsample { scale: scale.into(), bilinear: false })
    }

    /// An image `scale` times as large, bilinear between the centres of the pixels (what Keras and PyTorch do by default).
    #[doc(alias = "resize_bilinear")]
    pub fn upsample_bilinear(self, scale: impl Into<Kernel>) -> Self {
        self.layer(Layer::Upsample { scale: scale.into(), bilinear: true })
    }

    /// Channels become pixels: `block²` times fewer of them, `block` times the height and the width.
    #[doc(alias = "pixel_shuffle")]
    pub fn depth_to_space(self, block: usize) -> Self {
        self.layer(Layer::DepthToSpace(block))
    }

    /// The maximum over the whole height and width.
    pub fn global_max_pool_2d(self) -> Self {
        self.layer(Layer::GlobalMaxPool2d)
    }

    /// Subtracts what was at the tap. As all layers of two inputs, it broadcasts: each dimension of one is that of the other, or 1.
    #[expect(clippy::should_implement_trait, reason = "the layer is called sub, as in every framework")]
    pub fn sub(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::Binary(BinaryLayer::Sub, tap.into()))
    }

    /// Multiplies with what was at the tap.
    #[expect(clippy::should_implement_trait, reason = "the layer is called mul, as in every framework")]
    pub fn mul(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::Binary(BinaryLayer::Mul, tap.into()))
    }

    /// The greater one of this and what was at the tap.
    pub fn maximum(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::Binary(BinaryLayer::Maximum, tap.into()))
    }

    /// The smaller one of this and what was at the tap.
    pub fn minimum(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::Binary(BinaryLayer::Minimum, tap.into()))
    }

    /// Goes on from the tap instead of from the layer before.
    pub fn from(self, tap: impl Into<String>) -> Self {
        self.layer(Layer::From(tap.into()))
    }

    /// Step of the window of the layer or block before.
    pub fn stride(self, stride: impl Into<Kernel>) -> Self {
        let stride = stride.into();
        self.modify("stride", "convolutions, pools and blocks of them", |layer| {
            let place = match layer {
                Layer::Block(block) => block.stride_mut(),
                layer => layer.sliding_mut().map(|sliding| &mut sliding.stride),
            };
            place.map(|place| *place = stride).is_some()
        })
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

    /// Groups of channels of the convolution before: the first of as many parts of its output sees only the first of its input, and so
    /// on. They divide both numbers of channels.
    pub fn groups(self, groups: usize) -> Self {
        self.modify("groups", "a conv_2d", |layer| match layer {
            Layer::Conv2d { groups: place, .. } => {
                *place = groups;
                true
            }
            _ => false,
        })
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
        self.modify(modifier, "convolutions and pools", |layer| layer.sliding_mut().map(change).is_some())
    }

    fn modify_bias(self, modifier: &'static str, wanted: bool) -> Self {
        self.modify(modifier, "convolutions and fully connected layers", |layer| match layer {
            Layer::Conv2d { bias, .. }
            | Layer::DepthwiseConv2d { bias, .. }
            | Layer::TransposeConv { bias, .. }
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
        building.push_all(&self.layers, "").map_err(|(layer, problem)| layer_error(layer, problem))?;
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

#[cfg(test)]
mod tests;
