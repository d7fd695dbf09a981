//! Convolution.

pub mod int8;
