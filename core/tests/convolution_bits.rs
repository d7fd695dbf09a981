//! Convolutions, depthwise convolutions and fully connected layers, forward and backward, give the bits that their documentation
//! defines, with every instruction set of this machine.

mod common;

use common::{KINDS, Kind, Layer, Random, elements, first_difference};
use smidgen::CallError;
use smidgen::ops::activation::Activation;
use smidgen::ops::{conv_2d, depthwise_conv_2d, fully_connected, grad_bias, transpose_conv};

/// Layers of each kind and instruction set.
const LAYERS: u64 = if cfg!(debug_assertions) { 150 } else { 1000 };

fn forward(
    layer: &Layer,
    activation: Activation,
    input: &[f32],
    filter: &[f32],
    bias: Option<&[f32]>,
) -> Result<Vec<f32>, CallError> {
    // Gradients and outputs overwrite: what was there must not shine through.
    let mut output = vec![f32::NAN; elements(layer.output)];
    let Layer { input: i, filter: f, output: o, window, .. } = *layer;
    match layer.kind {
        Kind::Convolution => {
            let params = conv_2d::Conv2d { input: i, filter: f, output: o, window, activation };
            conv_2d::forward(&params, input, filter, bias, &mut output)
        }
        Kind::Depthwise => {
            let params =
                depthwise_conv_2d::DepthwiseConv2d { input: i, filter: f, output: o, window, activation };
            depthwise_conv_2d::forward(&params, input, filter, bias, &mut output)
        }
        Kind::FullyConnected => {
            let params = fully_connected::FullyConnected { input: i, weights: f, output: o, activation };
            fully_connected::forward(&params, input, filter, bias, &mut output)
        }
        Kind::Transposed => {
            let params = transpose_conv::TransposeConv { input: i, filter: f, output: o, window, activation };
            transpose_conv::forward(&params, input, filter, bias, &mut output)
        }
    }?;
    Ok(output)
}

/// `operands` are the two that are read.
fn gradient(layer: &Layer, of_input: bool, left: &[f32], right: &[f32]) -> Vec<f32> {
    let mut gradient = vec![f32::NAN; elements(if of_input { layer.input } else { layer.filter })];
    let Layer { input, filter, output, window, .. } = *layer;
    let activation = Activation::None;
    let result = match layer.kind {
        Kind::Convolution => {
            let params = conv_2d::Conv2d { input, filter, output, window, activation };
            let function = if of_input { conv_2d::grad_input } else { conv_2d::grad_weights };
            function(&params, left, right, &mut gradient)
        }
        Kind::Depthwise => {
            let params = depthwise_conv_2d::DepthwiseConv2d { input, filter, output, window, activation };
            let function =
                if of_input { depthwise_conv_2d::grad_input } else { depthwise_conv_2d::grad_weights };
            function(&params, left, right, &mut gradient)
        }
        Kind::FullyConnected => {
            let params = fully_connected::FullyConnected { input, weights: filter, output, activation };
            let function = if of_input { fully_connected::grad_input } else { fully_connected::grad_weights };
            function(&params, left, right, &mut gradient)
        }
        Kind::Transposed => {
            let params = transpose_conv::TransposeConv { input, filter, output, window, activation };
            let function = if of_input { transpose_conv::grad_input } else { transpose_conv::grad_weights };
            function(&params, left, right, &mut gradient)
        }
    };
    result.unwrap();
    gradient
}

/// Holds `count` random layers against the definition.
fn hold_against_the_definition(count: u64, draw: fn(&mut Random, usize) -> Vec<f32>, name: &str) {
    for seed in 0..count {
        for kind in KINDS {
            let mut random = Random(seed);
            let layer = Layer::random(kind, if seed % 4 == 0 { 80 } else { 20 }, &mut random);
            let input = draw(&mut random, elements(layer.input));
            let filter = draw(&mut random, elements(layer.filter));
            let grad_output = draw(&mut random, elements(layer.output));
            let bias = draw(&mut random, layer.output.dims()[3]);
            let bias = (seed % 3 != 0).then_some(bias.as_slice());
            let same = |found: &[f32], expected: &[f32], what: &str| {
                let difference = first_difference(found, expected);
                assert_eq!(difference, None, "{name}, seed {seed}, {what} of {layer:?}");
            };
            let activation = random.one_of(&[Activation::None, Activation::Relu6]);
            let found = forward(&layer, activation, &input, &filter, bias).unwrap();
            let expected = layer.forward_f32(&input, &filter, bias);
            same(&found, &expected.iter().map(|&x| activation.apply(x)).collect::<Vec<_>>(), "forward");
            let found = gradient(&layer, true, &grad_output, &filter);
            same(&found, &layer.grad_input_f32(&grad_output, &filter), "grad_input");
            let found = gradient(&layer, false, &input, &grad_output);
            same(&found, &layer.grad_weights_f32(&input, &grad_output), "grad_weights");
            let mut found = vec![f32::NAN; layer.output.dims()[3]];
            grad_bias::backward(layer.output, &grad_output, &mut found).unwrap();
            let mut expected = vec![0.0f32; found.len()];
            for pixel in grad_output.chunks_exact(found.len()) {
                expected.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
            }
            same(&found, &expected, "grad_bias");
        }
    }
}

/// One test for all instruction sets: the choice is the whole process's.
#[test]
fn every_instruction_set_gives_the_defined_bits() {
    #[cfg(feature = "simd")]
    {
        use smidgen::kernels::isa::{Isa, choose, current};
        let available = Isa::ALL.into_iter().filter(|isa| isa.is_available());
        for isa in available {
            choose(isa).unwrap();
            assert_eq!(current(), isa);
            hold_against_the_definition(LAYERS, Random::values, &format!("{isa:?}"));
            hold_against_the_definition(LAYERS / 3, Random::wild, &format!("{isa:?}, wild values"));
        }
        for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
            assert!(choose(isa).is_err());
        }
    }
    #[cfg(not(feature = "simd"))]
    {
        hold_against_the_definition(LAYERS, Random::values, "scalar");
        hold_against_the_definition(LAYERS / 3, Random::wild, "scalar, wild values");
    }
}

/// The definition has teeth: the same sum in another order has other bits.
#[test]
fn another_order_is_noticed() {
    let mut random = Random(1);
    let layer = Layer::random(Kind::FullyConnected, 80, &mut random);
    let (input, filter) = (random.values(elements(layer.input)), random.values(elements(layer.filter)));
    let mut products = Vec::new();
    layer.products(|i, f, o| products.push((i, f, o)));
    let mut backwards = vec![0.0f32; elements(layer.output)];
    for &(i, f, o) in products.iter().rev() {
        backwards[o] = input[i].mul_add(filter[f], backwards[o]);
    }
    assert!(first_difference(&layer.forward_f32(&input, &filter, None), &backwards).is_some());
}
