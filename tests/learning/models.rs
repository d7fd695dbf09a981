//! Small networks that learn.

use smidgen::learn::Policy;
use smidgen::{AllOperators, Learner, Metadata, Model, Preprocessing, Session};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::quantize::{Options as QuantizeOptions, post_training};
use smidgen_trainer::compile::{LowerOptions, OnDevice, Optimizer, compile_inference, fuse_activation};
use smidgen_trainer::graph::{Graph, Network};
use smidgen_trainer::personalize::{Options, PersonalizeError, Personalized, personalize};

/// Classes of the network.
pub(crate) const CLASSES: u32 = 5;
/// Elements of a sample.
pub(crate) const ELEMENTS: usize = 9 * 8 * 2;

/// A first layer with a stride, two separable blocks with a residual sum, pools, and a last layer.
fn net() -> Graph {
    Network::new("net", [9, 8, 2])
        .conv_2d(6, 3)
        .stride(2)
        .relu()
        .tap("in")
        .depthwise_conv_2d(3)
        .relu6()
        .conv_2d(6, 1)
        .relu()
        .add("in")
        .depthwise_conv_2d(3)
        .relu()
        .conv_2d(8, 1)
        .relu()
        .max_pool_2d(2)
        .global_average_pool_2d()
        .fully_connected(CLASSES as usize)
        .seed(3)
        .build()
        .unwrap()
}

fn metadata(name: &str) -> Metadata<'_> {
    Metadata { name, labels: "", step_names: "", provenance: "", preprocessing: Preprocessing::None }
}

/// The network in int8.
pub(crate) fn int8_net() -> Vec<u8> {
    int8(net())
}

/// One that ends as most small networks do: a pointwise convolution and the mean over all pixels.
pub(crate) fn int8_net_with_mean() -> Vec<u8> {
    let network =
        Network::new("mean", [9, 8, 2]).conv_2d(6, 3).relu().depthwise_conv_2d(3).relu().conv_2d(8, 1);
    int8(network.relu().global_average_pool_2d().fully_connected(CLASSES as usize).seed(5).build().unwrap())
}

fn int8(graph: Graph) -> Vec<u8> {
    let mut fill = |sample: usize, input: &mut [f32]| input.copy_from_slice(&floats(sample));
    let graph = fuse_activation(graph);
    let graph =
        post_training(&graph, &Default::default(), QuantizeOptions::default(), 16, &mut fill).unwrap();
    compile_inference(&graph, &LowerOptions::default()).unwrap().to_file(&metadata("int8")).unwrap()
}

/// The network in f32.
pub(crate) fn float_net() -> Vec<u8> {
    let graph = fuse_activation(net());
    compile_inference(&graph, &LowerOptions::default()).unwrap().to_file(&metadata("float")).unwrap()
}

/// Plain, with momentum, and Adam.
pub(crate) const OPTIMIZERS: [Optimizer; 3] = [
    Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false },
    Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false },
    Optimizer::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false },
];

/// How the tests have a network learn.
pub(crate) fn options(tier: &str, optimizer: Optimizer, batch: u32) -> Options {
    let rate = if matches!(optimizer, Optimizer::Adam { .. }) { 0.002 } else { 0.01 };
    Options {
        tier: tier.parse().unwrap(),
        optimizer,
        device: OnDevice { samples_per_update: batch, learning_rate: rate, ..OnDevice::default() },
        ..Options::default()
    }
}

/// A model that learns.
pub(crate) fn try_learning(model: &[u8], options: &Options) -> Result<Personalized, PersonalizeError> {
    let aligned = AlignedBytes::copy_of(model);
    personalize(&Model::<AllOperators>::from_bytes(aligned.as_slice()).unwrap(), options)
}

/// A model that learns.
pub(crate) fn learning(model: &[u8], options: &Options) -> Vec<u8> {
    try_learning(model, options).unwrap().file
}

/// Different numbers in -2.0..2.0.
pub(crate) fn floats(seed: usize) -> Vec<f32> {
    (0..ELEMENTS).map(|i| ((i * 7919 + seed * 104_729) % 4001) as f32 / 1000.0 - 2.0).collect()
}

/// Different int8.
pub(crate) fn bytes(seed: usize) -> Vec<i8> {
    (0..ELEMENTS).map(|i| ((i * 7919 + seed * 104_729) % 251) as u8 as i8).collect()
}

/// Samples as a device reads them: inputs and labels.
pub(crate) fn samples(count: usize) -> Vec<u8> {
    let sample = |index: usize| {
        let label = (index as u32 * 7 + index as u32 / 3) % CLASSES;
        let input = bytes(index).into_iter().map(i8::cast_unsigned);
        input.chain(label.to_le_bytes()).collect::<Vec<u8>>()
    };
    (0..count).flat_map(sample).collect()
}

/// Works with a learner on this machine.
pub(crate) fn with_learner<R>(file: &[u8], work: impl FnOnce(&mut Learner<'_, '_, AllOperators>) -> R) -> R {
    let file = AlignedBytes::copy_of(file);
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    let session = Session::new(model, memory.as_mut_slice()).unwrap();
    work(&mut Learner::new(session, Policy::default()).unwrap())
}
