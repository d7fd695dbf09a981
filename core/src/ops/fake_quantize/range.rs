//! Where the range of an activation comes from: what is seen, averaged, or what is learned.

use super::{RANGE, Steps};
use crate::kernels::each_isa::each_isa;
use crate::kernels::fma;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::ElementType;
use crate::ops::operands::{all_are, float_in, has_shape, positive_float, reduces_chunks};
use crate::step::{Step, StepError};

/// Chains of a reduction.
const LANES: usize = 16;

/// The smallest and the greatest of `values`, `[min, max]`; NaN does not count. Of nothing else it is `[0, 0]`.
pub fn extremes(values: &[f32]) -> [f32; 2] {
    let mut found = [0.0; 2];
    extremes_kernel(values, &mut found);
    found
}

each_isa! {
    fn extremes_kernel<WIDE>(values: &'a [f32], found: &'a mut [f32; 2]) {
        let (mut least, mut greatest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let (rows, rest) = values.as_chunks::<LANES>();
        for row in rows {
            meet(&mut least, &mut greatest, row);
        }
        meet(&mut least, &mut greatest, rest);
        let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
        for (&low, &high) in least.iter().zip(&greatest) {
            min = if low < min { low } else { min };
            max = if high > max { high } else { max };
        }
        *found = if min <= max { [min, max] } else { [0.0; 2] };
    }
}

#[inline(always)]
fn meet(least: &mut [f32; LANES], greatest: &mut [f32; LANES], row: &[f32]) {
    for ((least, greatest), &value) in least.iter_mut().zip(greatest).zip(row) {
        *least = if value < *least { value } else { *least };
        *greatest = if value > *greatest { value } else { *greatest };
    }
}

/// Moves `range`, `[min, max]`, by `share` of the way to the range of what the chunks saw: `range += share * (seen - range)`, one fused
/// multiply-add. Without chunks it stays.
pub fn track<'a>(share: f32, partials: impl Iterator<Item = &'a [f32]>, range: &mut [f32]) {
    let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
    for partial in partials {
        if let [low, high] = *partial {
            min = if low < min { low } else { min };
            max = if high > max { high } else { max };
        }
    }
    if let [own_min, own_max] = range
        && min <= max
    {
        *own_min = fma(share, min - *own_min, *own_min);
        *own_max = fma(share, max - *own_max, *own_max);
    }
}

/// The gradient of fake quantization with respect to its range, `[min, max]`, times `factor`.
///
/// With `y = scale * round(x / scale)` and the zero point taken straight through its own rounding, `max` gets `(round(x / scale) - x / scale) / 255` of
/// the gradient of an element that is not cut off and `min` the negative of that; of one that is cut off, the end where it is gets
/// all (Jain et al. 2020, `arXiv:1903.08066`, for both ends). Element `i` goes to chain `i mod 16`, one fused multiply-add an element; the
/// chains are added one after the other.
pub fn grad_range(factor: f32, input: &[f32], grad_output: &[f32], range: &[f32]) -> [f32; 2] {
    let mut found = [0.0; 2];
    grad_range_kernel(input, grad_output, Steps::new(range), &mut found);
    found.map(|sum| sum * factor)
}

each_isa! {
    fn grad_range_kernel<WIDE>(
        input: &'a [f32],
        grad_output: &'a [f32],
        steps: Steps,
        found: &'a mut [f32; 2],
    ) {
        let (mut mins, mut maxs) = ([0.0f32; LANES], [0.0f32; LANES]);
        let ((rows, rest), (grad_rows, grad_rest)) =
            (input.as_chunks::<LANES>(), grad_output.as_chunks::<LANES>());
        for (row, grads) in rows.iter().zip(grad_rows) {
            add(steps, &mut mins, &mut maxs, row, grads);
        }
        add(steps, &mut mins, &mut maxs, rest, grad_rest);
        *found = [0.0; 2];
        let [min, max] = found;
        for (&of_min, &of_max) in mins.iter().zip(&maxs) {
            *min += of_min;
            *max += of_max;
        }
    }
}

#[inline(always)]
fn add(steps: Steps, mins: &mut [f32; LANES], maxs: &mut [f32; LANES], row: &[f32], grads: &[f32]) {
    for (((min, max), &value), &grad) in mins.iter_mut().zip(maxs).zip(row).zip(grads) {
        let (exact, rounded) = steps.of(value);
        let inside = (rounded - exact) / 255.0;
        let of_max = if rounded > steps.high { 1.0 } else { inside };
        let of_max = if rounded < steps.low { 0.0 } else { of_max };
        let of_min = if rounded < steps.low { 1.0 } else { -inside };
        let of_min = if rounded > steps.high { 0.0 } else { of_min };
        *max = fma(grad, of_max, *max);
        *min = fma(grad, of_min, *min);
    }
}

pub(in crate::ops) fn check_extremes(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([_], [partial]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    has_shape(partial, 1, RANGE)
}

pub(in crate::ops) fn run_extremes(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [partial]) = (step.reads()?, step.writes()?);
    let Views { reads: [input], writes: [partial] } = memory.views([input], [partial])?;
    let found = extremes(elements(input)?);
    elements_mut::<f32>(partial)?.iter_mut().zip(found).for_each(|(place, value)| *place = value);
    Ok(())
}

pub(in crate::ops) fn check_track(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([partial], [range]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    float_in(step.attributes, 0, 0.0..=1.0)?;
    reduces_chunks(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(partial, 0, RANGE)?;
    has_shape(range, 1, RANGE)
}

pub(in crate::ops) fn run_track(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([partial], [range]) = (step.reads()?, step.writes()?);
    let share = float_in(step.attributes, 0, 0.0..=1.0)?;
    let (partials, [range]) = memory.reduce(partial, [range])?;
    for partial in partials.iter::<f32>() {
        partial?;
    }
    track(share, partials.iter().flatten(), elements_mut(range)?);
    Ok(())
}

pub(in crate::ops) fn check_grad_range(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input, grad_output, range], [partial]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    positive_float(step.attributes, 0)?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, input.shape)?;
    has_shape(range, 2, RANGE)?;
    has_shape(partial, 3, RANGE)
}

pub(in crate::ops) fn run_grad_range(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, grad_output, range], [partial]) = (step.reads()?, step.writes()?);
    let factor = positive_float(step.attributes, 0)?;
    let Views { reads: [input, grad_output, range], writes: [partial] } =
        memory.views([input, grad_output, range], [partial])?;
    let found = grad_range(factor, elements(input)?, elements(grad_output)?, elements(range)?);
    elements_mut::<f32>(partial)?.iter_mut().zip(found).for_each(|(place, value)| *place = value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::quantization_of;
    use super::*;
    use crate::operand::{Operand, Space};
    use crate::ops::test_support::{Random, changed, in_arena, run_in_arena, step};
    use crate::step::Schedule;

    #[test]
    fn extremes_are_those_of_all_numbers() {
        let mut random = Random(1);
        for count in [1, 2, 15, 16, 17, 300] {
            let values = random.values(count);
            let [min, max] = extremes(&values);
            assert!(values.contains(&min) && values.contains(&max));
            assert!(values.iter().all(|value| (min..=max).contains(value)));
        }
        assert_eq!(extremes(&[f32::NAN, 3.0, 2.0]), [2.0, 3.0]);
        assert_eq!(extremes(&[f32::NAN]), [0.0, 0.0]);
    }

    #[test]
    fn a_range_follows_what_is_seen() {
        let mut range = [-1.0, 1.0];
        track(0.25, [&[-3.0, 0.5][..], &[-2.0, 2.0]].into_iter(), &mut range);
        assert_eq!(range, [-1.5, 1.25]);
        track(0.25, core::iter::empty(), &mut range);
        assert_eq!(range, [-1.5, 1.25]);
    }

    /// The function whose gradient it is: the zero point is a real number, and how far each element is rounded stays as it is.
    fn straight_through(x: f64, rounding: f64, min: f64, max: f64, cut: i32) -> f64 {
        match cut {
            -1 => min,
            1 => max,
            _ => x + (max - min) / 255.0 * rounding,
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_function_without_rounding() {
        /// Sums of some hundred f32.
        const TOLERANCE: f64 = 1e-5;
        let mut random = Random(9);
        let (input, grads) = (random.values(333), random.values(333));
        let (min, max) = (-0.6f32, 0.8f32);
        let found = grad_range(0.5, &input, &grads, &[min, max]);
        let steps = Steps::new(&[min, max]);
        let loss = |min: f64, max: f64| -> f64 {
            let one = |(&x, &g): (&f32, &f32)| {
                let (exact, rounded) = steps.of(x);
                let cut = i32::from(rounded > steps.high) - i32::from(rounded < steps.low);
                f64::from(g) * straight_through(x.into(), f64::from(rounded - exact), min, max, cut)
            };
            input.iter().zip(&grads).map(one).sum()
        };
        const H: f64 = 1e-4;
        let (min, max) = (f64::from(min), f64::from(max));
        let of_min = 0.5 * (loss(min + H, max) - loss(min - H, max)) / (2.0 * H);
        let of_max = 0.5 * (loss(min, max + H) - loss(min, max - H)) / (2.0 * H);
        assert!((f64::from(found[0]) - of_min).abs() < TOLERANCE, "{found:?} {of_min}");
        assert!((f64::from(found[1]) - of_max).abs() < TOLERANCE, "{found:?} {of_max}");
        assert!(of_min.abs() > 0.01 && of_max.abs() > 0.01 && quantization_of(-0.6, 0.8).scale > 0.0);
    }

    #[test]
    fn steps_are_checked() {
        let (input, grad, range) =
            (in_arena(0, [1, 2, 2, 2]), in_arena(8, [1, 2, 2, 2]), in_arena(16, [1, 1, 1, 2]));
        let mut arena = [0.5f32; 20];
        let seen = step(94, &[], &[input], &[range]);
        run_in_arena(&seen, &mut arena);
        assert_eq!(arena[16..18], [0.5, 0.5]);
        let error = |operand| Err(StepError::Shape { operand });
        assert_eq!(changed(&seen, |step| step.writes[0].shape.0[3] = 1), error(1));
        let factor = [1.0f32.to_bits() as i32];
        let backward = step(92, &factor, &[input, grad, range], &[in_arena(18, [1, 1, 1, 2])]);
        run_in_arena(&backward, &mut arena);
        assert_eq!(changed(&backward, |step| step.reads[1].shape.0[3] = 1), error(1));
        assert_eq!(changed(&backward, |step| step.reads[2].shape.0[3] = 1), error(2));
        assert_eq!(changed(&backward, |step| step.writes[0].shape.0[3] = 1), error(3));
        let attribute = Err(StepError::Attribute { index: 0, found: 0 });
        assert_eq!(changed(&backward, |step| step.attributes[0] = 0), attribute);
        let partial = Operand { space: Space::Chunk, ..range };
        let mut tracked = step(95, &factor, &[partial], &[range]);
        assert_eq!(changed(&tracked, |_| ()), Err(StepError::Schedule));
        tracked.schedule = Schedule::Once;
        assert_eq!(changed(&tracked, |_| ()), Ok(()));
        let found = 2.0f32.to_bits() as i32;
        let attribute = Err(StepError::Attribute { index: 0, found });
        assert_eq!(changed(&tracked, |step| step.attributes[0] = found), attribute);
        assert_eq!(changed(&tracked, |step| step.writes[0].shape.0[3] = 1), error(1));
    }
}
