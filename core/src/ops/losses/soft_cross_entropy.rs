//! Softmax and cross-entropy with probabilities as targets, such as mixed samples have.

use super::{agreements, check_dense, cross_entropy, is_sample, prediction, run_dense};
use crate::memory::Memory;
use crate::operand::Shape;
use crate::ops::operands::{float, float_in, has_shape};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Classes, the last dimension of the logits. Positive.
    pub classes: usize,
    /// Share of the target that is spread evenly over all classes, in `0.0..=1.0`.
    pub label_smoothing: f32,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum of the samples' cross-entropies and gradient of the logits: with the target `q[c] = label_smoothing / classes + (1 - label_smoothing) *
/// target[c]` and `p = softmax(logits)`, `loss = -sum(q * ln(p))` and `grad_logits[c] = grad_scale * (p[c] * sum(q) - q[c])`.
///
/// `logits`, `target` and `grad_logits` (overwritten) are `[N, 1, 1, classes]`.
pub fn forward(params: Params, logits: &[f32], target: &[f32], grad_logits: &mut [f32]) -> f32 {
    let Params { classes, label_smoothing, grad_scale } = params;
    let mut loss = 0.0;
    if classes == 0 {
        return loss;
    }
    let everywhere = label_smoothing / classes as f32;
    let own = 1.0 - label_smoothing;
    let samples = logits.chunks_exact(classes).zip(target.chunks_exact(classes));
    for ((logits, target), grads) in samples.zip(grad_logits.chunks_exact_mut(classes)) {
        if !is_sample(target) {
            grads.fill(0.0);
            continue;
        }
        loss += cross_entropy(logits, grads, grad_scale, |class| {
            everywhere + own * target.get(class).copied().unwrap_or_default()
        });
    }
    loss
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    let (Shape([n, .., c]), classes) = prediction(step)?;
    let logits = step.reads.first().ok_or(StepError::Memory)?;
    has_shape(logits, 0, Shape([n, 1, 1, c]))?;
    step.attributes::<2>()?;
    let label_smoothing = float_in(step.attributes, 0, 0.0..=1.0)?;
    Ok(Params { classes, label_smoothing, grad_scale: float(step.attributes, 1)? })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    check_dense(step, prediction(step)?.0)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    run_dense(step, memory, |logits, target, grads| {
        [forward(params, logits, target, grads), agreements(params.classes, logits, target)]
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{Random, assert_loss, changed, in_arena, run_in_arena, step, wide};

    /// Roundings of 6e-8 in sums of up to 10 numbers of magnitude 5; with micromath, the error of its exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 2e-6 };

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (classes, label_smoothing) in [(2, 0.0f32), (10, 0.0), (10, 0.1)] {
            let logits: Vec<f32> = random.values(3 * classes).iter().map(|x| 5.0 * x).collect();
            let target: Vec<f32> = random.values(3 * classes).iter().map(|x| x.abs()).collect();
            let goal = wide(&target);
            let loss = |logits: &[f64]| {
                let samples = logits.chunks(classes).zip(goal.chunks(classes)).map(|(logits, goal)| {
                    let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
                    let smoothing = f64::from(label_smoothing);
                    let target = |t: f64| smoothing / classes as f64 + (1.0 - smoothing) * t;
                    logits.iter().zip(goal).map(|(x, &t)| target(t) * (log_sum - x)).sum::<f64>()
                });
                samples.sum::<f64>()
            };
            let params = Params { classes, label_smoothing, grad_scale: 0.5 };
            assert_loss(&logits, 0.5, TOLERANCE, loss, |grads| forward(params, &logits, &target, grads));
        }
    }

    #[test]
    fn steps_are_checked_and_count() {
        let [logits, target, grads] = [0, 6, 12].map(|offset| in_arena(offset, [3, 1, 1, 2]));
        let attributes = [0.0f32, 1.0].map(|x| x.to_bits() as i32);
        let loss = step(66, &attributes, &[logits, target], &[in_arena(18, [1, 1, 1, 2]), grads]);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let mut arena = [0.0; 20];
        arena[..12].copy_from_slice(&[1.0, 0.0, 1.0, 2.0, 5.0, 5.0, 0.75, 0.25, 1.0, 0.0, f32::NAN, 0.0]);
        run_in_arena(&loss, &mut arena);
        assert_eq!((arena[19], &arena[16..18]), (1.0, &[0.0, 0.0][..]));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].shape.0[3] = 3), Err(error));
        let error = StepError::Shape { operand: 0 };
        assert_eq!(changed(&loss, |step| step.reads[0].shape.0[1] = 2), Err(error));
        let found = 1.5f32.to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&loss, |step| step.attributes[0] = found), Err(error));
    }
}
