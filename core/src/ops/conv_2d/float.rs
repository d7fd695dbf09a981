//! `conv_2d` in f32, and its gradients.

use super::groups;
use crate::geometry::Window;
use crate::kernels::convolve::{Convolve, ConvolveTransposed};
use crate::kernels::correlate::Correlate;
use crate::operand::Shape;
use crate::ops::activation::Activation;
use crate::ops::call::{CallError, Tensor};
use crate::ops::weighted::{Forward, Gradient, Shapes, Weighted};

/// The shapes and parameters of a convolution in f32.
///
/// Every function here defines its result to the last bit, and gives these bits on every target and with every
/// instruction set: each element is one chain of fused multiply-adds in the order stated. Taps in the padding are left out
/// of the chain (they are not zeros that are multiplied). Where the result is NaN it is NaN everywhere, but the NaN's sign
/// and payload are the processor's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// `[N, H, W, C_in]`.
    pub input: Shape,
    /// `[K_h, K_w, C_in / groups, C_out]`.
    pub filter: Shape,
    /// `[N, H_out, W_out, C_out]`, where height and width are those of [`Axis::output`](crate::geometry::Axis::output) and `C_out` is a
    /// multiple of the groups.
    pub output: Shape,
    /// Kernel, stride, padding and dilation.
    pub window: Window,
    /// Applied to each output. The gradients do not look at it: they start from the gradient with respect to what goes into the
    /// activation.
    pub activation: Activation,
}

/// Convolution: `output[n, out_y, out_x, out_c] = activation(bias[out_c] + sum over k_y, k_x, in_c of
/// input[n, in_y, in_x, in_c] * filter[k_y, k_x, in_c, out_c])`, where `in_y = out_y * stride_y + k_y * dilation_y - padding_top`,
/// `in_x` likewise. With groups, `in_c` goes over the input channels of the output channel's group only.
///
/// Chain: from `bias[out_c]` (0 without a bias), `fma(input, filter, sum)` over `k_y`, `k_x`, `in_c` ascending; then the activation.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn forward(
    params: &Conv2d,
    input: &[f32],
    filter: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(input.len(), filter.len(), output.len())?;
    params.check_bias(bias)?;
    Convolve {
        input_shape: params.input,
        output_shape: params.output,
        window: params.window,
        groups: params.groups(),
        input,
        filter,
        bias,
        output,
    }
    .compute();
    params.activation.apply_all(output);
    Ok(())
}

/// Gradient with respect to the input: `grad_input[n, in_y, in_x, in_c] = sum over k_y, k_x, out_c of
/// grad_output[n, out_y, out_x, out_c] * filter[k_y, k_x, in_c, out_c]`, over the output pixels that tap `k_y, k_x` joins with the
/// input pixel, and the output channels of the input channel's group. Overwrites `grad_input` (`[N, H, W, C_in]`).
///
/// Chain: from 0, `fma(grad_output, filter, sum)` over `k_y`, `k_x`, `out_c` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_input(
    params: &Conv2d,
    grad_output: &[f32],
    filter: &[f32],
    grad_input: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(grad_input.len(), filter.len(), grad_output.len())?;
    ConvolveTransposed {
        input_shape: params.input,
        output_shape: params.output,
        window: params.window,
        groups: params.groups(),
        grad_output,
        filter,
        bias: None,
        grad_input,
    }
    .compute();
    Ok(())
}

/// Gradient with respect to the filter: `grad_weights[k_y, k_x, in_c, out_c] = sum over n, out_y, out_x of
/// input[n, in_y, in_x, in_c] * grad_output[n, out_y, out_x, out_c]`, over the output pixels at which the tap is not in the padding.
/// Overwrites `grad_weights` (`[K_h, K_w, C_in / groups, C_out]`).
///
/// Chain: from 0, `fma(input, grad_output, sum)` over `n`, `out_y`, `out_x` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_weights(
    params: &Conv2d,
    input: &[f32],
    grad_output: &[f32],
    grad_weights: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(input.len(), grad_weights.len(), grad_output.len())?;
    Correlate {
        depthwise: false,
        groups: params.groups(),
        input_shape: params.input,
        output_shape: params.output,
        window: params.window,
        input,
        grad_output,
        grad_weights,
    }
    .compute();
    Ok(())
}

impl Conv2d {
    /// How many groups the channels are in: the first of as many equal parts of the output's channels sees only the first of the
    /// input's, and so on. 1 for shapes that do not fit.
    pub fn groups(&self) -> usize {
        let [_, _, filter_c, _] = self.filter.dims();
        groups(self.input, filter_c, self.output).unwrap_or(1)
    }
}

impl Weighted for Conv2d {
    const HAS_WINDOW: bool = true;
    const FORWARD: Forward<Self> = forward;
    const GRAD_INPUT: Gradient<Self> = grad_input;
    const GRAD_WEIGHTS: Gradient<Self> = grad_weights;

    fn new(Shapes { input, filter, output }: Shapes, window: Window, activation: Activation) -> Self {
        Self { input, filter, output, window, activation }
    }

    fn shapes(&self) -> Shapes {
        Shapes { input: self.input, filter: self.filter, output: self.output }
    }

    fn check(&self) -> Result<(), Tensor> {
        let [k_h, k_w, filter_c, _] = self.filter.dims();
        let filter_fits = [k_h, k_w] == [self.window.y.kernel, self.window.x.kernel]
            && groups(self.input, filter_c, self.filter).is_some();
        self.shapes().check_convolution(self.window, filter_fits)
    }
}
