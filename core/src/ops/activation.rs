//! `ReLU`, `ReLU6`, `ReLU` between -1 and 1, and leaky `ReLU`: fused into other operators, or steps of their own.

use super::operands::{Map, Zip, all_are, float, has_shape, map_f32, zip_f32};
pub use crate::kernels::activation::Activation;
use crate::kernels::isa::dispatch;
use crate::memory::Memory;
use crate::operand::ElementType;
use crate::step::{Step, StepError};

/// How many attributes an [`Activation`] takes.
pub const ACTIVATION_ATTRIBUTES: usize = 2;

impl Activation {
    /// Reads an activation from the first two attributes; `first` is the index of the first of them, for errors.
    ///
    /// In order: code (0 none, 1 `ReLU`, 2 `ReLU6`, 3 leaky `ReLU`, 4 `ReLU_N1_TO_1`), and the bits of leaky `ReLU`'s `alpha` (else 0).
    ///
    /// # Errors
    /// [`StepError::Attribute`] for an unknown code or an alpha outside `0.0..=1.0`, [`StepError::AttributeCount`] if there
    /// are too few.
    pub fn read(attributes: &[i32], first: u8) -> Result<(Self, &[i32]), StepError> {
        let Some((&[code, alpha], rest)) = attributes.split_first_chunk::<ACTIVATION_ATTRIBUTES>() else {
            let found = first.saturating_add(attributes.len() as u8);
            return Err(StepError::AttributeCount { expected: first + ACTIVATION_ATTRIBUTES as u8, found });
        };
        let activation = match (code, alpha) {
            (0, 0) => Self::None,
            (1, 0) => Self::Relu,
            (2, 0) => Self::Relu6,
            (4, 0) => Self::ReluN1To1,
            (3, bits) => {
                let alpha = float(&[bits], 0)?;
                if !(0.0..=1.0).contains(&alpha) {
                    return Err(StepError::Attribute { index: first + 1, found: bits });
                }
                Self::LeakyRelu { alpha }
            }
            (0..=2 | 4, found) => return Err(StepError::Attribute { index: first + 1, found }),
            (found, _) => return Err(StepError::Attribute { index: first, found }),
        };
        Ok((activation, rest))
    }

    /// The attributes that [`Activation::read`] reads.
    pub fn attributes(self) -> [i32; ACTIVATION_ATTRIBUTES] {
        match self {
            Self::None => [0, 0],
            Self::Relu => [1, 0],
            Self::Relu6 => [2, 0],
            Self::LeakyRelu { alpha } => [3, alpha.to_bits() as i32],
            Self::ReluN1To1 => [4, 0],
        }
    }
}

/// Calls `$kernel` with an activation that the compiler knows, so that the inner loop has no branch for it. Only where
/// vectors pay for the five copies of the code.
macro_rules! with_known_activation {
    ($activation:expr, $kernel:ident$(::<$wide:ident>)?($($argument:expr),* $(,)?)) => {
        if cfg!(feature = "simd") {
            match $activation {
                $crate::ops::activation::Activation::None => $kernel$(::<$wide>)?($crate::ops::activation::Activation::None, $($argument),*),
                $crate::ops::activation::Activation::Relu => $kernel$(::<$wide>)?($crate::ops::activation::Activation::Relu, $($argument),*),
                $crate::ops::activation::Activation::Relu6 => $kernel$(::<$wide>)?($crate::ops::activation::Activation::Relu6, $($argument),*),
                $crate::ops::activation::Activation::LeakyRelu { alpha } => $kernel$(::<$wide>)?($crate::ops::activation::Activation::LeakyRelu { alpha }, $($argument),*),
                $crate::ops::activation::Activation::ReluN1To1 => $kernel$(::<$wide>)?($crate::ops::activation::Activation::ReluN1To1, $($argument),*),
            }
        } else {
            $kernel$(::<$wide>)?($activation, $($argument),*)
        }
    };
}
pub(crate) use with_known_activation;

/// `output = activation(input)`, both of the same length.
pub fn forward(activation: Activation, input: &[f32], output: &mut [f32]) {
    with_known_activation!(activation, forward_known(input, output));
}

#[inline(always)]
fn forward_known(activation: Activation, input: &[f32], output: &mut [f32]) {
    dispatch(Map { input: Some(input), output, apply: |x| activation.apply(x) });
}

/// `grad_input = grad_output * activation'(output)`, all of the same length. Overwrites `grad_input`.
pub fn backward(activation: Activation, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    with_known_activation!(activation, backward_known(output, grad_output, grad_input));
}

#[inline(always)]
fn backward_known(activation: Activation, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    let apply = |output, grad_output| activation.gradient(output, grad_output);
    dispatch(Zip { inputs: (Some(output), Some(grad_output)), output: grad_input, apply });
}

fn only_activation(step: Step<'_>) -> Result<Activation, StepError> {
    step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    Ok(Activation::read(step.attributes, 0)?.0)
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    only_activation(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let activation = only_activation(step)?;
    with_known_activation!(activation, run_known(step, memory))
}

#[inline(always)]
fn run_known(activation: Activation, step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    map_f32(step, memory, |x| activation.apply(x))
}

pub(super) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([output, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    only_activation(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, output.shape)?;
    has_shape(grad_input, 2, output.shape)
}

pub(super) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let activation = only_activation(step)?;
    with_known_activation!(activation, run_grad_known(step, memory))
}

#[inline(always)]
fn run_grad_known(activation: Activation, step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    zip_f32(step, memory, |output, grad_output| activation.gradient(output, grad_output))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 5] = [
        Activation::None,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { alpha: 0.1 },
        Activation::ReluN1To1,
    ];

    #[test]
    fn attributes_round_trip() {
        for activation in ALL {
            assert_eq!(Activation::read(&activation.attributes(), 0), Ok((activation, [].as_slice())));
        }
        let alpha = 1.5f32.to_bits() as i32;
        assert_eq!(Activation::read(&[3, alpha], 10), Err(StepError::Attribute { index: 11, found: alpha }));
        assert_eq!(Activation::read(&[5, 0], 10), Err(StepError::Attribute { index: 10, found: 5 }));
        assert_eq!(Activation::read(&[1], 10), Err(StepError::AttributeCount { expected: 12, found: 11 }));
    }

    #[test]
    fn gradients_are_the_slopes() {
        for activation in ALL {
            for x in [-2.0f32, -0.3, 0.4, 3.0, 5.5, 7.0] {
                let step = 1.0 / 1024.0;
                let slope = (activation.apply(x + step) - activation.apply(x - step)) / (2.0 * step);
                let found = activation.gradient(activation.apply(x), 1.0);
                assert!((found - slope).abs() < 1e-3, "{activation:?} at {x}: {found} is not {slope}");
            }
        }
    }

    #[test]
    fn nan_is_handled_the_same_everywhere() {
        assert_eq!(Activation::Relu.apply(f32::NAN).to_bits(), 0);
        assert_eq!(Activation::Relu6.apply(f32::NAN).to_bits(), 0);
        assert_eq!(Activation::ReluN1To1.apply(f32::NAN), -1.0);
    }
}
