//! Keeps what is not a number, or too large to be a gradient, out of the parameters.

use crate::memory::{Memory, Views, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::operands::{has_shape, is, positive_float, runs_once};
use crate::step::{Step, StepError};

/// Checks a gradient before an update uses it.
///
/// If the magnitude of every element is at most `largest`, nothing happens and the result is true. Otherwise (NaN and infinity are more than
/// anything) all of `gradient` becomes zero, so that an update of plain gradient descent changes nothing and one with moments goes on with those it has.
pub fn guard(largest: f32, gradient: &mut [f32]) -> bool {
    // A comparison with NaN is false.
    let is_good = gradient.iter().all(|value| value.abs() <= largest);
    if !is_good {
        gradient.fill(0.0);
    }
    is_good
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([], [gradient, faults]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    positive_float(step.attributes, 0)?;
    runs_once(step)?;
    is(gradient, 0, ElementType::F32)?;
    is(faults, 1, ElementType::I32)?;
    has_shape(faults, 1, Shape::vector(1))
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [gradient, faults] = step.writes()?;
    let largest = positive_float(step.attributes, 0)?;
    let Views { writes: [gradient, faults], .. } = memory.views([], [gradient, faults])?;
    if !guard(largest, elements_mut(gradient)?) {
        for count in elements_mut::<i32>(faults)? {
            *count = count.saturating_add(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::Operand;
    use crate::ops::test_support::{changed, in_arena, run_in_arena, step};
    use crate::step::{NewStep, Schedule};

    fn guarded(largest: f32, elements: usize) -> NewStep {
        let gradient = in_arena(0, [1, 1, 1, elements]);
        let faults = Operand { element_type: ElementType::I32, ..in_arena(elements, [1, 1, 1, 1]) };
        let step = step(85, &[largest.to_bits() as i32], &[], &[gradient, faults]);
        NewStep { schedule: Schedule::Once, ..step }
    }

    #[test]
    fn what_is_too_large_or_no_number_is_counted_and_becomes_zero() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -2.5] {
            for place in 0..3 {
                let mut arena = [1.0, -2.0, 0.5, f32::from_bits(6)];
                arena[place] = bad;
                run_in_arena(&guarded(2.0, 3), &mut arena);
                assert_eq!((&arena[..3], arena[3].to_bits()), (&[0.0; 3][..], 7), "{bad} at {place}");
            }
        }
        let mut arena = [1.0, -2.0, 0.5, f32::from_bits(i32::MAX as u32)];
        let before = arena.map(f32::to_bits);
        run_in_arena(&guarded(2.0, 3), &mut arena);
        assert_eq!(arena.map(f32::to_bits), before);
        run_in_arena(&guarded(1.0, 3), &mut arena);
        assert_eq!(arena[3].to_bits(), i32::MAX as u32, "the count stays at its largest");
    }

    #[test]
    fn steps_are_checked() {
        let good = guarded(2.0, 3);
        assert_eq!(changed(&good, |_| ()), Ok(()));
        assert_eq!(changed(&good, |step| step.schedule = Schedule::PerChunk), Err(StepError::Schedule));
        let error = StepError::Attribute { index: 0, found: 0 };
        assert_eq!(changed(&good, |step| step.attributes[0] = 0), Err(error));
        let error = StepError::ElementType { operand: 1 };
        assert_eq!(changed(&good, |step| step.writes[1].element_type = ElementType::F32), Err(error));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&good, |step| step.writes[1].shape.0[3] = 2), Err(error));
    }
}
