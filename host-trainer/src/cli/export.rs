//! `smidgen export`.

use std::path::PathBuf;

use smidgen_trainer::tflite::export;
use smidgen_trainer::train::files::write_atomically;

use super::table::grouped;
use super::{Outcome, read_model};

/// Make a TensorFlow Lite file of an int8 model.
///
/// TensorFlow Lite Micro computes the same bytes with it, and imported again it is the same model: otherwise there is no file.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// Where to write the TensorFlow Lite file
    #[arg(short, long, value_name = "NET.tflite")]
    output: PathBuf,
}

impl Export {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let tflite = export(file.as_slice()).map_err(|error| format!("{}: {error}", self.model.display()))?;
        write_atomically(&self.output, &tflite)?;
        eprintln!("wrote {}: {} bytes", self.output.display(), grouped(tflite.len() as u64));
        Ok(std::process::ExitCode::SUCCESS)
    }
}
