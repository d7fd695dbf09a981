//! `transpose_conv` in f32, and its gradients.

use super::check_shapes;
use crate::geometry::Window;
use crate::kernels::convolve::{Convolve, ConvolveTransposed};
use crate::kernels::correlate::Correlate;
use crate::operand::Shape;
use crate::ops::activation::Activation;
use crate::ops::call::{CallError, Tensor};
use crate::ops::weighted::{Forward, Gradient, Shapes, Weighted};

/// The shapes and parameters of a transposed convolution in f32. What [`Conv2d`](crate::ops::conv_2d::Conv2d) says of the bits of a
/// result holds here too.
#[doc(alias = "deconvolution")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransposeConv {
    /// `[N, H, W, C_in]`.
    pub input: Shape,
    /// `[K_h, K_w, C_out, C_in]`: that of a convolution from `C_out` to `C_in` channels.
    pub filter: Shape,
    /// `[N, H_out, W_out, C_out]`. [`Axis::output`](crate::geometry::Axis::output) of its height and width is at least the input's.
    pub output: Shape,
    /// Kernel, stride, padding and dilation of a window over the output.
    pub window: Window,
    /// Applied to each output. The gradients do not look at it.
    pub activation: Activation,
}

/// `output[n, out_y, out_x, out_c] = activation(bias[out_c] + sum over k_y, k_x, in_c of input[n, in_y, in_x, in_c] *
/// filter[k_y, k_x, out_c, in_c])`, over the input pixels with `out_y = in_y * stride_y + k_y * dilation_y - padding_top`, `out_x`
/// likewise.
///
/// Chain: from `bias[out_c]` (0 without a bias), `fma(input, filter, sum)` over `k_y`, `k_x`, `in_c` ascending; then the activation.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn forward(
    params: &TransposeConv,
    input: &[f32],
    filter: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(input.len(), filter.len(), output.len())?;
    params.check_bias(bias)?;
    ConvolveTransposed {
        input_shape: params.output,
        output_shape: params.input,
        window: params.window,
        groups: 1,
        grad_output: input,
        filter,
        bias,
        grad_input: output,
    }
    .compute();
    params.activation.apply_all(output);
    Ok(())
}

/// Gradient with respect to the input: `grad_input[n, in_y, in_x, in_c] = sum over k_y, k_x, out_c of
/// grad_output[n, out_y, out_x, out_c] * filter[k_y, k_x, out_c, in_c]`, over the taps that lie in the output: a convolution. Overwrites
/// `grad_input` (`[N, H, W, C_in]`).
///
/// Chain: from 0, `fma(grad_output, filter, sum)` over `k_y`, `k_x`, `out_c` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_input(
    params: &TransposeConv,
    grad_output: &[f32],
    filter: &[f32],
    grad_input: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(grad_input.len(), filter.len(), grad_output.len())?;
    Convolve {
        input_shape: params.output,
        output_shape: params.input,
        window: params.window,
        groups: 1,
        input: grad_output,
        filter,
        bias: None,
        output: grad_input,
    }
    .compute();
    Ok(())
}

/// Gradient with respect to the filter: `grad_weights[k_y, k_x, out_c, in_c] = sum over n, in_y, in_x of
/// input[n, in_y, in_x, in_c] * grad_output[n, out_y, out_x, out_c]`, over the input pixels whose tap lies in the output. Overwrites
/// `grad_weights` (`[K_h, K_w, C_out, C_in]`).
///
/// Chain: from 0, `fma(grad_output, input, sum)` over `n`, `in_y`, `in_x` ascending.
///
/// # Errors
/// [`CallError`] if the shapes do not fit each other or a slice does not fit its shape.
pub fn grad_weights(
    params: &TransposeConv,
    input: &[f32],
    grad_output: &[f32],
    grad_weights: &mut [f32],
) -> Result<(), CallError> {
    params.check_call(input.len(), grad_weights.len(), grad_output.len())?;
    Correlate {
        depthwise: false,
        groups: 1,
        input_shape: params.output,
        output_shape: params.input,
        window: params.window,
        input: grad_output,
        grad_output: input,
        grad_weights,
    }
    .compute();
    Ok(())
}

impl Weighted for TransposeConv {
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
        let ([.., in_c], [.., out_c], Window { y, x }) = (self.input.dims(), self.output.dims(), self.window);
        if self.input.has_zero() || self.input.elements().is_none() {
            return Err(Tensor::Input);
        }
        if self.filter.dims() != [y.kernel, x.kernel, out_c, in_c] || self.filter.has_zero() {
            return Err(Tensor::Filter);
        }
        check_shapes(&self.window, self.input, self.output)?;
        if self.filter.elements().is_some() { Ok(()) } else { Err(Tensor::Filter) }
    }
}
