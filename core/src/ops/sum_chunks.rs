//! The sum over a batch of what its chunks computed: gradients, losses.

use super::operands::{all_are, has_shape, reduces_chunks};
use crate::kernels::each_isa::each_isa;
use crate::memory::{Memory, elements_mut};
use crate::operand::ElementType;
use crate::step::{Step, StepError};

/// `sum = partials[0] + partials[1] + ...`, element by element, in this order; all of the same length. Overwrites `sum`;
/// without partials it is left as it was.
pub fn forward<'a>(partials: impl Iterator<Item = &'a [f32]>, sum: &mut [f32]) {
    for (index, partial) in partials.enumerate() {
        if index == 0 {
            let shared = sum.len().min(partial.len());
            if let (Some(sum), Some(partial)) = (sum.get_mut(..shared), partial.get(..shared)) {
                sum.copy_from_slice(partial);
            }
        } else {
            add(partial, sum);
        }
    }
}

each_isa! {
    fn add<WIDE>(partial: &'a [f32], sum: &'a mut [f32]) {
        for (sum, &partial) in sum.iter_mut().zip(partial) {
            *sum += partial;
        }
    }
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([partial], [sum]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    reduces_chunks(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(sum, 1, partial.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([partial], [sum]) = (step.reads()?, step.writes()?);
    let (partials, [sum]) = memory.reduce(partial, [sum])?;
    for partial in partials.iter::<f32>() {
        partial?;
    }
    forward(partials.iter().flatten(), elements_mut(sum)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::{Operand, Space};
    use crate::ops::test_support::{Random, assert_same_bits, changed, in_arena, step};
    use crate::step::Schedule;

    #[test]
    fn the_order_is_the_chunks() {
        let mut random = Random(1);
        let partials: [std::vec::Vec<f32>; 4] = core::array::from_fn(|_| random.values(37));
        let mut sum = [f32::NAN; 37];
        forward(partials.iter().map(std::vec::Vec::as_slice), &mut sum);
        let [a, b, c, d] = &partials;
        let expected: std::vec::Vec<f32> = (0..37).map(|i| ((a[i] + b[i]) + c[i]) + d[i]).collect();
        assert_same_bits("sum", &sum, &expected);
        // One chunk is copied bit for bit, negative zero too.
        let mut sum = [1.0];
        forward([&[-0.0f32][..]].into_iter(), &mut sum);
        assert_same_bits("one chunk", &sum, &[-0.0]);
    }

    #[test]
    fn steps_are_checked() {
        let partial = Operand { space: Space::Chunk, ..in_arena(0, [1, 1, 2, 4]) };
        let mut sum = step(55, &[], &[partial], &[in_arena(0, [1, 1, 2, 4])]);
        assert_eq!(changed(&sum, |_| ()), Err(StepError::Schedule));
        sum.schedule = Schedule::Once;
        assert_eq!(changed(&sum, |_| ()), Ok(()));
        let error = StepError::Space { operand: 0 };
        assert_eq!(changed(&sum, |step| step.reads[0].space = Space::Arena), Err(error));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&sum, |step| step.writes[0].shape.0[3] = 5), Err(error));
        let error = StepError::ElementType { operand: 1 };
        assert_eq!(changed(&sum, |step| step.writes[0].element_type = ElementType::I32), Err(error));
    }
}
