//! The fixed-layout header at the start of a model file, readable in a `const`.

use super::LoadError;
use crate::ops::{Operator, OperatorSet};

/// The first four bytes of a model file.
pub const MAGIC: [u8; 4] = *b"SMDG";
/// Version of the format. A reader takes files of its own major version whose minor version is not above its own.
pub const VERSION: (u8, u8) = (1, 2);
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 112;
/// The alignment of the weights block, of each memory space's length and of the caller's memory, in bytes.
pub const ALIGNMENT: usize = 16;
/// First byte that the checksum covers: everything after the checksum itself.
pub const CHECKSUM_START: usize = 12;
/// In [`Header::initial_parameters`] and [`Header::initial_state`]: the space starts as zeros.
pub const ZEROS: u32 = u32::MAX;

/// Lengths of the memory spaces in bytes, each a multiple of [`ALIGNMENT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MemoryLengths {
    /// Trainable weights.
    pub parameter: u32,
    /// Optimizer moments, running statistics and the like.
    pub state: u32,
    /// Gradients.
    pub gradient: u32,
    /// One chunk's share of what the batch keeps.
    pub chunk: u32,
    /// Activations and scratch.
    pub arena: u32,
}

impl MemoryLengths {
    /// All of them together, with one chunk: the bytes that a [`Session`](crate::Session) needs. `None` if they do not
    /// fit 31 bits.
    pub const fn total(&self) -> Option<u32> {
        let Self { parameter, state, gradient, chunk, arena } = *self;
        let parts = [parameter, state, gradient, chunk, arena];
        let mut total: u64 = 0;
        let mut rest: &[u32] = &parts;
        while let [first, others @ ..] = rest {
            total += *first as u64;
            rest = others;
        }
        if total > i32::MAX as u64 { None } else { Some(total as u32) }
    }

    /// Whether there is no space but the arena.
    pub const fn arena_only(&self) -> bool {
        let Self { parameter, state, gradient, chunk, arena: _ } = *self;
        parameter == 0 && state == 0 && gradient == 0 && chunk == 0
    }
}

/// The header of a model file. `docs/model-format.md` has the layout byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Major and minor version of the format.
    pub version: (u8, u8),
    /// CRC-32C of all bytes from [`CHECKSUM_START`] to the end.
    pub checksum: u32,
    /// Length of the whole file.
    pub file_bytes: u32,
    /// Lengths of the memory spaces.
    pub memory: MemoryLengths,
    /// Length of the first input of the `infer` entry in bytes, 0 if there is none.
    pub input_bytes: u32,
    /// Length of the first output of the `infer` entry in bytes, 0 if there is none.
    pub output_bytes: u32,
    /// Where the metadata begins.
    pub metadata_offset: u32,
    /// Where the entries begin.
    pub entries_offset: u32,
    /// Where the steps begin.
    pub steps_offset: u32,
    /// Where the steps end.
    pub steps_end: u32,
    /// Where the weights block begins; a multiple of [`ALIGNMENT`]. It reaches to the end of the file.
    pub weights_offset: u32,
    /// Where in the weights block the first values of the parameters are, or [`ZEROS`].
    pub initial_parameters: u32,
    /// Where in the weights block the first values of the state are, or [`ZEROS`].
    pub initial_state: u32,
    /// Memory that the front end needs in bytes, 0 without one. Since version 1.1, reserved before.
    pub front_end_bytes: u32,
    /// The operators that the steps use, exactly.
    pub operators: OperatorSet,
}

impl Header {
    /// Reads the header, and checks nothing but that there is one, that its magic and version are right and that its reserved
    /// bytes are zero.
    ///
    /// # Errors
    /// [`LoadError::Truncated`], [`LoadError::WrongMagic`], [`LoadError::UnsupportedVersion`], [`LoadError::VersionWithoutNeed`], [`LoadError::Reserved`].
    pub const fn read(file: &[u8]) -> Result<Self, LoadError> {
        let Some(bytes) = file.first_chunk::<HEADER_BYTES>() else {
            return Err(LoadError::Truncated { expected: HEADER_BYTES, found: file.len() });
        };
        let (magic, mut rest) = take::<4>(bytes);
        if u32::from_le_bytes(magic) != u32::from_le_bytes(MAGIC) {
            return Err(LoadError::WrongMagic { found: magic });
        }
        let ([major, minor, spare @ ..], after) = take::<4>(rest);
        if major != VERSION.0 || minor > VERSION.1 {
            return Err(LoadError::UnsupportedVersion { found: (major, minor), expected: VERSION });
        }
        if u16::from_le_bytes(spare) != 0 {
            return Err(LoadError::Reserved { offset: 6 });
        }
        rest = after;
        let mut numbers = [0u32; 18];
        let mut slots: &mut [u32] = &mut numbers;
        while let [slot, others @ ..] = slots {
            let (value, after) = take::<4>(rest);
            *slot = u32::from_le_bytes(value);
            rest = after;
            slots = others;
        }
        let [
            checksum,
            file_bytes,
            parameter,
            state,
            gradient,
            chunk,
            arena,
            input_bytes,
            output_bytes,
            metadata_offset,
            entries_offset,
            steps_offset,
            weights_offset,
            initial_parameters,
            initial_state,
            steps_end,
            front_end_bytes,
            0,
        ] = numbers
        else {
            return Err(LoadError::Reserved { offset: 76 });
        };
        if minor == 0 && front_end_bytes != 0 {
            return Err(LoadError::Reserved { offset: 72 });
        }
        // The checksum begins behind the version: that is the lowest that has what the file has, so that no other passes for it. What else raises it is in the
        // metadata, and checked there.
        if minor != 0 && front_end_bytes == 0 {
            return Err(LoadError::VersionWithoutNeed { found: (major, minor), expected: (VERSION.0, 0) });
        }
        let mut sets = [0u64; 4];
        let mut slots: &mut [u64] = &mut sets;
        while let [slot, others @ ..] = slots {
            let (value, after) = take::<8>(rest);
            *slot = u64::from_le_bytes(value);
            rest = after;
            slots = others;
        }
        Ok(Self {
            version: (major, minor),
            checksum,
            file_bytes,
            memory: MemoryLengths { parameter, state, gradient, chunk, arena },
            input_bytes,
            output_bytes,
            metadata_offset,
            entries_offset,
            steps_offset,
            steps_end,
            weights_offset,
            initial_parameters,
            initial_state,
            front_end_bytes,
            operators: OperatorSet(sets),
        })
    }

    /// Whether there is an operator for each code in the set. If not, a newer version of this crate wrote the file.
    pub const fn has_known_operators(&self) -> bool {
        Operator::KNOWN.contains_all(self.operators)
    }

    /// The header's bytes.
    pub fn write(&self) -> [u8; HEADER_BYTES] {
        let MemoryLengths { parameter, state, gradient, chunk, arena } = self.memory;
        let numbers = [
            self.checksum,
            self.file_bytes,
            parameter,
            state,
            gradient,
            chunk,
            arena,
            self.input_bytes,
            self.output_bytes,
            self.metadata_offset,
            self.entries_offset,
            self.steps_offset,
            self.weights_offset,
            self.initial_parameters,
            self.initial_state,
            self.steps_end,
            self.front_end_bytes,
            0,
        ];
        let parts = MAGIC
            .into_iter()
            .chain([self.version.0, self.version.1, 0, 0])
            .chain(numbers.into_iter().flat_map(u32::to_le_bytes))
            .chain(self.operators.0.into_iter().flat_map(u64::to_le_bytes));
        let mut bytes = [0; HEADER_BYTES];
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = part;
        }
        bytes
    }
}

/// The first `N` bytes and the rest. Zeros where there are not enough, which the callers' lengths rule out.
const fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((first, rest)) => (*first, rest),
        None => ([0; N], &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips() {
        let header = Header {
            version: VERSION,
            checksum: 1,
            file_bytes: 2,
            memory: MemoryLengths { parameter: 3, state: 4, gradient: 5, chunk: 6, arena: 7 },
            input_bytes: 8,
            output_bytes: 9,
            metadata_offset: 10,
            entries_offset: 11,
            steps_offset: 12,
            steps_end: 13,
            weights_offset: 13,
            initial_parameters: 14,
            initial_state: ZEROS,
            front_end_bytes: 15,
            operators: OperatorSet::EMPTY.with(3).with(255),
        };
        assert_eq!(Header::read(&header.write()), Ok(header));
        assert!(!header.has_known_operators());
        let known = OperatorSet::EMPTY.with(Operator::GruI8 as u8);
        assert!(Header { operators: known, ..header }.has_known_operators());
    }

    #[test]
    fn memory_total_is_checked() {
        let lengths = MemoryLengths { parameter: 16, arena: 32, ..MemoryLengths::default() };
        assert_eq!(lengths.total(), Some(48));
        assert_eq!(MemoryLengths { parameter: u32::MAX, ..lengths }.total(), None);
    }
}
