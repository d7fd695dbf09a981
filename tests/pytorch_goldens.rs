//! The f32 operators against `PyTorch`: forward, backward, losses and updates, from the files in `goldens/pytorch`, which
//! `generate.py` there writes.

use std::path::Path;

use smidgen::Shape;
use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::batch_norm::{self, GradInputParams, ReduceParams};
use smidgen::ops::conv_2d::{self, Conv2d};
use smidgen::ops::depthwise_conv_2d::{self, DepthwiseConv2d};
use smidgen::ops::fully_connected::{self, FullyConnected};
use smidgen::ops::losses::{mean_squared_error, softmax_cross_entropy};
use smidgen::ops::max_pool_2d::PoolParams;
use smidgen::ops::updates::{adam, sgd};
use smidgen::ops::{average_pool_2d, grad_bias, max_pool_2d, softmax, sum_chunks};

/// Largest error, relative to the tensor's largest magnitude. The goldens are exact to half a unit in the last place (6e-8); smidgen adds
/// one rounding of 6e-8 for each of up to 45 terms of a sum, most of which cancel.
const TOLERANCE: f32 = 2e-6;
/// As [`TOLERANCE`], after a division by a batch's deviation, and a difference of sums over the batch.
const BATCH_NORM_TOLERANCE: f32 = 5e-6;
/// As [`TOLERANCE`], after eight Adam updates: `1 - β₂ᵗ` is as small as 1e-3 and known to 6e-8, its root to 3e-5, times steps of 0.1.
const ADAM_TOLERANCE: f32 = 1e-5;

struct Golden {
    shape: Vec<usize>,
    values: Vec<f32>,
    integers: Vec<i32>,
}

impl Golden {
    /// `[N, H, W, C]`, with leading ones.
    fn shape(&self) -> Shape {
        let mut shape = [1; 4];
        for (to, &from) in shape.iter_mut().rev().zip(self.shape.iter().rev()) {
            *to = u32::try_from(from).unwrap();
        }
        Shape(shape)
    }

    fn pixels(&self) -> Shape {
        let [samples, channels] = self.shape[..] else { panic!("a matrix") };
        Shape([samples, 1, 1, channels].map(|dimension| u32::try_from(dimension).unwrap()))
    }
}

/// The cases of one file.
struct Goldens {
    bytes: Vec<u8>,
}

impl Goldens {
    fn load(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/pytorch").join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { bytes }
    }

    fn tensors(&self) -> safetensors::SafeTensors<'_> {
        safetensors::SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// The cases whose names begin with `operator`, sorted. At least one.
    fn cases(&self, operator: &str) -> Vec<String> {
        let tensors = self.tensors();
        let mut cases: Vec<String> = tensors
            .names()
            .iter()
            .filter_map(|name| Some(name.rsplit_once('.')?.0.to_owned()))
            .filter(|case| case.starts_with(operator))
            .collect();
        cases.sort();
        cases.dedup();
        assert!(!cases.is_empty(), "no case of {operator}");
        cases
    }

    fn get(&self, case: &str, name: &str) -> Golden {
        let tensors = self.tensors();
        let tensor = tensors.tensor(&format!("{case}.{name}")).unwrap();
        let words = tensor.data().chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        let (values, integers) = match tensor.dtype() {
            safetensors::Dtype::F32 => (words.map(f32::from_bits).collect(), vec![]),
            safetensors::Dtype::I32 => (vec![], words.map(u32::cast_signed).collect()),
            other => panic!("{case}.{name} is {other:?}"),
        };
        Golden { shape: tensor.shape().to_vec(), values, integers }
    }

    fn values(&self, case: &str, name: &str) -> Vec<f32> {
        self.get(case, name).values
    }

    fn scalar(&self, case: &str, name: &str) -> f32 {
        self.get(case, name).values[0]
    }

    fn window(&self, case: &str) -> Window {
        Window::read(&self.get(case, "window").integers).unwrap().0
    }
}

/// The largest error of `found`, relative to the largest magnitude of `expected`, but at least 1.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "number of elements");
    let largest = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
    let difference = |(&found, &expected): (&f32, &f32)| {
        let difference = (found - expected).abs();
        // A NaN is as wrong as can be.
        if difference.is_nan() { f32::INFINITY } else { difference }
    };
    found.iter().zip(expected).map(difference).fold(0.0, f32::max) / largest
}

#[track_caller]
fn assert_close(goldens: &Goldens, case: &str, name: &str, found: &[f32], tolerance: f32) {
    let error = error(found, &goldens.values(case, name));
    assert!(error <= tolerance, "{case}.{name}: the largest error is {error:e}, more than {tolerance:e}");
}

/// Room for a tensor, filled with what no operator may leave there.
fn unwritten(like: &Golden) -> Vec<f32> {
    vec![f32::NAN; like.values.len()]
}

#[test]
fn every_element_is_compared() {
    // The negative control of all others: one element that is off by ten tolerances, anywhere, must be seen.
    let goldens = Goldens::load("convolutions.safetensors");
    let expected = goldens.values("conv_2d.plain", "output");
    assert!(error(&expected, &expected) <= TOLERANCE);
    let largest = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
    for index in 0..expected.len() {
        for wrong in [expected[index] + 10.0 * TOLERANCE * largest, f32::NAN] {
            let mut perturbed = expected.clone();
            perturbed[index] = wrong;
            assert!(error(&perturbed, &expected) > TOLERANCE, "element {index}");
        }
    }
}

#[test]
fn conv_2d() {
    let goldens = Goldens::load("convolutions.safetensors");
    for case in goldens.cases("conv_2d") {
        let get = |name| goldens.get(&case, name);
        let (input, filter, output, grad_output) =
            (get("input"), get("filter"), get("output"), get("grad_output"));
        let params = Conv2d {
            input: input.shape(),
            filter: filter.shape(),
            output: output.shape(),
            window: goldens.window(&case),
            activation: Activation::None,
        };
        let close = |name, found: &[f32]| assert_close(&goldens, &case, name, found, TOLERANCE);
        let (mut found, bias) = (unwritten(&output), get("bias").values);
        conv_2d::forward(&params, &input.values, &filter.values, Some(&bias), &mut found).unwrap();
        close("output", &found);
        let mut found = unwritten(&input);
        conv_2d::grad_input(&params, &grad_output.values, &filter.values, &mut found).unwrap();
        close("grad_input", &found);
        let mut found = unwritten(&filter);
        conv_2d::grad_weights(&params, &input.values, &grad_output.values, &mut found).unwrap();
        close("grad_weights", &found);
        let mut found = vec![f32::NAN; bias.len()];
        grad_bias::backward(output.shape(), &grad_output.values, &mut found).unwrap();
        close("grad_bias", &found);
    }
}

#[test]
fn depthwise_conv_2d() {
    let goldens = Goldens::load("convolutions.safetensors");
    for case in goldens.cases("depthwise_conv_2d") {
        let get = |name| goldens.get(&case, name);
        let (input, filter, output, grad_output) =
            (get("input"), get("filter"), get("output"), get("grad_output"));
        let params = DepthwiseConv2d {
            input: input.shape(),
            filter: filter.shape(),
            output: output.shape(),
            window: goldens.window(&case),
            activation: Activation::None,
        };
        let close = |name, found: &[f32]| assert_close(&goldens, &case, name, found, TOLERANCE);
        let (mut found, bias) = (unwritten(&output), get("bias").values);
        depthwise_conv_2d::forward(&params, &input.values, &filter.values, Some(&bias), &mut found).unwrap();
        close("output", &found);
        let mut found = unwritten(&input);
        depthwise_conv_2d::grad_input(&params, &grad_output.values, &filter.values, &mut found).unwrap();
        close("grad_input", &found);
        let mut found = unwritten(&filter);
        depthwise_conv_2d::grad_weights(&params, &input.values, &grad_output.values, &mut found).unwrap();
        close("grad_weights", &found);
    }
}

#[test]
fn fully_connected() {
    let goldens = Goldens::load("convolutions.safetensors");
    for case in goldens.cases("fully_connected") {
        let get = |name| goldens.get(&case, name);
        let (input, weights, output, grad_output) =
            (get("input"), get("filter"), get("output"), get("grad_output"));
        let params = FullyConnected {
            input: input.pixels(),
            weights: weights.shape(),
            output: output.pixels(),
            activation: Activation::None,
        };
        let close = |name, found: &[f32]| assert_close(&goldens, &case, name, found, TOLERANCE);
        let (mut found, bias) = (unwritten(&output), get("bias").values);
        fully_connected::forward(&params, &input.values, &weights.values, Some(&bias), &mut found).unwrap();
        close("output", &found);
        let mut found = unwritten(&input);
        fully_connected::grad_input(&params, &grad_output.values, &weights.values, &mut found).unwrap();
        close("grad_input", &found);
        let mut found = unwritten(&weights);
        fully_connected::grad_weights(&params, &input.values, &grad_output.values, &mut found).unwrap();
        close("grad_weights", &found);
    }
}

#[test]
fn batch_norm_in_chunks() {
    let goldens = Goldens::load("batch_norm.safetensors");
    for (case, activation) in [("none", Activation::None), ("relu", Activation::Relu)] {
        for chunks in [1, 2, 4, 8] {
            batch_norm_case(&goldens, case, activation, chunks);
        }
    }
}

/// Computes a partial of one chunk from its input and its `grad_output`.
type PartialOf<'a> = dyn Fn(&[f32], &[f32], &mut [f32]) + 'a;

fn batch_norm_case(goldens: &Goldens, case: &str, activation: Activation, chunks: usize) {
    let close = |name, found: &[f32]| assert_close(goldens, case, name, found, BATCH_NORM_TOLERANCE);
    let (input, parameters) = (goldens.values(case, "input"), goldens.values(case, "parameters"));
    let (grad_output, mut running) = (goldens.values(case, "grad_output"), goldens.values(case, "running"));
    let epsilon = goldens.scalar(case, "epsilon");
    let (channels, length) = (parameters.len() / 2, input.len() / chunks);
    let table = || vec![f32::NAN; parameters.len()];

    let per_chunk = |compute: &PartialOf<'_>| -> Vec<Vec<f32>> {
        let inputs = input.chunks(length).zip(grad_output.chunks(length));
        let partials = inputs.map(|(input, grad_output)| {
            let mut partial = table();
            compute(input, grad_output, &mut partial);
            partial
        });
        partials.collect()
    };
    let partials = per_chunk(&|input, _, partial| batch_norm::statistics(input, partial));
    let momentum = goldens.scalar(case, "momentum");
    let params = ReduceParams { epsilon, momentum, chunk_elements: length / channels };
    let mut moments = table();
    batch_norm::reduce(params, partials.iter().map(Vec::as_slice), &mut moments, &mut running);
    close("new_running", &running);

    let mut output = vec![f32::NAN; input.len()];
    batch_norm::normalize(activation, Some(&input), &moments, &parameters, &mut output);
    close("output", &output);
    let partials = per_chunk(&|input, grad_output, partial| {
        batch_norm::grad_statistics(activation, input, grad_output, &moments, &parameters, partial);
    });
    let mut sums = table();
    sum_chunks::forward(partials.iter().map(Vec::as_slice), &mut sums);
    close("sums", &sums);
    let params = GradInputParams { activation, batch_elements: input.len() / channels };
    let (input_read, grad_read) = (Some(&input[..]), Some(&grad_output[..]));
    batch_norm::grad_input(params, input_read, grad_read, &moments, &parameters, &sums, &mut output);
    close("grad_input", &output);
    batch_norm::inference(activation, epsilon, input_read, &parameters, &running, &mut output);
    close("inference", &output);
}

#[test]
fn pools() {
    let goldens = Goldens::load("pools.safetensors");
    for (operator, is_max) in [("max_pool_2d", true), ("average_pool_2d", false)] {
        for case in goldens.cases(operator) {
            let get = |name| goldens.get(&case, name);
            let (input, output, grad_output) = (get("input"), get("output"), get("grad_output").values);
            let params =
                PoolParams { window: goldens.window(&case), input: input.shape(), output: output.shape() };
            let (mut found, mut found_grad) = (unwritten(&output), unwritten(&input));
            if is_max {
                max_pool_2d::forward(&params, &input.values, &mut found);
                max_pool_2d::backward(&params, &input.values, &grad_output, &mut found_grad);
            } else {
                average_pool_2d::forward(&params, &input.values, &mut found);
                average_pool_2d::backward(&params, &grad_output, &mut found_grad);
            }
            assert_close(&goldens, &case, "output", &found, TOLERANCE);
            assert_close(&goldens, &case, "grad_input", &found_grad, TOLERANCE);
        }
    }
}

#[test]
fn losses() {
    let goldens = Goldens::load("losses.safetensors");
    for case in goldens.cases("softmax_cross_entropy") {
        let (input, labels) = (goldens.get(&case, "input"), goldens.get(&case, "labels").integers);
        let grad_scale = 1.0 / labels.len() as f32;
        let label_smoothing = goldens.scalar(&case, "label_smoothing");
        let params = softmax_cross_entropy::Params { classes: input.shape[1], label_smoothing, grad_scale };
        let mut grads = unwritten(&input);
        let [loss, correct] = softmax_cross_entropy::forward(params, &input.values, &labels, &mut grads);
        assert_close(&goldens, &case, "loss", &[loss * grad_scale], TOLERANCE);
        assert_close(&goldens, &case, "correct", &[correct], 0.0);
        assert_close(&goldens, &case, "grad_input", &grads, TOLERANCE);
    }
    for case in goldens.cases("mean_squared_error") {
        let (input, target) = (goldens.get(&case, "input"), goldens.values(&case, "target"));
        let samples = input.shape[0];
        let (sample_elements, grad_scale) = (target.len() / samples, 1.0 / samples as f32);
        let params = mean_squared_error::Params { sample_elements, grad_scale };
        let mut grads = unwritten(&input);
        let loss = mean_squared_error::forward(params, &input.values, &target, &mut grads);
        assert_close(&goldens, &case, "loss", &[loss * grad_scale], TOLERANCE);
        assert_close(&goldens, &case, "grad_input", &grads, TOLERANCE);
    }
}

#[test]
fn softmax_and_its_gradient() {
    let goldens = Goldens::load("losses.safetensors");
    for case in goldens.cases("softmax.") {
        let (input, grads) = (goldens.get(&case, "input"), goldens.values(&case, "grad_output"));
        let mut output = input.values.clone();
        softmax::forward(input.shape[1], None, &mut output);
        assert_close(&goldens, &case, "output", &output, TOLERANCE);
        let mut grad_input = unwritten(&input);
        softmax::backward(input.shape[1], Some(&output), Some(&grads), &mut grad_input);
        assert_close(&goldens, &case, "grad_input", &grad_input, TOLERANCE);
    }
}

#[test]
fn sgd_over_several_updates() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("sgd") {
        let (mut parameter, gradients) = (goldens.values(&case, "start"), goldens.values(&case, "gradient"));
        let mut history = vec![];
        let mut buffer = vec![0.0; parameter.len()];
        for (gradient, learning_rate) in
            gradients.chunks(parameter.len()).zip(goldens.values(&case, "learning_rate"))
        {
            let params = sgd::Params {
                learning_rate,
                momentum: goldens.scalar(&case, "momentum"),
                weight_decay: goldens.scalar(&case, "weight_decay"),
                nesterov: goldens.get(&case, "nesterov").integers == [1],
            };
            sgd::update(params, gradient, &mut parameter, &mut buffer);
            history.extend_from_slice(&parameter);
        }
        assert_close(&goldens, &case, "parameter", &history, TOLERANCE);
    }
}

#[test]
fn adam_over_several_updates() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("adam") {
        let (mut parameter, gradients) = (goldens.values(&case, "start"), goldens.values(&case, "gradient"));
        let mut history = vec![];
        let (mut first, mut second) = (vec![0.0; parameter.len()], vec![0.0; parameter.len()]);
        let (beta_1, beta_2) = (0.9, 0.999);
        let mut hyperparameters = [f32::NAN, 1.0, 1.0, 0.0];
        for (gradient, learning_rate) in
            gradients.chunks(parameter.len()).zip(goldens.values(&case, "learning_rate"))
        {
            adam::advance(beta_1, beta_2, &mut hyperparameters);
            let params = adam::Params {
                learning_rate,
                beta_1,
                beta_2,
                beta_1_power: hyperparameters[1],
                beta_2_power: hyperparameters[2],
                epsilon: 1e-8,
                weight_decay: goldens.scalar(&case, "weight_decay"),
                decoupled: goldens.get(&case, "decoupled").integers == [1],
            };
            adam::update(params, gradient, &mut parameter, &mut first, &mut second);
            history.extend_from_slice(&parameter);
        }
        assert_close(&goldens, &case, "parameter", &history, ADAM_TOLERANCE);
    }
}
