//! `fully_connected` in f32, and its gradients: a convolution of one pixel.

use crate::geometry::Window;
use crate::operand::Shape;
use crate::ops::activation::Activation;
use crate::ops::call::{CallError, Tensor};
use crate::ops::conv_2d::{self, Conv2d};
use crate::ops::weighted::{Forward, Gradient, Shapes, Weighted};

/// The shapes and parameters of a fully connected layer in f32. What [`Conv2d`] says of the bits of a result holds here too.
#[doc(alias = "linear")]
#[doc(alias = "dense")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FullyConnected {
    /// `[N, H, W, C_in]`.
    pub input: Shape,
    /// `[1, 1, C_in, C_out]`.
    pub weights: Shape,
    /// `[N, H, W, C_out]`.
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

    fn checked(&self) -> Result<Conv2d, CallError> {
        self.check().map_err(|tensor| CallError::Shape { tensor })?;
        Ok(self.convolution())
    }
}

/// `output[n, out_c] = activation(bias[out_c] + sum over in_c of input[n, in_c] * weights[in_c, out_c])`, where `n` goes over the pixels of
/// all samples: each is a row of its own.
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
/// Overwrites `grad_input` (`[N, H, W, C_in]`).
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

impl Weighted for FullyConnected {
    const HAS_WINDOW: bool = false;
    const FORWARD: Forward<Self> = forward;
    const GRAD_INPUT: Gradient<Self> = grad_input;
    const GRAD_WEIGHTS: Gradient<Self> = grad_weights;

    fn new(
        Shapes { input, filter: weights, output }: Shapes,
        _window: Window,
        activation: Activation,
    ) -> Self {
        Self { input, weights, output, activation }
    }

    fn shapes(&self) -> Shapes {
        Shapes { input: self.input, filter: self.weights, output: self.output }
    }

    fn check(&self) -> Result<(), Tensor> {
        // Not in groups, as a convolution of this shape could be.
        let ([.., in_c], [.., weights_c, _]) = (self.input.0, self.weights.0);
        match self.convolution().check() {
            Ok(()) if weights_c != in_c => Err(Tensor::Filter),
            checked => checked,
        }
    }
}
