//! Constants that the file computes from constants: float weights that are stored as float16 or int8, with a `DEQUANTIZE` in front of what reads them.

use std::borrow::Cow;

use smidgen_tflite_schema::{BuiltinOperator, TensorType};

use super::importer::constant_bytes;
use crate::tflite::net::{NetQuantization, NetTensor, Subgraph};

/// Makes outputs of `DEQUANTIZE` constants where the inputs are. Returns the indices of the operators that nothing is left to do for.
///
/// What cannot be folded stays as it is, and is refused when its turn comes: other types, broken lengths, more bytes than a file of `file_bytes` may have.
pub(super) fn fold_constants(subgraph: &mut Subgraph<'_>, file_bytes: usize) -> Vec<usize> {
    let mut left = constant_bytes(file_bytes);
    let mut folded = Vec::new();
    for (index, operator) in subgraph.operators.iter().enumerate() {
        let (&[Some(input)], &[output]) = (operator.inputs.as_slice(), operator.outputs.as_slice()) else {
            continue;
        };
        let (from, to) = (&subgraph.tensors[input], &subgraph.tensors[output]);
        let bytes = from.elements().and_then(|elements| elements.checked_mul(size_of::<f32>()));
        let Some(after) = bytes.and_then(|bytes| left.checked_sub(bytes)) else { continue };
        let fits = to.element_type == TensorType::Float32 && to.data.is_none() && to.dims == from.dims;
        if operator.code != BuiltinOperator::Dequantize as i32 || !fits {
            continue;
        }
        if let Some(floats) = dequantized(from) {
            subgraph.tensors[output].data = Some(Cow::Owned(floats));
            left = after;
            folded.push(index);
        }
    }
    folded
}

/// The bytes of a constant's elements as f32; `None` if it is no constant, of another type, or broken.
fn dequantized(tensor: &NetTensor<'_>) -> Option<Vec<u8>> {
    let data = tensor.data.as_deref().filter(|_| !tensor.is_sparse)?;
    let elements = tensor.elements()?;
    match tensor.element_type {
        TensorType::Float16 => {
            let (halves, []) = data.as_chunks() else { return None };
            let floats = halves.iter().flat_map(|&half| from_half(u16::from_le_bytes(half)).to_le_bytes());
            (halves.len() == elements).then(|| floats.collect())
        }
        TensorType::Int8 if data.len() == elements => {
            let NetQuantization { scales, zero_points, axis } = tensor.quantization.as_ref()?;
            let inner: usize = tensor.dims.iter().skip(axis + 1).product();
            let real = |(index, &byte): (usize, &u8)| {
                let channel = if scales.len() == 1 { 0 } else { index / inner % scales.len() };
                let zero_point = zero_points.get(channel).copied().unwrap_or(0);
                // The difference has at most nine bits with any zero point that is valid.
                let value = (i64::from(byte.cast_signed()).saturating_sub(zero_point)) as f32;
                (scales[channel] * value).to_le_bytes()
            };
            (elements > 0 && !scales.is_empty()).then(|| data.iter().enumerate().flat_map(real).collect())
        }
        _ => None,
    }
}

/// The value of a float16 (IEEE 754 binary16), exactly.
fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    if bits & 0x7c00 == 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | magnitude);
    }
    // The exponents differ by 127 - 15; the product is exact for subnormal numbers, too.
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(sign | scaled.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        let known = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 1365.0 / 4096.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in known {
            assert_eq!(from_half(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(from_half(0x7e00).is_nan());
    }

    fn constant(element_type: TensorType, dims: &[usize], data: &'static [u8]) -> NetTensor<'static> {
        NetTensor {
            offset: 0,
            name: String::new(),
            dims: dims.to_vec(),
            element_type,
            data: Some(Cow::Borrowed(data)),
            quantization: None,
            is_variable: false,
            is_sparse: false,
        }
    }

    #[test]
    fn channels_have_their_own_scales() {
        let mut tensor = constant(TensorType::Int8, &[2, 1, 2], &[1, 2, 3, 0xff]);
        let quantization = |scales: &[f32], axis| {
            Some(NetQuantization { scales: scales.to_vec(), zero_points: vec![0; scales.len()], axis })
        };
        let floats = |tensor: &NetTensor<'_>| {
            let bytes = dequantized(tensor).unwrap();
            bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>()
        };
        tensor.quantization = quantization(&[0.5, 2.0], 0);
        assert_eq!(floats(&tensor), [0.5, 1.0, 6.0, -2.0]);
        tensor.quantization = quantization(&[0.5, 2.0], 2);
        assert_eq!(floats(&tensor), [0.5, 4.0, 1.5, -2.0]);
        tensor.quantization = quantization(&[0.5], 0);
        assert_eq!(floats(&tensor), [0.5, 1.0, 1.5, -0.5]);
    }

    #[test]
    fn broken_lengths_are_left_alone() {
        assert_eq!(dequantized(&constant(TensorType::Float16, &[2], &[0, 0, 0])), None);
        assert_eq!(dequantized(&constant(TensorType::Float16, &[1], &[0, 0, 0, 0])), None);
        assert_eq!(dequantized(&constant(TensorType::Int8, &[2], &[0])), None);
        assert_eq!(dequantized(&constant(TensorType::Int8, &[1], &[0])), None, "it has no scale");
    }
}
