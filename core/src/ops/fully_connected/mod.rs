//! Fully connected layer.

pub mod double_pairs;
pub mod eights;
mod float;
pub mod fours;
pub mod int8;
#[cfg(test)]
mod packed_cases;
pub mod pairs;
pub mod vector_pairs;

pub use float::{FullyConnected, forward, grad_input, grad_weights};
