//! The GRU in f32.

use super::{GATES, Order};
use crate::kernels::channels::{columns, columns_mut, for_each_block};
use crate::kernels::fma;
use crate::kernels::isa::{Kernel, dispatch};
use crate::kernels::{exp, tanh};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::operands::{all_are, has_shape};
use crate::ops::sequences::{Sequences, row, row_mut};
use crate::step::{Step, StepError};

/// How many attributes a GRU takes: [`Order`]'s.
pub const ATTRIBUTES: usize = 2;
/// Numbers of a unit in the cache: its gates, and the sum that the reset gate multiplies.
pub const CACHED: usize = GATES + 1;

/// Runs the GRU over every sequence of `gates`, `[N, H, W, 3 * units]`, and writes the hidden state of each step to `output`, `[N, H, W, units]`. `recurrent` is
/// `[1, 1, units, 3 * units]` and `bias` `[1, 1, 1, 3 * units]`, column `gate * units + unit`. The state `hidden` is `[sequences, units]`, read and written.
///
/// `cache`, `[N, H, W, 4 * units]`, if there is one, gets the gates of each step and what the reset gate multiplies, for the gradient.
///
/// Chains: a sum is from its bias `fma(hidden, weight, sum)` over the units ascending; the argument of the new state is `fma(r, sum, x)`, of the others `x + sum`; the output is
/// `fma(z, h - n, n)`.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shapes: recurrent weights go by the name of [`Tensor::Filter`], state and cache by that of [`Tensor::Output`].
pub fn forward(
    order: Order,
    (gates_shape, gates): (Shape, &[f32]),
    recurrent: &[f32],
    bias: &[f32],
    hidden: &mut [f32],
    (output_shape, output): (Shape, &mut [f32]),
    cache: Option<&mut [f32]>,
) -> Result<(), CallError> {
    let Shape([n, h, w, units]) = output_shape;
    let too_large = CallError::Shape { tensor: Tensor::Output };
    let times =
        |count: usize| units.checked_mul(count as u32).filter(|&columns| columns > 0).ok_or(too_large);
    let columns = times(GATES)?;
    if gates_shape != Shape([n, h, w, columns]) || gates_shape.has_zero() {
        return Err(CallError::Shape { tensor: Tensor::Input });
    }
    let sequences = order.sequences(output_shape);
    holds(Tensor::Input, gates_shape, gates.len())?;
    holds(Tensor::Filter, Shape([1, 1, units, columns]), recurrent.len())?;
    holds(Tensor::Bias, Shape::vector(columns), bias.len())?;
    holds(Tensor::Output, Shape([1, 1, sequences.count as u32, units]), hidden.len())?;
    holds(Tensor::Output, output_shape, output.len())?;
    if let Some(cache) = &cache {
        holds(Tensor::Output, Shape([n, h, w, times(CACHED)?]), cache.len())?;
    }
    let units = units as usize;
    dispatch(Forward { order, sequences, units, gates, recurrent, bias, hidden, output, cache });
    Ok(())
}

/// All samples.
struct Forward<'a> {
    order: Order,
    sequences: Sequences,
    units: usize,
    gates: &'a [f32],
    recurrent: &'a [f32],
    bias: &'a [f32],
    hidden: &'a mut [f32],
    output: &'a mut [f32],
    cache: Option<&'a mut [f32]>,
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { order, sequences, units, gates, recurrent, bias, hidden, output, mut cache } = self;
        let rows = sequences.rows();
        for (sample, output) in output.chunks_exact_mut((rows * units).max(1)).enumerate() {
            if order.from_zero {
                hidden.fill(0.0);
            }
            for sequence in 0..sequences.count {
                let hidden = row_mut(hidden, units, sequence);
                for step in 0..sequences.steps {
                    let index = sequences.row(sequence, step);
                    let cached = match &mut cache {
                        Some(cache) => row_mut(cache, units * CACHED, sample * rows + index),
                        None => &mut [],
                    };
                    let gates = row(gates, units * GATES, sample * rows + index);
                    let output = row_mut(output, units, index);
                    let weights = (recurrent, bias);
                    for_each_block!(WIDE / 2, units, block(weights, units, gates, &*hidden, cached, output));
                    hidden.iter_mut().zip(output).for_each(|(hidden, &mut output)| *hidden = output);
                }
            }
        }
    }
}

/// `W` units from `first` on, for one step.
#[inline(always)]
fn block<const W: usize>(
    first: usize,
    (recurrent, bias): (&[f32], &[f32]),
    units: usize,
    gates: &[f32],
    hidden: &[f32],
    cached: &mut [f32],
    output: &mut [f32],
) {
    let mut sums = [[0.0; W]; GATES];
    for (gate, sums) in sums.iter_mut().enumerate() {
        if let Some(bias) = columns::<W>(bias, gate * units + first) {
            *sums = *bias;
        }
    }
    for (&hidden, row) in hidden.iter().zip(recurrent.chunks_exact((units * GATES).max(1))) {
        for (gate, sums) in sums.iter_mut().enumerate() {
            if let Some(weights) = columns::<W>(row, gate * units + first) {
                sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum = fma(hidden, weight, *sum));
            }
        }
    }
    let of_inputs: [_; GATES] = core::array::from_fn(|gate| columns::<W>(gates, gate * units + first));
    let [Some(x_r), Some(x_z), Some(x_n)] = of_inputs else { return };
    let (Some(before), Some(output)) = (columns::<W>(hidden, first), columns_mut::<W>(output, first)) else {
        return;
    };
    let [mut reset, mut update, sum] = sums;
    let mut new = [0.0; W];
    for (r, &x) in reset.iter_mut().zip(x_r) {
        *r = sigmoid(x + *r);
    }
    for (z, &x) in update.iter_mut().zip(x_z) {
        *z = sigmoid(x + *z);
    }
    for ((n, &x), (&r, &sum)) in new.iter_mut().zip(x_n).zip(reset.iter().zip(&sum)) {
        *n = tanh(fma(r, sum, x));
    }
    for ((output, &h), (&z, &n)) in output.iter_mut().zip(before).zip(update.iter().zip(&new)) {
        *output = fma(z, h - n, n);
    }
    for (part, values) in [reset, update, new, sum].iter().enumerate() {
        if let Some(cached) = columns_mut::<W>(cached, part * units + first) {
            *cached = *values;
        }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The operands of a step: gates, recurrent weights, bias; output, hidden state, and perhaps the cache.
struct Operands<'a> {
    reads: &'a [Operand; 3],
    states: &'a [Operand; 2],
    cache: Option<&'a Operand>,
}

fn operands<'a>(step: Step<'a>) -> Result<(Order, Operands<'a>), StepError> {
    let reads = step.reads()?;
    let (states, cache) = match step.writes {
        [states @ .., cache] if states.len() == 2 => (states, Some(cache)),
        states => (states, None),
    };
    let error = |_| StepError::WriteCount { expected: 2, found: step.writes.len() as u8 };
    let states = states.try_into().map_err(error)?;
    Ok((Order::read(step.attributes::<ATTRIBUTES>()?)?, Operands { reads, states, cache }))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let (order, Operands { reads: [gates, recurrent, bias], states: [output, hidden], cache }) =
        operands(step)?;
    all_are(step, ElementType::F32)?;
    let Shape([n, h, w, units]) = output.shape;
    if output.shape.has_zero() || output.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 3 });
    }
    let times = |count: usize| units.checked_mul(count as u32).ok_or(StepError::Shape { operand: 3 });
    let columns = times(GATES)?;
    has_shape(gates, 0, Shape([n, h, w, columns]))?;
    has_shape(recurrent, 1, Shape([1, 1, units, columns]))?;
    has_shape(bias, 2, Shape::vector(columns))?;
    has_shape(hidden, 4, Shape([1, 1, order.sequences(output.shape).count as u32, units]))?;
    match cache {
        Some(cache) => has_shape(cache, 5, Shape([n, h, w, times(CACHED)?])),
        None => Ok(()),
    }
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (order, Operands { reads: [gates, recurrent, bias], states: [output, hidden], cache }) =
        operands(step)?;
    let (gates_shape, output_shape) = (gates.shape, output.shape);
    let reads = [gates, recurrent, bias];
    let (reads, [output, hidden], cache) = if let Some(cache) = cache {
        let Views { reads, writes: [output, hidden, cache] } =
            memory.views(reads, [output, hidden, cache])?;
        (reads, [output, hidden], Some(elements_mut(cache)?))
    } else {
        let Views { reads, writes } = memory.views(reads, [output, hidden])?;
        (reads, writes, None)
    };
    let [gates, recurrent, bias] = reads;
    let output = (output_shape, elements_mut(output)?);
    let (recurrent, bias) = (elements(recurrent)?, elements(bias)?);
    let gates = (gates_shape, elements(gates)?);
    forward(order, gates, recurrent, bias, elements_mut(hidden)?, output, cache).map_err(unchecked)
}
