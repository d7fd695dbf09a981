//! Fully connected layer.

pub mod eights;
mod float;
pub mod fours;
pub mod int8;
pub mod pairs;

pub use float::{FullyConnected, forward, grad_input, grad_weights};
