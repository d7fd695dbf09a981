//! The LSTM in f32.

use super::GATES;
use crate::kernels::channels::{columns, columns_mut, for_each_block};
use crate::kernels::fma;
use crate::kernels::isa::{Kernel, dispatch};
use crate::kernels::{exp, tanh};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::operands::{all_are, float_in, has_shape};
use crate::ops::sequences::{Order, Sequences, row, row_mut};
use crate::step::{Step, StepError};

/// How many attributes an [`Lstm`] takes.
pub const ATTRIBUTES: usize = 3;
/// Numbers of a unit in the cache: its gates and its cell state.
pub const CACHED: usize = GATES + 1;

/// The parameters of an LSTM in f32.
///
/// Attributes, in order: [`Order`]'s two, and the bits of the cell clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lstm {
    /// Which dimension is time, and whether the states go on.
    pub order: Order,
    /// Greatest magnitude of a cell state, or 0 for any.
    pub cell_clip: f32,
}

impl Lstm {
    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let [time_major, from_zero] = self.order.attributes();
        [time_major, from_zero, self.cell_clip.to_bits() as i32]
    }

    pub(super) fn read(attributes: &[i32; ATTRIBUTES]) -> Result<Self, StepError> {
        let order = Order::read(attributes)?;
        Ok(Self { order, cell_clip: float_in(attributes, 2, 0.0..)? })
    }
}

/// The parameters of an LSTM in f32; column `gate * units + unit`.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// Of the inputs, `[1, 1, C_in, 4 * units]`.
    pub input: &'a [f32],
    /// Of the hidden states, `[1, 1, units, 4 * units]`.
    pub recurrent: &'a [f32],
    /// `[1, 1, 1, 4 * units]`.
    pub bias: &'a [f32],
}

/// Runs the LSTM over every sequence of `input`, `[N, H, W, C_in]`, and writes the hidden state of each step to `output`, `[N, H, W, units]`.
/// The states `hidden` and `cell` are `[sequences, units]`, read and written.
///
/// `cache`, `[N, H, W, 5 * units]`, if there is one, gets the gates and the cell state of each step, for the gradient.
///
/// Chains: a gate's argument is from its bias `fma(input, weight, sum)` over `in_c` ascending, then `fma(hidden, weight, sum)` over the units
/// ascending; the cell state is `fma(f, c, i * g)`.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shapes: weights go by the name of [`Tensor::Filter`], states and cache by that of [`Tensor::Output`].
pub fn forward(
    params: &Lstm,
    weights: &Weights<'_>,
    (input_shape, input): (Shape, &[f32]),
    (hidden, cell): (&mut [f32], &mut [f32]),
    (output_shape, output): (Shape, &mut [f32]),
    cache: Option<&mut [f32]>,
) -> Result<(), CallError> {
    let (Shape([in_n, in_h, in_w, in_c]), Shape([out_n, out_h, out_w, units])) = (input_shape, output_shape);
    if [in_n, in_h, in_w] != [out_n, out_h, out_w] || input_shape.has_zero() || units == 0 {
        return Err(CallError::Shape { tensor: Tensor::Output });
    }
    let sequences = params.order.sequences(input_shape);
    let columns = units.checked_mul(GATES as u32).ok_or(CallError::Shape { tensor: Tensor::Filter })?;
    let states = Shape([1, 1, sequences.count as u32, units]);
    holds(Tensor::Input, input_shape, input.len())?;
    holds(Tensor::Filter, Shape([1, 1, in_c, columns]), weights.input.len())?;
    holds(Tensor::Filter, Shape([1, 1, units, columns]), weights.recurrent.len())?;
    holds(Tensor::Bias, Shape::vector(columns), weights.bias.len())?;
    holds(Tensor::Output, states, hidden.len())?;
    holds(Tensor::Output, states, cell.len())?;
    holds(Tensor::Output, output_shape, output.len())?;
    if let Some(cache) = &cache {
        let cached = units.checked_mul(CACHED as u32).ok_or(CallError::Shape { tensor: Tensor::Output })?;
        holds(Tensor::Output, Shape([in_n, in_h, in_w, cached]), cache.len())?;
    }
    let extents = [in_c as usize, units as usize];
    dispatch(Forward { params, weights, sequences, extents, input, hidden, cell, output, cache });
    Ok(())
}

/// All samples.
struct Forward<'a> {
    params: &'a Lstm,
    weights: &'a Weights<'a>,
    sequences: Sequences,
    /// Inputs and units.
    extents: [usize; 2],
    input: &'a [f32],
    hidden: &'a mut [f32],
    cell: &'a mut [f32],
    output: &'a mut [f32],
    cache: Option<&'a mut [f32]>,
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let Self { params, weights, sequences, extents, input, hidden, cell, output, mut cache } = self;
        let ([in_c, units], rows) = (extents, sequences.rows());
        let samples =
            input.chunks_exact((rows * in_c).max(1)).zip(output.chunks_exact_mut((rows * units).max(1)));
        for (sample, (input, output)) in samples.enumerate() {
            if params.order.from_zero {
                hidden.fill(0.0);
                cell.fill(0.0);
            }
            for sequence in 0..sequences.count {
                let hidden = row_mut(hidden, units, sequence);
                let cell = row_mut(cell, units, sequence);
                for step in 0..sequences.steps {
                    let index = sequences.row(sequence, step);
                    let cached = match &mut cache {
                        Some(cache) => row_mut(cache, units * CACHED, sample * rows + index),
                        None => &mut [],
                    };
                    let output = row_mut(output, units, index);
                    let sources = (row(input, in_c, index), &*hidden);
                    // Half the lanes of other kernels: there are four gates at once.
                    for_each_block!(
                        WIDE / 2,
                        units,
                        block(params, weights, units, sources, cell, cached, output)
                    );
                    hidden.iter_mut().zip(output).for_each(|(hidden, &mut output)| *hidden = output);
                }
            }
        }
    }
}

/// `W` units from `first` on, for one step.
#[expect(clippy::too_many_arguments, reason = "what one step of an LSTM takes")]
#[inline(always)]
fn block<const W: usize>(
    first: usize,
    params: &Lstm,
    weights: &Weights<'_>,
    units: usize,
    (input, hidden): (&[f32], &[f32]),
    cell: &mut [f32],
    cached: &mut [f32],
    output: &mut [f32],
) {
    let mut gates = [[0.0; W]; GATES];
    for (gate, sums) in gates.iter_mut().enumerate() {
        if let Some(bias) = columns::<W>(weights.bias, gate * units + first) {
            *sums = *bias;
        }
    }
    for (values, matrix) in [(input, weights.input), (hidden, weights.recurrent)] {
        for (&value, row) in values.iter().zip(matrix.chunks_exact((units * GATES).max(1))) {
            for (gate, sums) in gates.iter_mut().enumerate() {
                if let Some(weights) = columns::<W>(row, gate * units + first) {
                    sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum = fma(value, weight, *sum));
                }
            }
        }
    }
    for (gate, values) in gates.iter_mut().enumerate() {
        for value in values.iter_mut() {
            *value = if gate == 2 { tanh(*value) } else { sigmoid(*value) };
        }
        if let Some(cached) = columns_mut::<W>(cached, gate * units + first) {
            *cached = *values;
        }
    }
    let [input_gate, forget_gate, cell_gate, output_gate] = gates;
    let (Some(cell), Some(output)) = (columns_mut::<W>(cell, first), columns_mut::<W>(output, first)) else {
        return;
    };
    let each = cell.iter_mut().zip(output).zip(input_gate.iter().zip(forget_gate));
    for (((cell, output), (i, f)), (g, o)) in each.zip(cell_gate.iter().zip(output_gate)) {
        let sum = fma(f, *cell, i * g);
        *cell = if params.cell_clip > 0.0 { sum.min(params.cell_clip).max(-params.cell_clip) } else { sum };
        *output = o * tanh(*cell);
    }
    if let Some(cached) = columns_mut::<W>(cached, GATES * units + first) {
        *cached = *cell;
    }
}

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The operands of a step: input, weights, recurrent weights, bias; output, hidden state, cell state, and perhaps the cache.
struct Operands<'a> {
    reads: &'a [Operand; 4],
    states: &'a [Operand; 3],
    cache: Option<&'a Operand>,
}

fn operands<'a>(step: Step<'a>) -> Result<(Lstm, Operands<'a>), StepError> {
    let reads = step.reads()?;
    let (states, cache) = match step.writes {
        [states @ .., cache] if states.len() == 3 => (states, Some(cache)),
        states => (states, None),
    };
    let error = |_| StepError::WriteCount { expected: 3, found: step.writes.len() as u8 };
    let states = states.try_into().map_err(error)?;
    Ok((Lstm::read(step.attributes()?)?, Operands { reads, states, cache }))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let (params, Operands { reads, states, cache }) = operands(step)?;
    all_are(step, ElementType::F32)?;
    let ([input, weights, recurrent, bias], [output, hidden, cell]) = (reads, states);
    let ([in_n, in_h, in_w, in_c], [_, _, _, units]) = (input.shape.0, output.shape.0);
    if input.shape.has_zero() || input.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    has_shape(output, 4, Shape([in_n, in_h, in_w, units]))?;
    let times = |count: usize| units.checked_mul(count as u32).filter(|&product| product > 0);
    let (Some(columns), Some(cached)) = (times(GATES), times(CACHED)) else {
        return Err(StepError::Shape { operand: 4 });
    };
    has_shape(weights, 1, Shape([1, 1, in_c, columns]))?;
    has_shape(recurrent, 2, Shape([1, 1, units, columns]))?;
    has_shape(bias, 3, Shape::vector(columns))?;
    let state = Shape([1, 1, params.order.sequences(input.shape).count as u32, units]);
    has_shape(hidden, 5, state)?;
    has_shape(cell, 6, state)?;
    cache.map_or(Ok(()), |cache| has_shape(cache, 7, Shape([in_n, in_h, in_w, cached])))
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, Operands { reads: [input, weights, recurrent, bias], states, cache }) = operands(step)?;
    let [output, hidden, cell] = states;
    let (input_shape, output_shape) = (input.shape, output.shape);
    let reads = [input, weights, recurrent, bias];
    let (reads, [output, hidden, cell], cache) = if let Some(cache) = cache {
        let Views { reads, writes: [output, hidden, cell, cache] } =
            memory.views(reads, [output, hidden, cell, cache])?;
        (reads, [output, hidden, cell], Some(elements_mut(cache)?))
    } else {
        let Views { reads, writes } = memory.views(reads, [output, hidden, cell])?;
        (reads, writes, None)
    };
    let [input, weights, recurrent, bias] = reads;
    let weights =
        Weights { input: elements(weights)?, recurrent: elements(recurrent)?, bias: elements(bias)? };
    let states = (elements_mut(hidden)?, elements_mut(cell)?);
    let output = (output_shape, elements_mut(output)?);
    forward(&params, &weights, (input_shape, elements(input)?), states, output, cache).map_err(unchecked)
}
