//! What is in a model file, in a form that can be shown or stored.

mod memory_map;

use serde::Serialize;
use smidgen::geometry::Window;
use smidgen::model::{Entry, MemoryLengths};
use smidgen::{ElementType, EntryKind, Model, Operand, Operator, Preprocessing, Quantization, Space, Step};

pub use memory_map::{MemoryMap, Moment, Placed, Use};

use crate::cost::macs;

/// What is in a model file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection<'m> {
    /// Name of the network.
    pub name: String,
    /// Major and minor version of the format.
    pub format_version: (u8, u8),
    /// Names of the classes, in the order of the outputs.
    pub labels: Vec<String>,
    /// What is done to a raw sample before it is the network's input.
    pub preprocessing: Preprocessing<'m>,
    /// Where the model comes from: a JSON value where the file holds one, else text.
    pub provenance: serde_json::Value,
    /// Length of the file.
    pub file_bytes: usize,
    /// Length of its weights block.
    pub weights_bytes: usize,
    /// Lengths of the memory spaces.
    pub memory: Memory,
    /// All memory that a device needs that can be written.
    pub ram: Ram,
    /// The sum of [`ram`](Self::ram).
    pub ram_bytes: usize,
    /// The entries.
    pub entries: Vec<EntryInspection>,
}

/// Lengths of the memory spaces in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Trainable weights.
    pub parameter_bytes: u32,
    /// Optimizer moments, running statistics and the like.
    pub state_bytes: u32,
    /// Gradients.
    pub gradient_bytes: u32,
    /// One chunk's share of what the batch keeps.
    pub chunk_bytes: u32,
    /// Activations and scratch.
    pub arena_bytes: u32,
    /// All together: what the caller gives to a session.
    pub total_bytes: usize,
}

/// The most stack that a run takes on a Cortex-M4 or M7, from the call on; `tests/learning` holds the images against it.
pub const STACK_BYTES: usize = 3072;

/// All memory that a device needs that can be written, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ram {
    /// Weights that learn.
    pub parameter_bytes: usize,
    /// Moments of the optimizer, the learning rate, the loss, counts.
    pub state_bytes: usize,
    /// Gradients that are kept from step to step.
    pub gradient_bytes: usize,
    /// Activations, gradients that are used at once, scratch, inputs.
    pub arena_bytes: usize,
    /// Of the arena and the chunk, what no plan of these steps in this order could do without.
    pub arena_lower_bound: usize,
    /// The stack of a run, see [`STACK_BYTES`].
    pub stack_bytes: usize,
}

/// An entry and its steps.
#[derive(Clone, Debug, Serialize)]
pub struct EntryInspection {
    /// What it is for.
    pub kind: EntryKind,
    /// What the caller writes before a run.
    pub inputs: Vec<Tensor>,
    /// What the caller reads after a run.
    pub outputs: Vec<Tensor>,
    /// Multiply-accumulates of all steps.
    pub macs: u64,
    /// The steps.
    pub steps: Vec<StepInspection>,
    /// The arena over the steps.
    pub memory_map: MemoryMap,
}

/// A tensor that a step reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tensor {
    /// The memory space.
    pub space: Space,
    /// Type of the elements.
    pub element_type: ElementType,
    /// Byte offset in the space.
    pub offset: u32,
    /// `[N, H, W, C]`.
    pub shape: [u32; 4],
    /// Per-tensor quantization, if there is one.
    pub quantization: Option<Quantization>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepInspection {
    /// Its index in the entry.
    pub index: usize,
    /// Its name; empty if the file names none.
    pub name: String,
    /// The operator.
    pub op: &'static str,
    /// The window that it slides, if it does.
    pub window: Option<WindowInspection>,
    /// What it reads, weights and other constants left out.
    pub inputs: Vec<Tensor>,
    /// What it writes.
    pub outputs: Vec<Tensor>,
    /// Bytes of weights and other constants that it reads.
    pub weight_bytes: usize,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// A window, height before width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WindowInspection {
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between neighbouring outputs.
    pub stride: [usize; 2],
    /// Steps between neighbouring taps.
    pub dilation: [usize; 2],
    /// Top, bottom, left, right.
    pub padding: [usize; 4],
}

/// Looks into a model.
pub fn inspect<'m>(model: &Model<'m>) -> Inspection<'m> {
    let (header, metadata) = (model.header(), model.metadata());
    let MemoryLengths { parameter, state, gradient, chunk, arena } = header.memory;
    let names: Vec<&str> = metadata.step_names.lines().collect();
    let provenance = serde_json::from_str(metadata.provenance);
    let entries: Vec<EntryInspection> =
        model.entries().flatten().map(|entry| inspect_entry(model, &entry, &names)).collect();
    let ram = Ram {
        parameter_bytes: parameter as usize,
        state_bytes: state as usize,
        gradient_bytes: gradient as usize,
        arena_bytes: (arena + chunk) as usize,
        arena_lower_bound: entries.iter().map(|entry| entry.memory_map.lower_bound).max().unwrap_or(0),
        stack_bytes: STACK_BYTES,
    };
    Inspection {
        name: metadata.name.to_owned(),
        format_version: header.version,
        labels: metadata.labels.lines().map(str::to_owned).collect(),
        preprocessing: metadata.preprocessing,
        provenance: provenance.unwrap_or_else(|_| metadata.provenance.into()),
        file_bytes: header.file_bytes as usize,
        weights_bytes: model.constant().len(),
        memory: Memory {
            parameter_bytes: parameter,
            state_bytes: state,
            gradient_bytes: gradient,
            chunk_bytes: chunk,
            arena_bytes: arena,
            total_bytes: model.arena_bytes(),
        },
        ram,
        ram_bytes: model.arena_bytes() + ram.stack_bytes,
        entries,
    }
}

fn inspect_entry(model: &Model<'_>, entry: &Entry<'_>, names: &[&str]) -> EntryInspection {
    let decoded: Vec<Step<'_>> = model.steps(entry).flatten().collect();
    let names = names.get(entry.first_step as usize..).unwrap_or_default();
    let name = |index: usize| names.get(index).map_or_else(String::new, |&name| name.to_owned());
    let steps: Vec<_> =
        decoded.iter().enumerate().map(|(index, &step)| inspect_step(index, name(index), step)).collect();
    EntryInspection {
        kind: entry.kind,
        inputs: entry.inputs.iter().map(Tensor::of).collect(),
        outputs: entry.outputs.iter().map(Tensor::of).collect(),
        macs: steps.iter().map(|step| step.macs).sum(),
        steps,
        memory_map: MemoryMap::new(entry, &decoded),
    }
}

fn inspect_step(index: usize, name: String, step: Step<'_>) -> StepInspection {
    let is_weight = |operand: &&Operand| matches!(operand.space, Space::Constant | Space::Parameter);
    let operator = Operator::from_code(step.operator);
    StepInspection {
        index,
        name,
        op: operator.map_or("unknown", Operator::name),
        window: operator.filter(|&operator| has_window(operator)).and_then(|_| WindowInspection::of(step)),
        inputs: step.reads.iter().filter(|read| !is_weight(read)).map(Tensor::of).collect(),
        outputs: step.writes.iter().map(Tensor::of).collect(),
        weight_bytes: step.reads.iter().filter(is_weight).filter_map(Operand::bytes).sum(),
        macs: macs(step),
    }
}

/// Whether the first attributes of the operator's steps are a window (`docs/operators.md`).
fn has_window(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Conv2d
            | Operator::DepthwiseConv2d
            | Operator::MaxPool2d
            | Operator::AveragePool2d
            | Operator::Conv2dGradInput
            | Operator::Conv2dGradWeights
            | Operator::DepthwiseConv2dGradInput
            | Operator::DepthwiseConv2dGradWeights
            | Operator::MaxPool2dGrad
            | Operator::AveragePool2dGrad
            | Operator::TransposeConv
            | Operator::TransposeConvGradInput
            | Operator::TransposeConvGradWeights
            | Operator::TransposeConvI8
            | Operator::Conv2dI8
            | Operator::Conv2dPairsI8
            | Operator::Conv2dRowsI8
            | Operator::Conv2dVectorPairsI8
            | Operator::DepthwiseConv2dQuadsI8
            | Operator::DepthwiseConv2dSixteensI8
            | Operator::DepthwiseConv2dTapsI8
            | Operator::DepthwiseConv2dI8
            | Operator::MaxPool2dI8
            | Operator::AveragePool2dI8
    )
}

impl WindowInspection {
    fn of(step: Step<'_>) -> Option<Self> {
        let (Window { y, x }, _) = Window::read(step.attributes).ok()?;
        Some(Self {
            kernel: [y.kernel, x.kernel],
            stride: [y.stride, x.stride],
            dilation: [y.dilation, x.dilation],
            padding: [y.pad_before, y.pad_after, x.pad_before, x.pad_after],
        })
    }
}

impl Tensor {
    fn of(operand: &Operand) -> Self {
        let Operand { space, element_type, offset, shape, quantization } = *operand;
        Self { space, element_type, offset, shape: shape.0, quantization: quantization.some() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> usize {
        self.shape.iter().map(|&dimension| dimension as usize).product::<usize>() * self.element_type.bytes()
    }
}
