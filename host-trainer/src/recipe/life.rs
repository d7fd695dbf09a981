//! Averages of weights, and what training begins from.

use serde::{Deserialize, Serialize};

use super::{RecipeError, rule};

/// Averages of the weights over training, which are what is measured and kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Averaging {
    /// Which one.
    pub kind: AveragingKind,
    /// For `exponential`: what is kept of the average at each step; the present weights have the rest. At the beginning it is less: `(1 + steps) /
    /// (10 + steps)`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub decay: f32,
    /// For `stochastic`: the epochs that come before the first whose weights are part of the average.
    pub start_epoch: u32,
}

/// Kinds of averages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AveragingKind {
    /// The present weights.
    #[default]
    None,
    /// The exponential moving average over all steps, running statistics included.
    Exponential,
    /// Stochastic weight averaging (Izmailov et al. 2018, `arXiv:1803.05407`): the mean over the ends of epochs, with the running statistics
    /// measured again.
    Stochastic,
}

impl Default for Averaging {
    fn default() -> Self {
        Self { kind: AveragingKind::None, decay: 0.999, start_epoch: 0 }
    }
}

/// What training begins from, and what of it stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuning {
    /// A file of weights, as a run leaves it in weights.safetensors; empty to begin from random weights. What has the same name and shape is taken.
    pub weights: String,
    /// Layers (`conv_2d_1`) or parameters (`conv_2d_1/weights`) that do not learn; a `*` at the end stands for anything.
    pub freeze: Vec<String>,
}

impl Averaging {
    pub(super) fn check(&self, epochs: u32) -> Result<(), RecipeError> {
        rule((0.0..1.0).contains(&self.decay), "averaging.decay", &self.decay, "at least 0 and below 1")?;
        let starts = self.kind != AveragingKind::Stochastic || self.start_epoch < epochs;
        rule(starts, "averaging.start_epoch", &self.start_epoch, "less than training.epochs")
    }
}
