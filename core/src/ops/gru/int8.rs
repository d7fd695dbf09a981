//! The int8 GRU: int8 gates, weights and outputs, an int16 state. TensorFlow Lite has none; its arithmetic is that of the int8 LSTM.

use super::{GATES, Order};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Quantization, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::int8::{add_dots, constant_bytes};
use crate::ops::lstm::{sigmoid_q15, tanh_q15};
use crate::ops::operands::{has_shape, is, quantization};
use crate::ops::sequences::{row, row_mut};
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// How many attributes a [`GruI8`] takes.
pub const ATTRIBUTES: usize = 6;
/// Numbers of a gate's factor: multiplier and shift of the hidden states' sum.
pub const FACTOR_WORDS: usize = 2;
/// Bits after the point of a gate's argument, and of the state.
const ARGUMENT_BITS: i32 = 12;
const STATE_BITS: i32 = 15;

/// What an int8 GRU is told besides its operands.
///
/// Attributes, in order: [`Order`]'s two, multiplier and shift of `gates` and `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GruI8 {
    /// Which dimension is time, and whether the state goes on.
    pub order: Order,
    /// Factor of the gates to 12 bits after the point.
    pub gates: Multiplier,
    /// Factor of the state, which has 15 bits after the point, to the output.
    pub output: Multiplier,
    /// The gates' integer of 0.0.
    pub gates_zero_point: i32,
    /// The hidden state's and the output's integer of 0.0.
    pub zero_point: i32,
}

impl GruI8 {
    /// The parameters for these quantizations; `None` if a factor has no multiplier.
    pub fn new(order: Order, gates: Quantization, output: Quantization) -> Option<Self> {
        Some(Self {
            order,
            gates: Multiplier::from_real(f64::from(gates.scale) * f64::from(1u32 << ARGUMENT_BITS))?,
            output: Multiplier::from_real(1.0 / (f64::from(output.scale) * f64::from(1u32 << STATE_BITS)))?,
            gates_zero_point: gates.zero_point,
            zero_point: output.zero_point,
        })
    }

    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let [time_major, from_zero] = self.order.attributes();
        let (gates, output) = (self.gates, self.output);
        [time_major, from_zero, gates.multiplier, gates.shift, output.multiplier, output.shift]
    }

    fn read(
        attributes: &[i32; ATTRIBUTES],
        gates_zero_point: i32,
        zero_point: i32,
    ) -> Result<Self, StepError> {
        let &[_, _, gates, gates_shift, output, output_shift] = attributes;
        let factor = |multiplier, shift, index: u8| {
            let factor = Multiplier { multiplier, shift };
            let error = StepError::Attribute { index, found: multiplier };
            factor.is_valid().then_some(factor).ok_or(error)
        };
        Ok(Self {
            order: Order::read(attributes)?,
            gates: factor(gates, gates_shift, 2)?,
            output: factor(output, output_shift, 4)?,
            gates_zero_point,
            zero_point,
        })
    }

    fn argument(&self, gate: i8) -> i32 {
        i32::from(saturated(self.gates.apply(i32::from(gate) - self.gates_zero_point)))
    }
}

/// The weights of an int8 GRU; rows `gate * units + unit`.
#[derive(Clone, Copy, Debug)]
pub struct WeightsI8<'a> {
    /// Of the hidden states, `[3 * units, 1, 1, units]`.
    pub recurrent: &'a [i8],
    /// For each row, the bias with the zero point folded in (see [`crate::ops::int8::Channel::bias`]).
    pub biases: &'a [i32],
    /// For each gate, multiplier and shift of its sums to 12 bits after the point.
    pub factors: &'a [[i32; FACTOR_WORDS]; GATES],
}

/// Runs the GRU over every sequence of `gates`, `[N, H, W, 3 * units]`, and writes the hidden state of each step to `output`, `[N, H, W, units]`.
/// `hidden`, the state in int8, and `state`, with 15 bits after the point, are `[sequences, units]`, read and written.
///
/// Arguments of gates have 12 bits after the point, gates 15; each product of a gate is rounded to nearest, halves up. Sums are exact if `|bias| + 128 * sum(|weight|)` of each row is
/// at most `i32::MAX`; otherwise they wrap.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shapes: recurrent weights go by the name of [`Tensor::Filter`], states by that of [`Tensor::Output`].
pub fn forward(
    params: &GruI8,
    weights: &WeightsI8<'_>,
    (gates_shape, gates): (Shape, &[i8]),
    (hidden, state): (&mut [i8], &mut [i16]),
    (output_shape, output): (Shape, &mut [i8]),
) -> Result<(), CallError> {
    let Shape([n, h, w, units]) = output_shape;
    let columns = units.checked_mul(GATES as u32).filter(|&columns| columns > 0);
    let columns = columns.ok_or(CallError::Shape { tensor: Tensor::Output })?;
    if gates_shape != Shape([n, h, w, columns]) || gates_shape.has_zero() {
        return Err(CallError::Shape { tensor: Tensor::Input });
    }
    let sequences = params.order.sequences(output_shape);
    let states = Shape([1, 1, sequences.count as u32, units]);
    holds(Tensor::Input, gates_shape, gates.len())?;
    holds(Tensor::Filter, Shape([columns, 1, 1, units]), weights.recurrent.len())?;
    holds(Tensor::Bias, Shape::vector(columns), weights.biases.len())?;
    holds(Tensor::Output, states, hidden.len())?;
    holds(Tensor::Output, states, state.len())?;
    holds(Tensor::Output, output_shape, output.len())?;
    let units = units as usize;
    let samples = gates.chunks_exact(sequences.rows() * units * GATES);
    for (gates, output) in samples.zip(output.chunks_exact_mut(sequences.rows() * units)) {
        if params.order.from_zero {
            hidden.fill(params.zero_point as i8);
            state.fill(0);
        }
        for sequence in 0..sequences.count {
            let hidden = row_mut(hidden, units, sequence);
            let state = row_mut(state, units, sequence);
            for step in 0..sequences.steps {
                let index = sequences.row(sequence, step);
                let output = row_mut(output, units, index);
                one_step(params, weights, row(gates, units * GATES, index), hidden, state, output);
                // Not `copy_from_slice`, which would panic if the lengths differed.
                hidden.iter_mut().zip(output).for_each(|(hidden, &mut output)| *hidden = output);
            }
        }
    }
    Ok(())
}

/// One step of one sequence.
fn one_step(
    params: &GruI8,
    weights: &WeightsI8<'_>,
    gates: &[i8],
    hidden: &[i8],
    state: &mut [i16],
    output: &mut [i8],
) {
    let units = output.len();
    for (unit, (state, output)) in state.iter_mut().zip(output).enumerate() {
        let mut arguments = [0; GATES];
        let mut sums = [0; GATES];
        for (gate, (argument, sum)) in arguments.iter_mut().zip(&mut sums).enumerate() {
            let index = gate * units + unit;
            *argument = params.argument(gates.get(index).copied().unwrap_or_default());
            *sum = recurrent_sum(weights, gate, index, hidden);
        }
        let [x_r, x_z, x_n] = arguments;
        let [sum_r, sum_z, sum_n] = sums;
        let reset = i32::from(sigmoid_q15(saturated(x_r + sum_r)));
        let update = i32::from(sigmoid_q15(saturated(x_z + sum_z)));
        let new = i32::from(tanh_q15(saturated(x_n + gated(reset, sum_n)), -ARGUMENT_BITS));
        // Between the new state and the old one.
        *state = saturated(new + gated(update, i32::from(*state) - new));
        *output =
            params.output.apply((*state).into()).saturating_add(params.zero_point).clamp(-128, 127) as i8;
    }
}

/// A gate times a number of at most 17 bits: below 2^31 in magnitude, with what rounds it.
fn gated(gate: i32, value: i32) -> i32 {
    (gate * value + (1 << (STATE_BITS - 1))) >> STATE_BITS
}

/// What the recurrent weights give to a gate, with 12 bits after the point.
#[inline(always)]
fn recurrent_sum(weights: &WeightsI8<'_>, gate: usize, index: usize, hidden: &[i8]) -> i32 {
    let mut sum = [weights.biases.get(index).copied().unwrap_or_default()];
    add_dots(hidden, [row(weights.recurrent, hidden.len(), index)], &mut sum);
    let [sum] = sum;
    let [multiplier, shift] = weights.factors.get(gate).copied().unwrap_or_default();
    i32::from(saturated(Multiplier { multiplier, shift }.apply(sum)))
}

#[inline(always)]
fn saturated(value: i32) -> i16 {
    value.max(i16::MIN.into()).min(i16::MAX.into()) as i16
}

/// The operands of a step: gates, recurrent weights, biases, factors; output, hidden state, state.
fn params(step: Step<'_>) -> Result<(GruI8, &[Operand; 4], &[Operand; 3]), StepError> {
    let (reads, writes) = (step.reads::<4>()?, step.writes::<3>()?);
    let ([gates, ..], [output, ..]) = (reads, writes);
    let zero_points = (quantization(gates, 0)?.zero_point, quantization(output, 4)?.zero_point);
    Ok((GruI8::read(step.attributes::<ATTRIBUTES>()?, zero_points.0, zero_points.1)?, reads, writes))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, reads, writes) = params(step)?;
    let ([gates, recurrent, biases, factors], [output, hidden, state]) = (reads, writes);
    let types = [
        ElementType::I8,
        ElementType::I8,
        ElementType::I32,
        ElementType::I32,
        ElementType::I8,
        ElementType::I8,
        ElementType::I16,
    ];
    for (index, (operand, expected)) in step.operands().zip(types).enumerate() {
        is(operand, index, expected)?;
    }
    if quantization(hidden, 5)? != quantization(output, 4)? {
        return Err(StepError::Quantization { operand: 5 });
    }
    let Shape([n, h, w, units]) = output.shape;
    if output.shape.has_zero() || output.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 4 });
    }
    let columns = units.checked_mul(GATES as u32).ok_or(StepError::Shape { operand: 4 })?;
    has_shape(gates, 0, Shape([n, h, w, columns]))?;
    has_shape(recurrent, 1, Shape([columns, 1, 1, units]))?;
    has_shape(biases, 2, Shape::vector(columns))?;
    has_shape(factors, 3, Shape([1, 1, GATES as u32, FACTOR_WORDS as u32]))?;
    let states = Shape([1, 1, params.order.sequences(output.shape).count as u32, units]);
    has_shape(hidden, 5, states)?;
    has_shape(state, 6, states)?;
    for &[multiplier, shift] in elements::<i32>(constant_bytes(factors, 3, constant)?)?.as_chunks::<2>().0 {
        if !(Multiplier { multiplier, shift }).is_valid() {
            return Err(StepError::Quantization { operand: 3 });
        }
    }
    let biases = elements::<i32>(constant_bytes(biases, 2, constant)?)?;
    let rows = elements::<i8>(constant_bytes(recurrent, 1, constant)?)?.chunks_exact(units as usize);
    for (index, (row, bias)) in rows.zip(biases).enumerate() {
        let sum: u64 = row.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
        if u64::from(bias.unsigned_abs()) + 128 * sum > i32::MAX as u64 {
            return Err(StepError::Accumulator { channel: index as u32 });
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, reads, writes) = params(step)?;
    let ([gates, recurrent, biases, factors], [output, hidden, state]) = (reads, writes);
    let (gates_shape, output_shape) = (gates.shape, output.shape);
    let Views { reads: [gates, recurrent, biases, factors], writes: [output, hidden, state] } =
        memory.views([gates, recurrent, biases, factors], [output, hidden, state])?;
    let weights = WeightsI8 {
        recurrent: elements(recurrent)?,
        biases: elements(biases)?,
        factors: elements(factors)?.as_chunks().0.try_into().map_err(|_| StepError::Memory)?,
    };
    let states = (elements_mut(hidden)?, elements_mut(state)?);
    let output = (output_shape, elements_mut(output)?);
    forward(&params, &weights, (gates_shape, elements(gates)?), states, output).map_err(unchecked)
}
