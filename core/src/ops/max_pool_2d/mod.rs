//! Maximum pooling.

pub mod int8;
