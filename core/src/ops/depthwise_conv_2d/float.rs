//! `depthwise_conv_2d` in f32, and its gradients.

use crate::geometry::Window;
use crate::kernels::correlate::Correlate;
use crate::kernels::stencil::{Direction, Stencil};
use crate::operand::Shape;
use crate::ops::activation::Activation;
use crate::ops::call::{CallError, Tensor};
use crate::ops::conv_2d::{self, Conv2d};
use crate::ops::weighted::{Forward, Gradient, Shapes, Weighted};

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
    /// With one input channel it is a convolution: the same chains, and lanes for them.
    fn convolution(&self) -> Option<Conv2d> {
        let Self { input, filter: Shape([_, k_h, k_w, c_out]), output, window, activation } = *self;
        let [.., c_in] = input.0;
        let filter = Shape([k_h, k_w, 1, c_out]);
        (c_in == 1).then_some(Conv2d { input, filter, output, window, activation })
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
    params.check_call(input.len(), filter.len(), output.len())?;
    if let Some(convolution) = params.convolution() {
        return conv_2d::forward(&convolution, input, filter, bias, output);
    }
    params.check_bias(bias)?;
    Stencil {
        direction: Direction::Forward,
        input_shape: params.input,
        output_shape: params.output,
        window: params.window,
        source: input,
        filter,
        bias,
        target: output,
    }
    .compute();
    params.activation.apply_all(output);
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
    params.check_call(grad_input.len(), filter.len(), grad_output.len())?;
    if let Some(convolution) = params.convolution() {
        return conv_2d::grad_input(&convolution, grad_output, filter, grad_input);
    }
    Stencil {
        direction: Direction::Backward,
        input_shape: params.input,
        output_shape: params.output,
        window: params.window,
        source: grad_output,
        filter,
        bias: None,
        target: grad_input,
    }
    .compute();
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
    params.check_call(input.len(), grad_weights.len(), grad_output.len())?;
    if let Some(convolution) = params.convolution() {
        return conv_2d::grad_weights(&convolution, input, grad_output, grad_weights);
    }
    Correlate {
        depthwise: true,
        groups: 1,
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

impl Weighted for DepthwiseConv2d {
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
        let ([one, k_h, k_w, c_out], [.., c_in]) = (self.filter.dims(), self.input.dims());
        let filter_fits = one == 1
            && [k_h, k_w] == [self.window.y.kernel, self.window.x.kernel]
            && c_out.checked_rem(c_in) == Some(0);
        self.shapes().check_convolution(self.window, filter_fits)
    }
}
