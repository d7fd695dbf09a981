//! Where an activation lets gradients pass, one bit an element: what its gradient needs of the tensor, in a thirty-second of its memory.

use super::activation::{ACTIVATION_ATTRIBUTES, Activation};
use super::operands::{has_shape, is, not_in_place_of};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::step::{Step, StepError};

/// Bit `c % 8` of byte `c / 8` of each pixel's `channels / 8` bytes, rounded up, says whether the gradient of `activation` at channel `c` of the pixel is not 0.
///
/// `output` is the activation's, `[N, H, W, channels]`; `mask` is `[N, H, W, channels / 8]`, rounded up. For `ReLU`, `ReLU6` and `ReLU_N1_TO_1`, whose gradients are 0 or 1.
pub fn forward(activation: Activation, channels: usize, output: &[f32], mask: &mut [u8]) {
    let channels = channels.max(1);
    let pixels = output.chunks_exact(channels).zip(mask.chunks_exact_mut(channels.div_ceil(8)));
    for (output, mask) in pixels {
        for (byte, values) in mask.iter_mut().zip(output.chunks(8)) {
            *byte = 0;
            for (bit, &value) in values.iter().enumerate() {
                *byte |= u8::from(activation.gradient(value, 1.0) != 0.0) << bit;
            }
        }
    }
}

/// Puts 0 in the place of each gradient whose bit is not set; the others stay as they are.
pub fn backward(channels: usize, mask: &[u8], gradient: &mut [f32]) {
    let channels = channels.max(1);
    let pixels = gradient.chunks_exact_mut(channels).zip(mask.chunks_exact(channels.div_ceil(8)));
    for (gradient, mask) in pixels {
        for (values, &byte) in gradient.chunks_mut(8).zip(mask) {
            for (bit, value) in values.iter_mut().enumerate() {
                if byte >> bit & 1 == 0 {
                    *value = 0.0;
                }
            }
        }
    }
}

/// The mask of a tensor of this shape.
fn mask_of(tensor: &Operand) -> Shape {
    let Shape([n, h, w, channels]) = tensor.shape;
    Shape([n, h, w, channels.div_ceil(8)])
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
    let ([output], [mask]) = (step.reads()?, step.writes()?);
    activation(step)?;
    is(output, 0, ElementType::F32)?;
    is(mask, 1, ElementType::U8)?;
    has_shape(mask, 1, mask_of(output))
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([output], [mask]) = (step.reads()?, step.writes()?);
    let (activation, [.., channels]) = (activation(step)?, output.shape.dims());
    let Views { reads: [output], writes: [mask] } = memory.views([output], [mask])?;
    forward(activation, channels, elements(output)?, mask);
    Ok(())
}

pub(super) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output, mask], [grad_input]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(grad_output, 0, ElementType::F32)?;
    is(mask, 1, ElementType::U8)?;
    is(grad_input, 2, ElementType::F32)?;
    has_shape(mask, 1, mask_of(grad_output))?;
    has_shape(grad_input, 2, grad_output.shape)?;
    not_in_place_of(step, 1)
}

pub(super) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output, mask], [grad_input]) = (step.reads()?, step.writes()?);
    let [.., channels] = grad_output.shape.dims();
    if grad_output.same_place(grad_input) {
        let Views { reads: [mask], writes: [gradient] } = memory.views([mask], [grad_input])?;
        backward(channels, mask, elements_mut(gradient)?);
        return Ok(());
    }
    let Views { reads: [grad_output, mask], writes: [grad_input] } =
        memory.views([grad_output, mask], [grad_input])?;
    let gradient = elements_mut::<f32>(grad_input)?;
    gradient.iter_mut().zip(elements::<f32>(grad_output)?).for_each(|(to, &from)| *to = from);
    backward(channels, mask, gradient);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::ops::activation;
    use crate::ops::test_support::{Random, assert_same_bits, changed, in_arena, run_in_arena, step};

    const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Relu6, Activation::ReluN1To1];

    #[test]
    fn the_gradient_is_the_activation_s() {
        let mut random = Random(3);
        for round in 0..90 {
            let act = ACTIVATIONS[round % 3];
            let (pixels, channels) = (random.integer(1, 7), random.integer(1, 20));
            let count = pixels * channels;
            let mut output = random.values(count);
            // On both sides of every bend, and on them.
            output.iter_mut().enumerate().for_each(|(i, value)| {
                *value = act.apply(if i % 5 == 0 { (*value * 3.0) as i32 as f32 } else { *value * 8.0 });
            });
            let grad_output = random.values(count);
            let mut expected = vec![0.0; count];
            activation::backward(act, &output, &grad_output, &mut expected);
            let mut mask = vec![0xaa; pixels * channels.div_ceil(8)];
            forward(act, channels, &output, &mut mask);
            let mut found = grad_output.clone();
            backward(channels, &mask, &mut found);
            assert_same_bits("gradient", &found, &expected);
        }
    }

    #[test]
    fn steps_run_in_place_or_not() {
        let shape = [1, 1, 2, 3];
        let mask = Operand { element_type: ElementType::U8, ..in_arena(12, [1, 1, 2, 1]) };
        let [output, grad] = [0, 6].map(|at| in_arena(at, shape));
        let values = [1.0, -1.0, 0.0, 2.0, 3.0, -0.0];
        for (grad_input, at) in [(grad, 6), (in_arena(13, shape), 13)] {
            let mut arena = [5.0; 19];
            arena[..6].copy_from_slice(&values.map(|x: f32| x.max(0.0)));
            run_in_arena(&step(87, &[1, 0], &[output], &[mask]), &mut arena);
            run_in_arena(&step(88, &[], &[grad, mask], &[grad_input]), &mut arena);
            assert_eq!(arena[at..at + 6], [5.0, 0.0, 0.0, 5.0, 5.0, 0.0]);
        }
    }

    #[test]
    fn steps_are_checked() {
        let mask = Operand { element_type: ElementType::U8, ..in_arena(100, [1, 2, 3, 2]) };
        let [output, grad] = [0, 200].map(|at| in_arena(at, [1, 2, 3, 9]));
        let forward = step(87, &[2, 0], &[output], &[mask]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        let error = StepError::Attribute { index: 0, found: 3 };
        assert_eq!(changed(&forward, |step| step.attributes[0] = 3), Err(error));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&forward, |step| step.writes[0].shape.0[3] = 1), Err(error));
        let backward = step(88, &[], &[output, mask], &[grad]);
        assert_eq!(changed(&backward, |_| ()), Ok(()));
        assert_eq!(changed(&backward, |step| step.writes[0] = output), Ok(()));
        let error = StepError::ElementType { operand: 1 };
        assert_eq!(changed(&backward, |step| step.reads[1].element_type = ElementType::I8), Err(error));
        let error = StepError::Overlap { write: 0 };
        assert_eq!(changed(&backward, |step| step.writes[0].offset = 396), Err(error));
    }
}
