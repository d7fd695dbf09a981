//! From a graph to a training program.
//!
//! Batch norms normalize with the moments of the whole batch, which the chunks compute in parts. Gradients of parameters are
//! partial sums per chunk, added in chunk order; on a device, which has one sample at a time, they are used as soon as they are there. What needs no gradient gets none: frozen parameters, what lies before the first
//! parameter that learns, and the input.

mod backward;
mod elementwise;
mod movement;
mod options;
mod pointwise_mean;
mod recurrent;
mod training;
mod update;

use smidgen::{ElementType, EntryKind, Operator, Schedule, Shape, Space};

pub use options::{GradientOptions, Loss, OnDevice, Optimizer, TargetKind, TrainingOptions};

use self::training::Training;
use self::update::Updates;
use super::error::CompileError;
use super::lower::{Forward, Shared, bits, infer};
use super::program::{Buffer, BufferId, Program, VirtualEntry, VirtualStep};
use crate::graph::{Graph, GraphOp, Node, RangeSource, Role, TensorId, Value};

/// Makes the training program of `graph`, with the entries
///
/// * `train`: inputs are a chunk of samples `[chunk, H, W, C]` and its labels, i32 `[chunk, 1, 1, 1]` (for
///   dense losses the target, see [`TargetKind`]), both in [`Space::Chunk`], and the keys of the samples, i32 `[chunk, 1, 1, 2]`, if
///   the network has dropout; the output is the sum of the loss over the
///   batch and the number of correct predictions, `[1, 1, 1, 2]` in [`Space::State`];
/// * `update`: the input is the table of hyperparameters, `[1, 1, 1, 4]` in [`Space::State`], whose first value, the learning rate,
///   the caller writes;
/// * `evaluate`: as `train`, with running statistics and without gradients;
/// * `infer`: from a chunk of samples to the graph's output, both in the arena.
///
/// A softmax at the end is not part of `train` and `evaluate` if the loss is cross-entropy, which has one of its own.
/// A layer before which, and in which, nothing learns runs as in inference: a frozen batch norm there uses its running statistics.
///
/// Activations should be fused before ([`fuse_activation`](super::fuse_activation())), batch norms not folded.
///
/// # Errors
/// See [`CompileError`].
pub fn differentiate(graph: &Graph, options: &TrainingOptions) -> Result<Program, CompileError> {
    graph.validate()?;
    options.check(graph)?;
    let (&[input], &[output]) = (graph.inputs.as_slice(), graph.outputs.as_slice()) else {
        let (inputs, outputs) = (graph.inputs.len(), graph.outputs.len());
        return Err(CompileError::Interface { network: graph.name.clone(), inputs, outputs });
    };
    for id in graph.trained_parameters() {
        // A range that another fake quantization takes over is not trained by that one.
        let takes_over = |op: &GraphOp| matches!(op, GraphOp::FakeQuantize { range: RangeSource::Given });
        let readers =
            graph.consumers(id).into_iter().filter(|node| !takes_over(&graph.nodes[node.0].op)).count();
        if readers > 1 {
            return Err(CompileError::SharedParameter { parameter: graph.tensor(id).name.clone(), readers });
        }
    }
    let prediction = prediction(graph, output, options.loss)?;
    let learns = learns(graph, options);
    if !learns[prediction.0] {
        return Err(CompileError::NothingToTrain { network: graph.name.clone() });
    }

    let normalizes = |node: &&Node| matches!(node.op, GraphOp::BatchNorm { .. }) && learns[node.output.0];
    if let Some(node) = graph.nodes.iter().find(normalizes).filter(|_| options.device.is_some()) {
        // The moments of one sample are no batch's.
        return Err(CompileError::NoGradient { layer: node.name.clone(), operator: node.op.name() });
    }
    let mut program = Program::default();
    let shared = Shared::new(&mut program, graph, Space::Parameter, Space::State)?;
    let updates = Updates::new(&mut program, options)?;
    if options.device.is_some() {
        // What does not learn stays in flash.
        shared.freeze(&mut program, |id| graph.tensor(id).role.is_trained() && !learns[id.0]);
    }
    let training = Training::new(&mut program, graph, &shared, options, &learns, input)?;
    let (mut train, gradients) = training.run(&mut program, prediction, &updates)?;
    let update = updates.entry(&mut program, graph, &shared, &gradients)?;
    let mut evaluate = evaluate(&mut program, graph, &shared, options, input, prediction)?;
    let infer = infer(&mut program, graph, &shared, options.chunk_samples)?;
    if options.device.is_some() {
        train.outputs.extend(updates.faults);
        // One sample is the batch: all of it is one phase, and nothing has to outlive one.
        for step in train.steps.iter_mut().chain(&mut evaluate.steps) {
            step.schedule = Schedule::Once;
        }
    }
    program.entries = vec![train, update, evaluate, infer];
    Ok(program)
}

/// Where inputs and targets lie.
fn input_space(options: &TrainingOptions) -> Space {
    if options.device.is_some() { Space::Arena } else { Space::Chunk }
}

/// What the loss is computed from.
fn prediction(graph: &Graph, output: TensorId, loss: Loss) -> Result<TensorId, CompileError> {
    if !loss.is_classification() {
        return Ok(output);
    }
    let last = graph.producer(output).map(|node| &graph.nodes[node.0]);
    let logits = match last {
        Some(node) if node.op == GraphOp::Softmax => node.inputs[0],
        _ => output,
    };
    match graph.tensor(logits).shape {
        Shape([1, 1, 1, _]) => Ok(logits),
        found => Err(CompileError::NotLogits { network: graph.name.clone(), found }),
    }
}

/// For each tensor, whether it is or depends on a parameter that learns.
fn learns(graph: &Graph, options: &TrainingOptions) -> Vec<bool> {
    let mut learns = vec![false; graph.tensors.len()];
    for id in graph.trained_parameters() {
        learns[id.0] = !options.frozen.contains(&graph.tensor(id).name);
    }
    for node in &graph.nodes {
        learns[node.output.0] = node.inputs.iter().any(|input| learns[input.0]);
    }
    learns
}

/// The entry `evaluate`.
fn evaluate(
    program: &mut Program,
    graph: &Graph,
    shared: &Shared,
    options: &TrainingOptions,
    input: TensorId,
    prediction: TensorId,
) -> Result<VirtualEntry, CompileError> {
    let space = input_space(options);
    let mut forward = Forward::new(program, graph, shared, options.chunk_samples, space, "evaluate")?;
    for node in needed_for(graph, prediction) {
        forward.push(program, &graph.nodes[node])?;
    }
    let mut steps = std::mem::take(&mut forward.steps);
    let loss = push_loss(program, &mut steps, options, forward.buffer(prediction), "evaluate")?;
    Ok(VirtualEntry {
        kind: EntryKind::Evaluate,
        steps,
        inputs: vec![forward.buffer(input), loss.target],
        outputs: vec![loss.sum],
    })
}

/// The nodes on which a tensor depends, in order.
fn needed_for(graph: &Graph, tensor: TensorId) -> Vec<usize> {
    let mut wanted = vec![false; graph.tensors.len()];
    wanted[tensor.0] = true;
    let mut needed = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if wanted[node.output.0] {
            needed.push(index);
            node.inputs.iter().for_each(|input| wanted[input.0] = true);
        }
    }
    needed.reverse();
    needed
}

/// The buffers of a loss.
struct LossBuffers {
    target: BufferId,
    sum: BufferId,
    grad: BufferId,
}

/// Appends the loss and its sum.
fn push_loss(
    program: &mut Program,
    steps: &mut Vec<VirtualStep>,
    options: &TrainingOptions,
    prediction: BufferId,
    entry: &str,
) -> Result<LossBuffers, CompileError> {
    let shape = program.buffer(prediction).shape;
    let scale = bits(1.0 / options.batch_samples() as f32);
    let counts = i32::from(options.counts_largest);
    let is_weighted = !options.class_weights.is_empty();
    let (operator, attributes) = match options.loss {
        Loss::SoftmaxCrossEntropy { label_smoothing } => {
            let weighted =
                if is_weighted { Operator::WeightedCrossEntropy } else { Operator::SoftmaxCrossEntropy };
            (weighted, vec![bits(label_smoothing), scale])
        }
        Loss::Focal { gamma } => (Operator::Focal, vec![bits(gamma), scale]),
        Loss::SoftCrossEntropy { label_smoothing } => {
            (Operator::SoftCrossEntropy, vec![bits(label_smoothing), scale])
        }
        Loss::Distillation { temperature, share, label_smoothing } => {
            let numbers = vec![bits(temperature), bits(share), bits(label_smoothing), scale];
            (Operator::Distillation, numbers)
        }
        Loss::MeanSquaredError if options.counts_largest => (Operator::MeanSquaredError, vec![scale, counts]),
        Loss::MeanSquaredError => (Operator::MeanSquaredError, vec![scale]),
        Loss::Huber { delta } => (Operator::Huber, vec![bits(delta), scale, counts]),
        Loss::BinaryCrossEntropy => (Operator::BinaryCrossEntropy, vec![scale]),
        Loss::Dice { smooth } => (Operator::Dice, vec![bits(smooth), scale]),
    };
    let Shape([samples, _, _, classes]) = shape;
    let (target_type, target_shape) = match options.loss.target() {
        TargetKind::Labels => (ElementType::I32, Shape([samples, 1, 1, 1])),
        TargetKind::Values => (ElementType::F32, shape),
        TargetKind::WithTeacher => (ElementType::F32, Shape([samples, 1, 2, classes])),
    };
    let target = program.add(Buffer {
        name: format!("{entry}/target"),
        space: input_space(options),
        shape: target_shape,
        element_type: target_type,
        quantization: None,
        role: Role::Activation,
        value: None,
        view_of: None,
    })?;
    let on_device = options.device.is_some();
    let grad = program.add_f32(format!("{entry}/loss/gradient"), Space::Arena, shape)?;
    let sum = program.add_f32(format!("{entry}/loss"), Space::State, Shape::vector(2))?;
    let mut reads = vec![prediction, target];
    if is_weighted && options.loss.target() == TargetKind::Labels || operator == Operator::Focal {
        let ones = || vec![1.0; classes as usize];
        let weights = if is_weighted { options.class_weights.clone() } else { ones() };
        reads.push(program.add(Buffer {
            name: format!("{entry}/class weights"),
            space: Space::Constant,
            shape: Shape::vector(classes),
            element_type: ElementType::F32,
            quantization: None,
            role: Role::Constant,
            value: Some(Value::F32(weights)),
            view_of: None,
        })?);
    }
    let partial = if on_device {
        sum
    } else {
        program.add_f32(format!("{entry}/loss/partial"), Space::Chunk, Shape::vector(2))?
    };
    steps.push(VirtualStep {
        name: "loss".to_owned(),
        operator,
        schedule: Schedule::PerChunk,
        attributes,
        reads,
        writes: vec![partial, grad],
        in_place: None,
    });
    if !on_device {
        steps.push(sum_chunks("loss sum", partial, sum));
    }
    Ok(LossBuffers { target, sum, grad })
}

/// The sum of a partial over the chunks.
fn sum_chunks(name: impl Into<String>, partial: BufferId, sum: BufferId) -> VirtualStep {
    VirtualStep {
        name: name.into(),
        operator: Operator::SumChunks,
        schedule: Schedule::Once,
        attributes: vec![],
        reads: vec![partial],
        writes: vec![sum],
        in_place: None,
    }
}

/// A buffer of the state that starts as `values`.
fn state(
    program: &mut Program,
    name: String,
    shape: Shape,
    values: Option<Vec<f32>>,
) -> Result<BufferId, CompileError> {
    let id = program.add_f32(name, Space::State, shape)?;
    program.buffers[id.0].value = values.map(Value::F32);
    Ok(id)
}
