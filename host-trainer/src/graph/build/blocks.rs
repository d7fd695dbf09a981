//! Blocks: layers that stand for several others, as the shape of their input asks.

use smidgen::Shape;
use smidgen::ops::activation::Activation;
use smidgen::ops::function::Function;
use smidgen::ops::reduce::float::Reduction;

use super::layers::{Building, to_shape};
use super::{Kernel, Layer, Network, Padding};
use crate::graph::elementwise::Elementwise;
use crate::graph::error::Problem;
use crate::graph::movement::Movement;
use crate::graph::op::GraphOp;
use crate::graph::reduce::{Reduce, ReduceKind};
use crate::graph::structure::{Role, Value};

/// A block of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    SqueezeExcite { units: usize },
    Residual { filters: usize, stride: Kernel },
    PreActivation { filters: usize, stride: Kernel },
    Bottleneck { filters: usize, stride: Kernel },
    InvertedResidual { filters: usize, expansion: usize, stride: Kernel },
    ShuffleUnit { filters: usize, groups: usize, stride: Kernel },
    Fire { squeeze: usize, expand: usize },
}

/// What a normalization takes mean and variance over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norm {
    /// The channels of each pixel.
    Layer,
    /// The pixels of each channel.
    Instance,
    /// The pixels and channels of each of so many groups of channels.
    Group(usize),
}

const ONE: Kernel = Kernel { y: 1, x: 1 };

/// What [`Norm`] adds to a variance: `PyTorch`'s.
const EPSILON: f32 = 1e-5;

impl Network {
    fn block(self, block: Block) -> Self {
        self.layer(Layer::Block(block))
    }

    /// Squeeze and excitation: each channel is multiplied by a gate that two layers, of `units` and of as many units as there are channels, compute from the means of all channels.
    ///
    /// J. Hu, L. Shen, G. Sun: *Squeeze-and-Excitation Networks*, CVPR 2018.
    pub fn squeeze_excite(self, units: usize) -> Self {
        self.block(Block::SqueezeExcite { units })
    }

    /// A residual block of two convolutions 3×3; a projection goes around it where the shape changes.
    ///
    /// K. He, X. Zhang, S. Ren, J. Sun: *Deep Residual Learning for Image Recognition*, CVPR 2016.
    pub fn residual(self, filters: usize) -> Self {
        self.block(Block::Residual { filters, stride: ONE })
    }

    /// A residual block of two convolutions 3×3 with batch norm and `ReLU` before each of them, and nothing behind the sum.
    ///
    /// K. He, X. Zhang, S. Ren, J. Sun: *Identity Mappings in Deep Residual Networks*, ECCV 2016.
    pub fn pre_activation(self, filters: usize) -> Self {
        self.block(Block::PreActivation { filters, stride: ONE })
    }

    /// A residual block of three convolutions: 1×1 to a quarter of `filters`, 3×3, and 1×1 to `filters`, which are a multiple of 4.
    pub fn bottleneck(self, filters: usize) -> Self {
        self.block(Block::Bottleneck { filters, stride: ONE })
    }

    /// `MobileNetV2`'s block: 1×1 to `expansion` times the channels, depthwise 3×3, 1×1 to `filters` without an activation; where the shape stays, the input is added.
    ///
    /// M. Sandler et al.: *`MobileNetV2`: Inverted Residuals and Linear Bottlenecks*, CVPR 2018.
    pub fn inverted_residual(self, filters: usize, expansion: usize) -> Self {
        self.block(Block::InvertedResidual { filters, expansion, stride: ONE })
    }

    /// `ShuffleNet`'s block: grouped 1×1 to a quarter of `filters`, channel shuffle, depthwise 3×3, grouped 1×1; the input is added, or with a stride its pooled form is put before, so
    /// that there are `filters` channels.
    ///
    /// X. Zhang, X. Zhou, M. Lin, J. Sun: *`ShuffleNet`*, CVPR 2018.
    pub fn shuffle_unit(self, filters: usize, groups: usize) -> Self {
        self.block(Block::ShuffleUnit { filters, groups, stride: ONE })
    }

    /// `SqueezeNet`'s block: 1×1 to `squeeze` channels, and from there `expand` channels of a convolution 1×1 and as many of one 3×3, side by side.
    ///
    /// F. N. Iandola et al.: *`SqueezeNet`*, 2016 (`arXiv:1602.07360`).
    pub fn fire(self, squeeze: usize, expand: usize) -> Self {
        self.block(Block::Fire { squeeze, expand })
    }

    /// Normalizes the channels of each pixel: `(x - mean) / sqrt(variance + 1e-5)`, times a factor and plus a shift per channel that are trained.
    ///
    /// J. L. Ba, J. R. Kiros, G. E. Hinton: *Layer Normalization*, 2016 (`arXiv:1607.06450`); as Keras' along the last axis.
    pub fn layer_norm(self) -> Self {
        self.layer(Layer::Norm(Norm::Layer))
    }

    /// As [`layer_norm`](Self::layer_norm), over the pixels of each channel.
    ///
    /// D. Ulyanov, A. Vedaldi, V. Lempitsky: *Instance Normalization*, 2016 (`arXiv:1607.08022`).
    pub fn instance_norm(self) -> Self {
        self.layer(Layer::Norm(Norm::Instance))
    }

    /// As [`layer_norm`](Self::layer_norm), over the pixels and channels of each of `groups` groups of channels.
    ///
    /// Y. Wu, K. He: *Group Normalization*, ECCV 2018.
    pub fn group_norm(self, groups: usize) -> Self {
        self.layer(Layer::Norm(Norm::Group(groups)))
    }

    /// The greatest of each `pieces` channels that follow each other, of which there are so many times fewer then.
    ///
    /// I. Goodfellow et al.: *Maxout Networks*, ICML 2013.
    pub fn maxout(self, pieces: usize) -> Self {
        self.layer(Layer::Maxout(pieces))
    }

    /// The channels, `groups` groups of them, in another order: the first of each group, then the second of each, and so on.
    pub fn channel_shuffle(self, groups: usize) -> Self {
        self.layer(Layer::ChannelShuffle(groups))
    }
}

impl Block {
    /// The stem of its name: the builder's.
    pub(super) const fn stem(self) -> &'static str {
        match self {
            Self::SqueezeExcite { .. } => "squeeze_excite",
            Self::Residual { .. } => "residual",
            Self::PreActivation { .. } => "pre_activation",
            Self::Bottleneck { .. } => "bottleneck",
            Self::InvertedResidual { .. } => "inverted_residual",
            Self::ShuffleUnit { .. } => "shuffle_unit",
            Self::Fire { .. } => "fire",
        }
    }

    /// The stride, if there is one.
    pub(super) const fn stride_mut(&mut self) -> Option<&mut Kernel> {
        match self {
            Self::Residual { stride, .. }
            | Self::PreActivation { stride, .. }
            | Self::Bottleneck { stride, .. }
            | Self::InvertedResidual { stride, .. }
            | Self::ShuffleUnit { stride, .. } => Some(stride),
            Self::SqueezeExcite { .. } | Self::Fire { .. } => None,
        }
    }

    /// What it stands for, behind an input of this shape.
    pub(super) fn layers(self, [_, height, width, in_c]: [usize; 4]) -> Result<Vec<Layer>, Problem> {
        let start = Network::new(self.stem(), [height, width, in_c]).tap("in");
        let is_same = |filters: usize, stride: Kernel| stride == ONE && filters == in_c;
        // A convolution around the block, where its input cannot be added as it is.
        let around = |main: Network, tap: &str, filters: usize, stride: Kernel| {
            if is_same(filters, stride) {
                main.add("in")
            } else {
                main.tap("main").from(tap).conv_2d(filters, 1).stride(stride)
            }
        };
        let normalized = |sum: Network, filters, stride| {
            let sum = if is_same(filters, stride) { sum } else { sum.batch_norm().add("main") };
            sum.relu()
        };
        let block = match self {
            Self::SqueezeExcite { units } => {
                let gate = start.global_average_pool_2d().fully_connected(units).relu();
                gate.fully_connected(in_c).sigmoid().mul("in")
            }
            Self::Residual { filters, stride } => {
                let main = start.conv_2d(filters, 3).stride(stride).batch_norm().relu();
                let main = main.conv_2d(filters, 3).batch_norm();
                normalized(around(main, "in", filters, stride), filters, stride)
            }
            Self::Bottleneck { filters, stride } => {
                let inner = multiple(filters, 4, "the number of filters", "a multiple of 4")?;
                let main = start.conv_2d(inner, 1).batch_norm().relu();
                let main = main.conv_2d(inner, 3).stride(stride).batch_norm().relu();
                let main = main.conv_2d(filters, 1).batch_norm();
                normalized(around(main, "in", filters, stride), filters, stride)
            }
            Self::PreActivation { filters, stride } => {
                let main = start.batch_norm().relu().tap("active");
                let main = main.conv_2d(filters, 3).stride(stride).batch_norm().relu().conv_2d(filters, 3);
                let sum = around(main, "active", filters, stride);
                if is_same(filters, stride) { sum } else { sum.add("main") }
            }
            Self::InvertedResidual { filters, expansion, stride } => {
                let wide = match expansion {
                    1 => start,
                    _ => start.conv_2d(in_c.saturating_mul(expansion), 1).batch_norm().relu6(),
                };
                let main = wide.depthwise_conv_2d(3).stride(stride).batch_norm().relu6();
                let main = main.conv_2d(filters, 1).batch_norm();
                if is_same(filters, stride) { main.add("in") } else { main }
            }
            Self::ShuffleUnit { filters, groups, stride } => {
                let inner = multiple(filters, 4, "the number of filters", "a multiple of 4")?;
                let main = start.conv_2d(inner, 1).groups(groups).batch_norm().relu();
                let main = main.channel_shuffle(groups).depthwise_conv_2d(3).stride(stride).batch_norm();
                if stride == ONE {
                    main.conv_2d(filters, 1).groups(groups).batch_norm().add("in").relu()
                } else {
                    let expected = "more than the input's channels, which stand beside";
                    let more = filters.checked_sub(in_c).filter(|&more| more > 0).ok_or(Problem::Number {
                        what: "the number of filters",
                        found: filters,
                        expected,
                    })?;
                    let main = main.conv_2d(more, 1).groups(groups).batch_norm().tap("main").from("in");
                    main.average_pool_2d(3).stride(stride).padding(Padding::Same).concat("main").relu()
                }
            }
            Self::Fire { squeeze, expand } => {
                let three = start.conv_2d(squeeze, 1).relu().tap("squeezed").conv_2d(expand, 3).relu();
                three.tap("three").from("squeezed").conv_2d(expand, 1).relu().concat("three")
            }
        };
        Ok(block.layers)
    }
}

/// `count / parts`, if that is a whole number.
fn multiple(
    count: usize,
    parts: usize,
    what: &'static str,
    expected: &'static str,
) -> Result<usize, Problem> {
    let whole = count.checked_div(parts).filter(|whole| count > 0 && whole * parts == count);
    whole.ok_or(Problem::Number { what, found: count, expected })
}

impl Building {
    /// The layers of a block, under its name; its taps are its own.
    pub(super) fn block(&mut self, name: &str, block: Block) -> Result<(), Problem> {
        let layers = block.layers(self.shape().dims())?;
        let outer = std::mem::take(&mut self.taps);
        let pushed = self.push_all(&layers, &format!("{name}/"));
        self.taps = outer;
        pushed.map_err(|(layer, problem)| {
            let layer = layer.strip_prefix(name).unwrap_or(&layer).trim_start_matches('/').to_owned();
            Problem::Inside { layer, problem: Box::new(problem) }
        })
    }

    /// `(x - mean) / sqrt(variance + epsilon)`, times and plus what is trained per channel.
    pub(super) fn norm(&mut self, name: &str, norm: Norm) -> Result<(), Problem> {
        let (input, activation) = (self.shape(), Activation::None);
        let [_, height, width, in_c] = input.dims();
        let (grouped, axes) = match norm {
            Norm::Layer => (input.dims(), [false, false, true]),
            Norm::Instance => (input.dims(), [true, true, false]),
            Norm::Group(groups) => {
                let what = "the number of channels";
                let of_group = multiple(in_c, groups, what, "a multiple of the groups")?;
                ([1, height * width, groups, of_group], [true, false, true])
            }
        };
        let part = |part: &str| format!("{name}/{part}");
        let mean = || GraphOp::Reduce(Reduce { kind: ReduceKind::Float(Reduction::Mean), axes });
        if grouped != input.dims() {
            self.reshape(&part("groups"), grouped)?;
        }
        let x = self.at;
        self.node(&part("mean"), mean(), vec![x])?;
        let op = GraphOp::Elementwise(Elementwise::Sub { activation });
        self.node(&part("centred"), op, vec![x, self.at])?;
        let centred = self.at;
        let product = || GraphOp::Elementwise(Elementwise::Mul { activation });
        self.node(&part("squares"), product(), vec![centred, centred])?;
        self.node(&part("variance"), mean(), vec![self.at])?;
        let epsilon = Value::F32(vec![EPSILON]);
        let epsilon = self.graph.add_value(part("epsilon"), Shape::vector(1), Role::Constant, epsilon);
        self.node(&part("raised"), GraphOp::Add { activation }, vec![self.at, epsilon])?;
        let op = GraphOp::Elementwise(Elementwise::Function { function: Function::Rsqrt });
        self.node(&part("factor"), op, vec![self.at])?;
        self.node(&part("normalized"), product(), vec![centred, self.at])?;
        if grouped != input.dims() {
            self.reshape(&part("channels"), input.dims())?;
        }
        let gamma = self.parameter(name, "gamma", [1, 1, 1, in_c], Role::Bias)?;
        self.node(&part("scaled"), product(), vec![self.at, gamma])?;
        let beta = self.parameter(name, "beta", [1, 1, 1, in_c], Role::Bias)?;
        self.node(&part("shifted"), GraphOp::Add { activation }, vec![self.at, beta])
    }

    /// The maximum of every `pieces` neighbours among the channels.
    pub(super) fn maxout(&mut self, name: &str, pieces: usize) -> Result<(), Problem> {
        let [n, height, width, in_c] = self.shape().dims();
        let out_c = multiple(in_c, pieces, "the number of channels", "a multiple of the pieces")?;
        self.reshape(&format!("{name}/pieces"), [n, height * width, out_c, pieces])?;
        let op =
            GraphOp::Reduce(Reduce { kind: ReduceKind::Float(Reduction::Max), axes: [false, false, true] });
        self.node(&format!("{name}/greatest"), op, vec![self.at])?;
        self.reshape(&format!("{name}/channels"), [n, height, width, out_c])
    }

    /// Channel `group * size + index` becomes channel `index * groups + group`.
    pub(super) fn channel_shuffle(&mut self, name: &str, groups: usize) -> Result<(), Problem> {
        let input = self.shape();
        let [_, height, width, in_c] = input.dims();
        let size = multiple(in_c, groups, "the number of channels", "a multiple of the groups")?;
        let moved = Movement::transpose(&[height * width, groups, size], &[0, 2, 1]);
        let (moved, _) = moved.ok_or(Problem::TooLarge { what: "the output", shape: input })?;
        self.node(name, GraphOp::Movement(Movement { output: input, ..moved }), vec![self.at])
    }

    /// The same elements in another shape.
    pub(super) fn reshape(&mut self, name: &str, output: [usize; 4]) -> Result<(), Problem> {
        let input = self.shape();
        let output = to_shape(output, "the smallest dimension of the output")?;
        if output.elements() != input.elements() {
            return Err(Problem::Elements { input, output });
        }
        self.node_to(name, GraphOp::Reshape, vec![self.at], output);
        Ok(())
    }

    fn shape(&self) -> Shape {
        self.graph.tensor(self.at).shape
    }
}
