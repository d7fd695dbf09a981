//! Average pooling.

pub mod int8;
