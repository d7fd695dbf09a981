//! Entries and steps as they stand in the file, read in place one at a time.
//!
//! A record is a head of fixed layout and what the head counts: a step's attributes and operands, an entry's operands. All of it lies at
//! multiples of four bytes, least significant byte first, so that it is used where it is. Reading a step is a few bounds checks.

use bytemuck::checked;
use bytemuck::{CheckedBitPattern, NoUninit};
use serde::{Deserialize, Serialize};

use crate::operand::Operand;
use crate::step::{Schedule, Step};

#[cfg(target_endian = "big")]
compile_error!("a model file is read in place, and its numbers have the least significant byte first");

/// The most inputs, and the most outputs, of an entry.
pub const MAX_ENTRY_OPERANDS: usize = 4;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, CheckedBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u16)]
pub enum EntryKind {
    /// From an input to the network's output.
    Infer = 0,
    /// From inputs and labels to gradients.
    Train = 1,
    /// From gradients to new parameters.
    Update = 2,
    /// From inputs and labels to a loss, without gradients.
    Evaluate = 3,
}

/// A named range of steps with its inputs and outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'m> {
    /// What it is for. A file has at most one entry of each kind.
    pub kind: EntryKind,
    /// Index of its first step.
    pub first_step: u32,
    /// How many steps it has.
    pub step_count: u32,
    /// Where its first step begins, in bytes from the first step of the file.
    pub steps_offset: u32,
    /// What the caller writes before a run.
    pub inputs: &'m [Operand],
    /// What the caller reads after a run.
    pub outputs: &'m [Operand],
}

/// What stands before an entry's operands.
#[derive(Clone, Copy, CheckedBitPattern, NoUninit)]
#[repr(C)]
pub(super) struct EntryHead {
    pub(super) kind: EntryKind,
    pub(super) inputs: u8,
    pub(super) outputs: u8,
    pub(super) first_step: u32,
    pub(super) step_count: u32,
    pub(super) steps_offset: u32,
}

/// What stands before a step's attributes, reads and writes.
#[derive(Clone, Copy, CheckedBitPattern, NoUninit)]
#[repr(C)]
pub(super) struct StepHead {
    pub(super) operator: u8,
    pub(super) schedule: Schedule,
    pub(super) attributes: u16,
    pub(super) reads: u16,
    pub(super) writes: u16,
}

/// The first `count` records of type `T` in `bytes`, and the rest; `None` if there are not so many, one of them has a bit pattern that
/// its type has not, or they are not aligned.
#[inline]
fn take<T: CheckedBitPattern>(bytes: &[u8], count: usize) -> Option<(&[T], &[u8])> {
    let (records, rest) = bytes.split_at_checked(count.checked_mul(size_of::<T>())?)?;
    Some((checked::try_cast_slice(records).ok()?, rest))
}

/// The first record of type `T` in `bytes`, and the rest.
#[inline]
fn take_one<T: CheckedBitPattern>(bytes: &[u8]) -> Option<(&T, &[u8])> {
    match take(bytes, 1)? {
        ([record], rest) => Some((record, rest)),
        _ => None,
    }
}

impl<'m> Entry<'m> {
    fn read(bytes: &'m [u8]) -> Option<(Self, &'m [u8])> {
        let (&EntryHead { kind, inputs, outputs, first_step, step_count, steps_offset }, rest) =
            take_one(bytes)?;
        let (inputs, rest) = take(rest, usize::from(inputs))?;
        let (outputs, rest) = take(rest, usize::from(outputs))?;
        Some((Self { kind, first_step, step_count, steps_offset, inputs, outputs }, rest))
    }
}

impl<'m> Step<'m> {
    fn read(bytes: &'m [u8]) -> Option<(Self, &'m [u8])> {
        let (&StepHead { operator, schedule, attributes, reads, writes }, rest) = take_one(bytes)?;
        let (attributes, rest) = take(rest, usize::from(attributes))?;
        let reads = usize::from(reads);
        let (operands, rest) = take(rest, reads + usize::from(writes))?;
        let (reads, writes) = operands.split_at_checked(reads)?;
        Some((Self { operator, schedule, attributes, reads, writes }, rest))
    }
}

/// The entries of a model.
#[derive(Clone, Debug)]
pub struct Entries<'m>(&'m [u8]);

impl<'m> Entries<'m> {
    /// From the bytes of the section.
    pub(super) fn new(section: &'m [u8]) -> Self {
        Self(section)
    }
}

impl<'m> Iterator for Entries<'m> {
    type Item = Result<Entry<'m>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((entry, rest)) = Entry::read(self.0) else {
            return Some(Err(core::mem::take(&mut self.0).len()));
        };
        self.0 = rest;
        Some(Ok(entry))
    }
}

/// Steps of a model, read in place one at a time. An item is `Err` if a record is malformed, which cannot happen in a validated
/// model; it carries the number of bytes that were left, and is the last.
#[derive(Clone, Debug)]
pub struct Steps<'m> {
    bytes: &'m [u8],
    left: u32,
}

impl<'m> Steps<'m> {
    /// The first `left` steps in `bytes`, which lie at a multiple of four.
    pub fn new(bytes: &'m [u8], left: u32) -> Self {
        Self { bytes, left }
    }

    /// The bytes not yet read.
    pub(super) fn rest(&self) -> &'m [u8] {
        self.bytes
    }
}

impl<'m> Iterator for Steps<'m> {
    type Item = Result<Step<'m>, usize>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if let Some((step, rest)) = Step::read(self.bytes) {
            self.bytes = rest;
            Some(Ok(step))
        } else {
            self.left = 0;
            Some(Err(self.bytes.len()))
        }
    }
}
