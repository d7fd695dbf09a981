//! Fully connected layer.

mod float;
pub mod int8;

pub use float::{FullyConnected, forward, grad_input, grad_weights};
pub(super) use float::{check, check_grad_input, check_grad_weights, run, run_grad_input, run_grad_weights};
