//! Gradients of convolutions, depthwise convolutions and fully connected layers against central differences in f64.

mod common;

use common::{KINDS, Kind, Layer, Random, elements};
use smidgen::ops::activation::Activation;
use smidgen::ops::{conv_2d, depthwise_conv_2d, fully_connected, grad_bias, transpose_conv};

const LAYERS: u64 = 60;

/// The layers are linear in each operand, so that a central difference in f64 is exact but for rounding (about 1e-10 with this
/// step), whatever the step.
const STEP: f64 = 1.0 / 64.0;

/// A gradient in f32 is a chain of at most a few thousand fused multiply-adds of numbers below one; each rounds by at most half a unit in
/// the last place of a sum that is below a few hundred and in most cases below ten.
const TOLERANCE: f64 = 2e-5;

/// Inner product of `weights` with the layer's output: the loss whose gradient with respect to the output is `weights`.
fn loss(layer: &Layer, operands: &[Vec<f64>; 3], weights: &[f64]) -> f64 {
    let output = layer.forward_f64(&operands[0], &operands[1], &operands[2]);
    output.iter().zip(weights).map(|(output, weight)| output * weight).sum()
}

fn gradients(layer: &Layer, input: &[f32], filter: &[f32], grad_output: &[f32]) -> [Vec<f32>; 3] {
    let mut gradients = [elements(layer.input), elements(layer.filter), layer.output.dims()[3]]
        .map(|count| vec![f32::NAN; count]);
    let [grad_input, grad_weights, bias] = &mut gradients;
    let Layer { input: i, filter: f, output: o, window, .. } = *layer;
    let activation = Activation::None;
    match layer.kind {
        Kind::Convolution => {
            let params = conv_2d::Conv2d { input: i, filter: f, output: o, window, activation };
            conv_2d::grad_input(&params, grad_output, filter, grad_input).unwrap();
            conv_2d::grad_weights(&params, input, grad_output, grad_weights).unwrap();
        }
        Kind::Depthwise => {
            let params =
                depthwise_conv_2d::DepthwiseConv2d { input: i, filter: f, output: o, window, activation };
            depthwise_conv_2d::grad_input(&params, grad_output, filter, grad_input).unwrap();
            depthwise_conv_2d::grad_weights(&params, input, grad_output, grad_weights).unwrap();
        }
        Kind::FullyConnected => {
            let params = fully_connected::FullyConnected { input: i, weights: f, output: o, activation };
            fully_connected::grad_input(&params, grad_output, filter, grad_input).unwrap();
            fully_connected::grad_weights(&params, input, grad_output, grad_weights).unwrap();
        }
        Kind::Transposed => {
            let params = transpose_conv::TransposeConv { input: i, filter: f, output: o, window, activation };
            transpose_conv::grad_input(&params, grad_output, filter, grad_input).unwrap();
            transpose_conv::grad_weights(&params, input, grad_output, grad_weights).unwrap();
        }
    }
    grad_bias::backward(o, grad_output, bias).unwrap();
    gradients
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for seed in 0..LAYERS {
        for kind in KINDS {
            let mut random = Random(1000 + seed);
            let layer = Layer::random(kind, if seed % 4 == 0 { 20 } else { 6 }, &mut random);
            let input = random.values(elements(layer.input));
            let filter = random.values(elements(layer.filter));
            let bias = random.values(layer.output.dims()[3]);
            let grad_output = random.values(elements(layer.output));
            let found = gradients(&layer, &input, &filter, &grad_output);
            let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let weights = wide(&grad_output);
            let mut operands = [wide(&input), wide(&filter), wide(&bias)];
            for which in 0..3 {
                // Every element would take long: the first, the last and some between.
                let count = operands[which].len();
                for index in [0, count - 1].into_iter().chain((0..8).map(|_| random.integer(0, count - 1))) {
                    let value = operands[which][index];
                    operands[which][index] = value + STEP;
                    let above = loss(&layer, &operands, &weights);
                    operands[which][index] = value - STEP;
                    let below = loss(&layer, &operands, &weights);
                    operands[which][index] = value;
                    let slope = (above - below) / (2.0 * STEP);
                    let found = f64::from(found[which][index]);
                    assert!(
                        (found - slope).abs() <= TOLERANCE * slope.abs().max(1.0),
                        "seed {seed}, operand {which}, element {index}: {found}, slope {slope}; {layer:?}"
                    );
                }
            }
        }
    }
}
