//! Stochastic gradient descent with momentum, Nesterov's or not, and weight decay: the formulas of `torch.optim.SGD` with a
//! dampening of 0.

use super::{check_common, hyperparameters};
use crate::kernels::fma;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::operands::{flag, float_in};
use crate::step::{Step, StepError};

/// Parameters of [`update`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[doc(alias = "SGD")]
pub struct Params {
    /// Step size.
    pub learning_rate: f32,
    /// How much of the momentum buffer is kept, in `0.0..=1.0`. 0: there is no buffer.
    pub momentum: f32,
    /// L2 penalty: this times the parameter is added to the gradient. Not negative.
    pub weight_decay: f32,
    /// Nesterov's momentum (Sutskever et al. 2013).
    pub nesterov: bool,
}

/// One update, in place; all slices of the same length, `buffer` empty if `momentum` is 0.
///
/// `g = gradient + weight_decay * parameter`; `buffer = momentum * buffer + g`; `d = g + momentum * buffer` for Nesterov, else `buffer` (without
/// momentum `g`); `parameter -= learning_rate * d`. Each line is one fused multiply-add. The buffer starts at 0.
pub fn update(params: Params, gradient: &[f32], parameter: &mut [f32], buffer: &mut [f32]) {
    let Params { learning_rate, momentum, weight_decay, nesterov } = params;
    if momentum == 0.0 {
        for (parameter, &gradient) in parameter.iter_mut().zip(gradient) {
            let gradient = fma(weight_decay, *parameter, gradient);
            *parameter = fma(-learning_rate, gradient, *parameter);
        }
        return;
    }
    for ((parameter, buffer), &gradient) in parameter.iter_mut().zip(buffer).zip(gradient) {
        let gradient = fma(weight_decay, *parameter, gradient);
        *buffer = fma(momentum, *buffer, gradient);
        let direction = if nesterov { fma(momentum, *buffer, gradient) } else { *buffer };
        *parameter = fma(-learning_rate, direction, *parameter);
    }
}

fn params(step: &Step) -> Result<Params, StepError> {
    step.attributes::<3>()?;
    let nesterov = flag(&step.attributes, 2)?;
    let momentum = float_in(&step.attributes, 0, 0.0..=1.0)?;
    if nesterov && momentum == 0.0 {
        return Err(StepError::Attribute { index: 2, found: 1 });
    }
    let weight_decay = float_in(&step.attributes, 1, 0.0..)?;
    Ok(Params { learning_rate: 0.0, momentum, weight_decay, nesterov })
}

pub(in crate::ops) fn check(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    if params(step)?.momentum == 0.0 {
        step.writes::<1>()?;
    } else {
        step.writes::<2>()?;
    }
    check_common(step)
}

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [gradient, hyper] = step.reads()?;
    let params = params(step)?;
    let learning_rate = |hyper| Ok(hyperparameters::<1>(elements(hyper)?)?[0]);
    if params.momentum == 0.0 {
        let [parameter] = step.writes()?;
        let Views { reads: [gradient, hyper], writes: [parameter] } =
            memory.views([gradient, hyper], [parameter])?;
        let params = Params { learning_rate: learning_rate(hyper)?, ..params };
        update(params, elements(gradient)?, elements_mut(parameter)?, &mut []);
    } else {
        let [parameter, buffer] = step.writes()?;
        let Views { reads: [gradient, hyper], writes: [parameter, buffer] } =
            memory.views([gradient, hyper], [parameter, buffer])?;
        let params = Params { learning_rate: learning_rate(hyper)?, ..params };
        update(params, elements(gradient)?, elements_mut(parameter)?, elements_mut(buffer)?);
    }
    Ok(())
}
