//! `smidgen bench`.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;
use smidgen::frontend::Audio;
use smidgen::{EntryKind, Model, Preprocessing};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::repack;
use smidgen_trainer::device::{self, Device, Target};
use smidgen_trainer::evaluate::Interface;
use smidgen_trainer::inspect::inspect;

use super::table::{Align, Table, grouped, printable};
use super::{Outcome, parse_model, print, print_json, read_model};

/// Count a model's instructions, memory and code on an emulated core.
///
/// Instructions are counted by the emulator, exactly; they are not cycles. The sample that is run is made up. A model whose weights are not packed for
/// any core is packed for this one first.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The emulated core: cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55
    #[arg(long, value_name = "TARGET")]
    on: Target,
    /// Count the whole, and not each step: without building the image that runs any model
    #[arg(long)]
    whole: bool,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Figures {
    target: &'static str,
    /// Of one inference.
    instructions: u64,
    macs: u64,
    arena_bytes: u32,
    stack_peak_bytes: u32,
    /// .text and .rodata of an application with this model built in, without the model.
    code_bytes: usize,
    /// The same of the image that was measured: with what feeds it and measures it.
    measured_code_bytes: usize,
    model_bytes: usize,
    /// Of a model that listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    listening: Option<Listening>,
    steps: Vec<StepFigures>,
    /// Of one training step, if the model learns.
    #[serde(skip_serializing_if = "Option::is_none")]
    training: Option<device::StepCost>,
}

/// The clock that the share of a second is of, in Hz: that of the micro:bit.
const CLOCK_HZ: f64 = 64e6;

/// A model in an application that listens.
#[derive(Debug, Serialize)]
struct Listening {
    /// Of the features of one frame.
    frame_instructions: u64,
    /// Of one second of sound: features, inferences and detection.
    instructions_per_second: u64,
    /// That, of 64 million.
    share_of_64_mhz: f64,
    /// Inferences in a second.
    inferences_per_second: f64,
    /// Memory of session, front end and features.
    memory_bytes: u32,
    stack_peak_bytes: u32,
    /// The whole application, the model among it.
    flash_bytes: usize,
    /// Statics and stack.
    ram_bytes: usize,
}

#[derive(Debug, Serialize)]
struct StepFigures {
    index: usize,
    op: &'static str,
    name: String,
    macs: u64,
    instructions: u64,
}

impl Bench {
    pub(crate) fn run(&self) -> Outcome {
        if self.on == Target::Host {
            return Err(
                "--on host: instructions are only counted on an emulated core, such as cortex-m4".into()
            );
        }
        let file = read_model(&self.model)?;
        let model = parse_model(&self.model, &file)?;
        let packed = repack(&model, self.on.packing())?.map(|file| AlignedBytes::copy_of(&file));
        let file = packed.unwrap_or(file);
        let model = parse_model(&self.model, &file)?;
        device::check(self.on)?;
        let named = |error| format!("{}: {error}", self.model.display());
        let interface = Interface::of(&model).map_err(named)?;
        let figures = self.measure(&model, file.as_slice(), &sample(&interface))?;
        if self.json { print_json(&figures) } else { print(&self.text(&figures)?) }
    }

    fn measure(
        &self,
        model: &Model<'_>,
        file: &[u8],
        sample: &[u8],
    ) -> Result<Figures, Box<dyn std::error::Error>> {
        let device = Device::new(self.on);
        // Each step by itself, in the image that runs any model; and the whole, as an application has it.
        let report = if self.whole { None } else { Some(device.run(file, sample)?) };
        let whole = device.measure(file, sample)?;
        let (code, measured_code) = (device.code_size(file)?, device.measured_code_size(file)?);
        let missing = || format!("{}: the device counted nothing", self.on);
        let entry = inspect(model).entries.into_iter().find(|entry| entry.kind == EntryKind::Infer);
        let entry = entry.ok_or_else(missing)?;
        let counted = report.iter().flat_map(|report| &report.steps);
        let counted =
            counted.map(|step| step.instructions.ok_or_else(missing)).collect::<Result<Vec<_>, _>>()?;
        if !self.whole && counted.len() != entry.steps.len() {
            return Err(missing().into());
        }
        let steps = entry.steps.into_iter().zip(counted).map(|(step, instructions)| StepFigures {
            index: step.index,
            op: step.op,
            name: step.name,
            macs: step.macs,
            instructions,
        });
        Ok(Figures {
            target: self.on.name(),
            instructions: whole.instructions.ok_or_else(missing)?,
            macs: entry.macs,
            arena_bytes: whole.arena_bytes,
            stack_peak_bytes: whole.stack_peak_bytes.ok_or_else(missing)?,
            code_bytes: code.bytes(),
            measured_code_bytes: measured_code.bytes(),
            model_bytes: whole.model_bytes,
            listening: listening(&device, model, file)?,
            steps: steps.collect(),
            training: device.step_cost(file)?,
        })
    }

    fn text(&self, figures: &Figures) -> Result<String, std::fmt::Error> {
        let per_mac = |instructions: u64, macs: u64| {
            if macs == 0 { String::new() } else { format!("{:.2}", instructions as f64 / macs as f64) }
        };
        let mut table = Table::new([
            ("step", Align::Right),
            ("name", Align::Left),
            ("operator", Align::Left),
            ("MACs", Align::Right),
            ("instructions", Align::Right),
            ("share", Align::Right),
            ("per MAC", Align::Right),
        ]);
        let share = |part: u64| format!("{:.1} %", 100.0 * part as f64 / figures.instructions.max(1) as f64);
        for step in &figures.steps {
            let macs = if step.macs == 0 { String::new() } else { grouped(step.macs) };
            table.row([
                step.index.to_string(),
                printable(&step.name),
                step.op.to_owned(),
                macs,
                grouped(step.instructions),
                share(step.instructions),
                per_mac(step.instructions, step.macs),
            ]);
        }
        let mut text = format!("{} on an emulated {} (QEMU):\n\n{table}\n", self.model.display(), self.on);
        let Figures { instructions, macs, arena_bytes, stack_peak_bytes, code_bytes, model_bytes, .. } =
            figures;
        let ratio = per_mac(*instructions, *macs);
        writeln!(
            text,
            "instructions    {} per inference, {ratio} per multiply-accumulate",
            grouped(*instructions)
        )?;
        let (arena, stack) = (u64::from(*arena_bytes), u64::from(*stack_peak_bytes));
        writeln!(
            text,
            "RAM             {} bytes of arena, {} bytes of stack",
            grouped(arena),
            grouped(stack)
        )?;
        let (model, code) = (grouped(*model_bytes as u64), grouped(*code_bytes as u64));
        writeln!(text, "flash           {model} bytes of model, {code} bytes of code")?;
        if let Some(training) = figures.training {
            let share = format!("{:.1} %", 100.0 * training.backward_share);
            let instructions = grouped(training.instructions);
            writeln!(text, "learning        {instructions} instructions per step, {share} of them backward")?;
        }
        if let Some(found) = &figures.listening {
            let percent = found.share_of_64_mhz * 100.0;
            writeln!(
                text,
                "listening       {} instructions for a second, {percent:.1} % of 64 million: {} a frame, {:.1} inferences",
                grouped(found.instructions_per_second),
                grouped(found.frame_instructions),
                found.inferences_per_second
            )?;
            writeln!(
                text,
                "application     {} bytes of flash with the model, {} bytes of RAM with {} of stack",
                grouped(found.flash_bytes as u64),
                grouped(found.ram_bytes as u64),
                grouped(found.stack_peak_bytes.into())
            )?;
        }
        Ok(text)
    }
}

/// Measures an application that listens; nothing for a model that takes no sound.
fn listening(
    device: &Device,
    model: &Model<'_>,
    file: &[u8],
) -> Result<Option<Listening>, Box<dyn std::error::Error>> {
    let Preprocessing::Audio(Audio { config, .. }) = model.metadata().preprocessing else { return Ok(None) };
    let stride_samples = config.stride_frames as usize * config.step_samples();
    // What it is does not matter: no instruction depends on it but those of the logarithm's special cases.
    let noise = |n: usize| ((n as u32).wrapping_mul(0x9E37_79B1) >> 16) as i16;
    let samples: Vec<i16> = (0..config.input_samples() + 4 * stride_samples).map(noise).collect();
    let features = device.features(file, &samples)?;
    let heard = device.listen(file, &samples)?;
    let footprint = device.listening_footprint(file)?;
    // From the second inference on, there is a stride's time between them.
    let strides = heard.instructions.get(1..).unwrap_or_default();
    let inferences_per_second = f64::from(config.sample_rate * config.axes) / stride_samples as f64;
    let mean = strides.iter().sum::<u64>() as f64 / strides.len().max(1) as f64;
    let instructions_per_second = (mean * inferences_per_second).round() as u64;
    Ok(Some(Listening {
        frame_instructions: features.instructions.iter().copied().max().unwrap_or(0),
        instructions_per_second,
        share_of_64_mhz: instructions_per_second as f64 / CLOCK_HZ,
        inferences_per_second,
        memory_bytes: heard.memory_bytes,
        stack_peak_bytes: heard.stack_peak_bytes,
        flash_bytes: footprint.flash_bytes,
        ram_bytes: footprint.static_bytes + heard.stack_peak_bytes as usize,
    }))
}

/// One sample, from raw bytes that differ.
fn sample(interface: &Interface<'_>) -> Vec<u8> {
    let elements = interface.input.shape.elements().unwrap_or(0);
    let bytes: Vec<u8> = (0..elements).map(|index| (index.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    interface.inputs_from_bytes(&bytes)
}
