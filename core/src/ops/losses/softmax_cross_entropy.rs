//! Softmax and cross-entropy in one, with label smoothing.

use super::{check_labelled, classes, maximum, write_partial};
use crate::kernels::{exp, ln};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::operands::{float, float_in};
use crate::step::{Step, StepError};

/// Parameters of [`forward`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "CrossEntropyLoss")]
pub struct Params {
    /// Classes, the last dimension of the logits. Positive.
    pub classes: usize,
    /// Share of the target that is spread evenly over all classes, in `0.0..=1.0` (Szegedy et al. 2016, `arXiv:1512.00567`, section 7).
    pub label_smoothing: f32,
    /// What the gradient is multiplied with: `1 / B` for the mean over a batch of `B` samples.
    pub grad_scale: f32,
}

/// Sum of the samples' cross-entropies, number of samples whose largest logit is the label's, and gradient of the logits.
///
/// With `p = softmax(logits)`, the target `q[c] = label_smoothing / classes + (1 - label_smoothing) * [c == label]`:
/// `loss = -sum(q[c] * ln(p[c]))` and `grad_logits[c] = grad_scale * (p[c] - q[c])`.
///
/// `logits` and `grad_logits` (overwritten) are `[N, 1, 1, classes]`, `labels` `[N, 1, 1, 1]`. A label outside `0..classes` adds nothing to the
/// loss, gets a gradient of 0 and counts as wrong. Of equal largest logits the first counts. A NaN or infinite logit gives a loss
/// and a gradient of NaN for its sample (negative infinity only if all are).
pub fn forward(params: Params, logits: &[f32], labels: &[i32], grad_logits: &mut [f32]) -> [f32; 2] {
    let Params { classes, label_smoothing, grad_scale } = params;
    let (mut loss, mut correct) = (0.0, 0.0);
    if classes == 0 {
        return [loss, correct];
    }
    let everywhere = label_smoothing / classes as f32;
    let on_label = 1.0 - label_smoothing;
    let samples = logits.chunks_exact(classes).zip(grad_logits.chunks_exact_mut(classes));
    for ((logits, grads), &label) in samples.zip(labels) {
        let label = usize::try_from(label).ok();
        let Some((label, &label_logit)) = label.and_then(|label| Some((label, logits.get(label)?))) else {
            grads.fill(0.0);
            continue;
        };
        let (largest, maximum) = maximum(logits);
        if largest == label {
            correct += 1.0;
        }
        let (mut exponentials, mut logit_sum) = (0.0, 0.0);
        for (grad, &logit) in grads.iter_mut().zip(logits) {
            let centered = logit - maximum;
            *grad = exp(centered);
            exponentials += *grad;
            logit_sum += centered;
        }
        let log_sum = ln(exponentials);
        // Both parts of the target: -sum(q ln p), where ln p = centered - log_sum.
        loss += on_label * (log_sum - (label_logit - maximum));
        if label_smoothing > 0.0 {
            loss += everywhere * (classes as f32 * log_sum - logit_sum);
        }
        for (class, grad) in grads.iter_mut().enumerate() {
            let target = if class == label { everywhere + on_label } else { everywhere };
            *grad = grad_scale * (*grad / exponentials - target);
        }
    }
    [loss, correct]
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<2>()?;
    let label_smoothing = float_in(step.attributes, 0, 0.0..=1.0)?;
    Ok(Params { classes: classes(step)?, label_smoothing, grad_scale: float(step.attributes, 1)? })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    check_labelled(step, false)?;
    params(step).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([logits, labels], [partial, grad_logits]) = (step.reads()?, step.writes()?);
    let params = params(step)?;
    let Views { reads: [logits, labels], writes: [partial, grad_logits] } =
        memory.views([logits, labels], [partial, grad_logits])?;
    let sums = forward(params, elements(logits)?, elements(labels)?, elements_mut(grad_logits)?);
    write_partial(partial, sums)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::operand::ElementType;
    use crate::ops::test_support::{Random, assert_close, changed, in_arena, numeric_gradient, step};

    /// Roundings of 6e-8 in sums of up to 17 numbers of magnitude 5; with micromath, the error of its exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 2e-6 };

    fn reference(params: Params, labels: &[i32], logits: &[f64]) -> f64 {
        let samples = logits.chunks(params.classes).zip(labels).map(|(logits, &label)| {
            if !(0..params.classes as i32).contains(&label) {
                return 0.0;
            }
            let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            let smoothing = f64::from(params.label_smoothing);
            let target = |class| {
                smoothing / params.classes as f64
                    + if class == label as usize { 1.0 - smoothing } else { 0.0 }
            };
            logits.iter().enumerate().map(|(class, x)| target(class) * (log_sum - x)).sum()
        });
        samples.sum()
    }

    #[test]
    fn loss_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for (classes, label_smoothing) in [(1, 0.0), (2, 0.1), (10, 0.0), (10, 0.1), (17, 1.0)] {
            let params = Params { classes, label_smoothing, grad_scale: 0.25 };
            let logits: Vec<f32> = random.values(4 * classes).iter().map(|x| 5.0 * x).collect();
            let labels = [0, classes as i32 - 1, -1, classes as i32];
            let mut grads = vec![f32::NAN; logits.len()];
            let [loss, _] = forward(params, &logits, &labels, &mut grads);
            let wide = crate::ops::test_support::wide(&logits);
            assert_close("loss", &[loss], &[reference(params, &labels, &wide)], TOLERANCE);
            let expected = numeric_gradient(&logits, |logits| 0.25 * reference(params, &labels, logits));
            assert_close("grad_logits", &grads, &expected, TOLERANCE);
        }
    }

    #[test]
    fn labels_out_of_range_change_nothing() {
        let params = Params { classes: 2, label_smoothing: 0.0, grad_scale: 1.0 };
        let logits = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let mut grads = [f32::NAN; 6];
        let sums = forward(params, &logits, &[-1, 2, i32::MIN], &mut grads);
        assert_eq!((sums, grads), ([0.0, 0.0], [0.0; 6]));
    }

    #[test]
    fn correct_predictions_are_counted_and_ties_go_to_the_first() {
        let params = Params { classes: 3, label_smoothing: 0.0, grad_scale: 1.0 };
        let logits = [0.0, 2.0, 1.0, 5.0, 5.0, 0.0, 5.0, 5.0, 0.0, -1.0, -2.0, -0.5];
        let count = |labels: [i32; 4]| forward(params, &logits, &labels, &mut [0.0; 12])[1];
        assert_eq!(count([1, 0, 0, 2]), 4.0);
        assert_eq!(count([0, 1, 1, 0]), 0.0);
    }

    #[test]
    fn large_logits_do_not_overflow_and_nan_shows() {
        let params = Params { classes: 2, label_smoothing: 0.1, grad_scale: 1.0 };
        let mut grads = [0.0; 2];
        assert_eq!(
            forward(Params { label_smoothing: 0.0, ..params }, &[3e38, -3e38], &[0], &mut grads)[0],
            0.0
        );
        assert_eq!(grads, [0.0, 0.0]);
        for logits in [[f32::NAN, 0.0], [0.0, f32::NAN], [f32::INFINITY, 0.0]] {
            assert!(forward(params, &logits, &[0], &mut grads)[0].is_nan(), "{logits:?}");
            assert!(grads.iter().all(|x| x.is_nan()), "{logits:?}");
        }
    }

    #[test]
    fn steps_are_checked() {
        let labels = crate::Operand { element_type: ElementType::I32, ..in_arena(100, [3, 1, 1, 1]) };
        let attributes = [0.1f32, 1.0 / 3.0].map(|x| x.to_bits() as i32);
        let writes = [in_arena(200, [1, 1, 1, 2]), in_arena(300, [3, 1, 1, 5])];
        let loss = step(60, &attributes, &[in_arena(0, [3, 1, 1, 5]), labels], &writes);
        assert_eq!(changed(&loss, |_| ()), Ok(()));
        let error = StepError::ElementType { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].element_type = ElementType::F32), Err(error));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&loss, |step| step.reads[1].shape.0[0] = 2), Err(error));
        let error = StepError::Shape { operand: 0 };
        assert_eq!(changed(&loss, |step| step.reads[0].shape.0[1] = 2), Err(error));
        let error = StepError::Shape { operand: 3 };
        assert_eq!(changed(&loss, |step| step.writes[1].shape.0[3] = 4), Err(error));
        let found = 1.5f32.to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&loss, |step| step.attributes[0] = found), Err(error));
        let found = f32::NAN.to_bits() as i32;
        let error = StepError::Attribute { index: 1, found };
        assert_eq!(changed(&loss, |step| step.attributes[1] = found), Err(error));
    }
}
