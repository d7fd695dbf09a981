//! Steps in as few phases as there can be.

use std::ops::Range;

use smidgen::Schedule;

use super::program::{BufferId, Program, VirtualEntry, VirtualStep};

/// Moves each step to the first phase in which everything it needs is there, so that an entry has as few phases as it can have.
/// Within a phase steps keep their order.
#[must_use]
pub fn group_phases(mut program: Program) -> Program {
    for index in 0..program.entries.len() {
        let levels = levels(&program, &program.entries[index]);
        let steps = std::mem::take(&mut program.entries[index].steps);
        let mut leveled: Vec<_> = levels.into_iter().zip(steps).collect();
        leveled.sort_by_key(|&(level, _)| level);
        program.entries[index].steps = leveled.into_iter().map(|(_, step)| step).collect();
    }
    program
}

/// The phases of an entry: ranges of neighbouring steps of one schedule.
pub fn phases(entry: &VirtualEntry) -> Vec<Range<usize>> {
    let mut start = 0;
    entry
        .steps
        .chunk_by(|left, right| left.schedule == right.schedule)
        .map(|steps| {
            start += steps.len();
            start - steps.len()..start
        })
        .collect()
}

/// The earliest phase of each step: even numbers are phases per chunk, odd ones phases that run once.
fn levels(program: &Program, entry: &VirtualEntry) -> Vec<usize> {
    let mut levels: Vec<usize> = Vec::new();
    for (index, step) in entry.steps.iter().enumerate() {
        let earlier = entry.steps[..index].iter().zip(&levels);
        let needed = earlier.filter(|(earlier, _)| depends(program, step, earlier)).map(|(_, &level)| level);
        let lowest = needed.max().unwrap_or(0);
        let parity = usize::from(step.schedule == Schedule::Once);
        levels.push(lowest + (lowest + parity) % 2);
    }
    // What is written part by part is written in one phase, the last that any part needs: nothing reads it before.
    for (index, step) in entry.steps.iter().enumerate().rev().filter(|(_, step)| step.writes_parts()) {
        let level = levels[index];
        let written: Vec<BufferId> = step.writes.iter().map(|&id| program.root(id)).collect();
        for (earlier, other) in entry.steps[..index].iter().enumerate() {
            if other.writes.iter().any(|&id| written.contains(&program.root(id))) {
                levels[earlier] = levels[earlier].max(level);
            }
        }
    }
    levels
}

/// Whether `later` has to stay behind `earlier`: one of them writes what the other reads or writes.
pub(super) fn depends(program: &Program, later: &VirtualStep, earlier: &VirtualStep) -> bool {
    let among =
        |id: BufferId, ids: &[BufferId]| ids.iter().any(|&other| program.root(other) == program.root(id));
    earlier.writes.iter().any(|&write| among(write, &later.reads) || among(write, &later.writes))
        || later.writes.iter().any(|&write| among(write, &earlier.reads))
}

#[cfg(test)]
mod tests {
    use smidgen::{EntryKind, Operator, Shape, Space};

    use super::*;

    fn step(
        name: &str,
        operator: Operator,
        schedule: Schedule,
        reads: &[usize],
        writes: &[usize],
    ) -> VirtualStep {
        let ids = |ids: &[usize]| ids.iter().map(|&id| BufferId(id)).collect();
        let (reads, writes) = (ids(reads), ids(writes));
        VirtualStep {
            name: name.to_owned(),
            operator,
            schedule,
            attributes: vec![],
            reads,
            writes,
            in_place: None,
        }
    }

    #[test]
    fn steps_move_to_the_first_phase_they_can() {
        let mut program = Program::default();
        for index in 0..8 {
            program.add_f32(index.to_string(), Space::Chunk, Shape::vector(1)).unwrap();
        }
        let (chunk, once) = (Schedule::PerChunk, Schedule::Once);
        let steps = vec![
            step("a", Operator::BatchNormStatistics, chunk, &[0], &[1]),
            step("sum of a", Operator::SumChunks, once, &[1], &[2]),
            step("b", Operator::BatchNormStatistics, chunk, &[0], &[3]),
            step("after the sum", Operator::AddF32, chunk, &[2, 3], &[4]),
            step("sum of b", Operator::SumChunks, once, &[3], &[5]),
            step("overwrites what a reads", Operator::AddF32, chunk, &[3], &[0]),
        ];
        program.entries.push(VirtualEntry { kind: EntryKind::Train, steps, inputs: vec![], outputs: vec![] });
        let grouped = group_phases(program);
        let names: Vec<&str> = grouped.entries[0].steps.iter().map(|step| step.name.as_str()).collect();
        let expected = ["a", "b", "overwrites what a reads", "sum of a", "sum of b", "after the sum"];
        assert_eq!(names, expected);
        assert_eq!(phases(&grouped.entries[0]), [0..3, 3..5, 5..6]);
    }

    #[test]
    fn parts_of_one_buffer_are_written_in_one_phase() {
        let mut program = Program::default();
        for index in 0..6 {
            program.add_f32(index.to_string(), Space::Chunk, Shape::vector(1)).unwrap();
        }
        let (chunk, once) = (Schedule::PerChunk, Schedule::Once);
        let steps = vec![
            step("first part", Operator::Copy, chunk, &[0], &[4]),
            step("statistics", Operator::BatchNormStatistics, chunk, &[0], &[1]),
            step("sum", Operator::SumChunks, once, &[1], &[2]),
            step("second part", Operator::Copy, chunk, &[2], &[4]),
            step("reader", Operator::AddF32, chunk, &[4, 0], &[5]),
        ];
        program.entries.push(VirtualEntry { kind: EntryKind::Train, steps, inputs: vec![], outputs: vec![] });
        let grouped = group_phases(program);
        let names: Vec<&str> = grouped.entries[0].steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["statistics", "sum", "first part", "second part", "reader"]);
        assert_eq!(phases(&grouped.entries[0]), [0..1, 1..2, 2..5]);
    }
}
