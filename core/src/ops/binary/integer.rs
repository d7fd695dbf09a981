//! Arithmetic of two i32 tensors with broadcasting: counters and indices of networks that keep some.

use crate::memory::Memory;
use crate::operand::ElementType;
use crate::ops::broadcast;
use crate::step::{Step, StepError};

/// A function of two i32. Attribute: its code. Sums, differences and products wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum IntegerFunction {
    /// `left + right`.
    Add = 0,
    /// `left - right`.
    Sub = 1,
    /// `left * right`.
    Mul = 2,
    /// The greater one.
    Maximum = 3,
    /// The smaller one.
    Minimum = 4,
}

impl IntegerFunction {
    /// All of them, by code.
    pub const ALL: [Self; 5] = [Self::Add, Self::Sub, Self::Mul, Self::Maximum, Self::Minimum];

    /// Its value.
    pub const fn apply(self, left: i32, right: i32) -> i32 {
        match self {
            Self::Add => left.wrapping_add(right),
            Self::Sub => left.wrapping_sub(right),
            Self::Mul => left.wrapping_mul(right),
            Self::Maximum => {
                if left > right {
                    left
                } else {
                    right
                }
            }
            Self::Minimum => {
                if left < right {
                    left
                } else {
                    right
                }
            }
        }
    }

    fn read(step: Step<'_>) -> Result<Self, StepError> {
        let &[found] = step.attributes::<1>()?;
        let function = Self::ALL.into_iter().find(|&function| function as i32 == found);
        function.ok_or(StepError::Attribute { index: 0, found })
    }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    IntegerFunction::read(step)?;
    broadcast::check(step, ElementType::I32)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let function = IntegerFunction::read(step)?;
    broadcast::zip(step, memory, |left, right| function.apply(left, right))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::operand::Shape;
    use crate::ops::Operator;
    use crate::ops::int8::reference::Case;

    fn case(function: i32) -> Case {
        Case::new(Operator::IntegerArithmetic, &[function])
            .reads(ElementType::I32, Shape([1, 1, 2, 3]), None)
            .reads(ElementType::I32, Shape([1, 1, 1, 3]), None)
            .writes(ElementType::I32, Shape([1, 1, 2, 3]), None)
    }

    #[test]
    fn functions_wrap() {
        let (x, y) = ([i32::MAX, i32::MIN, -5, 7, 0, 3], [1, -1, 4]);
        let wide = |l: i64, r: i64| [l + r, l - r, l * r];
        for function in IntegerFunction::ALL {
            let found: Vec<i32> = case(function as i32).run(&[&x, &y]);
            for (index, found) in found.into_iter().enumerate() {
                let (left, right) = (x[index], y[index % 3]);
                let expected = match function as usize {
                    3 => left.max(right),
                    4 => left.min(right),
                    code => wide(left.into(), right.into())[code] as i32,
                };
                assert_eq!(found, expected, "{function:?}");
            }
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        case(0).check().unwrap();
        case(0).expect(StepError::Attribute { index: 0, found: 5 }, |step| step.attributes[0] = 5);
        case(0).expect(StepError::AttributeCount { expected: 1, found: 0 }, |step| step.attributes.clear());
        case(0).expect(StepError::ElementType { operand: 1 }, |step| {
            step.reads[1].element_type = ElementType::F32;
        });
        case(0).expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 2);
    }
}
