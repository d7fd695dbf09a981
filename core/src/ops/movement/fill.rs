//! `fill`: one value for every element of a tensor of any type.

use crate::memory::{Memory, elements_mut};
use crate::ops::operands::bounded;
use crate::step::{Step, StepError};

/// `output = value`.
pub fn forward<T: Copy>(value: T, output: &mut [T]) {
    output.iter_mut().for_each(|element| *element = value);
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([], [output], &[bits]) = (step.reads()?, step.writes()?, step.attributes()?);
    // An element narrower than the attribute has to be the whole of it.
    match output.element_type.bytes() {
        1 => bounded(bits, 0, i32::from(i8::MIN)..=i32::from(u8::MAX)),
        2 => bounded(bits, 0, i32::from(i16::MIN)..=i32::from(u16::MAX)),
        _ => Ok(()),
    }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([output], &[bits]) = (step.writes()?, step.attributes()?);
    let bytes = memory.write(output)?;
    match output.element_type.bytes() {
        1 => forward(bits as u8, bytes),
        2 => forward(bits as u16, elements_mut(bytes)?),
        _ => forward(bits as u32, elements_mut(bytes)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::ElementType;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, shape};

    fn case(element: ElementType, bits: i32) -> Case {
        Case::new(Operator::Fill, &[bits]).writes(element, shape([2, 1, 3, 1]), None)
    }

    #[test]
    fn every_element_is_the_value() {
        assert_eq!(case(ElementType::I8, -128).run::<i8, i8>(&[]), [-128; 6]);
        assert_eq!(case(ElementType::I32, i32::MIN).run::<i8, i32>(&[]), [i32::MIN; 6]);
        let bits = (-1.5f32).to_bits() as i32;
        assert_eq!(case(ElementType::F32, bits).run::<i8, f32>(&[]), [-1.5; 6]);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = case(ElementType::I8, -128);
        for found in [-129, 256, i32::MIN, i32::MAX] {
            case.expect(StepError::Attribute { index: 0, found }, |step| step.attributes[0] = found);
        }
        case.expect(StepError::WriteCount { expected: 1, found: 0 }, |step| step.writes.clear());
        case.expect(StepError::ReadCount { expected: 0, found: 1 }, |step| {
            let operand = step.writes[0];
            step.reads.push(operand).unwrap();
        });
        case.expect(StepError::AttributeCount { expected: 1, found: 0 }, |step| step.attributes.clear());
    }
}
