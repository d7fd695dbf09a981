//! Depthwise two-dimensional convolution: each output channel sees one input channel.

mod float;
pub mod int8;
pub mod quads;
pub mod sixteens;
pub mod taps;

pub use float::{DepthwiseConv2d, forward, grad_input, grad_weights};
