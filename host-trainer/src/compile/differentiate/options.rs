//! What a training program is made for.

use std::collections::BTreeSet;

use crate::compile::CompileError;
use crate::graph::Graph;

/// What is minimized, as the mean over the samples of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Cross-entropy of the softmax of the outputs with the labels.
    SoftmaxCrossEntropy {
        /// Share of the probability that is spread over all classes, in `0.0..1.0`.
        label_smoothing: f32,
    },
    /// Mean over the elements of the squared difference from the target.
    MeanSquaredError,
}

/// How gradients change parameters. The formulas are PyTorch's; weight decay applies to weights only, not to biases and batch norms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// Share of the last step in the next; 0 needs no memory.
        momentum: f32,
        /// Factor of the weights that is added to their gradients.
        weight_decay: f32,
        /// Whether to look ahead, as Nesterov does.
        nesterov: bool,
    },
    /// Adam, or AdamW if the decay is decoupled.
    Adam {
        /// Decay of the mean of the gradients.
        beta_1: f32,
        /// Decay of the mean of their squares.
        beta_2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Factor of the weights that is added to their gradients, or, decoupled, taken from them directly.
        weight_decay: f32,
        /// AdamW.
        decoupled: bool,
    },
}

/// What a training program is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingOptions {
    /// Samples in a chunk. Results depend on it.
    pub chunk_samples: u32,
    /// Chunks in a batch.
    pub chunks: u32,
    /// What is minimized.
    pub loss: Loss,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// Names of the parameters that do not learn: `conv_2d_1/weights`.
    pub frozen: BTreeSet<String>,
}

impl TrainingOptions {
    /// Samples in a batch.
    pub fn batch_samples(&self) -> u32 {
        self.chunk_samples.saturating_mul(self.chunks)
    }

    pub(super) fn check(&self, graph: &Graph) -> Result<(), CompileError> {
        let is_parameter = |name: &str| graph.find(name).is_some_and(|id| graph.tensor(id).role.is_trained());
        if let Some(unknown) = self.frozen.iter().find(|name| !is_parameter(name)) {
            return Err(CompileError::NoParameter {
                network: graph.name.clone(),
                parameter: unknown.clone(),
            });
        }
        let count = |option, value: u32| match value {
            0 => Err(CompileError::Option { option, found: "0".to_owned(), expected: "at least 1" }),
            _ => Ok(()),
        };
        count("the number of samples in a chunk", self.chunk_samples)?;
        count("the number of chunks in a batch", self.chunks)?;
        if self.chunk_samples.checked_mul(self.chunks).is_none_or(|samples| samples > 1 << 24) {
            let found = format!("{} x {}", self.chunk_samples, self.chunks);
            return Err(CompileError::Option {
                option: "the batch",
                found,
                expected: "at most 2^24 samples",
            });
        }
        let within = |option, value: f32, expected, holds: bool| {
            if holds {
                Ok(())
            } else {
                Err(CompileError::Option { option, found: value.to_string(), expected })
            }
        };
        let fraction = |option, value: f32| within(option, value, "in 0..1", (0.0..1.0).contains(&value));
        let not_negative = |option, value: f32| {
            within(option, value, "a finite number, 0 or more", value.is_finite() && value >= 0.0)
        };
        if let Loss::SoftmaxCrossEntropy { label_smoothing } = self.loss {
            fraction("the label smoothing", label_smoothing)?;
        }
        match self.optimizer {
            Optimizer::Sgd { momentum, weight_decay, nesterov } => {
                fraction("the momentum", momentum)?;
                let expected = "more than 0 with Nesterov";
                within("the momentum", momentum, expected, !nesterov || momentum > 0.0)?;
                not_negative("the weight decay", weight_decay)
            }
            Optimizer::Adam { beta_1, beta_2, epsilon, weight_decay, .. } => {
                fraction("beta 1", beta_1)?;
                fraction("beta 2", beta_2)?;
                within(
                    "epsilon",
                    epsilon,
                    "a finite number more than 0",
                    epsilon.is_finite() && epsilon > 0.0,
                )?;
                not_negative("the weight decay", weight_decay)
            }
        }
    }
}
