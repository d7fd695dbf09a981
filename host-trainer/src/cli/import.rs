//! `smidgen import`.

use std::error::Error;
use std::path::{Path, PathBuf};

use smidgen_trainer::compile::{LowerOptions, Prefer};
use smidgen_trainer::device::Target;
use smidgen_trainer::npy::{self, ElementKind};
use smidgen_trainer::recipe;
use smidgen_trainer::tflite::{Calibration, convert_with};
use smidgen_trainer::train::files::{read_file, write_atomically};

use super::table::grouped;
use super::{Outcome, parse_model};

/// Make a model of a TensorFlow Lite file.
///
/// An int8 network keeps its quantization exactly: the model gives the bytes of TensorFlow Lite Micro. A float network runs in float32, or becomes an
/// int8 one with samples for its calibration.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The TensorFlow Lite file
    #[arg(value_name = "NET.tflite")]
    net: PathBuf,
    /// Where to write the model
    #[arg(short, long, value_name = "MODEL.smg")]
    output: PathBuf,
    /// Quantize a float network to int8, with the ranges that these samples, an array [samples, ...] of float32, give its activations
    #[arg(long, value_name = "X.npy")]
    calibrate: Option<PathBuf>,
    /// Pack int8 weights for the kernels of this core; the model runs everywhere with the same bits, but fastest there
    #[arg(long = "for", value_name = "TARGET", default_value = "host")]
    packed_for: Target,
    /// What the choice of layouts is for: speed, ram or flash
    #[arg(long, value_name = "WHAT", default_value_t)]
    prefer: Prefer,
}

impl Import {
    pub(crate) fn run(&self) -> Outcome {
        let tflite = read_file(&self.net)?;
        let name = self.net.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let samples = self.calibrate.as_deref().map(floats).transpose()?;
        let settings = recipe::Quantization::default();
        let calibration = samples.as_ref().map(|samples| Calibration { samples, settings: &settings });
        let (packing, prefer) = (self.packed_for.packing(), self.prefer);
        let options = LowerOptions { packing, prefer, ..LowerOptions::default() };
        let converted = convert_with(&tflite, &name, calibration, &options)
            .map_err(|error| format!("{}: {error}", self.net.display()))?;
        write_atomically(&self.output, &converted.file)?;
        let file = smidgen_trainer::buffer::AlignedBytes::copy_of(&converted.file);
        let model = parse_model(&self.output, &file)?;
        eprintln!(
            "wrote {}: {} operators, {} bytes, {} bytes of memory to run",
            self.output.display(),
            converted.graph.nodes.len(),
            grouped(converted.file.len() as u64),
            grouped(model.arena_bytes() as u64)
        );
        Ok(std::process::ExitCode::SUCCESS)
    }
}

/// The elements of an array of float32, at least one.
fn floats(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let array = npy::parse(&read_file(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    if array.kind != ElementKind::F32 || array.bytes.is_empty() {
        let problem =
            format!("{} of type {}, expected float32 samples", array.bytes.len(), array.kind.name());
        return Err(format!("{}: {problem}", path.display()).into());
    }
    Ok(array.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
