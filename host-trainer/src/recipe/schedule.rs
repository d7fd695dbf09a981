//! The learning rate over time.

use serde::{Deserialize, Serialize};

use super::RecipeError;

/// The learning rate over time: a linear warm-up from zero, then a constant, cosine or step schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// What follows the warm-up.
    pub kind: ScheduleKind,
    /// The learning rate at the end of the warm-up.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub learning_rate: f32,
    /// The learning rate at the end of a cosine schedule, as a fraction of `learning_rate`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub final_fraction: f32,
    /// Length of the warm-up in epochs.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub warm_up_epochs: f32,
    /// For `step`: the learning rate is multiplied by `step_factor` after each so many epochs.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub step_epochs: f32,
    /// For `step`: see `step_epochs`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub step_factor: f32,
}

/// Kinds of schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The same learning rate throughout.
    Constant,
    /// Half a cosine from `learning_rate` down to its `final_fraction` (Loshchilov and Hutter, 2017, without restarts).
    #[default]
    Cosine,
    /// A multiplication every few epochs.
    Step,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            learning_rate: 0.003,
            final_fraction: 0.0,
            warm_up_epochs: 0.5,
            step_epochs: 5.0,
            step_factor: 0.3,
        }
    }
}

impl Schedule {
    /// The learning rate of step `step` (counted from 0) of `steps`, of which `steps_per_epoch` make an epoch.
    pub fn learning_rate(&self, step: u64, steps: u64, steps_per_epoch: u64) -> f32 {
        let warm_up = f64::from(self.warm_up_epochs) * steps_per_epoch as f64;
        let done = (step + 1) as f64;
        let peak = f64::from(self.learning_rate);
        if done < warm_up {
            return (peak * done / warm_up) as f32;
        }
        let rate = match self.kind {
            ScheduleKind::Constant => peak,
            ScheduleKind::Cosine => {
                let last = peak * f64::from(self.final_fraction);
                let progress = ((step as f64 - warm_up) / (steps as f64 - warm_up).max(1.0)).clamp(0.0, 1.0);
                last + (peak - last) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress))
            }
            ScheduleKind::Step => {
                let epochs = step as f64 / steps_per_epoch.max(1) as f64;
                peak * libm::pow(
                    f64::from(self.step_factor),
                    libm::floor(epochs / f64::from(self.step_epochs)),
                )
            }
        };
        rate as f32
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let rule = |good: bool, key, found: f32, expected| {
            if good { Ok(()) } else { Err(RecipeError::Value { key, found: found.to_string(), expected }) }
        };
        let positive = |value: f32| value > 0.0 && value.is_finite();
        rule(positive(self.learning_rate), "schedule.learning_rate", self.learning_rate, "positive")?;
        let fraction = self.final_fraction;
        rule((0.0..=1.0).contains(&fraction), "schedule.final_fraction", fraction, "0 to 1")?;
        let warm_up = self.warm_up_epochs;
        rule(warm_up >= 0.0 && warm_up.is_finite(), "schedule.warm_up_epochs", warm_up, "0 or more")?;
        rule(positive(self.step_epochs), "schedule.step_epochs", self.step_epochs, "positive")?;
        rule(positive(self.step_factor), "schedule.step_factor", self.step_factor, "positive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_comes_down() {
        let schedule = Schedule { learning_rate: 1.0, warm_up_epochs: 1.0, ..Schedule::default() };
        let rate = |step| schedule.learning_rate(step, 110, 10);
        assert_eq!([rate(0), rate(4), rate(9), rate(10)], [0.1, 0.5, 1.0, 1.0]);
        assert!((rate(60) - 0.5).abs() < 1e-6 && rate(109) < 0.001);
    }

    #[test]
    fn steps_down() {
        let kind = ScheduleKind::Step;
        let schedule = Schedule {
            kind,
            learning_rate: 1.0,
            warm_up_epochs: 0.0,
            step_epochs: 2.0,
            step_factor: 0.5,
            ..Schedule::default()
        };
        let rate = |epoch: u64| schedule.learning_rate(epoch * 10, 100, 10);
        assert_eq!([0, 1, 2, 3, 4].map(rate), [1.0, 1.0, 0.5, 0.5, 0.25]);
    }
}
