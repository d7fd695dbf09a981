//! Element-wise functions of one f32 tensor that are not cheap enough to be fused: sigmoid, hyperbolic tangent and the like.
//!
//! Exponentials, hyperbolic tangents and error functions are `libm`'s on every target, so that their bits are the same everywhere.

use super::operands::{all_are, has_shape, map_f32, zip_f32};
use crate::kernels::{erfc, exp, expm1, sqrt, tanh};
use crate::memory::Memory;
use crate::operand::ElementType;
use crate::step::{Step, StepError};

/// `1 / sqrt(2)`.
const FRAC_1_SQRT_2: f32 = core::f32::consts::FRAC_1_SQRT_2;
/// `1 / sqrt(2 * pi)`.
const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
/// `sqrt(2 / pi)`.
const SQRT_FRAC_2_PI: f32 = 0.797_884_6;
/// The coefficient of the cube in GELU's approximation.
const GELU_CUBE: f32 = 0.044_715;

/// A function of one number. Attribute: its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Function {
    /// `1 / (1 + exp(-x))`.
    #[doc(alias = "sigmoid")]
    Logistic = 0,
    /// The hyperbolic tangent.
    Tanh = 1,
    /// `x` for `x >= 0`, else `exp(x) - 1`.
    Elu = 2,
    /// `x * min(max(x + 3, 0), 6) / 6`.
    HardSwish = 3,
    /// `x` times the normal distribution function of `x`: `x / 2 * erfc(-x / sqrt(2))`.
    Gelu = 4,
    /// GELU's approximation `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
    GeluTanh = 5,
    /// `|x|`.
    Abs = 6,
    /// `-x`.
    Neg = 7,
    /// `e^x`.
    Exp = 8,
    /// The square root; NaN for negative numbers.
    Sqrt = 9,
    /// `1 / sqrt(x)`.
    Rsqrt = 10,
}

impl Function {
    /// All of them, by code.
    pub const ALL: [Self; 11] = [
        Self::Logistic,
        Self::Tanh,
        Self::Elu,
        Self::HardSwish,
        Self::Gelu,
        Self::GeluTanh,
        Self::Abs,
        Self::Neg,
        Self::Exp,
        Self::Sqrt,
        Self::Rsqrt,
    ];

    /// The function with this code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|&function| function as i32 == code)
    }

    /// Its name, in TensorFlow Lite's terms.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logistic => "logistic",
            Self::Tanh => "tanh",
            Self::Elu => "elu",
            Self::HardSwish => "hard_swish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Abs => "abs",
            Self::Neg => "neg",
            Self::Exp => "exp",
            Self::Sqrt => "sqrt",
            Self::Rsqrt => "rsqrt",
        }
    }

    /// Its value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Logistic => 1.0 / (1.0 + exp(-x)),
            Self::Tanh => tanh(x),
            Self::Elu if x >= 0.0 => x,
            Self::Elu => expm1(x),
            Self::HardSwish => x * clamp(x + 3.0, 6.0) / 6.0,
            Self::Gelu => 0.5 * x * erfc(-FRAC_1_SQRT_2 * x),
            Self::GeluTanh => 0.5 * x * (1.0 + tanh(gelu_argument(x))),
            Self::Abs => f32::from_bits(x.to_bits() & i32::MAX as u32),
            Self::Neg => -x,
            Self::Exp => exp(x),
            Self::Sqrt => sqrt(x),
            Self::Rsqrt => 1.0 / sqrt(x),
        }
    }

    /// Whether [`gradient`](Self::gradient) takes the output; else it takes the input.
    pub const fn gradient_takes_output(self) -> bool {
        matches!(
            self,
            Self::Logistic | Self::Tanh | Self::Elu | Self::Neg | Self::Exp | Self::Sqrt | Self::Rsqrt
        )
    }

    /// The gradient with respect to the input. `value` is the output where [`gradient_takes_output`](Self::gradient_takes_output)
    /// says so, else the input. At the kinks of `hard_swish` and `abs` it is that of the flat side, or 0.
    pub fn gradient(self, value: f32, grad_output: f32) -> f32 {
        let slope = match self {
            Self::Logistic => value * (1.0 - value),
            Self::Tanh => 1.0 - value * value,
            Self::Elu if value >= 0.0 => 1.0,
            Self::Elu => value + 1.0,
            Self::HardSwish if value <= -3.0 => 0.0,
            Self::HardSwish if value >= 3.0 => 1.0,
            Self::HardSwish => (2.0 * value + 3.0) / 6.0,
            Self::Gelu => {
                let density = FRAC_1_SQRT_TAU * exp(-0.5 * value * value);
                0.5 * erfc(-FRAC_1_SQRT_2 * value) + value * density
            }
            Self::GeluTanh => {
                let tanh = tanh(gelu_argument(value));
                let slope = SQRT_FRAC_2_PI * (1.0 + 3.0 * GELU_CUBE * value * value);
                0.5 * (1.0 + tanh) + 0.5 * value * (1.0 - tanh * tanh) * slope
            }
            Self::Abs if value > 0.0 => 1.0,
            Self::Abs if value < 0.0 => -1.0,
            Self::Abs => 0.0,
            Self::Neg => -1.0,
            Self::Exp => value,
            Self::Sqrt => 0.5 / value,
            Self::Rsqrt => -0.5 * value * value * value,
        };
        slope * grad_output
    }

    fn read(step: Step<'_>) -> Result<Self, StepError> {
        let &[found] = step.attributes::<1>()?;
        Self::from_code(found).ok_or(StepError::Attribute { index: 0, found })
    }
}

/// `x` in `0..=most`; NaN gives 0.
fn clamp(x: f32, most: f32) -> f32 {
    if x > 0.0 { if x < most { x } else { most } } else { 0.0 }
}

fn gelu_argument(x: f32) -> f32 {
    SQRT_FRAC_2_PI * (x + GELU_CUBE * x * x * x)
}

/// `output = function(input)`, both of the same length.
pub fn forward(function: Function, input: &[f32], output: &mut [f32]) {
    for (output, &input) in output.iter_mut().zip(input) {
        *output = function.apply(input);
    }
}

/// `grad_input = grad_output * function'`, from the function's outputs or its inputs, see [`Function::gradient`]. Overwrites `grad_input`.
pub fn backward(function: Function, values: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    for (grad_input, (&value, &grad_output)) in grad_input.iter_mut().zip(values.iter().zip(grad_output)) {
        *grad_input = function.gradient(value, grad_output);
    }
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    Function::read(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(output, 1, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let function = Function::read(step)?;
    map_f32(step, memory, |x| function.apply(x))
}

pub(super) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([value, grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    Function::read(step)?;
    all_are(step, ElementType::F32)?;
    has_shape(grad_output, 1, value.shape)?;
    has_shape(grad_input, 2, value.shape)
}

pub(super) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let function = Function::read(step)?;
    zip_f32(step, memory, |value, grad_output| function.gradient(value, grad_output))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::test_support::{
        assert_close, assert_in_place, assert_same_bits, changed, in_arena, numeric_gradient, step, wide,
    };
    use super::*;
    use crate::step::NewStep;

    /// A few units in the last place of f32; with `micromath`, the error of its exponential.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 4e-3 } else { 4e-7 };

    /// The functions in f64, from their definitions.
    fn exact(function: Function, x: f64) -> f64 {
        let normal = |x: f64| 0.5 * libm::erfc(-x / 2f64.sqrt());
        match function {
            Function::Logistic => 1.0 / (1.0 + (-x).exp()),
            Function::Tanh => x.tanh(),
            Function::Elu => {
                if x >= 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            Function::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Function::Gelu => x * normal(x),
            Function::GeluTanh => {
                let argument = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + argument.tanh())
            }
            Function::Abs => x.abs(),
            Function::Neg => -x,
            Function::Exp => x.exp(),
            Function::Sqrt => x.sqrt(),
            Function::Rsqrt => 1.0 / x.sqrt(),
        }
    }

    fn inputs(function: Function) -> Vec<f32> {
        let all = (-160..=160).map(|i| i as f32 / 20.0 + 0.01);
        let positive = matches!(function, Function::Sqrt | Function::Rsqrt);
        all.filter(|&x| !positive || x > 0.1).collect()
    }

    #[test]
    fn values_are_those_of_f64() {
        for function in Function::ALL {
            let x = inputs(function);
            let mut found = std::vec![f32::NAN; x.len()];
            forward(function, &x, &mut found);
            for (&x, found) in x.iter().zip(found) {
                let expected = exact(function, x.into());
                let error = (f64::from(found) - expected).abs();
                // Relative to the value, and to the input for those whose value is a product with it.
                let scale = expected.abs().max(f64::from(x).abs().min(1.0));
                assert!(error <= TOLERANCE * scale, "{function:?}({x}): {found}, not {expected}");
            }
        }
    }

    #[test]
    fn gradients_are_those_of_central_differences() {
        for function in Function::ALL {
            let x = inputs(function);
            let mut values = x.clone();
            if function.gradient_takes_output() {
                forward(function, &x, &mut values);
            }
            let grads: Vec<f32> = (0..x.len()).map(|i| (i as f32 * 0.7).sin()).collect();
            let mut found = std::vec![f32::NAN; x.len()];
            backward(function, &values, &grads, &mut found);
            let loss = |x: &[f64]| {
                x.iter().zip(wide(&grads)).map(|(&x, grad)| grad * exact(function, x)).sum::<f64>()
            };
            // The sum of some hundred terms leaves the difference with fewer digits.
            let tolerance = if cfg!(feature = "micromath") { 4e-3 } else { 2e-6 };
            assert_close(function.name(), &found, &numeric_gradient(&x, loss), tolerance);
        }
    }

    #[test]
    fn ends_are_what_they_should_be() {
        let at = |function: Function, x: f32| function.apply(x);
        assert_eq!(at(Function::Logistic, -200.0), 0.0);
        assert_eq!(at(Function::Logistic, 200.0), 1.0);
        assert_eq!(at(Function::Elu, f32::NEG_INFINITY), -1.0);
        assert_eq!(at(Function::Gelu, -60.0), 0.0);
        assert_eq!(at(Function::Rsqrt, 0.0), f32::INFINITY);
        assert!(at(Function::Sqrt, -1.0).is_nan());
        assert_eq!(at(Function::Abs, -0.0).to_bits(), 0);
    }

    #[test]
    fn steps_run_in_place() {
        let x: Vec<f32> = (0..24).map(|i| i as f32 / 8.0 + 0.1).collect();
        for function in Function::ALL {
            let shape = [1, 2, 3, 4];
            assert_in_place(Operator::Function as u8, &[function as i32], &[(shape, &x)], &[0]);
            let reads = [(shape, &x[..]), (shape, &x[..])];
            assert_in_place(Operator::FunctionGrad as u8, &[function as i32], &reads, &[0, 1]);
        }
        let mut found = [0.0];
        forward(Function::Tanh, &[0.5], &mut found);
        assert_same_bits("tanh", &found, &[libm::tanhf(0.5)]);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let [a, b, c] = [0, 4, 8].map(|start| in_arena(start, [1, 1, 2, 2]));
        let forward = step(Operator::Function as u8, &[0], &[a], &[b]);
        let backward = step(Operator::FunctionGrad as u8, &[0], &[a, b], &[c]);
        for (step, output) in [(&forward, 1), (&backward, 2)] {
            assert_eq!(changed(step, |_| {}), Ok(()));
            let error = |change: fn(&mut NewStep)| changed(step, change).unwrap_err();
            assert_eq!(error(|step| step.attributes[0] = 11), StepError::Attribute { index: 0, found: 11 });
            assert_eq!(error(|step| step.attributes[0] = -1), StepError::Attribute { index: 0, found: -1 });
            assert_eq!(error(|step| step.writes[0].shape.0[3] = 1), StepError::Shape { operand: output });
            assert_eq!(
                error(|step| step.reads[0].element_type = ElementType::I8),
                StepError::ElementType { operand: 0 }
            );
        }
        let shape = changed(&backward, |step| step.reads[1].shape.0[3] = 1);
        assert_eq!(shape, Err(StepError::Shape { operand: 1 }));
    }
}
