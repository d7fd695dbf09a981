//! `smidgen run`.

use std::error::Error;
use std::path::{Path, PathBuf};

use smidgen::{ElementType, Operand};
use smidgen_trainer::device::{self, Device, Target};
use smidgen_trainer::evaluate::{Interface, run_in_parts};
use smidgen_trainer::npy::{self, Array, ElementKind};
use smidgen_trainer::trace::Trace;
use smidgen_trainer::train::files::{read_file, write_atomically};

use super::table::grouped;
use super::{Outcome, parse_model, print, read_model, threads};

/// Run a model on samples from a NumPy file, here or on an emulated core.
///
/// Rows of the input are samples. int8 rows are the inputs of a quantized model as they are; float32 rows are quantized first, for a quantized model;
/// uint8 rows are raw samples, which go through the model's own preprocessing. The output has the model's type, int8 or float32, and a row a sample.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The samples, an array [samples, ...] of int8, uint8 or float32
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// Where to write the outputs
    #[arg(long, value_name = "Y.npy")]
    output: PathBuf,
    /// Where to run: host, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55
    #[arg(long, value_name = "TARGET", default_value = "host")]
    on: Target,
    /// Threads, or emulators side by side, to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Begin every sample anew. Otherwise a network that keeps a state, as recurrent and streaming ones do, sees the samples as a sequence
    #[arg(long)]
    reset_state: bool,
    /// Write a hash of what each step of each sample wrote, for `diff-trace`; to stdout if no file is named
    #[arg(long, value_name = "TRACE", num_args = 0..=1, default_missing_value = "-")]
    trace: Option<PathBuf>,
}

impl Run {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let model = parse_model(&self.model, &file)?;
        device::check(self.on)?;
        let named = |error| format!("{}: {error}", self.model.display());
        let interface = Interface::of(&model).map_err(named)?;
        let samples = npy::parse(&read_file(&self.input)?);
        let samples = samples.map_err(|error| format!("{}: {error}", self.input.display()))?;
        let count = self.samples(&samples, &interface)?;
        let inputs = match samples.kind {
            ElementKind::I8 => interface
                .inputs_from_i8(samples.bytes)
                .map_err(|error| format!("{}: {error}", self.input.display()))?,
            ElementKind::U8 => interface.inputs_from_bytes(&samples.bytes),
            ElementKind::F32 => {
                let values = samples.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
                interface.inputs_from_f32(values)
            }
        };
        let run_bytes = interface.input.bytes().unwrap_or(0);
        let mut device = Device::new(self.on).traced(&[]);
        if self.reset_state {
            device = device.reset_state();
        }
        if self.trace.is_some() {
            device = device.trace_all();
        }
        let mut report = run_in_parts(&device, file.as_slice(), &inputs, run_bytes, threads(self.threads))?;
        let kind = match interface.output.element_type {
            ElementType::F32 => ElementKind::F32,
            _ => ElementKind::I8,
        };
        let shape: Vec<usize> = std::iter::once(count).chain(sample_dims(&interface.output)).collect();
        let message =
            format!("wrote {}: {shape:?} of type {}, run on {}", self.output.display(), kind.name(), self.on);
        write_atomically(
            &self.output,
            &Array { kind, shape, bytes: std::mem::take(&mut report.outputs) }.to_file(),
        )?;
        eprintln!("{message}");
        if let Some(instructions) = report.instructions {
            eprintln!("{} instructions per inference", grouped(instructions));
        }
        let Some(path) = &self.trace else { return Ok(std::process::ExitCode::SUCCESS) };
        let trace = Trace::new(&model, &report, &inputs)?;
        if path == Path::new("-") {
            return print(&trace.to_string());
        }
        write_atomically(path, trace.to_string().as_bytes())?;
        eprintln!("wrote {}: {} hashes", path.display(), trace.steps.len());
        Ok(std::process::ExitCode::SUCCESS)
    }

    /// How many samples `array` is for the model.
    fn samples(&self, array: &Array, interface: &Interface) -> Result<usize, Box<dyn Error>> {
        let (expected, batch) = (interface.sample_elements(), interface.input.shape.dims()[0]);
        let dims: Vec<usize> = sample_dims(&interface.input).collect();
        let error = |problem: String| format!("{}: {problem}", self.input.display());
        let Some((&count, row)) = array.shape.split_first() else {
            return Err(
                error(format!("a single number, expected an array [samples, ...] of {dims:?} each")).into()
            );
        };
        // An array without samples may have rows of any length, even of one that does not fit 64 bits.
        if count == 0 || !count.is_multiple_of(batch) {
            let problem = format!("it has {count} samples, expected a positive multiple of {batch}");
            return Err(error(problem).into());
        }
        let found = row.iter().product::<usize>();
        if found != expected {
            let model = self.model.display();
            return Err(error(format!(
                "the shape {:?} has {found} elements a row, expected {expected} ({dims:?}), which {model} takes",
                array.shape
            ))
            .into());
        }
        Ok(count)
    }
}

/// The dimensions of one sample without the ones that stand before lower ranks.
fn sample_dims(operand: &Operand) -> impl Iterator<Item = usize> + use<> {
    let [_, h, w, c] = operand.shape.dims();
    let skip = if h > 1 {
        0
    } else if w > 1 {
        1
    } else {
        2
    };
    [h, w, c].into_iter().skip(skip)
}
