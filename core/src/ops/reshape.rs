//! Another shape for the same elements.

use super::operands::is;
use crate::memory::{Memory, Views};
use crate::step::{Step, StepError};

/// Copies the elements; a step whose output lies in the place of its input does nothing. Works on bytes, whatever their type.
pub fn forward(input: &[u8], output: &mut [u8]) {
    output.iter_mut().zip(input).for_each(|(output, &input)| *output = input);
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    is(output, 1, input.element_type)?;
    if input.quantization != output.quantization {
        return Err(StepError::Quantization { operand: 1 });
    }
    match (input.shape.elements(), output.shape.elements()) {
        (Some(from), Some(to)) if from == to => Ok(()),
        _ => Err(StepError::Shape { operand: 1 }),
    }
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    if input.same_place(output) {
        return memory.write(output).map(|_| ());
    }
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(input, output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::{ElementType, Quantization};
    use crate::ops::test_support::{changed, in_arena, run_in_arena, step};

    #[test]
    fn elements_keep_their_order_in_place_or_not() {
        let mut arena = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let input = in_arena(0, [1, 2, 1, 3]);
        run_in_arena(&step(8, &[], &[input], &[in_arena(6, [1, 1, 1, 6])]), &mut arena);
        assert_eq!(arena[..6], arena[6..]);
        run_in_arena(&step(8, &[], &[input], &[in_arena(0, [1, 1, 1, 6])]), &mut arena);
        assert_eq!(arena[..6], arena[6..]);
    }

    #[test]
    fn steps_are_checked() {
        let reshape = step(8, &[], &[in_arena(0, [1, 2, 1, 3])], &[in_arena(6, [1, 1, 1, 6])]);
        assert_eq!(changed(&reshape, |_| ()), Ok(()));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&reshape, |step| step.writes[0].shape.0[3] = 5), Err(error));
        let error = StepError::ElementType { operand: 1 };
        assert_eq!(changed(&reshape, |step| step.writes[0].element_type = ElementType::I32), Err(error));
        let quantization = Quantization { scale: 1.0, zero_point: 0 };
        let error = StepError::Quantization { operand: 1 };
        assert_eq!(changed(&reshape, |step| step.writes[0].quantization = quantization), Err(error));
    }
}
