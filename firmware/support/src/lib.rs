//! What the images share: memory, clock, stack, faults, the host's files, logs.
//!
//! An image is a thin crate on top: `qemu-runner` runs any model file that the host lays beside the emulator, `qemu-embedded` has one
//! built in. A panic and a fault leave the emulator with a failing exit code, from every image that uses this crate.

#![no_std]

pub mod clock;
mod fault;
pub mod files;
#[cfg(feature = "defmt")]
mod log;
pub mod memory;
pub mod semihosting;
pub mod stack;

use smidgen_protocol::machine::{self, Machine};

/// The machine that this image is for.
pub const MACHINE: &Machine = match machine::find(env!("SMIDGEN_MACHINE")) {
    Some(machine) => machine,
    None => panic!("the build script checked the name"),
};
