//! Softmax over the last dimension.

pub(in crate::ops) mod fixed_point;
pub mod float;
pub mod int8;

pub use float::{backward, forward};
