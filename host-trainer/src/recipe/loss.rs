//! What is minimized.

use serde::{Deserialize, Serialize};

use super::{RecipeError, rule};

/// What is minimized, as the mean over the samples of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// Which one.
    pub kind: LossKind,
    /// For `focal`: how much less samples count that are classified well, 0 or more.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub focal_gamma: f32,
    /// For `huber`: the difference from which on it is not squared any more.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub huber_delta: f32,
    /// For `dice`: what is added above and below the fraction.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub dice_smooth: f32,
    /// A weight for each class, in the order of the classes, for `cross_entropy` and `focal`; empty if all are 1.
    pub class_weights: Vec<f64>,
    /// Weights classes by the inverse of how often they are in the training set, so that the mean weight of its samples is 1.
    pub balance_classes: bool,
}

/// Kinds of losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Cross-entropy of the outputs' softmax.
    #[default]
    CrossEntropy,
    /// Cross-entropy that counts samples less that are classified well.
    Focal,
    /// Mean squared difference from 1 for the right class and 0 for the others.
    MeanSquaredError,
    /// The same, with large differences not squared.
    Huber,
    /// Binary cross-entropy of the sigmoid of each output: is it this class or not.
    BinaryCrossEntropy,
    /// How little the sigmoids of the outputs overlap with the right class.
    Dice,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            kind: LossKind::CrossEntropy,
            focal_gamma: 2.0,
            huber_delta: 1.0,
            dice_smooth: 1.0,
            class_weights: Vec::new(),
            balance_classes: false,
        }
    }
}

/// To be as sure as a teacher is (Hinton, Vinyals and Dean 2015, `arXiv:1503.02531`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distillation {
    /// Directory of the run that made the teacher, with its recipe and its weights; empty for none.
    pub teacher: String,
    /// What both networks' logits are divided by.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub temperature: f32,
    /// The teacher's share of the loss, from 0 to 1; the labels have the rest.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub share: f32,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { teacher: String::new(), temperature: 4.0, share: 0.7 }
    }
}

impl Loss {
    /// Whether classes have weights.
    pub fn weighs_classes(&self) -> bool {
        self.balance_classes || !self.class_weights.is_empty()
    }

    pub(super) fn check(&self, mixes: bool, distillation: &Distillation) -> Result<(), RecipeError> {
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let gamma = self.focal_gamma;
        rule(gamma >= 0.0 && gamma.is_finite(), "loss.focal_gamma", &gamma, "a finite number, 0 or more")?;
        rule(positive(self.huber_delta), "loss.huber_delta", &self.huber_delta, "positive")?;
        rule(positive(self.dice_smooth), "loss.dice_smooth", &self.dice_smooth, "positive")?;
        let bad = self.class_weights.iter().find(|weight| !(**weight >= 0.0 && weight.is_finite()));
        rule(bad.is_none(), "loss.class_weights", &format!("{bad:?}"), "finite numbers, 0 or more")?;
        let both = self.balance_classes && !self.class_weights.is_empty();
        rule(!both, "loss.balance_classes", &"true", "false beside loss.class_weights")?;
        let kind = format!("{:?}", self.kind);
        let is_labelled = matches!(self.kind, LossKind::CrossEntropy | LossKind::Focal);
        let expected = "cross_entropy or focal, with class weights";
        rule(is_labelled || !self.weighs_classes(), "loss.kind", &kind, expected)?;
        let expected = "another one than focal, with augmentation.mixup or augmentation.cutmix";
        rule(!(mixes && self.kind == LossKind::Focal), "loss.kind", &kind, expected)?;
        let has_teacher = !distillation.teacher.is_empty();
        let expected = "cross_entropy, with distillation.teacher";
        rule(!has_teacher || self.kind == LossKind::CrossEntropy, "loss.kind", &kind, expected)?;
        let expected = "none, with augmentation.mixup, augmentation.cutmix or distillation.teacher";
        rule(!(self.weighs_classes() && (mixes || has_teacher)), "loss.class_weights", &"some", expected)?;
        let Distillation { temperature, share, .. } = *distillation;
        let expected = "0.0625 to 1024";
        rule((0.0625..=1024.0).contains(&temperature), "distillation.temperature", &temperature, expected)?;
        rule((0.0..=1.0).contains(&share), "distillation.share", &share, "0 to 1")
    }
}
