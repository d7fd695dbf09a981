//! Random changes to the parts of a model: one field at a time, to values that are likely to be at the edge of something.

use smidgen::model::ZEROS;
use smidgen::ops::Operator;
use smidgen::{ElementType, NewStep, Operand, Quantization, Schedule, Space};

use super::Parts;

/// Where a mutator takes its decisions from: a generator with a seed, or the bytes of a fuzzer.
pub trait Choices {
    /// The next 32 bits.
    fn next(&mut self) -> u32;

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() as usize).checked_rem(bound).unwrap_or(0)
    }

    /// One of `values`.
    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// A generator with a seed: Vigna's `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Choices for Seeded {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }
}

/// Bytes that decide, four at a time; zeros after the last.
#[derive(Clone, Debug)]
pub struct FromBytes<'a>(pub &'a [u8]);

impl Choices for FromBytes<'_> {
    fn next(&mut self) -> u32 {
        let (head, rest) = self.0.split_at(self.0.len().min(4));
        self.0 = rest;
        head.iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
    }
}

/// Numbers at the edges of what fields take.
const EDGES: [u32; 24] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    31,
    32,
    127,
    128,
    255,
    256,
    0xffff,
    0x1_0000,
    0x3fff_ffff,
    0x4000_0000,
    0x7fff_fff0,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_ff80,
    0xffff_ffff,
];

/// f32 at the edges: zeros, the least and the greatest, infinities, NaN.
const FLOAT_EDGES: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.999_999_94,
    f32::MIN_POSITIVE,
    1e-45,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// A number near `number`, at the edge of something, or any.
fn number(number: u32, choices: &mut impl Choices) -> u32 {
    match choices.below(8) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        2 => number.wrapping_add(choices.one_of(&[4, 16, 64])),
        3 => number.wrapping_sub(choices.one_of(&[4, 16, 64])),
        4 => choices.one_of(&FLOAT_EDGES).to_bits(),
        5 => choices.next(),
        _ => choices.one_of(&EDGES),
    }
}

/// Changes one field of `parts`. The result can be written; whether it is a model is for the loader to say.
pub fn mutate(parts: &mut Parts, choices: &mut impl Choices) {
    match choices.below(16) {
        0 => {
            let memory = &mut parts.memory;
            let length = match choices.below(5) {
                0 => &mut memory.parameter,
                1 => &mut memory.state,
                2 => &mut memory.gradient,
                3 => &mut memory.chunk,
                _ => &mut memory.arena,
            };
            *length = number(*length, choices) & !15;
        }
        1 => {
            let initial =
                if choices.below(2) == 0 { &mut parts.initial_parameters } else { &mut parts.initial_state };
            *initial = Some(number(initial.unwrap_or(ZEROS), choices));
        }
        2 => mutate_entry(parts, choices),
        3 => mutate_weights(parts, choices),
        4 => mutate_order(parts, choices),
        _ => {
            let index = choices.below(parts.steps.len());
            let (others, operands) = (parts.steps.clone(), all_operands(parts));
            if let Some(step) = parts.steps.get_mut(index) {
                mutate_step(step, &others, &operands, choices);
            }
        }
    }
}

fn all_operands(parts: &Parts) -> Vec<Operand> {
    parts.steps.iter().flat_map(|step| step.reads.iter().chain(&step.writes)).copied().collect()
}

fn mutate_entry(parts: &mut Parts, choices: &mut impl Choices) {
    let operands = all_operands(parts);
    let steps = parts.steps.len() as u32;
    let index = choices.below(parts.entries.len());
    let Some(entry) = parts.entries.get_mut(index) else { return };
    match choices.below(4) {
        // The writer refuses to count past the last step.
        0 => entry.first_step = number(entry.first_step, choices) % (steps + 1),
        1 => entry.step_count = number(entry.step_count, choices),
        choice => {
            let list = if choice == 2 { &mut entry.inputs } else { &mut entry.outputs };
            let place = choices.below(list.len());
            match list.get_mut(place) {
                Some(operand) => mutate_operand(operand, &operands, choices),
                None => list.extend(operands.get(choices.below(operands.len()))),
            }
        }
    }
}

fn mutate_weights(parts: &mut Parts, choices: &mut impl Choices) {
    let place = choices.below(parts.weights.len()) & !3;
    if choices.below(8) == 0 {
        parts.weights.truncate(place);
    } else if let Some(word) = parts.weights[place..].first_chunk_mut::<4>() {
        *word = number(u32::from_le_bytes(*word), choices).to_le_bytes();
    }
}

fn mutate_order(parts: &mut Parts, choices: &mut impl Choices) {
    let (a, b) = (choices.below(parts.steps.len()), choices.below(parts.steps.len()));
    match choices.below(3) {
        0 if a < parts.steps.len() => drop(parts.steps.remove(a)),
        1 if a < parts.steps.len() => parts.steps.insert(b, parts.steps[a].clone()),
        _ if a != b => parts.steps.swap(a, b),
        _ => {}
    }
    // The writer refuses entries that begin after the last step.
    for entry in &mut parts.entries {
        entry.first_step = entry.first_step.min(parts.steps.len() as u32);
    }
}

fn mutate_step(step: &mut NewStep, others: &[NewStep], operands: &[Operand], choices: &mut impl Choices) {
    match choices.below(12) {
        0 => step.operator = choices.one_of(Operator::ALL) as u8,
        1 => step.schedule = choices.one_of(&[Schedule::PerChunk, Schedule::Once]),
        2 => {
            let other = &others[choices.below(others.len())];
            step.attributes.clone_from(&other.attributes);
        }
        3..6 => {
            let index = choices.below(step.attributes.len());
            if let Some(attribute) = step.attributes.get_mut(index) {
                *attribute = number(*attribute as u32, choices) as i32;
            }
        }
        6 => {
            let index = choices.below(step.reads.len());
            if index < step.reads.len() {
                step.reads.remove(index);
            }
        }
        7 => {
            // One more of either, if there is room.
            let Some(&operand) = operands.get(choices.below(operands.len())) else { return };
            let _ = if choices.below(2) == 0 { step.reads.push(operand) } else { step.writes.push(operand) };
        }
        _ => {
            let index = choices.below(step.reads.len() + step.writes.len());
            if let Some(operand) = step.reads.iter_mut().chain(&mut step.writes).nth(index) {
                mutate_operand(operand, operands, choices);
            }
        }
    }
}

fn mutate_operand(operand: &mut Operand, others: &[Operand], choices: &mut impl Choices) {
    let other = others.get(choices.below(others.len())).copied().unwrap_or(*operand);
    match choices.below(12) {
        0 => operand.space = choices.one_of(&Space::ALL),
        1 => {
            operand.element_type = choices.one_of(&[
                ElementType::I8,
                ElementType::U8,
                ElementType::I16,
                ElementType::I32,
                ElementType::F32,
            ]);
        }
        2 => operand.offset = number(operand.offset, choices),
        3 => operand.offset = number(operand.offset, choices) & !15,
        4 => {
            let dimension = choices.below(4);
            operand.shape.0[dimension] = number(operand.shape.0[dimension], choices);
        }
        5 => operand.shape.0.swap(choices.below(4), choices.below(4)),
        6 => operand.shape = other.shape,
        7 => (operand.space, operand.offset) = (other.space, other.offset),
        8 => operand.quantization = Quantization::NONE,
        9 => operand.quantization = other.quantization,
        10 => {
            let quantization = &mut operand.quantization;
            if choices.below(2) == 0 {
                quantization.scale = f32::from_bits(number(quantization.scale.to_bits(), choices));
            } else {
                quantization.zero_point = number(quantization.zero_point as u32, choices) as i32;
            }
        }
        _ => *operand = other,
    }
}
