//! Maximum pooling that keeps which tap of each window was the largest: what its gradient needs, in a byte for each output instead of the input.

use core::mem::take;

use crate::kernels::each_isa::each_isa;
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand};
use crate::ops::operands::{has_shape, is};
use crate::ops::pooling::PoolParams;
use crate::step::{Step, StepError};

use super::float::replaces;

/// The index of a window with no tap in the input.
const NONE: u8 = u8::MAX;

/// [`forward`](super::forward) that also writes `index`, `[N, H_out, W_out, C]`: the number of the tap that is the output, counted in row-major order over the taps that lie in the
/// input; 255 if there are none. Of equal taps it is the first one, of NaNs the last.
///
/// The window has at most 255 taps.
pub fn forward_index(params: &PoolParams, input: &[f32], output: &mut [f32], index: &mut [u8]) {
    forward_kernel(params, input, output, index);
}

each_isa! {
    fn forward_kernel<WIDE>(params: &'a PoolParams, input: &'a [f32], output: &'a mut [f32], index: &'a mut [u8]) {
        let (in_length, out_length, c) = params.lengths();
        let mut index = index;
        for (input, output) in pieces((input, output), [in_length, out_length]) {
            for (window, output) in params.windows().zip(output.chunks_exact_mut(c)) {
                let Some((first, rest)) = take(&mut index).split_at_mut_checked(c) else { return };
                index = rest;
                let index = first;
                output.fill(if window.count() == 0 { 0.0 } else { f32::NEG_INFINITY });
                index.fill(NONE);
                let mut tap = 0u8;
                window.for_each(|pixel| {
                    let taps = input.get(pixel * c..).unwrap_or_default();
                    for ((largest, winner), &value) in output.iter_mut().zip(index.iter_mut()).zip(taps) {
                        // If all taps are negative infinity, the first one is the output.
                        let wins = replaces(value, *largest) || *winner == NONE;
                        *largest = if wins { value } else { *largest };
                        *winner = if wins { tap } else { *winner };
                    }
                    tap = tap.wrapping_add(1);
                });
            }
        }
    }
}

/// [`backward`](super::backward) from the `index` of [`forward_index`]: the same bits.
pub fn backward_index(params: &PoolParams, index: &[u8], grad_output: &[f32], grad_input: &mut [f32]) {
    backward_kernel(params, index, grad_output, grad_input);
}

each_isa! {
    fn backward_kernel<WIDE>(
        params: &'a PoolParams,
        index: &'a [u8],
        grad_output: &'a [f32],
        grad_input: &'a mut [f32],
    ) {
        let (in_length, out_length, c) = params.lengths();
        let mut index = index;
        for (grad_output, grad_input) in pieces((grad_output, grad_input), [out_length, in_length]) {
            grad_input.fill(0.0);
            for (window, grad_output) in params.windows().zip(grad_output.chunks_exact(c)) {
                let Some((first, rest)) = index.split_at_checked(c) else { return };
                index = rest;
                let index = first;
                let mut tap = 0u8;
                window.for_each(|pixel| {
                    let taps = grad_input.get_mut(pixel * c..).unwrap_or_default();
                    for ((to, &winner), &grad) in taps.iter_mut().zip(index).zip(grad_output) {
                        *to = if winner == tap { *to + grad } else { *to };
                    }
                    tap = tap.wrapping_add(1);
                });
            }
        }
    }
}

/// The parameters of a step with this index.
fn params(step: Step<'_>, input: &Operand, output: &Operand, operand: u8) -> Result<PoolParams, StepError> {
    let params = PoolParams::of_window(step, input, output, operand)?;
    let taps = params.window.y.kernel.checked_mul(params.window.x.kernel);
    if taps.is_none_or(|taps| taps > usize::from(NONE)) {
        return Err(StepError::Shape { operand: 0 });
    }
    Ok(params)
}

pub(super) fn check(step: Step<'_>) -> Result<(), StepError> {
    let ([input], [output, index]) = (step.reads()?, step.writes()?);
    is(input, 0, ElementType::F32)?;
    is(output, 1, ElementType::F32)?;
    is(index, 2, ElementType::U8)?;
    params(step, input, output, 1)?;
    has_shape(index, 2, output.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output, index]) = (step.reads()?, step.writes()?);
    let params = params(step, input, output, 1)?;
    let Views { reads: [input], writes: [output, index] } = memory.views([input], [output, index])?;
    forward_index(&params, elements(input)?, elements_mut(output)?, index);
    Ok(())
}

pub(super) fn check_grad(step: Step<'_>) -> Result<(), StepError> {
    let ([index, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    is(index, 0, ElementType::U8)?;
    is(grad_output, 1, ElementType::F32)?;
    is(grad_input, 2, ElementType::F32)?;
    params(step, grad_input, grad_output, 1)?;
    has_shape(index, 0, grad_output.shape)
}

pub(super) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([index, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let params = params(step, grad_input, grad_output, 1)?;
    let Views { reads: [index, grad_output], writes: [grad_input] } =
        memory.views([index, grad_output], [grad_input])?;
    backward_index(&params, index, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::geometry::{Axis, Window};
    use crate::operand::Shape;
    use crate::ops::max_pool_2d::{backward, forward};
    use crate::ops::test_support::{Random, assert_same_bits, changed, in_arena, step};

    #[test]
    fn output_and_gradient_have_the_bits_of_those_without_an_index() {
        let mut random = Random(2);
        for case in 0..80 {
            let [n, h, w, c] =
                [random.integer(1, 2), random.integer(1, 7), random.integer(1, 7), random.integer(1, 40)];
            let window = random.window([h, w]);
            let (out_h, out_w) = (window.y.output(h).unwrap(), window.x.output(w).unwrap());
            let shape = |dims: [usize; 4]| Shape(dims.map(|dimension| dimension as u32));
            let params =
                PoolParams { window, input: shape([n, h, w, c]), output: shape([n, out_h, out_w, c]) };
            let mut input = random.values(n * h * w * c);
            // Equal taps, NaN and negative infinity.
            input.iter_mut().step_by(3).for_each(|value| *value = 0.5);
            if case % 4 == 0 {
                input.iter_mut().skip(1).step_by(5).for_each(|value| *value = f32::NAN);
                input.iter_mut().step_by(2).for_each(|value| *value = f32::NEG_INFINITY);
            }
            let count = n * out_h * out_w * c;
            let (mut expected, mut output, mut index) = (vec![0.0; count], vec![9.0; count], vec![7; count]);
            forward(&params, &input, &mut expected);
            forward_index(&params, &input, &mut output, &mut index);
            assert_same_bits("output", &output, &expected);
            let grads = random.values(count);
            let (mut expected, mut grad_input) = (vec![1.0; input.len()], vec![2.0; input.len()]);
            backward(&params, &input, &grads, &mut expected);
            backward_index(&params, &index, &grads, &mut grad_input);
            assert_same_bits("gradient", &grad_input, &expected);
        }
    }

    #[test]
    fn steps_are_checked() {
        let axis = Axis::same(3, 2, 1, 7).unwrap();
        let attributes = Window { y: axis, x: axis }.attributes();
        let (input, output) = (in_arena(0, [2, 7, 7, 3]), in_arena(300, [2, 4, 4, 3]));
        let index = Operand { element_type: ElementType::U8, ..in_arena(400, [2, 4, 4, 3]) };
        let grad_input = in_arena(500, [2, 7, 7, 3]);
        let forward = step(4, &attributes, &[input], &[output, index]);
        let backward = step(47, &attributes, &[index, output], &[grad_input]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        assert_eq!(changed(&backward, |_| ()), Ok(()));
        let shape = |operand| Err(StepError::Shape { operand });
        for dimension in 0..4 {
            assert_eq!(changed(&forward, |step| step.writes[1].shape.0[dimension] += 1), shape(2));
            assert_eq!(changed(&backward, |step| step.reads[0].shape.0[dimension] += 1), shape(0));
            assert_eq!(changed(&backward, |step| step.reads[1].shape.0[dimension] += 1), shape(1));
        }
        let element_type = |operand| Err(StepError::ElementType { operand });
        let i8 = ElementType::I8;
        assert_eq!(changed(&forward, |step| step.writes[1].element_type = i8), element_type(2));
        assert_eq!(changed(&backward, |step| step.reads[1].element_type = i8), element_type(1));
        // More taps than a byte counts.
        let wide = Axis { kernel: 16, stride: 16, dilation: 1, pad_before: 0, pad_after: 0 };
        let attributes = Window { y: wide, x: wide }.attributes();
        let (input, output) = (in_arena(0, [1, 16, 16, 1]), in_arena(300, [1, 1, 1, 1]));
        let index = Operand { element_type: ElementType::U8, ..in_arena(400, [1, 1, 1, 1]) };
        assert_eq!(changed(&step(4, &attributes, &[input], &[output, index]), |_| ()), shape(0));
    }
}
