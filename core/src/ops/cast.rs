//! `cast`: the same numbers in another element type.

use super::operands::has_shape;
use crate::memory::{Memory, Views};
use crate::operand::{ElementType, Operand};
use crate::step::{Step, StepError};

/// A number on its way from one type to another.
#[derive(Clone, Copy)]
enum Number {
    Integer(i32),
    Real(f32),
}

/// The number in the bytes of one element.
fn load(element_type: ElementType, bytes: &[u8]) -> Option<Number> {
    Some(match (element_type, bytes) {
        (ElementType::I8, &[byte]) => Number::Integer((byte as i8).into()),
        (ElementType::U8, &[byte]) => Number::Integer(byte.into()),
        (ElementType::I16, &[a, b]) => Number::Integer(i16::from_le_bytes([a, b]).into()),
        (ElementType::I32, &[a, b, c, d]) => Number::Integer(i32::from_le_bytes([a, b, c, d])),
        (ElementType::F32, &[a, b, c, d]) => Number::Real(f32::from_le_bytes([a, b, c, d])),
        _ => return None,
    })
}

/// Writes a number as one element. Integers that are too large lose their upper bits; reals lose their fraction and saturate, and NaN gives 0.
fn store(element_type: ElementType, number: Number, bytes: &mut [u8]) {
    let narrow = |least: i32, most: i32| match number {
        Number::Integer(value) => value,
        // The conversion saturates, and the bounds are constants in order.
        Number::Real(value) => (value as i32).max(least).min(most),
    };
    let found: [u8; 4] = match element_type {
        ElementType::I8 => narrow(i8::MIN.into(), i8::MAX.into()).to_le_bytes(),
        ElementType::U8 => narrow(0, u8::MAX.into()).to_le_bytes(),
        ElementType::I16 => narrow(i16::MIN.into(), i16::MAX.into()).to_le_bytes(),
        ElementType::I32 => narrow(i32::MIN, i32::MAX).to_le_bytes(),
        ElementType::F32 => match number {
            Number::Integer(value) => (value as f32).to_le_bytes(),
            Number::Real(value) => value.to_le_bytes(),
        },
    };
    for (byte, found) in bytes.iter_mut().zip(found) {
        *byte = found;
    }
}

/// Casts `input`, the bytes of elements of the type `from`, to as many of the type `to`.
pub fn forward(from: ElementType, to: ElementType, input: &[u8], output: &mut [u8]) {
    let elements = input.chunks_exact(from.bytes());
    for (output, input) in output.chunks_exact_mut(to.bytes()).zip(elements) {
        if let Some(number) = load(from, input) {
            store(to, number, output);
        }
    }
}

fn operands(step: Step<'_>) -> Result<[&Operand; 2], StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    Ok([input, output])
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let [input, output] = operands(step)?;
    step.attributes::<0>()?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [input, output] = operands(step)?;
    let (from, to) = (input.element_type, output.element_type);
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(from, to, input, output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::int8::reference::Case;
    use super::*;
    use crate::operand::Shape;

    fn case(from: ElementType, to: ElementType) -> Case {
        let shape = Shape([1, 1, 2, 4]);
        Case::new(Operator::Cast, &[]).reads(from, shape, None).writes(to, shape, None)
    }

    #[test]
    fn numbers_stay_as_far_as_they_can() {
        let reals = [0.0f32, 1.9, -1.9, 127.5, -129.0, 1e30, f32::NAN, 300.0];
        let i8s: Vec<i8> = case(ElementType::F32, ElementType::I8).run(&[&reals]);
        assert_eq!(i8s, [0, 1, -1, 127, -128, 127, 0, 127]);
        let u8s: Vec<u8> = case(ElementType::F32, ElementType::U8).run(&[&reals]);
        assert_eq!(u8s, [0, 1, 0, 127, 0, 255, 0, 255]);
        let i32s: Vec<i32> = case(ElementType::F32, ElementType::I32).run(&[&reals]);
        assert_eq!(i32s, [0, 1, -1, 127, -129, i32::MAX, 0, 300]);
        let integers = [0, 1, -1, 127, 128, -129, 70_000, i32::MIN];
        let i8s: Vec<i8> = case(ElementType::I32, ElementType::I8).run(&[&integers]);
        assert_eq!(i8s, integers.map(|value| value as i8));
        let i16s: Vec<i16> = case(ElementType::I32, ElementType::I16).run(&[&integers]);
        assert_eq!(i16s, integers.map(|value| value as i16));
        let f32s: Vec<f32> = case(ElementType::I32, ElementType::F32).run(&[&integers]);
        assert_eq!(f32s, integers.map(|value| value as f32));
        let bytes = [0u8, 1, 127, 128, 200, 255, 9, 10];
        let f32s: Vec<f32> = case(ElementType::U8, ElementType::F32).run(&[&bytes]);
        assert_eq!(f32s, bytes.map(f32::from));
        let i8s: Vec<i8> = case(ElementType::U8, ElementType::I8).run(&[&bytes]);
        assert_eq!(i8s, bytes.map(|byte| byte as i8));
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = case(ElementType::I8, ElementType::I32);
        case.check().unwrap();
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] = 3);
        case.expect(StepError::AttributeCount { expected: 0, found: 1 }, |step| {
            step.attributes.push(0).unwrap();
        });
        case.expect(StepError::ReadCount { expected: 1, found: 0 }, |step| step.reads.clear());
    }
}
