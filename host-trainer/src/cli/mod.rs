//! The commands. Results go to stdout, progress and logs to stderr; `--json` prints one JSON object on stdout and nothing else there.

mod demo;
mod progress;
mod train;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

/// Neural networks that fit in a smidgen of memory: train, quantize, run, on this machine and on a microcontroller, with the same bits.
#[derive(Debug, Parser)]
#[command(name = "smidgen", version, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on the bundled handwritten digits, quantize, run all test images on an emulated Cortex-M4, compare every byte
    Demo(demo::Demo),
    /// Train and quantize a network as a recipe says
    Train(train::Train),
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Train(train) => train.run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
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
fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}
