//! Losses: each gives the chunk's sum and the gradient with respect to its input in one pass.
//!
//! *Labelled* losses read one class a sample; a label outside of the classes is no sample. *Dense* losses read a target of the shape of the
//! prediction (or one of their own); a sample whose first target element is NaN is none. What is no sample adds nothing to the loss and
//! gets a gradient of 0: so the last batch of a data set may be smaller than the others.

pub mod binary_cross_entropy;
pub mod dice;
pub mod distillation;
pub mod focal;
pub mod huber;
pub mod mean_squared_error;
pub mod soft_cross_entropy;
pub mod softmax_cross_entropy;
pub mod weighted_cross_entropy;

use crate::kernels::{exp, ln};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::operands::{all_are, has_shape, is};
use crate::step::{Step, StepError};

/// Index and value of the first maximum; the first element if it is NaN.
fn maximum(values: &[f32]) -> (usize, f32) {
    let mut best = (0, values.first().copied().unwrap_or_default());
    for (index, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best
}

/// How many samples have their largest prediction where the largest target is.
fn agreements(sample_elements: usize, prediction: &[f32], target: &[f32]) -> f32 {
    let mut agreeing = 0.0;
    if sample_elements > 0 {
        let samples = prediction.chunks_exact(sample_elements).zip(target.chunks_exact(sample_elements));
        for (prediction, target) in samples.filter(|(_, target)| is_sample(target)) {
            if maximum(prediction).0 == maximum(target).0 {
                agreeing += 1.0;
            }
        }
    }
    agreeing
}

/// Whether a dense target is that of a sample.
#[inline(always)]
fn is_sample(target: &[f32]) -> bool {
    target.first().is_some_and(|first| !first.is_nan())
}

/// Cross-entropy of the softmax of one sample's logits with `target(class)`, and its gradient: `-sum(q * ln(p))` and
/// `grad_scale * (p * sum(q) - q)`. All sums are in the order of the classes.
#[inline(always)]
fn cross_entropy(logits: &[f32], grads: &mut [f32], grad_scale: f32, target: impl Fn(usize) -> f32) -> f32 {
    let (_, maximum) = maximum(logits);
    let mut exponentials = 0.0;
    for (grad, &logit) in grads.iter_mut().zip(logits) {
        *grad = exp(logit - maximum);
        exponentials += *grad;
    }
    let log_sum = ln(exponentials);
    let (mut loss, mut targets) = (0.0, 0.0);
    for (class, &logit) in logits.iter().enumerate() {
        let target = target(class);
        targets += target;
        // An impossible class that is not asked for is right, not NaN.
        if target != 0.0 {
            loss += target * (log_sum - (logit - maximum));
        }
    }
    for (class, grad) in grads.iter_mut().enumerate() {
        *grad = grad_scale * (*grad / exponentials * targets - target(class));
    }
    loss
}

/// What labelled losses have in common: reads logits `[N, 1, 1, C]`, labels `[N, 1, 1, 1]` and, with `weights`, a weight per class
/// `[1, 1, 1, C]`; writes the partial and the gradient. Gives the number of classes.
fn check_labelled(step: Step<'_>, weights: bool) -> Result<(), StepError> {
    let (logits, labels) = match step.reads {
        [logits, labels] if !weights => (logits, labels),
        [logits, labels, table] if weights => {
            is(table, 2, ElementType::F32)?;
            let Shape([.., classes]) = logits.shape;
            has_shape(table, 2, Shape::vector(classes))?;
            (logits, labels)
        }
        other => {
            let expected = if weights { 3 } else { 2 };
            return Err(StepError::ReadCount { expected, found: other.len() as u8 });
        }
    };
    let [partial, grad_logits] = step.writes()?;
    let first_write = step.reads.len();
    is(logits, 0, ElementType::F32)?;
    is(labels, 1, ElementType::I32)?;
    is(partial, first_write, ElementType::F32)?;
    is(grad_logits, first_write + 1, ElementType::F32)?;
    let Shape([samples, _, _, classes]) = logits.shape;
    has_shape(logits, 0, Shape([samples, 1, 1, classes]))?;
    has_shape(labels, 1, Shape([samples, 1, 1, 1]))?;
    has_shape(partial, first_write, Shape::vector(2))?;
    has_shape(grad_logits, first_write + 1, logits.shape)
}

/// The number of classes of a labelled loss.
fn classes(step: Step<'_>) -> Result<usize, StepError> {
    let [.., classes] = step.reads.first().ok_or(StepError::Memory)?.shape.dims();
    Ok(classes)
}

/// Runs a labelled loss with a weight per class: `forward(logits, labels, weights, grad_logits)`.
fn run_weighted(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    forward: impl FnOnce(&[f32], &[i32], &[f32], &mut [f32]) -> [f32; 2],
) -> Result<(), StepError> {
    let ([logits, labels, weights], [partial, grad_logits]) = (step.reads()?, step.writes()?);
    let Views { reads: [logits, labels, weights], writes: [partial, grad_logits] } =
        memory.views([logits, labels, weights], [partial, grad_logits])?;
    let sums = forward(elements(logits)?, elements(labels)?, elements(weights)?, elements_mut(grad_logits)?);
    write_partial(partial, sums)
}

/// What dense losses have in common: reads prediction and target, writes the partial and the gradient, all of type f32, the target in the
/// shape `target`.
fn check_dense(step: Step<'_>, target_shape: Shape) -> Result<(), StepError> {
    let ([prediction, target], [partial, grad]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    has_shape(target, 1, target_shape)?;
    has_shape(partial, 2, Shape::vector(2))?;
    has_shape(grad, 3, prediction.shape)
}

/// The shape of a dense loss's prediction, and the number of elements of one sample.
fn prediction(step: Step<'_>) -> Result<(Shape, usize), StepError> {
    let shape = step.reads.first().ok_or(StepError::Memory)?.shape;
    let Shape([_, h, w, c]) = shape;
    let elements = Shape([1, h, w, c]).elements().ok_or(StepError::Shape { operand: 0 })?;
    Ok((shape, elements))
}

/// Runs a dense loss: `forward(prediction, target, grad_prediction)`.
fn run_dense(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    forward: impl FnOnce(&[f32], &[f32], &mut [f32]) -> [f32; 2],
) -> Result<(), StepError> {
    let ([prediction, target], [partial, grad]) = (step.reads()?, step.writes()?);
    let Views { reads: [prediction, target], writes: [partial, grad] } =
        memory.views([prediction, target], [partial, grad])?;
    let sums = forward(elements(prediction)?, elements(target)?, elements_mut(grad)?);
    write_partial(partial, sums)
}

fn write_partial(partial: &mut [u8], sums: [f32; 2]) -> Result<(), StepError> {
    elements_mut::<f32>(partial)?.iter_mut().zip(sums).for_each(|(partial, sum)| *partial = sum);
    Ok(())
}
