//! Checks and views that several operators share.

use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization, Shape};
use crate::step::{Step, StepError};

/// Checks that every operand of `step` has the type `expected`.
pub(super) fn all_are(step: &Step, expected: ElementType) -> Result<(), StepError> {
    for (index, operand) in step.reads.iter().chain(&step.writes).enumerate() {
        is(operand, index, expected)?;
    }
    Ok(())
}

/// Checks the type of one operand; `index` counts reads first, then writes.
pub(super) fn is(operand: &Operand, index: usize, expected: ElementType) -> Result<(), StepError> {
    if operand.element_type == expected {
        Ok(())
    } else {
        Err(StepError::ElementType { operand: index as u8 })
    }
}

/// Checks the shape of one operand; `index` counts reads first, then writes.
pub(super) fn has_shape(operand: &Operand, index: usize, expected: Shape) -> Result<(), StepError> {
    if operand.shape == expected { Ok(()) } else { Err(StepError::Shape { operand: index as u8 }) }
}

/// The quantization of an int8 operand; `index` counts reads first, then writes.
pub(super) fn quantization(operand: &Operand, index: usize) -> Result<Quantization, StepError> {
    let found = operand.quantization.filter(|quantization| {
        quantization.scale.is_finite()
            && quantization.scale > 0.0
            && (-128..=127).contains(&quantization.zero_point)
    });
    found.ok_or(StepError::Quantization { operand: index as u8 })
}

/// An f32 attribute, stored as its bits. Must be finite.
pub(super) fn float(attributes: &[i32], index: usize) -> Result<f32, StepError> {
    let Some(&bits) = attributes.get(index) else {
        return Err(StepError::AttributeCount { expected: index as u8 + 1, found: attributes.len() as u8 });
    };
    let value = f32::from_bits(bits as u32);
    if value.is_finite() { Ok(value) } else { Err(StepError::Attribute { index: index as u8, found: bits }) }
}

/// Calls `apply(input, output)` for each element of the first read and the first write, in place or not.
pub(super) fn map_f32(
    step: &Step,
    memory: &mut Memory<'_>,
    apply: impl Fn(f32) -> f32,
) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    if input.same_place(output) {
        for value in elements_mut::<f32>(memory.write(output)?)? {
            *value = apply(*value);
        }
    } else {
        let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
        for (value, &input) in elements_mut::<f32>(output)?.iter_mut().zip(elements::<f32>(input)?) {
            *value = apply(input);
        }
    }
    Ok(())
}

/// `output = apply(left, right)` for each element of two reads and the first write, which may lie in the place of either.
pub(super) fn zip_f32(
    step: &Step,
    memory: &mut Memory<'_>,
    apply: impl Fn(f32, f32) -> f32,
) -> Result<(), StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    match (left.same_place(output), right.same_place(output)) {
        (true, true) => {
            for value in elements_mut::<f32>(memory.write(output)?)? {
                *value = apply(*value, *value);
            }
        }
        (true, false) => {
            let Views { reads: [right], writes: [output] } = memory.views([right], [output])?;
            for (value, &right) in elements_mut::<f32>(output)?.iter_mut().zip(elements::<f32>(right)?) {
                *value = apply(*value, right);
            }
        }
        (false, true) => {
            let Views { reads: [left], writes: [output] } = memory.views([left], [output])?;
            for (value, &left) in elements_mut::<f32>(output)?.iter_mut().zip(elements::<f32>(left)?) {
                *value = apply(left, *value);
            }
        }
        (false, false) => {
            let Views { reads: [left, right], writes: [output] } = memory.views([left, right], [output])?;
            let inputs = elements::<f32>(left)?.iter().zip(elements::<f32>(right)?);
            for (value, (&left, &right)) in elements_mut::<f32>(output)?.iter_mut().zip(inputs) {
                *value = apply(left, right);
            }
        }
    }
    Ok(())
}
