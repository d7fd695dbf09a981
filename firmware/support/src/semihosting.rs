//! Arm's semihosting: files of the host, and leaving the emulator with an exit code.
//!
//! Source: Arm, *Semihosting for `AArch32` and `AArch64`*. Without an emulator or a debugger attached, the trap is a fault.

use core::arch::asm;

/// A file of the host.
#[derive(Clone, Copy, Debug)]
pub struct File(u32);

/// A file could not be opened, read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileError;

/// How to open a file.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Mode {
    /// `rb`.
    Read = 1,
    /// `wb`.
    Write = 5,
    /// `ab`.
    Append = 9,
}

const SYS_OPEN: u32 = 0x01;
const SYS_WRITE: u32 = 0x05;
const SYS_READ: u32 = 0x06;
const SYS_EXIT_EXTENDED: u32 = 0x20;
const APPLICATION_EXIT: u32 = 0x2_0026;

/// # Safety
/// `parameters` are what `operation` expects; a pointer among them is valid for its length, and for writes if it is written.
unsafe fn call<const N: usize>(operation: u32, parameters: &[u32; N]) -> u32 {
    let result;
    // SAFETY: the trap reads the block that r1 points to and what the block points to, which the caller vouches for. It changes no
    // register but r0.
    unsafe {
        asm!(
            "bkpt #0xab",
            inout("r0") operation => result,
            in("r1") parameters.as_ptr(),
            options(nostack, preserves_flags),
        );
    }
    result
}

impl File {
    /// Opens a file in the emulator's working directory.
    ///
    /// # Errors
    /// If the host refuses, or the name is longer than 31 bytes.
    pub fn open(name: &str, mode: Mode) -> Result<Self, FileError> {
        let mut terminated = [0u8; 32];
        let (place, end) = terminated.split_at_mut_checked(name.len()).ok_or(FileError)?;
        if end.is_empty() {
            return Err(FileError);
        }
        place.copy_from_slice(name.as_bytes());
        // SAFETY: name, mode, length of the name.
        let handle = unsafe { call(SYS_OPEN, &[terminated.as_ptr() as u32, mode as u32, name.len() as u32]) };
        if handle == u32::MAX { Err(FileError) } else { Ok(Self(handle)) }
    }

    /// The host's standard error.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn standard_error() -> Result<Self, FileError> {
        Self::open(":tt", Mode::Append)
    }

    /// Reads until `bytes` is full or the file ends, and returns how many bytes were read.
    pub fn read(self, bytes: &mut [u8]) -> usize {
        // SAFETY: handle, where to read to, length. The result is the number of bytes not read.
        let left = unsafe { call(SYS_READ, &[self.0, bytes.as_mut_ptr() as u32, bytes.len() as u32]) };
        bytes.len().saturating_sub(left as usize)
    }

    /// Reads `bytes.len()` bytes.
    ///
    /// # Errors
    /// If the file ends before.
    pub fn read_exact(self, bytes: &mut [u8]) -> Result<(), FileError> {
        if self.read(bytes) == bytes.len() { Ok(()) } else { Err(FileError) }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// If the host cannot.
    pub fn write(self, bytes: &[u8]) -> Result<(), FileError> {
        // SAFETY: handle, what to write, length. The result is the number of bytes not written.
        let left = unsafe { call(SYS_WRITE, &[self.0, bytes.as_ptr() as u32, bytes.len() as u32]) };
        if left == 0 { Ok(()) } else { Err(FileError) }
    }
}

/// Leaves the emulator with an exit code.
pub fn exit(code: u32) -> ! {
    // SAFETY: reason and code.
    unsafe { call(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, code]) };
    loop {
        cortex_m::asm::nop();
    }
}
