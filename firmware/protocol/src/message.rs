//! The messages.

use heapless::Vec;
use serde::{Deserialize, Serialize};
use smidgen::EntryKind;

/// Version of the protocol. Host and firmware come from one source tree, so that it is only checked, never negotiated.
pub const PROTOCOL: u16 = 3;
/// The most entries that one round of a run has.
pub const MAX_ENTRIES: usize = 4;
/// The most single rounds that can be traced.
pub const MAX_TRACED: usize = 16;
/// Instructions of the two loops that the device measures first, so that the host can prove its count.
pub const CALIBRATION: [u32; 2] = [2_000, 102_000];

/// Names of the files, in the emulator's working directory.
pub mod files {
    /// The request, from the host.
    pub const REQUEST: &str = "request.bin";
    /// The model. The emulator's loader puts it into the machine's memory.
    pub const MODEL: &str = "model.smg";
    /// The inputs, from the host: per round, entry and input, in this order, without anything between them.
    pub const INPUTS: &str = "inputs.bin";
    /// The outputs, from the device: per round, entry and output, in this order, without anything between them.
    pub const OUTPUTS: &str = "outputs.bin";
    /// The records, from the device, one after another.
    pub const RECORDS: &str = "records.bin";
    /// What the device logs, frames of `defmt`.
    pub const LOG: &str = "log.bin";
}

/// Exit codes of an image.
pub mod exit {
    /// All went well.
    pub const SUCCESS: u32 = 0;
    /// The request was refused or failed; the last record says why.
    pub const REFUSED: u32 = 100;
    /// The firmware panicked.
    pub const PANIC: u32 = 101;
    /// The processor took a fault.
    pub const FAULT: u32 = 102;
    /// A file of the protocol could not be opened, read or written.
    pub const FILES: u32 = 103;
}

/// What the host asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// Length of the model file.
    pub model_bytes: u32,
    /// What to do with it.
    pub job: Job,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Load the model and run it.
    Run(Run),
    /// Panic, so that a test can see that a panic is a failure.
    Panic,
    /// Read an address where nothing is, so that a test can see that a fault is a failure.
    Fault,
}

/// Rounds of a model's entries. Inference of a batch is a round of [`EntryKind::Infer`] per sample; training is a round of
/// [`EntryKind::Train`] and [`EntryKind::Update`] per step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The entries of a round, in order.
    pub entries: Vec<EntryKind, MAX_ENTRIES>,
    /// How many rounds.
    pub rounds: u32,
    /// Rounds, counted from 0, of which every step is reported.
    pub traced: Vec<u32, MAX_TRACED>,
    /// Whether every step of every round is reported.
    pub trace_all: bool,
    /// Whether the state is put back to its initial value before each round.
    pub reset_state: bool,
}

impl Run {
    /// Whether every step of this round is reported.
    pub fn traces(&self, round: u32) -> bool {
        self.trace_all || self.traced.contains(&round)
    }
}

/// What the device says, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// The timer was measured.
    Calibrated {
        /// Ticks between two reads with nothing between them.
        empty: u32,
        /// Ticks for loops of [`CALIBRATION`] instructions.
        loops: [u32; 2],
    },
    /// The model was validated.
    Loaded {
        /// Bytes of memory that the session takes.
        memory_bytes: u32,
        /// Stack that the validation took.
        stack_bytes: u32,
        /// Ticks that the validation took.
        ticks: u32,
    },
    /// A step of a traced round ran.
    Step {
        /// The round.
        round: u32,
        /// The entry, as an index into [`Run::entries`].
        entry: u8,
        /// The step's index in its entry.
        index: u32,
        /// The operator's code.
        operator: u8,
        /// Ticks that it took.
        ticks: u32,
        /// Hash of what it wrote, see [`job::hash`](crate::job::hash).
        hash: u32,
    },
    /// An entry ran.
    Ran {
        /// The round.
        round: u32,
        /// The entry, as an index into [`Run::entries`].
        entry: u8,
        /// Ticks that it took; in a traced round, those of its steps.
        ticks: u32,
        /// Stack that it took, where that was measured: in the first round that is not traced.
        stack_bytes: Option<u32>,
    },
    /// A round of a model with parameters ended.
    Trained {
        /// The round.
        round: u32,
        /// CRC-32C of the parameters.
        parameters: u32,
        /// CRC-32C of the state.
        state: u32,
    },
    /// The job is done.
    Finished,
    /// The job is refused or failed.
    Failed {
        /// Name of the error.
        kind: &'a str,
        /// What is wrong.
        message: &'a str,
    },
}
