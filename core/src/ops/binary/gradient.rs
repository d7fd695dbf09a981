//! Gradients of the element-wise operators of two sides, with respect to one of them.
//!
//! The gradient of a side that is broadcast is the sum over all elements that read the same value, in the order of the output.
//! All of them overwrite what they write.

use crate::kernels::isa::{Kernel, dispatch};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::broadcast::{Broadcast, Row};
use crate::ops::operands::{all_are, flag, float};
use crate::step::{Step, StepError};

/// The derivative of an element-wise function of two numbers with respect to each of them, times the gradient of the result.
pub trait BinaryGradient {
    /// With respect to the left one.
    fn left(left: f32, right: f32, grad_output: f32) -> f32;
    /// With respect to the right one.
    fn right(left: f32, right: f32, grad_output: f32) -> f32;
}

/// Of the maximum. Where both sides are equal the gradient goes to the left one, as in TensorFlow.
#[derive(Clone, Copy, Debug)]
pub struct MaximumGradient;

impl BinaryGradient for MaximumGradient {
    #[inline(always)]
    fn left(left: f32, right: f32, grad_output: f32) -> f32 {
        if left >= right { grad_output } else { 0.0 }
    }

    #[inline(always)]
    fn right(left: f32, right: f32, grad_output: f32) -> f32 {
        if left >= right { 0.0 } else { grad_output }
    }
}

/// Of the minimum. Where both sides are equal the gradient goes to the left one, as in TensorFlow.
#[derive(Clone, Copy, Debug)]
pub struct MinimumGradient;

impl BinaryGradient for MinimumGradient {
    #[inline(always)]
    fn left(left: f32, right: f32, grad_output: f32) -> f32 {
        if left <= right { grad_output } else { 0.0 }
    }

    #[inline(always)]
    fn right(left: f32, right: f32, grad_output: f32) -> f32 {
        if left <= right { 0.0 } else { grad_output }
    }
}

/// Of `prelu`, whose left side is the input and whose right side is alpha. At 0 the slope is 1, as in TensorFlow Lite's forward function.
#[derive(Clone, Copy, Debug)]
pub struct PreluGradient;

impl BinaryGradient for PreluGradient {
    #[inline(always)]
    fn left(input: f32, alpha: f32, grad_output: f32) -> f32 {
        if input >= 0.0 { grad_output } else { alpha * grad_output }
    }

    #[inline(always)]
    fn right(input: f32, _alpha: f32, grad_output: f32) -> f32 {
        if input >= 0.0 { 0.0 } else { input * grad_output }
    }
}

/// `grad_side = sum of apply(left, right, grad_output)` over the elements that read the same value of the side; the side is the left one, or the
/// right one if `is_right`. A side whose values `apply` does not need may be `None`.
fn side_gradient(
    broadcast: Broadcast,
    is_right: bool,
    sides: [Option<&[f32]>; 2],
    grad_output: &[f32],
    grad_side: &mut [f32],
    apply: impl Fn(f32, f32, f32) -> f32,
) {
    grad_side.fill(0.0);
    dispatch(SideGradient { broadcast, is_right, sides, grad_output, grad_side, apply });
}

struct SideGradient<'a, F> {
    broadcast: Broadcast,
    is_right: bool,
    sides: [Option<&'a [f32]>; 2],
    grad_output: &'a [f32],
    grad_side: &'a mut [f32],
    apply: F,
}

impl<F: Fn(f32, f32, f32) -> f32> Kernel for SideGradient<'_, F> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { broadcast, is_right, sides: [left, right], grad_output, grad_side, apply } = self;
        let (length, [moves_left, moves_right]) = broadcast.run();
        let mut rows = grad_output.chunks_exact(length.max(1));
        broadcast.for_each_run(|[left_start, right_start]| {
            let (start, moves) = if is_right { (right_start, moves_right) } else { (left_start, moves_left) };
            let wanted = if moves { length } else { 1 };
            let sum = grad_side.get_mut(start..).and_then(|rest| rest.get_mut(..wanted));
            let rows = (
                rows.next(),
                row(left, left_start, length, moves_left),
                row(right, right_start, length, moves_right),
                sum,
            );
            let (Some(grads), Some(left), Some(right), Some(sum)) = rows else { return };
            match (left, right) {
                (Row::Run(left), Row::Run(right)) => {
                    let inputs = grads.iter().zip(left).zip(right);
                    add(sum, moves, inputs.map(|((&grad, &left), &right)| apply(left, right, grad)));
                }
                (Row::Run(left), Row::One(right)) => {
                    let inputs = grads.iter().zip(left);
                    add(sum, moves, inputs.map(|(&grad, &left)| apply(left, right, grad)));
                }
                (Row::One(left), Row::Run(right)) => {
                    let inputs = grads.iter().zip(right);
                    add(sum, moves, inputs.map(|(&grad, &right)| apply(left, right, grad)));
                }
                (Row::One(left), Row::One(right)) => {
                    add(sum, moves, grads.iter().map(|&grad| apply(left, right, grad)));
                }
            }
        });
    }
}

/// A row of a side; of one without values, zeros.
#[inline(always)]
fn row(values: Option<&[f32]>, start: usize, length: usize, moves: bool) -> Option<Row<'_, f32>> {
    values.map_or(Some(Row::One(0.0)), |values| Row::new(values, start, length, moves))
}

/// Adds each value to its element, or all of them, in order, to the one element there is.
#[inline(always)]
fn add(sums: &mut [f32], moves: bool, values: impl Iterator<Item = f32>) {
    if moves {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    } else if let Some(sum) = sums.first_mut() {
        values.for_each(|value| *sum += value);
    }
}

/// The way over a gradient of the shape `output` and a side of it.
fn over(side: Shape, other: Shape, output: Shape, operand: u8) -> Result<Broadcast, StepError> {
    match Broadcast::shape(side, other) {
        Some(shape) if shape == output => Broadcast::new(side, other).ok_or(StepError::Shape { operand }),
        _ => Err(StepError::Shape { operand }),
    }
}

/// `broadcast_grad`: `grad_side = factor * sum(grad_output)`, the sums over the dimensions in which the side is broadcast. The factor is 1 for
/// `add`, -1 for the right side of `sub`.
pub fn broadcast_grad(factor: f32, shapes: [Shape; 2], grad_output: &[f32], grad_side: &mut [f32]) {
    let [output, side] = shapes;
    if let Ok(broadcast) = over(side, output, output, 0) {
        side_gradient(broadcast, false, [None; 2], grad_output, grad_side, |_, _, grad| factor * grad);
    }
}

fn broadcast_params(step: Step<'_>) -> Result<(f32, [&Operand; 2]), StepError> {
    let ([grad_output], [grad_side]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    over(grad_side.shape, grad_output.shape, grad_output.shape, 1)?;
    Ok((float(step.attributes, 0)?, [grad_output, grad_side]))
}

pub(in crate::ops) fn check_broadcast(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    all_are(step, ElementType::F32)?;
    broadcast_params(step).map(|_| ())
}

pub(in crate::ops) fn run_broadcast(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (factor, [grad_output, grad_side]) = broadcast_params(step)?;
    let shapes = [grad_output.shape, grad_side.shape];
    let Views { reads: [grad_output], writes: [grad_side] } = memory.views([grad_output], [grad_side])?;
    broadcast_grad(factor, shapes, elements(grad_output)?, elements_mut(grad_side)?);
    Ok(())
}

/// `mul_grad`: `grad_side = sum(grad_output * other)`, the sums over the dimensions in which the side is broadcast. The shapes are those of the
/// other side and of this one.
pub fn mul_grad(shapes: [Shape; 2], grad_output: &[f32], other: &[f32], grad_side: &mut [f32]) {
    let [other_shape, side] = shapes;
    if let Some(broadcast) = Broadcast::new(side, other_shape) {
        let sides = [None, Some(other)];
        side_gradient(broadcast, false, sides, grad_output, grad_side, |_, other, grad| grad * other);
    }
}

pub(in crate::ops) fn check_mul(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output, other], [grad_side]) = (step.reads()?, step.writes()?);
    step.attributes::<0>()?;
    all_are(step, ElementType::F32)?;
    over(grad_side.shape, other.shape, grad_output.shape, 2).map(|_| ())
}

pub(in crate::ops) fn run_mul(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output, other], [grad_side]) = (step.reads()?, step.writes()?);
    let shapes = [other.shape, grad_side.shape];
    let Views { reads: [grad_output, other], writes: [grad_side] } =
        memory.views([grad_output, other], [grad_side])?;
    mul_grad(shapes, elements(grad_output)?, elements(other)?, elements_mut(grad_side)?);
    Ok(())
}

/// `maximum_grad`, `minimum_grad`, `prelu_grad`: the gradient of one side, the right one if `is_right`, from both sides' values. The shapes are
/// those of the sides.
pub fn grad<G: BinaryGradient>(
    is_right: bool,
    shapes: [Shape; 2],
    sides: [&[f32]; 2],
    grad_output: &[f32],
    grad_side: &mut [f32],
) {
    let [left, right] = shapes;
    let Some(broadcast) = Broadcast::new(left, right) else { return };
    let sides = sides.map(Some);
    if is_right {
        side_gradient(broadcast, true, sides, grad_output, grad_side, G::right);
    } else {
        side_gradient(broadcast, false, sides, grad_output, grad_side, G::left);
    }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([left, right, grad_output], [grad_side]) = (step.reads()?, step.writes()?);
    step.attributes::<1>()?;
    let is_right = flag(step.attributes, 0)?;
    all_are(step, ElementType::F32)?;
    over(left.shape, right.shape, grad_output.shape, 2)?;
    let side = if is_right { right } else { left };
    if grad_side.shape == side.shape { Ok(()) } else { Err(StepError::Shape { operand: 3 }) }
}

pub(in crate::ops) fn run<G: BinaryGradient>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
) -> Result<(), StepError> {
    let ([left, right, grad_output], [grad_side]) = (step.reads()?, step.writes()?);
    let (is_right, shapes) = (flag(step.attributes, 0)?, [left.shape, right.shape]);
    let Views { reads: [left, right, grad_output], writes: [grad_side] } =
        memory.views([left, right, grad_output], [grad_side])?;
    let sides = [elements(left)?, elements(right)?];
    grad::<G>(is_right, shapes, sides, elements(grad_output)?, elements_mut(grad_side)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::broadcast::tests::{SIDES, places};
    use crate::ops::test_support::{
        Random, assert_close, changed, dot, in_arena, numeric_gradient, run_in_arena, step, wide,
    };

    /// f32 sums of up to 120 terms.
    const TOLERANCE: f64 = 2e-6;

    fn function(operator: Operator, x: f64, y: f64) -> f64 {
        match operator {
            Operator::AddF32 => x + y,
            Operator::SubF32 => x - y,
            Operator::MulF32 => x * y,
            Operator::MaximumF32 => x.max(y),
            Operator::MinimumF32 => x.min(y),
            _ => {
                if x >= 0.0 {
                    x
                } else {
                    x * y
                }
            }
        }
    }

    /// The step that computes the gradient of a side: operator, attributes, and which of left, right and gradient it reads.
    fn gradient_step(operator: Operator, is_right: bool) -> (Operator, Vec<i32>, &'static [usize]) {
        let factor = |factor: f32| vec![factor.to_bits() as i32];
        let side = vec![i32::from(is_right)];
        match operator {
            Operator::AddF32 => (Operator::BroadcastGrad, factor(1.0), &[2]),
            Operator::SubF32 => (Operator::BroadcastGrad, factor(if is_right { -1.0 } else { 1.0 }), &[2]),
            Operator::MulF32 => (Operator::MulGrad, vec![], if is_right { &[2, 0] } else { &[2, 1] }),
            Operator::MaximumF32 => (Operator::MaximumGrad, side, &[0, 1, 2]),
            Operator::MinimumF32 => (Operator::MinimumGrad, side, &[0, 1, 2]),
            _ => (Operator::PreluGrad, side, &[0, 1, 2]),
        }
    }

    const OPERATORS: [Operator; 6] = [
        Operator::AddF32,
        Operator::SubF32,
        Operator::MulF32,
        Operator::MaximumF32,
        Operator::MinimumF32,
        Operator::Prelu,
    ];

    #[test]
    fn gradients_are_those_of_central_differences() {
        let mut random = Random(8);
        for operator in OPERATORS {
            for (left, right) in SIDES {
                let [left, right] = [left, right].map(Shape);
                let output = Broadcast::shape(left, right).unwrap();
                let counts = [left, right, output].map(|shape| shape.elements().unwrap());
                let [x, y, grads] = counts.map(|count| random.values(count));
                let places = places(left, right);
                let loss = |x: &[f64], y: &[f64]| {
                    let values: Vec<f64> =
                        places.iter().map(|&[l, r]| function(operator, x[l], y[r])).collect();
                    dot(&grads, &values)
                };
                for is_right in [false, true] {
                    let expected = if is_right {
                        numeric_gradient(&y, |y| loss(&wide(&x), y))
                    } else {
                        numeric_gradient(&x, |x| loss(x, &wide(&y)))
                    };
                    let mut arena = [&x[..], &y, &grads].concat();
                    let start = arena.len();
                    arena.resize(start + expected.len(), f32::NAN);
                    let operands = [
                        in_arena(0, left.dims()),
                        in_arena(counts[0], right.dims()),
                        in_arena(counts[0] + counts[1], output.dims()),
                    ];
                    let (operator, attributes, reads) = gradient_step(operator, is_right);
                    let reads: Vec<Operand> = reads.iter().map(|&read| operands[read]).collect();
                    let side = if is_right { right } else { left };
                    let step = step(operator as u8, &attributes, &reads, &[in_arena(start, side.dims())]);
                    run_in_arena(&step, &mut arena);
                    let what = std::format!("{operator:?} {left:?} {right:?} {is_right}");
                    assert_close(&what, &arena[start..], &expected, TOLERANCE);
                }
            }
        }
    }

    #[test]
    fn equal_sides_give_their_gradient_to_the_left_one() {
        for is_right in [false, true] {
            let mut found = [f32::NAN];
            let shapes = [Shape::vector(1); 2];
            grad::<MaximumGradient>(is_right, shapes, [&[1.5], &[1.5]], &[3.0], &mut found);
            assert_eq!(found, [if is_right { 0.0 } else { 3.0 }]);
            grad::<MinimumGradient>(is_right, shapes, [&[1.5], &[1.5]], &[3.0], &mut found);
            assert_eq!(found, [if is_right { 0.0 } else { 3.0 }]);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let (whole, side) = ([1, 2, 2, 3], [1, 1, 1, 3]);
        for operator in OPERATORS {
            let (operator, attributes, reads) = gradient_step(operator, true);
            let operands = [in_arena(0, whole), in_arena(12, side), in_arena(24, whole)];
            let reads: Vec<Operand> = reads.iter().map(|&read| operands[read]).collect();
            let (last, count) = (reads.len() as u8, reads.len());
            let step = step(operator as u8, &attributes, &reads, &[in_arena(40, side)]);
            assert_eq!(changed(&step, |_| {}), Ok(()), "{operator:?}");
            let shape = changed(&step, |step| step.writes[0].shape.0[3] = 2);
            assert_eq!(shape, Err(StepError::Shape { operand: last }), "{operator:?}");
            let fewer = changed(&step, |step| step.reads.truncate(count - 1));
            assert_eq!(fewer, Err(StepError::ReadCount { expected: last, found: last - 1 }));
            let integer = changed(&step, |step| step.reads[0].element_type = ElementType::I32);
            assert_eq!(integer, Err(StepError::ElementType { operand: 0 }));
            if !attributes.is_empty() {
                let found = f32::NAN.to_bits() as i32;
                let bad = changed(&step, |step| step.attributes[0] = found);
                assert_eq!(bad, Err(StepError::Attribute { index: 0, found }), "{operator:?}");
            }
        }
    }
}
