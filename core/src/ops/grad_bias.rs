//! The gradient of a layer with respect to its bias.

use super::call::{CallError, Tensor, holds, unchecked};
use super::operands::{all_are, has_shape};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::step::{Step, StepError};

/// `grad_bias[c] = sum over n, y, x of grad_output[n, y, x, c]`. `shape` is that of `grad_output`, `[N, H, W, C]`;
/// overwrites `grad_bias` (`[1, 1, 1, C]`).
///
/// Chain: from 0, one addition per pixel, pixels row-major.
///
/// # Errors
/// [`CallError`] if the shape has a zero or a slice does not fit its shape.
pub fn backward(shape: Shape, grad_output: &[f32], grad_bias: &mut [f32]) -> Result<(), CallError> {
    if shape.has_zero() {
        return Err(CallError::Shape { tensor: Tensor::Output });
    }
    holds(Tensor::Output, shape, grad_output.len())?;
    let [.., channels] = shape.0;
    holds(Tensor::Bias, Shape::vector(channels), grad_bias.len())?;
    grad_bias.fill(0.0);
    for pixel in grad_output.chunks_exact(grad_bias.len().max(1)) {
        for (sum, &gradient) in grad_bias.iter_mut().zip(pixel) {
            *sum += gradient;
        }
    }
    Ok(())
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output], [grad_bias]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    if grad_output.shape.has_zero() || grad_output.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    let [.., channels] = grad_output.shape.0;
    has_shape(grad_bias, 1, Shape::vector(channels))
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output], [grad_bias]) = (step.reads()?, step.writes()?);
    let shape = grad_output.shape;
    let Views { reads: [grad_output], writes: [grad_bias] } = memory.views([grad_output], [grad_bias])?;
    backward(shape, elements(grad_output)?, elements_mut(grad_bias)?).map_err(unchecked)
}
