//! The LSTM against independent references: f32 in f64, int8 in wide integers from TensorFlow Lite Micro's definition.

use std::vec;
use std::vec::Vec;

use super::float::{ATTRIBUTES, CACHED, Lstm, Weights};
use super::int8::{LstmI8, WeightsI8};
use super::{GATES, Order, float, gradient, int8, sigmoid_q15, tanh_q15};
use crate::operand::{ElementType, Quantization};
use crate::ops::Operator;
use crate::ops::int8::reference::{self, Case, divide, high_mul, shape};
use crate::ops::sequences::cases::{Sizes, lay_out};
use crate::ops::test_support::{
    Random, assert_close, assert_same_bits, changed, dot, numeric_gradient, run_in_arena, step, wide,
};
use crate::quantization::Multiplier;
use crate::step::StepError;

/// Largest error relative to the largest value: a few roundings of 6e-8 for each of up to thirty terms, and through up to six steps of time. With micromath the
/// functions of the gates are approximations, and so are their slopes.
const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 3e-6 };

/// Everything that goes into an f32 LSTM.
#[derive(Clone, Debug)]
struct Inputs<T> {
    input: Vec<T>,
    weights: Vec<T>,
    recurrent: Vec<T>,
    bias: Vec<T>,
    hidden: Vec<T>,
    cell: Vec<T>,
}

fn inputs(sizes: &Sizes, random: &mut Random) -> Inputs<f32> {
    let Sizes { inputs, units, .. } = *sizes;
    let states = sizes.sequences() * units;
    Inputs {
        input: random.values(sizes.rows() * inputs).iter().map(|x| 2.0 * x).collect(),
        weights: random.values(inputs * GATES * units),
        recurrent: random.values(units * GATES * units),
        bias: random.values(GATES * units),
        hidden: random.values(states),
        cell: random.values(states),
    }
}

fn widened(from: &Inputs<f32>) -> Inputs<f64> {
    Inputs {
        input: wide(&from.input),
        weights: wide(&from.weights),
        recurrent: wide(&from.recurrent),
        bias: wide(&from.bias),
        hidden: wide(&from.hidden),
        cell: wide(&from.cell),
    }
}

/// The outputs, and the states afterwards, by the formulas.
fn reference(sizes: &Sizes, clip: f64, from: &Inputs<f64>) -> [Vec<f64>; 3] {
    let Sizes { inputs, units, .. } = *sizes;
    let mut output = vec![0.0; sizes.rows() * units];
    let (mut hidden, mut cell) = (from.hidden.clone(), from.cell.clone());
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    for (index, rows) in sizes.sequence_rows().into_iter().enumerate() {
        let first = index % sizes.sequences() * units;
        if sizes.order.from_zero {
            hidden[first..first + units].fill(0.0);
            cell[first..first + units].fill(0.0);
        }
        for row in rows {
            let x = &from.input[row * inputs..][..inputs];
            let h = hidden[first..first + units].to_vec();
            for unit in 0..units {
                let [i, f, g, o] = core::array::from_fn(|gate| {
                    let column = gate * units + unit;
                    let of_input: f64 =
                        (0..inputs).map(|k| x[k] * from.weights[k * GATES * units + column]).sum();
                    let of_hidden: f64 =
                        (0..units).map(|k| h[k] * from.recurrent[k * GATES * units + column]).sum();
                    from.bias[column] + of_input + of_hidden
                });
                let mut sum = sigmoid(f) * cell[first + unit] + sigmoid(i) * libm::tanh(g);
                if clip > 0.0 {
                    sum = sum.clamp(-clip, clip);
                }
                cell[first + unit] = sum;
                hidden[first + unit] = sigmoid(o) * libm::tanh(sum);
                output[row * units + unit] = hidden[first + unit];
            }
        }
    }
    [output, hidden, cell]
}

/// Output, states and cache of the f32 operator.
fn forward(sizes: &Sizes, params: &Lstm, from: &Inputs<f32>) -> [Vec<f32>; 4] {
    let Sizes { inputs, units, .. } = *sizes;
    let (mut hidden, mut cell) = (from.hidden.clone(), from.cell.clone());
    let mut output = vec![f32::NAN; sizes.rows() * units];
    let mut cache = vec![f32::NAN; sizes.rows() * units * CACHED];
    let weights = Weights { input: &from.weights, recurrent: &from.recurrent, bias: &from.bias };
    let shapes = [inputs, units].map(|channels| shape(sizes.shape(channels)));
    let states = (&mut hidden[..], &mut cell[..]);
    float::forward(
        params,
        &weights,
        (shapes[0], &from.input),
        states,
        (shapes[1], &mut output),
        Some(&mut cache),
    )
    .unwrap();
    [output, hidden, cell, cache]
}

#[test]
fn f32_is_the_formula_and_remembers() {
    let mut random = Random(31);
    for round in 0..200 {
        let sizes = Sizes::random(&mut random, round % 2 == 0);
        let from = inputs(&sizes, &mut random);
        let params = Lstm { order: sizes.order, cell_clip: if round % 5 == 0 { 0.4 } else { 0.0 } };
        let [output, hidden, cell, _] = forward(&sizes, &params, &from);
        let [expected, expected_hidden, expected_cell] =
            reference(&sizes, params.cell_clip.into(), &widened(&from));
        assert_close("output", &output, &expected, TOLERANCE);
        assert_close("hidden state", &hidden, &expected_hidden, TOLERANCE);
        assert_close("cell state", &cell, &expected_cell, TOLERANCE);
    }
}

#[test]
fn the_step_is_the_function_with_and_without_a_cache() {
    let mut random = Random(32);
    let order = Order { time_major: false, from_zero: false };
    let sizes = Sizes { order, samples: 2, height: 2, width: 3, inputs: 5, units: 6 };
    let from = inputs(&sizes, &mut random);
    let params = Lstm { order, cell_clip: 0.0 };
    let expected = forward(&sizes, &params, &from);
    let state = [1, 1, 2, 6];
    let shapes = [
        sizes.shape(5),
        [1, 1, 5, 24],
        [1, 1, 6, 24],
        [1, 1, 1, 24],
        sizes.shape(6),
        state,
        state,
        sizes.shape(30),
    ];
    let (operands, length) = lay_out(&shapes);
    for writes in [3, 4] {
        let mut arena = vec![f32::NAN; length];
        let values = [&from.input, &from.weights, &from.recurrent, &from.bias];
        for (operand, values) in operands.iter().zip(values) {
            arena[operand.offset as usize / 4..][..values.len()].copy_from_slice(values);
        }
        for (operand, values) in operands[5..].iter().zip([&from.hidden, &from.cell]) {
            arena[operand.offset as usize / 4..][..values.len()].copy_from_slice(values);
        }
        let step = step(Operator::Lstm as u8, &params.attributes(), &operands[..4], &operands[4..4 + writes]);
        run_in_arena(&step, &mut arena);
        for (operand, expected) in operands[4..4 + writes].iter().zip(&expected) {
            assert_same_bits("a write", &arena[operand.offset as usize / 4..][..expected.len()], expected);
        }
        for (index, expected) in [(0, 7), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)].into_iter().skip(1)
        {
            let found = changed(&step, |step| reference::operand_mut(step, index).shape.0[3] += 1);
            // A wider output is one of more units, which the weights do not have.
            let expected = if index == 4 { 1 } else { expected };
            assert_eq!(found, Err(StepError::Shape { operand: expected }), "{index}");
        }
        let found = changed(&step, |step| step.attributes[0] = 2);
        assert_eq!(found, Err(StepError::Attribute { index: 0, found: 2 }));
        let bits = (-1.0f32).to_bits() as i32;
        let found = changed(&step, |step| step.attributes[2] = bits);
        assert_eq!(found, Err(StepError::Attribute { index: 2, found: bits }));
        let found = changed(&step, |step| {
            step.attributes.pop();
        });
        assert_eq!(found, Err(StepError::AttributeCount { expected: ATTRIBUTES as u8, found: 2 }));
        assert_eq!(
            changed(&step, |step| step.writes.truncate(2)),
            Err(StepError::WriteCount { expected: 3, found: 2 })
        );
    }
}

/// The gates' gradients, and that of the recurrent weights.
fn backward(sizes: &Sizes, params: &Lstm, from: &Inputs<f32>, grad_output: &[f32]) -> [Vec<f32>; 2] {
    let units = sizes.units;
    let [output, _, _, cache] = forward(sizes, params, from);
    let mut gates = vec![f32::NAN; sizes.rows() * GATES * units];
    let mut recurrent = vec![f32::NAN; units * GATES * units];
    let shape = shape(sizes.shape(units));
    let mut scratch = vec![f32::NAN; 2 * units];
    gradient::grad_gates(params, (shape, grad_output), &cache, &from.recurrent, &mut gates, &mut scratch)
        .unwrap();
    let gates_shape = self::shape(sizes.shape(GATES * units));
    gradient::grad_recurrent(params.order, (shape, &output), (gates_shape, &gates), &mut recurrent).unwrap();
    [gates, recurrent]
}

#[test]
fn gradients_are_central_differences() {
    let mut random = Random(33);
    for round in 0..40 {
        let sizes = Sizes::random(&mut random, true);
        let Sizes { inputs: in_c, units, .. } = sizes;
        let from = inputs(&sizes, &mut random);
        // No cell state comes near to this clip's edge by chance: a few lie beyond it.
        let params = Lstm { order: sizes.order, cell_clip: if round % 4 == 0 { 0.35 } else { 0.0 } };
        let clip = f64::from(params.cell_clip);
        let grad_output = random.values(sizes.rows() * units);
        let [gates, recurrent] = backward(&sizes, &params, &from, &grad_output);
        let exact = widened(&from);
        let loss = |exact: &Inputs<f64>| dot(&grad_output, &reference(&sizes, clip, exact)[0]);
        let numeric = |at: &[f32], set: &dyn Fn(&mut Inputs<f64>, &[f64])| {
            numeric_gradient(at, |values| {
                let mut changed = exact.clone();
                set(&mut changed, values);
                loss(&changed)
            })
        };
        let expected = numeric(&from.recurrent, &|exact, values| exact.recurrent = values.to_vec());
        assert_close("recurrent weights", &recurrent, &expected, TOLERANCE);

        // The others follow from the gates' gradients, as those of a pointwise convolution.
        let columns = GATES * units;
        let bias: Vec<f32> =
            (0..columns).map(|column| gates.iter().skip(column).step_by(columns).sum()).collect();
        assert_close(
            "bias",
            &bias,
            &numeric(&from.bias, &|exact, values| exact.bias = values.to_vec()),
            TOLERANCE,
        );
        let row = |row: usize| &gates[row * columns..][..columns];
        let input: Vec<f32> = (0..sizes.rows() * in_c)
            .map(|index| {
                let weights = &from.weights[index % in_c * columns..][..columns];
                weights.iter().zip(row(index / in_c)).map(|(weight, gate)| weight * gate).sum()
            })
            .collect();
        assert_close(
            "input",
            &input,
            &numeric(&from.input, &|exact, values| exact.input = values.to_vec()),
            TOLERANCE,
        );
        let weights: Vec<f32> = (0..in_c * columns)
            .map(|index| {
                let (k, column) = (index / columns, index % columns);
                (0..sizes.rows()).map(|n| from.input[n * in_c + k] * row(n)[column]).sum()
            })
            .collect();
        let expected = numeric(&from.weights, &|exact, values| exact.weights = values.to_vec());
        assert_close("weights", &weights, &expected, TOLERANCE);
    }
}

#[test]
fn the_gradients_steps_are_the_functions() {
    let mut random = Random(34);
    let order = Order { time_major: true, from_zero: true };
    let sizes = Sizes { order, samples: 2, height: 4, width: 2, inputs: 3, units: 5 };
    let from = inputs(&sizes, &mut random);
    let params = Lstm { order, cell_clip: 0.0 };
    let grad_output = random.values(sizes.rows() * 5);
    let [gates, recurrent] = backward(&sizes, &params, &from, &grad_output);
    let [output, _, _, cache] = forward(&sizes, &params, &from);
    let shapes = [sizes.shape(5), sizes.shape(25), [1, 1, 5, 20], sizes.shape(20), [1, 1, 1, 10]];
    let (operands, length) = lay_out(&shapes);
    let mut arena = [&grad_output[..], &cache, &from.recurrent].concat();
    arena.resize(length, f32::NAN);
    let of_gates = step(Operator::LstmGradGates as u8, &params.attributes(), &operands[..3], &operands[3..]);
    run_in_arena(&of_gates, &mut arena);
    assert_same_bits("gates", &arena[operands[3].offset as usize / 4..][..gates.len()], &gates);

    let (operands, length) = lay_out(&[sizes.shape(5), sizes.shape(20), [1, 1, 5, 20]]);
    let mut arena = [&output[..], &gates].concat();
    arena.resize(length, f32::NAN);
    let of_recurrent =
        step(Operator::LstmGradRecurrent as u8, &params.attributes(), &operands[..2], &operands[2..]);
    run_in_arena(&of_recurrent, &mut arena);
    assert_same_bits("recurrent weights", &arena[operands[2].offset as usize / 4..], &recurrent);

    for step in [of_gates, of_recurrent] {
        let found = changed(&step, |step| step.attributes[1] = 0);
        assert_eq!(found, Err(StepError::Attribute { index: 1, found: 0 }));
        for index in 1..step.reads.len() + step.writes.len() {
            let found = changed(&step, |step| reference::operand_mut(step, index).shape.0[2] += 1);
            assert_eq!(found, Err(StepError::Shape { operand: index as u8 }));
        }
    }
}

/// An int8 LSTM with random weights and factors.
struct Quantized {
    sizes: Sizes,
    params: LstmI8,
    weights: Vec<i8>,
    recurrent: Vec<i8>,
    biases: Vec<[i32; 2]>,
    factors: [[i32; 4]; GATES],
}

impl Quantized {
    fn random(random: &mut reference::Random, sizes: Sizes) -> Self {
        let Sizes { inputs, units, .. } = sizes;
        let scale = |random: &mut reference::Random| 2f32.powf(random.range(-12, -4) as f32 / 2.0);
        let power = random.range(-15, -9) as i32;
        let clip = if random.range(0, 3) == 0 { random.range(1, 8) as f32 / 4.0 } else { 0.0 };
        let hidden_scale = 1.0 / random.range(100, 140) as f32;
        let params =
            LstmI8::new(sizes.order, 2f32.powi(power), clip, hidden_scale, random.zero_point()).unwrap();
        let factors = core::array::from_fn(|_| {
            let [x, h] = [(); 2].map(|()| LstmI8::gate_factor(scale(random), scale(random)).unwrap());
            [x.multiplier, x.shift, h.multiplier, h.shift]
        });
        let weights = random.bytes(GATES * units * inputs);
        let recurrent = random.bytes(GATES * units * units);
        let bias = |random: &mut reference::Random| random.range(-20_000, 20_000) as i32;
        let biases = (0..GATES * units).map(|_| [bias(random), bias(random)]).collect();
        Self { sizes, params, weights, recurrent, biases, factors }
    }

    /// By the definition, in wide integers.
    fn reference(&self, input: &[i8], hidden: &mut [i8], cell: &mut [i16]) -> Vec<i8> {
        let (Sizes { inputs, units, .. }, params) = (self.sizes, self.params);
        let scaled = |value: i128, factor: Multiplier| {
            let left = value << factor.shift.max(0);
            divide(high_mul(left, factor.multiplier.into()), 1 << (-factor.shift).max(0))
        };
        let word = |value: i128| value.clamp(-32_768, 32_767);
        let mut output = vec![0; self.sizes.rows() * units];
        for (index, rows) in self.sizes.sequence_rows().into_iter().enumerate() {
            let first = index % self.sizes.sequences() * units;
            if self.sizes.order.from_zero {
                hidden[first..first + units].fill(params.zero_point as i8);
                cell[first..first + units].fill(0);
            }
            for row in rows {
                let x = &input[row * inputs..][..inputs];
                let h = hidden[first..first + units].to_vec();
                for unit in 0..units {
                    let [i, f, g, o] = core::array::from_fn(|gate| {
                        let line = gate * units + unit;
                        let sum = |values: &[i8], matrix: &[i8], bias: i32, multiplier, shift| {
                            let row = &matrix[line * values.len()..][..values.len()];
                            let dot: i128 =
                                values.iter().zip(row).map(|(&a, &b)| i128::from(a) * i128::from(b)).sum();
                            word(scaled(dot + i128::from(bias), Multiplier { multiplier, shift }))
                        };
                        let ([bias_x, bias_h], [m_x, s_x, m_h, s_h]) =
                            (self.biases[line], self.factors[gate]);
                        word(
                            sum(x, &self.weights, bias_x, m_x, s_x)
                                + sum(&h, &self.recurrent, bias_h, m_h, s_h),
                        ) as i16
                    });
                    let product = |a: i16, b: i16| i128::from(a) * i128::from(b);
                    let kept = word(scaled(product(sigmoid_q15(f), cell[first + unit]), params.forget));
                    let new = word(scaled(product(sigmoid_q15(i), tanh_q15(g, -12)), params.input));
                    let mut state = word(kept + new);
                    if params.cell_clip > 0 {
                        state = state.clamp(-i128::from(params.cell_clip), params.cell_clip.into());
                    }
                    cell[first + unit] = state as i16;
                    let tanh = tanh_q15(state as i16, params.cell_power);
                    let out =
                        scaled(product(sigmoid_q15(o), tanh), params.output) + i128::from(params.zero_point);
                    hidden[first + unit] = out.clamp(-128, 127) as i8;
                    output[row * units + unit] = hidden[first + unit];
                }
            }
        }
        output
    }

    fn case(&self) -> Case {
        let Sizes { inputs, units, .. } = self.sizes;
        let (rows, state) = (GATES * units, shape([1, 1, self.sizes.sequences(), units]));
        let hidden = Some(Quantization { scale: 0.008, zero_point: self.params.zero_point });
        Case::new(Operator::LstmI8, &self.params.attributes())
            .reads(ElementType::I8, shape(self.sizes.shape(inputs)), reference::at(3))
            .constant(ElementType::I8, shape([rows, 1, 1, inputs]), &self.weights)
            .constant(ElementType::I8, shape([rows, 1, 1, units]), &self.recurrent)
            .constant(ElementType::I32, shape([1, 1, rows, 2]), self.biases.as_flattened())
            .constant(ElementType::I32, shape([1, 1, 4, 4]), self.factors.as_flattened())
            .writes(ElementType::I8, shape(self.sizes.shape(units)), hidden)
            .writes(ElementType::I8, state, hidden)
            .writes(ElementType::I16, state, None)
    }
}

#[test]
fn int8_is_the_definition_and_remembers() {
    let (mut random, mut sizes) = (reference::Random(35), Random(35));
    let mut saturated = 0;
    for round in 0..300 {
        let quantized = Quantized::random(&mut random, Sizes::random(&mut sizes, round % 2 == 0));
        let Sizes { inputs, units, .. } = quantized.sizes;
        let states = quantized.sizes.sequences() * units;
        let mut hidden = random.bytes(states);
        let mut cell: Vec<i16> = (0..states).map(|_| random.range(-32_768, 32_767) as i16).collect();
        let (mut expected_hidden, mut expected_cell) = (hidden.clone(), cell.clone());
        let weights = WeightsI8 {
            input: &quantized.weights,
            recurrent: &quantized.recurrent,
            biases: &quantized.biases,
            factors: &quantized.factors,
        };
        let [from, to] = [inputs, units].map(|channels| shape(quantized.sizes.shape(channels)));
        for _ in 0..2 {
            let input = random.bytes(quantized.sizes.rows() * inputs);
            let mut output = vec![0; quantized.sizes.rows() * units];
            let states = (&mut hidden[..], &mut cell[..]);
            int8::forward(&quantized.params, &weights, (from, &input), states, (to, &mut output)).unwrap();
            let expected = quantized.reference(&input, &mut expected_hidden, &mut expected_cell);
            assert_eq!(output, expected, "{:?}", quantized.sizes);
            assert_eq!((&hidden, &cell), (&expected_hidden, &expected_cell));
            saturated += usize::from(cell.contains(&i16::MAX));
        }
        if quantized.sizes.order.from_zero {
            let input = random.bytes(quantized.sizes.rows() * inputs);
            let expected = quantized.reference(&input, &mut expected_hidden, &mut expected_cell);
            assert_eq!(quantized.case().run::<i8, i8>(&[&input]), expected);
        }
    }
    assert!(saturated > 0);
}

#[test]
fn the_int8_step_says_what_is_wrong() {
    let order = Order { time_major: false, from_zero: true };
    let sizes = Sizes { order, samples: 1, height: 2, width: 3, inputs: 4, units: 5 };
    let mut random = reference::Random(36);
    let quantized = Quantized::random(&mut random, sizes);
    let case = quantized.case();
    case.check().unwrap();
    let types = |index: usize| if [3, 4].contains(&index) { ElementType::I8 } else { ElementType::I32 };
    for index in 0..8 {
        case.expect(StepError::ElementType { operand: index as u8 }, |step| {
            reference::operand_mut(step, index).element_type = types(index);
        });
    }
    for index in [1, 2, 3, 4, 6, 7] {
        case.expect(StepError::Shape { operand: index as u8 }, |step| {
            reference::operand_mut(step, index).shape.0[3] += 1;
        });
    }
    for (index, found) in [(0, 2), (1, -1), (2, 5), (4, -1), (6, 1), (8, 1), (8, -31), (9, -1), (9, 40_000)] {
        case.expect(StepError::Attribute { index: index as u8, found }, |step| {
            step.attributes[index] = found;
        });
    }
    case.expect(StepError::Quantization { operand: 6 }, |step| step.writes[1].quantization.scale = 0.5);
    let mut heavy = quantized;
    heavy.biases[7] = [0, i32::MAX];
    assert_eq!(heavy.case().check(), Err(StepError::Accumulator { channel: 7 }));
    heavy.biases[7] = [i32::MIN, 0];
    assert_eq!(heavy.case().check(), Err(StepError::Accumulator { channel: 7 }));
    heavy.biases[7] = [0, 0];
    heavy.factors[3][2] = 12;
    assert_eq!(heavy.case().check(), Err(StepError::Quantization { operand: 4 }));
    for (scale, clip) in [(0.3, 0.0), (2.0, 0.0), (0.5, -1.0), (0.5, f32::NAN)] {
        assert_eq!(LstmI8::new(order, scale, clip, 0.01, 0), None);
    }
}
