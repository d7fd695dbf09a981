//! Softmax and cross-entropy with a weight for each class, for labels that are not equally frequent.

use super::{check_labelled, classes, cross_entropy, maximum, run_weighted};
use crate::memory::Memory;
use crate::ops::operands::{float, float_in};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Classes, the last dimension of the logits. Positive.
    pub classes: usize,
    /// Share of the target that is spread evenly over all classes, in `0.0..=1.0`.
    pub label_smoothing: f32,
    /// What the gradient is multiplied with: `1 / B` for the sum over a batch of `B` samples, divided by `B`.
    pub grad_scale: f32,
}

/// Sum of the samples' weighted cross-entropies, number of samples whose largest logit is the label's, and gradient of the logits.
///
/// As [`softmax_cross_entropy`](super::softmax_cross_entropy::forward), with the target
/// `q[c] = label_smoothing / classes * weights[c] + (1 - label_smoothing) * weights[label] * [c == label]`; `grad_logits[c] =
/// grad_scale * (p[c] * sum(q) - q[c])`. This is `torch.nn.CrossEntropyLoss(weight, reduction="sum")`.
///
/// `logits` and `grad_logits` (overwritten) are `[N, 1, 1, classes]`, `labels` `[N, 1, 1, 1]`, `weights` `[1, 1, 1, classes]`.
pub fn forward(
    params: Params,
    logits: &[f32],
    labels: &[i32],
    weights: &[f32],
    grad_logits: &mut [f32],
) -> [f32; 2] {
    let Params { classes, label_smoothing, grad_scale } = params;
    let (mut loss, mut correct) = (0.0, 0.0);
    if classes == 0 {
        return [loss, correct];
    }
    let everywhere = label_smoothing / classes as f32;
    let on_label = 1.0 - label_smoothing;
    let samples = logits.chunks_exact(classes).zip(grad_logits.chunks_exact_mut(classes));
    for ((logits, grads), &label) in samples.zip(labels) {
        let label = usize::try_from(label).unwrap_or(usize::MAX);
        let Some(&weight) = weights.get(label) else {
            grads.fill(0.0);
            continue;
        };
        if maximum(logits).0 == label {
            correct += 1.0;
        }
        loss += cross_entropy(logits, grads, grad_scale, |class| {
            let spread = everywhere * weights.get(class).copied().unwrap_or_default();
            if class == label { spread + on_label * weight } else { spread }
        });
    }
    [loss, correct]
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<2>()?;
    let label_smoothing = float_in(step.attributes, 0, 0.0..=1.0)?;
    Ok(Params { classes: classes(step)?, label_smoothing, grad_scale: float(step.attributes, 1)? })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    check_labelled(step, true)?;
    params(step).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    run_weighted(step, memory, |logits, labels, weights, grads| {
        forward(params, logits, labels, weights, grads)
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::operand::{ElementType, Operand};
    use crate::ops::test_support::{
        Random, assert_close, assert_loss, changed, in_arena, run_in_arena, step,
    };

    /// Roundings of 6e-8 in sums of up to 17 numbers of magnitude 5; with micromath, the error of its exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 2e-6 };

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (classes, label_smoothing) in [(1, 0.0), (2, 0.1), (10, 0.0), (10, 0.2), (17, 1.0)] {
            let params = Params { classes, label_smoothing, grad_scale: 0.25 };
            let logits: Vec<f32> = random.values(4 * classes).iter().map(|x| 5.0 * x).collect();
            let weights: Vec<f32> = random.values(classes).iter().map(|x| x + 1.5).collect();
            let labels = [0, classes as i32 - 1, -1, classes as i32];
            let reference = |logits: &[f64]| -> f64 {
                let samples = logits.chunks(classes).zip(labels).take(2).map(|(logits, label)| {
                    let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
                    let smoothing = f64::from(label_smoothing);
                    let each = logits.iter().enumerate().map(|(class, x)| {
                        let spread = smoothing / classes as f64 * f64::from(weights[class]);
                        let own = (1.0 - smoothing) * f64::from(weights[label as usize]);
                        (spread + if class == label as usize { own } else { 0.0 }) * (log_sum - x)
                    });
                    each.sum::<f64>()
                });
                samples.sum()
            };
            assert_loss(&logits, 0.25, TOLERANCE, reference, |grads| {
                forward(params, &logits, &labels, &weights, grads)[0]
            });
        }
    }

    #[test]
    fn steps_are_checked_and_run() {
        let labels = Operand { element_type: ElementType::I32, ..in_arena(15, [3, 1, 1, 1]) };
        let attributes = [0.1f32, 1.0 / 3.0].map(|x| x.to_bits() as i32);
        let writes = [in_arena(23, [1, 1, 1, 2]), in_arena(25, [3, 1, 1, 5])];
        let reads = [in_arena(0, [3, 1, 1, 5]), labels, in_arena(18, [1, 1, 1, 5])];
        let loss = step(62, &attributes, &reads, &writes);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let mut arena = [1.0f32; 40];
        arena[15..18].copy_from_slice(&[0, 2, 4].map(f32::from_bits));
        run_in_arena(&loss, &mut arena);
        // Equal logits: each sample's loss is ln(5) times the sum of its targets, 1.
        assert_close("loss", &arena[23..25], &[3.0 * 5.0f64.ln(), 1.0], TOLERANCE);
        let error = StepError::ReadCount { expected: 3, found: 2 };
        assert_eq!(changed(&loss, |step| step.reads.truncate(2)), Err(error));
        let error = StepError::Shape { operand: 2 };
        assert_eq!(changed(&loss, |step| step.reads[2].shape.0[3] = 4), Err(error));
        let error = StepError::Shape { operand: 4 };
        assert_eq!(changed(&loss, |step| step.writes[1].shape.0[3] = 4), Err(error));
        let found = 1.5f32.to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&loss, |step| step.attributes[0] = found), Err(error));
    }
}
