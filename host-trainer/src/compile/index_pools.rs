//! What a pool's gradient needs is a byte.

use smidgen::geometry::Window;
use smidgen::{ElementType, Operator, Space};

use super::program::{Buffer, BufferId, Program};
use crate::graph::Role;

/// The program in which the step `place` of an entry, the gradient of a maximum pool, reads the index that the pool keeps, and not the pool's input; `None` if it is no such step, or the
/// window has more taps than a byte counts.
pub(super) fn index_pool(program: &Program, entry: usize, place: usize) -> Option<Program> {
    let steps = &program.entries[entry].steps;
    let gradient = &steps[place];
    let (Operator::MaxPool2dGrad, &[input, _]) = (gradient.operator, gradient.reads.as_slice()) else {
        return None;
    };
    let (window, _) = Window::read(&gradient.attributes).ok()?;
    if window.y.kernel * window.x.kernel > 255 || program.buffer(input).space != Space::Arena {
        return None;
    }
    let pool = steps[..place].iter().position(|step| {
        step.operator == Operator::MaxPool2d
            && step.reads == [input]
            && step.writes.len() == 1
            && step.attributes == gradient.attributes
    })?;
    let output = program.buffer(steps[pool].writes[0]);
    let mut other = program.clone();
    other.buffers.push(Buffer {
        name: format!("{}/index", output.name),
        space: Space::Arena,
        shape: output.shape,
        element_type: ElementType::U8,
        quantization: None,
        role: Role::Activation,
        value: None,
        view_of: None,
    });
    let index = BufferId(other.buffers.len() - 1);
    let steps = &mut other.entries[entry].steps;
    steps[pool].writes.push(index);
    steps[place].reads[0] = index;
    Some(other)
}
