//! Two-dimensional convolution.

mod float;
pub mod int8;

pub use float::{Conv2d, forward, grad_input, grad_weights};
