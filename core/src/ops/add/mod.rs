//! Element-wise addition of two tensors of one shape.

pub mod int8;

use super::activation::{ACTIVATION_ATTRIBUTES, Activation, with_known_activation};
use super::operands::{Zip, all_are, has_shape, zip_f32};
use crate::kernels::isa::dispatch;
use crate::memory::Memory;
use crate::operand::ElementType;
use crate::step::{Step, StepError};

/// `output = activation(left + right)`, all of the same length.
///
/// The gradient with respect to both inputs is the gradient with respect to the sum, so that there is no backward
/// function: a program reads the same gradient twice.
pub fn forward(activation: Activation, left: &[f32], right: &[f32], output: &mut [f32]) {
    with_known_activation!(activation, forward_known(left, right, output));
}

#[inline(always)]
fn forward_known(activation: Activation, left: &[f32], right: &[f32], output: &mut [f32]) {
    let apply = |left, right| activation.apply(left + right);
    dispatch(Zip { inputs: (Some(left), Some(right)), output, apply });
}

pub(super) fn check_f32(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    Activation::read(step.attributes, 0)?;
    all_are(step, ElementType::F32)?;
    has_shape(right, 1, left.shape)?;
    has_shape(output, 2, left.shape)
}

pub(super) fn run_f32(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (activation, _) = Activation::read(step.attributes, 0)?;
    with_known_activation!(activation, run_known(step, memory))
}

#[inline(always)]
fn run_known(activation: Activation, step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    zip_f32(step, memory, |left, right| activation.apply(left + right))
}
