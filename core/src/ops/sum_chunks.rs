//! The sum over a batch of what its chunks computed: gradients, losses.

use super::operands::{all_are, has_shape, reduces_chunks};
use crate::memory::{Memory, elements_mut};
use crate::operand::ElementType;
use crate::step::{Step, StepError};

/// `sum = partials[0] + partials[1] + ...`, element by element, in this order; all of the same length. Overwrites `sum`;
/// without partials it is left as it was.
pub fn forward<'a>(partials: impl Iterator<Item = &'a [f32]>, sum: &mut [f32]) {
    for (index, partial) in partials.enumerate() {
        if index == 0 {
            for (sum, &partial) in sum.iter_mut().zip(partial) {
                *sum = partial;
            }
        } else {
            for (sum, &partial) in sum.iter_mut().zip(partial) {
                *sum += partial;
            }
        }
    }
}

pub(super) fn check(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([partial], [sum]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    reduces_chunks(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(sum, 1, partial.shape)
}

pub(super) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([partial], [sum]) = (step.reads()?, step.writes()?);
    let (partials, [sum]) = memory.reduce(partial, [sum])?;
    for partial in partials.iter::<f32>() {
        partial?;
    }
    forward(partials.iter().flatten(), elements_mut(sum)?);
    Ok(())
}
