//! Which bytes of the arena are in use at each step of an entry.

use std::ops::Range;

use serde::Serialize;
use smidgen::model::Entry;
use smidgen::{Operand, Space, Step};

/// The arena over the steps of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryMap {
    /// Bytes from the start of the arena to the end of the last tensor.
    pub used_bytes: usize,
    /// The most bytes that are in use at one step: with these steps, in this order, no plan can need fewer.
    pub lower_bound: usize,
    /// One for each step.
    pub moments: Vec<Moment>,
}

/// The arena while a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Bytes in use; those that two tensors share count once.
    pub live_bytes: usize,
    /// The tensors there.
    pub tensors: Vec<Placed>,
}

/// A tensor in the arena while a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Its bytes.
    pub bytes: Range<usize>,
    /// What the step does with it.
    pub used: Use,
}

/// What a step does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Use {
    /// Nothing: a later step reads it.
    Kept,
    /// It reads it.
    Read,
    /// It writes it.
    Written,
}

/// What is written once and read until the last time.
struct Value {
    bytes: Range<usize>,
    /// The step that writes it; `None` for an input.
    written: Option<usize>,
    /// The last step that reads it, or the number of steps for an output.
    last: usize,
    reads: Vec<usize>,
    /// Nothing has been written over it yet.
    open: bool,
}

impl MemoryMap {
    /// Of the steps of an entry.
    pub(super) fn new(entry: &Entry<'_>, steps: &[Step<'_>]) -> Self {
        let mut values: Vec<Value> = Vec::new();
        let arena = |operand: &Operand| {
            let (start, end) = operand.range().filter(|_| operand.space == Space::Arena)?;
            Some(start..end)
        };
        for bytes in entry.inputs.iter().filter_map(arena) {
            values.push(Value { bytes, written: None, last: 0, reads: Vec::new(), open: true });
        }
        for (index, step) in steps.iter().enumerate() {
            for bytes in step.reads.iter().filter_map(arena) {
                read(&mut values, &bytes, index);
            }
            // All of a step's writes come after all of its reads.
            let writes: Vec<_> = step.writes.iter().filter_map(arena).collect();
            for value in &mut values {
                value.open &= !writes.iter().any(|bytes| overlap(&value.bytes, bytes));
            }
            values.extend(writes.into_iter().map(|bytes| Value {
                bytes,
                written: Some(index),
                last: index,
                reads: Vec::new(),
                open: true,
            }));
        }
        for bytes in entry.outputs.iter().filter_map(arena) {
            read(&mut values, &bytes, steps.len());
        }
        let moments: Vec<Moment> = (0..steps.len()).map(|index| moment(&values, index)).collect();
        Self {
            used_bytes: values.iter().map(|value| value.bytes.end).max().unwrap_or(0),
            lower_bound: moments.iter().map(|moment| moment.live_bytes).max().unwrap_or(0),
            moments,
        }
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn read(values: &mut [Value], bytes: &Range<usize>, index: usize) {
    for value in values.iter_mut().filter(|value| value.open && overlap(&value.bytes, bytes)) {
        value.last = index;
        value.reads.push(index);
    }
}

fn moment(values: &[Value], index: usize) -> Moment {
    let live = values.iter().filter(|value| value.written.unwrap_or(0) <= index && index <= value.last);
    let mut tensors: Vec<Placed> = live
        .map(|value| {
            let used = match value.written {
                Some(written) if written == index => Use::Written,
                _ if value.reads.contains(&index) => Use::Read,
                _ => Use::Kept,
            };
            Placed { bytes: value.bytes.clone(), used }
        })
        .collect();
    tensors.sort_by_key(|tensor| (tensor.bytes.start, tensor.bytes.end, tensor.used));
    let mut end = 0;
    let live_bytes = tensors
        .iter()
        .map(|tensor| {
            let fresh = tensor.bytes.end.saturating_sub(tensor.bytes.start.max(end));
            end = end.max(tensor.bytes.end);
            fresh
        })
        .sum();
    Moment { live_bytes, tensors }
}

#[cfg(test)]
mod tests {
    use smidgen::{ElementType, EntryKind, NewStep, Operator, Quantization, Schedule, Shape};

    use super::*;

    fn at(offset: u32, bytes: u32) -> Operand {
        let (space, element_type) = (Space::Arena, ElementType::I8);
        Operand { space, element_type, offset, shape: Shape::vector(bytes), quantization: Quantization::NONE }
    }

    fn step(reads: &[Operand], write: Operand) -> NewStep {
        NewStep {
            operator: Operator::AddI8 as u8,
            schedule: Schedule::PerChunk,
            attributes: [].into_iter().collect(),
            reads: reads.iter().copied().collect(),
            writes: [write].into_iter().collect(),
        }
    }

    #[test]
    fn bytes_are_in_use_from_the_write_to_the_last_read() {
        let (input, middle, output) = (at(0, 8), at(16, 4), at(8, 2));
        // The input is kept over step 1, which works in place, and read again by step 2.
        let steps = [step(&[input], middle), step(&[middle], middle), step(&[middle, input], output)];
        let entry = Entry {
            kind: EntryKind::Infer,
            first_step: 0,
            step_count: 3,
            steps_offset: 0,
            inputs: &[input],
            outputs: &[output],
        };
        let map = MemoryMap::new(&entry, &steps.each_ref().map(NewStep::step));
        let live: Vec<usize> = map.moments.iter().map(|moment| moment.live_bytes).collect();
        assert_eq!((live, map.used_bytes, map.lower_bound), (vec![12, 12, 14], 20, 14));
        let kept = Placed { bytes: 0..8, used: Use::Kept };
        let (old, new) =
            (Placed { bytes: 16..20, used: Use::Read }, Placed { bytes: 16..20, used: Use::Written });
        assert_eq!(map.moments[1].tensors, [kept, old, new]);
    }

    #[test]
    fn what_is_written_over_is_not_read_later() {
        let (input, other) = (at(0, 8), at(16, 8));
        let steps = [step(&[input], other), step(&[other], input), step(&[input], other)];
        let (inputs, outputs) = (&[input], &[other]);
        let entry =
            Entry { kind: EntryKind::Infer, first_step: 0, step_count: 3, steps_offset: 0, inputs, outputs };
        assert_eq!(MemoryMap::new(&entry, &steps.each_ref().map(NewStep::step)).moments[1].tensors.len(), 2);
    }
}
