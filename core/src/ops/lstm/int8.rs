//! The int8 LSTM with TensorFlow Lite Micro's arithmetic: int8 inputs, weights, outputs and hidden states, int16 gates and cell states.

use super::{GATES, sigmoid_q15, tanh_q15};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::int8::{add_dots, constant_bytes};
use crate::ops::operands::{has_shape, is, quantization};
use crate::ops::sequences::{Order, row, row_mut};
use crate::quantization::Multiplier;
use crate::step::{Step, StepError};

/// How many attributes an [`LstmI8`] takes.
pub const ATTRIBUTES: usize = 10;
/// Numbers of a record of biases: input's and hidden state's.
pub const BIAS_WORDS: usize = 2;
/// Numbers of a gate's factors: multiplier and shift of the input's sum, and of the hidden state's.
pub const FACTOR_WORDS: usize = 4;
/// Powers of two that the cell state's scale can be.
const CELL_POWERS: core::ops::RangeInclusive<i32> = -30..=0;

/// What an int8 LSTM is told besides its operands.
///
/// Attributes, in order: [`Order`]'s two, multiplier and shift of `forget`, `input` and `output`, cell power, cell clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmI8 {
    /// Which dimension is time, and whether the states go on.
    pub order: Order,
    /// Factor of forget gate times cell state.
    pub forget: Multiplier,
    /// Factor of input gate times cell gate.
    pub input: Multiplier,
    /// Factor of output gate times the cell state's hyperbolic tangent.
    pub output: Multiplier,
    /// The cell state's scale is 2 to this power.
    pub cell_power: i32,
    /// Greatest magnitude of a cell state, or 0 for any.
    pub cell_clip: i16,
    /// The hidden state's and the output's integer of 0.0.
    pub zero_point: i32,
}

impl LstmI8 {
    /// The parameters for these scales, as TensorFlow Lite Micro's `Prepare` has them. `None` if the cell state's scale is not a power of two that it can be, or a
    /// factor has no multiplier.
    pub fn new(
        order: Order,
        cell_scale: f32,
        cell_clip: f32,
        hidden_scale: f32,
        zero_point: i32,
    ) -> Option<Self> {
        // Gates have 15 bits after the point.
        let gate = f64::from(1.0f32 / 32_768.0);
        let cell = f64::from(cell_scale);
        let (significand, exponent) = libm::frexp(cell);
        let cell_power = exponent - 1;
        if significand != 0.5 || !CELL_POWERS.contains(&cell_power) || cell_clip.is_nan() || cell_clip < 0.0 {
            return None;
        }
        Some(Self {
            order,
            forget: Multiplier::from_real(gate * cell / cell)?,
            input: Multiplier::from_real(gate * gate / cell)?,
            output: Multiplier::from_real(gate * gate / f64::from(hidden_scale))?,
            cell_power,
            cell_clip: (f64::from(cell_clip) / cell).min(32_767.0) as i16,
            zero_point,
        })
    }

    /// The factors of a gate: a sum of weighted inputs, or of hidden states, to 12 bits after the point. The product of the scales is an f32
    /// (`GetQuantizedConvolutionMultipler`). `None` if it has no multiplier.
    pub fn gate_factor(scale: f32, weight_scale: f32) -> Option<Multiplier> {
        Multiplier::from_real(f64::from(scale * weight_scale) * 4096.0)
    }

    /// The attributes of a step.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let [time_major, from_zero] = self.order.attributes();
        let (forget, input, output) = (self.forget, self.input, self.output);
        [
            time_major,
            from_zero,
            forget.multiplier,
            forget.shift,
            input.multiplier,
            input.shift,
            output.multiplier,
            output.shift,
            self.cell_power,
            self.cell_clip.into(),
        ]
    }

    fn read(attributes: &[i32; ATTRIBUTES], zero_point: i32) -> Result<Self, StepError> {
        let order = Order::read(attributes)?;
        let &[_, _, forget, forget_shift, input, input_shift, output, output_shift, cell_power, cell_clip] =
            attributes;
        let factor = |multiplier, shift, index: u8| {
            let factor = Multiplier { multiplier, shift };
            let error = StepError::Attribute { index, found: multiplier };
            factor.is_valid().then_some(factor).ok_or(error)
        };
        if !CELL_POWERS.contains(&cell_power) {
            return Err(StepError::Attribute { index: 8, found: cell_power });
        }
        if !(0..=i32::from(i16::MAX)).contains(&cell_clip) {
            return Err(StepError::Attribute { index: 9, found: cell_clip });
        }
        Ok(Self {
            order,
            forget: factor(forget, forget_shift, 2)?,
            input: factor(input, input_shift, 4)?,
            output: factor(output, output_shift, 6)?,
            cell_power,
            cell_clip: cell_clip as i16,
            zero_point,
        })
    }
}

/// The weights of an int8 LSTM; rows `gate * units + unit`.
#[derive(Clone, Copy, Debug)]
pub struct WeightsI8<'a> {
    /// Of the inputs, `[4 * units, 1, 1, C_in]`.
    pub input: &'a [i8],
    /// Of the hidden states, `[4 * units, 1, 1, units]`.
    pub recurrent: &'a [i8],
    /// For each row, the bias of the inputs' sum and that of the hidden states' sum, the zero points folded in (see [`crate::ops::int8::Channel::bias`]).
    pub biases: &'a [[i32; BIAS_WORDS]],
    /// For each gate, multiplier and shift of the inputs' sum and of the hidden states' sum.
    pub factors: &'a [[i32; FACTOR_WORDS]; GATES],
}

/// Runs the LSTM over every sequence of `input`, `[N, H, W, C_in]`, and writes the hidden state of each step to `output`, `[N, H, W, units]`.
/// The states `hidden` and `cell` are `[sequences, units]`, read and written.
///
/// Sums are exact if `|bias| + 128 * sum(|weight|)` of each row is at most `i32::MAX`; otherwise they wrap.
///
/// # Errors
/// [`CallError`] if a slice does not fit the shapes: weights go by the name of [`Tensor::Filter`], states by that of [`Tensor::Output`].
pub fn forward(
    params: &LstmI8,
    weights: &WeightsI8<'_>,
    (input_shape, input): (Shape, &[i8]),
    (hidden, cell): (&mut [i8], &mut [i16]),
    (output_shape, output): (Shape, &mut [i8]),
) -> Result<(), CallError> {
    let ([in_n, in_h, in_w, in_c], [out_n, out_h, out_w, units]) = (input_shape.0, output_shape.0);
    if [in_n, in_h, in_w] != [out_n, out_h, out_w] || input_shape.has_zero() || units == 0 {
        return Err(CallError::Shape { tensor: Tensor::Output });
    }
    let sequences = params.order.sequences(input_shape);
    let rows = units.checked_mul(GATES as u32).ok_or(CallError::Shape { tensor: Tensor::Filter })?;
    let states = Shape([1, 1, sequences.count as u32, units]);
    holds(Tensor::Input, input_shape, input.len())?;
    holds(Tensor::Filter, Shape([rows, 1, 1, in_c]), weights.input.len())?;
    holds(Tensor::Filter, Shape([rows, 1, 1, units]), weights.recurrent.len())?;
    holds(Tensor::Bias, Shape::vector(rows), weights.biases.len())?;
    holds(Tensor::Output, states, hidden.len())?;
    holds(Tensor::Output, states, cell.len())?;
    holds(Tensor::Output, output_shape, output.len())?;
    let (in_c, units) = (in_c as usize, units as usize);
    let samples = input.chunks_exact(sequences.rows() * in_c);
    for (input, output) in samples.zip(output.chunks_exact_mut(sequences.rows() * units)) {
        if params.order.from_zero {
            hidden.fill(params.zero_point as i8);
            cell.fill(0);
        }
        for sequence in 0..sequences.count {
            let hidden = row_mut(hidden, units, sequence);
            let cell = row_mut(cell, units, sequence);
            for step in 0..sequences.steps {
                let index = sequences.row(sequence, step);
                let output = row_mut(output, units, index);
                one_step(params, weights, row(input, in_c, index), hidden, cell, output);
                // Not `copy_from_slice`, which would panic if the lengths differed.
                hidden.iter_mut().zip(output).for_each(|(hidden, &mut output)| *hidden = output);
            }
        }
    }
    Ok(())
}

/// One step of one sequence.
fn one_step(
    params: &LstmI8,
    weights: &WeightsI8<'_>,
    input: &[i8],
    hidden: &[i8],
    cell: &mut [i16],
    output: &mut [i8],
) {
    let units = output.len();
    for (unit, (cell, output)) in cell.iter_mut().zip(output).enumerate() {
        let mut gates = [0i16; GATES];
        for (gate, (value, &factors)) in gates.iter_mut().zip(weights.factors).enumerate() {
            *value = pre_activation(weights, gate * units + unit, factors, input, hidden);
        }
        let [input_gate, forget_gate, cell_gate, output_gate] = gates;
        let (input_gate, forget_gate, output_gate) =
            (sigmoid_q15(input_gate), sigmoid_q15(forget_gate), sigmoid_q15(output_gate));
        // The cell gate's argument has 12 bits after the point.
        let cell_gate = tanh_q15(cell_gate, -12);
        let kept = saturated(params.forget.apply(i32::from(forget_gate) * i32::from(*cell)));
        let new = saturated(params.input.apply(i32::from(input_gate) * i32::from(cell_gate)));
        let mut sum = saturated(i32::from(kept) + i32::from(new));
        if params.cell_clip > 0 {
            sum = sum.min(params.cell_clip).max(-params.cell_clip);
        }
        *cell = sum;
        let product = i32::from(output_gate) * i32::from(tanh_q15(sum, params.cell_power));
        *output = params.output.apply(product).saturating_add(params.zero_point).clamp(-128, 127) as i8;
    }
}

/// What goes into a gate's sigmoid or tangent, with 12 bits after the point.
#[inline(always)]
fn pre_activation(
    weights: &WeightsI8<'_>,
    index: usize,
    [input_multiplier, input_shift, hidden_multiplier, hidden_shift]: [i32; FACTOR_WORDS],
    input: &[i8],
    hidden: &[i8],
) -> i16 {
    let [input_bias, hidden_bias] = weights.biases.get(index).copied().unwrap_or_default();
    let part = |bias, values: &[i8], matrix: &[i8], factor: Multiplier| {
        let mut sum = [bias];
        add_dots(values, [row(matrix, values.len(), index)], &mut sum);
        let [sum] = sum;
        i32::from(saturated(factor.apply(sum)))
    };
    let of_input = Multiplier { multiplier: input_multiplier, shift: input_shift };
    let of_hidden = Multiplier { multiplier: hidden_multiplier, shift: hidden_shift };
    saturated(
        part(input_bias, input, weights.input, of_input)
            + part(hidden_bias, hidden, weights.recurrent, of_hidden),
    )
}

#[inline(always)]
fn saturated(value: i32) -> i16 {
    value.max(i16::MIN.into()).min(i16::MAX.into()) as i16
}

/// The operands of a step: input, weights, recurrent weights, biases, factors; output, hidden state, cell state.
fn params(step: Step<'_>) -> Result<(LstmI8, &[Operand; 5], &[Operand; 3]), StepError> {
    let (reads, writes) = (step.reads::<5>()?, step.writes::<3>()?);
    let [output, ..] = writes;
    let zero_point = quantization(output, 5)?.zero_point;
    Ok((LstmI8::read(step.attributes::<ATTRIBUTES>()?, zero_point)?, reads, writes))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, reads, writes) = params(step)?;
    let ([input, weights, recurrent, biases, factors], [output, hidden, cell]) = (reads, writes);
    let types = [
        ElementType::I8,
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
    quantization(input, 0)?;
    if quantization(hidden, 6)? != quantization(output, 5)? {
        return Err(StepError::Quantization { operand: 6 });
    }
    let ([in_n, in_h, in_w, in_c], [_, _, _, units]) = (input.shape.0, output.shape.0);
    if input.shape.has_zero() || input.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    has_shape(output, 5, Shape([in_n, in_h, in_w, units]))?;
    let rows =
        units.checked_mul(GATES as u32).filter(|&rows| rows > 0).ok_or(StepError::Shape { operand: 5 })?;
    has_shape(weights, 1, Shape([rows, 1, 1, in_c]))?;
    has_shape(recurrent, 2, Shape([rows, 1, 1, units]))?;
    has_shape(biases, 3, Shape([1, 1, rows, BIAS_WORDS as u32]))?;
    has_shape(factors, 4, Shape([1, 1, GATES as u32, FACTOR_WORDS as u32]))?;
    let states = Shape([1, 1, params.order.sequences(input.shape).count as u32, units]);
    has_shape(hidden, 6, states)?;
    has_shape(cell, 7, states)?;
    check_constants(reads, constant)
}

/// Checks that factors are in range, and that no input can make a sum exceed 32 bits.
fn check_constants(
    [_, weights, recurrent, biases, factors]: &[Operand; 5],
    constant: &[u8],
) -> Result<(), StepError> {
    for words in elements::<i32>(constant_bytes(factors, 4, constant)?)?.as_chunks::<2>().0 {
        let &[multiplier, shift] = words;
        if !(Multiplier { multiplier, shift }).is_valid() {
            return Err(StepError::Quantization { operand: 4 });
        }
    }
    let biases = elements::<i32>(constant_bytes(biases, 3, constant)?)?.as_chunks::<BIAS_WORDS>().0;
    for (matrix, operand) in [(weights, 1), (recurrent, 2)] {
        let [_, _, _, columns] = matrix.shape.dims();
        let matrix = elements::<i8>(constant_bytes(matrix, operand, constant)?)?;
        let rows = matrix.chunks_exact(columns.max(1));
        for (index, (row, &[of_input, of_hidden])) in rows.zip(biases).enumerate() {
            let bias = if operand == 1 { of_input } else { of_hidden };
            let sum: u64 = row.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
            if u64::from(bias.unsigned_abs()) + 128 * sum > i32::MAX as u64 {
                return Err(StepError::Accumulator { channel: index as u32 });
            }
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, reads, writes) = params(step)?;
    let ([input, weights, recurrent, biases, factors], [output, hidden, cell]) = (reads, writes);
    let (input_shape, output_shape) = (input.shape, output.shape);
    let Views { reads: [input, weights, recurrent, biases, factors], writes: [output, hidden, cell] } =
        memory.views([input, weights, recurrent, biases, factors], [output, hidden, cell])?;
    let weights = WeightsI8 {
        input: elements(weights)?,
        recurrent: elements(recurrent)?,
        biases: elements(biases)?.as_chunks().0,
        factors: elements(factors)?.as_chunks().0.try_into().map_err(|_| StepError::Memory)?,
    };
    let states = (elements_mut(hidden)?, elements_mut(cell)?);
    let output = (output_shape, elements_mut(output)?);
    forward(&params, &weights, (input_shape, elements(input)?), states, output).map_err(unchecked)
}
