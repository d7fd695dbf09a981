//! What the backward pass reads is kept, computed again, a bit, or a byte.

use smidgen::{EntryKind, Operator, Schedule, Space};

use super::index_pools::index_pool;
use super::mask_activations::mask_activation;
use super::program::{BufferId, Program, VirtualEntry};
use super::schedule::peak_in_place;

/// In a training program of one phase, as a device has it, lets the backward pass compute again what the forward pass computed cheaply (T. Chen et al.: *Training Deep Nets with Sublinear
/// Memory Cost*, 2016), and keep of an activation's output one bit an element and of a maximum pool which tap won, each where that lowers the peak. Between phases [`recompute`](super::recompute()) does the first.
#[must_use]
pub fn rematerialize(mut program: Program) -> Program {
    let Some(index) = program.entries.iter().position(|entry| entry.kind == EntryKind::Train) else {
        return program;
    };
    if program.entries[index].steps.iter().any(|step| step.schedule != Schedule::Once) {
        return program;
    }
    let mut peak = peak_in_place(&program);
    // Until nothing helps any more: what is not kept changes what else would.
    loop {
        let before = peak;
        let mut attempt = |program: &mut Program, other: Option<Program>| {
            let Some(other) = other else { return };
            let found = peak_in_place(&other);
            if found < peak {
                (*program, peak) = (other, found);
            }
        };
        let steps = &program.entries[index].steps;
        let mut gradients: Vec<(Operator, String)> = Vec::new();
        let mut cheap: Vec<BufferId> = Vec::new();
        for step in steps.iter().rev() {
            if matches!(step.operator, Operator::ActivationGrad | Operator::MaxPool2dGrad) {
                gradients.push((step.operator, step.name.clone()));
            } else if is_cheap(step.operator) {
                cheap.push(step.writes[0]);
            }
        }
        for (operator, name) in gradients {
            let steps = &program.entries[index].steps;
            let place = steps.iter().position(|step| step.operator == operator && step.name == name);
            let less = if operator == Operator::MaxPool2dGrad { index_pool } else { mask_activation };
            let other = place.and_then(|place| less(&program, index, place));
            attempt(&mut program, other);
        }
        for buffer in cheap {
            let other = again(&program, index, buffer);
            attempt(&mut program, other);
        }
        if peak == before {
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
        let pooled = Network::new("n", [12, 12, 1]).conv_2d(8, 3).max_pool_2d(2).conv_2d(4, 3).max_pool_2d(2);
        let pooled = pooled.flatten().fully_connected(2).build().unwrap();
        let after = rematerialize(differentiate(&pooled, &options).unwrap());
        let first = after.entries[0].steps.iter().find(|step| step.operator == Operator::MaxPool2d).unwrap();
        assert_eq!(
            first.writes.len(),
            2,
            "the first pool, whose input is the largest tensor, keeps an index"
        );
        compile_training(&pooled, &options).unwrap();
        // Host programs have other means.
        let host = differentiate(&fuse_activation(graph), &TrainingOptions::default()).unwrap();
        assert_eq!(rematerialize(host.clone()), host);
    }
}
