//! Running a model on a device: an emulated microcontroller, or this machine in the same way.
//!
//! The firmware is the workspace in `firmware/`; it is built on demand. QEMU runs it, and what it reports comes back as a
//! [`Report`]. [`Target::Host`] gives a report of the same shape from the same code, so that the two can be compared step by step.
//!
//! ```no_run
//! use smidgen_trainer::device::{Device, Target};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (model, images) = (std::fs::read("digits.smg")?, std::fs::read("images.bin")?);
//! let here = Device::new(Target::Host).run(&model, &images)?;
//! let there = Device::new(Target::CortexM4).run(&model, &images)?;
//! assert_eq!(here.outputs, there.outputs);
//! println!("{} instructions, emulated", there.instructions.unwrap_or_default());
//! # Ok(())
//! # }
//! ```

mod board;
mod error;
mod firmware;
mod host;
mod learn;
mod listen;
mod log;
mod qemu;
mod report;
mod step_cost;
mod target;
mod update;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use smidgen::model::Header;
use smidgen::{AllOperators, EntryKind, Model, Space};
use smidgen_protocol::machine::{self, Machine};
use smidgen_protocol::{Job, MAX_TRACED, Run};

pub use board::{BOARDS, Board, UnknownBoard};
pub use error::DeviceError;
use firmware::Variant;
pub use firmware::{CodeSize, Optimize};
pub use learn::{LearnReport, LearnStep};
pub use listen::{FeatureReport, Footprint, Heard, ListenReport, WatchReport};
pub use log::Log;
pub use report::{Report, StepReport, TrainedHashes};
pub use step_cost::StepCost;
pub use target::{Target, UnknownTarget};
pub use update::{KeyError, SendError, check_public_key, package, private_key, send};

use crate::buffer::AlignedBytes;

/// Where a model runs.
#[derive(Clone, Debug)]
pub struct Device {
    target: Target,
    traced: Vec<u32>,
    trace_all: bool,
    reset_state: bool,
    time_limit: Duration,
}

/// How a device can be made to fail on purpose, to see that failures are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The firmware panics.
    Panic,
    /// The firmware reads an address where nothing is.
    Fault,
}

/// Of which image it is to be proved that it cannot panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoPanic {
    /// How it is optimized: what the compiler can leave out depends on it.
    pub optimize: Optimize,
    /// Whether the device validates the model, as one that it loads at run time.
    pub load: bool,
    /// Whether something in it can panic, on purpose, so that the proof must fail.
    pub control: bool,
}

/// What [`Device::check_kernels`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCheck {
    /// Layers that were computed in both ways.
    pub compared: u32,
    /// Those of which a byte was not the same.
    pub different: u32,
}

impl Device {
    /// A device of this kind. The first sample or step is traced, and a run may take half an hour.
    pub fn new(target: Target) -> Self {
        let time_limit = Duration::from_secs(1800);
        Self { target, traced: vec![0], trace_all: false, reset_state: false, time_limit }
    }

    /// Chooses the samples or steps of which every step is reported; at most 16, counted from 0.
    #[must_use]
    pub fn traced(mut self, rounds: &[u32]) -> Self {
        self.traced = rounds.to_vec();
        self.trace_all = false;
        self
    }

    /// Chooses all samples or steps: every step of each is reported, and of [`Report::instructions`] there are only those of the steps.
    #[must_use]
    pub fn trace_all(mut self) -> Self {
        self.trace_all = true;
        self.traced.clear();
        self
    }

    /// Whether every step of all samples is reported.
    pub fn traces_all(&self) -> bool {
        self.trace_all
    }

    /// Puts what a network keeps from run to run back to its first value before each sample. Without it, a sample sees what those before it left.
    #[must_use]
    pub fn reset_state(mut self) -> Self {
        self.reset_state = true;
        self
    }

    /// Whether each sample begins anew.
    pub fn resets_state(&self) -> bool {
        self.reset_state
    }

    /// How long a run may take before the emulator is ended.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// What kind of device it is.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Infers each sample of `inputs`, which stand one after another as the bytes of the model's inputs (`f32` little-endian).
    ///
    /// # Errors
    /// See [`DeviceError`]. An invalid model is refused by the device itself, [`DeviceError::Refused`].
    pub fn run(&self, model: &[u8], inputs: &[u8]) -> Result<Report, DeviceError> {
        self.rounds(model, inputs, &[EntryKind::Infer])
    }

    /// Trains with each batch of `inputs`, which stand one after another, each as the bytes of the inputs of [`EntryKind::Train`] followed
    /// by those of [`EntryKind::Update`]. The batch is one chunk. [`Report::trained`] has the hashes after every step.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn train(&self, model: &[u8], inputs: &[u8]) -> Result<Report, DeviceError> {
        self.rounds(model, inputs, &[EntryKind::Train, EntryKind::Update])
    }

    /// Infers each sample as [`Device::run`] does, on an image into which the model is built. The report has no steps; it has what the
    /// image logged.
    ///
    /// # Errors
    /// See [`DeviceError`]. A model that is none does not build.
    pub fn run_embedded(&self, model: &[u8], inputs: &[u8]) -> Result<Report, DeviceError> {
        self.embedded_rounds(model, inputs, Variant::Logged)
    }

    /// As [`run_embedded`](Self::run_embedded), without logs: instructions and stack are those of an application that has the model in its flash.
    ///
    /// # Errors
    /// See [`DeviceError`]. A model that is none does not build.
    pub fn measure(&self, model: &[u8], inputs: &[u8]) -> Result<Report, DeviceError> {
        self.embedded_rounds(model, inputs, Variant::Measured)
    }

    fn embedded_rounds(&self, model: &[u8], inputs: &[u8], variant: Variant) -> Result<Report, DeviceError> {
        let machine = self.machine_for(model)?;
        let round = host::round_bytes(model, &[EntryKind::Infer])?;
        let rounds = whole_rounds(inputs, round.inputs)?;
        let image = firmware::embedded(machine, model, variant, Optimize::of(model))?;
        let run = Run { entries: [EntryKind::Infer].into_iter().collect(), rounds, ..Run::default() };
        // The image takes samples until they end, and reads no request.
        let work = qemu::Work { model: None, inputs, job: &Job::Run(run.clone()) };
        let done = qemu::run(self.target, machine, &image, &work, self.time_limit)?;
        let report = done.into_report(self.target, &run, model.len())?;
        self.check_outputs(&report, rounds as usize * round.outputs)?;
        Ok(report)
    }

    /// The size of an application with the model built in, without the model.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn code_size(&self, model: &[u8]) -> Result<CodeSize, DeviceError> {
        firmware::code_size(&self.application_image(model)?, model.len())
    }

    /// The size of the image of [`measure`](Self::measure), without the model: an application's and that of what feeds it and measures it.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn measured_code_size(&self, model: &[u8]) -> Result<CodeSize, DeviceError> {
        let image =
            firmware::embedded(self.machine_for(model)?, model, Variant::Measured, Optimize::of(model))?;
        firmware::code_size(&image, model.len())
    }

    /// The ELF file of an application with the model built in.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn application_image(&self, model: &[u8]) -> Result<PathBuf, DeviceError> {
        firmware::embedded(self.machine_for(model)?, model, Variant::Application, Optimize::of(model))
    }

    /// The lengths of the functions of an application with this model built in, optimized for size, by their mangled names without hashes.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn functions(&self, model: &[u8]) -> Result<BTreeMap<String, usize>, DeviceError> {
        let machine = self.machine_for(model)?;
        let image = firmware::embedded(machine, model, Variant::Application, Optimize::Size)?;
        firmware::functions(&image)
    }

    /// Proves that nothing in an application with this model built in can panic: its panic handler calls a function that is nowhere, so that it
    /// links only if the handler is not reached from anywhere.
    ///
    /// # Errors
    /// [`DeviceError::Build`], with what the linker says, if it can panic. Otherwise see [`DeviceError`].
    pub fn prove_no_panic(&self, model: &[u8], proof: NoPanic) -> Result<(), DeviceError> {
        let NoPanic { optimize, load, control } = proof;
        firmware::embedded(self.machine_for(model)?, model, Variant::NoPanic { load, control }, optimize)
            .map(|_| ())
    }

    /// Holds the kernels in assembly against the plain operators on the device, on `layers` random layers of each kind. `spoil` changes a weight
    /// of each layer on one side only, to see that differences are seen.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn check_kernels(&self, seed: u32, layers: u32, spoil: bool) -> Result<KernelCheck, DeviceError> {
        let machine = self.machine()?;
        // The kernels' tensors take more memory than the smallest machine has.
        let machine = machine.larger.and_then(machine::find).unwrap_or(machine);
        let image = firmware::kernels(machine)?;
        let request = [seed, layers, u32::from(spoil)].map(u32::to_le_bytes);
        // The image reads no request but its inputs.
        let job = Job::Run(Run::default());
        let work = qemu::Work { model: None, inputs: request.as_flattened(), job: &job };
        let done = qemu::run(self.target, machine, &image, &work, self.time_limit)?;
        let (expected, found) = (8, done.outputs.len());
        match *done.outputs.as_chunks::<4>().0 {
            [compared, different] => Ok(KernelCheck {
                compared: u32::from_le_bytes(compared),
                different: u32::from_le_bytes(different),
            }),
            _ => Err(DeviceError::Outputs { target: self.target, expected, found }),
        }
    }

    /// Makes the device fail.
    ///
    /// # Errors
    /// Always; the error is the one that such a failure gives.
    pub fn fail(&self, failure: Failure) -> Result<Report, DeviceError> {
        let machine = self.machine()?;
        let image = firmware::runner(machine)?;
        let job = match failure {
            Failure::Panic => Job::Panic,
            Failure::Fault => Job::Fault,
        };
        let work = qemu::Work { model: Some(&[]), inputs: &[], job: &job };
        let done = qemu::run(self.target, machine, &image, &work, self.time_limit)?;
        done.into_report(self.target, &Run::default(), 0)
    }

    fn check_outputs(&self, report: &Report, expected: usize) -> Result<(), DeviceError> {
        let found = report.outputs.len();
        if found == expected {
            Ok(())
        } else {
            Err(DeviceError::Outputs { target: self.target, expected, found })
        }
    }

    fn machine(&self) -> Result<&'static Machine, DeviceError> {
        self.target.machine().ok_or(DeviceError::NoImage { target: self.target })
    }

    /// The machine for this model: a larger one that executes the same instructions, where there is one, if the target's own is too small.
    fn machine_for(&self, model: &[u8]) -> Result<&'static Machine, DeviceError> {
        let machine = self.machine()?;
        let session_bytes = Header::read(model).ok().and_then(|header| header.memory.total());
        let small =
            machine.larger.filter(|_| !machine.holds(model.len(), session_bytes.unwrap_or(0) as usize));
        Ok(small.and_then(machine::find).unwrap_or(machine))
    }

    fn rounds(&self, model: &[u8], inputs: &[u8], entries: &[EntryKind]) -> Result<Report, DeviceError> {
        let aligned = AlignedBytes::copy_of(model);
        let valid = Model::<AllOperators>::from_bytes(aligned.as_slice());
        // The device is asked all the same whether it takes the file, but there is nothing to run.
        let (rounds, round, inputs) = match &valid {
            Ok(valid) => {
                let round = host::entries_bytes(valid, entries)?;
                (whole_rounds(inputs, round.inputs)?, round, inputs)
            }
            Err(_) => (0, host::RoundBytes::default(), &[][..]),
        };
        let mut traced = self.traced.clone();
        traced.retain(|&index| index < rounds);
        traced.dedup();
        if traced.len() > MAX_TRACED {
            return Err(DeviceError::TooManyTraced { limit: MAX_TRACED, found: traced.len() });
        }
        // What is traced is run once more at the end, so that tracing disturbs neither outputs nor counts. What depends on the runs before it cannot be done
        // twice: training steps and samples of a network with a state are traced where they are, and so is a run of which everything is traced.
        let repeats = self.reset_state || !valid.as_ref().is_ok_and(keeps_state);
        let again = entries == [EntryKind::Infer] && !self.trace_all && repeats;
        let mut all_inputs = inputs.to_vec();
        let mut total = rounds;
        let mut in_run = traced.clone();
        if again {
            in_run.clear();
            for &sample in &traced {
                let start = sample as usize * round.inputs;
                all_inputs.extend_from_slice(&inputs[start..start + round.inputs]);
                in_run.push(total);
                total += 1;
            }
        }
        let run = Run {
            entries: entries.iter().copied().collect(),
            rounds: total,
            traced: in_run.iter().copied().collect(),
            trace_all: self.trace_all,
            reset_state: self.reset_state,
        };
        let done = match self.target.machine() {
            None => host::run(aligned.as_slice(), &all_inputs, &run)?,
            Some(_) => {
                let machine = self.machine_for(model)?;
                let image = firmware::runner(machine)?;
                let work =
                    qemu::Work { model: Some(model), inputs: &all_inputs, job: &Job::Run(run.clone()) };
                qemu::run(self.target, machine, &image, &work, self.time_limit)?
            }
        };
        let mut report = done.into_report(self.target, &run, model.len())?;
        if let Err(error) = valid {
            return Err(DeviceError::Disagreement { target: self.target, error });
        }
        self.check_outputs(&report, total as usize * round.outputs)?;
        report.outputs.truncate(rounds as usize * round.outputs);
        if again {
            for step in &mut report.steps {
                step.round = traced[(step.round - rounds) as usize];
            }
        }
        Ok(report)
    }
}

/// Whether an inference depends on those before it: some step of it writes a state.
pub fn keeps_state(model: &Model<'_, AllOperators>) -> bool {
    let Some(entry) = model.entry(EntryKind::Infer) else { return false };
    let mut steps = model.steps(&entry).filter_map(Result::ok);
    steps.any(|step| step.writes.iter().any(|write| write.space == Space::State))
}

/// How many rounds `inputs` is.
fn whole_rounds(inputs: &[u8], round_bytes: usize) -> Result<u32, DeviceError> {
    let error = DeviceError::Inputs { expected: round_bytes, found: inputs.len() };
    if round_bytes == 0 || !inputs.len().is_multiple_of(round_bytes) {
        return Err(error);
    }
    u32::try_from(inputs.len() / round_bytes).map_err(|_| error)
}

/// Whether this machine can run `target`.
///
/// # Errors
/// What is missing, and how to get it.
pub fn check(target: Target) -> Result<(), DeviceError> {
    if target.machine().is_some() {
        qemu::check()?;
    }
    Ok(())
}

/// The folder of the firmware's sources: that of this source tree, or what `SMIDGEN_FIRMWARE` names.
pub fn firmware_folder() -> PathBuf {
    match std::env::var_os("SMIDGEN_FIRMWARE") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware"),
    }
}
