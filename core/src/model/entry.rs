//! Entries and steps as they stand in the file, decoded one at a time.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::operand::Operand;
use crate::step::Step;

/// The most inputs, and the most outputs, of an entry.
pub const MAX_ENTRY_OPERANDS: usize = 4;

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is for. A file has at most one entry of each kind.
    pub kind: EntryKind,
    /// Index of its first step.
    pub first_step: u32,
    /// How many steps it has.
    pub step_count: u32,
    /// Where its first step begins, in bytes from the first step of the file.
    pub steps_offset: u32,
    /// What the caller writes before a run.
    pub inputs: Vec<Operand, MAX_ENTRY_OPERANDS>,
    /// What the caller reads after a run.
    pub outputs: Vec<Operand, MAX_ENTRY_OPERANDS>,
}

/// Records that follow one another in postcard's encoding.
#[derive(Clone, Debug)]
struct Records<'m> {
    bytes: &'m [u8],
    left: u32,
}

impl<'m> Records<'m> {
    /// The next record, or `Err` with the number of bytes that were left where one should have begun.
    fn next<T: Deserialize<'m>>(&mut self) -> Option<Result<T, usize>> {
        self.left = self.left.checked_sub(1)?;
        match postcard::take_from_bytes(self.bytes) {
            Ok((record, rest)) => {
                self.bytes = rest;
                Some(Ok(record))
            }
            Err(_) => {
                self.left = 0;
                Some(Err(self.bytes.len()))
            }
        }
    }
}

/// The entries of a model.
#[derive(Clone, Debug)]
pub struct Entries<'m>(Records<'m>);

impl<'m> Entries<'m> {
    /// From the bytes of the section: a count, then the entries.
    pub(super) fn new(section: &'m [u8]) -> Self {
        match postcard::take_from_bytes(section) {
            Ok((left, bytes)) => Self(Records { bytes, left }),
            Err(_) => Self(Records { bytes: section, left: 1 }),
        }
    }

    /// The bytes not yet read.
    pub(super) fn rest(&self) -> &'m [u8] {
        self.0.bytes
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Steps of a model, decoded one at a time. An item is `Err` if a record does not decode, which cannot happen in a validated
/// model; it carries the number of bytes that were left.
#[derive(Clone, Debug)]
pub struct Steps<'m>(Records<'m>);

impl<'m> Steps<'m> {
    pub(super) fn new(bytes: &'m [u8], left: u32) -> Self {
        Self(Records { bytes, left })
    }

    /// The bytes not yet read.
    pub(super) fn rest(&self) -> &'m [u8] {
        self.0.bytes
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}
