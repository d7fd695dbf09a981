//! The order of steps, their places and those in place that need the least memory.

use smidgen::Space;

use super::error::CompileError;
use super::overlaps::could_overlap;
use super::plan_memory::{MemoryPlan, plan_memory};
use super::program::Program;
use super::schedule::schedule;

/// Schedules a program and plans its memory.
///
/// A step in place binds its output to its input's place. Where the operator also says how far its output may run over its input, the planner may instead choose
/// any distance, which now and then lets the tensors behind it lie better. Both are tried.
///
/// # Errors
/// See [`plan_memory`].
pub(super) fn arrange(program: Program) -> Result<(Program, MemoryPlan), CompileError> {
    let bound = schedule(program);
    let plan = plan_memory(&bound)?;
    let free = freed(bound.clone());
    if free.entries != bound.entries {
        let other = plan_memory(&free)?;
        if arena(&other) < arena(&plan) {
            return Ok((free, other));
        }
    }
    Ok((bound, plan))
}

/// The bytes of a plan that steps share.
pub(super) fn arena(plan: &MemoryPlan) -> usize {
    plan.space(Space::Arena).bytes + plan.space(Space::Chunk).bytes
}

/// The program with no step in place that could overlap its input as well.
fn freed(mut program: Program) -> Program {
    let bound: Vec<(usize, usize)> = (0..program.entries.len())
        .flat_map(|entry| (0..program.entries[entry].steps.len()).map(move |step| (entry, step)))
        .filter(|&(entry, step)| {
            let step = &program.entries[entry].steps[step];
            step.in_place == Some(0) && could_overlap(&program, step)
        })
        .collect();
    for (entry, step) in bound {
        program.entries[entry].steps[step].in_place = None;
    }
    program
}
