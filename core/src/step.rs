//! A step: one operator with its attributes, and the operands it reads and writes.

use bytemuck::{CheckedBitPattern, NoUninit};
use heapless::Vec;

use crate::operand::Operand;

/// The most attributes a step can have.
pub const MAX_ATTRIBUTES: usize = 16;
/// The most operands a step can read.
pub const MAX_READS: usize = 6;
/// The most operands a step can write.
pub const MAX_WRITES: usize = 4;

/// When a step runs, if the batch is cut into chunks.
///
/// Neighbouring steps of one schedule form a *phase*. Chunks of a phase may run side by side; all of them end before the
/// next phase begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, CheckedBitPattern, NoUninit)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Schedule {
    /// Once for each chunk. Writes only [`Space::Chunk`](crate::Space::Chunk) and [`Space::Arena`](crate::Space::Arena).
    PerChunk = 0,
    /// Once for the whole batch. Reads of [`Space::Chunk`](crate::Space::Chunk) see every chunk's instance.
    Once = 1,
}

/// One step of a program, the same uniform record for every operator.
///
/// It is a view of the model file: nothing is decoded or copied to run it. The operator reads its attributes through its own
/// typed view (`docs/operators.md` lists them), so that reading costs the same few instructions and the same flash however many
/// operators there are. [`NewStep`] is one that owns what it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Step<'a> {
    /// Code of the operator, see [`Operator`](crate::Operator).
    pub operator: u8,
    /// When it runs.
    pub schedule: Schedule,
    /// The operator's parameters.
    pub attributes: &'a [i32],
    /// What it reads.
    pub reads: &'a [Operand],
    /// What it writes. An operand that is updated in place stands here only.
    pub writes: &'a [Operand],
}

/// Attributes, reads and writes of a step.
pub(crate) type StepParts<'a, const A: usize, const R: usize, const W: usize> =
    (&'a [i32; A], &'a [Operand; R], &'a [Operand; W]);

impl<'a> Step<'a> {
    /// The operands read, if there are exactly `R`.
    pub fn reads<const R: usize>(&self) -> Result<&'a [Operand; R], StepError> {
        let found = self.reads.len();
        self.reads.try_into().map_err(|_| StepError::ReadCount { expected: R as u8, found: found as u8 })
    }

    /// The operands written, if there are exactly `W`.
    pub fn writes<const W: usize>(&self) -> Result<&'a [Operand; W], StepError> {
        let found = self.writes.len();
        self.writes.try_into().map_err(|_| StepError::WriteCount { expected: W as u8, found: found as u8 })
    }

    /// The attributes, if there are exactly `A`.
    pub fn attributes<const A: usize>(&self) -> Result<&'a [i32; A], StepError> {
        let found = self.attributes.len();
        let error = |_| StepError::AttributeCount { expected: A as u8, found: found as u8 };
        self.attributes.try_into().map_err(error)
    }

    /// Attributes, reads and writes of a step that has been checked. Of any other an error that does not say what is wrong with it, which takes less code.
    ///
    /// # Errors
    /// [`StepError::Memory`] if there are not exactly so many.
    #[inline(always)]
    pub(crate) fn parts<const A: usize, const R: usize, const W: usize>(
        &self,
    ) -> Result<StepParts<'a, A, R, W>, StepError> {
        match (self.attributes.try_into(), self.reads.try_into(), self.writes.try_into()) {
            (Ok(attributes), Ok(reads), Ok(writes)) => Ok((attributes, reads, writes)),
            _ => Err(StepError::Memory),
        }
    }

    /// Everything that it reads, then everything that it writes: operands are counted so in errors.
    pub fn operands(&self) -> impl Iterator<Item = &'a Operand> + use<'a> {
        self.reads.iter().chain(self.writes)
    }
}

/// A step that owns what it holds: to be written to a model file, or checked and run without one.
#[derive(Clone, Debug, PartialEq)]
pub struct NewStep {
    /// As [`Step::operator`].
    pub operator: u8,
    /// As [`Step::schedule`].
    pub schedule: Schedule,
    /// As [`Step::attributes`].
    pub attributes: Vec<i32, MAX_ATTRIBUTES>,
    /// As [`Step::reads`].
    pub reads: Vec<Operand, MAX_READS>,
    /// As [`Step::writes`].
    pub writes: Vec<Operand, MAX_WRITES>,
}

impl NewStep {
    /// The step.
    pub fn step(&self) -> Step<'_> {
        let Self { operator, schedule, attributes, reads, writes } = self;
        Step { operator: *operator, schedule: *schedule, attributes, reads, writes }
    }
}

impl From<Step<'_>> for NewStep {
    /// A copy. Of more than a step can have, what is too much is left out.
    fn from(step: Step<'_>) -> Self {
        Self {
            operator: step.operator,
            schedule: step.schedule,
            attributes: step.attributes.iter().copied().take(MAX_ATTRIBUTES).collect(),
            reads: step.reads.iter().copied().take(MAX_READS).collect(),
            writes: step.writes.iter().copied().take(MAX_WRITES).collect(),
        }
    }
}

/// What is wrong with a step, as its operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StepError {
    /// No operator has this code, or this session was built without it.
    UnknownOperator {
        /// The code.
        code: u8,
    },
    /// A wrong number of operands read.
    ReadCount {
        /// What the operator takes.
        expected: u8,
        /// What the step has.
        found: u8,
    },
    /// A wrong number of operands written.
    WriteCount {
        /// What the operator takes.
        expected: u8,
        /// What the step has.
        found: u8,
    },
    /// A wrong number of attributes.
    AttributeCount {
        /// What the operator takes.
        expected: u8,
        /// What the step has.
        found: u8,
    },
    /// An attribute out of its range.
    Attribute {
        /// Its index.
        index: u8,
        /// Its value.
        found: i32,
    },
    /// A stride, dilation or window dimension of zero (or less).
    ZeroWindow {
        /// Index of the attribute.
        index: u8,
    },
    /// An operand has the wrong element type. Operands are counted reads first, then writes.
    ElementType {
        /// Index of the operand.
        operand: u8,
    },
    /// An operand's shape does not follow from the others. Operands are counted reads first, then writes.
    Shape {
        /// Index of the operand.
        operand: u8,
    },
    /// An operand lies in a memory space that its operator does not take there. Operands are counted reads first, then writes.
    Space {
        /// Index of the operand.
        operand: u8,
    },
    /// A quantization parameter is missing or out of range: scale not positive and finite, zero point outside
    /// -128..=127, multiplier or shift outside what [`requantize`](crate::quantization::requantize) takes.
    Quantization {
        /// Index of the operand.
        operand: u8,
    },
    /// A constant table has an entry that is out of its range.
    Table {
        /// Index of the operand.
        operand: u8,
    },
    /// An accumulator of this step could exceed 32 bits.
    Accumulator {
        /// The output channel.
        channel: u32,
    },
    /// What the step writes overlaps what it reads or writes more than its operator allows.
    Overlap {
        /// Index of the write.
        write: u8,
    },
    /// The operator runs once for the batch and the step once per chunk.
    Schedule,
    /// The memory given is smaller than the operands need.
    Memory,
}

impl core::fmt::Display for StepError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::UnknownOperator { code } => write!(f, "no operator has code {code}"),
            Self::ReadCount { expected, found } => {
                write!(f, "the operator reads {expected} operands, the step has {found}")
            }
            Self::WriteCount { expected, found } => {
                write!(f, "the operator writes {expected} operands, the step has {found}")
            }
            Self::AttributeCount { expected, found } => {
                write!(f, "the operator has {expected} attributes, the step has {found}")
            }
            Self::Attribute { index, found } => write!(f, "attribute {index} has the invalid value {found}"),
            Self::ZeroWindow { index } => {
                write!(f, "attribute {index}, a window, stride or dilation, is not positive")
            }
            Self::ElementType { operand } => write!(f, "operand {operand} has the wrong element type"),
            Self::Shape { operand } => {
                write!(f, "the shape of operand {operand} does not follow from the others")
            }
            Self::Space { operand } => {
                write!(f, "operand {operand} lies in a memory space it may not lie in")
            }
            Self::Quantization { operand } => {
                write!(f, "operand {operand} has a missing or invalid quantization parameter")
            }
            Self::Table { operand } => {
                write!(f, "the table that is operand {operand} has an entry out of its range")
            }
            Self::Accumulator { channel } => {
                write!(f, "the accumulator of output channel {channel} could exceed 32 bits")
            }
            Self::Overlap { write } => {
                write!(f, "write {write} overlaps another operand more than the operator allows")
            }
            Self::Schedule => write!(f, "the operator runs once for the batch, the step once per chunk"),
            Self::Memory => write!(f, "the memory given is smaller than the operands need"),
        }
    }
}

impl core::error::Error for StepError {}
