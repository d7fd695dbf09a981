//! Adam (Kingma and Ba 2015, `arXiv:1412.6980`) and `AdamW` (Loshchilov and Hutter 2019, `arXiv:1711.05101`): the formulas of
//! `torch.optim.Adam` and `torch.optim.AdamW`.

use super::{HYPERPARAMETERS, check_common, run_update};
use crate::kernels::each_isa::each_isa;
use crate::kernels::{fma, sqrt};
use crate::memory::{Memory, elements_mut};
use crate::operand::ElementType;
use crate::ops::operands::{all_are, flag, float_in, has_shape, runs_once};
use crate::step::{Step, StepError};

/// Parameters of [`update`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "AdamW")]
pub struct Params {
    /// Step size.
    pub learning_rate: f32,
    /// How much of the first moment is kept, in `0.0..1.0`.
    pub beta_1: f32,
    /// How much of the second moment is kept, in `0.0..1.0`.
    pub beta_2: f32,
    /// `beta_1` to the power of the number of updates, this one included, as [`advance`] counts it. Below 1.
    pub beta_1_power: f32,
    /// `beta_2` to the power of the number of updates, this one included, as [`advance`] counts it. Below 1.
    pub beta_2_power: f32,
    /// Added to the root of the second moment. Positive.
    pub epsilon: f32,
    /// Not negative.
    pub weight_decay: f32,
    /// Whether the decay acts on the parameter itself (`AdamW`) or is added to the gradient (Adam).
    pub decoupled: bool,
}

/// One update, in place; all slices of the same length. Moments start at 0.
///
/// `AdamW`: `parameter -= learning_rate * weight_decay * parameter`; Adam: `g = gradient + weight_decay * parameter`. Then
/// `first += (1 - β₁) * (g - first)`, `second = β₂ * second + (1 - β₂) * g²`, `parameter -= learning_rate / (1 - β₁ᵗ) * first /
/// (sqrt(second) / sqrt(1 - β₂ᵗ) + epsilon)`.
pub fn update(
    params: Params,
    gradient: &[f32],
    parameter: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    update_kernel(params, gradient, parameter, first, second);
}

each_isa! {
    fn update_kernel<WIDE>(
        params: Params,
        gradient: &'a [f32],
        parameter: &'a mut [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
    ) {
        let Params {
            learning_rate,
            beta_1,
            beta_2,
            beta_1_power,
            beta_2_power,
            epsilon,
            weight_decay,
            decoupled,
        } = params;
        let step_size = learning_rate / (1.0 - beta_1_power);
        let correction = sqrt(1.0 - beta_2_power);
        let (keep, penalty) =
            if decoupled { (1.0 - learning_rate * weight_decay, 0.0) } else { (1.0, weight_decay) };
        let (new_1, new_2) = (1.0 - beta_1, 1.0 - beta_2);
        let moments = first.iter_mut().zip(second);
        for ((parameter, &gradient), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let gradient = fma(penalty, *parameter, gradient);
            *first = fma(new_1, gradient - *first, *first);
            *second = fma(new_2 * gradient, gradient, beta_2 * *second);
            let deviation = sqrt(*second) / correction + epsilon;
            *parameter = fma(-step_size, *first / deviation, keep * *parameter);
        }
    }
}

/// Counts an update: multiplies the powers of β₁ and β₂ in the hyperparameters (learning rate, β₁ᵗ, β₂ᵗ, unused).
pub fn advance(beta_1: f32, beta_2: f32, hyperparameters: &mut [f32]) {
    for (power, beta) in hyperparameters.iter_mut().skip(1).zip([beta_1, beta_2]) {
        *power *= beta;
    }
}

fn betas(step: Step<'_>) -> Result<(f32, f32), StepError> {
    Ok((float_in(step.attributes, 0, 0.0..1.0)?, float_in(step.attributes, 1, 0.0..1.0)?))
}

fn params(step: Step<'_>) -> Result<Params, StepError> {
    step.attributes::<5>()?;
    let (beta_1, beta_2) = betas(step)?;
    Ok(Params {
        learning_rate: 0.0,
        beta_1,
        beta_2,
        beta_1_power: 0.0,
        beta_2_power: 0.0,
        epsilon: float_in(step.attributes, 2, f32::MIN_POSITIVE..)?,
        weight_decay: float_in(step.attributes, 3, 0.0..)?,
        decoupled: flag(step.attributes, 4)?,
    })
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    params(step)?;
    step.writes::<3>()?;
    check_common(step)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let params = params(step)?;
    run_update(step, memory, |hyperparameters, gradient, [parameter, first, second]| {
        let [learning_rate, beta_1_power, beta_2_power, _] = hyperparameters;
        let params = Params { learning_rate, beta_1_power, beta_2_power, ..params };
        update(params, gradient, parameter, first, second);
    })
}

pub(in crate::ops) fn check_advance(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([], [hyper]) = (step.reads()?, step.writes()?);
    step.attributes::<2>()?;
    betas(step)?;
    runs_once(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(hyper, 0, HYPERPARAMETERS)
}

pub(in crate::ops) fn run_advance(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [hyper] = step.writes()?;
    let (beta_1, beta_2) = betas(step)?;
    advance(beta_1, beta_2, elements_mut(memory.write(hyper)?)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::test_support::{Random, assert_close, changed, in_arena, run_in_arena, step, wide};
    use crate::step::Schedule;

    /// Six updates of about ten roundings of 6e-8 each, and `1 - β₂ᵗ`, which is known to 6e-8 of 1 and as small as 1e-3: its root is off by
    /// 3e-5, times steps of at most 0.02.
    const TOLERANCE: f64 = 3e-6;
    const BETAS: (f32, f32) = (0.9, 0.999);

    #[test]
    fn updates_are_pytorch_s_formula() {
        let mut random = Random(1);
        for (weight_decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
            // The hyperparameters, the gradient, the parameter, the first and the second moment.
            let mut arena = [0.0; 80];
            arena[..3].copy_from_slice(&[0.02, 1.0, 1.0]);
            arena[23..42].copy_from_slice(&random.values(19));
            let hyper = in_arena(0, [1, 1, 1, 4]);
            let [gradient, parameter, first, second] = [4, 23, 42, 61].map(|at| in_arena(at, [1, 1, 1, 19]));
            let floats = [BETAS.0, BETAS.1, 1e-8, weight_decay].map(|x| x.to_bits() as i32);
            let attributes = [floats[0], floats[1], floats[2], floats[3], i32::from(decoupled)];
            let mut advance = step(72, &floats[..2], &[], &[hyper]);
            let mut adam = step(71, &attributes, &[gradient, hyper], &[parameter, first, second]);
            (advance.schedule, adam.schedule) = (Schedule::Once, Schedule::Once);

            let [b1, b2] = [BETAS.0, BETAS.1].map(f64::from);
            let (mut expected, mut m, mut v) = (wide(&arena[23..42]), [0.0f64; 19], [0.0f64; 19]);
            for t in 1..=6 {
                let values = random.values(19);
                arena[4..23].copy_from_slice(&values);
                run_in_arena(&advance, &mut arena);
                run_in_arena(&adam, &mut arena);
                let (rate, decay) = (f64::from(0.02f32), f64::from(weight_decay));
                for (i, p) in expected.iter_mut().enumerate() {
                    let mut g = f64::from(values[i]);
                    if decoupled {
                        *p -= rate * decay * *p;
                    } else {
                        g += decay * *p;
                    }
                    m[i] = b1 * m[i] + (1.0 - b1) * g;
                    v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                    let (m_hat, v_hat) = (m[i] / (1.0 - b1.powi(t)), v[i] / (1.0 - b2.powi(t)));
                    *p -= rate * m_hat / (v_hat.sqrt() + 1e-8);
                }
                assert_close("parameter", &arena[23..42], &expected, TOLERANCE);
            }
        }
    }

    #[test]
    fn steps_are_checked() {
        let [gradient, parameter, first, second] =
            [0, 300, 600, 900].map(|offset| in_arena(offset, [3, 3, 4, 8]));
        let hyper = in_arena(1200, [1, 1, 1, 4]);
        let attributes = [0.9f32, 0.999, 1e-8, 0.01].map(|x| x.to_bits() as i32);
        let mut advance = step(72, &attributes[..2], &[], &[hyper]);
        let mut adam = step(71, &attributes, &[gradient, hyper], &[parameter, first, second]);
        adam.attributes.push(1).unwrap();
        for step in [&mut advance, &mut adam] {
            assert_eq!(changed(step, |_| ()), Err(StepError::Schedule));
            step.schedule = Schedule::Once;
            assert_eq!(changed(step, |_| ()), Ok(()));
            let found = 1.0f32.to_bits() as i32;
            let error = StepError::Attribute { index: 1, found };
            assert_eq!(changed(step, |step| step.attributes[1] = found), Err(error));
        }
        let error = StepError::Attribute { index: 2, found: 0 };
        assert_eq!(changed(&adam, |step| step.attributes[2] = 0), Err(error));
        let error = StepError::Attribute { index: 4, found: -1 };
        assert_eq!(changed(&adam, |step| step.attributes[4] = -1), Err(error));
        let error = StepError::Shape { operand: 4 };
        assert_eq!(changed(&adam, |step| step.writes[2].shape.0[0] = 2), Err(error));
        let error = StepError::Shape { operand: 0 };
        assert_eq!(changed(&advance, |step| step.writes[0].shape.0[3] = 3), Err(error));
    }
}
