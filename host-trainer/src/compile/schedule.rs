//! The order and the steps in place that lower the peak.

use smidgen::geometry::Window;
use smidgen::{EntryKind, InPlace, Operator, Space};

use super::liveness::Blocks;
use super::overlaps::overlaps;
use super::phases::{depends, phases};
use super::plan_memory::ALIGNMENT;
use super::program::{BufferId, Program, VirtualStep};

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

/// The most bytes that are live at the same time, with steps in place where that can be and in the order that they are in.
pub(super) fn peak_in_place(program: &Program) -> usize {
    peak(&place(program.clone()))
}

fn peak(program: &Program) -> usize {
    let blocks = Blocks::new(program);
    let overlaps = overlaps(program, &blocks);
    blocks.peak(Space::Arena, ALIGNMENT, &overlaps) + blocks.peak(Space::Chunk, ALIGNMENT, &overlaps)
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

/// Bytes that a step adds to the live ones, less those of which it is the last reader. What another step has begun to write is live already. `left` are the steps of its phase that have not
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
    let is_begun = |id: BufferId| {
        let before = entry.steps[..end].iter().enumerate().filter(|(other, _)| !left.contains(other));
        before.flat_map(|(_, other)| &other.writes).any(|&write| program.root(write) == program.root(id))
    };
    let added = this.writes.iter().copied().filter(|&id| scratch(id));
    let added = added.filter(|&id| !(this.writes_parts() || this.changes()) || !is_begun(id));
    added.map(bytes).sum::<i64>() - freed
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

fn has_one_tap(step: &VirtualStep) -> bool {
    Window::read(&step.attributes).is_ok_and(|(window, _)| window == Window::ONE)
}

/// The read in whose place the first write of a step can lie. Steps before it have chosen.
fn choose(program: &Program, entry: usize, step: usize, time: usize) -> Option<usize> {
    let step = &program.entries[entry].steps[step];
    let candidates = match step.operator.in_place() {
        // Of convolutions only those of one tap write no pixel before they have read it for the last time.
        InPlace::First if step.operator == Operator::Conv2dPairsI8 => usize::from(has_one_tap(step)),
        InPlace::First => 1,
        InPlace::Any => step.reads.len(),
        _ => 0,
    };
    if candidates == 0 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{LowerOptions, lower, plan_memory};
    use crate::graph::{Graph, Network};

    fn scheduled(network: Network) -> (Program, Program) {
        let graph: Graph = network.build().unwrap();
        let program = lower(&graph, &LowerOptions::default()).unwrap();
        (program.clone(), schedule(program))
    }

    fn in_place(program: &Program) -> Vec<(&str, Option<usize>)> {
        program.entries[0].steps.iter().map(|step| (step.name.as_str(), step.in_place)).collect()
    }

    #[test]
    fn steps_work_in_place_where_the_input_dies() {
        let network =
            Network::new("n", [4, 4, 2]).conv_2d(2, 3).relu().tap("a").relu6().add("a").add("a").relu();
        let (_, after) = scheduled(network);
        let expected = [
            ("conv_2d_1", None),
            ("relu_1", Some(0)),
            // `a` is read again.
            ("relu6_1", None),
            ("add_1", Some(0)),
            ("add_2", Some(0)),
            ("relu_2", Some(0)),
        ];
        assert_eq!(in_place(&after), expected);
        plan_memory(&after).unwrap();
    }

    #[test]
    fn a_tensor_added_to_itself_is_not_overwritten() {
        let (_, after) = scheduled(Network::new("n", [4, 4, 2]).conv_2d(2, 3).tap("a").add("a"));
        assert_eq!(in_place(&after), [("conv_2d_1", None), ("add_1", None)]);
    }

    #[test]
    fn a_view_keeps_what_it_shows() {
        let network =
            Network::new("n", [2, 2, 2]).conv_2d(2, 1).tap("raw").flatten().tap("flat").relu().add("flat");
        let (_, after) = scheduled(network);
        assert_eq!(in_place(&after), [("conv_2d_1", None), ("relu_1", None), ("add_1", Some(0))]);
    }

    #[test]
    fn a_branch_that_shrinks_goes_first() {
        // Written down first, the wide branch would be there while the narrow one is computed from the input.
        let network =
            Network::new("n", [8, 8, 4]).conv_2d(4, 3).tap("x").conv_2d(16, 1).max_pool_2d(8).tap("wide");
        let network = network.from("x").conv_2d(16, 8).stride(8).max_pool_2d(1).add("wide");
        let (before, after) = scheduled(network);
        assert!(peak(&after) <= peak(&place(before)));
    }

    #[test]
    fn reordering_lowers_the_peak() {
        // Both large tensors live while the first is not reduced; reduced at once, only one does.
        let network =
            Network::new("n", [8, 8, 1]).tap("x").conv_2d(8, 3).tap("first").from("x").conv_2d(8, 3);
        let network = network.max_pool_2d(8).tap("second").from("first").max_pool_2d(8).add("second");
        let (before, after) = scheduled(network);
        assert!(peak(&after) < peak(&place(before)), "{:?}", in_place(&after));
        plan_memory(&after).unwrap();
    }
}
