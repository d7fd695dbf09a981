//! Measuring an int8 classifier: its inputs from images, and how many of its outputs are right.

use smidgen::{AllOperators, EntryKind, LoadError, Model};

use crate::buffer::AlignedBytes;
use crate::data::Dataset;

/// Why a model cannot be measured on a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The file is not a valid model.
    #[error("the model file is not valid: {0}")]
    Invalid(#[from] LoadError),
    /// The model cannot infer, or its input is not one sample in int8.
    #[error("the model has no inference of one int8 sample; quantize it first")]
    NotInt8,
    /// The samples do not fit.
    #[error(
        "the model takes {expected} bytes a sample, a sample of {dataset} has {found}; give the data that it was trained on"
    )]
    SampleLength {
        /// The data set.
        dataset: String,
        /// Bytes of the model's input.
        expected: usize,
        /// Bytes of a sample.
        found: usize,
    },
}

/// The inputs of an int8 model for every image of `data`, one after another, as the bytes that [`Device::run`](crate::device::Device::run) takes.
/// How bytes become inputs is the model's own preprocessing.
///
/// # Errors
/// See [`EvaluateError`].
pub fn quantized_inputs(file: &[u8], data: &Dataset) -> Result<Vec<u8>, EvaluateError> {
    let file = AlignedBytes::copy_of(file);
    let model = Model::<AllOperators>::from_bytes(file.as_slice())?;
    let entry = model.entry(EntryKind::Infer).ok_or(EvaluateError::NotInt8)?;
    let input = entry.inputs.first().ok_or(EvaluateError::NotInt8)?;
    let quantization = input.quantization.ok_or(EvaluateError::NotInt8)?;
    let (expected, found) = (input.bytes().unwrap_or(0), data.sample_len());
    if expected != found {
        return Err(EvaluateError::SampleLength { dataset: data.name().into(), expected, found });
    }
    let preprocessing = model.metadata().preprocessing;
    let table: Vec<u8> =
        (0..=255u8).map(|byte| quantization.quantize(preprocessing.apply(byte)).cast_unsigned()).collect();
    Ok(data.samples().iter().map(|&byte| table[usize::from(byte)]).collect())
}

/// How many samples are classified right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Samples whose greatest output is that of their label.
    pub correct: usize,
    /// All samples.
    pub samples: usize,
}

impl Accuracy {
    /// Of int8 outputs, `[samples, classes]` as bytes. Of equal outputs the first one counts.
    pub fn of(outputs: &[u8], labels: &[u32]) -> Self {
        let classes = outputs.len() / labels.len().max(1);
        let rows = outputs.chunks_exact(classes.max(1)).zip(labels);
        let correct = rows.filter(|(row, label)| largest(row) == Some(**label as usize)).count();
        Self { correct, samples: labels.len() }
    }

    /// The fraction that is right.
    pub fn fraction(&self) -> f64 {
        self.correct as f64 / self.samples.max(1) as f64
    }
}

/// The index of the first greatest int8 in `row`.
pub fn largest(row: &[u8]) -> Option<usize> {
    // `max_by_key` takes the last of equals, so the order is turned around.
    row.iter().enumerate().rev().max_by_key(|(_, value)| value.cast_signed()).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_outputs_counts() {
        assert_eq!(largest(&[0, 5, 5, 255]), Some(1));
        assert_eq!(largest(&[]), None);
        let outputs = [1, 0, 0, 2, 255, 254];
        assert_eq!(Accuracy::of(&outputs, &[0, 0, 1]), Accuracy { correct: 1, samples: 3 });
    }
}
