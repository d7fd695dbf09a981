//! Training: programs run over chunks of a batch on all cores, the loop around them, and what it writes.

mod buffer;
mod executor;
mod team;

pub use buffer::AlignedBytes;
pub use executor::{Driver, Executor, ExecutorError, Feed, LossSum};
