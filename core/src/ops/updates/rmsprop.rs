//! `RMSprop` (Hinton 2012, lecture 6e of *Neural Networks for Machine Learning*): the formula of `torch.optim.RMSprop`.

use super::{check_common, run_update};
use crate::kernels::each_isa::each_isa;
use crate::kernels::{fma, sqrt};
use crate::memory::Memory;
use crate::ops::operands::{float_in, positive_float};
use crate::step::{Step, StepError};

/// Parameters of [`update`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "RMSprop")]
pub struct Params {
    /// Step size.
    pub learning_rate: f32,
    /// How much of the mean square is kept, in `0.0..1.0`.
    pub alpha: f32,
    /// Added to the root of the mean square. Positive.
    pub epsilon: f32,
    /// L2 penalty: this times the parameter is added to the gradient. Not negative.
    pub weight_decay: f32,
    /// How much of the momentum buffer is kept, in `0.0..=1.0`. 0: there is no buffer.
    pub momentum: f32,
}

/// One update, in place; all slices of the same length, `buffer` empty if `momentum` is 0. Both start at 0.
///
/// `g = gradient + weight_decay * parameter`; `square = alpha * square + (1 - alpha) * g²`; `d = g / (sqrt(square) + epsilon)`;
/// `buffer = momentum * buffer + d`; `parameter -= learning_rate * buffer` (without momentum `d`).
pub fn update(
    params: Params,
    gradient: &[f32],
    parameter: &mut [f32],
    square: &mut [f32],
    buffer: &mut [f32],
) {
    update_kernel(params, gradient, parameter, square, buffer);
}

each_isa! {
    fn update_kernel<WIDE>(
        params: Params,
        gradient: &'a [f32],
        parameter: &'a mut [f32],
        square: &'a mut [f32],
        buffer: &'a mut [f32],
    ) {
        let Params { learning_rate, alpha, epsilon, weight_decay, momentum } = params;
        let new = 1.0 - alpha;
        let direction = |gradient: f32, parameter: f32, square: &mut f32| {
            let gradient = fma(weight_decay, parameter, gradient);
            *square = fma(new * gradient, gradient, alpha * *square);
            gradient / (sqrt(*square) + epsilon)
        };
        let each = parameter.iter_mut().zip(gradient).zip(square);
        if momentum == 0.0 {
            for ((parameter, &gradient), square) in each {
                *parameter = fma(-learning_rate, direction(gradient, *parameter, square), *parameter);
            }
            return;
        }
        for (((parameter, &gradient), square), buffer) in each.zip(buffer) {
            *buffer = fma(momentum, *buffer, direction(gradient, *parameter, square));
            *parameter = fma(-learning_rate, *buffer, *parameter);
        }
    }
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<4>()?;
    Ok(Params {
        learning_rate: 0.0,
        alpha: float_in(step.attributes, 0, 0.0..1.0)?,
        epsilon: positive_float(step.attributes, 1)?,
        weight_decay: float_in(step.attributes, 2, 0.0..)?,
        momentum: float_in(step.attributes, 3, 0.0..=1.0)?,
    })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    if params(step)?.momentum == 0.0 {
        step.writes::<2>()?;
    } else {
        step.writes::<3>()?;
    }
    check_common(step)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    if params.momentum == 0.0 {
        run_update(step, memory, |[learning_rate, ..], gradient, [parameter, square]| {
            update(Params { learning_rate, ..params }, gradient, parameter, square, &mut []);
        })
    } else {
        run_update(step, memory, |[learning_rate, ..], gradient, [parameter, square, buffer]| {
            update(Params { learning_rate, ..params }, gradient, parameter, square, buffer);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{changed, in_arena, step};
    use crate::ops::updates::tests::assert_is_formula;
    use crate::step::Schedule;

    /// Six updates of about ten roundings of 6e-8 each of steps of up to 0.2.
    const TOLERANCE: f64 = 2e-6;

    #[test]
    fn updates_are_pytorch_s_formula() {
        let alpha = f64::from(0.99f32);
        for (weight_decay, momentum) in [(0.0, 0.0), (0.1, 0.0), (0.1, 0.9)] {
            let attributes = [0.99, 1e-8, weight_decay, momentum];
            let moments = if momentum == 0.0 { 1 } else { 2 };
            let (mut s, mut b) = ([0.0f64; 19], [0.0f64; 19]);
            assert_is_formula(73, &attributes, 0.02, moments, TOLERANCE, |i, gradient, p| {
                let g = gradient + f64::from(weight_decay) * *p;
                s[i] = alpha * s[i] + (1.0 - alpha) * g * g;
                b[i] = f64::from(momentum) * b[i] + g / (s[i].sqrt() + 1e-8);
                *p -= f64::from(0.02f32) * b[i];
            });
        }
    }

    #[test]
    fn steps_are_checked() {
        let [gradient, parameter, square, buffer] =
            [0, 300, 600, 900].map(|offset| in_arena(offset, [3, 3, 4, 8]));
        let hyper = in_arena(1200, [1, 1, 1, 4]);
        let attributes = [0.99f32, 1e-8, 0.01, 0.9].map(|x| x.to_bits() as i32);
        let mut rmsprop = step(73, &attributes, &[gradient, hyper], &[parameter, square, buffer]);
        assert_eq!(changed(&rmsprop, |_| ()), Err(StepError::Schedule));
        rmsprop.schedule = Schedule::Once;
        assert_eq!(changed(&rmsprop, |_| ()), Ok(()));
        let error = StepError::WriteCount { expected: 2, found: 3 };
        assert_eq!(changed(&rmsprop, |step| step.attributes[3] = 0), Err(error));
        let error = StepError::Attribute { index: 1, found: 0 };
        assert_eq!(changed(&rmsprop, |step| step.attributes[1] = 0), Err(error));
        let found = 1.0f32.to_bits() as i32;
        let error = StepError::Attribute { index: 0, found };
        assert_eq!(changed(&rmsprop, |step| step.attributes[0] = found), Err(error));
        let error = StepError::Shape { operand: 4 };
        assert_eq!(changed(&rmsprop, |step| step.writes[2].shape.0[0] = 2), Err(error));
    }
}
