//! Where a run stands: enough to go on to the same bits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use super::executor::LossSum;
use super::files::{FileError, read_file, write_atomically};
use crate::buffer::AlignedBytes;

/// The figures of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// Learning rate of its last step.
    pub learning_rate: f32,
    /// Mean loss over the training samples, as they came by.
    pub train_loss: f64,
    /// Accuracy on the training samples, as they came by, if the task has one.
    pub train_accuracy: Option<f64>,
    /// Mean loss on the held-out samples, if there are any.
    pub validation_loss: Option<f64>,
    /// Accuracy on the held-out samples, if there are any and the task has one.
    pub validation_accuracy: Option<f64>,
}

impl EpochRecord {
    /// Whether it is at least as accurate on held-out samples as `other`, and if equally, or without an accuracy, has a loss there that is not greater.
    /// Without held-out samples it always is.
    pub fn is_as_good_as(&self, other: &Self) -> bool {
        let (own, others) = (self.validation_accuracy, other.validation_accuracy);
        match self.validation_loss.zip(other.validation_loss) {
            Some((own_loss, others_loss)) => own > others || (own == others && own_loss <= others_loss),
            None => true,
        }
    }
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Whole epochs done.
    pub epoch: u32,
    /// Steps done in the present epoch.
    pub step: u64,
    /// Losses of the present epoch, as the bits of their f64, so that a text file loses nothing: loss, correct.
    losses: [u64; 2],
    /// Samples of the present epoch.
    samples: u64,
    /// The epochs done.
    pub history: Vec<EpochRecord>,
    /// The epoch with the best weights, counted from 1; 0 if there is none yet.
    pub best_epoch: u32,
    /// Mean loss of the first step.
    #[serde(default)]
    pub first_loss: f64,
    /// How many weights are in their average, if there is one.
    #[serde(default)]
    pub averaged: u64,
    /// The epochs whose networks make an ensemble, counted from 1.
    #[serde(default)]
    pub snapshots: Vec<u32>,
    /// Epochs without a better one.
    pub without_gain: u32,
    /// Time spent, in seconds.
    pub seconds: f64,
}

impl Progress {
    /// The losses of the present epoch.
    pub fn losses(&self) -> LossSum {
        let [loss, correct] = self.losses.map(f64::from_bits);
        LossSum { loss, correct, samples: self.samples }
    }

    /// Sets the losses of the present epoch.
    pub fn set_losses(&mut self, losses: LossSum) {
        self.losses = [losses.loss.to_bits(), losses.correct.to_bits()];
        self.samples = losses.samples;
    }
}

/// Parameters and state of a program.
pub type Snapshot = (AlignedBytes, AlignedBytes);

/// A run's state on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The resolved recipe, in TOML.
    pub recipe: String,
    /// Where the run stands.
    pub progress: Progress,
    /// The present parameters and state.
    pub present: Snapshot,
    /// The best ones so far.
    pub best: Snapshot,
    /// The average, if there is one.
    pub average: Option<Snapshot>,
}

/// Why a run could not be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a checkpoint.
    #[error("{}: not a checkpoint of this version ({message}); start without --resume", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Checkpoint {
    /// The tensors, by name.
    fn tensors(&self) -> Vec<(&'static str, &AlignedBytes)> {
        let ((parameter, state), (best_parameter, best_state)) = (&self.present, &self.best);
        let mut tensors = vec![
            ("parameter", parameter),
            ("state", state),
            ("best_parameter", best_parameter),
            ("best_state", best_state),
        ];
        if let Some((parameter, state)) = &self.average {
            tensors.extend([("average_parameter", parameter), ("average_state", state)]);
        }
        tensors
    }

    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let malformed = |message: String| CheckpointError::Malformed { path: path.into(), message };
        let progress = serde_json::to_string(&self.progress).map_err(|error| malformed(error.to_string()))?;
        let metadata =
            HashMap::from([("recipe".to_owned(), self.recipe.clone()), ("progress".to_owned(), progress)]);
        let mut views = Vec::new();
        for (name, bytes) in self.tensors() {
            let bytes = bytes.as_slice();
            let view = TensorView::new(Dtype::U8, vec![bytes.len()], bytes);
            views.push((name, view.map_err(|error| malformed(error.to_string()))?));
        }
        let file = serialize(views, Some(metadata)).map_err(|error| malformed(error.to_string()))?;
        Ok(write_atomically(path, &file)?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let malformed =
            |message: &str| CheckpointError::Malformed { path: path.into(), message: message.into() };
        let file = read_file(path)?;
        let (_, header) = SafeTensors::read_metadata(&file).map_err(|error| malformed(&error.to_string()))?;
        let text = |key: &str| {
            let value = header.metadata().as_ref().and_then(|metadata| metadata.get(key));
            value.ok_or_else(|| malformed(&format!("it has no {key}")))
        };
        let progress =
            serde_json::from_str(text("progress")?).map_err(|error| malformed(&error.to_string()))?;
        let tensors = SafeTensors::deserialize(&file).map_err(|error| malformed(&error.to_string()))?;
        let bytes = |name: &str| {
            let tensor = tensors.tensor(name).map_err(|error| malformed(&error.to_string()))?;
            Ok::<_, CheckpointError>(AlignedBytes::copy_of(tensor.data()))
        };
        Ok(Self {
            recipe: text("recipe")?.clone(),
            progress,
            present: (bytes("parameter")?, bytes("state")?),
            best: (bytes("best_parameter")?, bytes("best_state")?),
            average: match tensors.names().contains(&"average_parameter") {
                true => Some((bytes("average_parameter")?, bytes("average_state")?)),
                false => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_keeps_every_bit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.safetensors");
        let bytes = |seed: u8| AlignedBytes::copy_of(&[seed, 1, 255, seed]);
        let mut progress = Progress { epoch: 3, step: 17, seconds: 0.1 + 0.2, ..Progress::default() };
        progress.set_losses(LossSum { loss: 1.0 / 3.0, correct: 5.0, samples: 7 });
        let checkpoint = Checkpoint {
            recipe: "name = 'x'\n".into(),
            progress,
            present: (bytes(1), bytes(2)),
            best: (bytes(3), AlignedBytes::default()),
            average: Some((bytes(5), bytes(6))),
        };
        checkpoint.save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint);
        std::fs::write(&path, b"not a checkpoint").unwrap();
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.contains("not a checkpoint") && error.contains("--resume"), "{error}");
    }
}
