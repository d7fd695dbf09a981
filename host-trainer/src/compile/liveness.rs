//! From when to when the bytes of a buffer are needed.

use std::collections::HashMap;

use smidgen::Space;

use super::overlaps::Overlap;
use super::program::{BufferId, Program};

/// Buffers that share their bytes, views and steps in place included, and the steps between which they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The memory space.
    pub(super) space: Space,
    /// The length in bytes.
    pub(super) bytes: usize,
    /// First step, counted over all entries, at which the bytes are needed.
    pub(super) first: usize,
    /// Last step at which they are needed.
    pub(super) last: usize,
}

/// The blocks of a program.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    /// The blocks.
    pub(super) blocks: Vec<Block>,
    /// The block of each buffer; `None` if no step and no entry names it.
    pub(super) of: Vec<Option<usize>>,
}

impl Blocks {
    /// The blocks of `program`, with the in-place choices that are made so far.
    pub(super) fn new(program: &Program) -> Self {
        let mut joined: Vec<BufferId> =
            (0..program.buffers.len()).map(|index| program.root(BufferId(index))).collect();
        for step in program.entries.iter().flat_map(|entry| &entry.steps) {
            if let Some(read) = step.in_place {
                // In the order of the steps, so that what is read has its block already.
                let block = joined[program.root(step.reads[read]).0];
                let written = program.root(step.writes[0]);
                for id in joined.iter_mut().filter(|id| **id == written) {
                    *id = block;
                }
            }
        }
        let mut found = Self { blocks: Vec::new(), of: vec![None; program.buffers.len()] };
        let mut index_of: HashMap<BufferId, usize> = HashMap::new();
        let mut touch = |id: BufferId, time: usize| {
            let index = *index_of.entry(joined[id.0]).or_insert_with(|| {
                found.blocks.push(Block {
                    space: program.buffer(id).space,
                    bytes: program.buffer(id).bytes(),
                    first: time,
                    last: time,
                });
                found.blocks.len() - 1
            });
            let block = &mut found.blocks[index];
            (block.first, block.last) = (block.first.min(time), block.last.max(time));
            found.of[id.0] = Some(index);
        };
        let mut start = 0;
        for entry in &program.entries {
            // Outputs are there from the entry's end on, which is after its last step.
            let end = start + entry.steps.len();
            entry.inputs.iter().for_each(|&id| touch(id, start));
            for (time, step) in (start..).zip(&entry.steps) {
                step.reads.iter().chain(&step.writes).for_each(|&id| touch(id, time));
            }
            entry.outputs.iter().for_each(|&id| touch(id, end));
            start = end + 1;
        }
        found
    }

    /// The bytes of `space` that are needed at the same time, at the worst time, if each block takes a multiple of `alignment`. What an output may
    /// share with an input counts once.
    pub(super) fn peak(&self, space: Space, alignment: usize, overlaps: &[Overlap]) -> usize {
        let bytes = |block: &Block| block.bytes.next_multiple_of(alignment);
        let members = || self.blocks.iter().filter(move |block| block.space == space);
        let live_at = |time| {
            let live = members().filter(move |block| (block.first..=block.last).contains(&time));
            let shared = overlaps.iter().filter(|found| found.time == time).map(|found| {
                let (input, output) = (&self.blocks[found.input], &self.blocks[found.output]);
                if input.space != space {
                    return 0;
                }
                let together = bytes(output).max(bytes(input) + found.distance.next_multiple_of(alignment));
                (bytes(input) + bytes(output)).saturating_sub(together)
            });
            live.map(bytes).sum::<usize>() - shared.sum::<usize>()
        };
        // The most is reached where some block begins, or where an overlap is over.
        let times = members().flat_map(|block| [block.first, block.last]);
        times.map(live_at).max().unwrap_or(0)
    }
}
