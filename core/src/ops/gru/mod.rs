//! A gated recurrent unit over a sequence (Cho et al. 2014, `arXiv:1406.1078`), as `PyTorch`'s `GRU` has it: the reset gate acts on what the recurrent weights gave.
//!
//! With what the inputs give to the gates, `x_r`, `x_z` and `x_n` (a fully connected layer before this one), and the *hidden state* `h`, for each step of time
//!
//! ```text
//! r = sigmoid(x_r + R_r h + b_r)          reset gate
//! z = sigmoid(x_z + R_z h + b_z)          update gate
//! n =    tanh(x_n + r * (R_n h + b_n))    new state
//! h = n + z * (h - n)                     which is the output of this step
//! ```
//!
//! Wherever the three gates stand in one tensor, their order is this one. Time and sequences are as in [`lstm`](super::lstm).

pub mod float;
pub mod gradient;
pub mod int8;
#[cfg(test)]
mod tests;

pub use crate::ops::sequences::Order;

/// Reset gate, update gate and new state.
pub const GATES: usize = 3;
