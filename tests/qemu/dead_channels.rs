//! Filters that compute nothing cost nothing.

use smidgen::{Metadata, Preprocessing};
use smidgen_trainer::compile::quantize::{Options, post_training};
use smidgen_trainer::compile::{
    LowerOptions, Packing, assemble, compile_inference, fold_batch_norm, fuse_activation, lower,
    pack_weights, plan_memory, schedule, weigh_sums,
};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::graph::{Graph, GraphOp, Value, nets};

use crate::emulator;

const METADATA: Metadata<'_> = Metadata {
    name: "mobilenet",
    labels: "",
    step_names: "",
    provenance: "",
    preprocessing: Preprocessing::None,
};

/// The most of the instructions of a `MobileNet` that one with every second filter dead may take.
const MOST: f64 = 0.55;

fn mobilenet() -> Graph {
    let graph = nets::by_name("mobilenet_v1_025").unwrap().seed(3).build().unwrap();
    let graph = fuse_activation(fold_batch_norm(graph));
    let mut fill = |sample: usize, input: &mut [f32]| {
        input
            .iter_mut()
            .enumerate()
            .for_each(|(place, value)| *value = ((place * 7919 + sample) % 251) as f32 / 125.0 - 1.0);
    };
    post_training(&graph, &Default::default(), Options::default(), 2, &mut fill).unwrap()
}

/// Every second filter of each convolution zero, its bias too: the channel is the zero point everywhere.
fn half_dead(mut graph: Graph) -> Graph {
    for node in graph.nodes.clone() {
        let depthwise = match node.op {
            GraphOp::Conv2dI8 { .. } => false,
            GraphOp::DepthwiseConv2dI8 { .. } => true,
            _ => continue,
        };
        let [_, filter, table] = node.inputs[..] else { panic!("{}", node.name) };
        let Some(Value::I32(words)) = &mut graph.tensor_mut(table).value else { panic!("{}", node.name) };
        words.as_chunks_mut::<3>().0.iter_mut().step_by(2).for_each(|[bias, ..]| *bias = 0);
        let count = words.len() / 3;
        let Some(Value::I8(weights)) = &mut graph.tensor_mut(filter).value else { panic!("{}", node.name) };
        let row = weights.len() / count;
        for (index, weight) in weights.iter_mut().enumerate() {
            let channel = if depthwise { index % count } else { index / row };
            if channel % 2 == 0 {
                *weight = 0;
            }
        }
    }
    graph
}

#[test]
fn a_mobilenet_whose_filters_are_half_dead_runs_in_little_more_than_half_of_its_instructions() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let options = LowerOptions { packing: Packing::Dsp, ..LowerOptions::default() };
    let graph = mobilenet();
    let dead = half_dead(graph.clone());
    let file = |graph: &Graph| compile_inference(graph, &options).unwrap().to_file(&METADATA).unwrap();
    // The same without looking for dead channels.
    let program = lower(&weigh_sums(dead.clone()), &options).unwrap();
    let program = schedule(pack_weights(program, options.packing, options.prefer).unwrap());
    let all = assemble(&program, &plan_memory(&program).unwrap()).unwrap().to_file(&METADATA).unwrap();

    let inputs: Vec<u8> =
        (0..96 * 96 * 3).map(|index: usize| (index.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    let device = Device::new(Target::CortexM4);
    let (whole, half) =
        (device.run(&file(&graph), &inputs).unwrap(), device.run(&file(&dead), &inputs).unwrap());
    let expected = Device::new(Target::Host).run(&all, &inputs).unwrap();
    assert_eq!(half.outputs, expected.outputs);
    let of_steps = |report: &smidgen_trainer::device::Report| -> u64 {
        report.steps.iter().filter_map(|step| step.instructions).sum()
    };
    let (whole, half) = (of_steps(&whole), of_steps(&half));
    println!("half dead: {half} instructions of {whole}, emulated");
    assert!(half > 0 && (half as f64) < MOST * whole as f64, "{half} of {whole}");
}
