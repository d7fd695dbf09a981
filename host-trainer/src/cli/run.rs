//! `smidgen run`.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use smidgen_trainer::device::{self, Device, Target};
use smidgen_trainer::evaluate::run_in_parts;
use smidgen_trainer::npy;
use smidgen_trainer::ports::{Port, Ports};
use smidgen_trainer::trace::Trace;
use smidgen_trainer::train::files::{read_file, write_atomically};

use super::table::grouped;
use super::{Outcome, parse_model, print, read_model, threads};

/// Run a model on samples from a NumPy file, here or on an emulated core.
///
/// Rows of the input are samples. int8 rows are the inputs of a quantized model as they are; float32 rows are quantized first, for a quantized model;
/// uint8 rows are raw samples, which go through the model's own preprocessing. The output has the model's type and a row a sample. A model with several inputs
/// or outputs has several of these options, in the model's order or as NAME=FILE.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The samples, an array [samples, ...] of int8, uint8 or float32
    #[arg(long, value_name = "X.npy", required = true)]
    input: Vec<String>,
    /// Where to write the outputs
    #[arg(long, value_name = "Y.npy", required = true)]
    output: Vec<String>,
    /// Where to run: host, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55
    #[arg(long, value_name = "TARGET", default_value = "host")]
    on: Target,
    /// Threads, or emulators side by side, to use; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
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
        let named = |error: &dyn Error| format!("{}: {error}", self.model.display());
        let ports = Ports::of(&model).map_err(|error| named(&error))?;
        let from = files(&self.input, &ports.inputs, "--input").map_err(|error| named(&*error))?;
        let to = files(&self.output, &ports.outputs, "--output").map_err(|error| named(&*error))?;
        let arrays = from.iter().map(|path| {
            npy::parse(&read_file(path)?).map_err(|error| format!("{}: {error}", path.display()).into())
        });
        let arrays = arrays.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let (count, inputs) =
            ports.rows(&arrays).map_err(|error| match error.index().and_then(|index| from.get(index)) {
                Some(path) => format!("{}: {error}", path.display()),
                None => named(&error),
            })?;
        let mut device = Device::new(self.on).traced(&[]);
        if self.reset_state {
            device = device.reset_state();
        }
        if self.trace.is_some() {
            device = device.trace_all();
        }
        let threads = threads(self.threads);
        let report = run_in_parts(&device, file.as_slice(), &inputs, ports.run_bytes(), threads)?;
        for (path, array) in to.iter().zip(ports.arrays(count, &report.outputs)) {
            write_atomically(path, &array.to_file())?;
            let (shape, kind) = (&array.shape, array.kind.name());
            eprintln!("wrote {}: {shape:?} of type {kind}, run on {}", path.display(), self.on);
        }
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
}

/// The file of each port: as many as there are, in their order or as `NAME=FILE`.
fn files(given: &[String], ports: &[Port], option: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let names = || ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
    if given.len() != ports.len() {
        let (found, expected) = (given.len(), ports.len());
        return Err(format!("found {found} times {option}, expected {expected}, for {}", names()).into());
    }
    let mut found: Vec<Option<PathBuf>> = vec![None; ports.len()];
    let mut unnamed = Vec::new();
    for text in given {
        let by_name = ports
            .iter()
            .position(|port| text.strip_prefix(port.name.as_str()).is_some_and(|rest| rest.starts_with('=')));
        match by_name {
            Some(index) => {
                let path = text.get(ports[index].name.len() + 1..).unwrap_or_default();
                if found[index].replace(path.into()).is_some() {
                    return Err(format!("{option} {text}: {} was given before", ports[index].name).into());
                }
            }
            None => unnamed.push(PathBuf::from(text)),
        }
    }
    // There are as many unnamed files as ports without one.
    let mut unnamed = unnamed.into_iter();
    Ok(found.into_iter().filter_map(|path| path.or_else(|| unnamed.next())).collect())
}
