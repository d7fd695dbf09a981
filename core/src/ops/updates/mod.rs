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

use crate::memory::{Memory, Views, elements, elements_mut};
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

/// Runs an optimizer that writes the parameter and `W - 1` tensors like it: `update(hyperparameters, gradient, writes)`.
fn run_update<const W: usize>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    update: impl FnOnce([f32; 4], &[f32], [&mut [f32]; W]),
) -> Result<(), StepError> {
    let (reads, writes) = (step.reads::<2>()?, step.writes::<W>()?);
    let Views { reads: [gradient, hyperparameters], writes } =
        memory.views(reads.each_ref(), writes.each_ref())?;
    let hyperparameters = elements(hyperparameters)?.first_chunk().copied().ok_or(StepError::Memory)?;
    let mut fault = None;
    let writes = writes.map(|bytes| {
        elements_mut(bytes).unwrap_or_else(|error| {
            fault = Some(error);
            &mut []
        })
    });
    fault.map_or(Ok(()), Err)?;
    update(hyperparameters, elements(gradient)?, writes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ops::test_support::{Random, assert_close, in_arena, run_in_arena, step, wide};
    use crate::step::Schedule;

    /// Six updates by the step `operator` of 19 elements, with `moments` tensors beside the parameter that begin at 0, are those of
    /// `formula(index, gradient, parameter)`.
    pub(super) fn assert_is_formula(
        operator: u8,
        attributes: &[f32],
        learning_rate: f32,
        moments: usize,
        tolerance: f64,
        mut formula: impl FnMut(usize, f64, &mut f64),
    ) {
        let mut random = Random(1);
        // The hyperparameters, the gradient, the parameter, the moments.
        let mut arena = [0.0; 80];
        arena[0] = learning_rate;
        arena[23..42].copy_from_slice(&random.values(19));
        let [gradient, writes @ ..] = [4, 23, 42, 61].map(|at| in_arena(at, [1, 1, 1, 19]));
        let attributes: std::vec::Vec<_> = attributes.iter().map(|value| value.to_bits() as i32).collect();
        let reads = [gradient, in_arena(0, [1, 1, 1, 4])];
        let mut update = step(operator, &attributes, &reads, &writes[..=moments]);
        update.schedule = Schedule::Once;
        let mut expected = wide(&arena[23..42]);
        for _ in 0..6 {
            let values = random.values(19);
            arena[4..23].copy_from_slice(&values);
            run_in_arena(&update, &mut arena);
            for (index, (parameter, &gradient)) in expected.iter_mut().zip(&values).enumerate() {
                formula(index, f64::from(gradient), parameter);
            }
            assert_close("parameter", &arena[23..42], &expected, tolerance);
        }
    }
}
