//! The operators of a graph, and how the shapes of what they read and compute follow from each other.

use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::gru::int8::GruI8;
use smidgen::ops::lstm::int8::LstmI8;
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, Shape};

use super::elementwise::{Elementwise, broadcast};
use super::error::Problem;
use super::movement::{Gather, Movement, Part};
use super::recurrent;
use super::reduce::{Reduce, ResizeBilinear};
use super::structure::Tensor;

/// The smallest and the largest int8 value of an output: the activation in int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// `activation_min`.
    pub min: i8,
    /// `activation_max`.
    pub max: i8,
}

impl Range {
    /// All int8 values.
    pub const FULL: Self = Self { min: i8::MIN, max: i8::MAX };
}

/// Steps of a finished program that write one tensor. They have no gradient, and nothing about them is decided any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    /// The steps; each reads some of the node's inputs.
    pub steps: Vec<Part>,
    /// Shape of what they write.
    pub shape: Shape,
    /// Its type.
    pub element_type: ElementType,
}

/// Where the range of a fake quantization comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RangeSource {
    /// It stays as it is: it is an input's, or another one's.
    Given,
    /// It follows what the training sees.
    Averaged {
        /// Share of a batch's range in it, in `0.0..=1.0`.
        share: f32,
    },
    /// It is trained, as weights are.
    Learned,
}

/// An operator. What each reads is said in the order of [`Node::inputs`](super::Node::inputs); filters and tables are laid out as in
/// `docs/operators.md`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GraphOp {
    /// Input, filter `[K_h, K_w, C_in / groups, C_out]`, bias (optional).
    Conv2d {
        /// Where the filter is applied.
        window: Window,
        /// Applied to the sum.
        activation: Activation,
    },
    /// Input, filter `[1, K_h, K_w, C_out]`, bias (optional).
    DepthwiseConv2d {
        /// Where the filter is applied.
        window: Window,
        /// Applied to the sum.
        activation: Activation,
    },
    /// Input `[1, H, W, C_in]`, each pixel a row; weights `[1, 1, C_in, C_out]`, bias (optional).
    FullyConnected {
        /// Applied to the sum.
        activation: Activation,
    },
    /// Input, filter `[K_h, K_w, C_out, C_in]`, bias (optional).
    TransposeConv {
        /// Where the filter is applied: a window over the output.
        window: Window,
        /// Height and width of the output.
        size: [u32; 2],
        /// Applied to the sum.
        activation: Activation,
    },
    /// Input.
    MaxPool2d {
        /// What the maximum is taken over.
        window: Window,
    },
    /// Input.
    AveragePool2d {
        /// What the mean is taken over; padding does not count.
        window: Window,
    },
    /// Input of one sample, f32 or int8, filter `[1, 1, C_in, C_out]`, bias: a pointwise convolution and the mean of it over all pixels.
    PointwiseMean {
        /// Applied to the sum, before the mean.
        activation: Activation,
    },
    /// Input, parameters, running statistics.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
        /// Share of the new batch in the running statistics, as in PyTorch.
        momentum: f32,
        /// Applied to the normalized value.
        activation: Activation,
    },
    /// Input; over the channels of each pixel.
    Softmax,
    /// Input; over the channels of each pixel.
    LogSoftmax,
    /// Input, of any type. The output has as many elements.
    Reshape,
    /// Input, of any type. The same elements in a place of their own: in a state, or what a state was before it changes.
    Store,
    /// Input.
    Activation {
        /// The function.
        activation: Activation,
    },
    /// Input. Only while training: zeros at random.
    Dropout {
        /// The share that becomes 0, in `0.0..1.0`.
        rate: f32,
    },
    /// Input, range `[1, 1, 1, 2]`: what int8 would leave of the input. While training for int8.
    FakeQuantize {
        /// Where the range comes from.
        range: RangeSource,
    },
    /// Weights: what int8 would leave of them, with a scale for each output channel. While training for int8.
    FakeQuantizeWeights {
        /// Whether they are a transposed convolution's, whose output channel is the third dimension and not the fourth.
        transposed: bool,
    },
    /// Left, right. They broadcast.
    Add {
        /// Applied to the sum.
        activation: Activation,
    },
    /// Another element-wise operator.
    Elementwise(Elementwise),

    /// Input, filter `[C_out, K_h, K_w, C_in / groups]`, channels.
    Conv2dI8 {
        /// Where the filter is applied.
        window: Window,
        /// The output is clamped to it.
        range: Range,
    },
    /// Input, filter `[1, K_h, K_w, C_out]`, channels.
    DepthwiseConv2dI8 {
        /// Where the filter is applied.
        window: Window,
        /// The output is clamped to it.
        range: Range,
    },
    /// Input `[1, H, W, C_in]`, each pixel a row; weights `[C_out, 1, 1, C_in]`, channels.
    FullyConnectedI8 {
        /// The output is clamped to it.
        range: Range,
    },
    /// Input, filter `[C_out, K_h, K_w, C_in]`, channels, whose biases are plain.
    TransposeConvI8 {
        /// Where the filter is applied: a window over the output.
        window: Window,
        /// Height and width of the output.
        size: [u32; 2],
        /// The output is clamped to it.
        range: Range,
    },
    /// Input.
    MaxPool2dI8 {
        /// What the maximum is taken over.
        window: Window,
        /// The output is clamped to it.
        range: Range,
    },
    /// Input.
    AveragePool2dI8 {
        /// What the mean is taken over.
        window: Window,
        /// The output is clamped to it.
        range: Range,
    },
    /// Left, right.
    AddI8 {
        /// Both inputs are shifted left by this many bits first.
        left_shift: i32,
        /// Scale of the left input to the sum's.
        left: Multiplier,
        /// Scale of the right input to the sum's.
        right: Multiplier,
        /// Scale of the sum to the output's.
        output: Multiplier,
        /// The output is clamped to it.
        range: Range,
    },
    /// Input; over the channels of each pixel.
    SoftmaxI8 {
        /// Scale of the input's differences.
        input: Multiplier,
        /// The smallest difference from the maximum that counts.
        smallest_difference: i32,
    },
    /// Input; over the channels of each pixel.
    LogSoftmaxI8 {
        /// Scale of the input's differences.
        input: Multiplier,
        /// The smallest difference from the maximum that counts.
        smallest_difference: i32,
        /// Back from a scaled difference to the input's.
        reverse: Multiplier,
    },
    /// Input, table `[1, 1, 1, 256]` of the output's type. Both are int8 or uint8.
    LookupI8,
    /// Inputs, of any type: elements that change their place.
    Movement(Movement),
    /// Input, of any type, and a table of indices.
    Gather(Gather),
    /// Input: fewer elements.
    Reduce(Reduce),
    /// Input: an image of another size.
    ResizeBilinear(ResizeBilinear),
    /// Input, weights `[1, 1, C_in, 4 * units]`, recurrent weights `[1, 1, units, 4 * units]`, bias. Changes hidden and cell state, or has none and begins at zero.
    Lstm {
        /// Time is `H`, else `W`.
        time_major: bool,
        /// Greatest magnitude of a cell state, or 0 for any.
        cell_clip: f32,
    },
    /// What the inputs give to the gates `[1, H, W, 3 * units]`, recurrent weights `[1, 1, units, 3 * units]`, bias. Changes its hidden state, or has none and begins at zero.
    Gru {
        /// Time is `H`, else `W`.
        time_major: bool,
    },
    /// Input, feature weights `[1, 1, C_in, filters]`, time weights `[1, 1, filters, memory]`, bias. Changes its state.
    Svdf {
        /// Applied to the sum.
        activation: Activation,
    },
    /// Input, weights `[4 * units, 1, 1, C_in]`, recurrent weights `[4 * units, 1, 1, units]`, biases, factors. Changes hidden and cell state.
    LstmI8 {
        /// What it computes.
        params: LstmI8,
    },
    /// Gates `[1, H, W, 3 * units]`, recurrent weights `[3 * units, 1, 1, units]`, biases, factors. Changes hidden state and state.
    GruI8 {
        /// What it computes.
        params: GruI8,
    },
    /// Input, feature weights `[filters, 1, 1, C_in]`, time weights `[1, 1, filters, memory]`, bias. Changes its state.
    SvdfI8 {
        /// Scale of a feature to the state's.
        feature: Multiplier,
        /// Scale of the sum to the output's.
        output: Multiplier,
    },
    /// Inputs of any types: steps of a finished program, that stay as they are.
    Frozen(Frozen),
    /// Input f32; output int8.
    Quantize,
    /// Input int8; output f32.
    Dequantize,
}

impl GraphOp {
    /// The name in TensorFlow Lite's terms, as `docs/operators.md` has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv_2d",
            Self::DepthwiseConv2d { .. } => "depthwise_conv_2d",
            Self::FullyConnected { .. } => "fully_connected",
            Self::TransposeConv { .. } => "transpose_conv",
            Self::MaxPool2d { .. } => "max_pool_2d",
            Self::AveragePool2d { .. } => "average_pool_2d",
            Self::PointwiseMean { .. } => "pointwise_mean",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log_softmax",
            Self::Reshape => "reshape",
            Self::Store => "store",
            Self::Activation { .. } => "activation",
            Self::Dropout { .. } => "dropout",
            Self::FakeQuantize { .. } => "fake_quantize",
            Self::FakeQuantizeWeights { .. } => "fake_quantize_weights",
            Self::Add { .. } => "add",
            Self::Elementwise(operator) => operator.name(),
            Self::Conv2dI8 { .. } => "conv_2d_i8",
            Self::DepthwiseConv2dI8 { .. } => "depthwise_conv_2d_i8",
            Self::FullyConnectedI8 { .. } => "fully_connected_i8",
            Self::TransposeConvI8 { .. } => "transpose_conv_i8",
            Self::MaxPool2dI8 { .. } => "max_pool_2d_i8",
            Self::AveragePool2dI8 { .. } => "average_pool_2d_i8",
            Self::AddI8 { .. } => "add_i8",
            Self::SoftmaxI8 { .. } => "softmax_i8",
            Self::LogSoftmaxI8 { .. } => "log_softmax_i8",
            Self::LookupI8 => "lookup_i8",
            Self::Frozen(_) => "frozen",
            Self::Movement(movement) => movement.kind.name(),
            Self::Gather(gather) => gather.kind.name(),
            Self::Reduce(reduce) => reduce.name(),
            Self::ResizeBilinear(resize) => resize.name(),
            Self::Lstm { .. } => "lstm",
            Self::Gru { .. } => "gru",
            Self::GruI8 { .. } => "gru_i8",
            Self::Svdf { .. } => "svdf",
            Self::LstmI8 { .. } => "lstm_i8",
            Self::SvdfI8 { .. } => "svdf_i8",
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
        }
    }

    /// The window, if it has one.
    pub const fn window(&self) -> Option<&Window> {
        match self {
            Self::Conv2d { window, .. }
            | Self::DepthwiseConv2d { window, .. }
            | Self::TransposeConv { window, .. }
            | Self::MaxPool2d { window }
            | Self::AveragePool2d { window }
            | Self::Conv2dI8 { window, .. }
            | Self::TransposeConvI8 { window, .. }
            | Self::DepthwiseConv2dI8 { window, .. }
            | Self::MaxPool2dI8 { window, .. }
            | Self::AveragePool2dI8 { window, .. } => Some(window),
            _ => None,
        }
    }

    /// The fused f32 activation, if the operator has a place for one.
    pub const fn activation_mut(&mut self) -> Option<&mut Activation> {
        match self {
            Self::Conv2d { activation, .. }
            | Self::DepthwiseConv2d { activation, .. }
            | Self::FullyConnected { activation }
            | Self::TransposeConv { activation, .. }
            | Self::BatchNorm { activation, .. }
            | Self::Activation { activation }
            | Self::Add { activation } => Some(activation),
            Self::Elementwise(operator) => operator.activation_mut(),
            _ => None,
        }
    }

    /// The fused f32 activation; [`Activation::None`] for operators without one.
    pub const fn activation(&self) -> Activation {
        match *self {
            Self::Elementwise(ref operator) => operator.activation(),
            Self::Conv2d { activation, .. }
            | Self::DepthwiseConv2d { activation, .. }
            | Self::FullyConnected { activation }
            | Self::TransposeConv { activation, .. }
            | Self::BatchNorm { activation, .. }
            | Self::Activation { activation }
            | Self::Add { activation } => activation,
            _ => Activation::None,
        }
    }

    /// Shape and element type of the output. For [`GraphOp::Reshape`] any shape with as many elements will do as well.
    ///
    /// # Errors
    /// What about the inputs does not fit.
    pub fn output(&self, inputs: &[&Tensor]) -> Result<(Shape, ElementType), Problem> {
        use ElementType::{F32, I8};
        match self {
            Self::Frozen(frozen) => return Ok((frozen.shape, frozen.element_type)),
            Self::PointwiseMean { .. } => {
                let &[input, weights, bias] = inputs else {
                    return Err(Problem::InputCount { expected: "3", found: inputs.len() });
                };
                let ([.., in_c], [.., out_c]) = (input.shape.0, weights.shape.0);
                is("the weights", weights.shape, Shape([1, 1, in_c, out_c]))?;
                is_bias(&[bias], out_c)?;
                return Ok((Shape::vector(out_c), F32));
            }
            Self::Movement(movement) => return movement.output(inputs),
            Self::Gather(gather) => return gather.output(inputs),
            Self::Reduce(reduce) => return reduce.output(inputs),
            Self::ResizeBilinear(resize) => return resize.output(inputs),
            _ => {}
        }
        let element_type = match self {
            Self::Quantize => I8,
            Self::Elementwise(operator) => operator.element_type(),
            Self::LookupI8 => inputs.get(1).map_or(I8, |table| table.element_type),
            Self::Dequantize => F32,
            Self::Reshape | Self::Store => inputs.first().map_or(F32, |input| input.element_type),
            _ if self.is_i8() => I8,
            _ => F32,
        };
        let input_type = match self {
            Self::Quantize => F32,
            Self::Dequantize => I8,
            Self::Elementwise(Elementwise::Cast { .. }) => {
                inputs.first().map_or(F32, |input| input.element_type)
            }
            _ => element_type,
        };
        let shape = match (self, inputs) {
            (Self::Conv2d { window, .. }, [input, filter, bias @ ..]) => {
                let [k_h, k_w, filter_c, out_c] = filter.shape.0;
                has_groups(input.shape, filter.shape, filter_c, out_c)?;
                has_kernel(window, k_h, k_w)?;
                is_bias(bias, out_c)?;
                slide(window, input.shape, out_c)?
            }
            (Self::DepthwiseConv2d { window, .. }, [input, filter, bias @ ..]) => {
                let [_, k_h, k_w, out_c] = filter.shape.0;
                is_depthwise(input.shape, filter.shape)?;
                has_kernel(window, k_h, k_w)?;
                is_bias(bias, out_c)?;
                slide(window, input.shape, out_c)?
            }
            (Self::FullyConnected { .. }, [input, weights, bias @ ..]) => {
                let ([n, h, w, in_c], [.., out_c]) = (input.shape.0, weights.shape.0);
                is("the weights", weights.shape, Shape([1, 1, in_c, out_c]))?;
                is_bias(bias, out_c)?;
                Shape([n, h, w, out_c])
            }
            (Self::TransposeConv { window, size, .. }, [input, filter, bias @ ..]) => {
                let ([k_h, k_w, out_c, _], [.., in_c]) = (filter.shape.0, input.shape.0);
                is("the filter", filter.shape, Shape([k_h, k_w, out_c, in_c]))?;
                has_kernel(window, k_h, k_w)?;
                is_bias(bias, out_c)?;
                slide_back(window, *size, input.shape, out_c)?
            }
            (
                Self::MaxPool2d { window }
                | Self::AveragePool2d { window }
                | Self::MaxPool2dI8 { window, .. }
                | Self::AveragePool2dI8 { window, .. },
                [input],
            ) => slide(window, input.shape, input.shape.0[3])?,
            (Self::BatchNorm { .. }, [input, parameters, running]) => {
                let table = Shape([1, 1, 2, input.shape.0[3]]);
                is("the table of parameters", parameters.shape, table)?;
                is("the table of running statistics", running.shape, table)?;
                input.shape
            }
            (Self::Dropout { rate }, [input]) => {
                let expected = "at least 0 and below 1";
                if !(0.0..1.0).contains(rate) {
                    return Err(Problem::Rate { what: "the rate", found: *rate, expected });
                }
                input.shape
            }
            (Self::FakeQuantize { .. }, [input, range]) => {
                is("the range", range.shape, Shape::vector(2))?;
                input.shape
            }
            (
                Self::FakeQuantizeWeights { .. }
                | Self::Softmax
                | Self::SoftmaxI8 { .. }
                | Self::LogSoftmax
                | Self::LogSoftmaxI8 { .. }
                | Self::Reshape
                | Self::Store
                | Self::Activation { .. }
                | Self::Quantize
                | Self::Dequantize,
                [input],
            ) => input.shape,
            (Self::Add { .. } | Self::AddI8 { .. }, [left, right]) => broadcast(left, right)?,
            (Self::Elementwise(operator), inputs) => operator.output(inputs)?,
            (Self::Conv2dI8 { window, .. }, [input, filter, channels]) => {
                let [out_c, k_h, k_w, filter_c] = filter.shape.0;
                has_groups(input.shape, filter.shape, filter_c, out_c)?;
                has_kernel(window, k_h, k_w)?;
                is("the table of channels", channels.shape, Shape([1, 1, out_c, 3]))?;
                slide(window, input.shape, out_c)?
            }
            (Self::DepthwiseConv2dI8 { window, .. }, [input, filter, channels]) => {
                let [_, k_h, k_w, out_c] = filter.shape.0;
                is_depthwise(input.shape, filter.shape)?;
                has_kernel(window, k_h, k_w)?;
                is("the table of channels", channels.shape, Shape([1, 1, out_c, 3]))?;
                slide(window, input.shape, out_c)?
            }
            (Self::FullyConnectedI8 { .. }, [input, weights, channels]) => {
                let ([n, h, w, in_c], [out_c, ..]) = (input.shape.0, weights.shape.0);
                is("the weights", weights.shape, Shape([out_c, 1, 1, in_c]))?;
                is("the table of channels", channels.shape, Shape([1, 1, out_c, 3]))?;
                Shape([n, h, w, out_c])
            }
            (Self::TransposeConvI8 { window, size, .. }, [input, filter, channels]) => {
                let ([out_c, k_h, k_w, _], [.., in_c]) = (filter.shape.0, input.shape.0);
                is("the filter", filter.shape, Shape([out_c, k_h, k_w, in_c]))?;
                has_kernel(window, k_h, k_w)?;
                is("the table of channels", channels.shape, Shape([1, 1, out_c, 3]))?;
                slide_back(window, *size, input.shape, out_c)?
            }
            (Self::Lstm { .. }, &[input, weights, recurrent, bias]) => {
                recurrent::lstm(input, [weights, recurrent, bias])?
            }
            (Self::LstmI8 { .. }, &[input, weights, recurrent, biases, factors]) => {
                recurrent::lstm_i8(input, [weights, recurrent, biases, factors])?
            }
            (Self::Gru { .. }, &[gates, recurrent, bias]) => recurrent::gru(gates, [recurrent, bias])?,
            (Self::GruI8 { .. }, &[gates, recurrent, biases, factors]) => {
                recurrent::gru_i8(gates, [recurrent, biases, factors])?
            }
            (Self::Svdf { .. }, &[input, feature, time, bias]) => {
                recurrent::svdf(input, [feature, time, bias], |in_c, filters| Shape([1, 1, in_c, filters]))?
            }
            (Self::SvdfI8 { .. }, &[input, feature, time, bias]) => {
                recurrent::svdf(input, [feature, time, bias], |in_c, filters| Shape([filters, 1, 1, in_c]))?
            }
            (Self::LookupI8, [input, table]) => {
                is("the table", table.shape, Shape::vector(256))?;
                input.shape
            }
            _ => return Err(Problem::InputCount { expected: self.input_count(), found: inputs.len() }),
        };
        let input = inputs.first().map_or(input_type, |input| input.element_type);
        let is_lookup_u8 = *self == Self::LookupI8 && [I8, ElementType::U8].contains(&input);
        if input != input_type && !is_lookup_u8 {
            return Err(Problem::ElementType { what: "the input", found: input, expected: input_type });
        }
        if shape.elements().is_none() {
            return Err(Problem::TooLarge { what: "the output", shape });
        }
        Ok((shape, element_type))
    }

    /// Whether it computes in int8.
    pub const fn is_i8(&self) -> bool {
        matches!(
            self,
            Self::Conv2dI8 { .. }
                | Self::DepthwiseConv2dI8 { .. }
                | Self::FullyConnectedI8 { .. }
                | Self::TransposeConvI8 { .. }
                | Self::MaxPool2dI8 { .. }
                | Self::AveragePool2dI8 { .. }
                | Self::AddI8 { .. }
                | Self::SoftmaxI8 { .. }
                | Self::LogSoftmaxI8 { .. }
                | Self::LookupI8
                | Self::LstmI8 { .. }
                | Self::GruI8 { .. }
                | Self::SvdfI8 { .. }
        ) || matches!(self, Self::Elementwise(operator) if matches!(operator.element_type(), ElementType::I8))
    }

    const fn input_count(&self) -> &'static str {
        match self {
            Self::Conv2d { .. }
            | Self::DepthwiseConv2d { .. }
            | Self::FullyConnected { .. }
            | Self::TransposeConv { .. } => "2 or 3",
            Self::BatchNorm { .. }
            | Self::Gru { .. }
            | Self::Conv2dI8 { .. }
            | Self::DepthwiseConv2dI8 { .. }
            | Self::FullyConnectedI8 { .. }
            | Self::TransposeConvI8 { .. } => "3",
            Self::Add { .. } | Self::AddI8 { .. } | Self::LookupI8 | Self::FakeQuantize { .. } => "2",
            Self::Lstm { .. } | Self::GruI8 { .. } | Self::Svdf { .. } | Self::SvdfI8 { .. } => "4",
            Self::LstmI8 { .. } => "5",
            _ => "1",
        }
    }
}

pub(super) fn is(what: &'static str, found: Shape, expected: Shape) -> Result<(), Problem> {
    if found == expected && !found.has_zero() {
        Ok(())
    } else {
        Err(Problem::Shape { what, found, expected })
    }
}

fn is_bias(bias: &[&Tensor], out_c: u32) -> Result<(), Problem> {
    match bias {
        [] => Ok(()),
        [bias] => is("the bias", bias.shape, Shape::vector(out_c)),
        more => Err(Problem::InputCount { expected: "2 or 3", found: more.len() + 2 }),
    }
}

/// Whether a filter with `filter_c` input channels cuts the channels into equal groups.
fn has_groups(input: Shape, filter: Shape, filter_c: u32, out_c: u32) -> Result<(), Problem> {
    let [.., in_c] = input.0;
    is("the filter", filter, filter)?;
    if in_c == 0 || !in_c.is_multiple_of(filter_c) {
        let (found, expected) = (filter_c as usize, "a divisor of the input's channels");
        return Err(Problem::Number { what: "the number of the filter's input channels", found, expected });
    }
    if !out_c.is_multiple_of(in_c / filter_c) {
        let (found, expected) = (out_c as usize, "a multiple of the groups of input channels");
        return Err(Problem::Number { what: "the number of output channels", found, expected });
    }
    Ok(())
}

fn is_depthwise(input: Shape, filter: Shape) -> Result<(), Problem> {
    let [_, k_h, k_w, out_c] = filter.0;
    let [_, _, _, in_c] = input.0;
    is("the filter", filter, Shape([1, k_h, k_w, out_c]))?;
    if in_c == 0 || out_c % in_c != 0 {
        let (found, expected) = (out_c as usize, "a multiple of the input's channels");
        return Err(Problem::Number { what: "the number of output channels", found, expected });
    }
    Ok(())
}

fn has_kernel(window: &Window, k_h: u32, k_w: u32) -> Result<(), Problem> {
    if (window.y.kernel, window.x.kernel) == (k_h as usize, k_w as usize) {
        return Ok(());
    }
    let found = Shape([1, window.y.kernel as u32, window.x.kernel as u32, 1]);
    Err(Problem::Shape { what: "the window", found, expected: Shape([1, k_h, k_w, 1]) })
}

/// Output shape of a transposed convolution of this height and width, over which the window slides: at least as often as the input has
/// pixels.
fn slide_back(
    window: &Window,
    [height, width]: [u32; 2],
    input: Shape,
    out_c: u32,
) -> Result<Shape, Problem> {
    let [n, in_h, in_w, in_c] = input.0;
    let output = Shape([n, height, width, out_c]);
    let Shape([_, most_h, most_w, _]) = slide(window, output, in_c)?;
    if in_h > most_h || in_w > most_w || input.has_zero() {
        let expected = Shape([n, most_h, most_w, in_c]);
        return Err(Problem::Shape { what: "the input", found: input, expected });
    }
    Ok(output)
}

/// Output shape of a window with `out_c` output channels.
pub(super) fn slide(window: &Window, input: Shape, out_c: u32) -> Result<Shape, Problem> {
    let [n, height, width, _] = input.dims();
    for (what, axis) in [("the window over the height", window.y), ("the window over the width", window.x)] {
        let too_small = [axis.kernel, axis.stride, axis.dilation].contains(&0);
        if too_small {
            return Err(Problem::Number { what, found: 0, expected: "positive kernel, stride and dilation" });
        }
        let extent = axis.extent().unwrap_or(usize::MAX);
        if let Some(&found) = [axis.pad_before, axis.pad_after].iter().find(|&&padding| padding >= extent) {
            return Err(Problem::Number { what, found, expected: "a padding smaller than the window" });
        }
    }
    match (window.y.output(height), window.x.output(width)) {
        (Some(out_h), Some(out_w)) => Ok(Shape([n as u32, out_h as u32, out_w as u32, out_c])),
        _ => {
            let less = |axis: smidgen::geometry::Axis| {
                axis.extent().unwrap_or(usize::MAX).saturating_sub(axis.pad_before + axis.pad_after)
            };
            let (extent_y, extent_x) = (less(window.y), less(window.x));
            Err(Problem::WindowTooLarge { extent_y, extent_x, height, width })
        }
    }
}
