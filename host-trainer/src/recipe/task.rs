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
    /// To name the class of each pixel.
    Segment,
}

impl Default for Task {
    fn default() -> Self {
        Self { kind: TaskKind::Classify, normal: Vec::new(), percentile: 99.0 }
    }
}

impl Task {
    /// Whether what comes out is right or wrong, so that there is an accuracy: of samples, or of pixels.
    pub fn has_accuracy(&self) -> bool {
        self.kind != TaskKind::Reconstruct
    }

    pub(super) fn check(&self, recipe: &Recipe) -> Result<(), RecipeError> {
        let percentile = self.percentile;
        rule((50.0..=100.0).contains(&percentile), "task.percentile", &percentile, "50 to 100")?;
        let has_normal = self.kind == TaskKind::Reconstruct || self.normal.is_empty();
        let expected = "none, unless task.kind is reconstruct";
        rule(has_normal, "task.normal", &self.normal.join(", "), expected)?;
        let Recipe { data, training, loss, distillation, augmentation, .. } = recipe;
        let (fits, expected) = match self.kind {
            TaskKind::Classify => return Ok(()),
            TaskKind::Reconstruct => (
                matches!(loss.kind, LossKind::MeanSquaredError | LossKind::Huber),
                "mean_squared_error or huber, with task.kind reconstruct",
            ),
            TaskKind::Segment => {
                let expected = "images, with task.kind segment";
                rule(data.dataset == "images", "data.dataset", &data.dataset, expected)?;
                let expected = "[], with task.kind segment; augmentation.crop_padding moves masks, too";
                rule(data.crop.is_empty(), "data.crop", &format!("{:?}", data.crop), expected)?;
                let expected = "none, with task.kind segment";
                rule(data.leave_out.is_empty(), "data.leave_out", &data.leave_out.join(", "), expected)?;
                (
                    matches!(loss.kind, LossKind::BinaryCrossEntropy | LossKind::Dice),
                    "binary_cross_entropy or dice, with task.kind segment",
                )
            }
        };
        rule(fits, "loss.kind", &format!("{:?}", loss.kind), expected)?;
        let (smoothing, snapshots) = (training.label_smoothing, training.snapshots);
        let expected = "0, unless task.kind is classify";
        rule(smoothing == 0.0, "training.label_smoothing", &smoothing, expected)?;
        rule(snapshots == 0, "training.snapshots", &snapshots, expected)?;
        let expected = "neither, unless task.kind is classify";
        rule(!augmentation.mixes(), "augmentation", &"mixup or cutmix", expected)?;
        let expected = "none, unless task.kind is classify";
        rule(distillation.teacher.is_empty(), "distillation.teacher", &distillation.teacher, expected)
    }
}
