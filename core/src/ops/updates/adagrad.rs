//! Adagrad (Duchi, Hazan and Singer 2011, *JMLR* 12): the formula of `torch.optim.Adagrad` without decay of the learning rate, which is
//! the schedule's business.

use super::{check_common, learning_rate};
use crate::kernels::each_isa::each_isa;
use crate::kernels::{fma, sqrt};
use crate::memory::{Memory, Views, elements, elements_mut};
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
    let ([gradient, hyper], [parameter, sum]) = (step.reads()?, step.writes()?);
    let params = params(step)?;
    let Views { reads: [gradient, hyper], writes: [parameter, sum] } =
        memory.views([gradient, hyper], [parameter, sum])?;
    let params = Params { learning_rate: learning_rate(hyper)?, ..params };
    update(params, elements(gradient)?, elements_mut(parameter)?, elements_mut(sum)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{Random, assert_close, changed, in_arena, run_in_arena, step, wide};
    use crate::step::Schedule;

    /// Six updates of about ten roundings of 6e-8 each of steps of up to 0.1.
    const TOLERANCE: f64 = 1e-6;

    #[test]
    fn updates_are_pytorch_s_formula() {
        let mut random = Random(1);
        for weight_decay in [0.0, 0.1] {
            let mut arena = [0.0; 61];
            arena[0] = 0.1;
            arena[23..42].copy_from_slice(&random.values(19));
            let hyper = in_arena(0, [1, 1, 1, 4]);
            let [gradient, parameter, sum] = [4, 23, 42].map(|at| in_arena(at, [1, 1, 1, 19]));
            let attributes = [1e-10f32, weight_decay].map(|x| x.to_bits() as i32);
            let mut adagrad = step(74, &attributes, &[gradient, hyper], &[parameter, sum]);
            adagrad.schedule = Schedule::Once;
            let (mut expected, mut s) = (wide(&arena[23..42]), [0.0f64; 19]);
            for _ in 0..6 {
                let values = random.values(19);
                arena[4..23].copy_from_slice(&values);
                run_in_arena(&adagrad, &mut arena);
                for (i, p) in expected.iter_mut().enumerate() {
                    let g = f64::from(values[i]) + f64::from(weight_decay) * *p;
                    s[i] += g * g;
                    *p -= f64::from(0.1f32) * g / (s[i].sqrt() + 1e-10);
                }
                assert_close("parameter", &arena[23..42], &expected, TOLERANCE);
            }
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
