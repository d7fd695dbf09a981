//! Models on emulated microcontrollers: the same bits as on the host, counts that repeat, failures that are seen.

mod dead_channels;
mod failures;
mod image;
mod kernels;
mod layouts;
mod listening;
mod models;
mod motion;
mod parity;
mod recordings;
mod update;

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
