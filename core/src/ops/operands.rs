//! Checks and views that several operators share.

use bytemuck::{AnyBitPattern, NoUninit};

use crate::kernels::isa::{Kernel, dispatch};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization, Shape, Space};
use crate::step::{Schedule, Step, StepError};

/// Checks that every operand of `step` has the type `expected`.
pub(super) fn all_are(step: Step<'_>, expected: ElementType) -> Result<(), StepError> {
    for (index, operand) in step.operands().enumerate() {
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

/// Checks that the step runs once for the batch.
pub(super) fn runs_once(step: Step<'_>) -> Result<(), StepError> {
    if step.schedule == Schedule::Once { Ok(()) } else { Err(StepError::Schedule) }
}

/// Checks that the step runs once for the batch and reads its first operand from every chunk.
pub(super) fn reduces_chunks(step: Step<'_>) -> Result<(), StepError> {
    runs_once(step)?;
    match step.reads.first() {
        Some(partial) if partial.space == Space::Chunk => Ok(()),
        _ => Err(StepError::Space { operand: 0 }),
    }
}

/// Checks that the first write lies in the place of no read from `first` on.
pub(super) fn not_in_place_of(step: Step<'_>, first: usize) -> Result<(), StepError> {
    let in_place = |read| step.writes.first().is_some_and(|write| write.overlaps(read));
    if step.reads.iter().skip(first).any(in_place) { Err(StepError::Overlap { write: 0 }) } else { Ok(()) }
}

/// The attribute `index`, a positive integer.
pub(super) fn positive(attributes: &[i32], index: usize) -> Result<usize, StepError> {
    let Some(&found) = attributes.get(index) else {
        return Err(StepError::AttributeCount { expected: index as u8 + 1, found: attributes.len() as u8 });
    };
    match usize::try_from(found) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(StepError::Attribute { index: index as u8, found }),
    }
}

/// An f32 attribute in `range`, stored as its bits.
pub(super) fn float_in(
    attributes: &[i32],
    index: usize,
    range: impl core::ops::RangeBounds<f32>,
) -> Result<f32, StepError> {
    let value = float(attributes, index)?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(StepError::Attribute { index: index as u8, found: value.to_bits() as i32 })
    }
}

/// Checks that the attribute `index`, which is `found`, lies in `range`.
pub(super) fn bounded(found: i32, index: u8, range: core::ops::RangeInclusive<i32>) -> Result<(), StepError> {
    if range.contains(&found) { Ok(()) } else { Err(StepError::Attribute { index, found }) }
}

/// An f32 attribute above 0, stored as its bits.
pub(super) fn positive_float(attributes: &[i32], index: usize) -> Result<f32, StepError> {
    float_in(attributes, index, f32::MIN_POSITIVE..)
}

/// The attribute `index`, 0 or 1.
pub(super) fn flag(attributes: &[i32], index: usize) -> Result<bool, StepError> {
    match attributes.get(index) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(&found) => Err(StepError::Attribute { index: index as u8, found }),
        None => Err(StepError::AttributeCount { expected: index as u8 + 1, found: attributes.len() as u8 }),
    }
}

/// The quantization of an int8 operand; `index` counts reads first, then writes.
pub(super) fn quantization(operand: &Operand, index: usize) -> Result<Quantization, StepError> {
    let found = operand.quantization;
    if found.is_valid_for(operand.element_type) {
        Ok(found)
    } else {
        Err(StepError::Quantization { operand: index as u8 })
    }
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
    step: Step<'_>,
    memory: &mut Memory<'_>,
    apply: impl Fn(f32) -> f32,
) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    if input.same_place(output) {
        dispatch(Map { input: None, output: elements_mut(memory.write(output)?)?, apply });
    } else {
        let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
        dispatch(Map { input: Some(elements(input)?), output: elements_mut(output)?, apply });
    }
    Ok(())
}

/// `output = apply(left, right)` for each element of two reads and the first write, which may lie in the place of either.
pub(super) fn zip<T: NoUninit + AnyBitPattern>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    apply: impl Fn(T, T) -> T,
) -> Result<(), StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    match (left.same_place(output), right.same_place(output)) {
        (true, true) => {
            dispatch(Zip { inputs: (None, None), output: elements_mut(memory.write(output)?)?, apply });
        }
        (true, false) => {
            let Views { reads: [right], writes: [output] } = memory.views([right], [output])?;
            dispatch(Zip { inputs: (None, Some(elements(right)?)), output: elements_mut(output)?, apply });
        }
        (false, true) => {
            let Views { reads: [left], writes: [output] } = memory.views([left], [output])?;
            dispatch(Zip { inputs: (Some(elements(left)?), None), output: elements_mut(output)?, apply });
        }
        (false, false) => {
            let Views { reads: [left, right], writes: [output] } = memory.views([left, right], [output])?;
            let inputs = (Some(elements(left)?), Some(elements(right)?));
            dispatch(Zip { inputs, output: elements_mut(output)?, apply });
        }
    }
    Ok(())
}

/// [`zip`] of f32.
pub(super) fn zip_f32(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    apply: impl Fn(f32, f32) -> f32,
) -> Result<(), StepError> {
    zip(step, memory, apply)
}

/// An element-wise function of one input, which is read from the output's place if there is none.
pub(super) struct Map<'a, F> {
    pub(super) input: Option<&'a [f32]>,
    pub(super) output: &'a mut [f32],
    pub(super) apply: F,
}

impl<F: Fn(f32) -> f32> Kernel for Map<'_, F> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { input, output, apply } = self;
        match input {
            None => output.iter_mut().for_each(|value| *value = apply(*value)),
            Some(input) => output.iter_mut().zip(input).for_each(|(value, &input)| *value = apply(input)),
        }
    }
}

/// An element-wise function of two inputs, which are read from the output's place if they are none.
pub(super) struct Zip<'a, T, F> {
    pub(super) inputs: (Option<&'a [T]>, Option<&'a [T]>),
    pub(super) output: &'a mut [T],
    pub(super) apply: F,
}

impl<T: Copy, F: Fn(T, T) -> T> Kernel for Zip<'_, T, F> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { inputs, output, apply } = self;
        match inputs {
            (None, None) => output.iter_mut().for_each(|value| *value = apply(*value, *value)),
            (None, Some(right)) => {
                output.iter_mut().zip(right).for_each(|(value, &right)| *value = apply(*value, right));
            }
            (Some(left), None) => {
                output.iter_mut().zip(left).for_each(|(value, &left)| *value = apply(left, *value));
            }
            (Some(left), Some(right)) => {
                let inputs = left.iter().zip(right);
                output
                    .iter_mut()
                    .zip(inputs)
                    .for_each(|(value, (&left, &right))| *value = apply(left, right));
            }
        }
    }
}

/// The operands read by a layer with weights: input, weights and, if there is one, bias.
pub(super) fn reads_with_bias(step: Step<'_>) -> Result<(&Operand, &Operand, Option<&Operand>), StepError> {
    match step.reads {
        [input, weights] => Ok((input, weights, None)),
        [input, weights, bias] => Ok((input, weights, Some(bias))),
        other => Err(StepError::ReadCount { expected: 3, found: other.len() as u8 }),
    }
}
