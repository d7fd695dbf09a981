//! Softmax over the last dimension.

pub mod float;

pub use float::{backward, forward};
