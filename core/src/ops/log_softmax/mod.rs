//! The logarithm of softmax over the last dimension.

pub mod float;
pub mod int8;

pub use float::{backward, forward};
