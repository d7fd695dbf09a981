//! What a training program is made for.

use std::collections::BTreeSet;

use crate::compile::{CompileError, Packing, Prefer};
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
    /// Cross-entropy that counts sure samples less.
    Focal {
        /// How much less, 0 or more.
        gamma: f32,
    },
    /// Cross-entropy with a distribution as the target.
    SoftCrossEntropy {
        /// Share of the probability that is spread over all classes, in `0.0..1.0`.
        label_smoothing: f32,
    },
    /// Cross-entropy with a distribution, and divergence from a teacher's.
    Distillation {
        /// What logits are divided by for the teacher's part.
        temperature: f32,
        /// The teacher's part of the loss, in `0.0..=1.0`.
        share: f32,
        /// Share of the probability that is spread over all classes, in `0.0..1.0`.
        label_smoothing: f32,
    },
    /// Mean over the elements of the squared difference from the target, of its magnitude where it is large.
    Huber {
        /// Where it is large.
        delta: f32,
    },
    /// Mean over the elements of the binary cross-entropy of the sigmoid of the outputs.
    BinaryCrossEntropy,
    /// How little the sigmoid of the outputs overlaps with the target.
    Dice {
        /// Added above and below the fraction.
        smooth: f32,
    },
}

/// What a loss reads besides the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A class for each sample, i32 `[N, 1, 1, 1]`.
    Labels,
    /// Values in the shape of the output.
    Values,
    /// A distribution over the classes and a teacher's logits, `[N, 1, 2, C]`.
    WithTeacher,
}

impl Loss {
    /// What it reads besides the outputs.
    pub const fn target(self) -> TargetKind {
        match self {
            Self::SoftmaxCrossEntropy { .. } | Self::Focal { .. } => TargetKind::Labels,
            Self::Distillation { .. } => TargetKind::WithTeacher,
            _ => TargetKind::Values,
        }
    }

    /// Whether it is a loss of logits over classes, which has a softmax of its own.
    pub const fn is_classification(self) -> bool {
        matches!(
            self,
            Self::SoftmaxCrossEntropy { .. }
                | Self::Focal { .. }
                | Self::SoftCrossEntropy { .. }
                | Self::Distillation { .. }
        )
    }
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
    /// `RMSprop`.
    RmsProp {
        /// Decay of the mean of the squares.
        alpha: f32,
        /// Added to the root of the mean square.
        epsilon: f32,
        /// Factor of the weights that is added to their gradients.
        weight_decay: f32,
        /// Share of the last step in the next; 0 needs no memory.
        momentum: f32,
    },
    /// Adagrad.
    Adagrad {
        /// Added to the root of the sum of the squares.
        epsilon: f32,
        /// Factor of the weights that is added to their gradients.
        weight_decay: f32,
    },
    /// Adadelta.
    Adadelta {
        /// Decay of the means of the squares.
        rho: f32,
        /// Added to the means of the squares.
        epsilon: f32,
        /// Factor of the weights that is added to their gradients.
        weight_decay: f32,
    },
}

/// What happens to the gradients before the optimizer uses them, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradientOptions {
    /// The largest norm of all gradients together; 0 for any.
    pub clip_norm: f32,
    /// The largest magnitude of an element of a gradient; 0 for any.
    pub clip_value: f32,
    /// Times the sign of the weights, this is added to their gradients.
    pub l1_penalty: f32,
}

/// How a device learns: one sample at a time, in one phase. `train` has a second output then, the number of gradients that were not used, i32 `[1, 1, 1, 1]` in
/// [`Space::State`](smidgen::Space::State).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnDevice {
    /// Samples of an update. With one, `train` applies each gradient as soon as it is there, and `update` has nothing left to do; with more, `train` adds to the
    /// gradients and `update` applies them.
    pub samples_per_update: u32,
    /// What the step size begins with.
    pub learning_rate: f32,
    /// A gradient with an element of a greater magnitude is not used.
    pub largest_gradient: f32,
    /// Which processors the int8 weights of layers that do not learn are ordered for.
    pub packing: Packing,
    /// What the choice of layouts is for.
    pub prefer: Prefer,
}

impl Default for OnDevice {
    fn default() -> Self {
        Self {
            samples_per_update: 1,
            learning_rate: 0.01,
            largest_gradient: (1u64 << 40) as f32,
            packing: Packing::Plain,
            prefer: Prefer::Speed,
        }
    }
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
    /// A weight for each class, for the cross-entropy with labels and the focal loss; empty if all are 1.
    pub class_weights: Vec<f32>,
    /// Whether the squared and the Huber loss count the samples whose largest output is where the largest target is.
    pub counts_largest: bool,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// What happens to gradients before.
    pub gradients: GradientOptions,
    /// Names of the parameters that do not learn: `conv_2d_1/weights`.
    pub frozen: BTreeSet<String>,
    /// Whether it is for a device, and how that learns.
    pub device: Option<OnDevice>,
}

impl Default for TrainingOptions {
    /// One chunk of one sample, cross-entropy, plain gradient descent, nothing frozen.
    fn default() -> Self {
        Self {
            chunk_samples: 1,
            chunks: 1,
            loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
            class_weights: Vec::new(),
            counts_largest: false,
            optimizer: Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false },
            gradients: GradientOptions::default(),
            frozen: BTreeSet::new(),
            device: None,
        }
    }
}

impl TrainingOptions {
    /// Samples in a batch.
    pub fn batch_samples(&self) -> u32 {
        if let Some(device) = self.device {
            return device.samples_per_update;
        }
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
        if let Some(device) = self.device {
            count("the number of samples of an update", device.samples_per_update)?;
            if (self.chunk_samples, self.chunks) != (1, 1) {
                let found = format!("{} x {}", self.chunk_samples, self.chunks);
                let expected = "one sample at a time on a device";
                return Err(CompileError::Option { option: "the batch", found, expected });
            }
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
        let positive = |option, value: f32| {
            within(option, value, "a finite number more than 0", value.is_finite() && value > 0.0)
        };
        not_negative("the largest norm of the gradients", self.gradients.clip_norm)?;
        not_negative("the largest element of a gradient", self.gradients.clip_value)?;
        not_negative("the L1 penalty", self.gradients.l1_penalty)?;
        if let Some(device) = self.device {
            not_negative("the learning rate", device.learning_rate)?;
            positive("the largest element of a gradient that is used", device.largest_gradient)?;
        }
        let outputs = graph.outputs.first().map_or(0, |&id| graph.tensor(id).shape.dims()[3]);
        let weights = &self.class_weights;
        if !weights.is_empty() && weights.len() != outputs {
            let found = format!("{} for {outputs} outputs", weights.len());
            return Err(CompileError::Option {
                option: "the number of class weights",
                found,
                expected: "one for each",
            });
        }
        weights.iter().try_for_each(|&weight| not_negative("a class weight", weight))?;
        match self.loss {
            Loss::SoftmaxCrossEntropy { label_smoothing } | Loss::SoftCrossEntropy { label_smoothing } => {
                fraction("the label smoothing", label_smoothing)?;
            }
            Loss::Focal { gamma } => not_negative("gamma of the focal loss", gamma)?,
            Loss::Distillation { temperature, share, label_smoothing } => {
                fraction("the label smoothing", label_smoothing)?;
                let expected = "in 0..=1";
                within("the teacher's share", share, expected, (0.0..=1.0).contains(&share))?;
                let expected = "in 0.0625..=1024";
                within("the temperature", temperature, expected, (0.0625..=1024.0).contains(&temperature))?;
            }
            Loss::Huber { delta } => positive("delta of the Huber loss", delta)?,
            Loss::Dice { smooth } => positive("what smooths the Dice loss", smooth)?,
            Loss::MeanSquaredError | Loss::BinaryCrossEntropy => {}
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
                positive("epsilon", epsilon)?;
                not_negative("the weight decay", weight_decay)
            }
            Optimizer::RmsProp { alpha, epsilon, weight_decay, momentum } => {
                fraction("alpha", alpha)?;
                fraction("the momentum", momentum)?;
                positive("epsilon", epsilon)?;
                not_negative("the weight decay", weight_decay)
            }
            Optimizer::Adagrad { epsilon, weight_decay } => {
                positive("epsilon", epsilon)?;
                not_negative("the weight decay", weight_decay)
            }
            Optimizer::Adadelta { rho, epsilon, weight_decay } => {
                fraction("rho", rho)?;
                positive("epsilon", epsilon)?;
                not_negative("the weight decay", weight_decay)
            }
        }
    }
}
