//! Looking for anomalies: how well the error of a reconstruction tells them from what is normal.

use serde::Serialize;
use smidgen::frontend::reconstruction_error;

use super::{EvaluateError, Interface, run_in_parts};
use crate::data::Dataset;
use crate::device::{Device, DeviceError, Report};

/// The scores of a test set, those of normal samples and those of anomalies, each ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Of normal samples.
    pub normal: Vec<f32>,
    /// Of anomalies.
    pub anomalous: Vec<f32>,
}

/// What a threshold makes of a test set: a score above it is an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The threshold.
    pub threshold: f32,
    /// Anomalies above it.
    pub detected: usize,
    /// All anomalies.
    pub anomalous: usize,
    /// Normal samples above it.
    pub false_alarms: usize,
    /// All normal samples.
    pub normal: usize,
}

impl Scores {
    /// The scores of the samples of `data`, of which those in a class of `normal` are normal.
    pub fn of(scores: &[f32], data: &Dataset, normal: &[String]) -> Self {
        let mut found = Self::default();
        for (&score, &label) in scores.iter().zip(data.labels()) {
            let is_normal = data.class_names().get(label as usize).is_some_and(|name| normal.contains(name));
            if is_normal { &mut found.normal } else { &mut found.anomalous }.push(score);
        }
        found.normal.sort_by(f32::total_cmp);
        found.anomalous.sort_by(f32::total_cmp);
        found
    }

    /// The area under the receiver operating characteristic: the probability that an anomaly has a higher score than a normal sample, equal ones counting half (Mann and Whitney's U).
    /// Nothing without samples of both kinds.
    pub fn auc(&self) -> Option<f64> {
        if self.normal.is_empty() || self.anomalous.is_empty() {
            return None;
        }
        let below = |score: f32| {
            let less = self.normal.partition_point(|normal| normal.total_cmp(&score).is_lt());
            let not_more = self.normal.partition_point(|normal| normal.total_cmp(&score).is_le());
            (less + not_more) as f64 / 2.0
        };
        let sum: f64 = self.anomalous.iter().map(|&score| below(score)).sum();
        Some(sum / (self.normal.len() as f64 * self.anomalous.len() as f64))
    }

    /// What a threshold makes of them.
    pub fn decide(&self, threshold: f32) -> Decision {
        let above = |scores: &[f32]| scores.iter().filter(|&&score| score > threshold).count();
        Decision {
            threshold,
            detected: above(&self.anomalous),
            anomalous: self.anomalous.len(),
            false_alarms: above(&self.normal),
            normal: self.normal.len(),
        }
    }
}

/// The least score that at least `percentage` percent of the scores are not above; 0 of none.
pub fn threshold(scores: &[f32], percentage: f64) -> f32 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    let place = libm::ceil(percentage / 100.0 * sorted.len() as f64) as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

impl Interface<'_> {
    /// Whether the model gives back as many numbers as it takes.
    pub fn reconstructs(&self) -> bool {
        self.sample_elements() == self.output_elements()
    }

    /// The inputs as real numbers, as far as the model sees them.
    pub fn real_inputs(&self, inputs: &[u8]) -> Vec<f32> {
        super::real(&self.input, inputs)
    }

    /// The score of each sample, from the inputs and what the model made of them.
    pub fn scores(&self, inputs: &[u8], outputs: &[u8]) -> Vec<f32> {
        let elements = self.sample_elements().max(1);
        let (given, made) = (self.real_inputs(inputs), self.real_outputs(outputs));
        let rows = given.chunks_exact(elements).zip(made.chunks_exact(elements));
        rows.map(|(given, made)| reconstruction_error(given.iter().copied(), made.iter().copied())).collect()
    }
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The model and the data do not fit.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The device did not run the model.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// The score of each sample of `data` by a model that gives its input back, and what the device reports.
///
/// # Errors
/// [`EvaluateError::NoReconstruction`] and what else keeps the model from being measured on these data; [`DeviceError`].
pub fn reconstruct(
    device: &Device,
    file: &[u8],
    data: &Dataset,
    threads: usize,
) -> Result<(Vec<f32>, Report), ScoreError> {
    let interface = Interface::of_file(file)?;
    let inputs = interface.samples(data)?;
    if !interface.reconstructs() {
        let (given, made) = (interface.sample_elements(), interface.output_elements());
        return Err(EvaluateError::NoReconstruction { given, made }.into());
    }
    let run_bytes = interface.input.bytes().unwrap_or(0);
    let report = run_in_parts(device, file, &inputs, run_bytes, threads)?;
    Ok((interface.scores(&inputs, &report.outputs), report))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(normal: &[f32], anomalous: &[f32]) -> Scores {
        Scores { normal: normal.to_vec(), anomalous: anomalous.to_vec() }
    }

    #[test]
    fn the_area_counts_pairs_in_order() {
        assert_eq!(scores(&[1.0, 2.0], &[3.0, 4.0]).auc(), Some(1.0));
        assert_eq!(scores(&[3.0, 4.0], &[1.0, 2.0]).auc(), Some(0.0));
        assert_eq!(scores(&[1.0, 1.0, 1.0], &[1.0]).auc(), Some(0.5));
        // 0.5 is above one of four; 2 above two, and equal to one.
        assert_eq!(scores(&[0.0, 1.0, 2.0, 3.0], &[0.5, 2.0]).auc(), Some((1.0 + 2.5) / 8.0));
        assert_eq!(scores(&[], &[1.0]).auc(), None);
    }

    #[test]
    fn a_threshold_leaves_its_share_below() {
        let hundred: Vec<f32> = (0..100).rev().map(|n| n as f32).collect();
        assert_eq!([50.0, 99.0, 99.5, 100.0].map(|p| threshold(&hundred, p)), [49.0, 98.0, 99.0, 99.0]);
        assert_eq!((threshold(&[7.0], 50.0), threshold(&[], 99.0)), (7.0, 0.0));
        let found = scores(&[1.0, 2.0, 3.0], &[2.0, 5.0]).decide(2.0);
        assert_eq!((found.detected, found.anomalous, found.false_alarms, found.normal), (1, 2, 1, 3));
    }

    #[test]
    fn classes_say_what_is_normal() {
        let names = vec!["broken".to_owned(), "fine".to_owned()];
        let data = Dataset::new("t", vec![0; 3], [1, 1, 1], vec![1, 0, 1], names).unwrap();
        let found = Scores::of(&[3.0, 2.0, 1.0], &data, &["fine".into()]);
        assert_eq!(found, scores(&[1.0, 3.0], &[2.0]));
    }
}
