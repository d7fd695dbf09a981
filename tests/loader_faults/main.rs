//! The loader against bad files: an error of its own for each class of fault, and for whatever else stands in a file, an error or
//! a run within bounds.

mod any_byte;
mod file;
mod memory;
mod mutations;
mod steps;

use smidgen::AllOperators;
use smidgen::model::{LoadError, Model, Place};

use smidgen_tests::faults::Parts;

/// Loads a file, and gives the error if it is not a model.
fn load(file: &[u8]) -> Result<(), LoadError> {
    Model::<AllOperators>::from_bytes(file).map(drop)
}

/// Changes the parts of a model, writes and loads them.
fn load_changed(mut parts: Parts, change: impl FnOnce(&mut Parts)) -> Result<(), LoadError> {
    change(&mut parts);
    load(&parts.write())
}

fn in_step(step: u32, operand: u8) -> Place {
    Place::Step { step, operand }
}

fn in_entry(entry: u8, operand: u8) -> Place {
    Place::Entry { entry, operand }
}
