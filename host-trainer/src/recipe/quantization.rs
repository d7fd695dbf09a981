//! How the trained network becomes int8.

use serde::{Deserialize, Serialize};

use super::{Recipe, RecipeError, ScheduleKind, rule};

/// How the trained network becomes int8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quantization {
    /// How the range of an activation is chosen.
    pub calibration: Calibration,
    /// Training samples that are looked at.
    pub samples: u32,
    /// For `percentile`: the percentage of values that lie in the range, in 50..100.
    pub percentile: f64,
    /// Whether neighbouring layers share the range of their weights evenly before they are quantized.
    pub equalize: bool,
    /// Whether the means of outputs are put back to what they were with exact weights.
    pub correct_bias: bool,
    /// Epochs of quantization-aware training behind the others; 0 for none.
    pub aware_epochs: u32,
    /// Their first learning rate, as a fraction of `schedule.learning_rate`; it comes down to 0 by half a cosine.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub aware_fraction: f32,
    /// Where the ranges of activations come from in these epochs.
    pub aware_ranges: AwareRanges,
    /// For `averaged`: share of a batch's range in the average.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub aware_share: f32,
}

/// How the range of an activation is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// The smallest and the greatest value seen.
    #[default]
    MinMax,
    /// A range that leaves out the most extreme values on both sides.
    Percentile,
    /// The range with the least squared error.
    Mse,
}

/// Where the ranges of activations come from while training for int8. They begin as the calibration finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwareRanges {
    /// The moving average of the batches' own.
    #[default]
    Averaged,
    /// They are trained.
    Learned,
    /// They stay what the calibration found.
    Fixed,
}

impl Default for Quantization {
    fn default() -> Self {
        Self {
            calibration: Calibration::MinMax,
            samples: 512,
            percentile: 99.99,
            equalize: false,
            correct_bias: false,
            aware_epochs: 0,
            aware_fraction: 0.05,
            aware_ranges: AwareRanges::Averaged,
            aware_share: 0.01,
        }
    }
}

impl Quantization {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        rule(self.samples > 0, "quantization.samples", &self.samples, "at least 1")?;
        let percentile = self.percentile;
        rule((50.0..=100.0).contains(&percentile), "quantization.percentile", &percentile, "50 to 100")?;
        let epochs = self.aware_epochs;
        rule(epochs <= 100_000, "quantization.aware_epochs", &epochs, "at most 100000")?;
        let fraction = self.aware_fraction;
        let expected = "above 0 and at most 1";
        rule(fraction > 0.0 && fraction <= 1.0, "quantization.aware_fraction", &fraction, expected)?;
        let share = self.aware_share;
        rule((0.0..=1.0).contains(&share), "quantization.aware_share", &share, "0 to 1")?;
        let both = epochs > 0 && (self.equalize || self.correct_bias);
        let expected =
            "0, with quantization.equalize or quantization.correct_bias: training finds the weights itself";
        rule(!both, "quantization.aware_epochs", &epochs, expected)
    }
}

impl Recipe {
    /// The recipe of the quantization-aware epochs: what differs is how long they are and how they begin. Averages of weights are kept as before.
    #[must_use]
    pub fn aware(&self) -> Self {
        let mut aware = self.clone();
        aware.training.epochs = self.quantization.aware_epochs.max(1);
        aware.training.early_stopping = 0;
        aware.training.best_checkpoints = 0;
        aware.training.snapshots = 0;
        aware.averaging.start_epoch = 0;
        aware.schedule.kind = ScheduleKind::Cosine;
        aware.schedule.learning_rate *= self.quantization.aware_fraction;
        aware.schedule.warm_up_epochs = 0.0;
        aware.schedule.final_fraction = 0.0;
        aware.schedule.cycles = 1;
        aware
    }
}
