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

pub use crate::ops::sequences::Order;
pub use table::{sigmoid_q15, tanh_q15};

/// Input, forget, cell and output gate.
pub const GATES: usize = 4;
