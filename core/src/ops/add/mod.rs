//! Element-wise addition of two tensors of one shape.

pub mod int8;

use super::activation::{ACTIVATION_ATTRIBUTES, Activation};
use super::operands::{all_are, has_shape, zip_f32};
use crate::memory::Memory;
use crate::operand::ElementType;
use crate::step::{Step, StepError};

/// `output = activation(left + right)`, all of the same length.
///
/// The gradient with respect to both inputs is the gradient with respect to the sum, so that there is no backward
/// function: a program reads the same gradient twice.
pub fn forward(activation: Activation, left: &[f32], right: &[f32], output: &mut [f32]) {
    for (output, (&left, &right)) in output.iter_mut().zip(left.iter().zip(right)) {
        *output = activation.apply(left + right);
    }
}

pub(super) fn check_f32(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    Activation::read(&step.attributes, 0)?;
    all_are(step, ElementType::F32)?;
    has_shape(right, 1, left.shape)?;
    has_shape(output, 2, left.shape)
}

pub(super) fn run_f32(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (activation, _) = Activation::read(&step.attributes, 0)?;
    zip_f32(step, memory, |left, right| activation.apply(left + right))
}
