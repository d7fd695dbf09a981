//! Maximum pooling.

pub mod float;
mod index;
pub mod int8;

pub use super::pooling::PoolParams;
pub use float::{backward, forward};
pub use index::{backward_index, forward_index};
