//! The gradient of the GRU in f32: back-propagation through time.
//!
//! [`grad_gates`] goes back through time and gives the gradients of the three gates' arguments with respect to what the inputs gave, and with respect to what the recurrent weights gave; they differ by the
//! reset gate. The first is the gradient of the layer before. Of the second, the gradient of the bias is the sum over all steps, and that of the recurrent weights
//! [`lstm::gradient::grad_recurrent`](crate::ops::lstm::gradient::grad_recurrent)'s.

use super::float::{ATTRIBUTES, CACHED};
use super::{GATES, Order};
use crate::kernels::fma;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::operands::{all_are, has_shape};
use crate::ops::sequences::{row, row_mut};
use crate::step::{Step, StepError};

/// The gradients with respect to the gates' arguments. The states have begun at zero with every sample.
///
/// `grad_output` and `output` are `[N, H, W, units]`, `cache` is what [`forward`](super::float::forward) cached, `[N, H, W, 4 * units]`, `recurrent` `[1, 1, units, 3 * units]`.
/// Overwrites `grad_gates` and `grad_sums`, `[N, H, W, 3 * units]`; `scratch` has `units` elements.
///
/// Going back from the last step, with `h'` the gradient of the state, and `d` that of the sums of the step after:
///
/// ```text
/// h' = grad_output + h' * z (both of the step after) + R d
/// dn = h' * (1 - z) * (1 - n^2),  dz = h' * (h_before - n) * z(1 - z),  dr = dn * (R_n h + b_n) * r(1 - r)
/// grad_gates = dr, dz, dn         grad_sums = d = dr, dz, dn * r
/// ```
///
/// Chain of `h'`: `fma(h', z, grad_output)`, then `fma(weight, d, sum)` over the `3 * units` columns ascending.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shape of `grad_output`.
pub fn grad_gates(
    order: Order,
    (shape, grad_output): (Shape, &[f32]),
    output: &[f32],
    cache: &[f32],
    recurrent: &[f32],
    (grad_gates, grad_sums): (&mut [f32], &mut [f32]),
    scratch: &mut [f32],
) -> Result<(), CallError> {
    let Shape([n, h, w, units]) = shape;
    let too_large = CallError::Shape { tensor: Tensor::Output };
    let times =
        |count: usize| units.checked_mul(count as u32).filter(|&product| product > 0).ok_or(too_large);
    let columns = times(GATES)?;
    holds(Tensor::Output, shape, grad_output.len())?;
    holds(Tensor::Output, shape, output.len())?;
    holds(Tensor::Output, Shape([n, h, w, times(CACHED)?]), cache.len())?;
    holds(Tensor::Filter, Shape([1, 1, units, columns]), recurrent.len())?;
    holds(Tensor::Input, Shape([n, h, w, columns]), grad_gates.len())?;
    holds(Tensor::Input, Shape([n, h, w, columns]), grad_sums.len())?;
    holds(Tensor::Bias, Shape::vector(units), scratch.len())?;
    let (sequences, units) = (order.sequences(shape), units as usize);
    let columns = units * GATES;
    for sample in 0..n as usize {
        for sequence in 0..sequences.count {
            scratch.fill(0.0);
            for step in (0..sequences.steps).rev() {
                let place = |step| sample * sequences.rows() + sequences.row(sequence, step);
                let index = place(step);
                let grad_hidden = &mut *scratch;
                let after = (step + 1 < sequences.steps).then(|| place(step + 1));
                let update_after = after.map_or(&[][..], |after| row(cache, units * CACHED, after));
                let update_after = update_after.get(units..).unwrap_or_default();
                for (unit, (grad, &of_output)) in
                    grad_hidden.iter_mut().zip(row(grad_output, units, index)).enumerate()
                {
                    *grad = fma(*grad, update_after.get(unit).copied().unwrap_or_default(), of_output);
                }
                if let Some(after) = after {
                    let sums = row(grad_sums, columns, after);
                    for (grad, weights) in grad_hidden.iter_mut().zip(recurrent.chunks_exact(columns.max(1)))
                    {
                        *grad =
                            weights.iter().zip(sums).fold(*grad, |sum, (&weight, &d)| fma(weight, d, sum));
                    }
                }
                let before = step.checked_sub(1).map_or(&[][..], |before| row(output, units, place(before)));
                through_gates(
                    row(cache, units * CACHED, index),
                    before,
                    grad_hidden,
                    row_mut(grad_gates, columns, index),
                    row_mut(grad_sums, columns, index),
                );
            }
        }
    }
    Ok(())
}

/// One step: from the gradient of the hidden state to those of the gates' arguments. `before` is the hidden state of the step before, empty at the first.
fn through_gates(
    cached: &[f32],
    before: &[f32],
    grad_hidden: &[f32],
    grad_gates: &mut [f32],
    grad_sums: &mut [f32],
) {
    let units = grad_hidden.len().max(1);
    let at = |part: usize, unit: usize| cached.get(part * units + unit).copied().unwrap_or_default();
    for (unit, &grad) in grad_hidden.iter().enumerate() {
        let [r, z, n, sum] = core::array::from_fn(|part| at(part, unit));
        let h = before.get(unit).copied().unwrap_or_default();
        let of_new = grad * (1.0 - z) * (1.0 - n * n);
        let of_update = grad * (h - n) * (z * (1.0 - z));
        let of_reset = of_new * sum * (r * (1.0 - r));
        let both = [(of_reset, of_reset), (of_update, of_update), (of_new, of_new * r)];
        let rows = grad_gates.chunks_exact_mut(units).zip(grad_sums.chunks_exact_mut(units));
        for ((gates, sums), (of_gate, of_sum)) in rows.zip(both) {
            if let (Some(gate), Some(sum)) = (gates.get_mut(unit), sums.get_mut(unit)) {
                (*gate, *sum) = (of_gate, of_sum);
            }
        }
    }
}

/// The step's operands are gradient of the output, output, cache and recurrent weights; gradients of the gates and of the sums, and scratch.
pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    from_zero(step)?;
    let ([grad_output, output, cache, recurrent], [grad_gates, grad_sums, scratch]) =
        (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    let Shape([n, h, w, units]) = grad_output.shape;
    if grad_output.shape.has_zero() || grad_output.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    let times = |count: usize| units.checked_mul(count as u32).ok_or(StepError::Shape { operand: 0 });
    let columns = times(GATES)?;
    has_shape(output, 1, grad_output.shape)?;
    has_shape(cache, 2, Shape([n, h, w, times(CACHED)?]))?;
    has_shape(recurrent, 3, Shape([1, 1, units, columns]))?;
    has_shape(grad_gates, 4, Shape([n, h, w, columns]))?;
    has_shape(grad_sums, 5, Shape([n, h, w, columns]))?;
    has_shape(scratch, 6, Shape::vector(units))
}

/// There is no gradient of states that go on.
fn from_zero(step: Step<'_>) -> Result<Order, StepError> {
    let order = Order::read(step.attributes::<ATTRIBUTES>()?)?;
    if order.from_zero { Ok(order) } else { Err(StepError::Attribute { index: 1, found: 0 }) }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let order = from_zero(step)?;
    let ([grad_output, output, cache, recurrent], [gates, sums, scratch]) = (step.reads()?, step.writes()?);
    let shape = grad_output.shape;
    let Views { reads: [grad_output, output, cache, recurrent], writes: [gates, sums, scratch] } =
        memory.views([grad_output, output, cache, recurrent], [gates, sums, scratch])?;
    let grads = (elements_mut(gates)?, elements_mut(sums)?);
    let (output, cache, recurrent) = (elements(output)?, elements(cache)?, elements(recurrent)?);
    let scratch = elements_mut(scratch)?;
    grad_gates(order, (shape, elements(grad_output)?), output, cache, recurrent, grads, scratch)
        .map_err(unchecked)
}
