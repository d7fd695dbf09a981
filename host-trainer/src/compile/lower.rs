//! From a graph to the steps that compute its outputs.

use smidgen::ops::lstm::Order;
use smidgen::ops::lstm::float::Lstm;
use smidgen::{ElementType, EntryKind, Operator, Quantization, Schedule, Shape, Space};

use super::error::CompileError;
use super::pack_weights::{Packing, Prefer};
use super::program::{Buffer, BufferId, Program, VirtualEntry, VirtualStep};
use crate::graph::movement::Part;
use crate::graph::{Graph, GraphOp, Node, Range, Role, TensorId};

/// How a graph is lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowerOptions {
    /// Samples in one run.
    pub samples: u32,
    /// Where weights live: [`Space::Constant`] in flash, or [`Space::Parameter`] in memory that can be written.
    pub weights: Space,
    /// Which processors int8 weights are ordered for.
    pub packing: Packing,
    /// What the choice of layouts is for.
    pub prefer: Prefer,
}

impl Default for LowerOptions {
    fn default() -> Self {
        Self { samples: 1, weights: Space::Constant, packing: Packing::Plain, prefer: Prefer::Speed }
    }
}

/// Lowers `graph` to a program with the entry `infer`, whose inputs and outputs are in the arena.
///
/// # Errors
/// [`CompileError::Graph`] for a graph that is not one, [`CompileError::StateOfSamples`], [`CompileError::TooLarge`].
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Program, CompileError> {
    graph.validate()?;
    if graph.has_state() && options.samples != 1 {
        return Err(CompileError::StateOfSamples { network: graph.name.clone(), samples: options.samples });
    }
    let mut program = Program::default();
    let shared = Shared::new(&mut program, graph, options.weights, options.weights)?;
    let forward = infer(&mut program, graph, &shared, options.samples)?;
    program.entries.push(forward);
    Ok(program)
}

/// The entry `infer`.
pub(super) fn infer(
    program: &mut Program,
    graph: &Graph,
    shared: &Shared,
    samples: u32,
) -> Result<VirtualEntry, CompileError> {
    let mut forward = Forward::new(program, graph, shared, samples, Space::Arena, "infer")?;
    for node in &graph.nodes {
        forward.push(program, node)?;
    }
    Ok(VirtualEntry {
        kind: EntryKind::Infer,
        inputs: graph.inputs.iter().map(|&id| forward.buffer(id)).collect(),
        outputs: graph.outputs.iter().map(|&id| forward.buffer(id)).collect(),
        steps: forward.steps,
    })
}

/// The buffers of a graph's parameters and constants, which all entries share.
#[derive(Clone, Debug)]
pub(super) struct Shared(Vec<Option<BufferId>>);

impl Shared {
    /// Buffers for every tensor of `graph` that has a value: running statistics in `running`, other constants in
    /// [`Space::Constant`], parameters in `weights`.
    pub(super) fn new(
        program: &mut Program,
        graph: &Graph,
        weights: Space,
        running: Space,
    ) -> Result<Self, CompileError> {
        let mut buffers = vec![None; graph.tensors.len()];
        for (buffer, tensor) in buffers.iter_mut().zip(&graph.tensors) {
            let space = match tensor.role {
                Role::Activation => continue,
                Role::Weights | Role::Bias | Role::BatchNormParameters => weights,
                Role::RunningStatistics => running,
                Role::Constant => Space::Constant,
                Role::State => Space::State,
            };
            *buffer = Some(program.add(Buffer {
                name: tensor.name.clone(),
                space,
                shape: tensor.shape,
                element_type: tensor.element_type,
                quantization: tensor.quantization,
                role: tensor.role,
                value: tensor.value.clone(),
                view_of: None,
            })?);
        }
        Ok(Self(buffers))
    }

    /// Puts the parameters that `is_frozen` into the constants.
    pub(super) fn freeze(&self, program: &mut Program, is_frozen: impl Fn(TensorId) -> bool) {
        for (index, buffer) in self.0.iter().enumerate() {
            if let Some(buffer) = buffer
                && is_frozen(TensorId(index))
            {
                program.buffers[buffer.0].space = Space::Constant;
            }
        }
    }

    /// The buffer of a parameter or a constant.
    pub(super) fn get(&self, id: TensorId) -> Option<BufferId> {
        self.0[id.0]
    }
}

/// The forward pass of one entry, as far as it has been pushed.
#[derive(Debug)]
pub(super) struct Forward<'g> {
    graph: &'g Graph,
    samples: u32,
    entry: &'static str,
    buffers: Vec<Option<BufferId>>,
    /// When the steps run: states are written by steps that run once, and activations do not outlive a phase.
    schedule: Schedule,
    /// The steps so far.
    pub(super) steps: Vec<VirtualStep>,
}

impl<'g> Forward<'g> {
    /// A pass that begins with the graph's inputs in `inputs`. `entry` is part of the buffers' names.
    pub(super) fn new(
        program: &mut Program,
        graph: &'g Graph,
        shared: &Shared,
        samples: u32,
        inputs: Space,
        entry: &'static str,
    ) -> Result<Self, CompileError> {
        let schedule = if graph.has_state() { Schedule::Once } else { Schedule::PerChunk };
        let buffers = shared.0.clone();
        let mut forward = Self { graph, samples, entry, buffers, schedule, steps: Vec::new() };
        for &input in &graph.inputs {
            forward.activation(program, input, inputs)?;
        }
        Ok(forward)
    }

    /// The buffer of a tensor.
    ///
    /// # Panics
    /// If the tensor was not computed before: `Graph::validate` has seen to the order.
    pub(super) fn buffer(&self, id: TensorId) -> BufferId {
        self.buffers[id.0].expect("a validated graph's nodes are in order")
    }

    /// The shape of an activation for all samples of a chunk.
    pub(super) fn shape(&self, id: TensorId) -> Shape {
        let Shape([_, h, w, c]) = self.graph.tensor(id).shape;
        Shape([self.samples, h, w, c])
    }

    /// Makes the buffer of an activation.
    pub(super) fn activation(
        &mut self,
        program: &mut Program,
        id: TensorId,
        space: Space,
    ) -> Result<BufferId, CompileError> {
        let tensor = self.graph.tensor(id);
        let buffer = program.add(Buffer {
            name: format!("{}/{}", self.entry, tensor.name),
            space,
            shape: self.shape(id),
            element_type: tensor.element_type,
            quantization: tensor.quantization,
            role: Role::Activation,
            value: None,
            view_of: None,
        })?;
        self.buffers[id.0] = Some(buffer);
        Ok(buffer)
    }

    /// The step of one node, with running statistics if it is a batch norm.
    pub(super) fn push(&mut self, program: &mut Program, node: &Node) -> Result<(), CompileError> {
        if let GraphOp::Dropout { .. } = node.op {
            self.buffers[node.output.0] = self.buffers[node.inputs[0].0];
            return Ok(());
        }
        if let GraphOp::FakeQuantizeWeights { .. } = node.op {
            // Of weights there are as many as there are, whatever the samples.
            let tensor = self.graph.tensor(node.output);
            let name = format!("{}/{}", self.entry, tensor.name);
            let output = program.add_f32(name, Space::Arena, tensor.shape)?;
            self.buffers[node.output.0] = Some(output);
            let (operator, attributes) = operator(node);
            self.steps.push(VirtualStep {
                name: node.name.clone(),
                operator,
                schedule: self.schedule,
                attributes,
                reads: vec![self.buffer(node.inputs[0])],
                writes: vec![output],
                in_place: None,
            });
            return Ok(());
        }
        let is_view = match &node.op {
            GraphOp::Reshape => true,
            GraphOp::Movement(movement) => movement.is_view(),
            _ => false,
        };
        if is_view {
            return self.view(program, node);
        }
        let output = match self.graph.tensor(node.output).role {
            Role::State => self.buffer(node.output),
            _ => self.activation(program, node.output, Space::Arena)?,
        };
        let mut writes: Vec<BufferId> =
            [output].into_iter().chain(node.updates.iter().map(|&id| self.buffer(id))).collect();
        for (number, Scratch { shape, element_type, quantization }) in
            scratch(self.graph, node).into_iter().enumerate()
        {
            writes.push(program.add(Buffer {
                name: format!("{}/{}/scratch_{number}", self.entry, node.name),
                space: Space::Arena,
                shape,
                element_type,
                quantization,
                role: Role::Activation,
                value: None,
                view_of: None,
            })?);
        }
        let parts = parts(node);
        let one = parts.len() == 1;
        for (index, Part { operator, attributes, reads }) in parts.into_iter().enumerate() {
            self.steps.push(VirtualStep {
                name: if one { node.name.clone() } else { format!("{}/{index}", node.name) },
                operator,
                schedule: self.schedule,
                attributes,
                reads: reads.into_iter().map(|read| self.buffer(node.inputs[read])).collect(),
                writes: writes.clone(),
                in_place: None,
            });
        }
        Ok(())
    }

    /// Lets the output of a node be the bytes of its first input, in its own shape.
    fn view(&mut self, program: &mut Program, node: &Node) -> Result<(), CompileError> {
        let tensor = self.graph.tensor(node.output);
        let name = format!("{}/{}", self.entry, tensor.name);
        let view = program.add_view(name, self.buffer(node.inputs[0]), self.shape(node.output))?;
        // It may stand for a quantization that differs in nothing but its name.
        program.buffers[view.0].quantization = tensor.quantization;
        self.buffers[node.output.0] = Some(view);
        Ok(())
    }
}

/// Something that a node writes and nothing reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scratch {
    pub(super) shape: Shape,
    pub(super) element_type: ElementType,
    pub(super) quantization: Option<Quantization>,
}

impl Scratch {
    const fn f32(shape: Shape) -> Self {
        Self { shape, element_type: ElementType::F32, quantization: None }
    }
}

/// What a node writes behind its output besides the states it changes: those of a layer that remembers and begins at zero, sums.
pub(super) fn scratch(graph: &Graph, node: &Node) -> Vec<Scratch> {
    let output = graph.tensor(node.output);
    // A state of every sequence.
    let state = |time_major: bool| {
        let Shape([_, h, w, units]) = output.shape;
        Shape([1, 1, if time_major { w } else { h }, units])
    };
    // The hidden state in int8, and what has 16 bits.
    let of_int8 = |order: Order| {
        let shape = state(order.time_major);
        vec![
            Scratch { shape, element_type: ElementType::I8, quantization: output.quantization },
            Scratch { shape, element_type: ElementType::I16, quantization: None },
        ]
    };
    match &node.op {
        GraphOp::PointwiseMean { .. } => vec![Scratch::f32(output.shape)],
        &GraphOp::Lstm { time_major, .. } if node.updates.is_empty() => {
            vec![Scratch::f32(state(time_major)); 2]
        }
        &GraphOp::Gru { time_major } if node.updates.is_empty() => vec![Scratch::f32(state(time_major))],
        GraphOp::GruI8 { params } if node.updates.is_empty() => of_int8(params.order),
        GraphOp::LstmI8 { params } if node.updates.is_empty() => of_int8(params.order),
        _ => vec![],
    }
}

/// The steps of a node: the inputs that each reads; all of them write the output.
pub(super) fn parts(node: &Node) -> Vec<Part> {
    match &node.op {
        // `Graph::validate` has seen to it that there are not too many.
        GraphOp::Movement(movement) => movement.steps().unwrap_or_default(),
        GraphOp::Frozen(frozen) => frozen.steps.clone(),
        _ => {
            let (operator, attributes) = operator(node);
            vec![Part { operator, attributes, reads: (0..node.inputs.len()).collect() }]
        }
    }
}

/// The core's operator for a node of one step, and its attributes.
pub(super) fn operator(node: &Node) -> (Operator, Vec<i32>) {
    let limits = |range: &Range| [i32::from(range.min), i32::from(range.max)];
    match &node.op {
        GraphOp::Conv2d { window, activation } => {
            (Operator::Conv2d, [&window.attributes()[..], &activation.attributes()].concat())
        }
        GraphOp::DepthwiseConv2d { window, activation } => {
            (Operator::DepthwiseConv2d, [&window.attributes()[..], &activation.attributes()].concat())
        }
        GraphOp::FullyConnected { activation } => {
            (Operator::FullyConnected, activation.attributes().to_vec())
        }
        GraphOp::TransposeConv { window, activation, .. } => {
            (Operator::TransposeConv, [&window.attributes()[..], &activation.attributes()].concat())
        }
        GraphOp::PointwiseMean { activation } => (Operator::PointwiseMean, activation.attributes().to_vec()),
        GraphOp::MaxPool2d { window } => (Operator::MaxPool2d, window.attributes().to_vec()),
        GraphOp::AveragePool2d { window } => (Operator::AveragePool2d, window.attributes().to_vec()),
        GraphOp::BatchNorm { epsilon, activation, .. } => {
            (Operator::BatchNorm, [&[bits(*epsilon)][..], &activation.attributes()].concat())
        }
        // A forward pass has no dropout; training pushes its own step.
        GraphOp::Dropout { rate } => (Operator::Dropout, vec![bits(*rate), 0]),
        GraphOp::FakeQuantize { .. } => (Operator::FakeQuantize, vec![]),
        GraphOp::FakeQuantizeWeights { transposed } => {
            (Operator::FakeQuantizeWeights, vec![i32::from(*transposed)])
        }
        GraphOp::Softmax => (Operator::Softmax, vec![]),
        GraphOp::LogSoftmax => (Operator::LogSoftmax, vec![]),
        GraphOp::Reshape | GraphOp::Store => (Operator::Reshape, vec![]),
        GraphOp::Activation { activation } => (Operator::ActivationF32, activation.attributes().to_vec()),
        GraphOp::Add { activation } => (Operator::AddF32, activation.attributes().to_vec()),
        GraphOp::Elementwise(elementwise) => elementwise.operator(),
        GraphOp::Conv2dI8 { window, range } => {
            (Operator::Conv2dI8, [&window.attributes()[..], &limits(range)].concat())
        }
        GraphOp::DepthwiseConv2dI8 { window, range } => {
            (Operator::DepthwiseConv2dI8, [&window.attributes()[..], &limits(range)].concat())
        }
        GraphOp::FullyConnectedI8 { range } => (Operator::FullyConnectedI8, limits(range).to_vec()),
        GraphOp::TransposeConvI8 { window, range, .. } => {
            (Operator::TransposeConvI8, [&window.attributes()[..], &limits(range)].concat())
        }
        GraphOp::MaxPool2dI8 { window, range } => {
            (Operator::MaxPool2dI8, [&window.attributes()[..], &limits(range)].concat())
        }
        GraphOp::AveragePool2dI8 { window, range } => {
            (Operator::AveragePool2dI8, [&window.attributes()[..], &limits(range)].concat())
        }
        GraphOp::AddI8 { left_shift, left, right, output, range } => {
            let factors = [left, right, output].map(|factor| [factor.multiplier, factor.shift]).concat();
            (Operator::AddI8, [&[*left_shift][..], &factors, &limits(range)].concat())
        }
        GraphOp::SoftmaxI8 { input, smallest_difference } => {
            (Operator::SoftmaxI8, vec![input.multiplier, input.shift, *smallest_difference])
        }
        GraphOp::LogSoftmaxI8 { input, smallest_difference, reverse } => (
            Operator::LogSoftmaxI8,
            vec![input.multiplier, input.shift, *smallest_difference, reverse.multiplier, reverse.shift],
        ),
        &GraphOp::Lstm { time_major, cell_clip } => {
            let order = Order { time_major, from_zero: node.updates.is_empty() };
            (Operator::Lstm, Lstm { order, cell_clip }.attributes().to_vec())
        }
        &GraphOp::Gru { time_major } => {
            let order = Order { time_major, from_zero: node.updates.is_empty() };
            (Operator::Gru, order.attributes().to_vec())
        }
        GraphOp::GruI8 { params } => (Operator::GruI8, params.attributes().to_vec()),
        GraphOp::LstmI8 { params } => (Operator::LstmI8, params.attributes().to_vec()),
        GraphOp::Svdf { activation } => (Operator::Svdf, activation.attributes().to_vec()),
        GraphOp::SvdfI8 { feature, output } => {
            let factors = [feature, output].map(|factor| [factor.multiplier, factor.shift]);
            (Operator::SvdfI8, factors.concat())
        }
        GraphOp::LookupI8 => (Operator::LookupI8, vec![]),
        GraphOp::Movement(_) | GraphOp::Frozen(_) => (Operator::Copy, vec![]),
        GraphOp::Gather(gather) => (Operator::Gather, gather.attributes()),
        GraphOp::Reduce(reduce) => reduce.step(),
        GraphOp::ResizeBilinear(resize) => resize.step(),
        GraphOp::Quantize => (Operator::Quantize, vec![]),
        GraphOp::Dequantize => (Operator::Dequantize, vec![]),
    }
}

/// An f32 as an attribute.
pub(super) const fn bits(value: f32) -> i32 {
    value.to_bits().cast_signed()
}
