//! Sigmoid and binary cross-entropy in one: each output is a yes or no of its own.

use super::{agreements, check_dense, is_sample, prediction, run_dense};
use crate::kernels::{exp, ln};
use crate::memory::Memory;
use crate::operand::Shape;
use crate::ops::operands::float;
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "BCEWithLogitsLoss")]
pub struct Params {
    /// Elements of a sample. Positive.
    pub sample_elements: usize,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum over the samples of the mean over their elements of `max(z, 0) - z * t + ln(1 + exp(-|z|))`, of the logit `z` and the target `t` in 0..1;
/// and the gradient of the logits, `grad_scale / sample_elements * (sigmoid(z) - t)`.
///
/// `logits`, `target` and `grad_logits` (overwritten) are `[N, H, W, C]`. Elements are summed in order.
pub fn forward(params: Params, logits: &[f32], target: &[f32], grad_logits: &mut [f32]) -> f32 {
    let Params { sample_elements, grad_scale } = params;
    let mut loss = 0.0;
    if sample_elements == 0 {
        return loss;
    }
    let factor = grad_scale / sample_elements as f32;
    let samples = logits.chunks_exact(sample_elements).zip(target.chunks_exact(sample_elements));
    for ((logits, target), grads) in samples.zip(grad_logits.chunks_exact_mut(sample_elements)) {
        if !is_sample(target) {
            grads.fill(0.0);
            continue;
        }
        let mut sum = 0.0;
        for ((&logit, &target), grad) in logits.iter().zip(target).zip(grads) {
            let (sigmoid, exponential) = sigmoid(logit);
            let positive = if logit < 0.0 { 0.0 } else { logit };
            sum += positive - logit * target + ln(1.0 + exponential);
            *grad = factor * (sigmoid - target);
        }
        loss += sum / sample_elements as f32;
    }
    loss
}

/// `1 / (1 + exp(-z))`, and `exp(-|z|)`, from which it is made.
pub(super) fn sigmoid(logit: f32) -> (f32, f32) {
    let exponential = exp(-logit.abs());
    let numerator = if logit < 0.0 { exponential } else { 1.0 };
    (numerator / (1.0 + exponential), exponential)
}

/// How many samples are right: a vector, which is of a class, if its largest logit is where the largest target is; of anything else the share of [`right_sides`].
pub(super) fn right(shape: Shape, sample_elements: usize, logits: &[f32], target: &[f32]) -> f32 {
    let Shape([_, h, w, c]) = shape;
    let count = if h == 1 && w == 1 && c > 1 { agreements } else { right_sides };
    count(sample_elements, logits, target)
}

/// Sum over the samples of the share of the elements whose logit is on the side of 0 on which the target is of 1/2.
fn right_sides(sample_elements: usize, logits: &[f32], target: &[f32]) -> f32 {
    let mut right = 0.0;
    if sample_elements > 0 {
        let samples = logits.chunks_exact(sample_elements).zip(target.chunks_exact(sample_elements));
        for (logits, target) in samples.filter(|(_, target)| is_sample(target)) {
            let agree =
                logits.iter().zip(target).filter(|(logit, target)| (**logit > 0.0) == (**target > 0.5));
            right += agree.count() as f32 / sample_elements as f32;
        }
    }
    right
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    let (_, sample_elements) = prediction(step)?;
    step.attributes::<1>()?;
    Ok(Params { sample_elements, grad_scale: float(step.attributes, 0)? })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    check_dense(step, prediction(step)?.0)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, (shape, sample_elements)) = (params(step)?, prediction(step)?);
    run_dense(step, memory, |logits, target, grads| {
        [forward(params, logits, target, grads), right(shape, sample_elements, logits, target)]
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{Random, assert_loss, changed, in_arena, run_in_arena, step, wide};

    /// Roundings of 6e-8 in sums of up to 21 numbers of magnitude 5; with micromath, the error of its exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 1e-6 };

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for sample_elements in [1, 6, 21] {
            let logits: Vec<f32> = random.values(3 * sample_elements).iter().map(|x| 5.0 * x).collect();
            let target: Vec<f32> = random.values(3 * sample_elements).iter().map(|x| x.abs()).collect();
            let goal = wide(&target);
            let loss = |logits: &[f64]| {
                let each = logits.iter().zip(&goal).map(|(z, t)| {
                    let p = 1.0 / (1.0 + (-z).exp());
                    -(t * p.ln() + (1.0 - t) * (1.0 - p).ln())
                });
                each.sum::<f64>() / sample_elements as f64
            };
            let params = Params { sample_elements, grad_scale: 0.5 };
            assert_loss(&logits, 0.5, TOLERANCE, loss, |grads| forward(params, &logits, &target, grads));
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut grads = [f32::NAN; 2];
        let params = Params { sample_elements: 1, grad_scale: 1.0 };
        assert_eq!(forward(params, &[1e30, -1e30], &[1.0, 0.0], &mut grads), 0.0);
        assert_eq!(grads, [0.0, 0.0]);
    }

    #[test]
    fn steps_are_checked_and_count() {
        let [logits, target, grads] = [0, 4, 8].map(|offset| in_arena(offset, [2, 1, 1, 2]));
        let scale = 0.5f32.to_bits() as i32;
        let loss = step(65, &[scale], &[logits, target], &[in_arena(12, [1, 1, 1, 2]), grads]);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let values = [1.0, 2.0, 3.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let mut arena = values;
        run_in_arena(&loss, &mut arena);
        assert_eq!(arena[13], 1.0, "one vector's largest is right");
        let image = |step: &mut crate::step::NewStep| {
            for operand in step.reads.iter_mut().chain(step.writes.iter_mut().skip(1)) {
                operand.shape = Shape([2, 2, 1, 1]);
            }
        };
        let mut images = loss.clone();
        image(&mut images);
        arena = values;
        run_in_arena(&images, &mut arena);
        assert_eq!(arena[13], 0.5, "half of one image, none of the other");
        let error = StepError::Shape { operand: 3 };
        assert_eq!(changed(&loss, |step| step.writes[1].shape.0[0] = 3), Err(error));
    }
}
