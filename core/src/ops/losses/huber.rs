//! Huber loss: squares of small differences, magnitudes of large ones (Huber 1964, *Annals of Mathematical Statistics* 35).

use super::{agreements, check_dense, is_sample, prediction, run_dense};
use crate::kernels::each_isa::each_isa;
use crate::kernels::fma;
use crate::memory::Memory;
use crate::ops::operands::{flag, float, positive_float};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Elements of a sample. Positive.
    pub sample_elements: usize,
    /// Where squares end. Positive.
    pub delta: f32,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum over the samples of the mean over their elements of `d² / 2` for `|d| <= delta`, else `delta * (|d| - delta / 2)`, where `d = prediction -
/// target`; and the gradient of the prediction, `grad_scale / sample_elements * d` with `d` limited to `±delta`.
///
/// `prediction`, `target` and `grad_prediction` (overwritten) are `[N, H, W, C]`. Elements are summed in order.
pub fn forward(params: Params, prediction: &[f32], target: &[f32], grad_prediction: &mut [f32]) -> f32 {
    let mut loss = 0.0;
    forward_kernel(params, prediction, target, grad_prediction, &mut loss);
    loss
}

each_isa! {
    fn forward_kernel<WIDE>(
        params: Params,
        prediction: &'a [f32],
        target: &'a [f32],
        grad_prediction: &'a mut [f32],
        loss: &'a mut f32,
    ) {
        let Params { sample_elements, delta, grad_scale } = params;
        if sample_elements == 0 {
            return;
        }
        let factor = grad_scale / sample_elements as f32;
        let samples = prediction.chunks_exact(sample_elements).zip(target.chunks_exact(sample_elements));
        for ((prediction, target), grads) in samples.zip(grad_prediction.chunks_exact_mut(sample_elements)) {
            if !is_sample(target) {
                grads.fill(0.0);
                continue;
            }
            let mut sum = 0.0;
            for ((&prediction, &target), grad) in prediction.iter().zip(target).zip(grads) {
                let difference = prediction - target;
                let below = if difference > delta { delta } else { difference };
                let limited = if below < -delta { -delta } else { below };
                // limited * (difference - limited / 2) is either of the two formulas.
                sum = fma(limited, difference - 0.5 * limited, sum);
                *grad = factor * limited;
            }
            *loss += sum / sample_elements as f32;
        }
    }
}

fn params(step: Step<'_>) -> Result<(Params, bool), StepError> {
    let (_, sample_elements) = prediction(step)?;
    step.attributes::<3>()?;
    let delta = positive_float(step.attributes, 0)?;
    let params = Params { sample_elements, delta, grad_scale: float(step.attributes, 1)? };
    Ok((params, flag(step.attributes, 2)?))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    check_dense(step, prediction(step)?.0)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, counts) = params(step)?;
    run_dense(step, memory, |prediction, target, grads| {
        let correct = if counts { agreements(params.sample_elements, prediction, target) } else { 0.0 };
        [forward(params, prediction, target, grads), correct]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{Random, assert_loss, changed, in_arena, run_in_arena, step, wide};

    /// Roundings of 6e-8 in sums of up to 21 numbers below 4.
    const TOLERANCE: f64 = 1e-6;

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (sample_elements, delta) in [(1, 0.5f32), (6, 0.25), (21, 1.0)] {
            let [prediction, target] = [(); 2].map(|()| random.values(3 * sample_elements));
            let (goal, wide_delta) = (wide(&target), f64::from(delta));
            let loss = |prediction: &[f64]| {
                let each = prediction.iter().zip(&goal).map(|(p, t)| {
                    let d = (p - t).abs();
                    if d <= wide_delta { d * d / 2.0 } else { wide_delta * (d - wide_delta / 2.0) }
                });
                each.sum::<f64>() / sample_elements as f64
            };
            let params = Params { sample_elements, delta, grad_scale: 0.5 };
            assert_loss(&prediction, 0.5, TOLERANCE, loss, |grads| {
                forward(params, &prediction, &target, grads)
            });
        }
    }

    #[test]
    fn steps_are_checked_and_count() {
        let [prediction, target, grads] = [0, 4, 8].map(|offset| in_arena(offset, [2, 1, 1, 2]));
        let attributes = [1.0f32.to_bits() as i32, 0.5f32.to_bits() as i32, 1];
        let loss = step(64, &attributes, &[prediction, target], &[in_arena(12, [1, 1, 1, 2]), grads]);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        // The second is no sample.
        let mut arena = [0.5, 1.0, 9.0, 9.0, 0.0, 1.0, f32::NAN, 0.0, 7.0, 7.0, 7.0, 7.0, 0.0, 0.0];
        run_in_arena(&loss, &mut arena);
        assert_eq!(arena[8..], [0.125, 0.0, 0.0, 0.0, 0.0625, 1.0]);
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].shape.0[0] = 3), Err(error));
        let error = StepError::Attribute { index: 0, found: 0 };
        assert_eq!(changed(&loss, |step| step.attributes[0] = 0), Err(error));
        let error = StepError::Attribute { index: 2, found: 2 };
        assert_eq!(changed(&loss, |step| step.attributes[2] = 2), Err(error));
    }
}
