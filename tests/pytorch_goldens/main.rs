//! The f32 operators against `PyTorch`: forward, backward, losses and updates, from the files in `goldens/pytorch`, which
//! `generate.py` there writes.

mod goldens;
mod losses;
mod recurrent;
mod schedules;
mod updates;

use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::batch_norm::{self, GradInputParams, ReduceParams};
use smidgen::ops::conv_2d::{self, Conv2d};
use smidgen::ops::depthwise_conv_2d::{self, DepthwiseConv2d};
use smidgen::ops::fully_connected::{self, FullyConnected};
use smidgen::ops::max_pool_2d::PoolParams;
use smidgen::ops::{CallError, average_pool_2d, grad_bias, max_pool_2d, softmax, sum_chunks};

use goldens::{Golden, Goldens, TOLERANCE, assert_close, error, unwritten};

/// As [`TOLERANCE`], after a division by a batch's deviation, and a difference of sums over the batch.
const BATCH_NORM_TOLERANCE: f32 = 5e-6;
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

/// A layer with weights, of parameters `P`: how it is made from its operands, and what it computes.
struct Layer<P> {
    new: fn(Tensors<'_>) -> P,
    forward: Forward<P>,
    grad_input: Gradient<P>,
    grad_weights: Gradient<P>,
}

/// Computes a layer's output from input, filter and bias.
type Forward<P> = fn(&P, &[f32], &[f32], Option<&[f32]>, &mut [f32]) -> Result<(), CallError>;
/// Computes a gradient from two tensors.
type Gradient<P> = fn(&P, &[f32], &[f32], &mut [f32]) -> Result<(), CallError>;

/// The tensors of a case, and its window if it has one.
struct Tensors<'a> {
    input: &'a Golden,
    filter: &'a Golden,
    output: &'a Golden,
    window: Option<Window>,
}

impl<P> Layer<P> {
    /// Output and gradients are PyTorch's in all of `cases`.
    fn is_pytorch_s(&self, cases: &str, has_window: bool) {
        let goldens = Goldens::load("convolutions.safetensors");
        for case in goldens.cases(cases) {
            let get = |name| goldens.get(&case, name);
            let (input, filter, output, grad_output) =
                (get("input"), get("filter"), get("output"), get("grad_output"));
            let window = has_window.then(|| goldens.window(&case));
            let params = (self.new)(Tensors { input: &input, filter: &filter, output: &output, window });
            let close = |name, found: &[f32]| assert_close(&goldens, &case, name, found, TOLERANCE);
            let (mut found, bias) = (unwritten(&output), get("bias").values);
            (self.forward)(&params, &input.values, &filter.values, Some(&bias), &mut found).unwrap();
            close("output", &found);
            let mut found = unwritten(&input);
            (self.grad_input)(&params, &grad_output.values, &filter.values, &mut found).unwrap();
            close("grad_input", &found);
            let mut found = unwritten(&filter);
            (self.grad_weights)(&params, &input.values, &grad_output.values, &mut found).unwrap();
            close("grad_weights", &found);
            let mut found = vec![f32::NAN; bias.len()];
            grad_bias::backward(output.shape(), &grad_output.values, &mut found).unwrap();
            close("grad_bias", &found);
        }
    }
}

#[test]
fn conv_2d() {
    let new = |Tensors { input, filter, output, window }: Tensors<'_>| Conv2d {
        input: input.shape(),
        filter: filter.shape(),
        output: output.shape(),
        window: window.unwrap(),
        activation: Activation::None,
    };
    let (forward, grad_input, grad_weights) = (conv_2d::forward, conv_2d::grad_input, conv_2d::grad_weights);
    Layer { new, forward, grad_input, grad_weights }.is_pytorch_s("conv_2d", true);
}

#[test]
fn depthwise_conv_2d() {
    let new = |Tensors { input, filter, output, window }: Tensors<'_>| DepthwiseConv2d {
        input: input.shape(),
        filter: filter.shape(),
        output: output.shape(),
        window: window.unwrap(),
        activation: Activation::None,
    };
    let (forward, grad_input, grad_weights) =
        (depthwise_conv_2d::forward, depthwise_conv_2d::grad_input, depthwise_conv_2d::grad_weights);
    Layer { new, forward, grad_input, grad_weights }.is_pytorch_s("depthwise_conv_2d", true);
}

#[test]
fn fully_connected() {
    let new = |Tensors { input, filter, output, .. }: Tensors<'_>| FullyConnected {
        input: input.pixels(),
        weights: filter.shape(),
        output: output.pixels(),
        activation: Activation::None,
    };
    let (forward, grad_input, grad_weights) =
        (fully_connected::forward, fully_connected::grad_input, fully_connected::grad_weights);
    Layer { new, forward, grad_input, grad_weights }.is_pytorch_s("fully_connected", false);
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
