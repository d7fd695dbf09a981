//! What can be wrong with a call of an operator on slices.

use crate::operand::Shape;
use crate::step::StepError;

/// A tensor of an operator. A gradient goes by the name of the tensor that it is the gradient of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Tensor {
    /// The input.
    Input,
    /// The filter or weights.
    Filter,
    /// The bias; in int8, the records of the output channels, of which each counts as one element.
    Bias,
    /// The output.
    Output,
}

/// Why an operator that was called on slices did not run. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CallError {
    /// A shape has a zero, is too large, or does not follow from the others.
    Shape {
        /// Whose shape.
        tensor: Tensor,
    },
    /// A slice does not have as many elements as its shape.
    Length {
        /// Whose slice.
        tensor: Tensor,
        /// Elements of the shape.
        expected: usize,
        /// Elements of the slice.
        found: usize,
    },
}

impl core::fmt::Display for CallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Shape { tensor } => {
                write!(f, "the shape of {tensor:?} does not follow from the others")
            }
            Self::Length { tensor, expected, found } => {
                write!(f, "{tensor:?} has {found} elements, its shape has {expected}")
            }
        }
    }
}

impl core::error::Error for CallError {}

/// The error of a step whose slices do not fit: it was not checked. (Not a `From`: with only one, `?` needs no type annotations.)
pub(super) fn unchecked(_: CallError) -> StepError {
    StepError::Memory
}

/// Checks that a slice of `found` elements holds `shape`.
pub(super) fn holds(tensor: Tensor, shape: Shape, found: usize) -> Result<(), CallError> {
    match shape.elements() {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(CallError::Length { tensor, expected, found }),
        None => Err(CallError::Shape { tensor }),
    }
}
