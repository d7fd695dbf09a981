//! What a network is to do.

use serde::{Deserialize, Serialize};

use super::{LossKind, Recipe, RecipeError, rule};

/// What a network is to do with a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Task {
    /// Which task.
    pub kind: TaskKind,
    /// For `reconstruct`: the names of the classes that are normal, which alone are trained on; empty for all that the training set has.
    pub normal: Vec<String>,
    /// For `reconstruct`: how many in a hundred held-out normal samples have a score that is not above the threshold, in 50..=100.
    pub percentile: f64,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// To name its class.
    #[default]
    Classify,
    /// To give it back: what a network that has seen only what is normal cannot give back is an anomaly.
    Reconstruct,
}

impl Default for Task {
    fn default() -> Self {
        Self { kind: TaskKind::Classify, normal: Vec::new(), percentile: 99.0 }
    }
}

impl Task {
    /// Whether what comes out is right or wrong, so that there is an accuracy.
    pub fn has_accuracy(&self) -> bool {
        self.kind == TaskKind::Classify
    }

    pub(super) fn check(&self, recipe: &Recipe) -> Result<(), RecipeError> {
        let percentile = self.percentile;
        rule((50.0..=100.0).contains(&percentile), "task.percentile", &percentile, "50 to 100")?;
        if self.kind == TaskKind::Classify {
            let expected = "none, unless task.kind is reconstruct";
            return rule(self.normal.is_empty(), "task.normal", &self.normal.join(", "), expected);
        }
        let Recipe { training, loss, distillation, augmentation, .. } = recipe;
        let is_distance = matches!(loss.kind, LossKind::MeanSquaredError | LossKind::Huber);
        let expected = "mean_squared_error or huber, with task.kind reconstruct";
        rule(is_distance, "loss.kind", &format!("{:?}", loss.kind), expected)?;
        let expected = "0, with task.kind reconstruct";
        rule(
            training.label_smoothing == 0.0,
            "training.label_smoothing",
            &training.label_smoothing,
            expected,
        )?;
        rule(training.snapshots == 0, "training.snapshots", &training.snapshots, expected)?;
        rule(
            !augmentation.mixes(),
            "augmentation",
            &"mixup or cutmix",
            "neither, with task.kind reconstruct",
        )?;
        let expected = "none, with task.kind reconstruct";
        rule(distillation.teacher.is_empty(), "distillation.teacher", &distillation.teacher, expected)
    }
}
