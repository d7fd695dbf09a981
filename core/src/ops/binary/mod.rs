//! Element-wise arithmetic of two f32 tensors with broadcasting: `sub`, `mul`, `maximum`, `minimum` (and, in a module of its own,
//! [`add`](super::add)).

pub mod gradient;
pub mod int8;
pub mod integer;

use super::activation::{ACTIVATION_ATTRIBUTES, Activation, with_known_activation};
use super::broadcast;
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::step::{Step, StepError};

/// An element-wise function of two numbers.
pub trait Binary {
    /// Its value.
    fn apply(left: f32, right: f32) -> f32;
}

/// `left + right`.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Binary for Add {
    #[inline(always)]
    fn apply(left: f32, right: f32) -> f32 {
        left + right
    }
}

/// `left - right`.
#[derive(Clone, Copy, Debug)]
pub struct Sub;

impl Binary for Sub {
    #[inline(always)]
    fn apply(left: f32, right: f32) -> f32 {
        left - right
    }
}

/// `left * right`.
#[derive(Clone, Copy, Debug)]
pub struct Mul;

impl Binary for Mul {
    #[inline(always)]
    fn apply(left: f32, right: f32) -> f32 {
        left * right
    }
}

/// The greater one: `left > right ? left : right`, which is the right one if either is NaN.
#[derive(Clone, Copy, Debug)]
pub struct Maximum;

impl Binary for Maximum {
    #[inline(always)]
    fn apply(left: f32, right: f32) -> f32 {
        if left > right { left } else { right }
    }
}

/// The smaller one: `left < right ? left : right`, which is the right one if either is NaN.
#[derive(Clone, Copy, Debug)]
pub struct Minimum;

impl Binary for Minimum {
    #[inline(always)]
    fn apply(left: f32, right: f32) -> f32 {
        if left < right { left } else { right }
    }
}

/// `output = activation(B(left, right))`, where each dimension of a side is the output's or 1. The slices have their shapes' elements.
pub fn forward<B: Binary>(
    activation: Activation,
    shapes: [Shape; 2],
    left: &[f32],
    right: &[f32],
    output: &mut [f32],
) {
    with_known_activation!(activation, forward_known::<B>(shapes, left, right, output));
}

#[inline(always)]
fn forward_known<B: Binary>(
    activation: Activation,
    shapes: [Shape; 2],
    left: &[f32],
    right: &[f32],
    output: &mut [f32],
) {
    broadcast::zip_slices(shapes, left, right, output, |left, right| activation.apply(B::apply(left, right)));
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    Activation::read(step.attributes, 0)?;
    broadcast::check(step, ElementType::F32)
}

pub(super) fn run<B: Binary>(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (activation, _) = Activation::read(step.attributes, 0)?;
    with_known_activation!(activation, run_known::<B>(step, memory))
}

#[inline(always)]
fn run_known<B: Binary>(
    activation: Activation,
    step: Step<'_>,
    memory: &mut Memory<'_>,
) -> Result<(), StepError> {
    broadcast::zip(step, memory, |left, right| activation.apply(B::apply(left, right)))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::broadcast::tests::{SIDES, places};
    use super::super::test_support::{
        Random, assert_in_place, assert_same_bits, changed, in_arena, run_in_arena, step,
    };
    use super::*;
    use crate::step::NewStep;

    type Function = fn(f32, f32) -> f32;

    const OPERATORS: [(Operator, Function); 5] = [
        (Operator::AddF32, |x, y| x + y),
        (Operator::SubF32, |x, y| x - y),
        (Operator::MulF32, |x, y| x * y),
        (Operator::MaximumF32, |x, y| if x > y { x } else { y }),
        (Operator::MinimumF32, |x, y| if x < y { x } else { y }),
    ];

    #[test]
    fn steps_compute_every_element_from_its_sides() {
        let mut random = Random(3);
        let activations = [Activation::None, Activation::Relu, Activation::ReluN1To1];
        for ((operator, function), activation) in
            OPERATORS.into_iter().flat_map(|of| activations.map(|a| (of, a)))
        {
            for (left, right) in SIDES {
                let output = Broadcast::shape(Shape(left), Shape(right)).unwrap();
                let [a, b] = [left, right].map(|shape| Shape(shape).elements().unwrap());
                let mut arena = random.values(a + b);
                arena.iter_mut().for_each(|value| *value *= 3.0);
                arena.resize(a + b + output.elements().unwrap(), f32::NAN);
                let size = |shape: [u32; 4]| shape.map(|dimension| dimension as usize);
                let operands = [in_arena(0, size(left)), in_arena(a, size(right))];
                let step = step(
                    operator as u8,
                    &activation.attributes(),
                    &operands,
                    &[in_arena(a + b, output.dims())],
                );
                let expected: Vec<f32> = places(Shape(left), Shape(right))
                    .into_iter()
                    .map(|[l, r]| activation.apply(function(arena[l], arena[a + r])))
                    .collect();
                run_in_arena(&step, &mut arena);
                assert_same_bits(&std::format!("{operator:?}"), &arena[a + b..], &expected);
            }
        }
    }

    #[test]
    fn either_side_may_be_overwritten() {
        let mut random = Random(4);
        let (x, y, channels) = (random.values(60), random.values(60), random.values(5));
        for (operator, _) in OPERATORS {
            let whole = [1, 3, 4, 5];
            assert_in_place(operator as u8, &[1, 0], &[(whole, &x), (whole, &y)], &[0, 1]);
            assert_in_place(operator as u8, &[0, 0], &[(whole, &x), ([1, 1, 1, 5], &channels)], &[0]);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        for (operator, _) in OPERATORS {
            let shape = [1, 2, 2, 3];
            let step = step(
                operator as u8,
                &[0, 0],
                &[in_arena(0, shape), in_arena(12, [1, 1, 1, 3])],
                &[in_arena(24, shape)],
            );
            assert_eq!(changed(&step, |_| {}), Ok(()));
            let error = |change: fn(&mut NewStep)| changed(&step, change).unwrap_err();
            assert_eq!(error(|step| step.reads[1].shape.0[3] = 2), StepError::Shape { operand: 1 });
            assert_eq!(error(|step| step.writes[0].shape.0[1] = 1), StepError::Shape { operand: 2 });
            assert_eq!(error(|step| step.attributes[0] = 9), StepError::Attribute { index: 0, found: 9 });
            assert_eq!(
                error(|step| step.writes[0].element_type = ElementType::I32),
                StepError::ElementType { operand: 2 }
            );
            assert_eq!(error(|step| step.reads.truncate(1)), StepError::ReadCount { expected: 2, found: 1 });
        }
    }

    use super::super::broadcast::Broadcast;
}
