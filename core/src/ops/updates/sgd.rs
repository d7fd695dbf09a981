//! Stochastic gradient descent with momentum, Nesterov's or not, and weight decay: the formulas of `torch.optim.SGD` with a
//! dampening of 0.

use super::{check_common, run_update};
use crate::kernels::each_isa::each_isa;
use crate::kernels::fma;
use crate::memory::Memory;
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
    update_kernel(params, gradient, parameter, buffer);
}

each_isa! {
    fn update_kernel<WIDE>(
        params: Params,
        gradient: &'a [f32],
        parameter: &'a mut [f32],
        buffer: &'a mut [f32],
    ) {
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
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<3>()?;
    let nesterov = flag(step.attributes, 2)?;
    let momentum = float_in(step.attributes, 0, 0.0..=1.0)?;
    if nesterov && momentum == 0.0 {
        return Err(StepError::Attribute { index: 2, found: 1 });
    }
    let weight_decay = float_in(step.attributes, 1, 0.0..)?;
    Ok(Params { learning_rate: 0.0, momentum, weight_decay, nesterov })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    if params(step)?.momentum == 0.0 {
        step.writes::<1>()?;
    } else {
        step.writes::<2>()?;
    }
    check_common(step)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    if params.momentum == 0.0 {
        run_update(step, memory, |[learning_rate, ..], gradient, [parameter]| {
            update(Params { learning_rate, ..params }, gradient, parameter, &mut []);
        })
    } else {
        run_update(step, memory, |[learning_rate, ..], gradient, [parameter, buffer]| {
            update(Params { learning_rate, ..params }, gradient, parameter, buffer);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{Random, assert_close, changed, in_arena, step, wide};
    use crate::step::Schedule;

    /// Six updates of about five roundings of 6e-8 each.
    const TOLERANCE: f64 = 2e-6;

    #[test]
    fn updates_are_pytorch_s_formula() {
        let mut random = Random(1);
        for (momentum, weight_decay, nesterov) in
            [(0.0, 0.0, false), (0.0, 0.1, false), (0.9, 0.0, false), (0.9, 0.01, true)]
        {
            let mut parameter = random.values(19);
            let mut buffer = [0.0f32; 19];
            let (mut expected, mut expected_buffer) = (wide(&parameter), [0.0f64; 19]);
            for update_index in 0..6 {
                let gradient = random.values(19);
                let learning_rate = 0.1 / (1 + update_index) as f32;
                let params = Params { learning_rate, momentum, weight_decay, nesterov };
                let held: &mut [f32] = if momentum == 0.0 { &mut [] } else { &mut buffer };
                update(params, &gradient, &mut parameter, held);
                for ((p, b), &g) in expected.iter_mut().zip(&mut expected_buffer).zip(&gradient) {
                    let g = f64::from(g) + f64::from(weight_decay) * *p;
                    *b = f64::from(momentum) * *b + g;
                    let direction = if nesterov { g + f64::from(momentum) * *b } else { *b };
                    *p -= f64::from(learning_rate) * direction;
                }
                assert_close("parameter", &parameter, &expected, TOLERANCE);
            }
        }
    }

    #[test]
    fn steps_are_checked() {
        let shape = [3, 3, 4, 8];
        let [gradient, parameter, buffer] = [0, 300, 600].map(|offset| in_arena(offset, shape));
        let attributes = [0.9f32.to_bits() as i32, 1e-4f32.to_bits() as i32, 1];
        let hyper = in_arena(900, [1, 1, 1, 4]);
        let mut sgd = step(70, &attributes, &[gradient, hyper], &[parameter, buffer]);
        assert_eq!(changed(&sgd, |_| ()), Err(StepError::Schedule));
        sgd.schedule = Schedule::Once;
        assert_eq!(changed(&sgd, |_| ()), Ok(()));
        let error = StepError::WriteCount { expected: 1, found: 2 };
        let plain = |step: &mut crate::step::NewStep| (step.attributes[0], step.attributes[2]) = (0, 0);
        assert_eq!(changed(&sgd, plain), Err(error));
        let error = StepError::Attribute { index: 2, found: 1 };
        assert_eq!(changed(&sgd, |step| step.attributes[0] = 0), Err(error));
        let error = StepError::Attribute { index: 2, found: 2 };
        assert_eq!(changed(&sgd, |step| step.attributes[2] = 2), Err(error));
        let error = StepError::Shape { operand: 3 };
        assert_eq!(changed(&sgd, |step| step.writes[1].shape.0[0] = 2), Err(error));
        let error = StepError::Shape { operand: 1 };
        assert_eq!(changed(&sgd, |step| step.reads[1].shape.0[3] = 3), Err(error));
        let found = (-1.0f32).to_bits() as i32;
        let error = StepError::Attribute { index: 1, found };
        assert_eq!(changed(&sgd, |step| step.attributes[1] = found), Err(error));
    }
}
