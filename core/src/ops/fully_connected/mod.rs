//! Fully connected layer.

pub mod int8;
