//! Activation functions and their gradients, one number at a time.

/// An activation function.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[doc(alias = "nonlinearity")]
pub enum Activation {
    /// `y = x`.
    #[default]
    None,
    /// `y = max(x, 0)`.
    Relu,
    /// `y = min(max(x, 0), 6)`.
    Relu6,
    /// `y = x` for positive `x`, else `alpha * x`.
    LeakyRelu {
        /// Slope for negative inputs, in `0.0..=1.0`.
        alpha: f32,
    },
    /// `y = min(max(x, -1), 1)`.
    #[doc(alias = "hardtanh")]
    ReluN1To1,
}

impl Activation {
    /// The function. NaN gives the lower bound for `ReLU`, `ReLU6` and `ReLU_N1_TO_1` (as a comparison with NaN is false) and NaN for the others.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::None => x,
            Self::Relu => {
                if x > 0.0 {
                    x
                } else {
                    0.0
                }
            }
            Self::Relu6 => {
                if x > 0.0 {
                    if x < 6.0 { x } else { 6.0 }
                } else {
                    0.0
                }
            }
            Self::LeakyRelu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Self::ReluN1To1 => {
                if x > -1.0 {
                    if x < 1.0 { x } else { 1.0 }
                } else {
                    -1.0
                }
            }
        }
    }

    /// The function, for each of `values` in place.
    pub(crate) fn apply_all(self, values: &mut [f32]) {
        if self != Self::None {
            for value in values {
                *value = self.apply(*value);
            }
        }
    }

    /// The gradient with respect to `x`, where `y` is the output (or the input: the gradient is the same).
    ///
    /// At the kinks (0, and 6 for `ReLU6`; -1 and 1) the gradient is that of the flat side, as in `PyTorch`; for leaky `ReLU` with `alpha = 0`
    /// only the input tells both sides apart, and both give the same.
    #[inline(always)]
    pub fn gradient(self, y: f32, grad_output: f32) -> f32 {
        match self {
            Self::None => grad_output,
            Self::Relu => {
                if y > 0.0 {
                    grad_output
                } else {
                    0.0
                }
            }
            Self::Relu6 => {
                if y > 0.0 && y < 6.0 {
                    grad_output
                } else {
                    0.0
                }
            }
            Self::LeakyRelu { alpha } => {
                if y > 0.0 {
                    grad_output
                } else {
                    alpha * grad_output
                }
            }
            Self::ReluN1To1 => {
                if y > -1.0 && y < 1.0 {
                    grad_output
                } else {
                    0.0
                }
            }
        }
    }
}
