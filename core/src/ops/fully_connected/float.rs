//! `fully_connected` in f32, and its gradients: a convolution of one pixel.

use crate::geometry::Window;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::activation::{ACTIVATION_ATTRIBUTES, Activation};
use crate::ops::call::{CallError, Tensor, unchecked};
use crate::ops::conv_2d::{self, Conv2d};
use crate::ops::operands::{all_are, reads_with_bias};
use crate::step::{Step, StepError};

/// The shapes and parameters of a fully connected layer in f32. What [`Conv2d`] says of the bits of a result holds here too.
#[doc(alias = "linear")]
#[doc(alias = "dense")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FullyConnected {
    /// `[N, 1, 1, C_in]`.
    pub input: Shape,
    /// `[1, 1, C_in, C_out]`.
    pub weights: Shape,
    /// `[N, 1, 1, C_out]`.
    pub output: Shape,
    /// Applied to each output. The gradients do not look at it.
    pub activation: Activation,
}

impl FullyConnected {
    /// The same as a convolution.
    fn convolution(&self) -> Conv2d {
        let Self { input, weights, output, activation } = *self;
        Conv2d { input, filter: weights, output, window: Window::ONE, activation }
    }

    /// Whether the shapes follow from each other; if not, one that does not.
    fn check(&self) -> Result<(), Tensor> {
        let [_, h, w, _] = self.input.0;
        if [h, w] != [1, 1] {
            return Err(Tensor::Input);
        }
        self.convolution().check()
    }

    fn checked(&self) -> Result<Conv2d, CallError> {
        self.check().map_err(|tensor| CallError::Shape { tensor })?;
        Ok(self.convolution())
    }
}

/// `output[n, out_c] = activation(bias[out_c] + sum over in_c of input[n, in_c] * weights[in_c, out_c])`.
///
/// Chain: from `bias[out_c]` (0 without a bias), `fma(input, weights, sum)` over `in_c` ascending; then the activation.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn forward(
    params: &FullyConnected,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) -> Result<(), CallError> {
    conv_2d::forward(&params.checked()?, input, weights, bias, output)
}

/// Gradient with respect to the input: `grad_input[n, in_c] = sum over out_c of grad_output[n, out_c] * weights[in_c, out_c]`.
/// Overwrites `grad_input` (`[N, 1, 1, C_in]`).
///
/// Chain: from 0, `fma(grad_output, weights, sum)` over `out_c` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_input(
    params: &FullyConnected,
    grad_output: &[f32],
    weights: &[f32],
    grad_input: &mut [f32],
) -> Result<(), CallError> {
    conv_2d::grad_input(&params.checked()?, grad_output, weights, grad_input)
}

/// Gradient with respect to the weights: `grad_weights[in_c, out_c] = sum over n of input[n, in_c] * grad_output[n, out_c]`.
/// Overwrites `grad_weights` (`[1, 1, C_in, C_out]`).
///
/// Chain: from 0, `fma(input, grad_output, sum)` over `n` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_weights(
    params: &FullyConnected,
    input: &[f32],
    grad_output: &[f32],
    grad_weights: &mut [f32],
) -> Result<(), CallError> {
    conv_2d::grad_weights(&params.checked()?, input, grad_output, grad_weights)
}

fn params(step: &Step) -> Result<FullyConnected, StepError> {
    step.attributes::<ACTIVATION_ATTRIBUTES>()?;
    let (activation, _) = Activation::read(&step.attributes, 0)?;
    let ((input, weights, _), [output]) = (reads_with_bias(step)?, step.writes()?);
    Ok(FullyConnected { input: input.shape, weights: weights.shape, output: output.shape, activation })
}

fn grad_params(step: &Step, [input, weights, output]: [Shape; 3]) -> Result<FullyConnected, StepError> {
    step.attributes::<0>()?;
    Ok(FullyConnected { input, weights, output, activation: Activation::None })
}

fn grad_input_params(step: &Step) -> Result<FullyConnected, StepError> {
    let ([grad_output, weights], [grad_input]) = (step.reads()?, step.writes()?);
    grad_params(step, [grad_input.shape, weights.shape, grad_output.shape])
}

fn grad_weights_params(step: &Step) -> Result<FullyConnected, StepError> {
    let ([input, grad_output], [grad_weights]) = (step.reads()?, step.writes()?);
    grad_params(step, [input.shape, grad_weights.shape, grad_output.shape])
}

pub(in crate::ops) fn check(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let params = params(step)?;
    all_are(step, ElementType::F32)?;
    let output = step.reads.len() as u8;
    params.check().map_err(|tensor| StepError::Shape {
        operand: match tensor {
            Tensor::Input => 0,
            Tensor::Filter => 1,
            Tensor::Bias | Tensor::Output => output,
        },
    })?;
    let [.., c_out] = params.output.0;
    let (_, _, bias) = reads_with_bias(step)?;
    if bias.is_some_and(|bias| bias.shape != Shape::vector(c_out)) {
        return Err(StepError::Shape { operand: 2 });
    }
    Ok(())
}

pub(in crate::ops) fn check_grad_input(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let params = grad_input_params(step)?;
    all_are(step, ElementType::F32)?;
    params.check().map_err(|tensor| StepError::Shape {
        operand: match tensor {
            Tensor::Output => 0,
            Tensor::Filter => 1,
            Tensor::Bias | Tensor::Input => 2,
        },
    })
}

pub(in crate::ops) fn check_grad_weights(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let params = grad_weights_params(step)?;
    all_are(step, ElementType::F32)?;
    params.check().map_err(|tensor| StepError::Shape {
        operand: match tensor {
            Tensor::Input => 0,
            Tensor::Output => 1,
            Tensor::Bias | Tensor::Filter => 2,
        },
    })
}

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, (input, filter, bias), [output]) = (params(step)?, reads_with_bias(step)?, step.writes()?);
    if let Some(bias) = bias {
        let Views { reads: [input, filter, bias], writes: [output] } =
            memory.views([input, filter, bias], [output])?;
        let bias = Some(elements(bias)?);
        forward(&params, elements(input)?, elements(filter)?, bias, elements_mut(output)?)
            .map_err(unchecked)?;
    } else {
        let Views { reads: [input, filter], writes: [output] } = memory.views([input, filter], [output])?;
        forward(&params, elements(input)?, elements(filter)?, None, elements_mut(output)?)
            .map_err(unchecked)?;
    }
    Ok(())
}

pub(in crate::ops) fn run_grad_input(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([left, right], [written]) = (step.reads()?, step.writes()?);
    let Views { reads: [left, right], writes: [written] } = memory.views([left, right], [written])?;
    let params = grad_input_params(step)?;
    grad_input(&params, elements(left)?, elements(right)?, elements_mut(written)?).map_err(unchecked)
}

pub(in crate::ops) fn run_grad_weights(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([left, right], [written]) = (step.reads()?, step.writes()?);
    let Views { reads: [left, right], writes: [written] } = memory.views([left, right], [written])?;
    let params = grad_weights_params(step)?;
    grad_weights(&params, elements(left)?, elements(right)?, elements_mut(written)?).map_err(unchecked)
}
