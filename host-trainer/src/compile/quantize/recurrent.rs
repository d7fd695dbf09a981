//! Layers that remember, in int8. Their states begin at zero with every sample.

use smidgen::ops::gru::int8::GruI8;
use smidgen::ops::lstm::Order;
use smidgen::ops::lstm::int8::LstmI8;
use smidgen::ops::{gru, lstm};
use smidgen::quantization::Multiplier;
use smidgen::{Quantization, Shape};

use super::weights::integers;
use super::{Activated, QuantizeError, Quantizer, too_small};
use crate::graph::{GraphOp, Node, TensorId, Value};

/// The greatest magnitude of a cell state that int8 has room for, if it is not clipped.
const MOST_CELL: f64 = 128.0;

/// A gate's matrix in integers, with one scale.
struct Gate {
    /// For each unit, its row of weights and its bias with the zero point folded in.
    rows: Vec<(Vec<i8>, i32)>,
    scale: f32,
    /// The largest accumulator.
    bound: i64,
}

impl Gate {
    /// `columns` units from column `first` of a matrix `[inputs, width]`, which reads `input`.
    fn new(
        matrix: &[f32],
        bias: &[f32],
        (first, units, width): (usize, usize, usize),
        input: Quantization,
    ) -> Option<Self> {
        let weights = |unit: usize| matrix.iter().skip(first + unit).step_by(width.max(1)).copied();
        let largest = (0..units).flat_map(weights).fold(0.0f32, |most, weight| most.max(weight.abs()));
        let largest_bias = bias.iter().fold(0.0f32, |most, bias| most.max(bias.abs()));
        // As for other layers, a bias is at most 2^30.
        let of_bias = 2.0 * largest_bias / (input.scale * i32::MAX as f32);
        let mut scale = (largest / 127.0).max(of_bias).max(f32::MIN_POSITIVE);
        while scale.is_finite() {
            let rows: Option<Vec<_>> = (0..units)
                .map(|unit| {
                    let weights: Vec<f32> = weights(unit).collect();
                    integers(&weights, bias.get(unit).copied().unwrap_or(0.0).into(), input, scale, 128)
                })
                .collect();
            if let Some(rows) = rows {
                let bound = rows.iter().map(|&(_, _, bound)| bound).max().unwrap_or(0);
                let rows = rows.into_iter().map(|(weights, bias, _)| (weights, bias)).collect();
                return Some(Self { rows, scale, bound });
            }
            scale *= 2.0;
        }
        None
    }

    /// The factor of its sums to 12 bits after the point, if no sum overflows on the way.
    fn factor(&self, input: Quantization) -> Option<Multiplier> {
        let factor = LstmI8::gate_factor(input.scale, self.scale)?;
        let shifted = self.bound.checked_shl(factor.shift.max(0).unsigned_abs())?;
        (shifted <= i64::from(i32::MAX)).then_some(factor)
    }
}

/// The rows of all gates.
fn weights(gates: &[Gate]) -> Vec<i8> {
    gates.iter().flat_map(|gate| &gate.rows).flat_map(|(weights, _)| weights.iter().copied()).collect()
}

/// The biases of all rows.
fn biases(gates: &[Gate]) -> Vec<i32> {
    gates.iter().flat_map(|gate| &gate.rows).map(|&(_, bias)| bias).collect()
}

impl Quantizer<'_> {
    /// An LSTM. A scale for each gate's weights; the cell state has room for what it can become in all steps, as each adds at most 1, up to [`MOST_CELL`].
    pub(super) fn lstm(
        &mut self,
        node: &Node,
        input: Activated,
        (time_major, cell_clip): (bool, f32),
        output: Quantization,
    ) -> Result<(GraphOp, Vec<TensorId>), QuantizeError> {
        let small = || too_small(node, output.scale);
        let [_, height, width, in_c] = self.source.tensor(node.inputs[0]).shape.dims();
        let [.., units] = self.source.tensor(node.output).shape.dims();
        let steps = (if time_major { height } else { width }) as f64;
        let most = if cell_clip > 0.0 { steps.min(cell_clip.into()) } else { steps.min(MOST_CELL) };
        // The least power of two with 15 bits for it.
        let cell_scale = libm::exp2(libm::ceil(libm::log2(most.max(1.0)))) as f32 / 32_768.0;
        let order = Order { time_major, from_zero: true };
        let params = LstmI8::new(order, cell_scale, cell_clip, output.scale, output.zero_point);
        let params = params.ok_or_else(small)?;
        let bias = self.finite(node.inputs[3])?.to_vec();
        let of_input = self.gates(node, 1, &bias, input.quantization)?;
        let of_hidden = self.gates(node, 2, &[], output)?;
        let mut factors = Vec::new();
        for (of_input, of_hidden) in of_input.iter().zip(&of_hidden) {
            for factor in [of_input.factor(input.quantization), of_hidden.factor(output)] {
                let Multiplier { multiplier, shift } = factor.ok_or_else(small)?;
                factors.extend([multiplier, shift]);
            }
        }
        let pairs =
            biases(&of_input).into_iter().zip(biases(&of_hidden)).flat_map(<[i32; 2]>::from).collect();
        let rows = (lstm::GATES * units) as u32;
        let matrix = |inputs: usize| Shape([rows, 1, 1, inputs as u32]);
        let constants = vec![
            input.id,
            self.constant(node, "weights", matrix(in_c), Value::I8(weights(&of_input))),
            self.constant(node, "recurrent", matrix(units), Value::I8(weights(&of_hidden))),
            self.constant(node, "biases", Shape([1, 1, rows, 2]), Value::I32(pairs)),
            self.constant(node, "factors", Shape([1, 1, lstm::GATES as u32, 4]), Value::I32(factors)),
        ];
        Ok((GraphOp::LstmI8 { params }, constants))
    }

    /// A GRU behind the layer that gives its gates.
    pub(super) fn gru(
        &mut self,
        node: &Node,
        gates: Activated,
        time_major: bool,
        output: Quantization,
    ) -> Result<(GraphOp, Vec<TensorId>), QuantizeError> {
        let small = || too_small(node, output.scale);
        let order = Order { time_major, from_zero: true };
        let params = GruI8::new(order, gates.quantization, output).ok_or_else(small)?;
        let bias = self.finite(node.inputs[2])?.to_vec();
        let of_hidden = self.gates(node, 1, &bias, output)?;
        let mut factors = Vec::new();
        for gate in &of_hidden {
            let Multiplier { multiplier, shift } = gate.factor(output).ok_or_else(small)?;
            factors.extend([multiplier, shift]);
        }
        let [.., units] = self.source.tensor(node.output).shape.dims();
        let rows = (gru::GATES * units) as u32;
        let matrix = Shape([rows, 1, 1, units as u32]);
        let constants = vec![
            gates.id,
            self.constant(node, "recurrent", matrix, Value::I8(weights(&of_hidden))),
            self.constant(node, "biases", Shape::vector(rows), Value::I32(biases(&of_hidden))),
            self.constant(node, "factors", Shape([1, 1, gru::GATES as u32, 2]), Value::I32(factors)),
        ];
        Ok((GraphOp::GruI8 { params }, constants))
    }

    /// The gates of the matrix that is input `index`, `[1, 1, inputs, gates * units]`.
    fn gates(
        &self,
        node: &Node,
        index: usize,
        bias: &[f32],
        input: Quantization,
    ) -> Result<Vec<Gate>, QuantizeError> {
        let [.., width] = self.source.tensor(node.inputs[index]).shape.dims();
        let [.., units] = self.source.tensor(node.output).shape.dims();
        let matrix = self.finite(node.inputs[index])?;
        (0..width)
            .step_by(units.max(1))
            .map(|first| {
                let bias = bias.get(first..first + units).unwrap_or_default();
                Gate::new(matrix, bias, (first, units, width), input)
                    .ok_or_else(|| too_small(node, input.scale))
            })
            .collect()
    }
}
