//! The operators: one module each, with its parameters, shape rule, validation, forward, backward and tests.
//!
//! Every operator is three things: functions on slices that can be used alone, as [`conv_2d::forward`] can; a `check`
//! that says whether a [`Step`] is one the operator can run; and a `run` that takes the step's operands from the
//! [`Memory`] and calls those functions. The table at the end of this file lists them. `docs/operators.md` specifies
//! each one's operands and attributes; `docs/adding-an-operator.md` is the checklist for a new one.

use self::binary::gradient::{MaximumGradient, MinimumGradient, PreluGradient};
use self::conv_2d::Conv2d;
use self::depthwise_conv_2d::DepthwiseConv2d;
use self::fully_connected::FullyConnected;
use self::transpose_conv::TransposeConv;
use crate::memory::Memory;
use crate::step::{Step, StepError};

pub mod activation;
pub mod activation_mask;
pub mod add;
pub mod average_pool_2d;
pub mod batch_norm;
pub mod binary;
pub mod broadcast;
mod call;
pub mod cast;
pub mod conv_2d;
pub mod depthwise_conv_2d;
pub mod dropout;
pub mod fake_quantize;
pub mod fully_connected;
pub mod function;
pub mod grad_bias;
pub mod gru;
pub mod int8;
pub mod log_softmax;
pub mod lookup;
pub mod losses;
pub mod lstm;
pub mod max_pool_2d;
pub mod movement;
mod operands;
mod overlap;
mod packed;
#[cfg(test)]
mod packed_cases;
pub mod pointwise_mean;
mod pooling;
pub mod prelu;
pub mod quantize;
pub mod reduce;
pub mod reshape;
pub mod resize_bilinear;
mod sequences;
pub mod softmax;
pub mod sum_chunks;
pub mod svdf;
pub mod transpose_conv;
pub mod updates;
mod weighted;

#[cfg(all(test, feature = "simd"))]
mod same_bits;
#[cfg(test)]
mod test_support;

pub use call::{CallError, Tensor};
pub use overlap::overlap;

/// Where an operator's first write may lie in the place of one of its reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum InPlace {
    /// Nowhere: it overlaps nothing that the step reads.
    Never,
    /// In exactly the place of the first read.
    First,
    /// In exactly the place of any one read.
    Any,
}

/// A set of operators, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OperatorSet(pub [u64; 4]);

impl OperatorSet {
    /// No operator.
    pub const EMPTY: Self = Self([0; 4]);
    /// Every operator that there is or will be.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Whether the operator with this code is in the set.
    pub const fn contains(self, code: u8) -> bool {
        let Self([a, b, c, d]) = self;
        let word = match code / 64 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        };
        word >> (code % 64) & 1 == 1
    }

    /// This set and the operator with this code.
    pub const fn with(self, code: u8) -> Self {
        let Self([a, b, c, d]) = self;
        let bit = 1 << (code % 64);
        Self(match code / 64 {
            0 => [a | bit, b, c, d],
            1 => [a, b | bit, c, d],
            2 => [a, b, c | bit, d],
            _ => [a, b, c, d | bit],
        })
    }

    /// Whether every operator of `other` is in this set.
    pub const fn contains_all(self, other: Self) -> bool {
        let (Self([a, b, c, d]), Self([e, f, g, h])) = (self, other);
        e & !a == 0 && f & !b == 0 && g & !c == 0 && h & !d == 0
    }
}

/// The operators that a program may use, as a type: code of operators outside of the set is not linked.
///
/// [`include_model!`](crate::include_model) makes one for a model that is built in; [`AllOperators`] is for models that
/// are loaded at run time.
pub trait Operators {
    /// The set.
    const SET: OperatorSet;
    /// Whether nothing that these programs read and write lies elsewhere than among the constants and in the arena: code that looks elsewhere is not linked.
    const ARENA_ONLY: bool = false;
}

/// Every operator.
#[derive(Clone, Copy, Debug)]
pub struct AllOperators;

impl Operators for AllOperators {
    const SET: OperatorSet = OperatorSet::ALL;
}

/// One line per operator: code, variant, name, where it may work in place, and its module's `check` and `run`.
macro_rules! operators {
    ($($(#[$doc:meta])* $code:literal $variant:ident $name:literal $in_place:ident $check:path, $run:path;)*) => {
        /// The operators. The number is the code in the model file and never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Operator {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Operator {
            /// All operators, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The set of all operators that there are.
            pub const KNOWN: OperatorSet = OperatorSet::EMPTY$(.with($code))*;

            /// The operator with this code.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name, in TensorFlow Lite's terms where it has one.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Where its output may lie in the place of an input.
            pub const fn in_place(self) -> InPlace {
                match self {
                    $(Self::$variant => InPlace::$in_place,)*
                }
            }
        }

        impl Operator {
            /// Whether it can be part of inference: it is neither a gradient nor a statistic, a loss or an update.
            pub const fn is_inference(self) -> bool {
                matches!(self as u8, 1..=20 | 30..=39 | 100..=149 | 160..)
            }

            /// Whether its weights are packed for a family of processors, which have a kernel in assembly for them.
            pub const fn is_packed(self) -> bool {
                matches!(self as u8, 160..=179)
            }

            /// Whether it reads all chunks' instances of an operand, in a step that runs once.
            pub const fn reduces_chunks(self) -> bool {
                matches!(self as u8, 51 | 55 | 95)
            }
        }

        /// Checks that the operator of `step` is one of `O` and can run it. `constant` is the model's constant space, for
        /// operators whose constants have to be in a range. The places of the operands are checked elsewhere.
        ///
        /// # Errors
        /// What is wrong with the step.
        pub fn check<O: Operators>(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
            match step.operator {
                $($code if const { O::SET.contains($code) } => $check(step, constant),)*
                code => Err(StepError::UnknownOperator { code }),
            }
        }

        /// Runs `step`, which `check` found right.
        ///
        /// # Errors
        /// [`StepError::Memory`] if the operands do not lie in `memory` as they should; for a step that was not checked, any other. Never panics.
        pub fn run<O: Operators>(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
            // Called through a pointer, so that the operators do not become parts of one function, which would have the stack frame of all of them.
            let run: fn(Step<'_>, &mut Memory<'_>) -> Result<(), StepError> = match step.operator {
                $($code if const { O::SET.contains($code) } => $run,)*
                code => return Err(StepError::UnknownOperator { code }),
            };
            run(step, memory)
        }
    };
}

operators! {
    /// Convolution, f32.
    1 Conv2d "conv_2d" Never weighted::check::<Conv2d>, weighted::run::<Conv2d>;
    /// Depthwise convolution, f32.
    2 DepthwiseConv2d "depthwise_conv_2d" Never
        weighted::check::<DepthwiseConv2d>, weighted::run::<DepthwiseConv2d>;
    /// Fully connected layer, f32.
    3 FullyConnected "fully_connected" Never weighted::check::<FullyConnected>, weighted::run::<FullyConnected>;
    /// Maximum pooling.
    4 MaxPool2d "max_pool_2d" Never max_pool_2d::float::check, max_pool_2d::float::run;
    /// Average pooling.
    5 AveragePool2d "average_pool_2d" Never average_pool_2d::float::check, average_pool_2d::float::run;
    /// Batch norm with running statistics.
    6 BatchNorm "batch_norm" First batch_norm::check, batch_norm::run;
    /// Softmax over the channels.
    7 Softmax "softmax" First softmax::float::check, softmax::float::run;
    /// Another shape for the same elements, of any type.
    8 Reshape "reshape" First reshape::check, reshape::run;
    /// Elements of any type from one strided place to another.
    9 Copy "copy" Never movement::copy::check, movement::copy::run;
    /// One value for every element, of any type.
    10 Fill "fill" Never movement::fill::check, movement::fill::run;
    /// Rows, columns and channels of any type, picked by a table.
    11 Gather "gather" Never movement::gather::check, movement::gather::run;
    /// Sum, mean, maximum or minimum over height, width and channels, f32.
    12 Reduce "reduce" Never reduce::float::check, reduce::float::run;
    /// Where along an axis the largest or the smallest element is.
    13 ArgMax "arg_max" Never reduce::arg_max::check, reduce::arg_max::run;
    /// Bilinear resizing, f32.
    14 ResizeBilinear "resize_bilinear" Never resize_bilinear::float::check, resize_bilinear::float::run;
    /// Transposed convolution, f32.
    16 TransposeConv "transpose_conv" Never weighted::check::<TransposeConv>, weighted::run::<TransposeConv>;
    /// Logarithm of softmax over the channels.
    17 LogSoftmax "log_softmax" First log_softmax::float::check, log_softmax::float::run;
    /// Pointwise convolution, activation and the mean over all pixels, f32.
    18 PointwiseMean "pointwise_mean" Never pointwise_mean::check, pointwise_mean::run;
    /// ReLU, ReLU6 or leaky ReLU of an f32 tensor.
    20 ActivationF32 "activation" First activation::check, activation::run;
    /// Gradient of the activation.
    21 ActivationGrad "activation_grad" Any activation::check_grad, activation::run_grad;
    /// Gradient of a side of `add` or `sub`: the sum over the dimensions in which it is broadcast.
    22 BroadcastGrad "broadcast_grad" Never binary::gradient::check_broadcast, binary::gradient::run_broadcast;
    /// Gradient of a side of `mul`.
    23 MulGrad "mul_grad" Never binary::gradient::check_mul, binary::gradient::run_mul;
    /// Gradient of a side of `maximum`.
    24 MaximumGrad "maximum_grad" Never binary::gradient::check, binary::gradient::run::<MaximumGradient>;
    /// Gradient of a side of `minimum`.
    25 MinimumGrad "minimum_grad" Never binary::gradient::check, binary::gradient::run::<MinimumGradient>;
    /// Gradient of the input or of alpha of `prelu`.
    26 PreluGrad "prelu_grad" Never binary::gradient::check, binary::gradient::run::<PreluGradient>;
    /// Gradient of a function.
    27 FunctionGrad "function_grad" Any function::check_grad, function::run_grad;
    /// Element-wise sum of two f32 tensors with a fused activation.
    30 AddF32 "add" Any binary::check, binary::run::<binary::Add>;
    /// Element-wise difference.
    31 SubF32 "sub" Any binary::check, binary::run::<binary::Sub>;
    /// Element-wise product.
    32 MulF32 "mul" Any binary::check, binary::run::<binary::Mul>;
    /// Element-wise maximum.
    33 MaximumF32 "maximum" Any binary::check, binary::run::<binary::Maximum>;
    /// Element-wise minimum.
    34 MinimumF32 "minimum" Any binary::check, binary::run::<binary::Minimum>;
    /// ReLU with a learned slope for negative numbers.
    35 Prelu "prelu" First prelu::check, prelu::run;
    /// Sigmoid, hyperbolic tangent and other functions of one number.
    36 Function "function" First function::check, function::run;
    /// The same numbers in another type.
    37 Cast "cast" Never cast::check, cast::run;
    /// Element-wise arithmetic of i32.
    38 IntegerArithmetic "integer_arithmetic" Any binary::integer::check, binary::integer::run;
    /// Gradient of a convolution with respect to its input.
    40 Conv2dGradInput "conv_2d_grad_input" Never
        weighted::check_grad_input::<Conv2d>, weighted::run_grad_input::<Conv2d>;
    /// Gradient of a convolution with respect to its filter.
    41 Conv2dGradWeights "conv_2d_grad_weights" Never
        weighted::check_grad_weights::<Conv2d>, weighted::run_grad_weights::<Conv2d>;
    /// Gradient of a depthwise convolution with respect to its input.
    42 DepthwiseConv2dGradInput "depthwise_conv_2d_grad_input" Never
        weighted::check_grad_input::<DepthwiseConv2d>, weighted::run_grad_input::<DepthwiseConv2d>;
    /// Gradient of a depthwise convolution with respect to its filter.
    43 DepthwiseConv2dGradWeights "depthwise_conv_2d_grad_weights" Never
        weighted::check_grad_weights::<DepthwiseConv2d>, weighted::run_grad_weights::<DepthwiseConv2d>;
    /// Gradient of a fully connected layer with respect to its input.
    44 FullyConnectedGradInput "fully_connected_grad_input" Never
        weighted::check_grad_input::<FullyConnected>, weighted::run_grad_input::<FullyConnected>;
    /// Gradient of a fully connected layer with respect to its weights.
    45 FullyConnectedGradWeights "fully_connected_grad_weights" Never
        weighted::check_grad_weights::<FullyConnected>, weighted::run_grad_weights::<FullyConnected>;
    /// Gradient of a layer with respect to its bias.
    46 GradBias "grad_bias" Never grad_bias::check, grad_bias::run;
    /// Gradient of maximum pooling.
    47 MaxPool2dGrad "max_pool_2d_grad" Never max_pool_2d::float::check_grad, max_pool_2d::float::run_grad;
    /// Gradient of average pooling.
    48 AveragePool2dGrad "average_pool_2d_grad" Never average_pool_2d::float::check_grad, average_pool_2d::float::run_grad;
    /// Gradient of softmax.
    49 SoftmaxGrad "softmax_grad" Any softmax::float::check_grad, softmax::float::run_grad;
    /// Mean and squared deviations of one chunk.
    50 BatchNormStatistics "batch_norm_statistics" Never batch_norm::check_statistics, batch_norm::run_statistics;
    /// Moments of the batch from those of its chunks; moves the running statistics.
    51 BatchNormReduce "batch_norm_reduce" Never batch_norm::check_reduce, batch_norm::run_reduce;
    /// Batch norm with the batch's moments.
    52 BatchNormNormalize "batch_norm_normalize" First batch_norm::check_normalize, batch_norm::run_normalize;
    /// Sums of one chunk that give the gradients of gamma and beta.
    53 BatchNormGradStatistics "batch_norm_grad_statistics" Never batch_norm::check_grad_statistics, batch_norm::run_grad_statistics;
    /// Gradient of batch norm with respect to its input.
    54 BatchNormGradInput "batch_norm_grad_input" Any batch_norm::check_grad_input, batch_norm::run_grad_input;
    /// Sum over the chunks of a batch, in chunk order.
    55 SumChunks "sum_chunks" Never sum_chunks::check, sum_chunks::run;
    /// Gradient of a transposed convolution with respect to its input.
    56 TransposeConvGradInput "transpose_conv_grad_input" Never
        weighted::check_grad_input::<TransposeConv>, weighted::run_grad_input::<TransposeConv>;
    /// Gradient of a transposed convolution with respect to its filter.
    57 TransposeConvGradWeights "transpose_conv_grad_weights" Never
        weighted::check_grad_weights::<TransposeConv>, weighted::run_grad_weights::<TransposeConv>;
    /// Gradient of log-softmax.
    58 LogSoftmaxGrad "log_softmax_grad" Any log_softmax::float::check_grad, log_softmax::float::run_grad;
    /// Softmax and cross-entropy with their gradient.
    60 SoftmaxCrossEntropy "softmax_cross_entropy" Never losses::softmax_cross_entropy::check, losses::softmax_cross_entropy::run;
    /// Mean squared error with its gradient.
    61 MeanSquaredError "mean_squared_error" Never losses::mean_squared_error::check, losses::mean_squared_error::run;
    /// Softmax and cross-entropy with a weight per class.
    62 WeightedCrossEntropy "weighted_cross_entropy" Never
        losses::weighted_cross_entropy::check, losses::weighted_cross_entropy::run;
    /// Focal loss with a weight per class.
    63 Focal "focal" Never losses::focal::check, losses::focal::run;
    /// Huber loss.
    64 Huber "huber" Never losses::huber::check, losses::huber::run;
    /// Sigmoid and binary cross-entropy.
    65 BinaryCrossEntropy "binary_cross_entropy" Never losses::binary_cross_entropy::check, losses::binary_cross_entropy::run;
    /// Softmax and cross-entropy with probabilities as targets.
    66 SoftCrossEntropy "soft_cross_entropy" Never losses::soft_cross_entropy::check, losses::soft_cross_entropy::run;
    /// Cross-entropy and the divergence from a teacher.
    67 Distillation "distillation" Never losses::distillation::check, losses::distillation::run;
    /// Soft Dice loss.
    68 Dice "dice" Never losses::dice::check, losses::dice::run;
    /// Dropout, and its gradient.
    69 Dropout "dropout" First dropout::check, dropout::run;
    /// Stochastic gradient descent with momentum and weight decay.
    70 Sgd "sgd" Never updates::sgd::check, updates::sgd::run;
    /// Adam and `AdamW`.
    71 Adam "adam" Never updates::adam::check, updates::adam::run;
    /// Counts an update of Adam.
    72 AdamAdvance "adam_advance" Never updates::adam::check_advance, updates::adam::run_advance;
    /// `RMSprop`.
    73 Rmsprop "rmsprop" Never updates::rmsprop::check, updates::rmsprop::run;
    /// Adagrad.
    74 Adagrad "adagrad" Never updates::adagrad::check, updates::adagrad::run;
    /// Adadelta.
    75 Adadelta "adadelta" Never updates::adadelta::check, updates::adadelta::run;
    /// Adds the gradient of an L1 penalty to a gradient.
    76 L1Penalty "l1_penalty" Never updates::gradient::check_l1_penalty, updates::gradient::run_l1_penalty;
    /// Sum of the squares of gradients, one after the other.
    77 SumOfSquares "sum_of_squares" Never updates::gradient::check_sum_of_squares, updates::gradient::run_sum_of_squares;
    /// Limits the norm of all gradients.
    78 ClipByNorm "clip_by_norm" Never updates::gradient::check_clip_by_norm, updates::gradient::run_clip_by_norm;
    /// Limits each element of a gradient.
    79 ClipByValue "clip_by_value" Never updates::gradient::check_clip_by_value, updates::gradient::run_clip_by_value;
    /// Gradient of a gather.
    80 GatherGrad "gather_grad" Never movement::gather::check_grad, movement::gather::run_grad;
    /// Gradient of a copy: adds elements to those in another strided place.
    81 CopyAdd "copy_add" Never movement::copy::check_add, movement::copy::run_add;
    /// Gradient of a sum or a mean.
    82 ReduceGrad "reduce_grad" Never reduce::float::check_grad, reduce::float::run_grad;
    /// Gradient of a maximum or a minimum.
    83 ReduceExtremeGrad "reduce_extreme_grad" Never
        reduce::float::check_grad_extreme, reduce::float::run_grad_extreme;
    /// Gradient of bilinear resizing.
    84 ResizeBilinearGrad "resize_bilinear_grad" Never
        resize_bilinear::float::check_grad, resize_bilinear::float::run_grad;
    /// Puts zeros in the place of a gradient that is not finite, and counts it.
    85 Guard "guard" Never updates::guard::check, updates::guard::run;
    /// Gradients of weights and bias of a pointwise convolution with the mean over all pixels.
    86 PointwiseMeanGrad "pointwise_mean_grad" Never pointwise_mean::check_grad, pointwise_mean::run_grad;
    /// Where an activation lets gradients pass, one bit an element.
    87 ActivationMask "activation_mask" Never activation_mask::check, activation_mask::run;
    /// Gradient of an activation, from its mask.
    88 ActivationMaskGrad "activation_mask_grad" First activation_mask::check_grad, activation_mask::run_grad;
    /// What int8 leaves of f32 numbers.
    90 FakeQuantize "fake_quantize" First fake_quantize::check, fake_quantize::run;
    /// Gradient of `fake_quantize` with respect to its input, straight through the rounding.
    91 FakeQuantizeGrad "fake_quantize_grad" Never fake_quantize::check_grad, fake_quantize::run_grad;
    /// Gradient of `fake_quantize` with respect to its range.
    92 FakeQuantizeGradRange "fake_quantize_grad_range" Never
        fake_quantize::range::check_grad_range, fake_quantize::range::run_grad_range;
    /// What int8 leaves of weights, with a scale for each output channel.
    93 FakeQuantizeWeights "fake_quantize_weights" Never fake_quantize::weights::check, fake_quantize::weights::run;
    /// The smallest and the greatest element.
    94 Extremes "extremes" Never fake_quantize::range::check_extremes, fake_quantize::range::run_extremes;
    /// Moves a range towards what the chunks saw.
    95 TrackRange "track_range" Never fake_quantize::range::check_track, fake_quantize::range::run_track;
    /// int8 convolution.
    100 Conv2dI8 "conv_2d_i8" Never conv_2d::int8::check, conv_2d::int8::run;
    /// int8 depthwise convolution.
    101 DepthwiseConv2dI8 "depthwise_conv_2d_i8" Never depthwise_conv_2d::int8::check, depthwise_conv_2d::int8::run;
    /// int8 fully connected layer.
    102 FullyConnectedI8 "fully_connected_i8" Never fully_connected::int8::check, fully_connected::int8::run;
    /// int8 maximum pooling.
    103 MaxPool2dI8 "max_pool_2d_i8" Never max_pool_2d::int8::check, max_pool_2d::int8::run;
    /// int8 average pooling.
    104 AveragePool2dI8 "average_pool_2d_i8" Never average_pool_2d::int8::check, average_pool_2d::int8::run;
    /// int8 sum of two tensors.
    105 AddI8 "add_i8" Any add::int8::check, add::int8::run;
    /// int8 softmax.
    106 SoftmaxI8 "softmax_i8" First softmax::int8::check, softmax::int8::run;
    /// Any int8 function of one input, as a table.
    107 LookupI8 "lookup_i8" First lookup::check, lookup::run;
    /// f32 to int8.
    108 Quantize "quantize" Never quantize::check_quantize, quantize::run_quantize;
    /// int8 to f32.
    109 Dequantize "dequantize" Never quantize::check_dequantize, quantize::run_dequantize;
    /// int8 difference of two tensors.
    110 SubI8 "sub_i8" Any add::int8::check, add::int8::run_sub;
    /// int8 product of two tensors.
    111 MulI8 "mul_i8" Any binary::int8::check_mul, binary::int8::run_mul;
    /// int8 maximum of two tensors.
    112 MaximumI8 "maximum_i8" Any binary::int8::check_extremum, binary::int8::run_maximum;
    /// int8 minimum of two tensors.
    113 MinimumI8 "minimum_i8" Any binary::int8::check_extremum, binary::int8::run_minimum;
    /// int8 ReLU with a slope per channel for negative numbers.
    114 PreluI8 "prelu_i8" First prelu::check_i8, prelu::run_i8;
    /// int8 weighted sum of two tensors: a fast `add_i8` or `sub_i8`.
    116 WeightedSumI8 "weighted_sum_i8" Any binary::int8::check_sum, binary::int8::run_sum;
    /// int8 sum or mean over height, width and channels.
    120 SumI8 "sum_i8" Never reduce::int8::check, reduce::int8::run;
    /// int8 maximum or minimum over height, width and channels.
    121 ReduceExtremeI8 "reduce_extreme_i8" Never reduce::int8::check_extreme, reduce::int8::run_extreme;
    /// int8 bilinear resizing.
    122 ResizeBilinearI8 "resize_bilinear_i8" Never resize_bilinear::int8::check, resize_bilinear::int8::run;
    /// int8 mean over all pixels of a tensor that comes in bands of rows.
    123 MeanBandI8 "mean_band_i8" Never average_pool_2d::band::check, average_pool_2d::band::run;
    /// int8 transposed convolution.
    130 TransposeConvI8 "transpose_conv_i8" Never transpose_conv::int8::check, transpose_conv::int8::run;
    /// int8 logarithm of softmax.
    131 LogSoftmaxI8 "log_softmax_i8" First log_softmax::int8::check, log_softmax::int8::run;
    /// LSTM, f32.
    140 Lstm "lstm" Never lstm::float::check, lstm::float::run;
    /// int8 LSTM.
    141 LstmI8 "lstm_i8" Never lstm::int8::check, lstm::int8::run;
    /// Rank-decomposed layer with a memory, f32.
    142 Svdf "svdf" Never svdf::float::check, svdf::float::run;
    /// int8 rank-decomposed layer with a memory.
    143 SvdfI8 "svdf_i8" Never svdf::int8::check, svdf::int8::run;
    /// GRU behind its gates' layer, f32.
    144 Gru "gru" Never gru::float::check, gru::float::run;
    /// int8 GRU behind its gates' layer.
    145 GruI8 "gru_i8" Never gru::int8::check, gru::int8::run;
    /// Gradient of an LSTM with respect to its gates' arguments.
    150 LstmGradGates "lstm_grad_gates" Never lstm::gradient::check_gates, lstm::gradient::run_gates;
    /// Gradient of an LSTM, or of a GRU, with respect to its recurrent weights.
    151 LstmGradRecurrent "lstm_grad_recurrent" Never lstm::gradient::check_recurrent, lstm::gradient::run_recurrent;
    /// Gradient of a GRU with respect to its gates' arguments.
    152 GruGradGates "gru_grad_gates" Never gru::gradient::check, gru::gradient::run;
    /// int8 convolution, weights as channel pairs.
    160 Conv2dPairsI8 "conv_2d_pairs_i8" First conv_2d::pairs::check, conv_2d::pairs::run;
    /// int8 fully connected layer, weights as channel pairs.
    161 FullyConnectedPairsI8 "fully_connected_pairs_i8" Never
        fully_connected::pairs::check, fully_connected::pairs::run;
    /// int8 depthwise convolution of 3 by 3 taps, weights as channel quads.
    162 DepthwiseConv2dQuadsI8 "depthwise_conv_2d_quads_i8" First
        depthwise_conv_2d::quads::check, depthwise_conv_2d::quads::run;
    /// int8 fully connected layer, weights as channel eights.
    163 FullyConnectedEightsI8 "fully_connected_eights_i8" Never
        fully_connected::eights::check, fully_connected::eights::run;
    /// int8 fully connected layer, weights as double pairs of channels.
    164 FullyConnectedDoublePairsI8 "fully_connected_double_pairs_i8" Never
        fully_connected::double_pairs::check, fully_connected::double_pairs::run;
    /// int8 convolution, weights as pairs of vectors.
    165 Conv2dVectorPairsI8 "conv_2d_vector_pairs_i8" Never conv_2d::vector_pairs::check, conv_2d::vector_pairs::run;
    /// int8 fully connected layer, weights as pairs of vectors.
    166 FullyConnectedVectorPairsI8 "fully_connected_vector_pairs_i8" Never
        fully_connected::vector_pairs::check, fully_connected::vector_pairs::run;
    /// int8 depthwise convolution, weights as channel sixteens.
    167 DepthwiseConv2dSixteensI8 "depthwise_conv_2d_sixteens_i8" Never
        depthwise_conv_2d::sixteens::check, depthwise_conv_2d::sixteens::run;
    /// int8 convolution, weights in rows.
    170 Conv2dRowsI8 "conv_2d_rows_i8" Never conv_2d::rows::check, conv_2d::rows::run;
    /// int8 fully connected layer, weights as channel fours.
    171 FullyConnectedFoursI8 "fully_connected_fours_i8" Never
        fully_connected::fours::check, fully_connected::fours::run;
    /// int8 depthwise convolution, weights channel by channel.
    172 DepthwiseConv2dTapsI8 "depthwise_conv_2d_taps_i8" Never
        depthwise_conv_2d::taps::check, depthwise_conv_2d::taps::run;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        for code in 0..=255 {
            let set = OperatorSet::EMPTY.with(code);
            assert!((0..=255).all(|other| set.contains(other) == (other == code)));
            assert!(OperatorSet::ALL.contains_all(set) && !OperatorSet::EMPTY.contains_all(set));
        }
    }

    #[test]
    fn codes_round_trip() {
        for &operator in Operator::ALL {
            assert_eq!(Operator::from_code(operator as u8), Some(operator));
        }
        assert_eq!(Operator::from_code(255), None);
    }
}
