//! Which steps may write over what they read, and how far.

use smidgen::{
    AllOperators, MAX_ATTRIBUTES, MAX_READS, MAX_WRITES, NewStep, Operand, Quantization, Space, ops,
};

use super::liveness::Blocks;
use super::program::{BufferId, Program, VirtualStep};

/// A block that a step writes and one that it reads for the last time, which may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    /// The block that is read.
    pub(super) input: usize,
    /// The block that is written.
    pub(super) output: usize,
    /// If they overlap, the output begins at least this many bytes before the input.
    pub(super) distance: usize,
    /// The step, as [`Block`](super::liveness::Block) counts them.
    pub(super) time: usize,
}

/// All overlaps that the operators allow ([`ops::overlap`]) and nothing else forbids.
pub(super) fn overlaps(program: &Program, blocks: &Blocks) -> Vec<Overlap> {
    let mut found = Vec::new();
    let mut time = 0;
    for entry in &program.entries {
        for step in &entry.steps {
            found.extend(overlap(program, blocks, step, time));
            time += 1;
        }
        time += 1;
    }
    found
}

fn overlap(program: &Program, blocks: &Blocks, step: &VirtualStep, time: usize) -> Option<Overlap> {
    if step.in_place.is_some() || step.writes_parts() {
        return None;
    }
    let (&read, &write) = (step.reads.first()?, step.writes.first()?);
    let of = |id: BufferId| blocks.of.get(id.0).copied().flatten();
    let (input, output) = (of(read)?, of(write)?);
    let (a, b) = (&blocks.blocks[input], &blocks.blocks[output]);
    let others = step.reads.iter().skip(1).chain(step.writes.iter().skip(1));
    let is_free = a.space == Space::Arena
        && b.space == Space::Arena
        && (a.last, b.first) == (time, time)
        && input != output
        && a.bytes == program.buffer(read).bytes()
        && b.bytes == program.buffer(write).bytes()
        && others.into_iter().all(|&id| of(id) != Some(input) && of(id) != Some(output));
    if !is_free {
        return None;
    }
    let distance = distance(program, step)?;
    Some(Overlap { input, output, distance, time })
}

/// Whether the operator of a step says how far its output may run over its input.
pub(super) fn could_overlap(program: &Program, step: &VirtualStep) -> bool {
    distance(program, step).is_some()
}

fn distance(program: &Program, step: &VirtualStep) -> Option<usize> {
    let operand = |&id: &BufferId| somewhere(program, id);
    let step = NewStep {
        operator: step.operator as u8,
        schedule: step.schedule,
        attributes: step.attributes.iter().copied().take(MAX_ATTRIBUTES).collect(),
        reads: step.reads.iter().map(operand).take(MAX_READS).collect(),
        writes: step.writes.iter().map(operand).take(MAX_WRITES).collect(),
    };
    ops::overlap::<AllOperators>(step.step())
}

/// The operand of a buffer that has no place yet.
fn somewhere(program: &Program, id: BufferId) -> Operand {
    let buffer = program.buffer(id);
    Operand {
        space: buffer.space,
        element_type: buffer.element_type,
        offset: 0,
        shape: buffer.shape,
        quantization: Quantization::or_none(buffer.quantization),
    }
}
