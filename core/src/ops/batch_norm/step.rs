//! The steps: how each pass is described in a program.

use super::{GradInputParams, ReduceParams};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::activation::{ACTIVATION_ATTRIBUTES, Activation};
use crate::ops::operands::{all_are, float_in, has_shape, not_in_place_of, positive, reduces_chunks};
use crate::step::{Step, StepError};

/// The shape of a table of two rows for the channels of `input`.
fn table_of(input: &Operand) -> Shape {
    let Shape([.., channels]) = input.shape;
    Shape([1, 1, 2, channels])
}

/// Checks that the operands from read `first` on are tables for the channels of `input`.
fn are_tables(step: Step<'_>, first: usize, input: &Operand) -> Result<(), StepError> {
    for (index, table) in step.reads.iter().enumerate().skip(first) {
        has_shape(table, index, table_of(input))?;
    }
    Ok(())
}

/// Attributes of [`inference`](super::inference): epsilon, activation.
fn inference_attributes(step: Step<'_>) -> Result<(f32, Activation), StepError> {
    let [epsilon, ..] = step.attributes::<{ 1 + ACTIVATION_ATTRIBUTES }>()?;
    let epsilon = positive_epsilon(&[*epsilon])?;
    Ok((epsilon, Activation::read(step.attributes.get(1..).unwrap_or_default(), 1)?.0))
}

/// Epsilon, the first attribute: positive, so that a variance of 0 has a root to divide by.
fn positive_epsilon(attributes: &[i32]) -> Result<f32, StepError> {
    float_in(attributes, 0, f32::MIN_POSITIVE..)
}

fn only_activation(step: Step<'_>) -> Result<Activation, StepError> {
    step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    Ok(Activation::read(step.attributes, 0)?.0)
}

/// Attributes of [`reduce`](super::reduce): epsilon, momentum, elements per channel and chunk.
fn reduce_attributes(step: Step<'_>) -> Result<ReduceParams, StepError> {
    step.attributes::<3>()?;
    Ok(ReduceParams {
        epsilon: positive_epsilon(step.attributes)?,
        momentum: float_in(step.attributes, 1, 0.0..=1.0)?,
        chunk_elements: positive(step.attributes, 2)?,
    })
}

/// Attributes of [`grad_input`](super::grad_input): activation, elements per channel in the batch.
fn grad_input_attributes(step: Step<'_>) -> Result<GradInputParams, StepError> {
    step.attributes::<{ ACTIVATION_ATTRIBUTES + 1 }>()?;
    Ok(GradInputParams {
        activation: Activation::read(step.attributes, 0)?.0,
        batch_elements: positive(step.attributes, ACTIVATION_ATTRIBUTES)?,
    })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, _, _], [output]) = (step.reads()?, step.writes()?);
    inference_attributes(step)?;
    all_are(step, ElementType::F32)?;
    are_tables(step, 1, input)?;
    has_shape(output, 3, input.shape)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, parameters, running], [output]) = (step.reads()?, step.writes()?);
    let (epsilon, activation) = inference_attributes(step)?;
    if input.same_place(output) {
        let Views { reads: [parameters, running], writes: [output] } =
            memory.views([parameters, running], [output])?;
        let (parameters, running) = (elements(parameters)?, elements(running)?);
        super::inference(activation, epsilon, None, parameters, running, elements_mut(output)?);
    } else {
        let Views { reads: [input, parameters, running], writes: [output] } =
            memory.views([input, parameters, running], [output])?;
        let (parameters, running) = (elements(parameters)?, elements(running)?);
        let input = Some(elements(input)?);
        super::inference(activation, epsilon, input, parameters, running, elements_mut(output)?);
    }
    Ok(())
}

pub(in crate::ops) fn check_statistics(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [partial]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    has_shape(partial, 1, table_of(input))
}

pub(in crate::ops) fn run_statistics(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [partial]) = (step.reads()?, step.writes()?);
    let Views { reads: [input], writes: [partial] } = memory.views([input], [partial])?;
    super::statistics(elements(input)?, elements_mut(partial)?);
    Ok(())
}

pub(in crate::ops) fn check_reduce(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([partial], [moments, running]) = (step.reads()?, step.writes()?);
    reduce_attributes(step)?;
    reduces_chunks(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(partial, 0, table_of(partial))?;
    has_shape(moments, 1, partial.shape)?;
    has_shape(running, 2, partial.shape)
}

pub(in crate::ops) fn run_reduce(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([partial], [moments, running]) = (step.reads()?, step.writes()?);
    let params = reduce_attributes(step)?;
    let (partials, [moments, running]) = memory.reduce(partial, [moments, running])?;
    for partial in partials.iter::<f32>() {
        partial?;
    }
    super::reduce(params, partials.iter().flatten(), elements_mut(moments)?, elements_mut(running)?);
    Ok(())
}

pub(in crate::ops) fn check_normalize(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, _, _], [output]) = (step.reads()?, step.writes()?);
    only_activation(step)?;
    all_are(step, ElementType::F32)?;
    are_tables(step, 1, input)?;
    has_shape(output, 3, input.shape)
}

pub(in crate::ops) fn run_normalize(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, moments, parameters], [output]) = (step.reads()?, step.writes()?);
    let activation = only_activation(step)?;
    if input.same_place(output) {
        let Views { reads: [moments, parameters], writes: [output] } =
            memory.views([moments, parameters], [output])?;
        super::normalize(activation, None, elements(moments)?, elements(parameters)?, elements_mut(output)?);
    } else {
        let Views { reads: [input, moments, parameters], writes: [output] } =
            memory.views([input, moments, parameters], [output])?;
        let (moments, parameters) = (elements(moments)?, elements(parameters)?);
        super::normalize(activation, Some(elements(input)?), moments, parameters, elements_mut(output)?);
    }
    Ok(())
}

pub(in crate::ops) fn check_grad_statistics(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, grad_output, _, _], [partial]) = (step.reads()?, step.writes()?);
    only_activation(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, input.shape)?;
    are_tables(step, 2, input)?;
    has_shape(partial, 4, table_of(input))
}

pub(in crate::ops) fn run_grad_statistics(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output, moments, parameters], [partial]) = (step.reads()?, step.writes()?);
    let activation = only_activation(step)?;
    let Views { reads: [input, grad_output, moments, parameters], writes: [partial] } =
        memory.views([input, grad_output, moments, parameters], [partial])?;
    super::grad_statistics(
        activation,
        elements(input)?,
        elements(grad_output)?,
        elements(moments)?,
        elements(parameters)?,
        elements_mut(partial)?,
    );
    Ok(())
}

pub(in crate::ops) fn check_grad_input(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, grad_output, _, _, _], [grad_input]) = (step.reads()?, step.writes()?);
    grad_input_attributes(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, input.shape)?;
    are_tables(step, 2, input)?;
    has_shape(grad_input, 5, input.shape)?;
    not_in_place_of(step, 2)
}

pub(in crate::ops) fn run_grad_input(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output, moments, parameters, sums], [grad_input]) = (step.reads()?, step.writes()?);
    let params = grad_input_attributes(step)?;
    // A read in the place of the write gets no view of its own: one of the tables stands in for it.
    let in_place = (input.same_place(grad_input), grad_output.same_place(grad_input));
    let input = if in_place.0 { moments } else { input };
    let grad_output = if in_place.1 { moments } else { grad_output };
    let Views { reads: [input, grad_output, moments, parameters, sums], writes: [grad_input] } =
        memory.views([input, grad_output, moments, parameters, sums], [grad_input])?;
    let input = if in_place.0 { None } else { Some(elements(input)?) };
    let grad_output = if in_place.1 { None } else { Some(elements(grad_output)?) };
    super::grad_input(
        params,
        input,
        grad_output,
        elements(moments)?,
        elements(parameters)?,
        elements(sums)?,
        elements_mut(grad_input)?,
    );
    Ok(())
}
