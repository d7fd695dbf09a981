//! From a model of int8 operators to a `.tflite` file, and exactly back.
//!
//! What a model file does not have, because its steps do not need it, is found again: weight scales such that TensorFlow Lite Micro's `Prepare` computes the multipliers and
//! shifts of the channel records ([`scales`]), biases without the input's zero point, the names of paddings and activations. In the end the file is imported again: unless that
//! gives the same steps and the same weights, there is no file.

mod compare;
mod operators;
mod scales;
mod write;

use smidgen::model::WriteError;
use smidgen::{EntryKind, LoadError, Model, Operator};

use self::operators::Exporter;
use super::convert::{ConvertError, convert};
use crate::buffer::AlignedBytes;
use crate::compile::unpack;

pub(super) use self::write::{LABELS, PREPROCESSING};

/// Why a model did not become a `.tflite` file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model is not one.
    #[error("not a valid model: {0}")]
    Invalid(#[from] LoadError),
    /// The model cannot infer.
    #[error("the model has no inference")]
    NoInference,
    /// A step has no form in TensorFlow Lite.
    #[error("step {step} ({operator}): {reason}")]
    Step {
        /// Its index.
        step: usize,
        /// Its operator.
        operator: &'static str,
        /// Why not.
        reason: String,
    },
    /// The plain model that it is made of would be too long.
    #[error("unpacked, the model would be too long: {0}")]
    TooLong(#[source] WriteError),
    /// The file was made, but cannot be read again.
    #[error("the file that was made cannot be imported: {0}")]
    Reimport(#[source] Box<ConvertError>),
    /// The file was made, but is another network.
    #[error("the file that was made is another network: {0}")]
    Difference(String),
}

/// The `.tflite` file of a model, whose weights may be packed. Equal models give equal files.
///
/// # Errors
/// See [`ExportError`].
pub fn export(file: &[u8]) -> Result<Vec<u8>, ExportError> {
    let aligned = AlignedBytes::copy_of(file);
    let model: Model<'_> = Model::from_bytes(aligned.as_slice())?;
    if let Some(plain) = unpack(&model).map_err(ExportError::TooLong)? {
        return export(&plain);
    }
    let entry = model.entry(EntryKind::Infer).ok_or(ExportError::NoInference)?;
    let mut exporter = Exporter::new(&model);
    for (position, input) in entry.inputs.iter().enumerate() {
        exporter.input(position, input);
    }
    for (index, step) in model.steps(&entry).enumerate() {
        let Ok(step) = step else { return Err(ExportError::NoInference) };
        let operator = Operator::from_code(step.operator).map_or("unknown", Operator::name);
        let named = |reason| ExportError::Step { step: index, operator, reason };
        exporter.step(&step).map_err(named)?;
    }
    for (position, output) in entry.outputs.iter().enumerate() {
        let (step, operator) = (entry.step_count as usize, "output");
        let named = |reason| ExportError::Step { step, operator, reason };
        exporter.output(position, output).map_err(named)?;
    }
    let tflite = write::file(exporter.finish(), &model.metadata());
    let again = convert(&tflite, model.metadata().name, None)
        .map_err(|error| ExportError::Reimport(Box::new(error)))?;
    compare::same(&model, &again.file).map_err(ExportError::Difference)?;
    Ok(tflite)
}
