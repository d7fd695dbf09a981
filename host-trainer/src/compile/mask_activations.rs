//! What an activation's gradient needs is a bit.

use smidgen::ops::activation::Activation;
use smidgen::{ElementType, Operator, Shape, Space};

use super::program::{Buffer, BufferId, Program, VirtualStep};
use crate::graph::Role;

/// The program in which the step `place` of an entry, the gradient of an activation, reads a mask that is made as soon as the activation's output is there; `None` if it is no such
/// step, or the output is kept in another space anyway.
pub(super) fn mask_activation(program: &Program, entry: usize, place: usize) -> Option<Program> {
    let steps = &program.entries[entry].steps;
    let step = &steps[place];
    let (Operator::ActivationGrad, &[output, grad_output]) = (step.operator, step.reads.as_slice()) else {
        return None;
    };
    let activation = Activation::read(&step.attributes, 0).ok()?.0;
    let is_bit = matches!(activation, Activation::Relu | Activation::Relu6 | Activation::ReluN1To1);
    let buffer = program.buffer(output);
    if !is_bit || buffer.space != Space::Arena || buffer.view_of.is_some() {
        return None;
    }
    let made = steps[..place].iter().position(|step| step.writes.contains(&output))?;
    let mut other = program.clone();
    let Shape([n, h, w, channels]) = buffer.shape;
    other.buffers.push(Buffer {
        name: format!("{}/mask", buffer.name),
        space: Space::Arena,
        shape: Shape([n, h, w, channels.div_ceil(8)]),
        element_type: ElementType::U8,
        quantization: None,
        role: Role::Activation,
        value: None,
        view_of: None,
    });
    let mask = BufferId(other.buffers.len() - 1);
    let name = step.name.clone();
    let attributes = step.attributes.clone();
    let schedule = step.schedule;
    let steps = &mut other.entries[entry].steps;
    let gradient = &mut steps[place];
    gradient.operator = Operator::ActivationMaskGrad;
    gradient.attributes.clear();
    gradient.reads = vec![grad_output, mask];
    let step = VirtualStep {
        name: format!("{name} mask"),
        operator: Operator::ActivationMask,
        schedule,
        attributes,
        reads: vec![output],
        writes: vec![mask],
        in_place: None,
    };
    steps.insert(made + 1, step);
    Some(other)
}
