//! Activations that are fused into operators, and windows.

use smidgen::Quantization;
use smidgen::geometry::Axis;
use smidgen::ops::activation::Activation;
use smidgen::ops::int8::OutputRange;
use smidgen_tflite_schema::{ActivationFunctionType as Fused, Padding};

use super::{Refusal, unsupported};
use crate::graph::Range;

/// The f32 activation.
pub(super) fn activation(fused: Fused) -> Result<Activation, Refusal> {
    match fused {
        Fused::None => Ok(Activation::None),
        Fused::Relu => Ok(Activation::Relu),
        Fused::Relu6 => Ok(Activation::Relu6),
        Fused::ReluN1To1 => Ok(Activation::ReluN1To1),
        _ => Err(refused(fused)),
    }
}

/// What an activation leaves of an int8 output (TensorFlow Lite's `CalculateActivationRangeQuantized`).
pub(super) fn output_range(fused: Fused, output: Quantization) -> Result<OutputRange, Refusal> {
    OutputRange::of(activation(fused)?, output).ok_or_else(|| refused(fused))
}

/// The limits of an [`output_range`].
pub(super) fn range(fused: Fused, output: Quantization) -> Result<Range, Refusal> {
    Ok(to_range(output_range(fused, output)?))
}

/// The limits of a range.
pub(super) fn to_range(range: OutputRange) -> Range {
    // It keeps both in -128..=127.
    Range { min: range.clamp(i32::from(i8::MIN)), max: range.clamp(i32::from(i8::MAX)) }
}

fn refused(fused: Fused) -> Refusal {
    unsupported(format!("the fused activation {fused:?} is not supported"))
}

/// One axis of a window over `input` elements.
pub(super) fn axis(
    padding: Padding,
    [kernel, stride, dilation]: [i32; 3],
    input: u32,
) -> Result<Axis, Refusal> {
    let found =
        [kernel, stride, dilation].map(|value| usize::try_from(value).ok().filter(|&value| value > 0));
    let [Some(kernel), Some(stride), Some(dilation)] = found else {
        return Err(unsupported(format!(
            "the window has kernel {kernel}, stride {stride} and dilation {dilation}, expected positive numbers"
        )));
    };
    match padding {
        Padding::Valid => Ok(Axis { kernel, stride, dilation, pad_before: 0, pad_after: 0 }),
        Padding::Same => Axis::same(kernel, stride, dilation, input as usize)
            .ok_or_else(|| unsupported("the window is too large")),
    }
}
