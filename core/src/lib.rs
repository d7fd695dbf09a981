//! smidgen: neural networks that fit in a smidgen of memory.
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

#[cfg(any(feature = "std", test))]
extern crate std;

pub mod checksum;
pub mod geometry;
pub mod kernels;
mod memory;
pub mod model;
mod operand;
pub mod ops;
pub mod quantization;
mod session;
mod step;

pub use memory::{Aligned, Bytes, ChunkList, Chunks, Memory, Partials, Views, elements, elements_mut};
pub use model::{EntryKind, LoadError, Metadata, Model, Preprocessing};
pub use operand::{ElementType, Operand, Quantization, Shape, Space};
pub use ops::{AllOperators, CallError, InPlace, Operator, OperatorSet, Operators, Tensor};
pub use session::{Element, Observer, Session, SessionError};
pub use step::{MAX_ATTRIBUTES, MAX_READS, MAX_WRITES, Schedule, Step, StepError};
