//! Distillation: to classify as the labels say, and to be as sure as a teacher is.
//!
//! G. Hinton, O. Vinyals, J. Dean: *Distilling the Knowledge in a Neural Network*, 2015, `arXiv:1503.02531`.

use super::{check_dense, is_sample, maximum, prediction, run_dense};
use crate::kernels::{exp, ln};
use crate::memory::Memory;
use crate::operand::Shape;
use crate::ops::operands::{float, float_in, has_shape};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "KLDivLoss")]
pub struct Params {
    /// Classes, the last dimension of the logits. Positive.
    pub classes: usize,
    /// What both networks' logits are divided by for the teacher's share, at least 1/16.
    pub temperature: f32,
    /// The teacher's share of the loss, in `0.0..=1.0`; at 1 it is the Kullback-Leibler divergence alone.
    pub share: f32,
    /// Share of the target that is spread evenly over all classes, in `0.0..=1.0`.
    pub label_smoothing: f32,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum of the samples' losses, number of samples whose largest logit is where the largest target is, and gradient of the logits.
///
/// With `p(T) = softmax(logits / T)`, `t(T) = softmax(teacher / T)` and the smoothed target `q` of
/// [`soft_cross_entropy`](super::soft_cross_entropy::forward): `loss = (1 - share) * -sum(q * ln(p(1))) + share * T² * sum(t(T) * (ln(t(T)) -
/// ln(p(T))))`; `grad_logits = grad_scale * ((1 - share) * (p(1) * sum(q) - q) + share * T * (p(T) - t(T)))`.
///
/// `logits` and `grad_logits` (overwritten) are `[N, 1, 1, classes]`, `targets` is `[N, 1, 2, classes]`: the target distribution, then the
/// teacher's logits.
pub fn forward(params: Params, logits: &[f32], targets: &[f32], grad_logits: &mut [f32]) -> [f32; 2] {
    let Params { classes, temperature, share, label_smoothing, grad_scale } = params;
    let (mut loss, mut correct) = (0.0, 0.0);
    if classes == 0 {
        return [loss, correct];
    }
    let (everywhere, own) = (label_smoothing / classes as f32, 1.0 - label_smoothing);
    let samples = logits.chunks_exact(classes).zip(targets.chunks_exact(2 * classes));
    for ((logits, targets), grads) in samples.zip(grad_logits.chunks_exact_mut(classes)) {
        let Some((target, teacher)) = targets.split_at_checked(classes) else { continue };
        if !is_sample(target) {
            grads.fill(0.0);
            continue;
        }
        if maximum(logits).0 == maximum(target).0 {
            correct += 1.0;
        }
        let hard = LogSoftmax::of(logits, 1.0);
        let soft = LogSoftmax::of(logits, temperature);
        let teach = LogSoftmax::of(teacher, temperature);
        let targets = target.iter().fold(0.0, |sum, target| sum + (everywhere + own * target));
        let (mut cross_entropy, mut divergence) = (0.0, 0.0);
        for (((&logit, &target), &teacher), grad) in logits.iter().zip(target).zip(teacher).zip(grads) {
            let target = everywhere + own * target;
            let [ln_p, ln_soft, ln_teach] = [hard.at(logit), soft.at(logit), teach.at(teacher)];
            if target != 0.0 {
                cross_entropy -= target * ln_p;
            }
            let teach = exp(ln_teach);
            divergence += teach * (ln_teach - ln_soft);
            let from_target = exp(ln_p) * targets - target;
            let from_teacher = temperature * (exp(ln_soft) - teach);
            *grad = grad_scale * ((1.0 - share) * from_target + share * from_teacher);
        }
        loss += (1.0 - share) * cross_entropy + share * temperature * temperature * divergence;
    }
    [loss, correct]
}

/// The logarithm of a softmax at a temperature.
struct LogSoftmax {
    maximum: f32,
    log_sum: f32,
    temperature: f32,
}

impl LogSoftmax {
    fn of(logits: &[f32], temperature: f32) -> Self {
        let (_, maximum) = maximum(logits);
        let sum = logits.iter().fold(0.0, |sum, logit| sum + exp((logit - maximum) / temperature));
        Self { maximum, log_sum: ln(sum), temperature }
    }

    fn at(&self, logit: f32) -> f32 {
        (logit - self.maximum) / self.temperature - self.log_sum
    }
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    let (Shape([n, .., c]), classes) = prediction(step)?;
    let logits = step.reads.first().ok_or(StepError::Memory)?;
    has_shape(logits, 0, Shape([n, 1, 1, c]))?;
    step.attributes::<4>()?;
    Ok(Params {
        classes,
        temperature: float_in(step.attributes, 0, 0.0625..=1024.0)?,
        share: float_in(step.attributes, 1, 0.0..=1.0)?,
        label_smoothing: float_in(step.attributes, 2, 0.0..=1.0)?,
        grad_scale: float(step.attributes, 3)?,
    })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    let (Shape([n, .., c]), _) = prediction(step)?;
    check_dense(step, Shape([n, 1, 2, c]))
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    run_dense(step, memory, |logits, targets, grads| forward(params, logits, targets, grads))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{Random, assert_close, changed, in_arena, numeric_gradient, step, wide};

    /// Roundings of 6e-8 in sums of up to 10 numbers of magnitude 5, times a squared temperature of 9; with micromath, the error of its
    /// exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-2 } else { 1e-5 };

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (classes, temperature, share, label_smoothing) in
            [(2, 1.0f32, 0.5f32, 0.0f32), (10, 3.0, 1.0, 0.0), (10, 2.0, 0.7, 0.1), (5, 4.0, 0.0, 0.0)]
        {
            let logits: Vec<f32> = random.values(2 * classes).iter().map(|x| 5.0 * x).collect();
            let targets: Vec<f32> = random.values(4 * classes).iter().map(|x| x.abs()).collect();
            let goal = wide(&targets);
            let log_softmax = |logits: &[f64], t: f64| {
                let log_sum = logits.iter().map(|x| (x / t).exp()).sum::<f64>().ln();
                logits.iter().map(|x| x / t - log_sum).collect::<Vec<_>>()
            };
            let loss = |logits: &[f64]| {
                let samples = logits.chunks(classes).zip(goal.chunks(2 * classes)).map(|(logits, goal)| {
                    let (t, smoothing) = (f64::from(temperature), f64::from(label_smoothing));
                    let (hard, soft) = (log_softmax(logits, 1.0), log_softmax(logits, t));
                    let teach = log_softmax(&goal[classes..], t);
                    let target = |x: f64| smoothing / classes as f64 + (1.0 - smoothing) * x;
                    let cross = hard.iter().zip(goal).map(|(ln_p, &x)| -target(x) * ln_p).sum::<f64>();
                    let divergence = teach.iter().zip(&soft).map(|(t, s)| t.exp() * (t - s)).sum::<f64>();
                    (1.0 - f64::from(share)) * cross + f64::from(share) * t * t * divergence
                });
                samples.sum::<f64>()
            };
            let params = Params { classes, temperature, share, label_smoothing, grad_scale: 0.5 };
            let mut grads = std::vec![f32::NAN; logits.len()];
            let [found, _] = forward(params, &logits, &targets, &mut grads);
            assert_close("loss", &[found], &[loss(&wide(&logits))], TOLERANCE);
            let expected = numeric_gradient(&logits, |logits| 0.5 * loss(logits));
            assert_close("grad_logits", &grads, &expected, TOLERANCE);
        }
    }

    #[test]
    fn steps_are_checked() {
        let [logits, grads] = [0, 100].map(|offset| in_arena(offset, [2, 1, 1, 5]));
        let targets = in_arena(200, [2, 1, 2, 5]);
        let attributes = [2.0f32, 0.5, 0.1, 1.0].map(|x| x.to_bits() as i32);
        let loss = step(67, &attributes, &[logits, targets], &[in_arena(300, [1, 1, 1, 2]), grads]);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].shape.0[2] = 1), Err(error));
        let error = StepError::Attribute { index: 0, found: 0 };
        assert_eq!(changed(&loss, |step| step.attributes[0] = 0), Err(error));
        let found = 1.5f32.to_bits() as i32;
        let error = StepError::Attribute { index: 1, found };
        assert_eq!(changed(&loss, |step| step.attributes[1] = found), Err(error));
    }
}
