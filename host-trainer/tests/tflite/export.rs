//! Round trips: from a model to a `.tflite` file and back.

use smidgen::{Metadata, Model, Preprocessing};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::quantize::{Options, post_training};
use smidgen_trainer::compile::{LowerOptions, compile_inference, fold_batch_norm, fuse_activation};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::graph::{Graph, GraphOp, Network, nets};
use smidgen_trainer::recipe;
use smidgen_trainer::tflite::{ExportError, convert, export};

const METADATA: Metadata<'_> = Metadata {
    name: "exported",
    labels: "left\nright",
    step_names: "",
    provenance: "",
    preprocessing: Preprocessing::Normalize { mean: 0.25, std: 0.5 },
};

/// Inputs that are not all alike.
fn noise(index: usize) -> f32 {
    (index as f32 * 12.9898).sin() * 2.0
}

/// An int8 model of a network that nobody has trained.
fn model(network: Network) -> Vec<u8> {
    model_of(&network.seed(3).build().unwrap())
}

fn model_of(graph: &Graph) -> Vec<u8> {
    let graph = fuse_activation(fold_batch_norm(graph.clone()));
    let settings = recipe::Quantization::default();
    let quantized = post_training(&graph, &settings, Options::default(), 16, &mut |sample, input| {
        input.iter_mut().enumerate().for_each(|(place, value)| *value = noise(sample * 1000 + place));
    })
    .unwrap();
    let program = compile_inference(&quantized, &LowerOptions::default()).unwrap();
    program.to_file(&METADATA).unwrap()
}

/// Exports a model, imports it, and compares what both compute. The comparison of the steps is the exporter's own.
fn round_trip(network: Network) {
    round_trip_of(&network.seed(3).build().unwrap());
}

fn round_trip_of(graph: &Graph) {
    let file = model_of(graph);
    let tflite = export(&file).unwrap();
    assert_eq!(export(&file).unwrap(), tflite, "equal models give equal files");
    let again = convert(&tflite, "exported", None).unwrap().file;
    // From there on nothing changes any more.
    assert_eq!(export(&again).unwrap(), tflite);

    let aligned = AlignedBytes::copy_of(&again);
    let metadata = Model::<smidgen::AllOperators>::from_bytes(aligned.as_slice()).unwrap().metadata();
    assert_eq!((metadata.labels, metadata.preprocessing), (METADATA.labels, METADATA.preprocessing));

    let elements = {
        let aligned = AlignedBytes::copy_of(&file);
        Model::<smidgen::AllOperators>::from_bytes(aligned.as_slice()).unwrap().header().input_bytes as usize
    };
    let inputs: Vec<u8> = (0..elements * 10).map(|index| (noise(index) * 60.0) as i8 as u8).collect();
    let device = Device::new(Target::Host);
    let (expected, found) = (device.run(&file, &inputs).unwrap(), device.run(&again, &inputs).unwrap());
    assert_eq!(expected.outputs, found.outputs);
}

#[test]
fn a_network_of_every_layer_comes_back() {
    round_trip(
        Network::new("layers", [9, 8, 3])
            .conv_2d(8, 3)
            .stride(2)
            .relu()
            .tap("a")
            .depthwise_conv_2d(3)
            .relu6()
            .conv_2d(8, 1)
            .add("a")
            .max_pool_2d(2)
            .average_pool_2d(2)
            .flatten()
            .fully_connected(12)
            .relu()
            .fully_connected(5)
            .softmax(),
    );
}

#[test]
fn a_leaky_relu_is_found_in_its_table() {
    round_trip(Network::new("leaky", [4, 4, 2]).conv_2d(4, 3).leaky_relu(0.1).flatten().fully_connected(3));
}

#[test]
fn a_padding_of_its_own_becomes_a_pad() {
    let mut graph = Network::new("padded", [6, 5, 2]).conv_2d(4, 3).seed(3).build().unwrap();
    let GraphOp::Conv2d { window, .. } = &mut graph.nodes[0].op else { panic!("a convolution") };
    // SAME is one on each side.
    (window.y.pad_before, window.y.pad_after) = (2, 0);
    round_trip_of(&graph);
}

#[test]
fn the_networks_of_the_recipes_come_back() {
    round_trip(nets::by_name("mnist_ds_cnn").unwrap());
}

#[test]
fn what_has_no_form_in_tensorflow_lite_is_named() {
    let slope = model(Network::new("leaky", [4, 4, 2]).conv_2d(4, 3).leaky_relu(0.177));
    let error = export(&slope).unwrap_err();
    assert!(matches!(error, ExportError::Step { step: 1, operator: "lookup_i8", .. }), "{error}");
    let error = export(b"no model").unwrap_err();
    assert!(matches!(error, ExportError::Invalid(_)), "{error}");
}
