//! Every element-wise and every reducing operator, on every instruction set that this machine has: the same bits. (The layers with
//! weights are held against each other in their own kernels.)

use std::vec;
use std::vec::Vec;

use super::activation::Activation;
use super::batch_norm::{GradInputParams, grad_input, grad_statistics, inference, normalize, statistics};
use super::binary::gradient::{self, PreluGradient};
use super::binary::{self, Maximum, Mul};
use super::function::{self, Function};
use super::losses::{huber, mean_squared_error};
use super::pooling::PoolParams;
use super::test_support::Random;
use super::updates::{self, adadelta, adagrad, adam, rmsprop, sgd};
use super::{activation, add, average_pool_2d, fake_quantize, max_pool_2d, prelu, softmax, sum_chunks};
use crate::kernels::isa::{Isa, choose};
use crate::operand::Shape;

/// The outputs of all operators for `channels`, with what is random drawn from `seed`.
fn outputs(channels: usize, activation: Activation, seed: u64) -> Vec<u32> {
    const H: usize = 7;
    const W: usize = 6;
    let mut random = Random(seed);
    let count = 2 * H * W * channels;
    let [x, g, other] = [(); 3].map(|()| random.values(count).iter().map(|x| 4.0 * x).collect::<Vec<_>>());
    let [parameters, sums] = [(); 2].map(|()| random.values(2 * channels));
    let moments: Vec<f32> = random.values(2 * channels).iter().map(|x| x + 1.25).collect();
    let mut bits = vec![];
    let mut record = |values: &[f32]| bits.extend(values.iter().map(|value| value.to_bits()));

    let (mut y, mut table) = (vec![f32::NAN; count], vec![f32::NAN; 2 * channels]);
    statistics(&x, &mut table);
    record(&table);
    grad_statistics(activation, &x, &g, &moments, &parameters, &mut table);
    record(&table);
    inference(activation, 1e-3, Some(&x), &parameters, &moments, &mut y);
    record(&y);
    normalize(activation, Some(&x), &moments, &parameters, &mut y);
    record(&y);
    let params = GradInputParams { activation, batch_elements: 2 * H * W };
    grad_input(params, Some(&x), Some(&g), &moments, &parameters, &sums, &mut y);
    record(&y);
    y.copy_from_slice(&x);
    normalize(activation, None, &moments, &parameters, &mut y);
    record(&y);
    y.copy_from_slice(&x);
    grad_input(params, None, Some(&g), &moments, &parameters, &sums, &mut y);
    record(&y);
    y.copy_from_slice(&g);
    grad_input(params, Some(&x), None, &moments, &parameters, &sums, &mut y);
    record(&y);
    activation::forward(activation, &x, &mut y);
    record(&y);
    activation::backward(activation, &x, &g, &mut y);
    record(&y);
    add::forward(activation, &x, &g, &mut y);
    record(&y);
    let (whole, side) = (Shape([2, H as u32, W as u32, channels as u32]), Shape::vector(channels as u32));
    let alpha = &sums[..channels];
    binary::forward::<Mul>(activation, [whole, side], &x, alpha, &mut y);
    record(&y);
    binary::forward::<Maximum>(activation, [side, whole], alpha, &g, &mut y);
    record(&y);
    prelu::forward([whole, side], &x, alpha, &mut y);
    record(&y);
    function::forward(Function::HardSwish, &x, &mut y);
    record(&y);
    let mut grad_alpha = vec![f32::NAN; channels];
    gradient::grad::<PreluGradient>(true, [whole, side], [&x, alpha], &g, &mut grad_alpha);
    record(&grad_alpha);
    gradient::grad::<PreluGradient>(false, [whole, side], [&x, alpha], &g, &mut y);
    record(&y);
    gradient::mul_grad([whole, side], &g, &x, &mut grad_alpha);
    record(&grad_alpha);
    let range = fake_quantize::range::extremes(&g);
    record(&range);
    fake_quantize::forward(Some(&x), &range, &mut y);
    record(&y);
    fake_quantize::grad(&x, &g, &range, &mut y);
    record(&y);
    record(&fake_quantize::range::grad_range(0.5, &x, &g, &range));
    fake_quantize::weights::forward(channels, &x, &mut y);
    record(&y);
    sum_chunks::forward([&x[..], &g, &other].into_iter(), &mut y);
    record(&y);
    softmax::backward(channels, Some(&x), Some(&g), &mut y);
    record(&y);
    let params = mean_squared_error::Params { sample_elements: count / 2, grad_scale: 0.5 };
    record(&[mean_squared_error::forward(params, &x, &g, &mut y)]);
    record(&y);
    let params = huber::Params { sample_elements: count / 2, delta: 1.0, grad_scale: 0.5 };
    record(&[huber::forward(params, &x, &g, &mut y)]);
    record(&y);

    let window = random.window([H, W]);
    let (out_h, out_w) = (window.y.output(H).unwrap(), window.x.output(W).unwrap());
    let shape = |h: usize, w: usize| Shape([2, h as u32, w as u32, channels as u32]);
    let params = PoolParams { window, input: shape(H, W), output: shape(out_h, out_w) };
    let mut pooled = vec![f32::NAN; 2 * out_h * out_w * channels];
    max_pool_2d::forward(&params, &x, &mut pooled);
    record(&pooled);
    average_pool_2d::forward(&params, &x, &mut pooled);
    record(&pooled);
    let grads = &g[..pooled.len()];
    max_pool_2d::backward(&params, &x, grads, &mut y);
    record(&y);
    average_pool_2d::backward(&params, grads, &mut y);
    record(&y);

    let (mut parameter, mut first, mut second) =
        (x.clone(), other.clone(), other.iter().map(|x| x * x).collect::<Vec<_>>());
    let params = sgd::Params { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov: true };
    sgd::update(params, &g, &mut parameter, &mut first);
    sgd::update(sgd::Params { momentum: 0.0, nesterov: false, ..params }, &g, &mut parameter, &mut []);
    record(&first);
    let params = adam::Params {
        learning_rate: 0.1,
        beta_1: 0.9,
        beta_2: 0.999,
        beta_1_power: 0.81,
        beta_2_power: 0.998,
        epsilon: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
    };
    adam::update(params, &g, &mut parameter, &mut first, &mut second);
    adam::update(adam::Params { decoupled: false, ..params }, &g, &mut parameter, &mut first, &mut second);
    record(&parameter);
    record(&first);
    record(&second);
    for momentum in [0.0, 0.9] {
        let params =
            rmsprop::Params { learning_rate: 0.1, alpha: 0.99, epsilon: 1e-8, weight_decay: 0.01, momentum };
        rmsprop::update(params, &g, &mut parameter, &mut second, &mut first);
    }
    let params = adagrad::Params { learning_rate: 0.1, epsilon: 1e-10, weight_decay: 0.01 };
    adagrad::update(params, &g, &mut parameter, &mut second);
    let params = adadelta::Params { learning_rate: 1.0, rho: 0.9, epsilon: 1e-6, weight_decay: 0.01 };
    let mut delta = vec![0.0; count];
    adadelta::update(params, &g, &mut parameter, &mut second, &mut delta);
    record(&parameter);
    record(&delta);
    let mut clipped = g.clone();
    let squares = updates::gradient::sum_of_squares(&g);
    record(&[squares]);
    updates::gradient::clip_by_norm(1.5, squares, &mut clipped);
    updates::gradient::l1_penalty(0.01, &x, &mut clipped);
    updates::gradient::clip_by_value(0.02, &mut clipped);
    record(&clipped);
    bits
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let activations = [
        Activation::None,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { alpha: 0.1 },
        Activation::ReluN1To1,
    ];
    for channels in [1, 3, 8, 13, 16, 24, 31, 64, 67, 130] {
        for (seed, activation) in activations.into_iter().enumerate() {
            let run = |isa| choose(isa).map(|()| outputs(channels, activation, 7 + seed as u64));
            let expected = run(Isa::Scalar).unwrap();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let found = run(isa).unwrap();
                let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
                assert_eq!(wrong, None, "{isa:?}, {channels} channels, {activation:?}");
            }
        }
    }
    choose(Isa::best()).unwrap();
}
