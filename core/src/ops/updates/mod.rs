//! Updates: what an optimizer does to a parameter and its moments, in place, once per batch.
//!
//! What changes from update to update stands in *hyperparameters*, `[1, 1, 1, 4]` in State: learning rate, β₁ᵗ, β₂ᵗ, and how many
//! samples an update takes in a program for a device, which no operator reads. The caller writes the learning rate; the powers start at 1 and
//! [`adam::advance`] multiplies them before the first parameter of each update. What stays the same is in the step's attributes.

pub mod adadelta;
pub mod adagrad;
pub mod adam;
pub mod gradient;
pub mod guard;
pub mod rmsprop;
pub mod sgd;

use crate::memory::elements;
use crate::operand::{ElementType, Shape};
use crate::ops::operands::{all_are, has_shape, runs_once};
use crate::step::{Step, StepError};

/// The shape of the hyperparameters.
pub const HYPERPARAMETERS: Shape = Shape::vector(4);

/// What all optimizers have in common: reads gradient and hyperparameters, writes tensors like the gradient.
fn check_common(step: Step<'_>) -> Result<(), StepError> {
    let [gradient, hyperparameters] = step.reads()?;
    runs_once(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(hyperparameters, 1, HYPERPARAMETERS)?;
    for (index, write) in step.writes.iter().enumerate() {
        has_shape(write, 2 + index, gradient.shape)?;
    }
    Ok(())
}

/// The first `N` hyperparameters.
fn hyperparameters<const N: usize>(values: &[f32]) -> Result<[f32; N], StepError> {
    values.first_chunk().copied().ok_or(StepError::Memory)
}

/// The learning rate, from the bytes of the hyperparameters.
fn learning_rate(hyperparameters_bytes: &[u8]) -> Result<f32, StepError> {
    let [rate] = hyperparameters(elements(hyperparameters_bytes)?)?;
    Ok(rate)
}
