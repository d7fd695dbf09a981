use std::io;
use std::path::PathBuf;
use std::time::Duration;

use smidgen::{EntryKind, LoadError};

use super::Target;

/// Why a model did not run on a device: what happened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// QEMU is not installed.
    #[error(
        "qemu-system-arm: not found; install it with `apt-get install qemu-system-arm`, or run `make setup`"
    )]
    QemuMissing,
    /// QEMU could not be started.
    #[error("qemu-system-arm: cannot be started: {0}")]
    QemuNotStarted(#[source] io::Error),
    /// The firmware's sources are not where they should be.
    #[error("{}: there is no firmware workspace; set SMIDGEN_FIRMWARE to the folder firmware/ of the source tree", folder.display())]
    FirmwareMissing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Rust's library for the device is not installed.
    #[error(
        "Rust's target {triple} is not installed; add it with `rustup target add {triple}`, or run `make setup`"
    )]
    RustTargetMissing {
        /// The target.
        triple: &'static str,
    },
    /// cargo could not be started.
    #[error(
        "cargo: cannot be started: {0}; the firmware is built with it, install Rust from https://rustup.rs"
    )]
    CargoNotStarted(#[source] io::Error),
    /// The firmware did not build.
    #[error("the firmware for {machine} did not build:\n{output}")]
    Build {
        /// The core.
        machine: &'static str,
        /// What cargo said.
        output: String,
    },
    /// The linker of the boards' images is not installed.
    #[error("flip-link: not found; install it with `cargo install flip-link`, or run `make setup`")]
    FlipLinkMissing,
    /// What flashes is not installed.
    #[error(
        "probe-rs: not found; install it with `cargo install probe-rs-tools --locked` (on Linux it needs libudev-dev), see https://probe.rs"
    )]
    ProbeRsMissing,
    /// No debug probe is attached.
    #[error(
        "no debug probe was found: attach the board by a USB cable that carries data{hint}; `probe-rs list` shows what is there:\n{output}"
    )]
    NoProbe {
        /// What else this board needs.
        hint: &'static str,
        /// What probe-rs said.
        output: String,
    },
    /// probe-rs could not flash.
    #[error("`probe-rs {command}` failed:\n{output}")]
    Flashing {
        /// What was asked of it.
        command: String,
        /// What it said.
        output: String,
    },
    /// A board's image takes more than there is.
    #[error(
        "{board}: the image takes {found} bytes of {memory}, there are {available}; take a smaller model"
    )]
    BoardTooSmall {
        /// The board.
        board: &'static str,
        /// Flash or RAM.
        memory: &'static str,
        /// Bytes that it takes.
        found: usize,
        /// Bytes that the chip has.
        available: usize,
    },
    /// The image is not an ELF file with the expected sections.
    #[error("{}: {message}", image.display())]
    Image {
        /// The image.
        image: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The host has no image.
    #[error("{target}: an image is only built for an emulated core, such as cortex-m4")]
    NoImage {
        /// The target.
        target: Target,
    },
    /// The model is larger than the room for it.
    #[error("the model has {found} bytes, {target} has room for {expected}")]
    ModelTooLong {
        /// The target.
        target: Target,
        /// Bytes there is room for.
        expected: usize,
        /// Bytes of the model.
        found: usize,
    },
    /// The inputs are not a whole number of samples.
    #[error("the inputs have {found} bytes, expected a multiple of {expected} (one sample or batch)")]
    Inputs {
        /// Bytes of one sample or batch.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// More samples or steps are to be traced than one run can.
    #[error("{found} samples are to be traced, expected at most {limit} in one run")]
    TooManyTraced {
        /// How many one run can.
        limit: usize,
        /// How many were asked for.
        found: usize,
    },
    /// The model has no such entry.
    #[error("the model has no entry {kind:?}")]
    NoEntry {
        /// The kind asked for.
        kind: EntryKind,
    },
    /// The device refused the model or the run.
    #[error("{target}: {message} ({kind})")]
    Refused {
        /// The target.
        target: Target,
        /// Name of the error, such as `WrongChecksum`.
        kind: String,
        /// What the device said.
        message: String,
    },
    /// The device takes a file that the host refuses.
    #[error("{target} accepts a model that the host refuses: {error}")]
    Disagreement {
        /// The target.
        target: Target,
        /// Why the host refuses.
        error: LoadError,
    },
    /// The firmware panicked.
    #[error("{target}: the firmware panicked: {output}")]
    Panicked {
        /// The target.
        target: Target,
        /// What it said.
        output: String,
    },
    /// The processor took a fault.
    #[error("{target}: the firmware took a fault: {output}")]
    Faulted {
        /// The target.
        target: Target,
        /// What it said.
        output: String,
    },
    /// The emulator ended otherwise.
    #[error("{target}: the emulator ended with {status}: {output}")]
    Crashed {
        /// The target.
        target: Target,
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// The run took too long, and the emulator was ended.
    #[error(
        "{target}: no end after {limit:?}, the emulator was stopped; give fewer samples or a longer limit"
    )]
    TimeOut {
        /// The target.
        target: Target,
        /// The limit.
        limit: Duration,
    },
    /// The device's records do not decode or are not complete.
    #[error("{target}: the device's records are not complete: {message}")]
    Records {
        /// The target.
        target: Target,
        /// What is wrong.
        message: String,
    },
    /// The device did not write as many outputs as it should have.
    #[error("{target}: the device wrote {found} bytes of outputs, expected {expected}")]
    Outputs {
        /// The target.
        target: Target,
        /// Bytes there should be.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// A loop of known length was not counted right.
    #[error(
        "{target}: the instruction count is wrong: a loop of {expected} instructions was counted as {found}; \
         does QEMU know `-icount shift={shift}`?"
    )]
    Calibration {
        /// The target.
        target: Target,
        /// The shift that the clock relies on.
        shift: u8,
        /// Instructions of the loop.
        expected: u64,
        /// What was counted.
        found: u64,
    },
    /// A file of the run could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: io::Error,
    },
}

impl DeviceError {
    /// For `map_err`: an error with the file at `path`.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { path, cause }
    }
}
