//! The learning rate over time.

use serde::{Deserialize, Serialize};

use super::RecipeError;

/// The learning rate over time: a linear warm-up from zero, then a constant or one that comes down; or one cycle, whose warm-up is half a
/// cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// What follows the warm-up.
    pub kind: ScheduleKind,
    /// The learning rate at the end of the warm-up.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub learning_rate: f32,
    /// The learning rate at the end of `cosine` and `one_cycle`, as a fraction of `learning_rate`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub final_fraction: f32,
    /// For `cosine`: how often it comes down, each time over as many epochs, and begins anew (Loshchilov and Hutter 2017, `arXiv:1608.03983`).
    pub cycles: u32,
    /// Length of the warm-up in epochs; of `one_cycle`, usually a third of all.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub warm_up_epochs: f32,
    /// For `one_cycle`: the learning rate at its start, as a fraction of `learning_rate`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub initial_fraction: f32,
    /// For `step` and `exponential`: the learning rate is multiplied by `step_factor` with each so many epochs.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub step_epochs: f32,
    /// For `step` and `exponential`: see `step_epochs`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub step_factor: f32,
}

/// Kinds of schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The same learning rate throughout.
    Constant,
    /// Half a cosine from `learning_rate` down to its `final_fraction` (Loshchilov and Hutter, 2017), in each cycle.
    #[default]
    Cosine,
    /// A multiplication every few epochs.
    Step,
    /// An exponential decay, a little with each step.
    Exponential,
    /// Half a cosine up to `learning_rate` and half a cosine down (Smith and Topin 2019, `arXiv:1708.07120`).
    OneCycle,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            learning_rate: 0.003,
            final_fraction: 0.0,
            cycles: 1,
            warm_up_epochs: 0.5,
            initial_fraction: 0.04,
            step_epochs: 5.0,
            step_factor: 0.3,
        }
    }
}

impl Schedule {
    /// The learning rate of step `step` (counted from 0) of `steps`, of which `steps_per_epoch` make an epoch.
    ///
    /// The formulas are those of `torch.optim.lr_scheduler`: `LinearLR`, then `ConstantLR`, `CosineAnnealingLR`, `StepLR` (its epochs counted
    /// from the start of training) or `ExponentialLR`; or `OneCycleLR` with `cycle_momentum=False`.
    pub fn learning_rate(&self, step: u64, steps: u64, steps_per_epoch: u64) -> f32 {
        let per_epoch = steps_per_epoch.max(1) as f64;
        let warm_up = f64::from(self.warm_up_epochs) * per_epoch;
        let peak = f64::from(self.learning_rate);
        let (now, all) = (step as f64, steps as f64);
        if self.kind == ScheduleKind::OneCycle {
            return self.one_cycle(now, all, warm_up) as f32;
        }
        if now + 1.0 < warm_up {
            return (peak * (now + 1.0) / warm_up) as f32;
        }
        let factor = f64::from(self.step_factor);
        let rate = match self.kind {
            ScheduleKind::Constant | ScheduleKind::OneCycle => peak,
            ScheduleKind::Cosine => {
                let (start, end) = self.cycle(step, steps, steps_per_epoch);
                let start = (start as f64).max(warm_up);
                let progress = ((now - start) / (end as f64 - start).max(1.0)).clamp(0.0, 1.0);
                half_cosine(peak, peak * f64::from(self.final_fraction), progress)
            }
            ScheduleKind::Step => {
                let epochs = now / per_epoch;
                peak * libm::pow(factor, libm::floor(epochs / f64::from(self.step_epochs)))
            }
            ScheduleKind::Exponential => {
                let epochs = (now - warm_up).max(0.0) / per_epoch;
                peak * libm::pow(factor, epochs / f64::from(self.step_epochs))
            }
        };
        rate as f32
    }

    /// The first step of the cycle that `step` is in, and the first of the next. Cycles are whole epochs.
    fn cycle(&self, step: u64, steps: u64, steps_per_epoch: u64) -> (u64, u64) {
        let (per_epoch, cycles) = (steps_per_epoch.max(1), u64::from(self.cycles.max(1)));
        let epochs = steps / per_epoch;
        let start = |cycle: u64| epochs * cycle / cycles * per_epoch;
        let cycle = (1..cycles).take_while(|&cycle| start(cycle) <= step).last().unwrap_or(0);
        (start(cycle), if cycle + 1 < cycles { start(cycle + 1) } else { steps })
    }

    /// Whether a cycle ends with this epoch, counted from 0, of `epochs`.
    pub fn ends_cycle(&self, epoch: u32, epochs: u32) -> bool {
        self.kind == ScheduleKind::Cosine
            && self.cycle(epoch.into(), epochs.into(), 1).1 == u64::from(epoch) + 1
    }

    /// The peak is the last step of the warm-up, the end the last step of all.
    fn one_cycle(&self, now: f64, all: f64, warm_up: f64) -> f64 {
        let peak = f64::from(self.learning_rate);
        let top = (warm_up - 1.0).max(0.0);
        if now < top {
            return half_cosine(peak * f64::from(self.initial_fraction), peak, now / top);
        }
        let progress = ((now - top) / (all - 1.0 - top).max(1.0)).clamp(0.0, 1.0);
        half_cosine(peak, peak * f64::from(self.final_fraction), progress)
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let rule = |good, key, found: f32, expected| super::rule(good, key, &found, expected);
        let positive = |value: f32| value > 0.0 && value.is_finite();
        rule(positive(self.learning_rate), "schedule.learning_rate", self.learning_rate, "positive")?;
        let fraction = self.final_fraction;
        rule((0.0..=1.0).contains(&fraction), "schedule.final_fraction", fraction, "0 to 1")?;
        let cycles = self.cycles;
        super::rule((1..=10_000).contains(&cycles), "schedule.cycles", &cycles, "1 to 10000")?;
        let single = cycles == 1 || self.kind == ScheduleKind::Cosine;
        super::rule(single, "schedule.cycles", &cycles, "1, but for schedule.kind cosine")?;
        let initial = self.initial_fraction;
        rule((0.0..=1.0).contains(&initial), "schedule.initial_fraction", initial, "0 to 1")?;
        let warm_up = self.warm_up_epochs;
        rule(warm_up >= 0.0 && warm_up.is_finite(), "schedule.warm_up_epochs", warm_up, "0 or more")?;
        rule(positive(self.step_epochs), "schedule.step_epochs", self.step_epochs, "positive")?;
        rule(positive(self.step_factor), "schedule.step_factor", self.step_factor, "positive")
    }
}

/// From `start` to `end` as `progress` goes from 0 to 1.
fn half_cosine(start: f64, end: f64, progress: f64) -> f64 {
    end + (start - end) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress))
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
    fn cycles_begin_anew_and_end_with_an_epoch() {
        let schedule = Schedule { learning_rate: 1.0, warm_up_epochs: 0.5, cycles: 3, ..Schedule::default() };
        // 10 epochs of 10 steps in three cycles: of 3, 3 and 4 epochs.
        let rate = |step| schedule.learning_rate(step, 100, 10);
        assert_eq!([rate(4), rate(30), rate(60)], [1.0, 1.0, 1.0]);
        assert!((rate(45) - 0.5).abs() < 1e-6 && (rate(80) - 0.5).abs() < 1e-6);
        assert!([29, 59, 99].into_iter().all(|step| rate(step) < 0.02));
        let ends: Vec<u32> = (0..10).filter(|&epoch| schedule.ends_cycle(epoch, 10)).collect();
        assert_eq!(ends, [2, 5, 9]);
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

    #[test]
    fn one_cycle_rises_and_falls() {
        let kind = ScheduleKind::OneCycle;
        let schedule = Schedule { kind, learning_rate: 1.0, warm_up_epochs: 3.0, ..Schedule::default() };
        let rate = |step| schedule.learning_rate(step, 100, 10);
        assert_eq!([rate(0), rate(29), rate(99)], [0.04, 1.0, 0.0]);
        assert!((1..=29).all(|step| rate(step) > rate(step - 1)));
        assert!((30..=99).all(|step| rate(step) < rate(step - 1)));
    }

    #[test]
    fn exponential_decay_is_smooth() {
        let kind = ScheduleKind::Exponential;
        let schedule = Schedule {
            kind,
            learning_rate: 1.0,
            warm_up_epochs: 0.0,
            step_factor: 0.25,
            ..Schedule::default()
        };
        let rate = |epoch: f32| schedule.learning_rate((epoch * 10.0) as u64, 1000, 10);
        assert_eq!([rate(0.0), rate(2.5), rate(5.0)], [1.0, 0.5, 0.25]);
    }
}
