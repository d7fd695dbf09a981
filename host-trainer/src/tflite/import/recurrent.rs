//! `UNIDIRECTIONAL_SEQUENCE_LSTM`, `SVDF`.

use smidgen::Shape;
use smidgen::ops::lstm::int8::LstmI8;
use smidgen::ops::lstm::{GATES, Order};
use smidgen::ops::svdf::int8::SvdfI8;
use smidgen_tflite_schema::{ActivationFunctionType as Fused, TensorType};

use super::importer::{Importer, quantization};
use super::view::{Arithmetic, View, options};
use super::{Refusal, constant, describe_tensor, fused, unsupported};
use crate::graph::{GraphOp, Role, TensorId, Value};
use crate::tflite::net::NetTensor;

/// Inputs of the LSTM, by their positions: the weights of its gates (input, forget, cell, output) begin here.
const INPUT_WEIGHTS: usize = 1;
const RECURRENT_WEIGHTS: usize = 5;
const BIASES: usize = 12;
const OUTPUT_STATE: usize = 18;
const CELL_STATE: usize = 19;
/// What makes it another kind of LSTM.
const OTHERS: [(core::ops::Range<usize>, &str); 3] =
    [(9..12, "peepholes"), (16..18, "a projection"), (20..24, "layer normalization")];

pub(super) fn lstm(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, UnidirectionalSequenceLstmOptions)?;
    for (mut positions, what) in OTHERS {
        if positions.any(|position| view.optional_input(position).is_some()) {
            return Err(unsupported(format!("it has {what}")));
        }
    }
    if options.fused_activation_function()? != Fused::Tanh {
        return Err(unsupported("its activation is not TANH"));
    }
    let (time_major, cell_clip) = (options.time_major()?, options.cell_clip()?);
    if !(cell_clip >= 0.0 && cell_clip.is_finite()) {
        return Err(unsupported(format!("its cell clip is {cell_clip}, expected 0 or more")));
    }
    let (input, output) = (view.input(0)?, view.output(0)?);
    let (&[_, _, in_c], &[_, _, units]) = (input.dims.as_slice(), output.dims.as_slice()) else {
        return Err(unsupported("input and output do not have three dimensions"));
    };
    let sizes = [in_c, units];
    let input_id = importer.activation(view, 0)?;
    let (op, constants) = match view.arithmetic()? {
        Arithmetic::F32 => (GraphOp::Lstm { time_major, cell_clip }, lstm_f32(importer, view, sizes)?),
        Arithmetic::I8 => {
            let order = Order { time_major, from_zero: false };
            let params = params(view, order, cell_clip)?;
            (GraphOp::LstmI8 { params }, lstm_i8(importer, view, sizes)?)
        }
    };
    let states = [importer.state(view, OUTPUT_STATE)?, importer.state(view, CELL_STATE)?];
    let output = importer.output(view, 0)?;
    let inputs = [&[input_id][..], &constants].concat();
    importer.push(view.node_name(), op, inputs, output)?;
    importer.updates(states.to_vec());
    Ok(())
}

/// The constants of an f32 LSTM: the gates innermost.
fn lstm_f32(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    [in_c, units]: [usize; 2],
) -> Result<Vec<TensorId>, Refusal> {
    let node = view.node_name();
    let columns = GATES.saturating_mul(units);
    importer.affords(in_c.max(units).max(1).saturating_mul(columns).saturating_mul(4))?;
    let mut matrix = |kind, first: usize, width: usize| {
        let mut values = vec![0.0; width * columns];
        for gate in 0..GATES {
            let tensor = view.input(first + gate)?;
            has_dims(tensor, &[units, width])?;
            let gate_values = constant::f32s(tensor)?;
            for (unit, row) in gate_values.chunks_exact(width.max(1)).enumerate() {
                let column = gate * units + unit;
                row.iter().enumerate().for_each(|(k, &value)| values[k * columns + column] = value);
            }
        }
        let shape = Shape([1, 1, width as u32, columns as u32]);
        importer.constant(&node, kind, shape, Role::Weights, Value::F32(values))
    };
    let weights = matrix("weights", INPUT_WEIGHTS, in_c)?;
    let recurrent = matrix("recurrent", RECURRENT_WEIGHTS, units)?;
    let mut bias = Vec::with_capacity(columns);
    for gate in 0..GATES {
        let tensor = view.input(BIASES + gate)?;
        has_dims(tensor, &[units])?;
        bias.extend(constant::f32s(tensor)?);
    }
    let shape = Shape::vector(columns as u32);
    Ok(vec![weights, recurrent, importer.constant(&node, "bias", shape, Role::Bias, Value::F32(bias))?])
}

/// What an int8 LSTM computes after its gates' sums.
fn params(view: &View<'_, '_>, order: Order, cell_clip: f32) -> Result<LstmI8, Refusal> {
    let (hidden, cell) = (view.input(OUTPUT_STATE)?, view.input(CELL_STATE)?);
    if cell.element_type != TensorType::Int16 {
        return Err(unsupported(format!("the cell state {} is not int16", describe_tensor(cell))));
    }
    let (hidden, cell, output) = (quantization(hidden)?, quantization(cell)?, quantization(view.output(0)?)?);
    if hidden != output {
        return Err(unsupported("the output has another quantization than the output state"));
    }
    let params = LstmI8::new(order, cell.scale, cell_clip, hidden.scale, hidden.zero_point);
    params.ok_or_else(|| {
        unsupported(format!("the cell state's scale {:e} is no power of two in 2^-30..=1", cell.scale))
    })
}

/// The constants of an int8 LSTM: the gates outermost, zero points folded into the biases.
fn lstm_i8(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    [in_c, units]: [usize; 2],
) -> Result<Vec<TensorId>, Refusal> {
    let node = view.node_name();
    let (input, hidden) = (quantization(view.input(0)?)?, quantization(view.input(OUTPUT_STATE)?)?);
    let rows = GATES.saturating_mul(units);
    importer.affords(in_c.max(units).max(1).saturating_mul(rows))?;
    let (mut weights, mut recurrent) = (Vec::new(), Vec::new());
    let (mut biases, mut factors) = (Vec::with_capacity(2 * rows), Vec::with_capacity(4 * GATES));
    for gate in 0..GATES {
        let bias = view.input(BIASES + gate)?;
        has_dims(bias, &[units])?;
        let bias = constant::i32s(bias)?;
        let sides =
            [(INPUT_WEIGHTS, in_c, input, &mut weights), (RECURRENT_WEIGHTS, units, hidden, &mut recurrent)];
        let mut folded = Vec::with_capacity(2);
        for (first, width, source, all) in sides {
            let tensor = view.input(first + gate)?;
            has_dims(tensor, &[units, width])?;
            let matrix = quantization(tensor)?;
            if matrix.zero_point != 0 {
                return Err(unsupported(format!(
                    "the weights {} have a zero point",
                    describe_tensor(tensor)
                )));
            }
            let factor = LstmI8::gate_factor(source.scale, matrix.scale);
            let factor =
                factor.ok_or_else(|| unsupported(format!("gate {gate} has a factor that is too large")))?;
            factors.extend([factor.multiplier, factor.shift]);
            let values = constant::i8s(tensor)?;
            let sum = |row: &[i8]| row.iter().map(|&weight| i64::from(weight)).sum::<i64>();
            let sums = values.chunks_exact(width.max(1)).map(|row| -i64::from(source.zero_point) * sum(row));
            folded.push(sums.collect::<Vec<i64>>());
            all.extend(values);
        }
        for (unit, &bias) in bias.iter().enumerate() {
            // The bias belongs to the sum of the inputs.
            for folded in [i64::from(bias) + folded[0][unit], folded[1][unit]] {
                let too_large =
                    || unsupported(format!("gate {gate}: bias and zero point have more than 32 bits"));
                biases.push(i32::try_from(folded).map_err(|_| too_large())?);
            }
        }
    }
    let mut add = |kind, shape: [usize; 4], value| {
        importer.constant(&node, kind, Shape(shape.map(|dim| dim as u32)), Role::Constant, value)
    };
    Ok(vec![
        add("weights", [rows, 1, 1, in_c], Value::I8(weights))?,
        add("recurrent", [rows, 1, 1, units], Value::I8(recurrent))?,
        add("biases", [1, 1, rows, 2], Value::I32(biases))?,
        add("factors", [1, 1, GATES, 4], Value::I32(factors))?,
    ])
}

pub(super) fn svdf(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let options = options!(view, SvdfOptions)?;
    let (rank, activation) = (options.rank()?, options.fused_activation_function()?);
    let (input, feature, time) = (view.input(0)?, view.input(1)?, view.input(2)?);
    let (&[batch, in_c], &[filters, feature_c], &[time_filters, memory]) =
        (input.dims.as_slice(), feature.dims.as_slice(), time.dims.as_slice())
    else {
        return Err(unsupported("input and weights do not have two dimensions"));
    };
    let units = usize::try_from(rank).ok().and_then(|rank| filters.checked_div(rank)).unwrap_or(0);
    if units == 0 || units * rank as usize != filters || feature_c != in_c || time_filters != filters {
        return Err(unsupported(format!(
            "its weights {} and {} do not fit each other, a rank of {rank} and {in_c} inputs",
            describe_tensor(feature),
            describe_tensor(time)
        )));
    }
    has_dims(view.output(0)?, &[batch, units])?;
    has_dims(view.input(4)?, &[batch, filters * memory])?;
    let node = view.node_name();
    importer.affords(units.max(in_c).saturating_mul(4))?;
    let mut inputs = vec![importer.activation(view, 0)?];
    let bias_shape = Shape::vector(units as u32);
    let time_shape = Shape([1, 1, filters as u32, memory as u32]);
    if let Some(bias) = view.optional_input(3) {
        has_dims(bias, &[units])?;
    }
    let op = match view.arithmetic()? {
        Arithmetic::F32 => {
            let rows = constant::f32s(feature)?;
            let feature = (0..in_c).flat_map(|k| rows.iter().skip(k).step_by(in_c).copied()).collect();
            let shape = Shape([1, 1, in_c as u32, filters as u32]);
            inputs.push(importer.constant(&node, "feature", shape, Role::Weights, Value::F32(feature))?);
            let time = Value::F32(constant::f32s(time)?);
            inputs.push(importer.constant(&node, "time", time_shape, Role::Weights, time)?);
            let bias = view.optional_input(3).map(constant::f32s).transpose()?;
            let bias = Value::F32(bias.unwrap_or_else(|| vec![0.0; units]));
            inputs.push(importer.constant(&node, "bias", bias_shape, Role::Bias, bias)?);
            GraphOp::Svdf { activation: fused::activation(activation)? }
        }
        Arithmetic::I8 => {
            // An activation is part of the output's quantization, TensorFlow Lite Micro looks at nothing else.
            let scales = [view.input(0)?, feature, view.input(4)?, time, view.output(0)?];
            let [from, features, state, times, to] = scales.map(quantization);
            let (features, times) = (features?, times?);
            if features.zero_point != 0 || times.zero_point != 0 {
                return Err(unsupported("its weights have zero points"));
            }
            let factors = SvdfI8::factors(from?, features.scale, state?, times.scale, to?);
            let [feature_factor, output_factor] =
                factors.ok_or_else(|| unsupported("its scales are too far apart"))?;
            let values = Value::I8(constant::i8s(feature)?);
            let shape = Shape([filters as u32, 1, 1, in_c as u32]);
            inputs.push(importer.constant(&node, "feature", shape, Role::Constant, values)?);
            let values = match time.element_type {
                TensorType::Int16 => Value::I16(constant::i16s(time)?),
                _ => Value::I8(constant::i8s(time)?),
            };
            inputs.push(importer.constant(&node, "time", time_shape, Role::Constant, values)?);
            let bias = view.optional_input(3).map(constant::i32s).transpose()?;
            let bias = Value::I32(bias.unwrap_or_else(|| vec![0; units]));
            inputs.push(importer.constant(&node, "bias", bias_shape, Role::Constant, bias)?);
            GraphOp::SvdfI8 { feature: feature_factor, output: output_factor }
        }
    };
    let state = importer.state(view, 4)?;
    let output = importer.output(view, 0)?;
    importer.push(node, op, inputs, output)?;
    importer.updates(vec![state]);
    Ok(())
}

fn has_dims(tensor: &NetTensor<'_>, expected: &[usize]) -> Result<(), Refusal> {
    if tensor.dims == expected {
        return Ok(());
    }
    Err(unsupported(format!("{} does not have the dimensions {expected:?}", describe_tensor(tensor))))
}
