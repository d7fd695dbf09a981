//! Steps with operands at their offsets, and the bytes that they begin with.

use smidgen::model::{MemoryLengths, Metadata, ModelParts, NewEntry, WriteError};
use smidgen::{
    AllOperators, EntryKind, MAX_ATTRIBUTES, MAX_READS, MAX_WRITES, NewStep, Operand, Quantization, Space,
    StepError,
};

use super::error::CompileError;
use super::plan_memory::{ALIGNMENT, MemoryPlan, SpaceUse};
use super::program::{BufferId, Program, VirtualStep};
use crate::graph::Role;

/// An entry of an assembled program.
#[derive(Clone, Debug, PartialEq)]
pub struct AssembledEntry {
    /// What it is for.
    pub kind: EntryKind,
    /// Index of its first step.
    pub first_step: u32,
    /// How many steps it has.
    pub step_count: u32,
    /// What the caller writes before a run.
    pub inputs: Vec<Operand>,
    /// What the caller reads after a run.
    pub outputs: Vec<Operand>,
}

/// A buffer that has a name in the network, for checkpoints and reports.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedOperand {
    /// Its name.
    pub name: String,
    /// What it is to the network.
    pub role: Role,
    /// Where it is.
    pub operand: Operand,
}

/// A program with everything decided: what a model file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembled {
    /// The steps of all entries, one entry after the other.
    pub steps: Vec<NewStep>,
    /// A name for each step.
    pub step_names: Vec<String>,
    /// The entries.
    pub entries: Vec<AssembledEntry>,
    /// The constant space, without the initial values.
    pub constants: Vec<u8>,
    /// First bytes of the parameter space.
    pub parameters: Vec<u8>,
    /// First bytes of the state space.
    pub state: Vec<u8>,
    /// Lengths of the spaces.
    pub memory: MemoryLengths,
    /// How much of each space is used, and how little it could be, in the order of [`Space::ALL`].
    pub spaces: [SpaceUse; 6],
    /// The parameters, the state, the gradients and the constants, by name; the gradient of `x` is `x/gradient`.
    pub tensors: Vec<NamedOperand>,
}

/// Makes the core's steps of a program whose memory is planned, and checks each as a device would.
///
/// # Errors
/// [`CompileError::Step`] if the core refuses a step; [`CompileError::Invariant`] if a step has more operands or attributes than
/// one can have, or the plan lacks one of them.
pub fn assemble(program: &Program, plan: &MemoryPlan) -> Result<Assembled, CompileError> {
    let constants = first_bytes(program, plan, Space::Constant);
    let (mut steps, mut step_names, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &program.entries {
        let first_step = steps.len() as u32;
        for step in &entry.steps {
            steps.push(to_step(program, plan, step, &constants)?);
            step_names.push(step.name.clone());
        }
        let operands = |ids: &[BufferId]| {
            ids.iter().map(|&id| operand(program, plan, id, "(entry)")).collect::<Result<Vec<_>, _>>()
        };
        entries.push(AssembledEntry {
            kind: entry.kind,
            first_step,
            step_count: entry.steps.len() as u32,
            inputs: operands(&entry.inputs)?,
            outputs: operands(&entry.outputs)?,
        });
    }
    let length = |space| plan.space(space).bytes as u32;
    let lasts = |space| !matches!(space, Space::Arena | Space::Chunk);
    let named = program
        .buffers
        .iter()
        .enumerate()
        .filter(|(index, buffer)| lasts(buffer.space) && plan.offsets[*index].is_some());
    Ok(Assembled {
        steps,
        step_names,
        entries,
        parameters: first_bytes(program, plan, Space::Parameter),
        state: first_bytes(program, plan, Space::State),
        constants,
        memory: MemoryLengths {
            parameter: length(Space::Parameter),
            state: length(Space::State),
            gradient: length(Space::Gradient),
            chunk: length(Space::Chunk),
            arena: length(Space::Arena),
        },
        spaces: plan.spaces,
        tensors: named
            .map(|(index, buffer)| {
                let operand = operand(program, plan, BufferId(index), "(table)")?;
                Ok(NamedOperand { name: buffer.name.clone(), role: buffer.role, operand })
            })
            .collect::<Result<_, CompileError>>()?,
    })
}

fn operand(program: &Program, plan: &MemoryPlan, id: BufferId, step: &str) -> Result<Operand, CompileError> {
    let buffer = program.buffer(id);
    let missing = || CompileError::Invariant {
        step: step.to_owned(),
        buffer: buffer.name.clone(),
        problem: "has no place in the memory plan",
    };
    Ok(Operand {
        space: buffer.space,
        element_type: buffer.element_type,
        offset: plan.offsets.get(id.0).copied().flatten().ok_or_else(missing)?,
        shape: buffer.shape,
        quantization: Quantization::or_none(buffer.quantization),
    })
}

fn to_step(
    program: &Program,
    plan: &MemoryPlan,
    step: &VirtualStep,
    constants: &[u8],
) -> Result<NewStep, CompileError> {
    let operands = |ids: &[BufferId]| {
        ids.iter().map(|&id| operand(program, plan, id, &step.name)).collect::<Result<Vec<_>, _>>()
    };
    let (attributes, reads, writes) = (&step.attributes, operands(&step.reads)?, operands(&step.writes)?);
    for (found, most, problem) in [
        (attributes.len(), MAX_ATTRIBUTES, "too many attributes"),
        (reads.len(), MAX_READS, "too many reads"),
        (writes.len(), MAX_WRITES, "too many writes"),
    ] {
        if found > most {
            let (step, buffer) = (step.name.clone(), "(all)".to_owned());
            return Err(CompileError::Invariant { step, buffer, problem });
        }
    }
    let made = NewStep {
        operator: step.operator as u8,
        schedule: step.schedule,
        attributes: attributes.iter().copied().collect(),
        reads: reads.into_iter().collect(),
        writes: writes.into_iter().collect(),
    };
    let refused = |error: StepError| CompileError::Step {
        step: step.name.clone(),
        operator: step.operator.name(),
        error,
    };
    smidgen::ops::check::<AllOperators>(made.step(), constants).map_err(refused)?;
    Ok(made)
}

/// The first bytes of a space: the values of its buffers, and zeros.
fn first_bytes(program: &Program, plan: &MemoryPlan, space: Space) -> Vec<u8> {
    let mut bytes = vec![0; plan.space(space).bytes];
    for (buffer, offset) in program.buffers.iter().zip(&plan.offsets) {
        if let (true, Some(value), &Some(offset)) = (buffer.space == space, &buffer.value, offset) {
            let value = value.to_bytes();
            bytes[offset as usize..][..value.len()].copy_from_slice(&value);
        }
    }
    bytes
}

impl Assembled {
    /// The operand of a parameter, a gradient or another tensor that lasts, by its name.
    pub fn tensor(&self, name: &str) -> Option<&Operand> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.operand)
    }

    /// The entry of this kind.
    pub fn entry(&self, kind: EntryKind) -> Option<&AssembledEntry> {
        self.entries.iter().find(|entry| entry.kind == kind)
    }

    /// The steps of the entry of this kind; none if there is no such entry.
    pub fn steps_of(&self, kind: EntryKind) -> &[NewStep] {
        self.entry(kind)
            .map_or(&[], |entry| &self.steps[entry.first_step as usize..][..entry.step_count as usize])
    }

    /// The model file. The step names are taken from the program, whatever `metadata` says of them.
    ///
    /// # Errors
    /// [`WriteError`] for a file longer than 2 GiB or an entry with too many inputs or outputs.
    pub fn to_file(&self, metadata: &Metadata<'_>) -> Result<Vec<u8>, WriteError> {
        let mut weights = self.constants.clone();
        let mut append = |bytes: &[u8]| {
            let offset = weights.len() as u32;
            let has_values = bytes.iter().any(|&byte| byte != 0);
            if has_values {
                weights.extend_from_slice(bytes);
                weights.resize(weights.len().next_multiple_of(ALIGNMENT), 0);
            }
            has_values.then_some(offset)
        };
        let initial_parameters = append(&self.parameters);
        let initial_state = append(&self.state);
        let entries: Vec<NewEntry<'_>> = self
            .entries
            .iter()
            .map(|entry| NewEntry {
                kind: entry.kind,
                first_step: entry.first_step,
                step_count: entry.step_count,
                inputs: &entry.inputs,
                outputs: &entry.outputs,
            })
            .collect();
        let step_names = self.step_names.join("\n");
        let parts = ModelParts {
            metadata: Metadata { step_names: &step_names, ..*metadata },
            entries: &entries,
            steps: &self.steps,
            memory: self.memory,
            weights: &weights,
            initial_parameters,
            initial_state,
        };
        write(&parts)
    }
}

/// The file of these parts.
pub(crate) fn write(parts: &ModelParts<'_>) -> Result<Vec<u8>, WriteError> {
    let mut file = vec![0; parts.weights.len() + parts.metadata.step_names.len() + 4096];
    loop {
        match smidgen::model::write(parts, &mut file) {
            Ok(length) => {
                file.truncate(length);
                return Ok(file);
            }
            Err(WriteError::BufferFull) => file.resize(file.len() * 2, 0),
            Err(error) => return Err(error),
        }
    }
}
