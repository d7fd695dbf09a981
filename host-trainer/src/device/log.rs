//! What a device logs.

use std::path::PathBuf;

/// What a device logged: defmt's frames as they came, without their texts, which stand in the image's ELF file and not in the device's memory.
///
/// `defmt-print -e IMAGE < FRAMES` shows them; so does the crate `defmt-decoder`, as the tests in `tests/qemu` do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The image's ELF file; empty if nothing was logged.
    pub image: PathBuf,
    /// The frames.
    pub frames: Vec<u8>,
}
