//! Adagrad (Duchi, Hazan and Singer 2011, *JMLR* 12): the formula of `torch.optim.Adagrad` without decay of the learning rate, which is
//! the schedule's business.

use super::{check_common, run_update};
use crate::kernels::each_isa::each_isa;
use crate::kernels::{fma, sqrt};
use crate::memory::Memory;
use crate::ops::operands::{float_in, positive_float};
use crate::step::{Step, StepError};

/// Parameters of [`update`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Step size.
    pub learning_rate: f32,
    /// Added to the root of the sum of squares. Positive.
    pub epsilon: f32,
    /// L2 penalty: this times the parameter is added to the gradient. Not negative.
    pub weight_decay: f32,
}

/// One update, in place; all slices of the same length. `sum` starts at 0 or above.
///
/// `g = gradient + weight_decay * parameter`; `sum += g²`; `parameter -= learning_rate * g / (sqrt(sum) + epsilon)`.
pub fn update(params: Params, gradient: &[f32], parameter: &mut [f32], sum: &mut [f32]) {
    update_kernel(params, gradient, parameter, sum);
}

each_isa! {
    fn update_kernel<WIDE>(
        params: Params,
        gradient: &'a [f32],
        parameter: &'a mut [f32],
        sum: &'a mut [f32],
    ) {
        let Params { learning_rate, epsilon, weight_decay } = params;
        for ((parameter, &gradient), sum) in parameter.iter_mut().zip(gradient).zip(sum) {
            let gradient = fma(weight_decay, *parameter, gradient);
            *sum = fma(gradient, gradient, *sum);
            *parameter = fma(-learning_rate, gradient / (sqrt(*sum) + epsilon), *parameter);
        }
    }
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<2>()?;
    let epsilon = positive_float(step.attributes, 0)?;
    Ok(Params { learning_rate: 0.0, epsilon, weight_decay: float_in(step.attributes, 1, 0.0..)? })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    step.writes::<2>()?;
    check_common(step)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    run_update(step, memory, |[learning_rate, ..], gradient, [parameter, sum]| {
        update(Params { learning_rate, ..params }, gradient, parameter, sum);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{changed, in_arena, step};
    use crate::ops::updates::tests::assert_is_formula;
    use crate::step::Schedule;

    /// Six updates of about ten roundings of 6e-8 each of steps of up to 0.1.
    const TOLERANCE: f64 = 1e-6;

    #[test]
    fn updates_are_pytorch_s_formula() {
        for weight_decay in [0.0, 0.1] {
            let mut s = [0.0f64; 19];
            assert_is_formula(74, &[1e-10, weight_decay], 0.1, 1, TOLERANCE, |i, gradient, p| {
                let g = gradient + f64::from(weight_decay) * *p;
                s[i] += g * g;
                *p -= f64::from(0.1f32) * g / (s[i].sqrt() + 1e-10);
            });
        }
    }

    #[test]
    fn steps_are_checked() {
        let [gradient, parameter, sum] = [0, 300, 600].map(|offset| in_arena(offset, [3, 3, 4, 8]));
        let attributes = [1e-10f32, 0.01].map(|x| x.to_bits() as i32);
        let hyper = in_arena(1200, [1, 1, 1, 4]);
        let mut adagrad = step(74, &attributes, &[gradient, hyper], &[parameter, sum]);
        assert_eq!(changed(&adagrad, |_| ()), Err(StepError::Schedule));
        adagrad.schedule = Schedule::Once;
        assert_eq!(changed(&adagrad, |_| ()), Ok(()));
        let error = StepError::Attribute { index: 0, found: 0 };
        assert_eq!(changed(&adagrad, |step| step.attributes[0] = 0), Err(error));
        let error = StepError::Shape { operand: 3 };
        assert_eq!(changed(&adagrad, |step| step.writes[1].shape.0[0] = 2), Err(error));
    }
}
