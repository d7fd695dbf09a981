//! The order and the steps in place that lower the peak.

use smidgen::{EntryKind, InPlace, Schedule, Space};

use super::liveness::Blocks;
use super::phases::{depends, phases};
use super::plan_memory::ALIGNMENT;
use super::program::{BufferId, Program};

/// Reorders steps within their phases where that lowers the peak, and lets steps write in the place of what they read where their
/// operator allows it and nothing reads that any more.
#[must_use]
pub fn schedule(program: Program) -> Program {
    let kinds: Vec<EntryKind> = program.entries.iter().map(|entry| entry.kind).collect();
    kinds.into_iter().enumerate().fold(place(program), |program, (entry, _)| {
        let other = place(reorder(&program, entry));
        if peak(&other) < peak(&program) { other } else { program }
    })
}

fn peak(program: &Program) -> usize {
    let blocks = Blocks::new(program);
    blocks.peak(Space::Arena, ALIGNMENT) + blocks.peak(Space::Chunk, ALIGNMENT)
}

/// The steps of one entry such that each phase goes on with the step that adds least to the live bytes.
fn reorder(program: &Program, entry: usize) -> Program {
    let mut program = program.clone();
    let steps = std::mem::take(&mut program.entries[entry].steps);
    let mut ordered = Vec::with_capacity(steps.len());
    program.entries[entry].steps = steps;
    for phase in phases(&program.entries[entry]) {
        let all = &program.entries[entry].steps;
        let end = phase.end;
        let mut left: Vec<usize> = phase.collect();
        while !left.is_empty() {
            let ready = left.iter().copied().filter(|&step| {
                let mut before = left.iter().take_while(|&&other| other < step);
                !before.any(|&other| depends(&program, &all[step], &all[other]))
            });
            let Some(next) = ready.min_by_key(|&step| (growth(&program, entry, step, &left, end), step))
            else {
                break;
            };
            left.retain(|&step| step != next);
            ordered.push(next);
        }
    }
    let steps = ordered.into_iter().map(|index| program.entries[entry].steps[index].clone()).collect();
    program.entries[entry].steps = steps;
    program
}

/// Bytes that a step adds to the live ones, less those of which it is the last reader. `left` are the steps of its phase that have not
/// run, `end` is the first step of the next phase.
fn growth(program: &Program, entry: usize, step: usize, left: &[usize], end: usize) -> i64 {
    let entry = &program.entries[entry];
    let this = &entry.steps[step];
    let scratch = |id: BufferId| matches!(program.buffer(id).space, Space::Arena | Space::Chunk);
    let bytes = |id: BufferId| program.buffer(program.root(id)).bytes() as i64;
    let is_read_later = |id: BufferId| {
        let others = entry
            .steps
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != step && (left.contains(&other) || other >= end));
        let later = others.flat_map(|(_, other)| &other.reads).chain(&entry.outputs);
        later.into_iter().any(|&read| program.root(read) == program.root(id))
    };
    let mut freed: Vec<BufferId> = this.reads.iter().map(|&id| program.root(id)).collect();
    freed.sort_unstable();
    freed.dedup();
    let freed = freed.into_iter().filter(|&id| scratch(id) && !is_read_later(id)).map(bytes).sum::<i64>();
    this.writes.iter().copied().filter(|&id| scratch(id)).map(bytes).sum::<i64>() - freed
}

/// Chooses the steps that work in place, anew.
fn place(mut program: Program) -> Program {
    for step in program.entries.iter_mut().flat_map(|entry| &mut entry.steps) {
        step.in_place = None;
    }
    let mut time = 0;
    for entry in 0..program.entries.len() {
        for step in 0..program.entries[entry].steps.len() {
            program.entries[entry].steps[step].in_place = choose(&program, entry, step, time);
            time += 1;
        }
        time += 1;
    }
    program
}

/// The read in whose place the first write of a step can lie. Steps before it have chosen.
fn choose(program: &Program, entry: usize, step: usize, time: usize) -> Option<usize> {
    let step = &program.entries[entry].steps[step];
    let candidates = match step.operator.in_place() {
        InPlace::First => 1,
        InPlace::Any => step.reads.len(),
        _ => 0,
    };
    if step.schedule == Schedule::Once || candidates == 0 {
        return None;
    }
    let blocks = Blocks::new(program);
    let written = program.buffer(*step.writes.first()?);
    let of = |id: BufferId| blocks.of[id.0];
    (0..candidates).find(|&read| {
        let id = step.reads[read];
        let Some(block) = of(id).and_then(|block| blocks.blocks.get(block)) else { return false };
        matches!(block.space, Space::Arena | Space::Chunk)
            && block.space == written.space
            && block.bytes == written.bytes()
            && block.last == time
            && step.reads.iter().filter(|&&other| of(other) == of(id)).count() == 1
    })
}
