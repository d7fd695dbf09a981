//! Learning on the device: the same bits as on the host, in the memory that the file says, and never with a number that is none.

mod digits;
mod errors;
mod memory;
mod models;
mod moons;
mod not_finite;
mod parity;
mod speaker;

use smidgen_trainer::device::{DeviceError, Target, check};

/// Whether the emulator is there. Without it a test cannot run: it says so, and fails where everything has to run (`CI=true`).
fn emulator(target: Target) -> bool {
    match check(target) {
        Ok(()) => true,
        Err(error @ DeviceError::QemuMissing) if std::env::var("CI").as_deref() != Ok("true") => {
            eprintln!("SKIPPED, this test did not run: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}
