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
    levels
}

/// Whether `later` has to stay behind `earlier`: one of them writes what the other reads or writes.
pub(super) fn depends(program: &Program, later: &VirtualStep, earlier: &VirtualStep) -> bool {
    let among =
        |id: BufferId, ids: &[BufferId]| ids.iter().any(|&other| program.root(other) == program.root(id));
    earlier.writes.iter().any(|&write| among(write, &later.reads) || among(write, &later.writes))
        || later.writes.iter().any(|&write| among(write, &earlier.reads))
}
