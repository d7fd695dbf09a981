//! What can be wrong with a model file.

use crate::step::StepError;

/// Why a model file was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoadError {
    /// The file ends too early.
    Truncated {
        /// Bytes there should be.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// There are bytes after the end.
    TrailingBytes {
        /// Bytes there should be.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// It does not begin with [`MAGIC`](super::MAGIC): not a model file.
    WrongMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version of the format that this reader does not know.
    UnsupportedVersion {
        /// Major and minor version of the file.
        found: (u8, u8),
        /// What this reader knows.
        expected: (u8, u8),
    },
    /// A version that is higher than what the file needs.
    VersionWithoutNeed {
        /// Major and minor version of the file.
        found: (u8, u8),
        /// The lowest that has all that the file has.
        expected: (u8, u8),
    },
    /// Bytes of the header that this version reserves are not zero.
    Reserved {
        /// Offset in the file of the first of them.
        offset: usize,
    },
    /// The contents do not match the checksum: the file is damaged.
    WrongChecksum {
        /// What the header says.
        expected: u32,
        /// What the contents give.
        found: u32,
    },
    /// The weights block is not aligned, in the file or in memory.
    MisalignedBlock {
        /// Its offset in the file; if that is right, its address modulo 16.
        found: usize,
    },
    /// The sections do not follow one another, or a section does not end where the next begins.
    Section {
        /// Offset in the file.
        offset: usize,
    },
    /// Bytes that do not decode.
    Malformed {
        /// Offset in the file of the record that does not decode.
        offset: usize,
    },
    /// The preprocessing has a value out of its range, or the header has another length of the front end's memory or a version that does not have this
    /// preprocessing.
    Preprocessing,
    /// The memory spaces' lengths do not fit 31 bits together, or one is not a multiple of 16.
    MemoryLengths,
    /// The range of initial values does not lie in the weights block.
    InitialValues,
    /// The header's set of operators is not that of the steps.
    OperatorSet,
    /// A step that no operator of this session can run.
    UnknownOperator {
        /// Index of the step.
        step: u32,
        /// The operator's code.
        code: u8,
    },
    /// The header's lengths of input and output are not those of the `infer` entry.
    InferLengths,
    /// An entry names steps that are not there, or its kind stands twice.
    Entry {
        /// Index of the entry.
        entry: u8,
    },
    /// An operand does not lie in its memory space.
    OperandOutOfRange {
        /// Where the operand is.
        place: Place,
    },
    /// An operand's offset is not a multiple of its element's size.
    OperandMisaligned {
        /// Where the operand is.
        place: Place,
    },
    /// A dimension of zero.
    ZeroDimension {
        /// Where the operand is.
        place: Place,
    },
    /// More elements than 31 bits count.
    ShapeOverflow {
        /// Where the operand is.
        place: Place,
    },
    /// A step writes where it must not: into constants, into what other chunks share, or into a chunk from a step that
    /// runs once.
    ForbiddenWrite {
        /// Where the operand is.
        place: Place,
    },
    /// A step that runs once reads a chunk's memory, and its operator does not reduce chunks.
    ForbiddenRead {
        /// Where the operand is.
        place: Place,
    },
    /// A step writes over what it reads, or over its other writes.
    OverlappingWrite {
        /// Where the write is.
        place: Place,
    },
    /// A stride, dilation or window dimension of zero or less.
    ZeroStride {
        /// Index of the step.
        step: u32,
        /// Index of the attribute.
        attribute: u8,
    },
    /// A quantization parameter is missing or out of range.
    BadQuantization {
        /// Where the operand is.
        place: Place,
    },
    /// Something else is wrong with a step.
    Step {
        /// Index of the step.
        step: u32,
        /// What its operator says.
        error: StepError,
    },
}

/// Where an operand stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Place {
    /// Among the operands of a step, reads first, then writes.
    Step {
        /// Index of the step.
        step: u32,
        /// Index of the operand.
        operand: u8,
    },
    /// Among the inputs and outputs of an entry, inputs first.
    Entry {
        /// Index of the entry.
        entry: u8,
        /// Index of the operand.
        operand: u8,
    },
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Step { step, operand } => write!(f, "operand {operand} of step {step}"),
            Self::Entry { entry, operand } => write!(f, "operand {operand} of entry {entry}"),
        }
    }
}

impl core::fmt::Display for LoadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Truncated { expected, found } => {
                write!(f, "the file ends after {found} bytes, expected {expected}")
            }
            Self::TrailingBytes { expected, found } => {
                write!(f, "the file has {found} bytes, but its model ends after {expected}")
            }
            Self::WrongMagic { found } => {
                write!(
                    f,
                    "not a model file: it begins with {found:02x?}, expected {:02x?} (\"SMDG\")",
                    super::MAGIC
                )
            }
            Self::UnsupportedVersion { found, expected } => write!(
                f,
                "format version {}.{} is not supported, this reader knows {}.0 to {}.{}",
                found.0, found.1, expected.0, expected.0, expected.1
            ),
            Self::VersionWithoutNeed { found, expected } => write!(
                f,
                "format version {}.{}, but nothing in the file needs more than {}.{}: the file is damaged",
                found.0, found.1, expected.0, expected.1
            ),
            Self::Reserved { offset } => write!(f, "the reserved bytes at byte {offset} are not zero"),
            Self::WrongChecksum { expected, found } => {
                write!(f, "damaged: the checksum is {found:#010x}, the header says {expected:#010x}")
            }
            Self::MisalignedBlock { found } => {
                write!(f, "the weights block is not at a multiple of 16 bytes (found at {found})")
            }
            Self::Section { offset } => write!(f, "the sections do not join at byte {offset}"),
            Self::Malformed { offset } => write!(f, "the record at byte {offset} does not decode"),
            Self::Preprocessing => {
                write!(
                    f,
                    "the front end has a value out of its range, or needs other memory than the header says"
                )
            }
            Self::MemoryLengths => {
                write!(f, "the memory spaces' lengths are not multiples of 16 below 2 GiB in all")
            }
            Self::InitialValues => write!(f, "the initial values do not lie in the weights block"),
            Self::OperatorSet => write!(f, "the header's set of operators is not that of the steps"),
            Self::UnknownOperator { step, code } => {
                write!(f, "step {step} has operator code {code}, which is unknown or not linked")
            }
            Self::InferLengths => {
                write!(f, "the header's lengths of input and output are not those of the entry Infer")
            }
            Self::Entry { entry } => {
                write!(f, "entry {entry} stands twice or names steps that are not there")
            }
            Self::OperandOutOfRange { place } => write!(f, "{place} does not lie in its memory space"),
            Self::OperandMisaligned { place } => write!(f, "{place} is not aligned to its elements"),
            Self::ZeroDimension { place } => write!(f, "{place} has a dimension of zero"),
            Self::ShapeOverflow { place } => write!(f, "{place} has more than 2^31 - 1 elements"),
            Self::ForbiddenWrite { place } => write!(f, "{place} lies where its step must not write"),
            Self::ForbiddenRead { place } => {
                write!(f, "{place} is a chunk's, but its step runs once for the batch")
            }
            Self::OverlappingWrite { place } => {
                write!(f, "{place} overlaps another operand more than the operator allows")
            }
            Self::ZeroStride { step, attribute } => {
                write!(
                    f,
                    "attribute {attribute} of step {step}, a window, stride or dilation, is not positive"
                )
            }
            Self::BadQuantization { place } => {
                write!(f, "{place} has a missing or invalid quantization parameter")
            }
            Self::Step { step, error } => write!(f, "step {step}: {error}"),
        }
    }
}

impl core::error::Error for LoadError {}
