//! What a run gives.

use smidgen::EntryKind;
use smidgen_protocol::machine::Machine;
use smidgen_protocol::{CALIBRATION, Record, Run};

use super::{DeviceError, Log, Target};

/// What a device did and measured.
///
/// Counts are of instructions, emulated; they are not cycles. They are exact to one instruction. The host counts none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it ran.
    pub target: Target,
    /// The outputs of all samples, one after another, as bytes.
    pub outputs: Vec<u8>,
    /// Instructions of the first sample, or of the first training step that is not traced.
    pub instructions: Option<u64>,
    /// Instructions of validating the model and starting.
    pub load_instructions: Option<u64>,
    /// The most stack that validating the model or running it took, in bytes, from the call on.
    pub stack_peak_bytes: Option<u32>,
    /// Bytes of the caller's memory that the model takes.
    pub arena_bytes: u32,
    /// Length of the model file.
    pub model_bytes: usize,
    /// The steps of the traced samples, in the order in which they ran.
    pub steps: Vec<StepReport>,
    /// After every training step, if the model has parameters.
    pub trained: Vec<TrainedHashes>,
    /// What the device logged.
    pub log: Log,
}

/// A step of a traced sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// The sample or training step, counted from 0.
    pub round: u32,
    /// The entry.
    pub entry: EntryKind,
    /// The step's index in its entry.
    pub index: u32,
    /// The operator's code.
    pub operator: u8,
    /// Instructions that it took.
    pub instructions: Option<u64>,
    /// Hash of what it wrote.
    pub hash: u32,
}

/// Hashes after a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainedHashes {
    /// CRC-32C of all parameters.
    pub parameters: u32,
    /// CRC-32C of the state: moments, running statistics.
    pub state: u32,
}

impl Report {
    /// The first traced step whose writes differ in the two reports, of this report and of the other; `None` if there is none.
    ///
    /// Where one report has more steps than the other, the first of these.
    pub fn first_difference(&self, other: &Self) -> Option<StepReport> {
        let key = |step: &StepReport| (step.round, step.entry, step.index, step.operator, step.hash);
        let differs = self.steps.iter().zip(&other.steps).find(|(a, b)| key(a) != key(b)).map(|(a, _)| *a);
        let more = || {
            let common = self.steps.len().min(other.steps.len());
            self.steps.get(common).or_else(|| other.steps.get(common)).copied()
        };
        differs.or_else(more)
    }
}

/// What a run left behind.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outputs: Vec<u8>,
    pub(super) records: Vec<u8>,
    /// The machine that counted; `None` if nothing was counted.
    pub(super) machine: Option<&'static Machine>,
    pub(super) log: Log,
}

impl Done {
    /// The report of a finished run.
    pub(super) fn into_report(
        self,
        target: Target,
        run: &Run,
        model_bytes: usize,
    ) -> Result<Report, DeviceError> {
        let incomplete = |message: &str| DeviceError::Records { target, message: message.to_owned() };
        let mut empty = 0;
        let count = |ticks: u32, empty: u32| {
            self.machine.map(|machine| machine.instructions(u64::from(ticks.saturating_sub(empty))))
        };
        let mut report = Report {
            target,
            outputs: self.outputs,
            instructions: None,
            load_instructions: None,
            stack_peak_bytes: None,
            arena_bytes: 0,
            model_bytes,
            steps: Vec::new(),
            trained: Vec::new(),
            log: self.log,
        };
        // The first round that was not traced, and what its entries took.
        let mut plain: Option<(u32, u64)> = None;
        let mut traced_total = 0;
        let mut finished = false;
        let mut records = self.records.as_slice();
        while !records.is_empty() {
            let (record, rest) =
                postcard::take_from_bytes(records).map_err(|_| incomplete("one does not decode"))?;
            records = rest;
            let entry_kind = |entry: u8| {
                run.entries.get(usize::from(entry)).copied().ok_or_else(|| incomplete("an unknown entry"))
            };
            match record {
                Record::Calibrated { empty: ticks, loops } => {
                    empty = ticks;
                    self.machine.map_or(Ok(()), |machine| calibrate(target, machine, loops))?;
                }
                Record::Loaded { memory_bytes, stack_bytes, ticks } => {
                    report.arena_bytes = memory_bytes;
                    report.load_instructions = count(ticks, empty);
                    report.stack_peak_bytes = self.machine.map(|_| stack_bytes);
                }
                Record::Step { round, entry, index, operator, ticks, hash } => {
                    let (entry, instructions) = (entry_kind(entry)?, count(ticks, empty));
                    if round == run.traced.first().copied().unwrap_or_default() {
                        traced_total += instructions.unwrap_or_default();
                    }
                    report.steps.push(StepReport { round, entry, index, operator, instructions, hash });
                }
                Record::Ran { round, ticks, stack_bytes, .. } => {
                    report.stack_peak_bytes = report
                        .stack_peak_bytes
                        .zip(stack_bytes)
                        .map(|(a, b)| a.max(b))
                        .or(report.stack_peak_bytes);
                    let instructions = count(ticks, empty).unwrap_or_default();
                    if !run.traces(round) {
                        let (first, sum) = plain.get_or_insert((round, 0));
                        *sum += if *first == round { instructions } else { 0 };
                    }
                }
                Record::Trained { parameters, state, .. } => {
                    report.trained.push(TrainedHashes { parameters, state });
                }
                Record::Finished => finished = true,
                Record::Failed { kind, message } => {
                    let (kind, message) = (kind.to_owned(), message.to_owned());
                    return Err(DeviceError::Refused { target, kind, message });
                }
            }
        }
        if !finished {
            return Err(incomplete("the last one is missing"));
        }
        let total = plain.map_or(traced_total, |(_, sum)| sum);
        report.instructions = self.machine.filter(|_| run.rounds > 0).map(|_| total);
        Ok(report)
    }
}

/// Proves the count: two loops that differ by a known number of instructions, so that what is around them falls out.
fn calibrate(target: Target, machine: &Machine, loops: [u32; 2]) -> Result<(), DeviceError> {
    let [short, long] = loops.map(u64::from);
    let expected = u64::from(CALIBRATION[1] - CALIBRATION[0]);
    let found = machine.instructions(long.saturating_sub(short));
    if found.abs_diff(expected) > 1 {
        let shift = machine.icount_shift;
        return Err(DeviceError::Calibration { target, shift, expected, found });
    }
    Ok(())
}
