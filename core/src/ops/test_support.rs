//! What the tests of several operators share: random tensors, numeric gradients, steps in an arena.

use std::format;
use std::vec;
use std::vec::Vec;

use crate::geometry::{Axis, Window};
use crate::memory::{Memory, OtherSpaces};
use crate::operand::{ElementType, Operand, Quantization, Shape, Space};
use crate::ops::{AllOperators, check, run};
use crate::step::{NewStep, Schedule, StepError};

/// Marsaglia's xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In `-1.0..1.0`.
    pub(crate) fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// In `low..=high`.
    pub(crate) fn integer(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() >> 33) as usize % (high - low + 1)
    }

    /// A window that fits `[input_h, input_w]`, with stride, padding and dilation.
    pub(crate) fn window(&mut self, input: [usize; 2]) -> Window {
        let [y, x] = input.map(|length| {
            loop {
                let (kernel, dilation) = (self.integer(1, 4), self.integer(1, 2));
                let pad = kernel.div_ceil(2) - 1;
                let axis = Axis {
                    kernel,
                    dilation,
                    stride: self.integer(1, 3),
                    pad_before: self.integer(0, pad),
                    pad_after: self.integer(0, pad),
                };
                if axis.output(length).is_some() {
                    break axis;
                }
            }
        });
        Window { y, x }
    }
}

/// Central differences of `loss` at `at`, in f64: the truncation error is about `1e-10` relative, rounding about `1e-11`.
pub(crate) fn numeric_gradient(at: &[f32], mut loss: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut at: Vec<f64> = at.iter().map(|&x| f64::from(x)).collect();
    (0..at.len())
        .map(|index| {
            let x = at[index];
            at[index] = x + STEP;
            let above = loss(&at);
            at[index] = x - STEP;
            let below = loss(&at);
            at[index] = x;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

pub(crate) fn dot(weights: &[f32], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(&weight, value)| f64::from(weight) * value).sum()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Every element of `found` is within `tolerance` times the largest magnitude of `expected` (at least 1).
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(1.0f64, |largest, x| largest.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * largest, "{what}[{index}]: {found} is not {expected} (error {error:e})");
    }
}

/// `forward(grads)`, a loss of `values` that writes its gradient, gives `reference` and `grad_scale` times its gradient by differences.
pub(crate) fn assert_loss(
    values: &[f32],
    grad_scale: f64,
    tolerance: f64,
    reference: impl Fn(&[f64]) -> f64,
    forward: impl FnOnce(&mut [f32]) -> f32,
) {
    let mut grads = vec![f32::NAN; values.len()];
    let loss = forward(&mut grads);
    assert_close("loss", &[loss], &[reference(&wide(values))], tolerance);
    let expected = numeric_gradient(values, |values| grad_scale * reference(values));
    assert_close("gradient", &grads, &expected, tolerance);
}

pub(crate) fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected), "{what}");
}

/// An f32 operand in the arena, `element` elements from its start.
pub(crate) fn in_arena(element: usize, shape: [usize; 4]) -> Operand {
    Operand {
        space: Space::Arena,
        element_type: ElementType::F32,
        offset: 4 * element as u32,
        shape: Shape(shape.map(|dimension| dimension as u32)),
        quantization: Quantization::NONE,
    }
}

pub(crate) fn step(operator: u8, attributes: &[i32], reads: &[Operand], writes: &[Operand]) -> NewStep {
    NewStep {
        operator,
        schedule: Schedule::PerChunk,
        attributes: heapless::Vec::from_slice(attributes).unwrap(),
        reads: heapless::Vec::from_slice(reads).unwrap(),
        writes: heapless::Vec::from_slice(writes).unwrap(),
    }
}

/// Checks and runs a step whose operands all lie in the arena.
pub(crate) fn run_in_arena(step: &NewStep, arena: &mut [f32]) {
    assert_eq!(check::<AllOperators>(step.step(), &[]), Ok(()), "{step:?}");
    run::<AllOperators>(step.step(), &mut arena_only(arena)).unwrap();
}

pub(crate) fn arena_only(arena: &mut [f32]) -> Memory<'_> {
    Memory {
        constant: &[],
        elsewhere: std::boxed::Box::leak(std::boxed::Box::new(OtherSpaces::empty())),
        arena: bytemuck::cast_slice_mut(arena),
    }
}

/// What `check` says of `step` after `change`.
pub(crate) fn changed(step: &NewStep, change: impl FnOnce(&mut NewStep)) -> Result<(), StepError> {
    let mut step = step.clone();
    change(&mut step);
    check::<AllOperators>(step.step(), &[])
}

/// Runs a step of element-wise reads (of one shape) in each of the places its output may lie in, and compares the output with the one
/// in a place of its own. `tables` are the reads after the first `inputs`, `in_place` the reads whose place the output takes.
pub(crate) fn assert_in_place(
    operator: u8,
    attributes: &[i32],
    reads: &[([usize; 4], &[f32])],
    in_place: &[usize],
) {
    let mut arena = vec![];
    let mut operands = vec![];
    for &(shape, values) in reads {
        operands.push(in_arena(arena.len(), shape));
        arena.extend_from_slice(values);
    }
    let length = reads[0].1.len();
    let apart = in_arena(arena.len(), reads[0].0);
    arena.resize(arena.len() + length, f32::NAN);
    let mut reference = arena.clone();
    run_in_arena(&step(operator, attributes, &operands, &[apart]), &mut reference);
    let expected = &reference[arena.len() - length..];
    for &place in in_place {
        let mut arena = arena.clone();
        run_in_arena(&step(operator, attributes, &operands, &[operands[place]]), &mut arena);
        let start = operands[place].offset as usize / 4;
        assert_same_bits(
            &format!("operator {operator} in place of read {place}"),
            &arena[start..start + length],
            expected,
        );
    }
}
