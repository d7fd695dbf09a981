//! Measuring a model: its inputs from samples, its outputs, and how many of them are right.

pub mod anomaly;
pub mod masks;

use std::thread;

use serde::Serialize;
use smidgen::{AllOperators, ElementType, EntryKind, LoadError, Model, Operand, Preprocessing};

use crate::buffer::AlignedBytes;
use crate::data::Dataset;
use crate::data::audio::{clip_of_bytes, features};
use crate::device::{Device, DeviceError, Report, StepReport, keeps_state};

/// Why a model cannot be measured on a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The file is not a valid model.
    #[error("the model file is not valid: {0}")]
    Invalid(#[from] LoadError),
    /// The model cannot infer, or not from one input to one output of numbers.
    #[error("the model has no inference from one input to one output, both int8 or f32")]
    NoInference,
    /// Samples of a type that the model cannot take.
    #[error("int8 samples are only for a model with an int8 input, this one's is f32")]
    Int8Samples,
    /// The samples do not fit.
    #[error(
        "the model takes {expected} elements a sample, a sample of {dataset} has {found}; give the data that it was trained on"
    )]
    SampleLength {
        /// The data set.
        dataset: String,
        /// Elements of the model's input.
        expected: usize,
        /// Elements of a sample.
        found: usize,
    },
    /// Features of another kind.
    #[error("the model's front end is not that of {dataset}; load it with the model's own")]
    FrontEnd {
        /// The data set.
        dataset: String,
    },
    /// The model gives something else than what it takes.
    #[error("the model takes {given} numbers and gives {made}: it does not give its input back")]
    NoReconstruction {
        /// Elements of the input.
        given: usize,
        /// Elements of the output.
        made: usize,
    },
    /// The model gives no masks.
    #[error("the model has {outputs} outputs, no multiple of the {pixels} pixels of a mask")]
    NoMasks {
        /// Outputs of the model.
        outputs: usize,
        /// Pixels of a mask.
        pixels: usize,
    },
    /// The model does not have an output for each class.
    #[error(
        "the model has {found} outputs, {dataset} has {expected} classes; give the data that it was trained on"
    )]
    Classes {
        /// The data set.
        dataset: String,
        /// Its classes.
        expected: usize,
        /// Outputs of the model.
        found: usize,
    },
}

/// How samples go into a model, and what comes out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interface<'m> {
    /// The input of a run, int8 with a quantization or f32.
    pub input: Operand,
    /// The output of a run, int8 or f32.
    pub output: Operand,
    /// What is done to a byte before it is an input.
    pub preprocessing: Preprocessing<'m>,
}

impl<'m> Interface<'m> {
    /// The interface of a model.
    ///
    /// # Errors
    /// [`EvaluateError::NoInference`].
    pub fn of(model: &Model<'m>) -> Result<Self, EvaluateError> {
        let entry = model.entry(EntryKind::Infer).ok_or(EvaluateError::NoInference)?;
        let (&[input], &[output]) = (entry.inputs, entry.outputs) else {
            return Err(EvaluateError::NoInference);
        };
        let known = |operand: &Operand| match operand.element_type {
            ElementType::I8 => !operand.quantization.is_none(),
            ElementType::F32 => true,
            ElementType::U8 | ElementType::I16 | ElementType::I32 => false,
        };
        let found = Self { input, output, preprocessing: model.metadata().preprocessing };
        // A batch in one run gives as many answers.
        let same_batch = input.shape.dims()[0] == output.shape.dims()[0];
        if known(&input) && known(&output) && same_batch {
            Ok(found)
        } else {
            Err(EvaluateError::NoInference)
        }
    }

    /// The interface of the model in `file`.
    ///
    /// # Errors
    /// [`EvaluateError::Invalid`], [`EvaluateError::NoInference`].
    pub fn of_file(file: &'m [u8]) -> Result<Self, EvaluateError> {
        let aligned = AlignedBytes::copy_of(file);
        let found = Interface::of(&Model::from_bytes(aligned.as_slice())?)?;
        // The same bytes, which live longer than their copy.
        let preprocessing = Model::<AllOperators>::trusted(file)?.metadata().preprocessing;
        Ok(Self { input: found.input, output: found.output, preprocessing })
    }

    /// Elements of one sample.
    pub fn sample_elements(&self) -> usize {
        elements_per_sample(&self.input)
    }

    /// Elements of the output for one sample: of a classifier, its classes.
    pub fn output_elements(&self) -> usize {
        elements_per_sample(&self.output)
    }

    /// Raw bytes as inputs, by the model's own preprocessing.
    pub fn inputs_from_bytes(&self, samples: &[u8]) -> Vec<u8> {
        let value = |byte: u8| self.preprocessing.apply(byte);
        match self.input.quantization.some() {
            Some(quantization) => {
                let table: Vec<u8> =
                    (0..=255).map(|byte| quantization.quantize(value(byte)).cast_unsigned()).collect();
                samples.iter().map(|&byte| table[usize::from(byte)]).collect()
            }
            None => samples.iter().flat_map(|&byte| value(byte).to_le_bytes()).collect(),
        }
    }

    /// Real numbers as inputs: quantized, if the model is.
    pub fn inputs_from_f32(&self, samples: impl Iterator<Item = f32>) -> Vec<u8> {
        match self.input.quantization.some() {
            Some(quantization) => samples.map(|value| quantization.quantize(value).cast_unsigned()).collect(),
            None => samples.flat_map(f32::to_le_bytes).collect(),
        }
    }

    /// Numbers that are quantized already, as the bytes that they are.
    ///
    /// # Errors
    /// [`EvaluateError::Int8Samples`] for a model whose input is f32.
    pub fn inputs_from_i8(&self, samples: Vec<u8>) -> Result<Vec<u8>, EvaluateError> {
        match self.input.element_type {
            ElementType::I8 => Ok(samples),
            _ => Err(EvaluateError::Int8Samples),
        }
    }

    /// The inputs for every sample of a classifier's data, as the bytes that [`Device::run`] takes.
    ///
    /// # Errors
    /// As [`Self::samples`]; [`EvaluateError::Classes`].
    pub fn inputs(&self, data: &Dataset) -> Result<Vec<u8>, EvaluateError> {
        let inputs = self.samples(data)?;
        let (expected, found) = (data.class_names().len(), self.output_elements());
        if expected != found {
            return Err(EvaluateError::Classes { dataset: data.name().to_owned(), expected, found });
        }
        Ok(inputs)
    }

    /// The inputs for every sample, whatever comes out of the model.
    ///
    /// # Errors
    /// [`EvaluateError::SampleLength`], [`EvaluateError::FrontEnd`].
    pub fn samples(&self, data: &Dataset) -> Result<Vec<u8>, EvaluateError> {
        let dataset = || data.name().to_owned();
        let (expected, found) = (self.sample_elements(), data.sample_len());
        if expected != found {
            return Err(EvaluateError::SampleLength { dataset: dataset(), expected, found });
        }
        let Preprocessing::Audio(audio) = self.preprocessing else {
            return Ok(self.inputs_from_bytes(data.samples()));
        };
        if data.audio() != Some(&audio.config) {
            return Err(EvaluateError::FrontEnd { dataset: data.name().to_owned() });
        }
        let mut row = vec![0.0; data.sample_len()];
        let inputs = (0..data.len()).flat_map(|index| {
            let clip: Vec<i16> = clip_of_bytes(data.image(index)).collect();
            features(&audio, &clip, &mut row);
            self.inputs_from_f32(row.iter().copied())
        });
        Ok(inputs.collect())
    }

    /// The outputs as real numbers.
    pub fn real_outputs(&self, outputs: &[u8]) -> Vec<f32> {
        real(&self.output, outputs)
    }

    /// Which output is the greatest, for each sample; of equal ones the first. NaN is never the greatest.
    pub fn predictions(&self, outputs: &[u8]) -> Vec<usize> {
        let bytes = self.output_elements().max(1) * self.output.element_type.bytes();
        let rows = outputs.chunks_exact(bytes);
        match self.output.element_type {
            ElementType::F32 => rows
                .map(|row| largest(row.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes))))
                .collect(),
            _ => rows.map(|row| largest(row.iter().map(|byte| byte.cast_signed()))).collect(),
        }
    }
}

/// What the bytes of an operand stand for.
fn real(operand: &Operand, bytes: &[u8]) -> Vec<f32> {
    match (operand.element_type, operand.quantization.some()) {
        (ElementType::I8, Some(quantization)) => {
            let real = |&byte: &u8| smidgen::ops::quantize::dequantize_one(quantization, byte.cast_signed());
            bytes.iter().map(real).collect()
        }
        _ => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
    }
}

/// Of all samples of a run, which the first dimension counts.
fn elements_per_sample(operand: &Operand) -> usize {
    operand.shape.elements().unwrap_or(0) / operand.shape.dims()[0].max(1)
}

/// The index of the first greatest value.
fn largest<T: PartialOrd + Copy>(values: impl Iterator<Item = T>) -> usize {
    let greatest = values.enumerate().reduce(|best, next| {
        let best_is_number = best.1.partial_cmp(&best.1).is_some();
        if next.1 > best.1 || !best_is_number { next } else { best }
    });
    greatest.map_or(0, |(index, _)| index)
}

/// [`Device::run`] with the inputs dealt out to `threads` devices, in whole runs of `run_bytes`; the outputs are those of one device. A network that keeps a state
/// from sample to sample runs on one.
///
/// The counts are those of the first device, its stack the largest of all. Steps are those that `device` traces.
///
/// # Errors
/// See [`DeviceError`].
pub fn run_in_parts(
    device: &Device,
    model: &[u8],
    inputs: &[u8],
    run_bytes: usize,
    threads: usize,
) -> Result<Report, DeviceError> {
    let runs = inputs.len() / run_bytes.max(1);
    let part = runs.div_ceil(threads.max(1)).max(1) * run_bytes;
    let in_order = !device.resets_state() && depends_on_order(model);
    if part == 0 || inputs.len() <= part || in_order {
        return device.run(model, inputs);
    }
    let mut parts = inputs.chunks(part);
    let first = parts.next().unwrap_or_default();
    // Unless all is traced, the others need no trace of their own.
    let other_device = if device.traces_all() { device.clone() } else { device.clone().traced(&[]) };
    let (first, others) = thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(|| other_device.run(model, part))).collect();
        let first = device.run(model, first);
        let joined: Vec<_> = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        (first, joined)
    });
    let mut report = first?;
    for (index, other) in (1..).zip(others) {
        let other = other?;
        let first_round = u32::try_from(index * part / run_bytes).unwrap_or(u32::MAX);
        let steps = other
            .steps
            .iter()
            .map(|step| StepReport { round: first_round.saturating_add(step.round), ..*step });
        report.steps.extend(steps);
        report.outputs.extend_from_slice(&other.outputs);
        report.stack_peak_bytes = report.stack_peak_bytes.max(other.stack_peak_bytes);
    }
    Ok(report)
}

/// Whether a sample's output depends on the samples before it.
fn depends_on_order(model: &[u8]) -> bool {
    let file = AlignedBytes::copy_of(model);
    Model::from_bytes(file.as_slice()).is_ok_and(|model| keeps_state(&model))
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
    /// The fraction that is right.
    pub fn fraction(&self) -> f64 {
        self.correct as f64 / self.samples.max(1) as f64
    }
}

/// Which class is taken for which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Confusion {
    /// `[label][prediction]`: how many samples.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Of predictions and labels, sample by sample, both less than `classes`. Others do not count.
    pub fn of(predictions: &[usize], labels: &[u32], classes: usize) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        for (&prediction, &label) in predictions.iter().zip(labels) {
            if let Some(count) = counts.get_mut(label as usize).and_then(|row| row.get_mut(prediction)) {
                *count += 1;
            }
        }
        Self { counts }
    }

    /// How many are right: those on the diagonal.
    pub fn accuracy(&self) -> Accuracy {
        let correct = self.counts.iter().enumerate().filter_map(|(class, row)| row.get(class)).sum();
        Accuracy { correct, samples: self.counts.iter().flatten().sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_outputs_counts() {
        assert_eq!(largest([0, 5, 5, -1].into_iter()), 1);
        assert_eq!(largest([f32::NAN, f32::NEG_INFINITY, 2.0, f32::NAN].into_iter()), 2);
        assert_eq!(largest(std::iter::empty::<i8>()), 0);
    }

    #[test]
    fn confusion_counts_pairs() {
        let confusion = Confusion::of(&[0, 1, 1, 0], &[0, 1, 0, 1], 2);
        assert_eq!(confusion.counts, [[1, 1], [1, 1]]);
        assert_eq!(confusion.accuracy(), Accuracy { correct: 2, samples: 4 });
    }
}
