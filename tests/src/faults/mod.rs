//! Bad model files: made, loaded, and run if they load.
//!
//! The fault tests and the fuzz target are the same code with other inputs: [`Parts`] is a model file taken apart, to be changed
//! and written again; [`sample`] makes valid files; [`run_file`] loads a file and, if it is a model, runs all of it.

mod drive;
mod fuzz;
mod idx;
mod mutate;
mod parts;
pub mod sample;
mod single;
mod tflite;

pub use drive::{MEMORY_BYTES, Outcome, Scratch, run_file};
pub use fuzz::{fuzz_model, seed_of};
pub use idx::{fuzz_idx, idx_seeds};
pub use mutate::{Choices, FromBytes, Seeded, mutate};
pub use parts::{OwnedEntry, Parts, edit_header, repair};
pub use smidgen_trainer::buffer::AlignedBytes;
pub use tflite::{TfliteOutcome, convert_tflite, fuzz_tflite, mutate_tflite, tflite_seeds};
