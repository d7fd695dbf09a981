//! Fake quantization: f32 numbers as int8 would hold them, for quantization-aware training.
//!
//! What is rounded has no gradient that helps; the gradient is taken straight through the rounding, as if it were not there, and is 0 where a
//! value is cut off (Bengio, Leonard and Courville 2013, `arXiv:1308.3432`; Jacob et al., CVPR 2018).

pub mod range;
pub mod weights;

use crate::kernels::each_isa::each_isa;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Quantization, Shape};
use crate::ops::operands::{all_are, has_shape};
use crate::step::{Step, StepError};

/// A range, `[min, max]`.
pub(in crate::ops) const RANGE: Shape = Shape::vector(2);
/// A range that is narrower counts as empty.
const LEAST_WIDTH: f64 = 1e-30;

/// The int8 quantization of the range `min..=max`, widened so that it includes 0: `scale = (max - min) / 255`, `zero_point = round(-128 - min /
/// scale)`. A range in which there is nothing but 0, or that is none, gets that of `0..=1`. It is what the compiler gives an activation of this range.
pub fn quantization_of(min: f32, max: f32) -> Quantization {
    let (min, max) = (f64::from(min).min(0.0), f64::from(max).max(0.0));
    let width = max - min;
    if !(width >= LEAST_WIDTH && width <= f64::from(f32::MAX)) {
        return Quantization { scale: 1.0 / 255.0, zero_point: -128 };
    }
    let scale = (width / 255.0) as f32;
    let zero_point = libm::round(-128.0 - min / f64::from(scale)).clamp(-128.0, 127.0) as i32;
    Quantization { scale, zero_point }
}

/// Steps of a scale from 0: the greatest distance of an int8 from its zero point is 255.
#[derive(Clone, Copy, Debug)]
struct Steps {
    scale: f32,
    low: f32,
    high: f32,
}

impl Steps {
    fn new(range: &[f32]) -> Self {
        let (min, max) = match range {
            [min, max, ..] => (*min, *max),
            _ => (0.0, 0.0),
        };
        let Quantization { scale, zero_point } = quantization_of(min, max);
        Self { scale, low: (-128 - zero_point) as f32, high: (127 - zero_point) as f32 }
    }

    /// `value / scale`, limited to one step beyond what int8 can hold, and what it is rounded to.
    #[inline(always)]
    fn of(self, value: f32) -> (f32, f32) {
        let steps = value / self.scale;
        let below = if steps > self.high + 1.0 { self.high + 1.0 } else { steps };
        let steps = if below < self.low - 1.0 { self.low - 1.0 } else { below };
        (steps, round(steps))
    }

    #[inline(always)]
    fn limit(self, rounded: f32) -> f32 {
        let below = if rounded > self.high { self.high } else { rounded };
        if below < self.low { self.low } else { below }
    }

    #[inline(always)]
    fn holds(self, rounded: f32) -> bool {
        rounded >= self.low && rounded <= self.high
    }
}

/// To nearest, ties away from zero, of a number of a magnitude below 2^22; NaN gives 0.
#[inline(always)]
fn round(value: f32) -> f32 {
    let whole = value as i32 as f32;
    let rest = value - whole;
    let up = if rest >= 0.5 { whole + 1.0 } else { whole };
    if rest <= -0.5 { whole - 1.0 } else { up }
}

/// `output = scale * clamp(round(input / scale), -128 - zero_point, 127 - zero_point)` with the [`quantization_of`] `range`: what is left of
/// `input` behind `quantize` and `dequantize`. NaN stays NaN. `range` is `[min, max]`. Without `input`, what is in `output` is its input.
pub fn forward(input: Option<&[f32]>, range: &[f32], output: &mut [f32]) {
    forward_kernel(input, Steps::new(range), output);
}

each_isa! {
    fn forward_kernel<WIDE>(input: Option<&'a [f32]>, steps: Steps, output: &'a mut [f32]) {
        if let Some(input) = input {
            for (output, &input) in output.iter_mut().zip(input) {
                *output = fake(steps, input);
            }
        } else {
            output.iter_mut().for_each(|value| *value = fake(steps, *value));
        }
    }
}

#[inline(always)]
fn fake(steps: Steps, value: f32) -> f32 {
    let (_, rounded) = steps.of(value);
    let near = steps.scale * steps.limit(rounded);
    if value.is_nan() { value } else { near }
}

/// `grad_input = grad_output` where the rounded input is one that int8 holds, else 0. All of one length but `range`, `[min, max]`.
pub fn grad(input: &[f32], grad_output: &[f32], range: &[f32], grad_input: &mut [f32]) {
    grad_kernel(input, grad_output, Steps::new(range), grad_input);
}

each_isa! {
    fn grad_kernel<WIDE>(
        input: &'a [f32],
        grad_output: &'a [f32],
        steps: Steps,
        grad_input: &'a mut [f32],
    ) {
        for ((grad_input, &grad), &value) in grad_input.iter_mut().zip(grad_output).zip(input) {
            let (_, rounded) = steps.of(value);
            *grad_input = if steps.holds(rounded) { grad } else { 0.0 };
        }
    }
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, range], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    has_shape(range, 1, RANGE)?;
    has_shape(output, 2, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, range], [output]) = (step.reads()?, step.writes()?);
    if input.same_place(output) {
        let Views { reads: [range], writes: [output] } = memory.views([range], [output])?;
        forward(None, elements(range)?, elements_mut(output)?);
    } else {
        let Views { reads: [input, range], writes: [output] } = memory.views([input, range], [output])?;
        forward(Some(elements(input)?), elements(range)?, elements_mut(output)?);
    }
    Ok(())
}

pub(super) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, grad_output, range], [grad_input]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, input.shape)?;
    has_shape(range, 2, RANGE)?;
    has_shape(grad_input, 3, input.shape)
}

pub(super) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output, range], [grad_input]) = (step.reads()?, step.writes()?);
    let Views { reads: [input, grad_output, range], writes: [grad_input] } =
        memory.views([input, grad_output, range], [grad_input])?;
    grad(elements(input)?, elements(grad_output)?, elements(range)?, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::quantize::{dequantize_one, quantize_one};
    use crate::ops::test_support::{Random, assert_in_place, changed, in_arena, run_in_arena, step};

    /// Numbers in and around the range, ties among them.
    fn values(random: &mut Random, [min, max]: [f32; 2]) -> Vec<f32> {
        let scale = quantization_of(min, max).scale;
        let mut values: Vec<f32> = (-300..300).map(|half| half as f32 * 0.5 * scale).collect();
        values.extend(random.values(500).iter().map(|x| x * 1.5 * (max - min)));
        values.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e30, 0.499_999_97 * scale]);
        values
    }

    #[test]
    fn it_is_quantize_and_dequantize() {
        let mut random = Random(3);
        for range in [[-1.0, 1.0], [0.0, 6.0], [-3.7, 0.2], [2.0, 5.0], [-1e-20, 3e-20], [0.0, 0.0]] {
            let quantization = quantization_of(range[0], range[1]);
            let input = values(&mut random, range);
            let mut output = input.clone();
            forward(None, &range, &mut output);
            for (&x, &y) in input.iter().zip(&output) {
                let expected = dequantize_one(quantization, quantize_one(quantization, x));
                assert_eq!(y.to_bits() & 0x7fff_ffff, expected.to_bits() & 0x7fff_ffff, "{range:?} {x}");
                assert!(y == expected);
            }
        }
        let mut nan = [f32::NAN];
        forward(None, &[0.0, 1.0], &mut nan);
        assert!(nan[0].is_nan());
    }

    #[test]
    fn the_gradient_goes_straight_through_what_is_not_cut_off() {
        let (input, range) = ([-2.0, -1.003, 0.3, 1.0, 1.003, 1.1, f32::NAN], [-1.0, 1.0]);
        let grad_output = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let mut found = [f32::NAN; 7];
        grad(&input, &grad_output, &range, &mut found);
        // scale 2 / 255, zero point -1 (half a step below): from -127 to 128 steps, -0.996 to 1.0039.
        let Quantization { scale, zero_point } = quantization_of(-1.0, 1.0);
        assert_eq!((zero_point, scale), (-1, 2.0 / 255.0));
        assert_eq!(found, [0.0, 0.0, 3.0, 4.0, 5.0, 0.0, 7.0]);
    }

    #[test]
    fn steps_are_checked_and_run_in_place() {
        let mut random = Random(5);
        let (x, g) = (random.values(24), random.values(24));
        let shape = [2, 2, 2, 3];
        let range = ([1, 1, 1, 2], &[-0.5f32, 0.7][..]);
        assert_in_place(90, &[], &[(shape, &x), range], &[0]);
        let (input, grad, range_at) = (in_arena(0, shape), in_arena(24, shape), in_arena(48, [1, 1, 1, 2]));
        let output = in_arena(50, shape);
        let backward = step(91, &[], &[input, grad, range_at], &[output]);
        let mut arena = [&x[..], &g, &[-0.5, 0.7], &[0.0; 24]].concat();
        run_in_arena(&backward, &mut arena);
        assert!(arena[50..].contains(&0.0) && arena[50..].iter().any(|&x| x != 0.0));
        let error = |operand| Err(StepError::Shape { operand });
        assert_eq!(changed(&backward, |step| step.reads[1].shape.0[3] = 2), error(1));
        assert_eq!(changed(&backward, |step| step.reads[2].shape.0[3] = 1), error(2));
        assert_eq!(changed(&backward, |step| step.writes[0].shape.0[0] = 1), error(3));
        let forward = step(90, &[], &[input, range_at], &[output]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        assert_eq!(changed(&forward, |step| step.reads[1].shape.0[3] = 3), error(1));
        assert_eq!(changed(&forward, |step| step.writes[0].shape.0[0] = 1), error(2));
        let error = Err(StepError::ElementType { operand: 1 });
        assert_eq!(changed(&forward, |step| step.reads[1].element_type = ElementType::I32), error);
    }
}
