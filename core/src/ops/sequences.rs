//! Sequences in samples: where time is, and where each step of each sequence stands.

use crate::operand::Shape;
use crate::ops::operands::flag;
use crate::step::StepError;

/// Which dimension is time, and whether the states go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Time is `H` and the sequences of a sample are `W`; else the other way around.
    pub time_major: bool,
    /// The states are zero at the beginning of every sample; else they are what the sample before left.
    pub from_zero: bool,
}

impl Order {
    /// The attributes of a step.
    pub const fn attributes(self) -> [i32; 2] {
        [self.time_major as i32, self.from_zero as i32]
    }

    /// Reads the attributes 0 and 1.
    pub(in crate::ops) fn read(attributes: &[i32]) -> Result<Self, StepError> {
        Ok(Self { time_major: flag(attributes, 0)?, from_zero: flag(attributes, 1)? })
    }

    /// The sequences of a sample of this shape.
    pub(in crate::ops) fn sequences(self, shape: Shape) -> Sequences {
        let [_, h, w, _] = shape.dims();
        if self.time_major {
            Sequences { steps: h, count: w, step_rows: w, sequence_rows: 1 }
        } else {
            Sequences { steps: w, count: h, step_rows: 1, sequence_rows: w }
        }
    }
}

/// Where the steps of a sample's sequences stand, in rows of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Sequences {
    /// Steps of time.
    pub(in crate::ops) steps: usize,
    /// Sequences of a sample.
    pub(in crate::ops) count: usize,
    /// From one step to the next.
    pub(in crate::ops) step_rows: usize,
    /// From one sequence to the next.
    pub(in crate::ops) sequence_rows: usize,
}

impl Sequences {
    /// Rows of a sample.
    pub(in crate::ops) fn rows(self) -> usize {
        self.steps * self.count
    }

    pub(in crate::ops) fn row(self, sequence: usize, step: usize) -> usize {
        sequence * self.sequence_rows + step * self.step_rows
    }
}

/// Row `index` of a matrix with `columns` columns; empty if there is none.
pub(in crate::ops) fn row<T>(matrix: &[T], columns: usize, index: usize) -> &[T] {
    matrix.chunks_exact(columns.max(1)).nth(index).unwrap_or_default()
}

/// Row `index`, to write.
pub(in crate::ops) fn row_mut<T>(matrix: &mut [T], columns: usize, index: usize) -> &mut [T] {
    matrix.chunks_exact_mut(columns.max(1)).nth(index).unwrap_or_default()
}
