//! `depthwise_conv_2d` in f32, and its gradients.

use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::kernels::fma;
use crate::kernels::taps::{for_each_tap, piece, piece_mut};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::ops::activation::{ACTIVATION_ATTRIBUTES, Activation};
use crate::ops::call::{CallError, Tensor, holds, unchecked};
use crate::ops::operands::{all_are, reads_with_bias};
use crate::step::{Step, StepError};

/// The shapes and parameters of a depthwise convolution in f32.
///
/// Every function here defines its result to the last bit, and gives these bits on every target and with every
/// instruction set: each element is one chain of fused multiply-adds in the order stated. Taps in the padding are left out
/// of the chain (they are not zeros that are multiplied). Where the result is NaN it is NaN everywhere, but the NaN's sign
/// and payload are the processor's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthwiseConv2d {
    /// `[N, H, W, C_in]`.
    pub input: Shape,
    /// `[1, K_h, K_w, C_out]`; `C_out` is a multiple of `C_in`, and output channel `c` sees input channel `c / (C_out / C_in)`.
    pub filter: Shape,
    /// `[N, H_out, W_out, C_out]`, where height and width are those of [`Axis::output`](crate::geometry::Axis::output).
    pub output: Shape,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Applied to each output. The gradients do not look at it: they start from the gradient with respect to what goes into the
    /// activation.
    pub activation: Activation,
}

impl DepthwiseConv2d {
    /// Whether the shapes follow from each other; if not, one that does not. `Err(Tensor::Output)` also stands for a window
    /// that does not fit the input once.
    pub(in crate::ops) fn check(&self) -> Result<(), Tensor> {
        let ([n, ..], [.., c_in], [.., c_out]) = (self.input.0, self.input.0, self.filter.0);
        let kernel = [self.window.y.kernel, self.window.x.kernel];
        if self.input.has_zero() || self.input.elements().is_none() {
            return Err(Tensor::Input);
        }
        let filter_fits = {
            let [one, k_h, k_w, _] = self.filter.dims();
            one == 1 && [k_h, k_w] == kernel && c_out.checked_rem(c_in) == Some(0)
        };
        if !filter_fits || self.filter.has_zero() || self.filter.elements().is_none() {
            return Err(Tensor::Filter);
        }
        let [out_n, .., out_c] = self.output.0;
        let output_fits = out_n == n && out_c == c_out && self.window.fits(self.input, self.output);
        if !output_fits || self.output.elements().is_none() {
            return Err(Tensor::Output);
        }
        Ok(())
    }

    fn check_call(
        &self,
        input: Option<usize>,
        filter: Option<usize>,
        output: Option<usize>,
    ) -> Result<(), CallError> {
        self.check().map_err(|tensor| CallError::Shape { tensor })?;
        let slices = [
            (Tensor::Input, self.input, input),
            (Tensor::Filter, self.filter, filter),
            (Tensor::Output, self.output, output),
        ];
        for (tensor, shape, found) in slices {
            if let Some(found) = found {
                holds(tensor, shape, found)?;
            }
        }
        Ok(())
    }
}

/// Depthwise convolution: `output[n, out_y, out_x, c] = activation(bias[c] + sum over k_y, k_x of
/// input[n, in_y, in_x, c / multiplier] * filter[0, k_y, k_x, c])`, where `in_y = out_y * stride_y + k_y * dilation_y - padding_top`,
/// `in_x` likewise, and `multiplier = C_out / C_in`.
///
/// Chain: from `bias[c]` (0 without a bias), `fma(input, filter, sum)` over `k_y`, `k_x` ascending; then the activation.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn forward(
    params: &DepthwiseConv2d,
    input: &[f32],
    filter: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(Some(input.len()), Some(filter.len()), Some(output.len()))?;
    let ([.., c_in], [.., c_out]) = (params.input.dims(), params.output.dims());
    if let Some(bias) = bias {
        let [.., channels] = params.output.0;
        holds(Tensor::Bias, Shape::vector(channels), bias.len())?;
        for pixel in output.chunks_exact_mut(c_out.max(1)) {
            pixel.copy_from_slice(bias);
        }
    } else {
        output.fill(0.0);
    }
    let multiplier = c_out / c_in.max(1);
    for_each_tap(&params.window, params.input, params.output, |tap, in_pixel, out_pixel| {
        let sums = piece_mut(output, out_pixel, c_out).chunks_exact_mut(multiplier.max(1));
        let weights = piece(filter, tap, c_out).chunks_exact(multiplier.max(1));
        for (&value, (sums, weights)) in piece(input, in_pixel, c_in).iter().zip(sums.zip(weights)) {
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = fma(value, weight, *sum);
            }
        }
    });
    for value in output {
        *value = params.activation.apply(*value);
    }
    Ok(())
}

/// Gradient with respect to the input: `grad_input[n, in_y, in_x, in_c] = sum over k_y, k_x and the output channels c of in_c of
/// grad_output[n, out_y, out_x, c] * filter[0, k_y, k_x, c]`, over the output pixels that tap `k_y, k_x` joins with the
/// input pixel. Overwrites `grad_input` (`[N, H, W, C_in]`).
///
/// Chain: from 0, `fma(grad_output, filter, sum)` over `k_y`, `k_x`, `c` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_input(
    params: &DepthwiseConv2d,
    grad_output: &[f32],
    filter: &[f32],
    grad_input: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(Some(grad_input.len()), Some(filter.len()), Some(grad_output.len()))?;
    let ([.., c_in], [.., c_out]) = (params.input.dims(), params.output.dims());
    let multiplier = c_out / c_in.max(1);
    grad_input.fill(0.0);
    for_each_tap(&params.window, params.input, params.output, |tap, in_pixel, out_pixel| {
        let gradients = piece(grad_output, out_pixel, c_out).chunks_exact(multiplier.max(1));
        let weights = piece(filter, tap, c_out).chunks_exact(multiplier.max(1));
        for (sum, (gradients, weights)) in
            piece_mut(grad_input, in_pixel, c_in).iter_mut().zip(gradients.zip(weights))
        {
            *sum = gradients.iter().zip(weights).fold(*sum, |sum, (&g, &weight)| fma(g, weight, sum));
        }
    });
    Ok(())
}

/// Gradient with respect to the filter: `grad_weights[0, k_y, k_x, c] = sum over n, out_y, out_x of
/// input[n, in_y, in_x, c / multiplier] * grad_output[n, out_y, out_x, c]`, over the output pixels at which the tap is not in the
/// padding. Overwrites `grad_weights` (`[1, K_h, K_w, C_out]`).
///
/// Chain: from 0, `fma(input, grad_output, sum)` over `n`, `out_y`, `out_x` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_weights(
    params: &DepthwiseConv2d,
    input: &[f32],
    grad_output: &[f32],
    grad_weights: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(Some(input.len()), Some(grad_weights.len()), Some(grad_output.len()))?;
    let ([.., c_in], [.., c_out]) = (params.input.dims(), params.output.dims());
    let multiplier = c_out / c_in.max(1);
    grad_weights.fill(0.0);
    for_each_tap(&params.window, params.input, params.output, |tap, in_pixel, out_pixel| {
        let sums = piece_mut(grad_weights, tap, c_out).chunks_exact_mut(multiplier.max(1));
        let gradients = piece(grad_output, out_pixel, c_out).chunks_exact(multiplier.max(1));
        for (&value, (sums, gradients)) in piece(input, in_pixel, c_in).iter().zip(sums.zip(gradients)) {
            for (sum, &gradient) in sums.iter_mut().zip(gradients) {
                *sum = fma(value, gradient, *sum);
            }
        }
    });
    Ok(())
}

fn params(step: &Step) -> Result<DepthwiseConv2d, StepError> {
    step.attributes::<{ WINDOW_ATTRIBUTES + ACTIVATION_ATTRIBUTES }>()?;
    let (window, rest) = Window::read(&step.attributes)?;
    let (activation, _) = Activation::read(rest, WINDOW_ATTRIBUTES as u8)?;
    let ((input, filter, _), [output]) = (reads_with_bias(step)?, step.writes()?);
    Ok(DepthwiseConv2d { input: input.shape, filter: filter.shape, output: output.shape, window, activation })
}

/// Which operand of a gradient's step holds (or has the gradient of) what.
fn grad_params(step: &Step, [input, filter, output]: [Shape; 3]) -> Result<DepthwiseConv2d, StepError> {
    step.attributes::<WINDOW_ATTRIBUTES>()?;
    let (window, _) = Window::read(&step.attributes)?;
    Ok(DepthwiseConv2d { input, filter, output, window, activation: Activation::None })
}

fn grad_input_params(step: &Step) -> Result<DepthwiseConv2d, StepError> {
    let ([grad_output, filter], [grad_input]) = (step.reads()?, step.writes()?);
    grad_params(step, [grad_input.shape, filter.shape, grad_output.shape])
}

fn grad_weights_params(step: &Step) -> Result<DepthwiseConv2d, StepError> {
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
