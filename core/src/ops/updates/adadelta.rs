//! Adadelta (Zeiler 2012, `arXiv:1212.5701`): the formula of `torch.optim.Adadelta`.

use super::{check_common, run_update};
use crate::kernels::each_isa::each_isa;
use crate::kernels::{fma, sqrt};
use crate::memory::Memory;
use crate::ops::operands::{float_in, positive_float};
use crate::step::{Step, StepError};

/// Parameters of [`update`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Step size; 1 in the paper.
    pub learning_rate: f32,
    /// How much of the mean squares is kept, in `0.0..1.0`.
    pub rho: f32,
    /// Added to the mean squares before their roots. Positive.
    pub epsilon: f32,
    /// L2 penalty: this times the parameter is added to the gradient. Not negative.
    pub weight_decay: f32,
}

/// One update, in place; all slices of the same length. `square` and `delta` start at 0.
///
/// `g = gradient + weight_decay * parameter`; `square = rho * square + (1 - rho) * g²`;
/// `d = sqrt(delta + epsilon) / sqrt(square + epsilon) * g`; `delta = rho * delta + (1 - rho) * d²`; `parameter -= learning_rate * d`.
pub fn update(
    params: Params,
    gradient: &[f32],
    parameter: &mut [f32],
    square: &mut [f32],
    delta: &mut [f32],
) {
    update_kernel(params, gradient, parameter, square, delta);
}

each_isa! {
    fn update_kernel<WIDE>(
        params: Params,
        gradient: &'a [f32],
        parameter: &'a mut [f32],
        square: &'a mut [f32],
        delta: &'a mut [f32],
    ) {
        let Params { learning_rate, rho, epsilon, weight_decay } = params;
        let new = 1.0 - rho;
        let means = square.iter_mut().zip(delta);
        for ((parameter, &gradient), (square, delta)) in parameter.iter_mut().zip(gradient).zip(means) {
            let gradient = fma(weight_decay, *parameter, gradient);
            *square = fma(new * gradient, gradient, rho * *square);
            let direction = sqrt(*delta + epsilon) / sqrt(*square + epsilon) * gradient;
            *delta = fma(new * direction, direction, rho * *delta);
            *parameter = fma(-learning_rate, direction, *parameter);
        }
    }
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<3>()?;
    Ok(Params {
        learning_rate: 0.0,
        rho: float_in(step.attributes, 0, 0.0..1.0)?,
        epsilon: positive_float(step.attributes, 1)?,
        weight_decay: float_in(step.attributes, 2, 0.0..)?,
    })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    step.writes::<3>()?;
    check_common(step)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    run_update(step, memory, |[learning_rate, ..], gradient, [parameter, square, delta]| {
        update(Params { learning_rate, ..params }, gradient, parameter, square, delta);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{changed, in_arena, step};
    use crate::ops::updates::tests::assert_is_formula;
    use crate::step::Schedule;

    /// Six updates of about ten roundings of 6e-8 each.
    const TOLERANCE: f64 = 1e-6;

    #[test]
    fn updates_are_pytorch_s_formula() {
        let (rho, epsilon) = (f64::from(0.9f32), f64::from(1e-6f32));
        for weight_decay in [0.0, 0.1] {
            let (mut s, mut d) = ([0.0f64; 19], [0.0f64; 19]);
            assert_is_formula(75, &[0.9, 1e-6, weight_decay], 1.0, 2, TOLERANCE, |i, gradient, p| {
                let g = gradient + f64::from(weight_decay) * *p;
                s[i] = rho * s[i] + (1.0 - rho) * g * g;
                let step = (d[i] + epsilon).sqrt() / (s[i] + epsilon).sqrt() * g;
                d[i] = rho * d[i] + (1.0 - rho) * step * step;
                *p -= step;
            });
        }
    }

    #[test]
    fn steps_are_checked() {
        let [gradient, parameter, square, delta] =
            [0, 300, 600, 900].map(|offset| in_arena(offset, [3, 3, 4, 8]));
        let attributes = [0.9f32, 1e-6, 0.01].map(|x| x.to_bits() as i32);
        let hyper = in_arena(1200, [1, 1, 1, 4]);
        let mut adadelta = step(75, &attributes, &[gradient, hyper], &[parameter, square, delta]);
        assert_eq!(changed(&adadelta, |_| ()), Err(StepError::Schedule));
        adadelta.schedule = Schedule::Once;
        assert_eq!(changed(&adadelta, |_| ()), Ok(()));
        let error = StepError::Attribute { index: 1, found: 0 };
        assert_eq!(changed(&adadelta, |step| step.attributes[1] = 0), Err(error));
        let error = StepError::Shape { operand: 4 };
        assert_eq!(changed(&adadelta, |step| step.writes[2].shape.0[0] = 2), Err(error));
    }
}
