//! Small models made by hand.

use smidgen::model::{MemoryLengths, Metadata, ModelParts, NewEntry, Preprocessing, write};
use smidgen::{ElementType, EntryKind, Operand, Operator, Schedule, Shape, Space, Step};

/// Elements of a sample of [`sum`].
pub(crate) const SUM_ELEMENTS: usize = 64;

pub(crate) fn operand(space: Space, offset: u32, elements: usize) -> Operand {
    let shape = Shape::vector(elements as u32);
    Operand { space, element_type: ElementType::F32, offset, shape, quantization: None }
}

pub(crate) fn step(operator: Operator, attributes: &[i32], reads: &[Operand], writes: &[Operand]) -> Step {
    Step {
        operator: operator as u8,
        schedule: Schedule::PerChunk,
        attributes: heapless::Vec::from_slice(attributes).unwrap(),
        reads: heapless::Vec::from_slice(reads).unwrap(),
        writes: heapless::Vec::from_slice(writes).unwrap(),
    }
}

pub(crate) fn file(parts: &ModelParts<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = write(parts, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

pub(crate) fn metadata(name: &'static str) -> Metadata<'static> {
    let preprocessing = Preprocessing::None;
    Metadata { name, labels: "", step_names: "", provenance: "", preprocessing }
}

/// Adds a constant, applies ReLU, adds the result to the input. Three steps; with `relu` false only the sums.
pub(crate) fn sum(relu: bool) -> Vec<u8> {
    let bytes = SUM_ELEMENTS as u32 * 4;
    let [input, middle, output] = [0, 1, 2].map(|i| operand(Space::Arena, i * bytes, SUM_ELEMENTS));
    let constant = operand(Space::Constant, 0, SUM_ELEMENTS);
    let weights: Vec<u8> = (0..SUM_ELEMENTS).flat_map(|i| (i as f32 * 0.37 - 9.1).to_le_bytes()).collect();
    let mut steps = vec![step(Operator::AddF32, &[0, 0], &[input, constant], &[middle])];
    if relu {
        steps.push(step(Operator::ActivationF32, &[1, 0], &[middle], &[middle]));
    }
    steps.push(step(Operator::AddF32, &[0, 0], &[middle, input], &[output]));
    file(&ModelParts {
        metadata: metadata("sum"),
        entries: &[NewEntry {
            kind: EntryKind::Infer,
            first_step: 0,
            step_count: steps.len() as u32,
            inputs: &[input],
            outputs: &[output],
        }],
        steps: &steps,
        memory: MemoryLengths { arena: 3 * bytes, ..MemoryLengths::default() },
        weights: &weights,
        initial_parameters: None,
        initial_state: None,
    })
}

/// Samples for [`sum`].
pub(crate) fn sum_inputs(samples: usize) -> Vec<u8> {
    (0..samples * SUM_ELEMENTS).flat_map(|i| ((i * 37 % 101) as f32 * 0.173 - 8.0).to_le_bytes()).collect()
}
