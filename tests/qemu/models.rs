//! Small models: one made by hand, and a network as f32, as int8 and as a training program.

use smidgen::model::{MemoryLengths, Metadata, ModelParts, NewEntry, Preprocessing, write};
use smidgen::{ElementType, EntryKind, NewStep, Operand, Operator, Quantization, Schedule, Shape, Space};
use smidgen_trainer::compile::quantize::{Options, post_training};
use smidgen_trainer::compile::{
    Loss, LowerOptions, Optimizer, TrainingOptions, compile_inference, compile_training, fold_batch_norm,
    fuse_activation,
};
use smidgen_trainer::graph::{Graph, Network};

/// Elements of a sample of [`sum`].
const SUM_ELEMENTS: usize = 64;
/// Elements of a sample of the network.
const NET_ELEMENTS: usize = 9 * 8 * 2;
/// Classes of the network.
const CLASSES: usize = 5;

fn metadata(name: &str) -> Metadata<'_> {
    Metadata { name, labels: "", step_names: "", provenance: "", preprocessing: Preprocessing::None }
}

/// Adds a constant, applies ReLU, adds the result to the input. Three steps; without `relu` only the two sums.
pub(crate) fn sum(relu: bool) -> Vec<u8> {
    let bytes = SUM_ELEMENTS as u32 * 4;
    let operand = |space, offset| Operand {
        space,
        element_type: ElementType::F32,
        offset,
        shape: Shape::vector(SUM_ELEMENTS as u32),
        quantization: Quantization::NONE,
    };
    let step = |operator: Operator, attributes: &[i32], reads: &[Operand], write: Operand| NewStep {
        operator: operator as u8,
        schedule: Schedule::PerChunk,
        attributes: attributes.iter().copied().collect(),
        reads: reads.iter().copied().collect(),
        writes: [write].into_iter().collect(),
    };
    let [input, middle, output] = [0, bytes, 2 * bytes].map(|offset| operand(Space::Arena, offset));
    let constant = operand(Space::Constant, 0);
    let weights: Vec<u8> = (0..SUM_ELEMENTS).flat_map(|i| (i as f32 * 0.37 - 9.1).to_le_bytes()).collect();
    let mut steps = vec![step(Operator::AddF32, &[0, 0], &[input, constant], middle)];
    if relu {
        steps.push(step(Operator::ActivationF32, &[1, 0], &[middle], middle));
    }
    steps.push(step(Operator::AddF32, &[0, 0], &[middle, input], output));
    let parts = ModelParts {
        metadata: metadata("sum"),
        entries: &[NewEntry {
            kind: EntryKind::Infer,
            first_step: 0,
            step_count: steps.len() as u32,
            inputs: &[input],
            outputs: &[output],
        }],
        steps: &steps,
        memory: MemoryLengths { arena: 3 * bytes, ..MemoryLengths::default() },
        weights: &weights,
        initial_parameters: None,
        initial_state: None,
    };
    let mut file = vec![0; 4096];
    let length = write(&parts, &mut file).unwrap();
    file.truncate(length);
    file
}

/// Samples for [`sum`].
pub(crate) fn sum_inputs(samples: usize) -> Vec<u8> {
    (0..samples * SUM_ELEMENTS).flat_map(|i| ((i * 37 % 101) as f32 * 0.173 - 8.0).to_le_bytes()).collect()
}

/// Odd and even sizes, a stride, a depthwise and a pointwise layer, batch norm, both pools.
fn net() -> Graph {
    Network::new("net", [9, 8, 2])
        .conv_2d(6, 3)
        .stride(2)
        .batch_norm()
        .relu()
        .depthwise_conv_2d(3)
        .batch_norm()
        .relu6()
        .conv_2d(7, 1)
        .batch_norm()
        .leaky_relu(0.1)
        .max_pool_2d(2)
        .global_average_pool_2d()
        .fully_connected(CLASSES)
        .seed(3)
        .build()
        .unwrap()
}

/// Layers that remember, and layers that are made of others, for samples as the network's.
fn remembering() -> Graph {
    let network = Network::new("remembering", [9, 8, 2]).conv_2d(4, 3).stride([1, 2]).group_norm(2).maxout(2);
    let sequence = network.channel_shuffle(2).squeeze_excite(3).reshape([1, 9, 8]).lstm(5).gru(6);
    sequence.crop(0, 0, 8, 0).fully_connected(CLASSES).seed(4).build().unwrap()
}

/// The network for inference in f32.
pub(crate) fn float_net() -> Vec<u8> {
    float(net())
}

/// The network for inference in int8.
pub(crate) fn int8_net() -> Vec<u8> {
    int8(net())
}

/// The network that remembers, in f32.
pub(crate) fn float_remembering() -> Vec<u8> {
    float(remembering())
}

/// The network that remembers, in int8.
pub(crate) fn int8_remembering() -> Vec<u8> {
    int8(remembering())
}

fn float(graph: Graph) -> Vec<u8> {
    let graph = fold_batch_norm(fuse_activation(graph));
    compile_inference(&graph, &LowerOptions::default()).unwrap().to_file(&metadata("float")).unwrap()
}

fn int8(graph: Graph) -> Vec<u8> {
    let graph = fold_batch_norm(fuse_activation(graph));
    let mut fill = |sample: usize, input: &mut [f32]| input.copy_from_slice(&floats(sample, NET_ELEMENTS));
    let graph = post_training(&graph, &Default::default(), Options::default(), 16, &mut fill).unwrap();
    compile_inference(&graph, &LowerOptions::default()).unwrap().to_file(&metadata("int8")).unwrap()
}

/// The network's training program, with batches of one chunk of two samples.
pub(crate) fn training_net() -> Vec<u8> {
    let options = TrainingOptions {
        chunk_samples: 2,
        chunks: 1,
        loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 },
        optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-3, nesterov: true },
        ..TrainingOptions::default()
    };
    compile_training(&net(), &options).unwrap().to_file(&metadata("training")).unwrap()
}

/// `count` different numbers in -2.0..2.0.
fn floats(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 4001) as f32 / 1000.0 - 2.0).collect()
}

/// f32 samples for the network.
pub(crate) fn float_inputs(samples: usize) -> Vec<u8> {
    (0..samples).flat_map(|sample| floats(sample, NET_ELEMENTS)).flat_map(f32::to_le_bytes).collect()
}

/// int8 samples for the network.
pub(crate) fn int8_inputs(samples: usize) -> Vec<u8> {
    (0..samples * NET_ELEMENTS).map(|i| (i * 7919 % 256) as u8).collect()
}

/// Batches for the training program: samples, labels, and the learning rate with the three other hyperparameters.
pub(crate) fn batches(steps: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in 0..steps {
        for sample in [2 * step, 2 * step + 1] {
            bytes.extend(floats(sample, NET_ELEMENTS).into_iter().flat_map(f32::to_le_bytes));
        }
        bytes.extend(
            [step % CLASSES, (step + 2) % CLASSES].into_iter().flat_map(|label| (label as i32).to_le_bytes()),
        );
        bytes.extend([0.05f32, 0.0, 0.0, 0.0].into_iter().flat_map(f32::to_le_bytes));
    }
    bytes
}
