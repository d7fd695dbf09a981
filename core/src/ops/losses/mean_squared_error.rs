//! Mean squared error.

use super::{agreements, check_dense, is_sample, prediction, run_dense};
use crate::kernels::each_isa::each_isa;
use crate::kernels::fma;
use crate::memory::Memory;
use crate::ops::operands::{flag, float};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "MSELoss")]
pub struct Params {
    /// Elements of one sample: `H * W * C`. Positive.
    pub sample_elements: usize,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum over the samples of `mean((prediction - target)²)` over their elements, and the gradient of the prediction,
/// `grad_scale * 2 / sample_elements * (prediction - target)`.
///
/// `prediction`, `target` and `grad_prediction` (overwritten) are `[N, H, W, C]`. Squares are summed in order.
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
        let Params { sample_elements, grad_scale } = params;
        if sample_elements == 0 {
            return;
        }
        let factor = 2.0 * grad_scale / sample_elements as f32;
        let length = TOGETHER * sample_elements;
        let groups = prediction.chunks(length).zip(target.chunks(length)).zip(grad_prediction.chunks_mut(length));
        for ((predictions, targets), grads) in groups {
            // The rows of the samples; empty behind the last one.
            let mut rows: [(&[f32], &[f32], &mut [f32]); TOGETHER] = [(); TOGETHER].map(|()| Default::default());
            let there = predictions.chunks_exact(sample_elements).zip(targets.chunks_exact(sample_elements));
            for (row, ((prediction, target), grads)) in
                rows.iter_mut().zip(there.zip(grads.chunks_exact_mut(sample_elements)))
            {
                *row = (prediction, target, grads);
            }
            let mut squares = [0.0; TOGETHER];
            for element in 0..sample_elements {
                for (squares, (prediction, target, grads)) in squares.iter_mut().zip(&mut rows) {
                    if let (Some(prediction), Some(target), Some(grad)) =
                        (prediction.get(element), target.get(element), grads.get_mut(element))
                    {
                        let difference = prediction - target;
                        *squares = fma(difference, difference, *squares);
                        *grad = factor * difference;
                    }
                }
            }
            for (squares, (_, target, grads)) in squares.into_iter().zip(rows) {
                if is_sample(target) {
                    *loss += squares / sample_elements as f32;
                } else {
                    grads.fill(0.0);
                }
            }
        }
    }
}

/// Samples whose squares are summed side by side, as a sum waits for itself where multiplications do not.
const TOGETHER: usize = if cfg!(feature = "simd") { 4 } else { 1 };

/// The parameters, and whether agreements are counted.
fn params(step: Step<'_>) -> Result<(Params, bool), StepError> {
    let (_, sample_elements) = prediction(step)?;
    let params = Params { sample_elements, grad_scale: float(step.attributes, 0)? };
    let counts = match step.attributes.len() {
        1 => false,
        _ => {
            step.attributes::<2>()?;
            flag(step.attributes, 1)?
        }
    };
    Ok((params, counts))
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
    use crate::ops::test_support::{Random, assert_loss, changed, in_arena, step, wide};

    /// Roundings of 6e-8 in sums of up to 21 squares below 4.
    const TOLERANCE: f64 = 1e-6;

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for sample_elements in [1, 6, 21] {
            let [prediction, target] = [(); 2].map(|()| random.values(3 * sample_elements));
            let goal = wide(&target);
            let loss = |prediction: &[f64]| {
                let squares = prediction.iter().zip(&goal).map(|(p, t)| (p - t).powi(2));
                squares.sum::<f64>() / sample_elements as f64
            };
            let params = Params { sample_elements, grad_scale: 0.5 };
            assert_loss(&prediction, 0.5, TOLERANCE, loss, |grads| {
                forward(params, &prediction, &target, grads)
            });
        }
    }

    #[test]
    fn squares_are_summed_in_order_and_what_is_no_sample_left_out() {
        let mut random = Random(2);
        for samples in 1..10 {
            let [prediction, mut target] = [(); 2].map(|()| random.values(7 * samples));
            target[7 * (samples / 2)] = f32::NAN;
            let mut expected = 0.0f32;
            for (sample, (prediction, target)) in prediction.chunks(7).zip(target.chunks(7)).enumerate() {
                if sample != samples / 2 {
                    let differences = prediction.iter().zip(target).map(|(p, t)| p - t);
                    expected += differences.fold(0.0, |sum, d| fma(d, d, sum)) / 7.0;
                }
            }
            let params = Params { sample_elements: 7, grad_scale: 0.5 };
            let mut grads = std::vec![f32::NAN; 7 * samples];
            let found = forward(params, &prediction, &target, &mut grads);
            assert_eq!(found.to_bits(), expected.to_bits(), "{samples} samples");
            assert!(grads[7 * (samples / 2)..].iter().take(7).all(|&grad| grad == 0.0));
        }
    }

    #[test]
    fn steps_are_checked() {
        let [prediction, target, grads] = [0, 100, 200].map(|offset| in_arena(offset, [2, 3, 3, 4]));
        let scale = 0.5f32.to_bits() as i32;
        let loss = step(61, &[scale], &[prediction, target], &[in_arena(300, [1, 1, 1, 2]), grads]);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].shape.0[0] = 3), Err(error));
        let error = StepError::Shape { operand: 2 };
        assert_eq!(changed(&loss, |step| step.writes[0].shape.0[3] = 1), Err(error));
        let found = f32::INFINITY.to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&loss, |step| step.attributes[0] = found), Err(error));
    }
}
