//! Writing a model file, into a buffer that the caller owns.

use bytemuck::{NoUninit, bytes_of, cast_slice};
use postcard::ser_flavors::{Flavor, Slice};
use serde::Serialize;

use super::entry::{EntryHead, EntryKind, MAX_ENTRY_OPERANDS, StepHead};
use super::header::{ALIGNMENT, CHECKSUM_START, HEADER_BYTES, Header, MemoryLengths, VERSION, ZEROS};
use super::metadata::Metadata;
use crate::checksum::crc32c;
use crate::operand::Operand;
use crate::ops::OperatorSet;
use crate::step::NewStep;

/// Everything that a model file holds.
#[derive(Clone, Copy, Debug)]
pub struct ModelParts<'a> {
    /// What the file says about itself.
    pub metadata: Metadata<'a>,
    /// The entries.
    pub entries: &'a [NewEntry<'a>],
    /// The steps of all entries.
    pub steps: &'a [NewStep],
    /// Lengths of the memory spaces, each a multiple of [`ALIGNMENT`].
    pub memory: MemoryLengths,
    /// The weights block. The initial values, if there are any, are part of it.
    pub weights: &'a [u8],
    /// Where in `weights` the first values of the parameters are; zeros without it.
    pub initial_parameters: Option<u32>,
    /// Where in `weights` the first values of the state are; zeros without it.
    pub initial_state: Option<u32>,
}

/// An entry to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// What it is for.
    pub kind: EntryKind,
    /// Index of its first step.
    pub first_step: u32,
    /// How many steps it has.
    pub step_count: u32,
    /// What the caller writes before a run.
    pub inputs: &'a [Operand],
    /// What the caller reads after a run.
    pub outputs: &'a [Operand],
}

/// Why a model file was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WriteError {
    /// The buffer is too small.
    BufferFull,
    /// The file would be longer than 2 GiB.
    TooLong,
    /// An entry has more inputs or outputs than a file can hold, or names steps that are not there.
    Entry {
        /// Index of the entry.
        entry: u32,
    },
}

impl core::fmt::Display for WriteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BufferFull => write!(f, "the buffer is too small for the model file"),
            Self::TooLong => write!(f, "a model file cannot be longer than 2 GiB"),
            Self::Entry { entry } => {
                write!(f, "entry {entry} has too many inputs or outputs, or names steps that are not there")
            }
        }
    }
}

impl core::error::Error for WriteError {}

/// Appends to the caller's buffer.
struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        let free = self.buffer.get_mut(self.length..).ok_or(WriteError::BufferFull)?;
        let written = postcard::serialize_with_flavor::<T, _, _>(value, Slice::new(free))
            .map_err(|_| WriteError::BufferFull)?;
        self.length += written.len();
        Ok(())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let end = self.length.checked_add(bytes.len()).ok_or(WriteError::TooLong)?;
        self.buffer.get_mut(self.length..end).ok_or(WriteError::BufferFull)?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    /// As they lie in memory, which is how they are read.
    fn put_records<T: NoUninit>(&mut self, records: &[T]) -> Result<(), WriteError> {
        self.put_bytes(cast_slice(records))
    }

    /// Zeros such that a block of `length` bytes, whose length stands before it, begins at a multiple of [`ALIGNMENT`].
    fn put_padding(&mut self, length: usize) -> Result<(), WriteError> {
        let length = u32::try_from(length).map_err(|_| WriteError::TooLong)?;
        let length_bytes =
            postcard::serialize_with_flavor(&length, Count(0)).map_err(|_| WriteError::TooLong)?;
        // One byte for the padding's own length.
        let unaligned = self.length + 1 + length_bytes as usize;
        let padding = unaligned.next_multiple_of(ALIGNMENT) - unaligned;
        let zeros = [0u8; ALIGNMENT];
        self.put(zeros.get(..padding).unwrap_or_default())?;
        self.put(&length)
    }

    fn offset(&self) -> Result<u32, WriteError> {
        i32::try_from(self.length).map(i32::cast_unsigned).map_err(|_| WriteError::TooLong)
    }
}

/// Writes the model file to the beginning of `buffer` and returns its length.
///
/// The same parts give the same bytes. The file is not validated: load it with
/// [`Model::from_bytes`](super::Model::from_bytes) to know that it is right.
///
/// # Errors
/// See [`WriteError`].
pub fn write(parts: &ModelParts<'_>, buffer: &mut [u8]) -> Result<usize, WriteError> {
    let mut writer = Writer { buffer, length: HEADER_BYTES };
    let metadata_offset = writer.offset()?;
    writer.put(&parts.metadata)?;
    let program = parts.entries.iter().map(entry_bytes).sum::<usize>()
        + parts.steps.iter().map(step_bytes).sum::<usize>();
    writer.put_padding(program)?;
    let entries_offset = writer.offset()?;
    write_entries(parts, &mut writer)?;
    let steps_offset = writer.offset()?;
    for step in parts.steps {
        write_step(step, &mut writer)?;
    }
    let steps_end = writer.offset()?;
    writer.put_padding(parts.weights.len())?;
    let weights_offset = writer.offset()?;
    writer.put_bytes(parts.weights)?;

    let bytes = |operands: &[Operand]| operands.first().and_then(Operand::bytes).unwrap_or(0) as u32;
    let infer = parts.entries.iter().find(|entry| entry.kind == EntryKind::Infer);
    let front_end_bytes = parts.metadata.preprocessing.front_end_bytes();
    // The oldest that says it all, so that older readers take what they can.
    let version = (VERSION.0, parts.metadata.preprocessing.minor_version());
    let mut header = Header {
        version,
        checksum: 0,
        file_bytes: writer.offset()?,
        memory: parts.memory,
        input_bytes: infer.map_or(0, |entry| bytes(entry.inputs)),
        output_bytes: infer.map_or(0, |entry| bytes(entry.outputs)),
        metadata_offset,
        entries_offset,
        steps_offset,
        steps_end,
        weights_offset,
        initial_parameters: parts.initial_parameters.unwrap_or(ZEROS),
        initial_state: parts.initial_state.unwrap_or(ZEROS),
        front_end_bytes,
        operators: parts.steps.iter().fold(OperatorSet::EMPTY, |set, step| set.with(step.operator)),
    };
    let file = writer.buffer.get_mut(..writer.length).ok_or(WriteError::BufferFull)?;
    for checksum in [false, true] {
        if checksum {
            header.checksum = crc32c(file.get(CHECKSUM_START..).unwrap_or_default());
        }
        let start = file.first_chunk_mut::<HEADER_BYTES>().ok_or(WriteError::BufferFull)?;
        *start = header.write();
    }
    Ok(writer.length)
}

fn entry_bytes(entry: &NewEntry<'_>) -> usize {
    size_of::<EntryHead>() + (entry.inputs.len() + entry.outputs.len()) * size_of::<Operand>()
}

fn step_bytes(step: &NewStep) -> usize {
    size_of::<StepHead>()
        + step.attributes.len() * size_of::<i32>()
        + (step.reads.len() + step.writes.len()) * size_of::<Operand>()
}

fn write_entries(parts: &ModelParts<'_>, writer: &mut Writer<'_>) -> Result<(), WriteError> {
    for (index, entry) in (0..).zip(parts.entries) {
        let error = WriteError::Entry { entry: index };
        let before = parts.steps.get(..entry.first_step as usize).ok_or(error)?;
        if entry.inputs.len() > MAX_ENTRY_OPERANDS || entry.outputs.len() > MAX_ENTRY_OPERANDS {
            return Err(error);
        }
        writer.put_bytes(bytes_of(&EntryHead {
            kind: entry.kind,
            inputs: entry.inputs.len() as u8,
            outputs: entry.outputs.len() as u8,
            first_step: entry.first_step,
            step_count: entry.step_count,
            steps_offset: before.iter().map(step_bytes).sum::<usize>() as u32,
        }))?;
        writer.put_records(entry.inputs)?;
        writer.put_records(entry.outputs)?;
    }
    Ok(())
}

fn write_step(step: &NewStep, writer: &mut Writer<'_>) -> Result<(), WriteError> {
    let NewStep { operator, schedule, attributes, reads, writes } = step;
    writer.put_bytes(bytes_of(&StepHead {
        operator: *operator,
        schedule: *schedule,
        attributes: attributes.len() as u16,
        reads: reads.len() as u16,
        writes: writes.len() as u16,
    }))?;
    writer.put_records(attributes)?;
    writer.put_records(reads)?;
    writer.put_records(writes)
}

/// Counts bytes instead of writing them.
struct Count(u32);

impl Flavor for Count {
    type Output = u32;

    fn try_push(&mut self, _byte: u8) -> postcard::Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u32> {
        Ok(self.0)
    }
}
