//! Broadcasting: element-wise operators whose two sides differ in shape.
//!
//! Each dimension of a side is the output's, or 1, and then its one value stands for all (NumPy's rule for shapes of one rank). A constant side has
//! `N = 1`, so that every sample sees the same values.

use bytemuck::{AnyBitPattern, NoUninit};

use super::operands::all_are;
use crate::kernels::isa::{Kernel, dispatch};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::step::{Step, StepError};

/// Where two sides stand for each element of an output. Neighbouring dimensions along which both sides go the same way are one, so that
/// shapes without broadcasting are one long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The runs, from the innermost on: how many elements, and which sides move along them.
    groups: [Group; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    length: usize,
    moves: [bool; 2],
}

impl Broadcast {
    /// The shape of what two sides give together; `None` if they do not fit each other.
    pub fn shape(left: Shape, right: Shape) -> Option<Shape> {
        let mut shape = left;
        for (dimension, other) in shape.0.iter_mut().zip(right.0) {
            match (*dimension, other) {
                (0, _) | (_, 0) => return None,
                (mine, 1) => *dimension = mine,
                (1, other) => *dimension = other,
                (mine, other) if mine == other => {}
                _ => return None,
            }
        }
        shape.elements().is_some().then_some(shape)
    }

    /// The way over two sides that fit each other.
    pub fn new(left: Shape, right: Shape) -> Option<Self> {
        let output = Self::shape(left, right)?;
        let mut groups = [Group { length: 1, moves: [true; 2] }; 4];
        let mut slots = groups.iter_mut();
        let mut last: Option<&mut Group> = None;
        let (left, right, output) = (left.dims(), right.dims(), output.dims());
        for ((&left, &right), &length) in left.iter().zip(&right).zip(&output).rev() {
            let moves = [left == length, right == length];
            match &mut last {
                _ if length == 1 => {}
                Some(group) if group.moves == moves => group.length *= length,
                _ => {
                    last = slots.next();
                    if let Some(group) = &mut last {
                        **group = Group { length, moves };
                    }
                }
            }
        }
        Some(Self { groups })
    }

    /// Elements of a run, and which sides move along it.
    #[inline(always)]
    pub(super) fn run(&self) -> (usize, [bool; 2]) {
        let [Group { length, moves }, ..] = self.groups;
        (length, moves)
    }

    /// Calls `visit` with the place of the left and of the right side at the start of each run, in the output's order.
    #[inline(always)]
    pub(super) fn for_each_run(&self, mut visit: impl FnMut([usize; 2])) {
        let [run, a, b, c] = self.groups;
        let strides = |inner: &[Group]| {
            [0, 1].map(|side| {
                let moved = inner.iter().filter(|group| group.moves.get(side) == Some(&true));
                moved.map(|group| group.length).product::<usize>()
            })
        };
        let step = |group: Group, inner: &[Group]| {
            let [left, right] = strides(inner);
            let [moves_left, moves_right] = group.moves;
            [if moves_left { left } else { 0 }, if moves_right { right } else { 0 }]
        };
        let (step_a, step_b, step_c) = (step(a, &[run]), step(b, &[run, a]), step(c, &[run, a, b]));
        let along = |[left, right]: [usize; 2], [step_left, step_right]: [usize; 2], index: usize| {
            [left + step_left * index, right + step_right * index]
        };
        for index_c in 0..c.length {
            let start = along([0, 0], step_c, index_c);
            for index_b in 0..b.length {
                let start = along(start, step_b, index_b);
                for index_a in 0..a.length {
                    visit(along(start, step_a, index_a));
                }
            }
        }
    }
}

/// The values of one side along a run.
#[derive(Clone, Copy)]
pub(super) enum Row<'a, T> {
    /// One for each element.
    Run(&'a [T]),
    /// One for all.
    One(T),
}

impl<'a, T: Copy> Row<'a, T> {
    /// The row of `values` from `start` on.
    #[inline(always)]
    pub(super) fn new(values: &'a [T], start: usize, length: usize, moves: bool) -> Option<Self> {
        if moves {
            values.get(start..)?.get(..length).map(Self::Run)
        } else {
            values.get(start).copied().map(Self::One)
        }
    }
}

/// Checks the shapes of a step of two sides and an output, all of the type `expected`.
pub(super) fn check(step: Step<'_>, expected: ElementType) -> Result<(), StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    all_are(step, expected)?;
    let shape = Broadcast::shape(left.shape, right.shape).ok_or(StepError::Shape { operand: 1 })?;
    if output.shape == shape { Ok(()) } else { Err(StepError::Shape { operand: 2 }) }
}

/// `output = apply(left, right)` for each element of the first write, which may lie in the place of either side.
pub(super) fn zip<T: NoUninit + AnyBitPattern>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    apply: impl Fn(T, T) -> T,
) -> Result<(), StepError> {
    let ([left, right], [output]) = (step.reads()?, step.writes()?);
    let broadcast = Broadcast::new(left.shape, right.shape).ok_or(StepError::Shape { operand: 1 })?;
    match (left.same_place(output), right.same_place(output)) {
        (true, true) => {
            let output = elements_mut(memory.write(output)?)?;
            dispatch(Zip { sides: [None, None], output, broadcast, apply });
        }
        (true, false) => {
            let Views { reads: [right], writes: [output] } = memory.views([right], [output])?;
            let (sides, output) = ([None, Some(elements(right)?)], elements_mut(output)?);
            dispatch(Zip { sides, output, broadcast, apply });
        }
        (false, true) => {
            let Views { reads: [left], writes: [output] } = memory.views([left], [output])?;
            let (sides, output) = ([Some(elements(left)?), None], elements_mut(output)?);
            dispatch(Zip { sides, output, broadcast, apply });
        }
        (false, false) => {
            let Views { reads: [left, right], writes: [output] } = memory.views([left, right], [output])?;
            let sides = [Some(elements(left)?), Some(elements(right)?)];
            dispatch(Zip { sides, output: elements_mut(output)?, broadcast, apply });
        }
    }
    Ok(())
}

/// `output = apply(left, right)` on slices of the sides' shapes; nothing if the shapes do not fit.
pub(super) fn zip_slices<T: Copy>(
    [left_shape, right_shape]: [Shape; 2],
    left: &[T],
    right: &[T],
    output: &mut [T],
    apply: impl Fn(T, T) -> T,
) {
    if let Some(broadcast) = Broadcast::new(left_shape, right_shape) {
        dispatch(Zip { sides: [Some(left), Some(right)], output, broadcast, apply });
    }
}

/// An element-wise function of two sides; one that is `None` is read from the output's place.
struct Zip<'a, T, F> {
    sides: [Option<&'a [T]>; 2],
    output: &'a mut [T],
    broadcast: Broadcast,
    apply: F,
}

impl<T: Copy, F: Fn(T, T) -> T> Kernel for Zip<'_, T, F> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { sides: [left, right], output, broadcast, apply } = self;
        let (length, [moves_left, moves_right]) = broadcast.run();
        let mut rows = output.chunks_exact_mut(length.max(1));
        broadcast.for_each_run(|[left_start, right_start]| {
            let Some(row) = rows.next() else { return };
            let left = left.map(|values| Row::new(values, left_start, length, moves_left));
            let right = right.map(|values| Row::new(values, right_start, length, moves_right));
            // The inner `None` is a side too short for its shape, which nothing makes.
            match (left, right) {
                (None, None) => row.iter_mut().for_each(|value| *value = apply(*value, *value)),
                (None, Some(Some(right))) => with_row(row, right, &apply),
                (Some(Some(left)), None) => with_row(row, left, |value, left| apply(left, value)),
                (Some(Some(left)), Some(Some(right))) => match (left, right) {
                    (Row::Run(left), Row::Run(right)) => {
                        let inputs = left.iter().zip(right);
                        let pairs = row.iter_mut().zip(inputs);
                        pairs.for_each(|(value, (&left, &right))| *value = apply(left, right));
                    }
                    (Row::Run(left), Row::One(right)) => {
                        row.iter_mut().zip(left).for_each(|(value, &left)| *value = apply(left, right));
                    }
                    (Row::One(left), Row::Run(right)) => {
                        row.iter_mut().zip(right).for_each(|(value, &right)| *value = apply(left, right));
                    }
                    (Row::One(left), Row::One(right)) => {
                        row.iter_mut().for_each(|value| *value = apply(left, right));
                    }
                },
                _ => {}
            }
        });
    }
}

/// `value = apply(value, other)` along a row.
#[inline(always)]
fn with_row<T: Copy>(row: &mut [T], other: Row<'_, T>, apply: impl Fn(T, T) -> T) {
    match other {
        Row::Run(other) => {
            row.iter_mut().zip(other).for_each(|(value, &other)| *value = apply(*value, other));
        }
        Row::One(other) => row.iter_mut().for_each(|value| *value = apply(*value, other)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::vec::Vec;

    use super::*;

    /// Shapes of two sides, with every way to broadcast among them.
    pub(in crate::ops) const SIDES: [([u32; 4], [u32; 4]); 12] = [
        ([2, 3, 4, 5], [2, 3, 4, 5]),
        ([2, 3, 4, 5], [1, 1, 1, 5]),
        ([2, 3, 4, 5], [1, 1, 1, 1]),
        ([1, 1, 1, 1], [2, 3, 4, 5]),
        ([2, 3, 4, 5], [2, 3, 4, 1]),
        ([2, 3, 4, 1], [2, 3, 4, 5]),
        ([2, 3, 4, 5], [2, 1, 4, 1]),
        ([2, 3, 1, 5], [1, 1, 4, 5]),
        ([2, 1, 4, 1], [1, 3, 1, 5]),
        ([1, 3, 1, 5], [2, 1, 4, 1]),
        ([2, 1, 1, 7], [2, 1, 1, 7]),
        ([1, 1, 1, 1], [1, 1, 1, 1]),
    ];

    /// For each element of the output, the elements of the sides that it comes from; from the definition, by indices.
    pub(in crate::ops) fn places(left: Shape, right: Shape) -> Vec<[usize; 2]> {
        let output = Broadcast::shape(left, right).unwrap();
        let [n, h, w, c] = output.dims();
        let mut found = Vec::new();
        for index in 0..n * h * w * c {
            let at = [index / (h * w * c), index / (w * c) % h, index / c % w, index % c];
            found.push([left, right].map(|side| {
                let dims = side.dims();
                (0..4).fold(0, |place, axis| place * dims[axis] + if dims[axis] == 1 { 0 } else { at[axis] })
            }));
        }
        found
    }

    #[test]
    fn every_element_comes_from_its_place() {
        for (left, right) in SIDES.map(|(left, right)| (Shape(left), Shape(right))) {
            let values = |shape: Shape, sign: i32| -> Vec<i32> {
                (0..shape.elements().unwrap() as i32).map(|i| sign * (1000 + i)).collect()
            };
            let (x, y) = (values(left, 1), values(right, -3));
            let expected: Vec<i32> =
                places(left, right).into_iter().map(|[l, r]| x[l].wrapping_mul(31) ^ y[r]).collect();
            let mut found = std::vec![0; expected.len()];
            zip_slices([left, right], &x, &y, &mut found, |x, y| x.wrapping_mul(31) ^ y);
            assert_eq!(found, expected, "{left:?} {right:?}");
        }
    }

    #[test]
    fn shapes_without_broadcasting_are_one_run() {
        let run = |left, right| Broadcast::new(Shape(left), Shape(right)).unwrap().run();
        assert_eq!(run([2, 3, 4, 5], [2, 3, 4, 5]), (120, [true, true]));
        assert_eq!(run([2, 3, 4, 5], [1, 1, 1, 1]), (120, [true, false]));
        assert_eq!(run([2, 3, 4, 1], [2, 3, 4, 5]), (5, [false, true]));
        assert_eq!(run([1, 3, 1, 1], [2, 3, 1, 1]), (3, [true, true]));
    }

    #[test]
    fn what_does_not_fit_has_no_shape() {
        let shape = |left, right| Broadcast::shape(Shape(left), Shape(right));
        assert_eq!(shape([1, 2, 3, 4], [1, 2, 3, 3]), None);
        assert_eq!(shape([1, 2, 3, 0], [1, 2, 3, 1]), None);
        assert_eq!(shape([1, 65_536, 1, 1], [1, 1, 65_536, 1]), None);
        assert_eq!(shape([1, 2, 1, 4], [5, 1, 3, 1]), Some(Shape([5, 2, 3, 4])));
    }
}
