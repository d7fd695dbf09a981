//! Data movement: elements of any type that change their place and nothing else.
//!
//! TensorFlow Lite's `CONCATENATION`, `SPLIT`, `SLICE`, `STRIDED_SLICE`, `PAD`, `TRANSPOSE`, `PACK`, `DEPTH_TO_SPACE` and their
//! like are all made of three operators: [`copy`], [`fill`] and [`gather`]. Several steps may write parts of one output.

pub mod copy;
pub mod fill;
pub mod gather;
