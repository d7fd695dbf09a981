//! `smidgen learn` and `smidgen replay`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use smidgen::{ElementType, EntryKind, Model, Operand, Shape};
use smidgen_trainer::data::epoch_order;
use smidgen_trainer::device::{self, Device, LearnReport, Target};
use smidgen_trainer::npy::{self, Array, ElementKind};
use smidgen_trainer::train::files::{read_file, write_atomically};

use super::table::grouped;
use super::{Outcome, parse_model, print, read_model};

/// Let a model learn samples one after another, here or on an emulated core, as a device does.
///
/// The order of the samples is drawn from a seed. The log has, every so many steps, checksums of the samples and of the weights, as the device counted them; `smidgen
/// replay` does the same again here and holds them against it.
#[derive(Debug, clap::Args)]
pub(crate) struct Learn {
    /// A model that `smidgen personalize` made
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The samples, an array [samples, ...] of the model's type, int8 or float32
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// Their classes, an array [samples] of int32 or uint8
    #[arg(long, value_name = "Y.npy")]
    labels: PathBuf,
    /// Where to learn: host or an emulated core such as cortex-m4
    #[arg(long, value_name = "TARGET", default_value = "host")]
    on: Target,
    /// What the order of the samples is drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Steps from one record of the log to the next
    #[arg(long, value_name = "N", default_value_t = 10)]
    every: u32,
    /// Where to write the log
    #[arg(long, value_name = "LOG")]
    log: Option<PathBuf>,
}

/// Learn again what a device has logged, and say whether every weight came out the same, bit by bit.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The log
    #[arg(value_name = "LOG")]
    log: PathBuf,
}

/// A log. Paths are as they were given.
#[derive(Debug, Serialize, Deserialize)]
struct LogFile {
    model: PathBuf,
    /// CRC-32C of the model file.
    model_checksum: u32,
    input: PathBuf,
    labels: PathBuf,
    target: String,
    seed: u32,
    every: u32,
    records: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    steps: u32,
    samples: u32,
    parameters: u32,
}

impl Learn {
    pub(crate) fn run(&self) -> Outcome {
        if self.every == 0 {
            return Err("--every 0: expected at least 1".into());
        }
        device::check(self.on)?;
        let (report, model_checksum) = learn(&self.model, &self.input, &self.labels, self.on, self.seed)?;
        let skipped = report.steps.iter().filter(|step| step.outcome != 0).count();
        let quarter = report.steps.len().div_ceil(4).max(1);
        let mean = |steps: &[device::LearnStep]| {
            steps.iter().map(|step| f64::from(f32::from_bits(step.loss))).sum::<f64>()
                / steps.len().max(1) as f64
        };
        let (first, last) = (&report.steps[..quarter], &report.steps[report.steps.len() - quarter..]);
        let mut text = format!(
            "{} steps on {}, {skipped} skipped; loss {:.4} in the first quarter, {:.4} in the last\n",
            report.steps.len(),
            self.on,
            mean(first),
            mean(last)
        );
        if let (Some(instructions), Some(stack)) = (report.instructions, report.stack_peak_bytes) {
            let memory = grouped(report.memory_bytes.into());
            let instructions = grouped(instructions);
            text += &format!(
                "{instructions} instructions a step, emulated; {memory} bytes of memory and {stack} of stack\n"
            );
        }
        if let Some(path) = &self.log {
            let log = LogFile {
                model: self.model.clone(),
                model_checksum,
                input: self.input.clone(),
                labels: self.labels.clone(),
                target: self.on.name().to_owned(),
                seed: self.seed,
                every: self.every,
                records: records(&report, self.every),
            };
            write_atomically(path, serde_json::to_string_pretty(&log)?.as_bytes())?;
            eprintln!("wrote {}: {} records", path.display(), log.records.len());
        }
        print(&text)
    }
}

impl Replay {
    pub(crate) fn run(&self) -> Outcome {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", self.log.display());
        let text = read_file(&self.log)?;
        let log: LogFile = serde_json::from_slice(&text)
            .map_err(|error| named(&format!("not a log that `smidgen learn --log` wrote ({error})")))?;
        if log.every == 0 {
            return Err(named(&"every is 0, expected at least 1").into());
        }
        let (report, checksum) = learn(&log.model, &log.input, &log.labels, Target::Host, log.seed)?;
        if checksum != log.model_checksum {
            let (model, expected) = (log.model.display(), log.model_checksum);
            return Err(format!("{model}: CRC-32C {checksum:08x}, the log is of {expected:08x}").into());
        }
        let found = records(&report, log.every);
        if found.len() != log.records.len() {
            let (found, expected) = (found.len(), log.records.len());
            return Err(
                named(&format!("{found} records come of these samples, the log has {expected}")).into()
            );
        }
        for (found, logged) in found.iter().zip(&log.records) {
            let what = match () {
                () if found.samples != logged.samples || found.steps != logged.steps => "the samples differ",
                () if found.parameters != logged.parameters => "the weights differ",
                () => continue,
            };
            return Err(named(&format!("up to step {}, {what}", logged.steps)).into());
        }
        let steps = report.steps.len();
        print(&format!(
            "{} records of {steps} steps on {}: the same weights here, bit by bit\n",
            found.len(),
            log.target
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn records(report: &LearnReport, every: u32) -> Vec<Entry> {
    let logged = report.steps.iter().map(|step| step.log).filter(|log| log.steps.is_multiple_of(every));
    logged.map(|log| Entry { steps: log.steps, samples: log.samples, parameters: log.parameters }).collect()
}

/// Learns; also the checksum of the model file.
fn learn(
    model_path: &Path,
    input: &Path,
    labels: &Path,
    on: Target,
    seed: u32,
) -> Result<(LearnReport, u32), Box<dyn Error>> {
    let file = read_model(model_path)?;
    let model = parse_model(model_path, &file)?;
    let samples = samples(&model, model_path, input, labels, seed)?;
    let report = Device::new(on).learn(file.as_slice(), &samples, seed)?;
    Ok((report, smidgen::checksum::crc32c(file.as_slice())))
}

/// Inputs and labels in the order of the seed, as a device reads them.
fn samples(
    model: &Model<'_>,
    model_path: &Path,
    input: &Path,
    labels: &Path,
    seed: u32,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let array = |path: &Path| -> Result<Array, Box<dyn Error>> {
        npy::parse(&read_file(path)?).map_err(|error| format!("{}: {error}", path.display()).into())
    };
    let entry = model.entry(EntryKind::Train).ok_or_else(|| {
        format!("{}: it has no entry train; `smidgen personalize` makes one", model_path.display())
    })?;
    let operand = entry.inputs.first().ok_or_else(|| format!("{}: no input", model_path.display()))?;
    let kind = if operand.element_type == ElementType::F32 { ElementKind::F32 } else { ElementKind::I8 };
    let (inputs, classes) = (array(input)?, array(labels)?);
    let sample_bytes = operand.bytes().unwrap_or(0).max(1);
    if inputs.kind != kind || !inputs.bytes.len().is_multiple_of(sample_bytes) {
        let (found, bytes) = (inputs.kind.name(), inputs.bytes.len());
        let expected = kind.name();
        return Err(format!(
            "{}: {bytes} bytes of {found}, expected samples of {sample_bytes} bytes of {expected}",
            input.display()
        )
        .into());
    }
    let classes: Vec<u32> = match classes.kind {
        ElementKind::U8 => classes.bytes.iter().map(|&label| label.into()).collect(),
        ElementKind::I32 => {
            classes.bytes.as_chunks().0.iter().map(|&label| u32::from_le_bytes(label)).collect()
        }
        other => {
            return Err(format!("{}: {}, expected int32 or uint8", labels.display(), other.name()).into());
        }
    };
    let count = inputs.bytes.len() / sample_bytes;
    if classes.len() != count {
        return Err(format!("{}: {} labels for {count} samples", labels.display(), classes.len()).into());
    }
    let scores = model.entry(EntryKind::Infer).and_then(|entry| entry.outputs.first());
    let known = scores.map_or(u32::MAX, |&Operand { shape: Shape([.., classes]), .. }| classes);
    if let Some(index) = classes.iter().position(|&label| label >= known) {
        let (labels, label) = (labels.display(), classes[index]);
        return Err(
            format!("{labels}: label {index} is {label}, expected less than {known}, the classes").into()
        );
    }
    let mut order = vec![0; count];
    epoch_order(seed.into(), 0, &mut order);
    let mut bytes = Vec::with_capacity(inputs.bytes.len() + 4 * count);
    for index in order {
        let index = index as usize;
        bytes.extend_from_slice(&inputs.bytes[index * sample_bytes..][..sample_bytes]);
        bytes.extend(classes[index].to_le_bytes());
    }
    Ok(bytes)
}
