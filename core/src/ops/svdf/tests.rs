//! SVDF against independent references.

use std::vec;
use std::vec::Vec;

use super::float::Svdf;
use super::int8::SvdfI8;
use super::{float, int8};
use crate::operand::{ElementType, Quantization};
use crate::ops::Operator;
use crate::ops::activation::Activation;
use crate::ops::int8::reference::{self, Case, divide, high_mul, shape};
use crate::ops::test_support::{Random, assert_close, wide};
use crate::quantization::Multiplier;
use crate::step::StepError;

/// Largest error relative to the largest value: a rounding of 6e-8 for each of up to forty terms.
const TOLERANCE: f64 = 2e-6;

/// Batch, inputs, units, rank, memory.
fn sizes(random: &mut Random) -> [usize; 5] {
    core::array::from_fn(|_| random.integer(1, 5))
}

#[test]
fn f32_is_the_formula_and_remembers() {
    let mut random = Random(41);
    for round in 0..100 {
        let [batch, inputs, units, rank, memory] = sizes(&mut random);
        let filters = units * rank;
        let activation = [Activation::None, Activation::Relu][round % 2];
        let params = Svdf {
            input: shape([2, 1, batch, inputs]),
            time: shape([1, 1, filters, memory]),
            output: shape([2, 1, batch, units]),
            activation,
        };
        let [feature, time, bias] =
            [inputs * filters, filters * memory, units].map(|count| random.values(count));
        let mut state = vec![0.0; batch * filters * memory];
        // What each row of the batch has seen, the latest last.
        let mut seen: Vec<Vec<Vec<f64>>> = vec![vec![]; batch];
        for _ in 0..4 {
            let input = random.values(2 * batch * inputs);
            let mut output = vec![f32::NAN; 2 * batch * units];
            float::forward(&params, &input, (&feature, &time), &bias, &mut output, &mut state).unwrap();
            let mut expected = vec![];
            for (row, x) in wide(&input).chunks_exact(inputs).enumerate() {
                let seen = &mut seen[row % batch];
                seen.push(x.to_vec());
                for (unit, &bias) in bias.iter().enumerate() {
                    let mut sum = f64::from(bias);
                    for filter in unit * rank..(unit + 1) * rank {
                        for (age, x) in seen.iter().rev().take(memory).enumerate() {
                            let feature: f64 = x
                                .iter()
                                .enumerate()
                                .map(|(k, x)| x * f64::from(feature[k * filters + filter]))
                                .sum();
                            sum += feature * f64::from(time[filter * memory + memory - 1 - age]);
                        }
                    }
                    expected.push(if activation == Activation::Relu { sum.max(0.0) } else { sum });
                }
            }
            assert_close("output", &output, &expected, TOLERANCE);
        }
    }
}

/// One step by the definition, in wide integers. The state is a list of filters' memories.
#[expect(clippy::too_many_arguments, reason = "everything that goes into a step")]
fn reference_step(
    params: &SvdfI8,
    [units, rank]: [usize; 2],
    input: &[i8],
    feature: &[i8],
    time: &[i32],
    bias: &[i32],
    state: &mut [Vec<i128>],
    limits: [i128; 2],
) -> Vec<i8> {
    let scaled = |value: i128, factor: Multiplier| {
        let left = value << factor.shift.max(0);
        divide(high_mul(left, factor.multiplier.into()), 1 << (-factor.shift).max(0))
    };
    let [zero_input, zero_state, zero_output] = params.zero_points.map(i128::from);
    for (filter, memory) in state.iter_mut().enumerate() {
        let weights = &feature[filter * input.len()..][..input.len()];
        let sum =
            input.iter().zip(weights).map(|(&x, &w)| (i128::from(x) - zero_input) * i128::from(w)).sum();
        memory.remove(0);
        memory.push((scaled(sum, params.feature_factor) + zero_state).clamp(limits[0], limits[1]));
    }
    let mut output = vec![];
    for (unit, &bias) in bias.iter().enumerate().take(units) {
        let mut sum = i128::from(bias);
        for filter in unit * rank..(unit + 1) * rank {
            let weights = &time[filter * state[filter].len()..];
            sum += state[filter]
                .iter()
                .zip(weights)
                .map(|(x, &w)| (x - zero_state) * i128::from(w))
                .sum::<i128>();
        }
        let sum = sum.clamp(i32::MIN.into(), i32::MAX.into());
        output.push((scaled(sum, params.output_factor) + zero_output).clamp(-128, 127) as i8);
    }
    output
}

fn factor(random: &mut reference::Random, shift: [i64; 2]) -> Multiplier {
    let multiplier = random.range(1 << 30, (1 << 31) - 1) as i32;
    Multiplier { multiplier, shift: random.range(shift[0], shift[1]) as i32 }
}

/// Runs random cases with states of one type, and says how often a state and an output were cut off.
fn int8_cases<T: int8::Remembered + TryFrom<i64, Error: core::fmt::Debug>>(
    seed: u64,
    [low, high]: [i64; 2],
    feature_shift: [i64; 2],
    output_shift: [i64; 2],
) -> [usize; 2] {
    let (mut random, mut sizes_of) = (reference::Random(seed), Random(seed));
    let mut cut_off = [0; 2];
    for _ in 0..200 {
        let [batch, inputs, units, rank, memory] = sizes(&mut sizes_of);
        let filters = units * rank;
        let zero_state = if high == 127 { random.zero_point() } else { 0 };
        let params = SvdfI8 {
            input: shape([1, 1, batch, inputs]),
            time: shape([1, 1, filters, memory]),
            output: shape([1, 1, batch, units]),
            feature_factor: factor(&mut random, feature_shift),
            output_factor: factor(&mut random, output_shift),
            zero_points: [random.zero_point(), zero_state, random.zero_point()],
        };
        let feature = random.bytes(filters * inputs);
        let time: Vec<T> =
            (0..filters * memory).map(|_| T::try_from(random.range(low, high)).unwrap()).collect();
        let wide_time: Vec<i32> = time.iter().map(|&weight| weight.into()).collect();
        let bias: Vec<i32> = (0..units).map(|_| random.range(-1000, 1000) as i32).collect();
        let mut state = vec![T::saturated(zero_state); batch * filters * memory];
        let mut remembered = vec![vec![vec![i128::from(zero_state); memory]; filters]; batch];
        for _ in 0..3 {
            let input = random.bytes(batch * inputs);
            let mut output = vec![0; batch * units];
            int8::forward(&params, &input, (&feature, &time), &bias, &mut output, &mut state).unwrap();
            let mut expected = vec![];
            for (input, state) in input.chunks_exact(inputs).zip(&mut remembered) {
                let limits = [low, high].map(i128::from);
                let sizes = [units, rank];
                expected.extend(reference_step(
                    &params, sizes, input, &feature, &wide_time, &bias, state, limits,
                ));
            }
            assert_eq!(output, expected);
            cut_off[0] += state.iter().filter(|&&value| i64::from(value.into()) == high).count();
            cut_off[1] += output.iter().filter(|&&value| value == 127).count();
        }
    }
    cut_off
}

#[test]
fn int8_is_the_definition_and_remembers() {
    let narrow = int8_cases::<i8>(42, [-128, 127], [-10, -5], [-10, -6]);
    let wide = int8_cases::<i16>(43, [-32_768, 32_767], [-3, 2], [-26, -18]);
    assert!([narrow, wide].as_flattened().iter().all(|&count| count > 10), "{narrow:?} {wide:?}");
}

#[test]
fn the_int8_step_runs_and_says_what_is_wrong() {
    let mut random = reference::Random(44);
    let [batch, inputs, units, rank, memory] = [2, 4, 3, 2, 5];
    let filters = units * rank;
    let params = SvdfI8 {
        input: shape([1, 1, batch, inputs]),
        time: shape([1, 1, filters, memory]),
        output: shape([1, 1, batch, units]),
        feature_factor: Multiplier { multiplier: 1 << 30, shift: 1 },
        output_factor: Multiplier { multiplier: 3 << 29, shift: -17 },
        zero_points: [5, 0, -7],
    };
    let (feature, input) = (random.bytes(filters * inputs), random.bytes(batch * inputs));
    let time: Vec<i16> = (0..filters * memory).map(|_| random.range(-30_000, 30_000) as i16).collect();
    let bias = [7, -900, 12_345];
    let state = Some(Quantization { scale: 0.001, zero_point: 0 });
    let case = |feature: &[i8]| {
        Case::new(Operator::SvdfI8, &params.attributes())
            .reads(ElementType::I8, params.input, reference::at(5))
            .constant(ElementType::I8, shape([filters, 1, 1, inputs]), feature)
            .constant(ElementType::I16, params.time, &time)
            .constant(ElementType::I32, shape([1, 1, 1, units]), &bias)
            .writes(ElementType::I8, params.output, reference::at(-7))
            .writes(ElementType::I16, shape([1, 1, batch, filters * memory]), state)
    };
    let mut expected = vec![0; batch * units];
    let mut zeros = vec![0i16; batch * filters * memory];
    int8::forward(&params, &input, (&feature, &time), &bias, &mut expected, &mut zeros).unwrap();
    let step = case(&feature);
    assert_eq!(step.run::<i8, i8>(&[&input]), expected);

    for index in 0..6 {
        step.expect(StepError::ElementType { operand: index as u8 }, |step| {
            let operand = reference::operand_mut(step, index);
            let other = if index == 3 { ElementType::I8 } else { ElementType::I32 };
            operand.element_type = other;
        });
    }
    for (index, dimension) in [(1, 3), (3, 3), (4, 1), (5, 2)] {
        step.expect(StepError::Shape { operand: index as u8 }, |step| {
            reference::operand_mut(step, index).shape.0[dimension] += 1;
        });
    }
    // Seven filters for three units.
    step.expect(StepError::Shape { operand: 2 }, |step| step.reads[2].shape.0[2] = 7);
    step.expect(StepError::Attribute { index: 0, found: 9 }, |step| step.attributes[0] = 9);
    step.expect(StepError::Attribute { index: 2, found: 9 }, |step| step.attributes[2] = 9);
    step.expect(StepError::Space { operand: 1 }, |step| {
        step.reads[1].space = crate::operand::Space::Parameter;
    });
    let q = Quantization { scale: 0.1, zero_point: 0 };
    assert!(SvdfI8::factors(q, 0.1, q, 0.1, q).is_some());
    assert_eq!(SvdfI8::factors(q, f32::NAN, q, 0.1, q), None);
}
