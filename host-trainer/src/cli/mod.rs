//! The commands. Results go to stdout, progress and logs to stderr; `--json` prints one JSON object on stdout and nothing else there.

mod bench;
mod bench_train;
mod demo;
mod diff_trace;
mod doctor;
mod eval;
mod export;
mod flash;
mod import;
mod inspect;
mod learn;
mod listen;
mod personalize;
mod progress;
mod run;
mod simd;
mod sweep;
mod table;
mod train;
mod update;

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use smidgen::Model;
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::train::files::read_file;

/// Neural networks that fit in a smidgen of memory: train, quantize, run, on this machine and on a microcontroller, with the same bits.
#[derive(Debug, Parser)]
#[command(name = "smidgen", version, max_term_width = 120)]
struct Arguments {
    /// Instruction set of the f32 kernels, off for scalar code; no result depends on it [default: the best there is]
    #[arg(long, global = true, value_name = "ISA", env = "SMIDGEN_SIMD", hide_env_values = true)]
    simd: Option<simd::Simd>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on the bundled handwritten digits, quantize, run all test images on an emulated Cortex-M4, compare every byte
    Demo(demo::Demo),
    /// Train and quantize a network as a recipe says
    Train(train::Train),
    /// Look for what is wrong with a recipe, in seconds: the loss before training, gradients, one batch learned by heart
    Doctor(doctor::Doctor),
    /// Find a learning rate for a recipe
    FindRate(doctor::FindRate),
    /// Train a recipe with several settings, or on several folds of the data, and rank them
    Sweep(sweep::Sweep),
    /// Measure a model's accuracy on the test images, here or on an emulated core
    Eval(eval::Eval),
    /// Run a model on samples from a NumPy file, here or on an emulated core
    Run(run::Run),
    /// Name the first step at which two traces of `run --trace` differ
    DiffTrace(diff_trace::DiffTrace),
    /// Make a model of a TensorFlow Lite file
    Import(import::Import),
    /// Make a TensorFlow Lite file of an int8 model
    Export(export::Export),
    /// Give a model the entries that let a device learn
    Personalize(personalize::Personalize),
    /// Let a model learn samples, here or on an emulated core, and log its weights
    Learn(learn::Learn),
    /// Learn again what a device has logged, and compare the weights bit by bit
    Replay(learn::Replay),
    /// Show what is in a model file: steps, memory, quantization, provenance
    Inspect(inspect::Inspect),
    /// Play recordings to a model that listens, here or on an emulated core
    Listen(listen::Listen),
    /// Build a model into the application for a board, and flash it
    Flash(flash::Flash),
    /// Send a new model to a board that listens, over its serial line
    Update(update::Update),
    /// Count a model's instructions, memory and code on an emulated core
    Bench(bench::Bench),
    /// Measure how fast a network trains here, on synthetic data
    BenchTrain(bench_train::BenchTrain),
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = simd::choose(arguments.simd).and_then(|()| match &arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Train(train) => train.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::FindRate(find) => find.run(),
        Command::Sweep(sweep) => sweep.run(),
        Command::Eval(eval) => eval.run(),
        Command::Run(run) => run.run(),
        Command::DiffTrace(diff) => diff.run(),
        Command::Import(import) => import.run(),
        Command::Export(export) => export.run(),
        Command::Personalize(personalize) => personalize.run(),
        Command::Learn(learn) => learn.run(),
        Command::Replay(replay) => replay.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Listen(listen) => listen.run(),
        Command::Flash(flash) => flash.run(),
        Command::Update(update) => update.run(),
        Command::Bench(bench) => bench.run(),
        Command::BenchTrain(bench) => bench.run(),
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Prints a result. Whoever reads it may stop reading, as `head` does; anything else that keeps it from being read is an error.
fn print(text: &str) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => Err(format!("stdout: {cause}").into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Prints a result as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> Outcome {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// The bytes of a model file.
fn read_model(path: &Path) -> Result<AlignedBytes, Box<dyn Error>> {
    Ok(AlignedBytes::copy_of(&read_file(path)?))
}

/// The model in `file`, which was read from `path`.
fn parse_model<'m>(path: &Path, file: &'m AlignedBytes) -> Result<Model<'m>, Box<dyn Error>> {
    let model = Model::from_bytes(file.as_slice());
    model.map_err(|error| format!("{}: not a valid model: {error}", path.display()).into())
}

/// Becomes true at the first Ctrl-C; the second one ends the program at once.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    })?;
    Ok(stop)
}

/// The number of threads to use: what was asked for, or all cores.
fn threads(asked: Option<NonZeroUsize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}
