//! A long short-term memory over a sequence (Hochreiter and Schmidhuber 1997), TensorFlow Lite's `UNIDIRECTIONAL_SEQUENCE_LSTM` without
//! peepholes, projection and layer normalization.
//!
//! With the input `x`, the *hidden state* `h` and the *cell state* `c`, for each step of time
//!
//! ```text
//! i = sigmoid(W_i x + R_i h + b_i)       input gate
//! f = sigmoid(W_f x + R_f h + b_f)       forget gate
//! g =    tanh(W_g x + R_g h + b_g)       cell gate
//! o = sigmoid(W_o x + R_o h + b_o)       output gate
//! c = f * c + i * g                      clamped to -cell_clip..=cell_clip, if that is not 0
//! h = o * tanh(c)                        which is the output of this step
//! ```
//!
//! Wherever the four gates stand in one tensor, their order is this one.
//!
//! A sample `[H, W, C]` is a batch of sequences: time is `W` and each row of `H` is a sequence, or, time-major, the other way around. The states are
//! `[1, 1, sequences, units]`; they go on from run to run, or begin at zero with every sample.

pub mod float;
pub mod gradient;
pub mod int8;
mod table;
#[cfg(test)]
mod tests;

use crate::operand::Shape;
use crate::ops::operands::flag;
use crate::step::StepError;

pub use table::{sigmoid_q15, tanh_q15};

/// Input, forget, cell and output gate.
pub const GATES: usize = 4;

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
    fn read(attributes: &[i32]) -> Result<Self, StepError> {
        Ok(Self { time_major: flag(attributes, 0)?, from_zero: flag(attributes, 1)? })
    }

    /// The sequences of a sample of this shape.
    fn sequences(self, shape: Shape) -> Sequences {
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
struct Sequences {
    /// Steps of time.
    steps: usize,
    /// Sequences of a sample.
    count: usize,
    /// From one step to the next.
    step_rows: usize,
    /// From one sequence to the next.
    sequence_rows: usize,
}

impl Sequences {
    /// Rows of a sample.
    fn rows(self) -> usize {
        self.steps * self.count
    }

    fn row(self, sequence: usize, step: usize) -> usize {
        sequence * self.sequence_rows + step * self.step_rows
    }
}

/// Row `index` of a matrix with `columns` columns; empty if there is none.
fn row<T>(matrix: &[T], columns: usize, index: usize) -> &[T] {
    matrix.chunks_exact(columns.max(1)).nth(index).unwrap_or_default()
}

/// Row `index`, to write.
fn row_mut<T>(matrix: &mut [T], columns: usize, index: usize) -> &mut [T] {
    matrix.chunks_exact_mut(columns.max(1)).nth(index).unwrap_or_default()
}
