//! Soft Dice loss: how little two masks overlap, whatever their sizes.
//!
//! C. H. Sudre et al.: *Generalised Dice overlap as a deep learning loss function for highly unbalanced segmentations*, DLMIA 2017, without class weights.

use super::binary_cross_entropy::{right, sigmoid};
use super::{check_dense, is_sample, prediction, run_dense};
use crate::memory::Memory;
use crate::operand::Shape;
use crate::ops::operands::{float, positive_float};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Pixels of a sample. Positive.
    pub pixels: usize,
    /// Channels, the last dimension. Positive.
    pub channels: usize,
    /// Added above and below the fraction, so that two empty masks are equal. Positive.
    pub smooth: f32,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum over the samples of `1 - D`, where `D` is the mean over the channels of `(2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth)`, the sums over the
/// channel's pixels, `p = sigmoid(logits)` and `t` the target in 0..1; and the gradient of the logits.
///
/// `logits`, `target` and `grad_logits` (overwritten) are `[N, H, W, C]`. Pixels are summed in order.
pub fn forward(params: Params, logits: &[f32], target: &[f32], grad_logits: &mut [f32]) -> f32 {
    let Params { pixels, channels, smooth, grad_scale } = params;
    let mut loss = 0.0;
    let sample = pixels.saturating_mul(channels);
    if sample == 0 {
        return loss;
    }
    let samples = logits.chunks_exact(sample).zip(target.chunks_exact(sample));
    for ((logits, target), grads) in samples.zip(grad_logits.chunks_exact_mut(sample)) {
        if !is_sample(target) {
            grads.fill(0.0);
            continue;
        }
        let mut overlap = 0.0;
        for channel in 0..channels {
            let each = || logits.iter().zip(target).skip(channel).step_by(channels);
            let (mut both, mut sum) = (0.0, 0.0);
            for (&logit, &target) in each() {
                let (p, _) = sigmoid(logit);
                both += p * target;
                sum += p + target;
            }
            let (above, below) = (2.0 * both + smooth, sum + smooth);
            overlap += above / below;
            let factor = grad_scale / channels as f32 / below;
            for ((&logit, &target), grad) in each().zip(grads.iter_mut().skip(channel).step_by(channels)) {
                let (p, exponential) = sigmoid(logit);
                // p * (1 - p), without cancellation.
                let slope = exponential / ((1.0 + exponential) * (1.0 + exponential));
                let towards = if p.is_nan() { p } else { above / below - 2.0 * target };
                *grad = factor * towards * slope;
            }
        }
        loss += 1.0 - overlap / channels as f32;
    }
    loss
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    let (Shape([_, h, w, c]), _) = prediction(step)?;
    step.attributes::<2>()?;
    let pixels = Shape([1, h, w, 1]).elements().ok_or(StepError::Shape { operand: 0 })?;
    let (smooth, grad_scale) = (positive_float(step.attributes, 0)?, float(step.attributes, 1)?);
    Ok(Params { pixels, channels: c as usize, smooth, grad_scale })
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

    /// Roundings of 6e-8 in sums of up to 24 numbers below 2; with micromath, the error of its exponentials.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 1e-6 };

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (pixels, channels, smooth) in [(1, 1, 1.0f32), (12, 1, 1.0), (8, 3, 0.01)] {
            let sample = pixels * channels;
            let logits: Vec<f32> = random.values(2 * sample).iter().map(|x| 4.0 * x).collect();
            let target: Vec<f32> =
                random.values(2 * sample).iter().map(|&x| if x > 0.0 { 1.0 } else { 0.0 }).collect();
            let (goal, s) = (wide(&target), f64::from(smooth));
            let loss = |logits: &[f64]| {
                let samples = logits.chunks(sample).zip(goal.chunks(sample)).map(|(logits, goal)| {
                    let dice = (0..channels).map(|channel| {
                        let (mut both, mut sum) = (0.0, 0.0);
                        for pixel in 0..pixels {
                            let index = pixel * channels + channel;
                            let p = 1.0 / (1.0 + (-logits[index]).exp());
                            both += p * goal[index];
                            sum += p + goal[index];
                        }
                        (2.0 * both + s) / (sum + s)
                    });
                    1.0 - dice.sum::<f64>() / channels as f64
                });
                samples.sum::<f64>()
            };
            let params = Params { pixels, channels, smooth, grad_scale: 0.5 };
            assert_loss(&logits, 0.5, TOLERANCE, loss, |grads| forward(params, &logits, &target, grads));
        }
    }

    #[test]
    fn a_vector_is_right_where_its_largest_element_is() {
        let [logits, target, grads] = [0, 4, 8].map(|offset| in_arena(offset, [2, 1, 1, 2]));
        let attributes = [1.0f32, 0.5].map(|x| x.to_bits() as i32);
        let loss = step(68, &attributes, &[logits, target], &[in_arena(12, [1, 1, 1, 2]), grads]);
        // All logits are negative: as many single elements are right as there are classes that it is not.
        let mut arena = [-1.0, -2.0, -2.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        run_in_arena(&loss, &mut arena);
        assert_eq!(arena[13], 1.0);
    }

    #[test]
    fn steps_are_checked() {
        let [logits, target, grads] = [0, 100, 200].map(|offset| in_arena(offset, [2, 3, 3, 4]));
        let attributes = [1.0f32, 0.5].map(|x| x.to_bits() as i32);
        let loss = step(68, &attributes, &[logits, target], &[in_arena(300, [1, 1, 1, 2]), grads]);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].shape.0[0] = 3), Err(error));
        let error = StepError::Attribute { index: 0, found: 0 };
        assert_eq!(changed(&loss, |step| step.attributes[0] = 0), Err(error));
    }
}
