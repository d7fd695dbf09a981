//! What the backward pass reads is kept, or computed again.

use smidgen::{EntryKind, Operator, Schedule, Space};

use super::program::{BufferId, Program, VirtualEntry};
use super::schedule::peak_in_place;

/// In a training program of one phase, as a device has it, lets the backward pass compute again what the forward pass computed cheaply, where that lowers the peak (T. Chen et
/// al.: *Training Deep Nets with Sublinear Memory Cost*, 2016). Between phases [`recompute`](super::recompute()) does so.
#[must_use]
pub fn rematerialize(mut program: Program) -> Program {
    let Some(index) = program.entries.iter().position(|entry| entry.kind == EntryKind::Train) else {
        return program;
    };
    let steps = &program.entries[index].steps;
    if steps.iter().any(|step| step.schedule != Schedule::Once) {
        return program;
    }
    let mut peak = peak_in_place(&program);
    // From the last to the first, again while something helps: what is computed again changes what else would.
    let mut producers: Vec<BufferId> =
        steps.iter().rev().filter(|step| is_cheap(step.operator)).map(|step| step.writes[0]).collect();
    loop {
        let before = producers.len();
        producers.retain(|&buffer| {
            let Some(other) = again(&program, index, buffer) else { return false };
            let found = peak_in_place(&other);
            let helps = found < peak;
            if helps {
                (program, peak) = (other, found);
            }
            !helps
        });
        if producers.len() == before || producers.is_empty() {
            return program;
        }
    }
}

/// Whether computing it again takes little time beside the layers around it.
const fn is_cheap(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::DepthwiseConv2d
            | Operator::Dequantize
            | Operator::ActivationF32
            | Operator::AddF32
            | Operator::MaxPool2d
            | Operator::AveragePool2d
    )
}

/// The step of the loss.
fn loss(entry: &VirtualEntry) -> Option<usize> {
    entry.steps.iter().position(|step| matches!(step.operator as u8, 60..=68))
}

/// The program in which the backward pass computes `buffer` again; `None` if it does not read it, or what it is computed from has changed.
fn again(program: &Program, index: usize, buffer: BufferId) -> Option<Program> {
    let entry = &program.entries[index];
    let loss = loss(entry)?;
    let is_viewed = program.buffers.iter().any(|other| other.view_of == Some(buffer));
    if is_viewed || program.buffer(buffer).space != Space::Arena || entry.outputs.contains(&buffer) {
        return None;
    }
    let made = entry.steps[..loss].iter().position(|step| step.writes.contains(&buffer))?;
    let mut step = entry.steps[made].clone();
    if step.writes.len() != 1 {
        return None;
    }
    let reads = |steps: &[super::VirtualStep]| steps.iter().position(|step| step.reads.contains(&buffer));
    let place = loss + 1 + reads(&entry.steps[loss + 1..])?;
    let changed = |id: BufferId| {
        let between = &entry.steps[made + 1..place];
        between.iter().flat_map(|step| &step.writes).any(|&write| program.root(write) == program.root(id))
    };
    if step.reads.iter().any(|&read| changed(read)) {
        return None;
    }
    let mut other = program.clone();
    let mut copy = program.buffer(buffer).clone();
    copy.name.push_str(" again");
    other.buffers.push(copy);
    let copy = BufferId(other.buffers.len() - 1);
    step.name.push_str(" again");
    step.writes = vec![copy];
    let steps = &mut other.entries[index].steps;
    for read in steps[place..].iter_mut().flat_map(|step| &mut step.reads) {
        if *read == buffer {
            *read = copy;
        }
    }
    steps.insert(place, step);
    Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{OnDevice, TrainingOptions, compile_training, differentiate, fuse_activation};
    use crate::graph::Network;

    #[test]
    fn depthwise_outputs_are_computed_again() {
        let network = (0..3).fold(Network::new("n", [12, 12, 1]).conv_2d(8, 3).relu(), |network, _| {
            network.depthwise_conv_2d(3).relu().conv_2d(8, 1).relu()
        });
        let graph = network.global_average_pool_2d().fully_connected(2).build().unwrap();
        let options = TrainingOptions { device: Some(OnDevice::default()), ..TrainingOptions::default() };
        let before = differentiate(&fuse_activation(graph.clone()), &options).unwrap();
        let after = rematerialize(before.clone());
        assert!(peak_in_place(&after) < peak_in_place(&before));
        let steps = &after.entries[0].steps;
        let again: Vec<&str> =
            steps.iter().map(|step| step.name.as_str()).filter(|name| name.ends_with("again")).collect();
        assert!(again.contains(&"depthwise_conv_2d_1 again"), "{again:?}");
        compile_training(&graph, &options).unwrap();
        // Host programs have other means.
        let host = differentiate(&fuse_activation(graph), &TrainingOptions::default()).unwrap();
        assert_eq!(rematerialize(host.clone()), host);
    }
}
