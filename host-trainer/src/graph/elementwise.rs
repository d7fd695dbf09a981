//! Element-wise operators of a graph: of two sides with broadcasting, and functions of one number.

use smidgen::ops::activation::Activation;
use smidgen::ops::add::int8::AddI8;
use smidgen::ops::binary::int8::{MulI8, WeightedSumI8};
use smidgen::ops::binary::integer::IntegerFunction;
use smidgen::ops::broadcast::Broadcast;
use smidgen::ops::function::Function;
use smidgen::ops::prelu::PreluI8;
use smidgen::{ElementType, Operator, Shape};

use super::error::Problem;
use super::structure::Tensor;

/// An element-wise operator. Those of two inputs broadcast: each dimension of an input is the output's, or 1. (Sums have operators of their own,
/// [`GraphOp::Add`](super::GraphOp::Add) and [`GraphOp::AddI8`](super::GraphOp::AddI8).)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Elementwise {
    /// Left, right.
    Sub {
        /// Applied to the difference.
        activation: Activation,
    },
    /// Left, right.
    Mul {
        /// Applied to the product.
        activation: Activation,
    },
    /// Left, right.
    Maximum {
        /// Applied to the maximum.
        activation: Activation,
    },
    /// Left, right.
    Minimum {
        /// Applied to the minimum.
        activation: Activation,
    },
    /// Input, alpha, which is not larger.
    Prelu,
    /// Input.
    Function {
        /// The function.
        function: Function,
    },
    /// Left, right, i32.
    Integer {
        /// The function.
        function: IntegerFunction,
    },
    /// Input, of any type.
    Cast {
        /// The type of the output.
        to: ElementType,
    },
    /// Left, right.
    SubI8(AddI8),
    /// Left, right.
    MulI8(MulI8),
    /// Left, right, of one quantization.
    MaximumI8,
    /// Left, right, of one quantization.
    MinimumI8,
    /// Input, alpha, which is not larger.
    PreluI8(PreluI8),
    /// Left, right.
    WeightedSumI8(WeightedSumI8),
}

impl Elementwise {
    /// The name in TensorFlow Lite's terms, as `docs/operators.md` has it; a function has its own.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Function { function } => function.name(),
            Self::Sub { .. } => "sub",
            Self::Mul { .. } => "mul",
            Self::Maximum { .. } => "maximum",
            Self::Minimum { .. } => "minimum",
            Self::Prelu => "prelu",
            Self::Cast { .. } => "cast",
            Self::Integer { .. } => "integer_arithmetic",
            Self::SubI8(_) => "sub_i8",
            Self::MulI8(_) => "mul_i8",
            Self::MaximumI8 => "maximum_i8",
            Self::MinimumI8 => "minimum_i8",
            Self::PreluI8(_) => "prelu_i8",
            Self::WeightedSumI8(_) => "weighted_sum_i8",
        }
    }

    /// The type of the output, and of the inputs if it is no cast.
    pub const fn element_type(&self) -> ElementType {
        match self {
            Self::Sub { .. }
            | Self::Mul { .. }
            | Self::Maximum { .. }
            | Self::Minimum { .. }
            | Self::Prelu
            | Self::Function { .. } => ElementType::F32,
            Self::Integer { .. } => ElementType::I32,
            Self::Cast { to } => *to,
            Self::SubI8(_)
            | Self::MulI8(_)
            | Self::MaximumI8
            | Self::MinimumI8
            | Self::PreluI8(_)
            | Self::WeightedSumI8(_) => ElementType::I8,
        }
    }

    /// The fused activation, if there is a place for one.
    pub const fn activation_mut(&mut self) -> Option<&mut Activation> {
        match self {
            Self::Sub { activation }
            | Self::Mul { activation }
            | Self::Maximum { activation }
            | Self::Minimum { activation } => Some(activation),
            _ => None,
        }
    }

    /// The fused activation; [`Activation::None`] for operators without one.
    pub const fn activation(&self) -> Activation {
        match *self {
            Self::Sub { activation }
            | Self::Mul { activation }
            | Self::Maximum { activation }
            | Self::Minimum { activation } => activation,
            _ => Activation::None,
        }
    }

    /// Shape of the output.
    pub(super) fn output(&self, inputs: &[&Tensor]) -> Result<Shape, Problem> {
        match (self, inputs) {
            (Self::Function { .. } | Self::Cast { .. }, [input]) => Ok(input.shape),
            (Self::Function { .. } | Self::Cast { .. }, _) => {
                Err(Problem::InputCount { expected: "1", found: inputs.len() })
            }
            (Self::Prelu | Self::PreluI8(_), [input, alpha]) => {
                let shape = broadcast(input, alpha)?;
                if shape == input.shape {
                    Ok(shape)
                } else {
                    let (found, expected) = (alpha.shape, input.shape);
                    Err(Problem::Shape { what: "alpha", found, expected })
                }
            }
            (_, [left, right]) => broadcast(left, right),
            _ => Err(Problem::InputCount { expected: "2", found: inputs.len() }),
        }
    }

    /// The core's operator, and its attributes.
    pub fn operator(&self) -> (Operator, Vec<i32>) {
        match self {
            Self::Sub { activation } => (Operator::SubF32, activation.attributes().to_vec()),
            Self::Mul { activation } => (Operator::MulF32, activation.attributes().to_vec()),
            Self::Maximum { activation } => (Operator::MaximumF32, activation.attributes().to_vec()),
            Self::Minimum { activation } => (Operator::MinimumF32, activation.attributes().to_vec()),
            Self::Prelu => (Operator::Prelu, vec![]),
            Self::Cast { .. } => (Operator::Cast, vec![]),
            Self::Function { function } => (Operator::Function, vec![*function as i32]),
            Self::Integer { function } => (Operator::IntegerArithmetic, vec![*function as i32]),
            Self::SubI8(params) => (Operator::SubI8, params.attributes().to_vec()),
            Self::MulI8(params) => (Operator::MulI8, params.attributes().to_vec()),
            Self::MaximumI8 => (Operator::MaximumI8, vec![]),
            Self::MinimumI8 => (Operator::MinimumI8, vec![]),
            Self::PreluI8(params) => (Operator::PreluI8, params.attributes().to_vec()),
            Self::WeightedSumI8(params) => (Operator::WeightedSumI8, params.attributes().to_vec()),
        }
    }
}

/// The shape of what two inputs give together.
pub(super) fn broadcast(left: &Tensor, right: &Tensor) -> Result<Shape, Problem> {
    if left.element_type != right.element_type {
        let (found, expected) = (right.element_type, left.element_type);
        return Err(Problem::ElementType { what: "the second input", found, expected });
    }
    let (found, expected) = (right.shape, left.shape);
    Broadcast::shape(left.shape, right.shape).ok_or(Problem::Shape {
        what: "the second input",
        found,
        expected,
    })
}
