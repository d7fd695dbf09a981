//! How parameters are updated.

use serde::{Deserialize, Serialize};

use super::{RecipeError, rule};

/// How parameters are updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizer {
    /// Which one.
    pub kind: OptimizerKind,
    /// Decay of the weights (not of biases and batch norm parameters) per step, times the learning rate; an L2 penalty, but for `adam_w`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub weight_decay: f32,
    /// L1 penalty of the weights: this times their signs is added to their gradients.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub l1_penalty: f32,
    /// The largest norm of all gradients together, before any penalty; 0 for any.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub clip_norm: f32,
    /// The largest magnitude of an element of a gradient, before any penalty; 0 for any.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub clip_value: f32,
    /// Momentum, for `sgd` and `rms_prop`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub momentum: f32,
    /// Nesterov's momentum, for `sgd`.
    pub nesterov: bool,
    /// Decay rate of the first moment, for `adam` and `adam_w`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub beta_1: f32,
    /// Decay rate of the second moment, for `adam` and `adam_w`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub beta_2: f32,
    /// Decay rate of the mean square, for `rms_prop`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub alpha: f32,
    /// Decay rate of the mean squares, for `adadelta`.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub rho: f32,
    /// What keeps divisions finite; 0 takes the optimizer's usual one (see [`Optimizer::epsilon`]).
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub epsilon: f32,
}

/// Kinds of optimizers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent, with momentum.
    Sgd,
    /// Adam, its weight decay part of the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    #[default]
    AdamW,
    /// `RMSprop`, with momentum.
    RmsProp,
    /// Adagrad.
    Adagrad,
    /// Adadelta; its learning rate is usually 1.
    Adadelta,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            weight_decay: 0.01,
            l1_penalty: 0.0,
            clip_norm: 0.0,
            clip_value: 0.0,
            momentum: 0.9,
            nesterov: false,
            beta_1: 0.9,
            beta_2: 0.999,
            alpha: 0.99,
            rho: 0.9,
            epsilon: 0.0,
        }
    }
}

impl Optimizer {
    /// The epsilon in use: the recipe's, or PyTorch's default of the kind if that is 0.
    pub fn epsilon(&self) -> f32 {
        match self.kind {
            _ if self.epsilon > 0.0 => self.epsilon,
            OptimizerKind::Adagrad => 1e-10,
            OptimizerKind::Adadelta => 1e-6,
            _ => 1e-8,
        }
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let fraction =
            |key, value: f32| rule((0.0..1.0).contains(&value), key, &value, "at least 0 and below 1");
        let not_negative = |key, value: f32| {
            rule(value >= 0.0 && value.is_finite(), key, &value, "a finite number, 0 or more")
        };
        let decay = self.weight_decay;
        rule((0.0..=1.0).contains(&decay), "optimizer.weight_decay", &decay, "0 to 1")?;
        not_negative("optimizer.l1_penalty", self.l1_penalty)?;
        not_negative("optimizer.clip_norm", self.clip_norm)?;
        not_negative("optimizer.clip_value", self.clip_value)?;
        fraction("optimizer.momentum", self.momentum)?;
        let looks_ahead = self.nesterov && self.kind == OptimizerKind::Sgd && self.momentum == 0.0;
        rule(!looks_ahead, "optimizer.momentum", &self.momentum, "more than 0 with optimizer.nesterov")?;
        fraction("optimizer.beta_1", self.beta_1)?;
        fraction("optimizer.beta_2", self.beta_2)?;
        fraction("optimizer.alpha", self.alpha)?;
        fraction("optimizer.rho", self.rho)?;
        not_negative("optimizer.epsilon", self.epsilon)
    }
}
