//! Learning on a device.

use smidgen::checksum::crc32c;
use smidgen::learn::{LogRecord, Policy};
use smidgen::{AllOperators, EntryKind, Learner, Model, Operand, Outcome, Session};
use smidgen_protocol::{Job, Run};

use super::firmware::{self, Optimize, Variant};
use super::host::refused;
use super::report::TrainedHashes;
use super::{Device, DeviceError, Target, qemu};
use crate::buffer::AlignedBytes;

/// What a device did with the samples that it learned.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnReport {
    /// Where.
    pub target: Target,
    /// One for each sample.
    pub steps: Vec<LearnStep>,
    /// Instructions of the first step, emulated; none are counted on the host.
    pub instructions: Option<u64>,
    /// The most stack that a step took.
    pub stack_peak_bytes: Option<u32>,
    /// The memory of the session.
    pub memory_bytes: u32,
}

/// What a sample gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnStep {
    /// The bits of the loss.
    pub loss: u32,
    /// Whether the prediction was right.
    pub is_correct: bool,
    /// What became of the step: 0 learned, 1 skipped, 2 rolled back.
    pub outcome: u8,
    /// Hashes after it.
    pub hashes: TrainedHashes,
    /// What the device notes of it.
    pub log: LogRecord,
}

/// Length of what a device writes for each sample.
const STEP_BYTES: usize = 22;

impl Device {
    /// Learns samples one after another, with the learning rate of the file: on an image into which the model is built, or here. `samples` are the bytes of
    /// each input, followed by its label as an i32; `seed` is noted in the device's log.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn learn(&self, model: &[u8], samples: &[u8], seed: u32) -> Result<LearnReport, DeviceError> {
        let aligned = AlignedBytes::copy_of(model);
        let valid = Model::<AllOperators>::from_bytes(aligned.as_slice());
        let valid = valid.map_err(|error| refused(&error, &error))?;
        let kind = EntryKind::Train;
        let entry = valid.entry(kind).ok_or(DeviceError::NoEntry { kind })?;
        let sample_bytes = entry.inputs.first().and_then(Operand::bytes).unwrap_or(0) + 4;
        if !samples.len().is_multiple_of(sample_bytes) {
            return Err(DeviceError::Inputs { expected: sample_bytes, found: samples.len() });
        }
        let Some(machine) = self.target.machine() else { return here(valid, samples, sample_bytes, seed) };
        let image = firmware::embedded(machine, model, Variant::Learner, Optimize::Default)?;
        let rounds = (samples.len() / sample_bytes) as u32;
        let run = Run { entries: [kind].into_iter().collect(), rounds, ..Run::default() };
        let inputs = [&seed.to_le_bytes()[..], samples].concat();
        let work = qemu::Work { model: None, inputs: &inputs, job: &Job::Run(run.clone()) };
        let done = qemu::run(self.target, machine, &image, &work, self.time_limit)?;
        let report = done.into_report(self.target, &run, model.len())?;
        self.check_outputs(&report, rounds as usize * STEP_BYTES)?;
        let steps = report.outputs.as_chunks::<STEP_BYTES>().0.iter().zip(&report.trained);
        let steps = steps.map(|(&[a, b, c, d, is_correct, outcome, ref log @ ..], &hashes)| LearnStep {
            loss: u32::from_le_bytes([a, b, c, d]),
            is_correct: is_correct != 0,
            outcome,
            hashes,
            log: LogRecord::from_bytes(*log),
        });
        Ok(LearnReport {
            target: self.target,
            steps: steps.collect(),
            instructions: report.instructions,
            stack_peak_bytes: report.stack_peak_bytes,
            memory_bytes: report.arena_bytes,
        })
    }
}

impl Device {
    /// What an example of `firmware/qemu-learner` writes, with this model built in: `two-moons`, `new-digits` or `new-speaker`.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn example(&self, name: &'static str, model: &[u8], inputs: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let machine = self.target.machine().ok_or(DeviceError::NoImage { target: self.target })?;
        let image = firmware::embedded(machine, model, Variant::Example(name), Optimize::Default)?;
        let run = Run::default();
        let work = qemu::Work { model: None, inputs, job: &Job::Run(run.clone()) };
        let done = qemu::run(self.target, machine, &image, &work, self.time_limit)?;
        Ok(done.into_report(self.target, &run, model.len())?.outputs)
    }
}

/// Learns on this machine.
fn here(
    model: Model<'_>,
    samples: &[u8],
    sample_bytes: usize,
    seed: u32,
) -> Result<LearnReport, DeviceError> {
    let memory_bytes = model.arena_bytes();
    let mut memory = AlignedBytes::zeroed(memory_bytes);
    let session = Session::new(model, memory.as_mut_slice()).map_err(|error| refused(&error, &error))?;
    let mut learner = Learner::new(session, Policy::default()).map_err(|error| refused(&error, &error))?;
    let (mut steps, mut log) = (Vec::new(), smidgen::learn::Log::new(seed, 1));
    for sample in samples.chunks_exact(sample_bytes) {
        let Some((input, &label)) = sample.split_last_chunk::<4>() else { continue };
        let place = learner.session_mut().input_bytes_mut(EntryKind::Train, 0);
        place.map_err(|error| refused(&error, &error))?.copy_from_slice(input);
        log.sample(input, u32::from_le_bytes(label));
        let loss = learner.step_written(u32::from_le_bytes(label), &mut ());
        let loss = loss.map_err(|error| refused(&error, &error))?;
        let hashes = TrainedHashes {
            parameters: crc32c(learner.parameters()),
            state: crc32c(learner.session().state()),
        };
        let outcome = match loss.outcome {
            Outcome::Learned => 0,
            Outcome::Skipped => 1,
            Outcome::RolledBack => 2,
        };
        let Some(log) = log.step(learner.parameters()) else { continue };
        let (loss, is_correct) = (loss.value.to_bits(), loss.is_correct);
        steps.push(LearnStep { loss, is_correct, outcome, hashes, log });
    }
    Ok(LearnReport {
        target: Target::Host,
        steps,
        instructions: None,
        stack_peak_bytes: None,
        memory_bytes: memory_bytes as u32,
    })
}
