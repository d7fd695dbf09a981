//! The tables of int8 functions of one input, with TensorFlow Lite Micro's arithmetic; where it has no int8 kernel, with TensorFlow Lite's.

use smidgen::Quantization;
use smidgen::ops::activation::Activation;
use smidgen::ops::function::Function;
use smidgen::ops::int8::OutputRange;
use smidgen::ops::lookup::TABLE_ELEMENTS;
use smidgen::quantization::Multiplier;

use super::fixed_point;

/// The quantization of every output of an int8 `logistic`.
pub const LOGISTIC_OUTPUT: Quantization = Quantization { scale: 1.0 / 256.0, zero_point: -128 };
/// The quantization of every output of an int8 `tanh`.
pub const TANH_OUTPUT: Quantization = Quantization { scale: 1.0 / 128.0, zero_point: 0 };

/// What a table is the table of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TableFunction {
    /// An activation; [`Activation::None`] is a change of the quantization.
    Activation(Activation),
    /// A function.
    Function(Function),
}

impl TableFunction {
    /// Its name, in TensorFlow Lite's terms.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activation(Activation::None) => "quantize",
            Self::Activation(Activation::Relu) => "relu",
            Self::Activation(Activation::Relu6) => "relu6",
            Self::Activation(Activation::LeakyRelu { .. }) => "leaky_relu",
            Self::Activation(Activation::ReluN1To1) => "relu_n1_to_1",
            Self::Function(function) => function.name(),
        }
    }
}

/// A table; entry `x + 128` is the value at `x`.
type Table = [i8; TABLE_ELEMENTS];

/// The table of `function` from one quantization to another. `None` if a factor is out of range, or the quantization of the output is not the one
/// that a `logistic` or a `tanh` has.
pub fn table(function: TableFunction, input: Quantization, output: Quantization) -> Option<Table> {
    match function {
        TableFunction::Activation(activation) => activation_table(activation, input, output),
        TableFunction::Function(Function::Logistic) if output.zero_point == LOGISTIC_OUTPUT.zero_point => {
            sigmoid_table(input, 31 - 8, fixed_point::logistic, LOGISTIC_OUTPUT.zero_point)
        }
        TableFunction::Function(Function::Logistic) => None,
        TableFunction::Function(Function::Tanh) => sigmoid_table(input, 31 - 7, fixed_point::tanh, 0),
        TableFunction::Function(Function::HardSwish) => hard_swish_table(input, output),
        TableFunction::Function(Function::Abs) => abs_table(input, output),
        TableFunction::Function(Function::Rsqrt) => rsqrt_table(input, output),
        TableFunction::Function(function) => Some(real_table(function, input, output)),
    }
}

/// TensorFlow Lite Micro's int8 `RELU6`: it cuts the integers at those of 0 and 6 of the input's quantization, whatever the output's is.
pub fn clamped_relu6(input: Quantization) -> Option<Table> {
    activation_table(Activation::Relu6, input, input)
}

fn each(value: impl Fn(i32) -> i8) -> Table {
    let mut table = [0; TABLE_ELEMENTS];
    for (entry, x) in table.iter_mut().zip(-128i32..) {
        *entry = value(x);
    }
    table
}

fn saturate(value: i64) -> i8 {
    value.clamp(-128, 127) as i8
}

/// `None`, `Relu`, `Relu6` and `ReluN1To1` scale the difference from the zero point by `input scale / output scale` (`Requantize`, `ReluQuantized`) and
/// clamp. `LeakyRelu` has two factors, one for each sign (`QuantizeLeakyRelu`).
fn activation_table(activation: Activation, input: Quantization, output: Quantization) -> Option<Table> {
    let (positive, negative, range) = if let Activation::LeakyRelu { alpha } = activation {
        // These quotients are of f32, unlike the other activations'.
        let positive = Multiplier::from_real(f64::from(input.scale / output.scale))?;
        let negative = Multiplier::from_real(f64::from(input.scale * alpha / output.scale))?;
        (positive, negative, OutputRange::of(Activation::None, output)?)
    } else {
        let factor = Multiplier::from_real(f64::from(input.scale) / f64::from(output.scale))?;
        (factor, factor, OutputRange::of(activation, output)?)
    };
    Some(each(|x| {
        let difference = x - input.zero_point;
        range.requantize(difference, if difference >= 0 { positive } else { negative })
    }))
}

/// Sigmoid and hyperbolic tangent: fixed-point functions of a number with four integer bits (`integer_ops/logistic.h`, `tanh.h`). Beyond the
/// numbers that have such a form they are at their ends.
fn sigmoid_table(
    input: Quantization,
    right_shift: u32,
    function: impl Fn(i32) -> i32,
    zero_point: i32,
) -> Option<Table> {
    const INTEGER_BITS: i32 = 4;
    let factor = f64::from(input.scale) * f64::from(1 << (31 - INTEGER_BITS));
    let (significand, left_shift) = libm::frexp(factor);
    if !(0..=62).contains(&left_shift) {
        return None;
    }
    let multiplier = libm::round(significand * f64::from(1u32 << 31)) as i32;
    let radius = (15i64 << (31 - INTEGER_BITS)) >> left_shift;
    Some(each(|x| {
        let difference = i64::from(x - input.zero_point);
        if difference <= -radius {
            return -128;
        }
        if difference >= radius {
            return 127;
        }
        let scaled = Multiplier { multiplier, shift: left_shift }.apply(difference as i32);
        let rounded = smidgen::quantization::rounding_divide_by_power_of_two(function(scaled), right_shift);
        saturate(i64::from(rounded) + i64::from(zero_point))
    }))
}

/// `integer_ops`-like int16 arithmetic of `hard_swish.h`. `None` if the output's scale is less than 1/128 of the input's.
fn hard_swish_table(input: Quantization, output: Quantization) -> Option<Table> {
    let fine_scale = (1.0f32 / 128.0) * input.scale;
    let half_width = 3.0f32 / 32768.0;
    let of_output = Multiplier::from_real(f64::from(fine_scale / output.scale))?;
    let of_slope = Multiplier::from_real(f64::from(fine_scale / half_width))?;
    if of_output.shift > 0 {
        return None;
    }
    let narrow = |factor: Multiplier| -> i16 {
        let rounded = (i64::from(factor.multiplier) + (1 << 15)) >> 16;
        rounded.min(i16::MAX.into()) as i16
    };
    let (output_factor, slope_factor) = (narrow(of_output), narrow(of_slope));
    let saturating_shift =
        |x: i16, bits: i32| (i64::from(x) << bits.min(31)).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    Some(each(|x| {
        let fine = ((x - input.zero_point) << 7) as i16;
        let on_output = rounding_high_mul_16(fine, output_factor);
        let mut slope = fine;
        if of_slope.shift > 0 {
            slope = saturating_shift(slope, of_slope.shift - 1);
        }
        slope = rounding_high_mul_16(slope, slope_factor);
        if of_slope.shift > 0 {
            slope = saturating_shift(slope, 1);
        } else {
            slope = divide_16(slope, -of_slope.shift);
        }
        // From [-1, 1] to [0, 1].
        let slope = (i32::from(slope) + (1 << 15)) >> 1;
        // Rounded towards zero.
        let product = (slope * i32::from(on_output)) / (1 << 15);
        let shifted = divide_16(product as i16, -of_output.shift);
        saturate(i64::from(shifted.wrapping_add(output.zero_point as i16)))
    }))
}

/// The high 16 bits of `2 * a * b`, rounded to nearest with ties away from zero, saturated.
fn rounding_high_mul_16(a: i16, b: i16) -> i16 {
    if a == i16::MIN && b == i16::MIN {
        return i16::MAX;
    }
    let product = i32::from(a) * i32::from(b);
    let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
    ((product + nudge) / (1 << 15)) as i16
}

/// `x / 2^exponent`, rounded to nearest with ties away from zero.
fn divide_16(x: i16, exponent: i32) -> i16 {
    let exponent = u32::try_from(exponent).unwrap_or(0).min(31);
    smidgen::quantization::rounding_divide_by_power_of_two(x.into(), exponent) as i16
}

/// `AbsEvalQuantized`: a factor only if the scales differ.
fn abs_table(input: Quantization, output: Quantization) -> Option<Table> {
    let factor = Multiplier::from_real(f64::from(input.scale) / f64::from(output.scale))?;
    Some(each(|x| {
        let value = (x - input.zero_point).abs();
        let scaled = if input.scale == output.scale { value } else { factor.apply(value) };
        saturate(i64::from(scaled) + i64::from(output.zero_point))
    }))
}

/// `RsqrtEvalQuantized`. Zero gives the largest value, and so do negative numbers, at which TensorFlow Lite Micro stops.
fn rsqrt_table(input: Quantization, output: Quantization) -> Option<Table> {
    /// Keeps the value an integer.
    const SHIFT: i32 = 20;
    let factor = 1.0 / (libm::sqrt(f64::from(input.scale)) * f64::from(output.scale));
    let factor = Multiplier::from_real(factor)?;
    let factor = Multiplier { shift: factor.shift - SHIFT, ..factor };
    if !(-31..=30).contains(&factor.shift) {
        return None;
    }
    Some(each(|x| {
        let value = x - input.zero_point;
        if value <= 0 {
            return 127;
        }
        let (multiplier, right_shift) = fixed_point::inverse_square_root(value);
        let inverse = Multiplier { multiplier, shift: SHIFT - right_shift }.apply(1);
        saturate(i64::from(factor.apply(inverse)) + i64::from(output.zero_point))
    }))
}

/// TensorFlow Lite's `LUTPopulate` (and TensorFlow Lite Micro's `ELU`): the real function of each integer's real number. What is no number
/// gives the zero point.
fn real_table(function: Function, input: Quantization, output: Quantization) -> Table {
    let inverse_scale = 1.0 / output.scale;
    each(|x| {
        let real = input.scale * (x - input.zero_point) as f32;
        // Exponentials rounded once: TensorFlow Lite's C library is nearly as exact.
        let exp = |x: f32| libm::exp(x.into()) as f32;
        let value = match function {
            Function::Exp => exp(real),
            Function::Elu if real < 0.0 => exp(real) - 1.0,
            _ => function.apply(real),
        };
        // The conversion saturates.
        let steps = libm::roundf(value * inverse_scale) as i32;
        saturate(i64::from(steps) + i64::from(output.zero_point))
    })
}

#[cfg(test)]
mod tests;
