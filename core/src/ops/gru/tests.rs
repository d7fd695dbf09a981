//! The GRU against independent references: f32 in f64, int8 in wide integers.

use std::vec;
use std::vec::Vec;

use super::float::{ATTRIBUTES, CACHED};
use super::int8::{GruI8, WeightsI8};
use super::{GATES, Order, float, gradient, int8};
use crate::operand::{ElementType, Quantization};
use crate::ops::Operator;
use crate::ops::int8::reference::{self, Case, divide, high_mul, shape};
use crate::ops::lstm::gradient::grad_recurrent;
use crate::ops::lstm::{sigmoid_q15, tanh_q15};
use crate::ops::sequences::cases::{Sizes, lay_out};
use crate::ops::test_support::{
    Random, assert_close, assert_same_bits, changed, dot, numeric_gradient, run_in_arena, step, wide,
};
use crate::quantization::Multiplier;
use crate::step::StepError;

/// As the LSTM's: a few roundings for each of up to thirty terms, through up to four steps of time; with micromath the functions are approximations.
const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 3e-6 };

/// Everything that goes into an f32 GRU.
#[derive(Clone, Debug)]
struct Inputs<T> {
    gates: Vec<T>,
    recurrent: Vec<T>,
    bias: Vec<T>,
    hidden: Vec<T>,
}

fn inputs(sizes: &Sizes, random: &mut Random) -> Inputs<f32> {
    let units = sizes.units;
    Inputs {
        gates: random.values(sizes.rows() * GATES * units).iter().map(|x| 2.0 * x).collect(),
        recurrent: random.values(units * GATES * units),
        bias: random.values(GATES * units),
        hidden: random.values(sizes.sequences() * units),
    }
}

fn widened(from: &Inputs<f32>) -> Inputs<f64> {
    Inputs {
        gates: wide(&from.gates),
        recurrent: wide(&from.recurrent),
        bias: wide(&from.bias),
        hidden: wide(&from.hidden),
    }
}

/// The outputs, and the state afterwards, by the formulas as they are usually written.
fn reference(sizes: &Sizes, from: &Inputs<f64>) -> [Vec<f64>; 2] {
    let units = sizes.units;
    let mut output = vec![0.0; sizes.rows() * units];
    let mut hidden = from.hidden.clone();
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    for (index, rows) in sizes.sequence_rows().into_iter().enumerate() {
        let first = index % sizes.sequences() * units;
        if sizes.order.from_zero {
            hidden[first..first + units].fill(0.0);
        }
        for row in rows {
            let x = &from.gates[row * GATES * units..][..GATES * units];
            let h = hidden[first..first + units].to_vec();
            for unit in 0..units {
                let [s_r, s_z, s_n] = core::array::from_fn(|gate| {
                    let column = gate * units + unit;
                    let sum: f64 =
                        (0..units).map(|k| h[k] * from.recurrent[k * GATES * units + column]).sum();
                    from.bias[column] + sum
                });
                let reset = sigmoid(x[unit] + s_r);
                let update = sigmoid(x[units + unit] + s_z);
                let new = libm::tanh(x[2 * units + unit] + reset * s_n);
                hidden[first + unit] = (1.0 - update) * new + update * h[unit];
                output[row * units + unit] = hidden[first + unit];
            }
        }
    }
    [output, hidden]
}

/// Output, state and cache of the f32 operator.
fn forward(sizes: &Sizes, from: &Inputs<f32>) -> [Vec<f32>; 3] {
    let units = sizes.units;
    let mut hidden = from.hidden.clone();
    let mut output = vec![f32::NAN; sizes.rows() * units];
    let mut cache = vec![f32::NAN; sizes.rows() * units * CACHED];
    let shapes = [GATES, 1].map(|parts| shape(sizes.shape(parts * sizes.units)));
    float::forward(
        sizes.order,
        (shapes[0], &from.gates),
        &from.recurrent,
        &from.bias,
        &mut hidden,
        (shapes[1], &mut output),
        Some(&mut cache),
    )
    .unwrap();
    [output, hidden, cache]
}

#[test]
fn f32_is_the_formula_and_remembers() {
    let mut random = Random(41);
    for round in 0..200 {
        let sizes = Sizes::random(&mut random, round % 2 == 0);
        let from = inputs(&sizes, &mut random);
        let [output, hidden, _] = forward(&sizes, &from);
        let [expected, expected_hidden] = reference(&sizes, &widened(&from));
        assert_close("output", &output, &expected, TOLERANCE);
        assert_close("hidden state", &hidden, &expected_hidden, TOLERANCE);
    }
}

/// The gates' gradients, those of the sums, and that of the recurrent weights.
fn backward(sizes: &Sizes, from: &Inputs<f32>, grad_output: &[f32]) -> [Vec<f32>; 3] {
    let units = sizes.units;
    let [output, _, cache] = forward(sizes, from);
    let mut gates = vec![f32::NAN; sizes.rows() * GATES * units];
    let (mut sums, mut recurrent) = (gates.clone(), vec![f32::NAN; units * GATES * units]);
    let mut scratch = vec![f32::NAN; units];
    let [one, three] = [1, GATES].map(|parts| shape(sizes.shape(parts * sizes.units)));
    let grads = (&mut gates[..], &mut sums[..]);
    gradient::grad_gates(
        sizes.order,
        (one, grad_output),
        &output,
        &cache,
        &from.recurrent,
        grads,
        &mut scratch,
    )
    .unwrap();
    grad_recurrent(sizes.order, (one, &output), (three, &sums), &mut recurrent).unwrap();
    [gates, sums, recurrent]
}

#[test]
fn gradients_are_central_differences() {
    let mut random = Random(42);
    for _ in 0..40 {
        let sizes = Sizes::random(&mut random, true);
        let columns = GATES * sizes.units;
        let from = inputs(&sizes, &mut random);
        let grad_output = random.values(sizes.rows() * sizes.units);
        let [gates, sums, recurrent] = backward(&sizes, &from, &grad_output);
        let exact = widened(&from);
        let check = |what: &str, at: &[f32], found: &[f32], set: &dyn Fn(&mut Inputs<f64>, &[f64])| {
            let expected = numeric_gradient(at, |values| {
                let mut changed = exact.clone();
                set(&mut changed, values);
                dot(&grad_output, &reference(&sizes, &changed)[0])
            });
            assert_close(what, found, &expected, TOLERANCE);
        };
        check("gates", &from.gates, &gates, &|exact, values| exact.gates = values.to_vec());
        check("recurrent weights", &from.recurrent, &recurrent, &|exact, values| {
            exact.recurrent = values.to_vec();
        });
        let bias: Vec<f32> =
            (0..columns).map(|column| sums.iter().skip(column).step_by(columns).sum()).collect();
        check("bias", &from.bias, &bias, &|exact, values| exact.bias = values.to_vec());
    }
}

#[test]
fn the_steps_are_the_functions() {
    let mut random = Random(43);
    let order = Order { time_major: false, from_zero: true };
    let sizes = Sizes { order, samples: 2, height: 2, width: 3, inputs: 0, units: 6 };
    let from = inputs(&sizes, &mut random);
    let expected = forward(&sizes, &from);
    let [weights, bias, state] = [[1, 1, 6, 18], [1, 1, 1, 18], [1, 1, 2, 6]];
    let [one, three, cached] = [1, GATES, CACHED].map(|parts| sizes.shape(parts * 6));
    let shapes = [three, weights, bias, one, state, cached];
    let (operands, length) = lay_out(&shapes);
    let mut steps = vec![];
    for writes in [2, 3] {
        let mut arena = [&from.gates[..], &from.recurrent, &from.bias].concat();
        arena.resize(length, f32::NAN);
        let step = step(Operator::Gru as u8, &order.attributes(), &operands[..3], &operands[3..3 + writes]);
        run_in_arena(&step, &mut arena);
        for (operand, expected) in operands[3..3 + writes].iter().zip(&expected) {
            assert_same_bits("a write", &arena[operand.offset as usize / 4..][..expected.len()], expected);
        }
        assert_eq!(
            changed(&step, |step| step.writes.truncate(1)),
            Err(StepError::WriteCount { expected: 2, found: 1 })
        );
        steps.push(step);
    }
    let grad_output = random.values(sizes.rows() * 6);
    let [gates, sums, _] = backward(&sizes, &from, &grad_output);
    let [output, _, cache] = &expected;
    let shapes = [one, one, cached, weights, three, three, [1, 1, 1, 6]];
    let (operands, length) = lay_out(&shapes);
    let mut arena = [&grad_output[..], output, cache, &from.recurrent].concat();
    arena.resize(length, f32::NAN);
    let of_gates = step(Operator::GruGradGates as u8, &order.attributes(), &operands[..4], &operands[4..]);
    run_in_arena(&of_gates, &mut arena);
    for (operand, expected) in operands[4..].iter().zip([&gates, &sums]) {
        assert_same_bits("a gradient", &arena[operand.offset as usize / 4..][..expected.len()], expected);
    }
    let found = changed(&of_gates, |step| step.attributes[1] = 0);
    assert_eq!(found, Err(StepError::Attribute { index: 1, found: 0 }));
    steps.push(of_gates);
    for step in steps {
        let found = changed(&step, |step| step.attributes[0] = 2);
        assert_eq!(found, Err(StepError::Attribute { index: 0, found: 2 }));
        let found = changed(&step, |step| {
            step.attributes.pop();
        });
        assert_eq!(found, Err(StepError::AttributeCount { expected: ATTRIBUTES as u8, found: 1 }));
        for index in 0..step.reads.len() + step.writes.len() {
            // What the others are held against says that the next one is wrong.
            let first = if step.operator == Operator::Gru as u8 { 3 } else { 0 };
            let found = changed(&step, |step| reference::operand_mut(step, index).shape.0[2] += 1);
            let expected = match index {
                _ if index == first && first == 0 => 1,
                _ if index == first => 0,
                _ => index,
            };
            assert_eq!(found, Err(StepError::Shape { operand: expected as u8 }), "{index}");
        }
    }
}

/// An int8 GRU with random weights and factors.
struct Quantized {
    sizes: Sizes,
    params: GruI8,
    recurrent: Vec<i8>,
    biases: Vec<i32>,
    factors: [[i32; 2]; GATES],
}

impl Quantized {
    fn random(random: &mut reference::Random, sizes: Sizes) -> Self {
        let scale = |random: &mut reference::Random| 2f32.powf(random.range(-14, -6) as f32 / 2.0);
        let gates = Quantization { scale: scale(random), zero_point: random.zero_point() };
        let output =
            Quantization { scale: 1.0 / random.range(100, 140) as f32, zero_point: random.zero_point() };
        let factors = core::array::from_fn(|_| {
            let factor = Multiplier::from_real(f64::from(scale(random) * scale(random)) * 4096.0).unwrap();
            [factor.multiplier, factor.shift]
        });
        let recurrent = random.bytes(GATES * sizes.units * sizes.units);
        let biases = (0..GATES * sizes.units).map(|_| random.range(-20_000, 20_000) as i32).collect();
        Self { sizes, params: GruI8::new(sizes.order, gates, output).unwrap(), recurrent, biases, factors }
    }

    /// By the definition, in wide integers.
    fn reference(&self, gates: &[i8], hidden: &mut [i8], state: &mut [i16]) -> Vec<i8> {
        let (units, params) = (self.sizes.units, self.params);
        let scaled = |value: i128, factor: Multiplier| {
            let left = value << factor.shift.max(0);
            divide(high_mul(left, factor.multiplier.into()), 1 << (-factor.shift).max(0))
        };
        let word = |value: i128| value.clamp(-32_768, 32_767);
        let half_up = |value: i128| (value + (1 << 14)).div_euclid(1 << 15);
        let mut output = vec![0; self.sizes.rows() * units];
        for (index, rows) in self.sizes.sequence_rows().into_iter().enumerate() {
            let first = index % self.sizes.sequences() * units;
            if self.sizes.order.from_zero {
                hidden[first..first + units].fill(params.zero_point as i8);
                state[first..first + units].fill(0);
            }
            for row in rows {
                let h = hidden[first..first + units].to_vec();
                for unit in 0..units {
                    let x: [i128; GATES] = core::array::from_fn(|gate| {
                        let x = i128::from(gates[(row * GATES + gate) * units + unit]);
                        word(scaled(x - i128::from(params.gates_zero_point), params.gates))
                    });
                    let s: [i128; GATES] = core::array::from_fn(|gate| {
                        let line = gate * units + unit;
                        let weights = &self.recurrent[line * units..][..units];
                        let dot: i128 =
                            h.iter().zip(weights).map(|(&a, &b)| i128::from(a) * i128::from(b)).sum();
                        let [multiplier, shift] = self.factors[gate];
                        word(scaled(dot + i128::from(self.biases[line]), Multiplier { multiplier, shift }))
                    });
                    let reset = i128::from(sigmoid_q15(word(x[0] + s[0]) as i16));
                    let update = i128::from(sigmoid_q15(word(x[1] + s[1]) as i16));
                    let new = i128::from(tanh_q15(word(x[2] + half_up(reset * s[2])) as i16, -12));
                    let old = i128::from(state[first + unit]);
                    state[first + unit] = word(new + half_up(update * (old - new))) as i16;
                    let out =
                        scaled(state[first + unit].into(), params.output) + i128::from(params.zero_point);
                    hidden[first + unit] = out.clamp(-128, 127) as i8;
                    output[row * units + unit] = hidden[first + unit];
                }
            }
        }
        output
    }

    fn case(&self) -> Case {
        let (rows, state) =
            (GATES * self.sizes.units, shape([1, 1, self.sizes.sequences(), self.sizes.units]));
        let hidden = Some(Quantization { scale: 0.008, zero_point: self.params.zero_point });
        Case::new(Operator::GruI8, &self.params.attributes())
            .reads(
                ElementType::I8,
                shape(self.sizes.shape(rows)),
                reference::at(self.params.gates_zero_point),
            )
            .constant(ElementType::I8, shape([rows, 1, 1, self.sizes.units]), &self.recurrent)
            .constant(ElementType::I32, shape([1, 1, 1, rows]), &self.biases)
            .constant(ElementType::I32, shape([1, 1, 3, 2]), self.factors.as_flattened())
            .writes(ElementType::I8, shape(self.sizes.shape(self.sizes.units)), hidden)
            .writes(ElementType::I8, state, hidden)
            .writes(ElementType::I16, state, None)
    }
}

#[test]
fn int8_is_the_definition_and_remembers() {
    let (mut random, mut sizes) = (reference::Random(45), Random(45));
    for round in 0..300 {
        let quantized = Quantized::random(&mut random, Sizes::random(&mut sizes, round % 2 == 0));
        let units = quantized.sizes.units;
        let states = quantized.sizes.sequences() * units;
        let mut hidden = random.bytes(states);
        let mut state: Vec<i16> = (0..states).map(|_| random.range(-32_768, 32_767) as i16).collect();
        let (mut expected_hidden, mut expected_state) = (hidden.clone(), state.clone());
        let weights = WeightsI8 {
            recurrent: &quantized.recurrent,
            biases: &quantized.biases,
            factors: &quantized.factors,
        };
        let [from, to] = [GATES, 1].map(|parts| shape(quantized.sizes.shape(parts * units)));
        for _ in 0..2 {
            let gates = random.bytes(quantized.sizes.rows() * GATES * units);
            let mut output = vec![0; quantized.sizes.rows() * units];
            let states = (&mut hidden[..], &mut state[..]);
            int8::forward(&quantized.params, &weights, (from, &gates), states, (to, &mut output)).unwrap();
            let expected = quantized.reference(&gates, &mut expected_hidden, &mut expected_state);
            assert_eq!(output, expected, "{:?}", quantized.sizes);
            assert_eq!((&hidden, &state), (&expected_hidden, &expected_state));
        }
        if quantized.sizes.order.from_zero {
            let gates = random.bytes(quantized.sizes.rows() * GATES * units);
            let expected = quantized.reference(&gates, &mut expected_hidden, &mut expected_state);
            assert_eq!(quantized.case().run::<i8, i8>(&[&gates]), expected);
        }
    }
}

#[test]
fn the_int8_step_says_what_is_wrong() {
    let order = Order { time_major: false, from_zero: true };
    let sizes = Sizes { order, samples: 1, height: 2, width: 3, inputs: 0, units: 5 };
    let mut random = reference::Random(46);
    let mut quantized = Quantized::random(&mut random, sizes);
    let case = quantized.case();
    case.check().unwrap();
    for index in 0..7 {
        case.expect(StepError::ElementType { operand: index as u8 }, |step| {
            let is_i32 = [2, 3].contains(&index);
            reference::operand_mut(step, index).element_type =
                if is_i32 { ElementType::I8 } else { ElementType::I32 };
        });
    }
    for index in [0, 1, 2, 3, 5, 6] {
        case.expect(StepError::Shape { operand: index as u8 }, |step| {
            reference::operand_mut(step, index).shape.0[3] += 1;
        });
    }
    for (index, found) in [(0, 2), (1, -1), (2, 5), (4, -1)] {
        case.expect(StepError::Attribute { index: index as u8, found }, |step| {
            step.attributes[index] = found;
        });
    }
    case.expect(StepError::Quantization { operand: 5 }, |step| step.writes[1].quantization.scale = 0.5);
    quantized.biases[7] = i32::MIN;
    assert_eq!(quantized.case().check(), Err(StepError::Accumulator { channel: 7 }));
    quantized.biases[7] = 0;
    quantized.factors[2][0] = 12;
    assert_eq!(quantized.case().check(), Err(StepError::Quantization { operand: 3 }));
}
