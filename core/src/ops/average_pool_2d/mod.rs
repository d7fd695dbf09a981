//! Average pooling.

pub mod band;
pub mod float;
pub mod int8;

pub use super::pooling::PoolParams;
pub use float::{backward, forward};
