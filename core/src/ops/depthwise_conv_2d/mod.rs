//! Depthwise convolution.

pub mod int8;
