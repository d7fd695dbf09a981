//! What a later phase reads is kept by the chunk, or computed again.

use std::collections::{HashMap, HashSet};

use smidgen::{Operator, Space};

use super::phases::phases;
use super::program::{BufferId, Program, VirtualStep};

/// Gives every buffer of the arena that a later phase reads a way to get there, as nothing in the arena outlives a phase.
///
/// If the step that computes it is cheap (an element-wise function of what is still there), the later phase computes it again, just
/// before it is read; else the buffer moves to [`Space::Chunk`]. So raw outputs of convolutions are kept and their normalized
/// values are not (T. Chen et al.: *Training Deep Nets with Sublinear Memory Cost*, 2016).
///
/// Wants an entry's steps in phases, as [`group_phases`](super::group_phases) leaves them.
#[must_use]
pub fn recompute(mut program: Program) -> Program {
    for entry in 0..program.entries.len() {
        Recomputation::new(&program, entry).run(&mut program);
    }
    program
}

/// Whether computing it again costs less than keeping it.
const fn is_cheap(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::BatchNormNormalize
            | Operator::BatchNorm
            | Operator::ActivationF32
            | Operator::FakeQuantize
            | Operator::FakeQuantizeWeights
    )
}

struct Recomputation {
    entry: usize,
    /// The steps of each phase.
    phases: Vec<Vec<VirtualStep>>,
    /// Where a buffer is computed: phase and step.
    producers: HashMap<BufferId, (usize, VirtualStep)>,
    /// What stands for a buffer in a later phase.
    copies: HashMap<(BufferId, usize), BufferId>,
}

impl Recomputation {
    fn new(program: &Program, entry: usize) -> Self {
        let steps = &program.entries[entry].steps;
        let phases: Vec<Vec<VirtualStep>> =
            phases(&program.entries[entry]).into_iter().map(|range| steps[range].to_vec()).collect();
        let mut producers = HashMap::new();
        for (phase, steps) in phases.iter().enumerate() {
            for step in steps {
                producers.extend(step.writes.iter().map(|&id| (id, (phase, step.clone()))));
            }
        }
        Self { entry, phases, producers, copies: HashMap::new() }
    }

    fn run(mut self, program: &mut Program) {
        // In the order of computation, so that what a later buffer is computed from has its place already.
        for phase in 0..self.phases.len() {
            for step in self.phases[phase].clone() {
                for &id in &step.writes {
                    if self.producers.get(&id).is_some_and(|&(first, _)| first == phase) {
                        self.carry(program, id, phase);
                    }
                }
            }
        }
        for (phase, steps) in self.phases.iter_mut().enumerate() {
            let copies = self.copies.iter().filter(|((_, of), _)| *of == phase).map(|(_, &copy)| copy);
            settle(steps, &copies.collect());
        }
        program.entries[self.entry].steps = self.phases.into_iter().flatten().collect();
    }

    /// Carries one buffer to the later phases that read it.
    fn carry(&mut self, program: &mut Program, id: BufferId, phase: usize) {
        if program.buffer(id).space != Space::Arena {
            return;
        }
        let reads = |step: &VirtualStep| step.reads.iter().any(|&read| program.root(read) == id);
        let later: Vec<usize> =
            (phase + 1..self.phases.len()).filter(|&later| self.phases[later].iter().any(reads)).collect();
        let viewed = program.buffers.iter().any(|buffer| buffer.view_of == Some(id));
        if viewed && !later.is_empty() || !later.iter().all(|&phase| self.can_be_at(program, id, phase)) {
            keep(program, id);
            return;
        }
        for phase in later {
            let copy = self.at(program, id, phase);
            for step in &mut self.phases[phase] {
                for read in step.reads.iter_mut().filter(|read| **read == id) {
                    *read = copy;
                }
            }
        }
    }

    /// Whether the buffer is there in `phase`, or can be computed again.
    fn can_be_at(&self, program: &Program, id: BufferId, phase: usize) -> bool {
        let root = program.root(id);
        if program.buffer(root).space != Space::Arena {
            return true;
        }
        match self.producers.get(&root) {
            Some((first, _)) if *first == phase => true,
            Some((_, step)) => {
                root == id
                    && is_cheap(step.operator)
                    && step.reads.iter().all(|&read| self.can_be_at(program, read, phase))
            }
            None => false,
        }
    }

    /// The buffer, or the copy of it that `phase` computes.
    fn at(&mut self, program: &mut Program, id: BufferId, phase: usize) -> BufferId {
        if program.buffer(program.root(id)).space != Space::Arena {
            return id;
        }
        if let Some(&copy) = self.copies.get(&(id, phase)) {
            return copy;
        }
        let (first, mut step) = self.producers[&program.root(id)].clone();
        if first == phase {
            return id;
        }
        for read in &mut step.reads {
            *read = self.at(program, *read, phase);
        }
        let mut buffer = program.buffer(id).clone();
        buffer.name.push_str(" again");
        step.name.push_str(" again");
        program.buffers.push(buffer);
        let copy = BufferId(program.buffers.len() - 1);
        step.writes = vec![copy];
        let steps = &mut self.phases[phase];
        let before = steps.iter().position(|step| step.reads.contains(&id)).unwrap_or(0);
        steps.insert(before, step);
        self.copies.insert((id, phase), copy);
        copy
    }
}

/// Moves the steps that write `copies` to before the first that reads them: one that is read by another copy's step as well as by the phase
/// may have been put behind that one.
fn settle(steps: &mut Vec<VirtualStep>, copies: &HashSet<BufferId>) {
    let mut index = 0;
    while index < steps.len() {
        let written = steps[index].writes.first().copied().filter(|write| copies.contains(write));
        let reader =
            written.and_then(|write| steps[..index].iter().position(|step| step.reads.contains(&write)));
        match reader {
            // What that step reads may have to be moved to before it now.
            Some(reader) => {
                let step = steps.remove(index);
                steps.insert(reader, step);
                index = 0;
            }
            None => index += 1,
        }
    }
}

/// Moves a buffer and its views to the chunk.
fn keep(program: &mut Program, id: BufferId) {
    for index in 0..program.buffers.len() {
        if program.root(BufferId(index)) == id {
            program.buffers[index].space = Space::Chunk;
        }
    }
}

#[cfg(test)]
mod tests {
    use smidgen::Schedule;

    use super::*;
    use crate::compile::{Loss, Optimizer, TrainingOptions, differentiate, fuse_activation, group_phases};
    use crate::graph::Network;

    fn program(network: Network) -> Program {
        let options = TrainingOptions {
            chunk_samples: 2,
            chunks: 1,
            loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
            optimizer: Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false },
            ..TrainingOptions::default()
        };
        let graph = fuse_activation(network.build().unwrap());
        group_phases(differentiate(&graph, &options).unwrap())
    }

    fn space(program: &Program, name: &str) -> Space {
        program.buffers.iter().find(|buffer| buffer.name == name).unwrap().space
    }

    #[test]
    fn raw_outputs_are_kept_and_normalized_ones_computed_again() {
        let network =
            Network::new("n", [4, 4, 1]).conv_2d(2, 3).batch_norm().relu().conv_2d(2, 3).batch_norm().relu();
        let before = program(network.global_average_pool_2d().fully_connected(2));
        assert_eq!(space(&before, "train/conv_2d_1"), Space::Arena);
        let after = recompute(before.clone());
        assert_eq!(space(&after, "train/conv_2d_1"), Space::Chunk);
        assert_eq!(space(&after, "train/relu_1"), Space::Arena);
        assert_eq!(space(&after, "train/relu_1 again"), Space::Arena);
        let again: Vec<_> = after.entries[0]
            .steps
            .iter()
            .filter(|step| step.name.ends_with(" again"))
            .map(|step| &step.name)
            .collect();
        // The second batch norm's output is read in the phase that computes it only.
        assert_eq!(again, ["batch_norm_1 again"]);
        assert_eq!(after.entries[1..], before.entries[1..]);
    }

    #[test]
    fn what_is_computed_again_is_so_before_its_readers() {
        let step = |reads: &[usize], writes: &[usize]| VirtualStep {
            name: String::new(),
            operator: Operator::FakeQuantize,
            schedule: Schedule::PerChunk,
            attributes: vec![],
            reads: reads.iter().map(|&id| BufferId(id)).collect(),
            writes: writes.iter().map(|&id| BufferId(id)).collect(),
            in_place: None,
        };
        // 2 is computed again from 1, and 1 from 0; both were put before a reader of their own.
        let mut steps = vec![step(&[1], &[2]), step(&[2], &[7]), step(&[0], &[1]), step(&[1], &[8])];
        settle(&mut steps, &[1, 2].map(BufferId).into());
        let writes: Vec<usize> = steps.iter().map(|step| step.writes[0].0).collect();
        assert_eq!(writes, [1, 2, 7, 8]);
    }

    #[test]
    fn sums_that_later_phases_read_are_kept() {
        let network = Network::new("n", [4, 4, 2]).tap("in").conv_2d(2, 3).batch_norm().add("in").relu();
        let after = recompute(program(
            network.conv_2d(2, 3).batch_norm().global_average_pool_2d().fully_connected(2),
        ));
        assert_eq!(space(&after, "train/relu_1"), Space::Chunk);
    }

    #[test]
    fn one_phase_keeps_nothing() {
        let after = recompute(program(
            Network::new("n", [4, 4, 1]).conv_2d(2, 3).relu().flatten().fully_connected(2),
        ));
        let steps = &after.entries[0].steps;
        assert_eq!(steps.chunk_by(|a, b| a.schedule == b.schedule).count(), 2);
        assert!(steps.iter().all(|step| step.schedule == Schedule::Once || !step.name.ends_with(" again")));
        assert_eq!(space(&after, "train/relu_1"), Space::Arena);
    }
}
