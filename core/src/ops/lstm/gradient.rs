//! The gradient of the LSTM in f32: back-propagation through time.
//!
//! It is taken in parts. [`grad_gates`] goes back through time and gives the gradient with respect to every gate's argument, `[N, H, W, 4 * units]`. From that, the gradients of inputs, weights and bias
//! are those of a pointwise convolution with that gradient as `grad_output`; [`grad_recurrent`] gives that of the recurrent weights.

use super::GATES;
use super::float::{CACHED, Lstm};
use crate::kernels::channels::{columns, columns_mut, for_each_block};
use crate::kernels::fma;
use crate::kernels::isa::{Kernel, dispatch};
use crate::kernels::tanh;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::operands::{all_are, has_shape};
use crate::ops::sequences::{Order, Sequences, row, row_mut};
use crate::step::{Step, StepError};

/// The gradient with respect to the gates' arguments. The states have begun at zero with every sample.
///
/// `grad_output` is `[N, H, W, units]`, `cache` what [`forward`](super::float::forward) cached, `[N, H, W, 5 * units]`, `recurrent` `[1, 1, units, 4 * units]`. Overwrites
/// `grad_gates`, `[N, H, W, 4 * units]`; `scratch` has `2 * units` elements.
///
/// Going back from the last step, with `h'` and `c'` the gradients of the states (of `c'`, what a clip cut off is 0):
///
/// ```text
/// h' = grad_output + R dz (of the step after)
/// c' = h' * o * (1 - tanh(c)^2) + c' * f (both of the step after)
/// dz = c' * g * i(1 - i),  c' * c_before * f(1 - f),  c' * i * (1 - g^2),  h' * tanh(c) * o(1 - o)
/// ```
///
/// Chain of `R dz`: from `grad_output`, `fma(weight, dz, sum)` over the `4 * units` columns ascending.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shape of `grad_output`.
pub fn grad_gates(
    params: &Lstm,
    (shape, grad_output): (Shape, &[f32]),
    cache: &[f32],
    recurrent: &[f32],
    grad_gates: &mut [f32],
    scratch: &mut [f32],
) -> Result<(), CallError> {
    let Shape([n, h, w, units]) = shape;
    let too_large = CallError::Shape { tensor: Tensor::Output };
    let times =
        |count: usize| units.checked_mul(count as u32).filter(|&product| product > 0).ok_or(too_large);
    holds(Tensor::Output, shape, grad_output.len())?;
    holds(Tensor::Output, Shape([n, h, w, times(CACHED)?]), cache.len())?;
    holds(Tensor::Filter, Shape([1, 1, units, times(GATES)?]), recurrent.len())?;
    holds(Tensor::Input, Shape([n, h, w, times(GATES)?]), grad_gates.len())?;
    holds(Tensor::Bias, Shape::vector(times(2)?), scratch.len())?;
    let (sequences, units) = (params.order.sequences(shape), units as usize);
    let rows = sequences.rows().max(1);
    let samples = grad_output.chunks_exact(rows * units).zip(cache.chunks_exact(rows * units * CACHED));
    for ((grad_output, cache), grad_gates) in samples.zip(grad_gates.chunks_exact_mut(rows * units * GATES)) {
        for sequence in 0..sequences.count {
            let (grad_hidden, grad_cell) = scratch.split_at_mut_checked(units).unwrap_or_default();
            grad_cell.fill(0.0);
            for step in (0..sequences.steps).rev() {
                let index = sequences.row(sequence, step);
                for (grad, &of_output) in grad_hidden.iter_mut().zip(row(grad_output, units, index)) {
                    *grad = of_output;
                }
                if step + 1 < sequences.steps {
                    let after = row(grad_gates, units * GATES, sequences.row(sequence, step + 1));
                    for (grad, weights) in
                        grad_hidden.iter_mut().zip(recurrent.chunks_exact((units * GATES).max(1)))
                    {
                        *grad =
                            weights.iter().zip(after).fold(*grad, |sum, (&weight, &dz)| fma(weight, dz, sum));
                    }
                }
                let before = match step.checked_sub(1) {
                    Some(before) => row(cache, units * CACHED, sequences.row(sequence, before)),
                    None => &[],
                };
                let gates = row_mut(grad_gates, units * GATES, index);
                through_gates(
                    params,
                    row(cache, units * CACHED, index),
                    before,
                    grad_hidden,
                    grad_cell,
                    gates,
                );
            }
        }
    }
    Ok(())
}

/// One step: from the gradient of the hidden state and that of the cell state as the step after left it, to those of the gates' arguments; `grad_cell` becomes
/// what this step leaves for the one before. `before` is the cache of the step before, empty at the first.
fn through_gates(
    params: &Lstm,
    cached: &[f32],
    before: &[f32],
    grad_hidden: &[f32],
    grad_cell: &mut [f32],
    grad_gates: &mut [f32],
) {
    let units = grad_hidden.len().max(1);
    let at =
        |row: &[f32], part: usize, unit: usize| row.get(part * units + unit).copied().unwrap_or_default();
    for (unit, (&grad_hidden, grad_cell)) in grad_hidden.iter().zip(grad_cell).enumerate() {
        let [i, f, g, o, cell] = core::array::from_fn(|part| at(cached, part, unit));
        let tanh_cell = tanh(cell);
        let clipped = params.cell_clip > 0.0 && (cell >= params.cell_clip || cell <= -params.cell_clip);
        let of_cell = fma(grad_hidden * o, 1.0 - tanh_cell * tanh_cell, *grad_cell);
        let of_cell = if clipped { 0.0 } else { of_cell };
        *grad_cell = of_cell * f;
        let values = [
            of_cell * g * (i * (1.0 - i)),
            of_cell * at(before, GATES, unit) * (f * (1.0 - f)),
            of_cell * i * (1.0 - g * g),
            grad_hidden * tanh_cell * (o * (1.0 - o)),
        ];
        for (row, value) in grad_gates.chunks_exact_mut(units).zip(values) {
            if let Some(grad) = row.get_mut(unit) {
                *grad = value;
            }
        }
    }
}

/// The gradient with respect to the recurrent weights, `[1, 1, units, columns]`: the sum over all steps but each sequence's first of the outer product of the
/// hidden state before and the gates' gradient. Overwrites `grad_recurrent`.
///
/// `output` is what the LSTM gave, `[N, H, W, units]`, and `grad_gates` `[N, H, W, columns]`: four columns for each unit, or as many as another recurrent layer has.
///
/// Chain: from 0, `fma(hidden, grad_gate, sum)` over samples, sequences and steps ascending.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shape of `output`.
pub fn grad_recurrent(
    order: Order,
    (shape, output): (Shape, &[f32]),
    (gates_shape, grad_gates): (Shape, &[f32]),
    grad_recurrent: &mut [f32],
) -> Result<(), CallError> {
    let (Shape([n, h, w, units]), Shape([.., columns])) = (shape, gates_shape);
    if gates_shape != Shape([n, h, w, columns]) || columns == 0 {
        return Err(CallError::Shape { tensor: Tensor::Input });
    }
    holds(Tensor::Output, shape, output.len())?;
    holds(Tensor::Input, gates_shape, grad_gates.len())?;
    holds(Tensor::Filter, Shape([1, 1, units, columns]), grad_recurrent.len())?;
    let (sequences, extents) = (order.sequences(shape), [units as usize, columns as usize]);
    dispatch(Outer { sequences, extents, output, grad_gates, grad_recurrent });
    Ok(())
}

struct Outer<'a> {
    sequences: Sequences,
    /// Units and columns.
    extents: [usize; 2],
    output: &'a [f32],
    grad_gates: &'a [f32],
    grad_recurrent: &'a mut [f32],
}

impl Kernel for Outer<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { sequences, extents, output, grad_gates, grad_recurrent } = self;
        let [_, columns] = extents;
        for (unit, grad) in grad_recurrent.chunks_exact_mut(columns.max(1)).enumerate() {
            let of_unit = (unit, extents, sequences, output, grad_gates);
            for_each_block!(WIDE, columns, outer(of_unit, grad));
        }
    }
}

/// `W` columns from `first` on of one unit's row.
#[inline(always)]
fn outer<const W: usize>(
    first: usize,
    (unit, [units, columns_of_all], sequences, output, grad_gates): (
        usize,
        [usize; 2],
        Sequences,
        &[f32],
        &[f32],
    ),
    grad: &mut [f32],
) {
    let rows = sequences.rows().max(1);
    let mut sums = [0.0; W];
    let samples = output.chunks_exact(rows * units).zip(grad_gates.chunks_exact(rows * columns_of_all));
    for (output, grad_gates) in samples {
        for sequence in 0..sequences.count {
            for step in 1..sequences.steps {
                let hidden = row(output, units, sequences.row(sequence, step - 1)).get(unit).copied();
                let gates =
                    columns::<W>(row(grad_gates, columns_of_all, sequences.row(sequence, step)), first);
                if let (Some(hidden), Some(gates)) = (hidden, gates) {
                    sums.iter_mut().zip(gates).for_each(|(sum, &gate)| *sum = fma(hidden, gate, *sum));
                }
            }
        }
    }
    if let Some(grad) = columns_mut::<W>(grad, first) {
        *grad = sums;
    }
}

/// The step's operands are gradient of the output, cache and recurrent weights; gradient of the gates and scratch.
pub(in crate::ops) fn check_gates(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    from_zero(step)?;
    let ([grad_output, cache, recurrent], [grad_gates, scratch]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    let Shape([n, h, w, units]) = grad_output.shape;
    if grad_output.shape.has_zero() || grad_output.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    let times = |count: usize| units.checked_mul(count as u32).ok_or(StepError::Shape { operand: 0 });
    has_shape(cache, 1, Shape([n, h, w, times(CACHED)?]))?;
    has_shape(recurrent, 2, Shape([1, 1, units, times(GATES)?]))?;
    has_shape(grad_gates, 3, Shape([n, h, w, times(GATES)?]))?;
    has_shape(scratch, 4, Shape::vector(times(2)?))
}

/// The step's operands are output and gradient of the gates; gradient of the recurrent weights.
pub(in crate::ops) fn check_recurrent(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    from_zero(step)?;
    let ([output, grad_gates], [grad_recurrent]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    let (Shape([n, h, w, units]), Shape([.., columns])) = (output.shape, grad_gates.shape);
    if output.shape.has_zero() || output.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    if columns == 0 || grad_gates.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 1 });
    }
    has_shape(grad_gates, 1, Shape([n, h, w, columns]))?;
    has_shape(grad_recurrent, 2, Shape([1, 1, units, columns]))
}

/// The parameters of a gradient's step: there is none of states that go on.
fn from_zero(step: Step<'_>) -> Result<Lstm, StepError> {
    let params = Lstm::read(step.attributes()?)?;
    if params.order.from_zero { Ok(params) } else { Err(StepError::Attribute { index: 1, found: 0 }) }
}

pub(in crate::ops) fn run_gates(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = from_zero(step)?;
    let ([grad_output, cache, recurrent], [gates, scratch]) = (step.reads()?, step.writes()?);
    let shape = grad_output.shape;
    let Views { reads: [grad_output, cache, recurrent], writes: [gates, scratch] } =
        memory.views([grad_output, cache, recurrent], [gates, scratch])?;
    let (cache, recurrent) = (elements(cache)?, elements(recurrent)?);
    let (gates, scratch) = (elements_mut(gates)?, elements_mut(scratch)?);
    grad_gates(&params, (shape, elements(grad_output)?), cache, recurrent, gates, scratch).map_err(unchecked)
}

pub(in crate::ops) fn run_recurrent(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = from_zero(step)?;
    let ([output, gates], [grad]) = (step.reads()?, step.writes()?);
    let (shape, gates_shape) = (output.shape, gates.shape);
    let Views { reads: [output, gates], writes: [grad] } = memory.views([output, gates], [grad])?;
    let (output, gates) = ((shape, elements(output)?), (gates_shape, elements(gates)?));
    grad_recurrent(params.order, output, gates, elements_mut(grad)?).map_err(unchecked)
}
