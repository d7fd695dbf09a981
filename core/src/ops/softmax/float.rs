//! f32 softmax.

use crate::kernels::each_isa::each_isa;
use crate::kernels::{exp, fma};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::ElementType;
use crate::ops::operands::{all_are, has_shape};
use crate::step::{Step, StepError};

/// `output[c] = exp(x[c] - max(x)) / sum(exp(x - max(x)))` over the `channels` of each pixel.
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
        let mut sum = 0.0;
        for x in &mut *pixel {
            *x = exp(*x - largest);
            sum += *x;
        }
        for x in pixel {
            *x /= sum;
        }
    }
}

/// Gradient of [`forward`] with respect to its input: `grad_input[c] = output[c] * (grad_output[c] - sum(output * grad_output))` over the
/// `channels` of each pixel, summed in their order.
///
/// All are `[N, H, W, C]`; `grad_input` is overwritten. Without an `output` or a `grad_output`, that one is read from the place of `grad_input`.
pub fn backward(
    channels: usize,
    output: Option<&[f32]>,
    grad_output: Option<&[f32]>,
    grad_input: &mut [f32],
) {
    backward_kernel(channels, output, grad_output, grad_input);
}

each_isa! {
    fn backward_kernel<WIDE>(
        channels: usize,
        output: Option<&'a [f32]>,
        grad_output: Option<&'a [f32]>,
        grad_input: &'a mut [f32],
    ) {
        let channels = channels.max(1);
        let mut outputs = output.map(|output| output.chunks_exact(channels));
        let mut grads = grad_output.map(|grads| grads.chunks_exact(channels));
        let product = |y: f32, grad: f32, sum: f32| y * (grad - sum);
        for pixel in grad_input.chunks_exact_mut(channels) {
            let output = outputs.as_mut().map(|outputs| outputs.next().unwrap_or_default());
            let grads = grads.as_mut().map(|grads| grads.next().unwrap_or_default());
            let sum = dot(output.unwrap_or(pixel), grads.unwrap_or(pixel));
            for (index, value) in pixel.iter_mut().enumerate() {
                let y = output.map_or(*value, |output| output.get(index).copied().unwrap_or_default());
                let grad = grads.map_or(*value, |grads| grads.get(index).copied().unwrap_or_default());
                *value = product(y, grad, sum);
            }
        }
    }
}

#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).fold(0.0, |sum, (&left, &right)| fma(left, right, sum))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    has_shape(output, 1, input.shape)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    run_rows(step, memory, forward)
}

/// Runs a step that computes each pixel of its write from the same pixel of its read, in place or not.
pub(in crate::ops) fn run_rows(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    forward: fn(usize, Option<&[f32]>, &mut [f32]),
) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let [.., channels] = input.shape.dims();
    if input.same_place(output) {
        forward(channels, None, elements_mut(memory.write(output)?)?);
    } else {
        let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
        forward(channels, Some(elements(input)?), elements_mut(output)?);
    }
    Ok(())
}

pub(in crate::ops) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([output, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, output.shape)?;
    has_shape(grad_input, 2, output.shape)
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    run_rows_grad(step, memory, backward)
}

/// Computes a gradient from an output and its gradient, which stand in the gradient's place if they are not there.
type RowsGradient = fn(usize, Option<&[f32]>, Option<&[f32]>, &mut [f32]);

/// Runs a step that computes each pixel of a gradient from the same pixel of an output and of its gradient, in the place of either or not.
pub(in crate::ops) fn run_rows_grad(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    backward: RowsGradient,
) -> Result<(), StepError> {
    let ([output, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let [.., channels] = output.shape.dims();
    match (output.same_place(grad_input), grad_output.same_place(grad_input)) {
        (true, true) => backward(channels, None, None, elements_mut(memory.write(grad_input)?)?),
        (true, false) => {
            let Views { reads: [grads], writes: [grad_input] } = memory.views([grad_output], [grad_input])?;
            backward(channels, None, Some(elements(grads)?), elements_mut(grad_input)?);
        }
        (false, true) => {
            let Views { reads: [output], writes: [grad_input] } = memory.views([output], [grad_input])?;
            backward(channels, Some(elements(output)?), None, elements_mut(grad_input)?);
        }
        (false, false) => {
            let Views { reads: [output, grads], writes: [grad_input] } =
                memory.views([output, grad_output], [grad_input])?;
            backward(channels, Some(elements(output)?), Some(elements(grads)?), elements_mut(grad_input)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{
        Random, assert_close, assert_in_place, changed, dot, in_arena, numeric_gradient, step, wide,
    };

    /// Roundings of 6e-8 in a sum of up to 17 numbers of magnitude 1; with micromath, the error of its exponentials.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 1e-6 };

    fn reference(channels: usize, input: &[f64]) -> Vec<f64> {
        let pixels = input.chunks(channels).flat_map(|pixel| {
            let sum: f64 = pixel.iter().map(|x| x.exp()).sum();
            pixel.iter().map(move |x| x.exp() / sum)
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
        assert_eq!(output[..3], [0.5, 0.5, 0.0]);
        assert!(output[3..].iter().all(|x| x.is_nan()), "{output:?}");
    }

    #[test]
    fn in_place_gives_the_same_bits() {
        let mut random = Random(2);
        let shape = [2, 1, 2, 7];
        let [input, grads] = [random.values(28), random.values(28)];
        assert_in_place(7, &[], &[(shape, &input)], &[0]);
        assert_in_place(49, &[], &[(shape, &input), (shape, &grads)], &[0, 1]);
    }

    #[test]
    fn steps_are_checked() {
        let [a, b, c] = [0, 100, 200].map(|offset| in_arena(offset, [2, 3, 3, 4]));
        let softmax = step(7, &[], &[a], &[b]);
        assert_eq!(changed(&softmax, |_| ()), Ok(()));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&softmax, |step| step.writes[0].shape.0[3] = 5), Err(error));
        let grad = step(49, &[], &[a, b], &[c]);
        assert_eq!(changed(&grad, |_| ()), Ok(()));
        assert_eq!(changed(&grad, |step| step.reads[1].shape.0[3] = 5), Err(error));
        let error = StepError::AttributeCount { expected: 0, found: 1 };
        assert_eq!(changed(&grad, |step| step.attributes.push(1).unwrap()), Err(error));
    }
}
