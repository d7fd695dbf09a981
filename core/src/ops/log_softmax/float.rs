//! f32 log-softmax.

use crate::kernels::{exp, ln};
use crate::memory::Memory;
use crate::ops::softmax::float::{run_rows, run_rows_grad};
use crate::step::{Step, StepError};

pub(in crate::ops) use crate::ops::softmax::float::{check, check_grad};

/// `output[c] = (x[c] - max(x)) - ln(sum(exp(x - max(x))))` over the `channels` of each pixel.
///
/// `input` and `output` are `[N, H, W, C]`; without an `input` it is read from the place of the output. The maximum is found and the
/// exponentials are summed in the channels' order. A NaN or positive infinity makes all of its pixel NaN.
pub fn forward(channels: usize, input: Option<&[f32]>, output: &mut [f32]) {
    if let Some(input) = input {
        output.iter_mut().zip(input).for_each(|(output, &input)| *output = input);
    }
    for pixel in output.chunks_exact_mut(channels.max(1)) {
        let largest =
            pixel.iter().fold(f32::NEG_INFINITY, |largest, &x| if x > largest { x } else { largest });
        let sum = pixel.iter().fold(0.0, |sum, &x| sum + exp(x - largest));
        let log_sum = ln(sum);
        pixel.iter_mut().for_each(|x| *x = (*x - largest) - log_sum);
    }
}

/// Gradient of [`forward`] with respect to its input: `grad_input[c] = grad_output[c] - exp(output[c]) * sum(grad_output)` over the
/// `channels` of each pixel, summed in their order.
///
/// All are `[N, H, W, C]`; `grad_input` is overwritten. Without an `output` or a `grad_output`, that one is read from the place of `grad_input`.
pub fn backward(
    channels: usize,
    output: Option<&[f32]>,
    grad_output: Option<&[f32]>,
    grad_input: &mut [f32],
) {
    let channels = channels.max(1);
    let mut outputs = output.map(|output| output.chunks_exact(channels));
    let mut grads = grad_output.map(|grads| grads.chunks_exact(channels));
    for pixel in grad_input.chunks_exact_mut(channels) {
        let output = outputs.as_mut().map(|outputs| outputs.next().unwrap_or_default());
        let grads = grads.as_mut().map(|grads| grads.next().unwrap_or_default());
        let sum = grads.unwrap_or(pixel).iter().fold(0.0, |sum, &grad| sum + grad);
        for (index, value) in pixel.iter_mut().enumerate() {
            let y = output.map_or(*value, |output| output.get(index).copied().unwrap_or_default());
            let grad = grads.map_or(*value, |grads| grads.get(index).copied().unwrap_or_default());
            *value = grad - exp(y) * sum;
        }
    }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    run_rows(step, memory, forward)
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    run_rows_grad(step, memory, backward)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{
        Random, assert_close, assert_in_place, changed, dot, in_arena, numeric_gradient, step, wide,
    };

    /// Roundings of 6e-8 in sums of numbers up to 20; with micromath, the error of its exponentials and logarithms.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 1e-2 } else { 2e-6 };

    fn reference(channels: usize, input: &[f64]) -> Vec<f64> {
        let pixels = input.chunks(channels).flat_map(|pixel| {
            let sum: f64 = pixel.iter().map(|x| x.exp()).sum();
            pixel.iter().map(move |x| x - sum.ln())
        });
        pixels.collect()
    }

    #[test]
    fn output_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for channels in [1, 2, 10, 17] {
            let input: Vec<f32> = random.values(3 * channels).iter().map(|x| 5.0 * x).collect();
            let grads = random.values(input.len());
            let mut output = vec![f32::NAN; input.len()];
            forward(channels, Some(&input), &mut output);
            assert_close("output", &output, &reference(channels, &wide(&input)), TOLERANCE);
            let mut grad_input = vec![f32::NAN; input.len()];
            backward(channels, Some(&output), Some(&grads), &mut grad_input);
            let expected = numeric_gradient(&input, |input| dot(&grads, &reference(channels, input)));
            assert_close("grad_input", &grad_input, &expected, TOLERANCE);
        }
    }

    #[test]
    fn large_inputs_do_not_overflow_and_nan_shows() {
        let mut output = [1e30, 1e30, -1e30, f32::NAN, 0.0, 1.0, f32::INFINITY, 0.0, 0.0];
        forward(3, None, &mut output);
        assert!((output[0] + 2f32.ln()).abs() < 1e-2 && output[1] == output[0] && output[2] == -2e30);
        assert!(output[3..].iter().all(|x| x.is_nan()), "{output:?}");
    }

    #[test]
    fn in_place_gives_the_same_bits() {
        let mut random = Random(2);
        let shape = [2, 1, 2, 7];
        let [input, grads] = [random.values(28), random.values(28)];
        assert_in_place(17, &[], &[(shape, &input)], &[0]);
        assert_in_place(58, &[], &[(shape, &input), (shape, &grads)], &[0, 1]);
    }

    #[test]
    fn steps_are_checked() {
        let [a, b, c] = [0, 100, 200].map(|offset| in_arena(offset, [2, 3, 3, 4]));
        let forward = step(17, &[], &[a], &[b]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&forward, |step| step.writes[0].shape.0[3] = 5), Err(error));
        let grad = step(58, &[], &[a, b], &[c]);
        assert_eq!(changed(&grad, |_| ()), Ok(()));
        assert_eq!(changed(&grad, |step| step.reads[1].shape.0[3] = 5), Err(error));
    }
}
