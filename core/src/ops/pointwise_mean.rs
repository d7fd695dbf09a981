//! `pointwise_mean`: a pointwise convolution, its activation and the mean over all pixels, without the tensor in between.
//!
//! Many small networks end so, and that tensor is the largest of what they learn: a device has no room for it. The bits are those of `conv_2d`, `dequantize` before it and
//! `average_pool_2d` behind it, one after another. What the gradient needs of each element, whether the activation lets it pass, is one bit.

use super::activation::{ACTIVATION_ATTRIBUTES, Activation};
use super::operands::{has_shape, is, quantization};
use crate::kernels::each_isa::each_isa;
use crate::kernels::fma;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization, Shape};
use crate::step::{Step, StepError};

/// The input, `[1, H, W, C_in]`.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    /// As it is.
    F32(&'a [f32]),
    /// To be dequantized.
    I8 {
        /// The integers.
        values: &'a [i8],
        /// What they stand for.
        quantization: Quantization,
    },
}

impl Pixels<'_> {
    #[inline(always)]
    fn at(&self, index: usize) -> f32 {
        match *self {
            Self::F32(values) => values.get(index).copied().unwrap_or_default(),
            Self::I8 { values, quantization: Quantization { scale, zero_point } } => {
                let value = values.get(index).copied().unwrap_or_default();
                scale * i32::from(value).wrapping_sub(zero_point) as f32
            }
        }
    }
}

/// `output[c] = mean over all pixels p of activation(bias[c] + sum over k of input[p, k] * weights[k, c])`.
///
/// `weights` is `[1, 1, C_in, C_out]`, `bias`, `output` and `scratch` `[1, 1, 1, C_out]`. `mask` is empty, or has `C_out / 8` bytes, rounded up, for each of the `count` pixels:
/// bit `c % 8` of byte `c / 8` says whether the activation lets gradients pass.
///
/// Chain of each sum: from the bias, `fma(input, weight, sum)` over `k` ascending; of each mean: from 0, one addition per pixel, then the division.
pub fn forward(
    activation: Activation,
    count: usize,
    [weights, bias]: [&[f32]; 2],
    input: Pixels<'_>,
    [output, scratch]: [&mut [f32]; 2],
    mask: &mut [u8],
) {
    forward_kernel(activation, count, weights, bias, input, output, scratch, mask);
}

each_isa! {
    fn forward_kernel<WIDE>(
        activation: Activation,
        count: usize,
        weights: &'a [f32],
        bias: &'a [f32],
        input: Pixels<'a>,
        output: &'a mut [f32],
        sums: &'a mut [f32],
        mask: &'a mut [u8],
    ) {
        let channels = output.len().max(1);
        let depth = weights.len().checked_div(channels).unwrap_or(0);
        let mut masks = mask.chunks_exact_mut(channels.div_ceil(8));
        output.fill(0.0);
        let mut first = 0;
        for _ in 0..count {
            sums.iter_mut().zip(bias).for_each(|(sum, &bias)| *sum = bias);
            for (k, weights) in weights.chunks_exact(channels).enumerate() {
                let x = input.at(first + k);
                sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum = fma(x, weight, *sum));
            }
            first += depth;
            for (output, sum) in output.iter_mut().zip(sums.iter_mut()) {
                *sum = activation.apply(*sum);
                *output += *sum;
            }
            if let Some(mask) = masks.next() {
                for (byte, sums) in mask.iter_mut().zip(sums.chunks(8)) {
                    *byte = 0;
                    for (bit, &sum) in sums.iter().enumerate() {
                        *byte |= u8::from(activation.gradient(sum, 1.0) != 0.0) << bit;
                    }
                }
            }
        }
        let count = count.max(1) as f32;
        output.iter_mut().for_each(|sum| *sum /= count);
    }
}

/// Gradients of [`forward`] with respect to weights and bias, both overwritten; `scratch` is `[1, 1, 1, C_out]`. That of weights that do not learn is empty, and is not computed.
///
/// Chains: from 0, `fma(input, grad, sum)` (of the bias: one addition) over the pixels, where `grad` is `grad_output / count` where the mask has a bit, else 0.
pub fn backward(
    count: usize,
    input: Pixels<'_>,
    mask: &[u8],
    grad_output: &[f32],
    [grad_weights, grad_bias, scratch]: [&mut [f32]; 3],
) {
    backward_kernel(count, input, mask, grad_output, grad_weights, grad_bias, scratch);
}

each_isa! {
    fn backward_kernel<WIDE>(
        count: usize,
        input: Pixels<'a>,
        mask: &'a [u8],
        grad_output: &'a [f32],
        grad_weights: &'a mut [f32],
        grad_bias: &'a mut [f32],
        grads: &'a mut [f32],
    ) {
        let channels = grad_output.len().max(1);
        let depth = grad_weights.len().checked_div(channels).unwrap_or(0);
        let divisor = count.max(1) as f32;
        grad_weights.fill(0.0);
        grad_bias.fill(0.0);
        let mut first = 0;
        for mask in mask.chunks_exact(channels.div_ceil(8)).take(count) {
            for ((grads, grad_output), &byte) in grads.chunks_mut(8).zip(grad_output.chunks(8)).zip(mask) {
                for (bit, (grad, &grad_output)) in grads.iter_mut().zip(grad_output).enumerate() {
                    *grad = if byte >> bit & 1 == 1 { grad_output / divisor } else { 0.0 };
                }
            }
            grad_bias.iter_mut().zip(grads.iter()).for_each(|(sum, &grad)| *sum += grad);
            for (k, sums) in grad_weights.chunks_exact_mut(channels).enumerate() {
                let x = input.at(first + k);
                sums.iter_mut().zip(grads.iter()).for_each(|(sum, &grad)| *sum = fma(x, grad, *sum));
            }
            first += depth;
        }
    }
}

/// Shapes of weights, of a vector of outputs, and of the mask.
struct Shapes {
    weights: Shape,
    vector: Shape,
    mask: Shape,
}

fn shapes(input: &Operand, channels: u32) -> Result<Shapes, StepError> {
    let Shape([samples, h, w, depth]) = input.shape;
    let wrong = StepError::Shape { operand: 0 };
    if samples != 1 || input.shape.has_zero() || channels == 0 {
        return Err(wrong);
    }
    match input.element_type {
        ElementType::F32 => {}
        ElementType::I8 => quantization(input, 0).map(|_| ())?,
        _ => return Err(StepError::ElementType { operand: 0 }),
    }
    let weights = Shape([1, 1, depth, channels]);
    weights.elements().ok_or(wrong)?;
    Ok(Shapes { weights, vector: Shape::vector(channels), mask: Shape([1, h, w, channels.div_ceil(8)]) })
}

/// The input's pixels from its bytes.
fn pixels<'a>(operand: &Operand, bytes: &'a [u8]) -> Result<Pixels<'a>, StepError> {
    if operand.element_type == ElementType::F32 {
        return Ok(Pixels::F32(elements(bytes)?));
    }
    Ok(Pixels::I8 { values: elements(bytes)?, quantization: operand.quantization })
}

fn activation(step: Step<'_>) -> Result<Activation, StepError> {
    let attributes = step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    match Activation::read(attributes, 0)?.0 {
        // Its gradient is no bit.
        Activation::LeakyRelu { .. } => Err(StepError::Attribute { index: 0, found: 3 }),
        activation => Ok(activation),
    }
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let [input, weights, bias] = step.reads()?;
    activation(step)?;
    let (output, scratch, mask) = match step.writes {
        [output, scratch] => (output, scratch, None),
        [output, scratch, mask] => (output, scratch, Some(mask)),
        other => return Err(StepError::WriteCount { expected: 3, found: other.len() as u8 }),
    };
    let Shape([.., channels]) = output.shape;
    let shapes = shapes(input, channels)?;
    for (operand, index, expected) in [
        (weights, 1, shapes.weights),
        (bias, 2, shapes.vector),
        (output, 3, shapes.vector),
        (scratch, 4, shapes.vector),
    ] {
        is(operand, index, ElementType::F32)?;
        has_shape(operand, index, expected)?;
    }
    mask.map_or(Ok(()), |mask| {
        is(mask, 5, ElementType::U8)?;
        has_shape(mask, 5, shapes.mask)
    })
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let reads @ [input, ..] = step.reads::<3>()?;
    let activation = activation(step)?;
    let [_, h, w, _] = input.shape.dims();
    let count = h.saturating_mul(w);
    let reads = reads.each_ref();
    if let [output, scratch, mask] = step.writes {
        let Views { reads: [from, weights, bias], writes: [output, scratch, mask] } =
            memory.views(reads, [output, scratch, mask])?;
        let parameters = [elements(weights)?, elements(bias)?];
        let outputs = [elements_mut(output)?, elements_mut(scratch)?];
        forward(activation, count, parameters, pixels(input, from)?, outputs, mask);
    } else {
        let [output, scratch] = step.writes()?;
        let Views { reads: [from, weights, bias], writes: [output, scratch] } =
            memory.views(reads, [output, scratch])?;
        let parameters = [elements(weights)?, elements(bias)?];
        let outputs = [elements_mut(output)?, elements_mut(scratch)?];
        forward(activation, count, parameters, pixels(input, from)?, outputs, &mut []);
    }
    Ok(())
}

pub(super) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let [input, mask, grad_output] = step.reads()?;
    step.attributes::<0>()?;
    let Shape([.., channels]) = grad_output.shape;
    let shapes = shapes(input, channels)?;
    is(mask, 1, ElementType::U8)?;
    has_shape(mask, 1, shapes.mask)?;
    is(grad_output, 2, ElementType::F32)?;
    has_shape(grad_output, 2, shapes.vector)?;
    let expected = match step.writes.len() {
        2 => [shapes.vector, shapes.vector, shapes.vector],
        3 => [shapes.weights, shapes.vector, shapes.vector],
        found => return Err(StepError::WriteCount { expected: 3, found: found as u8 }),
    };
    for ((operand, index), expected) in step.writes.iter().zip(3..).zip(expected) {
        is(operand, index, ElementType::F32)?;
        has_shape(operand, index, expected)?;
    }
    Ok(())
}

pub(super) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let reads @ [input, ..] = step.reads::<3>()?;
    let [_, h, w, _] = input.shape.dims();
    let count = h.saturating_mul(w);
    let reads = reads.each_ref();
    if let [grad_bias, scratch] = step.writes {
        let Views { reads: [from, mask, grad_output], writes: [grad_bias, scratch] } =
            memory.views(reads, [grad_bias, scratch])?;
        let writes: [&mut [f32]; 3] = [&mut [], elements_mut(grad_bias)?, elements_mut(scratch)?];
        backward(count, pixels(input, from)?, mask, elements(grad_output)?, writes);
    } else {
        let writes = step.writes::<3>()?;
        let Views { reads: [from, mask, grad_output], writes: [grad_weights, grad_bias, scratch] } =
            memory.views(reads, writes.each_ref())?;
        let writes = [elements_mut(grad_weights)?, elements_mut(grad_bias)?, elements_mut(scratch)?];
        backward(count, pixels(input, from)?, mask, elements(grad_output)?, writes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::geometry::{Axis, Window};
    use crate::ops::conv_2d::Conv2d;
    use crate::ops::pooling::PoolParams;
    use crate::ops::test_support::{Random, assert_same_bits, changed, in_arena, step};
    use crate::ops::{activation, average_pool_2d, conv_2d, grad_bias};

    const ACTIVATIONS: [Activation; 4] =
        [Activation::None, Activation::Relu, Activation::Relu6, Activation::ReluN1To1];

    /// Convolution, activation and pool, one after another; then their gradients.
    #[test]
    fn the_bits_are_those_of_one_after_another() {
        let mut random = Random(5);
        for round in 0..60 {
            let (h, w) = (random.integer(1, 6), random.integer(1, 5));
            let (depth, channels) = (random.integer(1, 20), random.integer(1, 40));
            let (count, act) = (h * w, ACTIVATIONS[round % 4]);
            let [input, weights, bias, grad_output] =
                [count * depth, depth * channels, channels, channels].map(|count| random.values(count));
            let shape = |dims: [usize; 4]| Shape(dims.map(|dim| dim as u32));
            let conv = Conv2d {
                input: shape([1, h, w, depth]),
                filter: shape([1, 1, depth, channels]),
                output: shape([1, h, w, channels]),
                window: Window::ONE,
                activation: act,
            };
            let axis = |kernel| Axis { kernel, ..Axis::ONE };
            let pool = PoolParams {
                window: Window { y: axis(h), x: axis(w) },
                input: conv.output,
                output: shape([1, 1, 1, channels]),
            };
            let mut between = vec![0.0; count * channels];
            conv_2d::forward(&conv, &input, &weights, Some(&bias), &mut between).unwrap();
            let mut expected = vec![0.0; channels];
            average_pool_2d::float::forward(&pool, &between, &mut expected);
            let [mut output, mut scratch] = [(); 2].map(|()| vec![0.0; channels]);
            let mut mask = vec![0xff; count * channels.div_ceil(8)];
            let from = Pixels::F32(&input);
            forward(act, count, [&weights, &bias], from, [&mut output, &mut scratch], &mut mask);
            assert_same_bits("output", &output, &expected);
            forward(act, count, [&weights, &bias], from, [&mut output, &mut scratch], &mut []);
            assert_same_bits("output without mask", &output, &expected);

            let mut grad_between = vec![0.0; count * channels];
            average_pool_2d::float::backward(&pool, &grad_output, &mut grad_between);
            let mut grad = vec![0.0; count * channels];
            activation::backward(act, &between, &grad_between, &mut grad);
            let [mut expected_weights, mut expected_bias] =
                [depth * channels, channels].map(|count| vec![0.0; count]);
            conv_2d::grad_weights(&conv, &input, &grad, &mut expected_weights).unwrap();
            grad_bias::backward(conv.output, &grad, &mut expected_bias).unwrap();
            let [mut grad_weights, mut grad_bias] =
                [depth * channels, channels].map(|count| vec![1.0; count]);
            backward(count, from, &mask, &grad_output, [&mut grad_weights, &mut grad_bias, &mut scratch]);
            assert_same_bits("weights", &grad_weights, &expected_weights);
            assert_same_bits("bias", &grad_bias, &expected_bias);
            backward(count, from, &mask, &grad_output, [&mut [], &mut grad_bias, &mut scratch]);
            assert_same_bits("bias alone", &grad_bias, &expected_bias);
        }
    }

    #[test]
    fn integers_are_dequantized() {
        let quantization = Quantization { scale: 0.25, zero_point: -3 };
        let values: Vec<i8> = (-60..60).collect();
        let real: Vec<f32> = values.iter().map(|&value| 0.25 * (i32::from(value) + 3) as f32).collect();
        let (weights, bias) = (Random(2).values(10 * 7), Random(3).values(7));
        let run = |input: Pixels<'_>| {
            let (mut output, mut scratch) = ([0.0; 7], [0.0; 7]);
            forward(Activation::Relu, 12, [&weights, &bias], input, [&mut output, &mut scratch], &mut []);
            output
        };
        let integers = Pixels::I8 { values: &values, quantization };
        assert_same_bits("output", &run(integers), &run(Pixels::F32(&real)));
    }

    #[test]
    fn steps_are_checked() {
        let u8 = |element, shape| Operand { element_type: ElementType::U8, ..in_arena(element, shape) };
        let input = in_arena(0, [1, 2, 3, 4]);
        let vector = |element| in_arena(element, [1, 1, 1, 9]);
        let (weights, mask) = (in_arena(100, [1, 1, 4, 9]), u8(200, [1, 2, 3, 2]));
        let reads = [input, weights, vector(300)];
        let forward = step(18, &[1, 0], &reads, &[vector(320), vector(340), mask]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        assert_eq!(changed(&forward, |step| step.writes.truncate(2)), Ok(()));
        let error = StepError::WriteCount { expected: 3, found: 1 };
        assert_eq!(changed(&forward, |step| step.writes.truncate(1)), Err(error));
        let error = StepError::Attribute { index: 0, found: 3 };
        assert_eq!(changed(&forward, |step| step.attributes[0] = 3), Err(error));
        for operand in [1, 2] {
            let error = StepError::Shape { operand };
            assert_eq!(
                changed(&forward, |step| step.reads[usize::from(operand)].shape.0[3] += 1),
                Err(error)
            );
        }
        let error = StepError::Shape { operand: 5 };
        assert_eq!(changed(&forward, |step| step.writes[2].shape.0[3] = 1), Err(error));
        let error = StepError::Quantization { operand: 0 };
        assert_eq!(changed(&forward, |step| step.reads[0].element_type = ElementType::I8), Err(error));
        let error = StepError::Shape { operand: 0 };
        assert_eq!(changed(&forward, |step| step.reads[0].shape.0[0] = 2), Err(error));

        let writes = [in_arena(400, [1, 1, 4, 9]), vector(440), vector(460)];
        let grad = step(86, &[], &[input, mask, vector(320)], &writes);
        assert_eq!(changed(&grad, |_| ()), Ok(()));
        let alone = |step: &mut crate::step::NewStep| {
            step.writes.remove(0);
        };
        assert_eq!(changed(&grad, alone), Ok(()));
        let error = StepError::WriteCount { expected: 3, found: 1 };
        assert_eq!(changed(&grad, |step| step.writes.truncate(1)), Err(error));
        let error = StepError::ElementType { operand: 1 };
        assert_eq!(changed(&grad, |step| step.reads[1].element_type = ElementType::I8), Err(error));
        let error = StepError::Shape { operand: 3 };
        assert_eq!(changed(&grad, |step| step.writes[0].shape.0[2] = 3), Err(error));
    }
}
