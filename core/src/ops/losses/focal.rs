//! Focal loss: samples that are classified well count less.
//!
//! T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár: *Focal Loss for Dense Object Detection*, ICCV 2017; here for one class of several.

use super::{check_labelled, classes, maximum, run_weighted};
use crate::kernels::{exp, ln};
use crate::memory::Memory;
use crate::ops::operands::{float, float_in};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Classes, the last dimension of the logits. Positive.
    pub classes: usize,
    /// How much less good ones count, 0 or more; 0 is the weighted cross-entropy.
    pub gamma: f32,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum of the samples' losses, number of samples whose largest logit is the label's, and gradient of the logits.
///
/// With `p = softmax(logits)[label]`: `loss = -weights[label] * (1 - p)^gamma * ln(p)`, and `grad_logits[c] = grad_scale * weights[label] *
/// (1 - p)^gamma * (gamma * p * ln(p) / (1 - p) - 1) * ([c == label] - softmax(logits)[c])`.
///
/// `logits` and `grad_logits` (overwritten) are `[N, 1, 1, classes]`, `labels` `[N, 1, 1, 1]`, `weights` `[1, 1, 1, classes]`. A label
/// outside `0..classes` adds nothing to the loss, gets a gradient of 0 and counts as wrong.
pub fn forward(
    params: Params,
    logits: &[f32],
    labels: &[i32],
    weights: &[f32],
    grad_logits: &mut [f32],
) -> [f32; 2] {
    let Params { classes, gamma, grad_scale } = params;
    let (mut loss, mut correct) = (0.0, 0.0);
    if classes == 0 {
        return [loss, correct];
    }
    let samples = logits.chunks_exact(classes).zip(grad_logits.chunks_exact_mut(classes));
    for ((logits, grads), &label) in samples.zip(labels) {
        let label = usize::try_from(label).unwrap_or(usize::MAX);
        let (Some(&weight), Some(&label_logit)) = (weights.get(label), logits.get(label)) else {
            grads.fill(0.0);
            continue;
        };
        let (largest, maximum) = maximum(logits);
        if largest == label {
            correct += 1.0;
        }
        let (mut exponentials, mut others) = (0.0, 0.0);
        for (class, (grad, &logit)) in grads.iter_mut().zip(logits).enumerate() {
            *grad = exp(logit - maximum);
            exponentials += *grad;
            if class != label {
                others += *grad;
            }
        }
        // -ln(p), and 1 - p without cancellation.
        let surprise = ln(exponentials) - (label_logit - maximum);
        let doubt = others / exponentials;
        let (power, slope) = if doubt > 0.0 {
            let power = exp(-gamma * ln(1.0 / doubt));
            (power, power * (gamma * (1.0 - doubt) * surprise / doubt + 1.0))
        } else if doubt == 0.0 {
            let power = if gamma == 0.0 { 1.0 } else { 0.0 };
            (power, power)
        } else {
            (f32::NAN, f32::NAN)
        };
        loss += weight * power * surprise;
        let factor = grad_scale * weight * slope;
        for (class, grad) in grads.iter_mut().enumerate() {
            let target = if class == label { 1.0 } else { 0.0 };
            *grad = factor * (*grad / exponentials - target);
        }
    }
    [loss, correct]
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<2>()?;
    let gamma = float_in(step.attributes, 0, 0.0..)?;
    Ok(Params { classes: classes(step)?, gamma, grad_scale: float(step.attributes, 1)? })
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

    /// Roundings of 6e-8 in sums of up to 10 numbers of magnitude 5, a logarithm and a power of them; with micromath, the error of its
    /// exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 2e-2 } else { 4e-6 };

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (classes, gamma) in [(2, 0.0f32), (2, 2.0), (10, 0.5), (10, 1.0), (10, 5.0)] {
            let params = Params { classes, gamma, grad_scale: 0.25 };
            let logits: Vec<f32> = random.values(3 * classes).iter().map(|x| 3.0 * x).collect();
            let weights: Vec<f32> = random.values(classes).iter().map(|x| x + 1.5).collect();
            let labels = [0, classes as i32 - 1, -1];
            let reference = |logits: &[f64]| -> f64 {
                let samples = logits.chunks(classes).zip(labels).take(2).map(|(logits, label)| {
                    let sum = logits.iter().map(|x| x.exp()).sum::<f64>();
                    let p = logits[label as usize].exp() / sum;
                    -f64::from(weights[label as usize]) * (1.0 - p).powf(f64::from(gamma)) * p.ln()
                });
                samples.sum()
            };
            assert_loss(&logits, 0.25, TOLERANCE, reference, |grads| {
                forward(params, &logits, &labels, &weights, grads)[0]
            });
        }
    }

    #[test]
    fn what_is_certain_is_no_nan_and_what_is_nan_shows() {
        let run = |gamma, logits: [f32; 2]| {
            let mut grads = [f32::NAN; 2];
            let params = Params { classes: 2, gamma, grad_scale: 1.0 };
            let [loss, _] = forward(params, &logits, &[0], &[1.0, 1.0], &mut grads);
            (loss, grads)
        };
        assert_eq!(run(2.0, [200.0, 0.0]), (0.0, [0.0, 0.0]));
        assert_eq!(run(0.0, [200.0, 0.0]), (0.0, [0.0, 0.0]));
        assert_eq!(run(2.0, [-100.0, 100.0]).0, 200.0);
        let (loss, grads) = run(2.0, [f32::NAN, 0.0]);
        assert!(loss.is_nan() && grads.iter().all(|grad| grad.is_nan()));
    }

    #[test]
    fn steps_are_checked_and_run() {
        let labels = Operand { element_type: ElementType::I32, ..in_arena(10, [2, 1, 1, 1]) };
        let attributes = [2.0f32, 0.5].map(|x| x.to_bits() as i32);
        let writes = [in_arena(17, [1, 1, 1, 2]), in_arena(19, [2, 1, 1, 5])];
        let loss =
            step(63, &attributes, &[in_arena(0, [2, 1, 1, 5]), labels, in_arena(12, [1, 1, 1, 5])], &writes);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let mut arena = [1.0f32; 29];
        arena[10..12].copy_from_slice(&[0, 4].map(f32::from_bits));
        run_in_arena(&loss, &mut arena);
        assert_close("loss", &arena[17..19], &[2.0 * 0.64 * 5.0f64.ln(), 1.0], TOLERANCE);
        let error = StepError::ReadCount { expected: 3, found: 2 };
        assert_eq!(changed(&loss, |step| step.reads.truncate(2)), Err(error));
        let found = (-1.0f32).to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&loss, |step| step.attributes[0] = found), Err(error));
    }
}
