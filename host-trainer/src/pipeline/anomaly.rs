//! Networks that give their input back: what is normal, and how much may be lost of it.

use super::{PipelineError, Trained, float_outputs};
use crate::data::{Dataset, Split};
use crate::device::{Device, Target};
use crate::evaluate::anomaly::{reconstruct, threshold};
use crate::recipe::Recipe;
use crate::train::held_out;
use smidgen::frontend::reconstruction_error;

/// Samples that the threshold is measured on, at most.
const SAMPLES: usize = 4096;

/// The names of the classes that are trained on: what is of another one is an anomaly.
pub fn normal_classes(train: &Dataset) -> Vec<String> {
    let is_there = |&(label, _): &(usize, &String)| train.labels().contains(&(label as u32));
    train.class_names().iter().enumerate().filter(is_there).map(|(_, name)| name.clone()).collect()
}

/// The score that `task.percentile` percent of the held-out samples are not above, by the model in `file`; of the samples that were trained on, if none are held out.
pub(super) fn threshold_of(recipe: &Recipe, split: &Split, file: &[u8]) -> Result<f32, PipelineError> {
    let (train, validation) = held_out(recipe, split.train.len());
    let all = if validation.is_empty() { train } else { validation };
    let count = all.len().min(SAMPLES);
    let samples: Vec<u32> = (0..count).map(|index| all[index * all.len() / count]).collect();
    let data = split.train.select(split.train.name(), &samples)?;
    let (scores, _) = reconstruct(&Device::new(Target::Host), file, &data, 1)?;
    Ok(threshold(&scores, recipe.task.percentile))
}

/// The score of each sample of `data` by the trained network, in f32.
///
/// # Errors
/// See [`PipelineError`].
pub fn float_scores(trained: &Trained, data: &Dataset, threads: usize) -> Result<Vec<f32>, PipelineError> {
    let (inputs, outputs) = float_outputs(trained, data, threads)?;
    let elements = data.sample_len();
    let rows = inputs.chunks_exact(elements).zip(outputs.chunks_exact(elements));
    let score =
        |(given, made): (&[f32], &[f32])| reconstruction_error(given.iter().copied(), made.iter().copied());
    Ok(rows.map(score).collect())
}
