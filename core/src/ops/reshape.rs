//! Another shape for the same elements.

use super::operands::is;
use crate::memory::{Memory, Views};
use crate::step::{Step, StepError};

/// Copies the elements; a step whose output lies in the place of its input does nothing. Works on bytes, whatever their type.
pub fn forward(input: &[u8], output: &mut [u8]) {
    output.iter_mut().zip(input).for_each(|(output, &input)| *output = input);
}

pub(super) fn check(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(output, 1, input.element_type)?;
    if input.quantization != output.quantization {
        return Err(StepError::Quantization { operand: 1 });
    }
    match (input.shape.elements(), output.shape.elements()) {
        (Some(from), Some(to)) if from == to => Ok(()),
        _ => Err(StepError::Shape { operand: 1 }),
    }
}

pub(super) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    if input.same_place(output) {
        return memory.write(output).map(|_| ());
    }
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(input, output);
    Ok(())
}
