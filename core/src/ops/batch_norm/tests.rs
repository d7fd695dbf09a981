use std::format;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::operand::{Operand, Space};
use crate::ops::activation::Activation;
use crate::ops::sum_chunks;
use crate::ops::test_support::{
    Random, assert_close, assert_in_place, assert_same_bits, changed, dot, in_arena, numeric_gradient, step,
    wide,
};
use crate::step::{Schedule, StepError};

/// f32 against f64, relative to the tensor's largest magnitude: some hundred roundings of 6e-8, and division by deviations near 0.5.
const TOLERANCE: f64 = 2e-5;
const EPSILON: f32 = 1e-3;
const ACTIVATIONS: [Activation; 4] =
    [Activation::None, Activation::Relu, Activation::Relu6, Activation::LeakyRelu { alpha: 0.1 }];

struct Case {
    channels: usize,
    chunks: usize,
    activation: Activation,
    input: Vec<f32>,
    grad_output: Vec<f32>,
    parameters: Vec<f32>,
}

impl Case {
    fn new(
        random: &mut Random,
        channels: usize,
        pixels: usize,
        chunks: usize,
        activation: Activation,
    ) -> Self {
        let count = channels * pixels * chunks;
        let mut parameters = random.values(2 * channels);
        // Wide enough for ReLU6 to clamp on both sides.
        parameters.iter_mut().for_each(|x| *x *= 3.0);
        let input = random.values(count).iter().map(|x| 2.0 * x + 0.5).collect();
        Self { channels, chunks, activation, input, grad_output: random.values(count), parameters }
    }

    fn chunk_length(&self) -> usize {
        self.input.len() / self.chunks
    }

    fn reduce(&self, running: &mut [f32]) -> Vec<f32> {
        let partials: Vec<Vec<f32>> = self
            .input
            .chunks(self.chunk_length())
            .map(|input| {
                let mut partial = vec![f32::NAN; 2 * self.channels];
                statistics(input, &mut partial);
                partial
            })
            .collect();
        let mut moments = vec![f32::NAN; 2 * self.channels];
        let chunk_elements = self.chunk_length() / self.channels;
        let params = ReduceParams { epsilon: EPSILON, momentum: 0.1, chunk_elements };
        reduce(params, partials.iter().map(Vec::as_slice), &mut moments, running);
        moments
    }

    /// Output, gradient of the input, sums, from all passes over all chunks.
    fn train(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let moments = self.reduce(&mut vec![0.0; 2 * self.channels]);
        let (length, parameters) = (self.chunk_length(), &self.parameters);
        let mut output = vec![f32::NAN; self.input.len()];
        let mut partials = vec![];
        for ((input, output), grad) in
            self.input.chunks(length).zip(output.chunks_mut(length)).zip(self.grad_output.chunks(length))
        {
            normalize(self.activation, Some(input), &moments, parameters, output);
            let mut partial = vec![f32::NAN; 2 * self.channels];
            grad_statistics(self.activation, input, grad, &moments, parameters, &mut partial);
            partials.push(partial);
        }
        let mut sums = vec![f32::NAN; 2 * self.channels];
        sum_chunks::forward(partials.iter().map(Vec::as_slice), &mut sums);
        let params =
            GradInputParams { activation: self.activation, batch_elements: self.input.len() / self.channels };
        let mut grads = vec![f32::NAN; self.input.len()];
        for ((input, grads), grad) in
            self.input.chunks(length).zip(grads.chunks_mut(length)).zip(self.grad_output.chunks(length))
        {
            grad_input(params, Some(input), Some(grad), &moments, parameters, &sums, grads);
        }
        (output, grads, sums)
    }

    /// The whole batch in f64.
    fn reference(&self, input: &[f64], parameters: &[f64]) -> Vec<f64> {
        let (gamma, beta) = parameters.split_at(self.channels);
        let count = (input.len() / self.channels) as f64;
        let moments: Vec<(f64, f64)> = (0..self.channels)
            .map(|c| {
                let column = || input.iter().skip(c).step_by(self.channels);
                let mean = column().sum::<f64>() / count;
                (mean, column().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
            })
            .collect();
        let normalized = input.iter().enumerate().map(|(index, x)| {
            let c = index % self.channels;
            let (mean, variance) = moments[c];
            let y = (x - mean) / (variance + f64::from(EPSILON)).sqrt() * gamma[c] + beta[c];
            match self.activation {
                Activation::None => y,
                Activation::Relu => y.max(0.0),
                Activation::Relu6 => y.clamp(0.0, 6.0),
                Activation::LeakyRelu { alpha } => y.max(y * f64::from(alpha)),
                Activation::ReluN1To1 => y.clamp(-1.0, 1.0),
            }
        });
        normalized.collect()
    }
}

#[test]
fn all_passes_together_are_the_whole_batch_s_gradient() {
    let mut random = Random(1);
    for activation in ACTIVATIONS {
        for (channels, pixels) in [(1, 3), (1, 1), (3, 5), (5, 4), (17, 3), (70, 2)] {
            for chunks in [1, 2, 4] {
                let case = Case::new(&mut random, channels, pixels, chunks, activation);
                let name = format!("{activation:?}, {channels} channels, {pixels} pixels, {chunks} chunks");
                let (output, grad_input, sums) = case.train();
                let (input, parameters) = (wide(&case.input), wide(&case.parameters));
                let expected = case.reference(&input, &parameters);
                assert_close(&format!("output, {name}"), &output, &expected, TOLERANCE);
                let grad = |at: &[f32], loss: &dyn Fn(&[f64]) -> Vec<f64>| {
                    numeric_gradient(at, |at| dot(&case.grad_output, &loss(at)))
                };
                let expected = grad(&case.parameters, &|parameters| case.reference(&input, parameters));
                assert_close(&format!("sums, {name}"), &sums, &expected, TOLERANCE);
                // One pixel in all: the variance is 0 and the slope 1 / sqrt(epsilon), which curves within the difference's step.
                if pixels * chunks > 1 {
                    let expected = grad(&case.input, &|input| case.reference(input, &parameters));
                    assert_close(&format!("grad_input, {name}"), &grad_input, &expected, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn a_gradient_of_half_the_batch_is_told_apart() {
    // The harness has to see a backward pass that takes its chunk for the whole batch.
    let case = Case::new(&mut Random(2), 3, 4, 2, Activation::None);
    let whole = case.train().1;
    let half = Case {
        chunks: 1,
        input: case.input[..case.chunk_length()].to_vec(),
        grad_output: case.grad_output[..case.chunk_length()].to_vec(),
        parameters: case.parameters.clone(),
        ..case
    };
    let difference = half.train().1.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(f64::from(difference) > 100.0 * TOLERANCE, "{difference}");
}

#[test]
fn a_large_mean_does_not_drown_the_variance() {
    // With E[x²] - mean² nothing would be left of a variance of 1e-2 at a mean of 1e3 (the squares are known to 0.06).
    let mut random = Random(3);
    for chunks in [1, 2, 4] {
        let mut case = Case::new(&mut random, 4, 32, chunks, Activation::None);
        case.input.iter_mut().for_each(|x| *x = *x * 0.1 + 1000.0);
        let moments = case.reduce(&mut [0.0; 8]);
        let input = wide(&case.input);
        for c in 0..4 {
            let column = || input.iter().skip(c).step_by(4);
            let count = column().count() as f64;
            let mean = column().sum::<f64>() / count;
            let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let expected = 1.0 / (variance + f64::from(EPSILON)).sqrt();
            // The mean is rounded to 6e-5, which moves the variance by its square and the chunks' differences by as much as itself.
            assert!((f64::from(moments[c]) - mean).abs() < 2e-4, "mean {} is not {mean}", moments[c]);
            let found = f64::from(moments[4 + c]);
            assert!((found / expected - 1.0).abs() < 1e-4, "{found} is not {expected}");
        }
    }
}

#[test]
fn running_statistics_move_as_in_pytorch() {
    let case = Case::new(&mut Random(4), 2, 5, 2, Activation::None);
    let mut running = [0.25, -1.0, 1.0, 2.0];
    let before = wide(&running);
    case.reduce(&mut running);
    for c in 0..2 {
        let column: Vec<f64> = case.input.iter().skip(c).step_by(2).map(|&x| f64::from(x)).collect();
        let mean = column.iter().sum::<f64>() / 10.0;
        let unbiased = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 9.0;
        let expected = [0.9 * before[c] + 0.1 * mean, 0.9 * before[2 + c] + 0.1 * unbiased];
        assert_close("running", &[running[c], running[2 + c]], &expected, TOLERANCE);
    }
}

#[test]
fn one_element_has_a_variance_of_zero() {
    let case = Case::new(&mut Random(5), 3, 1, 1, Activation::None);
    let mut running = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let moments = case.reduce(&mut running);
    assert_same_bits("mean", &moments[..3], &case.input);
    assert_same_bits("1/sqrt(epsilon)", &moments[3..], &[1.0 / EPSILON.sqrt(); 3]);
    assert_close("running", &running[3..], &[0.9; 3], TOLERANCE);
    // The gradient of a constant.
    assert_close("grad_input", &case.train().1, &[0.0; 3], TOLERANCE);
}

#[test]
fn no_chunks_change_nothing() {
    let (mut moments, mut running) = ([1.0, 2.0], [3.0, 4.0]);
    let params = ReduceParams { epsilon: EPSILON, momentum: 0.1, chunk_elements: 1 };
    reduce(params, [].into_iter(), &mut moments, &mut running);
    assert_eq!((moments, running), ([1.0, 2.0], [3.0, 4.0]));
}

#[test]
fn inference_uses_the_running_statistics() {
    let mut random = Random(6);
    for (activation, channels) in ACTIVATIONS.into_iter().zip([1, 7, 64, 67]) {
        let case = Case::new(&mut random, channels, 5, 1, activation);
        let mut running = random.values(2 * channels);
        running[channels..].iter_mut().for_each(|variance| *variance += 1.5);
        let mut output = vec![f32::NAN; case.input.len()];
        inference(activation, EPSILON, Some(&case.input), &case.parameters, &running, &mut output);
        let expected: Vec<f64> = case
            .input
            .iter()
            .enumerate()
            .map(|(index, &x)| {
                let c = index % channels;
                let [mean, variance, gamma, beta] =
                    [running[c], running[channels + c], case.parameters[c], case.parameters[channels + c]]
                        .map(f64::from);
                let y = (f64::from(x) - mean) / (variance + f64::from(EPSILON)).sqrt() * gamma + beta;
                f64::from(activation.apply(y as f32))
            })
            .collect();
        assert_close(&format!("{activation:?}"), &output, &expected, TOLERANCE);
    }
}

#[test]
fn backward_takes_the_side_of_the_kink_that_forward_took() {
    let mut case = Case::new(&mut Random(7), 6, 500, 1, Activation::Relu);
    case.grad_output.fill(1.0);
    // Beta of 0 and inputs on a coarse grid put many elements next to the kink.
    case.parameters[6..].fill(0.0);
    case.input.iter_mut().for_each(|x| *x = (*x * 4.0).round() / 4.0);
    let (output, _, sums) = case.train();
    for c in 0..6 {
        let passed = output.iter().skip(c).step_by(6).filter(|&&y| y > 0.0).count();
        assert_eq!(sums[6 + c], passed as f32, "channel {c}");
    }
}

#[test]
fn a_channel_s_bits_do_not_depend_on_its_neighbours() {
    // Channels lie in vectors of 32, 16, 8, 4 or 1: each must be what it is alone.
    for channels in [5, 8, 29, 64, 67, 131] {
        let case = Case::new(&mut Random(8), channels, 11, 2, Activation::Relu6);
        let (output, grad_input, sums) = case.train();
        for c in 0..channels {
            let column = |values: &[f32], of: usize| -> Vec<f32> {
                values.iter().skip(c).step_by(of).copied().collect()
            };
            let alone = Case {
                channels: 1,
                input: column(&case.input, channels),
                grad_output: column(&case.grad_output, channels),
                parameters: column(&case.parameters, channels),
                ..case
            };
            let (expected_output, expected_grad, expected_sums) = alone.train();
            assert_same_bits("output", &column(&output, channels), &expected_output);
            assert_same_bits("grad_input", &column(&grad_input, channels), &expected_grad);
            assert_same_bits("sums", &column(&sums, channels), &expected_sums);
        }
    }
}

#[test]
fn in_place_gives_the_same_bits() {
    let mut random = Random(9);
    for channels in [1, 3, 8, 10, 64, 65, 130] {
        for activation in ACTIVATIONS {
            let case = Case::new(&mut random, channels, 6, 1, activation);
            let moments = case.reduce(&mut vec![0.0; 2 * channels]);
            let shape = [1, 2, 3, channels];
            let table = [1, 1, 2, channels];
            let sums = random.values(2 * channels);
            let [code, alpha] = activation.attributes();
            let (input, grad) = ((shape, &case.input[..]), (shape, &case.grad_output[..]));
            let (moments, parameters) = ((table, &moments[..]), (table, &case.parameters[..]));
            assert_in_place(6, &[EPSILON.to_bits() as i32, code, alpha], &[input, parameters, moments], &[0]);
            assert_in_place(52, &[code, alpha], &[input, moments, parameters], &[0]);
            let reads = [input, grad, moments, parameters, (table, &sums[..])];
            assert_in_place(54, &[code, alpha, 6], &reads, &[0, 1]);
        }
    }
}

#[test]
fn steps_are_checked() {
    let (input, table) = (in_arena(0, [2, 3, 3, 4]), in_arena(100, [1, 1, 2, 4]));
    let output = in_arena(200, [2, 3, 3, 4]);
    let small = in_arena(100, [1, 1, 2, 3]);
    let epsilon = EPSILON.to_bits() as i32;

    let inference = step(6, &[epsilon, 1, 0], &[input, table, table], &[output]);
    assert_eq!(changed(&inference, |_| ()), Ok(()));
    let error = StepError::Attribute { index: 0, found: 0 };
    assert_eq!(changed(&inference, |step| step.attributes[0] = 0), Err(error));
    let error = StepError::Attribute { index: 1, found: 9 };
    assert_eq!(changed(&inference, |step| step.attributes[1] = 9), Err(error));
    assert_eq!(changed(&inference, |step| step.reads[2] = small), Err(StepError::Shape { operand: 2 }));
    assert_eq!(changed(&inference, |step| step.writes[0] = table), Err(StepError::Shape { operand: 3 }));

    let partial = Operand { space: Space::Chunk, ..table };
    let momentum = 0.1f32.to_bits() as i32;
    let mut reduce = step(51, &[epsilon, momentum, 9], &[partial], &[table, in_arena(120, [1, 1, 2, 4])]);
    assert_eq!(changed(&reduce, |_| ()), Err(StepError::Schedule));
    reduce.schedule = Schedule::Once;
    assert_eq!(changed(&reduce, |_| ()), Ok(()));
    assert_eq!(changed(&reduce, |step| step.reads[0] = table), Err(StepError::Space { operand: 0 }));
    assert_eq!(changed(&reduce, |step| step.writes[1] = small), Err(StepError::Shape { operand: 2 }));
    let error = StepError::Attribute { index: 2, found: 0 };
    assert_eq!(changed(&reduce, |step| step.attributes[2] = 0), Err(error));
    let two = 2.0f32.to_bits() as i32;
    let error = StepError::Attribute { index: 1, found: two };
    assert_eq!(changed(&reduce, |step| step.attributes[1] = two), Err(error));

    let statistics = step(50, &[], &[input], &[table]);
    assert_eq!(changed(&statistics, |_| ()), Ok(()));
    assert_eq!(changed(&statistics, |step| step.writes[0] = small), Err(StepError::Shape { operand: 1 }));

    let grad = step(54, &[1, 0, 18], &[input, input, table, table, table], &[output]);
    assert_eq!(changed(&grad, |_| ()), Ok(()));
    let error = StepError::Attribute { index: 2, found: -1 };
    assert_eq!(changed(&grad, |step| step.attributes[2] = -1), Err(error));
    assert_eq!(changed(&grad, |step| step.reads[4] = small), Err(StepError::Shape { operand: 4 }));
    // A tensor as large as its tables may not take their place.
    let one = in_arena(0, [1, 1, 2, 4]);
    let grad = step(54, &[1, 0, 2], &[one, one, table, table, table], &[table]);
    assert_eq!(changed(&grad, |_| ()), Err(StepError::Overlap { write: 0 }));
}
