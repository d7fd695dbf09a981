//! What a network keeps from run to run.

use smidgen::ops::activation::Activation;
use smidgen::{Metadata, Preprocessing, Shape, Space};
use smidgen_trainer::compile::calibrate::GraphRun;
use smidgen_trainer::compile::{CompileError, LowerOptions, compile_inference};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::run_in_parts;
use smidgen_trainer::graph::{Graph, GraphOp, Role, Value};

/// `output = input + state; state = output`, of two elements; the state begins at `first`.
fn sums(first: [f32; 2]) -> Graph {
    let mut graph = Graph::new("sums");
    let shape = Shape::vector(2);
    let input = graph.add_activation("input", shape);
    let state = graph.add_value("state", shape, Role::State, Value::F32(first.to_vec()));
    let sum = graph.add_activation("sum", shape);
    let add = GraphOp::Add { activation: Activation::None };
    graph.add_node("add", add, vec![input, state], sum);
    graph.add_node("store", GraphOp::Store, vec![sum], state);
    (graph.inputs, graph.outputs) = (vec![input], vec![sum]);
    graph.validate().unwrap();
    graph
}

fn file(graph: &Graph) -> Vec<u8> {
    let program = compile_inference(graph, &LowerOptions::default()).unwrap();
    assert!(program.steps.iter().flat_map(|step| &step.writes).any(|write| write.space == Space::State));
    let (labels, step_names, provenance) = ("", "", "");
    let metadata =
        Metadata { name: "sums", labels, step_names, provenance, preprocessing: Preprocessing::None };
    program.to_file(&metadata).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

const INPUTS: [f32; 6] = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];

#[test]
fn a_state_begins_at_its_value_and_is_kept_until_it_is_reset() {
    let (file, inputs) = (file(&sums([0.5, 0.0])), bytemuck::cast_slice(&INPUTS));
    let device = Device::new(Target::Host);
    let kept = device.run(&file, inputs).unwrap();
    assert_eq!(floats(&kept.outputs), [1.5, 10.0, 3.5, 30.0, 6.5, 60.0]);
    let reset = device.clone().reset_state().run(&file, inputs).unwrap();
    assert_eq!(floats(&reset.outputs), [1.5, 10.0, 2.5, 20.0, 3.5, 30.0]);
    // A run begins anew.
    assert_eq!(device.run(&file, inputs).unwrap().outputs, kept.outputs);
}

#[test]
fn samples_of_a_network_with_a_state_are_not_dealt_out() {
    let (file, inputs) = (file(&sums([0.0; 2])), bytemuck::cast_slice(&INPUTS));
    let device = Device::new(Target::Host);
    let one = device.run(&file, inputs).unwrap();
    assert_eq!(run_in_parts(&device, &file, inputs, 8, 3).unwrap().outputs, one.outputs);
    let reset = device.reset_state();
    let parts = run_in_parts(&reset, &file, inputs, 8, 3).unwrap();
    assert_eq!(parts.outputs, reset.run(&file, inputs).unwrap().outputs);
    assert_ne!(parts.outputs, one.outputs);
}

#[test]
fn calibration_sees_every_sample_with_the_first_state() {
    let graph = sums([0.5, 0.0]);
    let mut run = GraphRun::new(&graph).unwrap();
    for _ in 0..2 {
        run.activation_mut::<f32>(graph.inputs[0]).copy_from_slice(&INPUTS[..2]);
        run.run();
        assert_eq!(run.activation::<f32>(graph.outputs[0]), [1.5, 10.0]);
    }
}

#[test]
fn a_run_of_a_network_with_a_state_has_one_sample() {
    let options = LowerOptions { samples: 2, ..LowerOptions::default() };
    let error = compile_inference(&sums([0.0; 2]), &options).unwrap_err();
    assert_eq!(error, CompileError::StateOfSamples { network: "sums".to_owned(), samples: 2 });
}

#[test]
fn only_a_state_is_changed_in_place() {
    let mut graph = sums([0.0; 2]);
    let (input, add) = (graph.inputs[0], 0);
    graph.nodes[add].updates.push(input);
    let error = graph.validate().unwrap_err().to_string();
    assert!(error.contains("layer add") && error.contains("only a state can be"), "{error}");
}
