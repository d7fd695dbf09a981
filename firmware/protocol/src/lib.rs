//! What a device and its host say to each other.
//!
//! The host lays files beside the emulator: a [`Request`], a model, and the inputs. The device carries the request out with
//! [`job::run`] and writes two more: the outputs, and a list of [`Record`]s. Everything is postcard; [`files`] has the names.
//! [`machine`] is the table of the machines, from which image, emulator and clock are set up.
//!
//! The host runs the very same [`job::run`] on itself, so that what host and device report can be compared record by record.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "job")]
pub mod job;
pub mod machine;
#[cfg(feature = "job")]
mod message;
pub mod moons;

#[cfg(feature = "job")]
pub use message::{CALIBRATION, Job, MAX_ENTRIES, MAX_TRACED, PROTOCOL, Record, Request, Run, exit, files};
