//! `smidgen bench`.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;
use smidgen::{EntryKind, Model};
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
    steps: Vec<StepFigures>,
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
        let report = device.run(file, sample)?;
        let whole = device.measure(file, sample)?;
        let (code, measured_code) = (device.code_size(file)?, device.measured_code_size(file)?);
        let missing = || format!("{}: the device counted nothing", self.on);
        let entry = inspect(model).entries.into_iter().find(|entry| entry.kind == EntryKind::Infer);
        let entry = entry.ok_or_else(missing)?;
        let counted = report.steps.iter().map(|step| step.instructions.ok_or_else(missing));
        let counted = counted.collect::<Result<Vec<_>, _>>()?;
        if counted.len() != entry.steps.len() {
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
            steps: steps.collect(),
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
        Ok(text)
    }
}

/// One sample, from raw bytes that differ.
fn sample(interface: &Interface<'_>) -> Vec<u8> {
    let elements = interface.input.shape.elements().unwrap_or(0);
    let bytes: Vec<u8> = (0..elements).map(|index| (index.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    interface.inputs_from_bytes(&bytes)
}
