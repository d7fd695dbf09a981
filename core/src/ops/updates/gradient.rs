//! What happens to gradients before an optimizer uses them: clipping by their common norm or by value, and the L1 penalty.

use crate::kernels::each_isa::each_isa;
use crate::kernels::{fma, sqrt};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::operands::{all_are, flag, float_in, has_shape, positive_float, runs_once};
use crate::step::{Step, StepError};

/// Chains of a sum of squares.
const LANES: usize = 16;
/// Added to a norm before it divides, as `torch.nn.utils.clip_grad_norm_` does.
const NORM_EPSILON: f32 = 1e-6;

/// The sum of the squares of `values`.
///
/// Its order is fixed: element `i` goes to chain `i mod 16`, one fused multiply-add an element; then the chains are added in halves: chain
/// `i` and `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
pub fn sum_of_squares(values: &[f32]) -> f32 {
    let mut sum = 0.0;
    sum_kernel(values, &mut sum);
    sum
}

each_isa! {
    fn sum_kernel<WIDE>(values: &'a [f32], sum: &'a mut f32) {
        let mut chains = [0.0f32; LANES];
        let (rows, rest) = values.as_chunks::<LANES>();
        for row in rows {
            for (chain, &value) in chains.iter_mut().zip(row) {
                *chain = fma(value, value, *chain);
            }
        }
        for (chain, &value) in chains.iter_mut().zip(rest) {
            *chain = fma(value, value, *chain);
        }
        let mut half = LANES / 2;
        while half > 0 {
            if let Some((left, right)) = chains.split_at_mut_checked(half) {
                left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
            }
            half /= 2;
        }
        if let Some(first) = chains.first() {
            *sum = *first;
        }
    }
}

/// Scales `gradient` in place so that the norm of which it is a part, `sqrt(squares)`, is not more than `largest` (Pascanu, Mikolov and Bengio
/// 2013): times `largest / (sqrt(squares) + 1e-6)` if that is below 1, else not at all.
#[doc(alias = "clip_grad_norm")]
pub fn clip_by_norm(largest: f32, squares: f32, gradient: &mut [f32]) {
    let factor = largest / (sqrt(squares) + NORM_EPSILON);
    if factor < 1.0 {
        scale_kernel(factor, gradient);
    }
}

each_isa! {
    fn scale_kernel<WIDE>(factor: f32, gradient: &'a mut [f32]) {
        gradient.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Limits each element of `gradient`, in place, to `-largest..=largest`. NaN stays NaN.
#[doc(alias = "clip_grad_value")]
pub fn clip_by_value(largest: f32, gradient: &mut [f32]) {
    clip_kernel(largest, gradient);
}

each_isa! {
    fn clip_kernel<WIDE>(largest: f32, gradient: &'a mut [f32]) {
        for value in gradient {
            let below = if *value > largest { largest } else { *value };
            *value = if below < -largest { -largest } else { below };
        }
    }
}

/// Adds the gradient of `strength * sum(|parameter|)` to `gradient`: `strength` times the sign, 0 for 0.
pub fn l1_penalty(strength: f32, parameter: &[f32], gradient: &mut [f32]) {
    penalty_kernel(strength, parameter, gradient);
}

each_isa! {
    fn penalty_kernel<WIDE>(strength: f32, parameter: &'a [f32], gradient: &'a mut [f32]) {
        for (gradient, &parameter) in gradient.iter_mut().zip(parameter) {
            let positive = if parameter > 0.0 { strength } else { 0.0 };
            *gradient += if parameter < 0.0 { -strength } else { positive };
        }
    }
}

const SCALAR: Shape = Shape::vector(1);

pub(in crate::ops) fn check_sum_of_squares(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([_], [sum]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    flag(step.attributes, 0)?;
    runs_once(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(sum, 1, SCALAR)
}

pub(in crate::ops) fn run_sum_of_squares(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([values], [sum]) = (step.reads()?, step.writes()?);
    let is_first = flag(step.attributes, 0)?;
    let Views { reads: [values], writes: [sum] } = memory.views([values], [sum])?;
    let squares = sum_of_squares(elements(values)?);
    for sum in elements_mut::<f32>(sum)? {
        *sum = if is_first { squares } else { *sum + squares };
    }
    Ok(())
}

pub(in crate::ops) fn check_clip_by_norm(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([squares], [_]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    positive_float(step.attributes, 0)?;
    runs_once(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(squares, 0, SCALAR)
}

pub(in crate::ops) fn run_clip_by_norm(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([squares], [gradient]) = (step.reads()?, step.writes()?);
    let largest = positive_float(step.attributes, 0)?;
    let Views { reads: [squares], writes: [gradient] } = memory.views([squares], [gradient])?;
    let squares = elements(squares)?.first().copied().ok_or(StepError::Memory)?;
    clip_by_norm(largest, squares, elements_mut(gradient)?);
    Ok(())
}

pub(in crate::ops) fn check_clip_by_value(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([], [_]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    positive_float(step.attributes, 0)?;
    runs_once(step)?;
    all_are(step, ElementType::F32)
}

pub(in crate::ops) fn run_clip_by_value(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [gradient] = step.writes()?;
    let largest = positive_float(step.attributes, 0)?;
    clip_by_value(largest, elements_mut(memory.write(gradient)?)?);
    Ok(())
}

pub(in crate::ops) fn check_l1_penalty(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([parameter], [gradient]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    float_in(step.attributes, 0, 0.0..)?;
    runs_once(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(gradient, 1, parameter.shape)
}

pub(in crate::ops) fn run_l1_penalty(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([parameter], [gradient]) = (step.reads()?, step.writes()?);
    let strength = float_in(step.attributes, 0, 0.0..)?;
    let Views { reads: [parameter], writes: [gradient] } = memory.views([parameter], [gradient])?;
    l1_penalty(strength, elements(parameter)?, elements_mut(gradient)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::test_support::{Random, assert_close, changed, in_arena, run_in_arena, step, wide};
    use crate::step::Schedule;

    /// Roundings of 6e-8 in chains of up to 63 squares and four sums of chains.
    const TOLERANCE: f64 = 2e-6;

    fn once(
        operator: u8,
        attribute: i32,
        reads: &[crate::Operand],
        writes: &[crate::Operand],
    ) -> crate::step::NewStep {
        crate::step::NewStep { schedule: Schedule::Once, ..step(operator, &[attribute], reads, writes) }
    }

    #[test]
    fn sums_of_squares_are_the_reference_s() {
        let mut random = Random(3);
        for length in [1, 15, 16, 17, 100, 1000] {
            let values = random.values(length);
            let expected: f64 = wide(&values).iter().map(|x| x * x).sum();
            assert_close("sum", &[sum_of_squares(&values)], &[expected], TOLERANCE);
        }
    }

    #[test]
    fn gradients_are_clipped_by_the_norm_of_all() {
        let mut random = Random(4);
        for (largest, clips) in [(0.5f32, true), (100.0, false)] {
            let mut arena: Vec<f32> = random.values(50);
            let before = wide(&arena);
            let [one, other, sum] =
                [(0, [1, 1, 1, 19]), (19, [1, 2, 3, 5]), (49, [1, 1, 1, 1])].map(|(at, s)| in_arena(at, s));
            run_in_arena(&once(77, 1, &[one], &[sum]), &mut arena);
            run_in_arena(&once(77, 0, &[other], &[sum]), &mut arena);
            for gradient in [one, other] {
                run_in_arena(&once(78, largest.to_bits() as i32, &[sum], &[gradient]), &mut arena);
            }
            let norm = before[..49].iter().map(|x| x * x).sum::<f64>().sqrt();
            let factor = (f64::from(largest) / (norm + 1e-6)).min(1.0);
            assert_eq!(factor < 1.0, clips);
            let expected: Vec<f64> = before[..49].iter().map(|x| x * factor).collect();
            assert_close("gradient", &arena[..49], &expected, TOLERANCE);
        }
    }

    #[test]
    fn values_are_limited_and_nan_shows() {
        let mut gradient = [-3.0, -0.5, 0.0, 0.25, 7.0, f32::INFINITY, f32::NAN];
        clip_by_value(0.5, &mut gradient);
        assert_eq!(gradient[..6], [-0.5, -0.5, 0.0, 0.25, 0.5, 0.5]);
        assert!(gradient[6].is_nan());
    }

    #[test]
    fn the_l1_penalty_pulls_towards_zero() {
        let mut arena = [2.0, -3.0, 0.0, 1.0, 1.0, 1.0];
        let [parameter, gradient] = [0, 3].map(|at| in_arena(at, [1, 1, 1, 3]));
        run_in_arena(&once(76, 0.25f32.to_bits() as i32, &[parameter], &[gradient]), &mut arena);
        assert_eq!(arena[3..], [1.25, 0.75, 1.0]);
    }

    #[test]
    fn steps_are_checked() {
        let [left, right] = [0, 100].map(|at| in_arena(at, [1, 3, 4, 5]));
        let scalar = in_arena(200, [1, 1, 1, 1]);
        let half = 0.5f32.to_bits() as i32;
        let steps = [
            (once(76, half, &[left], &[right]), StepError::Shape { operand: 1 }),
            (once(77, 1, &[left], &[scalar]), StepError::Shape { operand: 1 }),
            (once(78, half, &[scalar], &[left]), StepError::Shape { operand: 0 }),
        ];
        for (step, error) in steps {
            assert_eq!(changed(&step, |_| ()), Ok(()));
            assert_eq!(changed(&step, |step| step.schedule = Schedule::PerChunk), Err(StepError::Schedule));
            let other = |operand: &mut crate::Operand| operand.shape.0[2] = 2;
            let found = changed(&step, |step| match step.operator {
                78 => other(&mut step.reads[0]),
                _ => other(&mut step.writes[0]),
            });
            assert_eq!(found, Err(error));
        }
        let clip = once(79, half, &[], &[left]);
        assert_eq!(changed(&clip, |_| ()), Ok(()));
        let error = StepError::Attribute { index: 0, found: 0 };
        assert_eq!(changed(&clip, |step| step.attributes[0] = 0), Err(error));
        let norm = once(78, half, &[scalar], &[left]);
        assert_eq!(changed(&norm, |step| step.attributes[0] = 0), Err(error));
        let error = StepError::Attribute { index: 0, found: 2 };
        let sum = once(77, 2, &[left], &[scalar]);
        assert_eq!(changed(&sum, |_| ()), Err(error));
    }
}
