//! The elements of constant tensors.

use smidgen_tflite_schema::TensorType;

use super::{Refusal, describe_tensor, unsupported};
use crate::tflite::error::ImportError;
use crate::tflite::net::NetTensor;

/// The bytes of a constant of `element_type`, as many as its dimensions say.
fn bytes<'f, const SIZE: usize>(
    tensor: &NetTensor<'f>,
    element_type: TensorType,
) -> Result<&'f [[u8; SIZE]], Refusal> {
    let name = || describe_tensor(tensor);
    if tensor.element_type != element_type {
        let expected = format!("{element_type:?}").to_lowercase();
        return Err(unsupported(format!("{} is not {expected}", name())));
    }
    if tensor.is_sparse {
        return Err(unsupported(format!("{} is sparse", name())));
    }
    let data = tensor.data.ok_or_else(|| unsupported(format!("{} is not a constant", name())))?;
    let expected = tensor.elements().and_then(|elements| elements.checked_mul(SIZE));
    match data.as_chunks() {
        (chunks, []) if Some(data.len()) == expected => Ok(chunks),
        _ => {
            let problem = format!(
                "{} has {} bytes of elements, expected {}",
                name(),
                data.len(),
                expected.map_or_else(|| "fewer than 2^31".to_owned(), |bytes| bytes.to_string())
            );
            let (table, field, offset) = ("Tensor", "buffer", tensor.offset);
            Err(ImportError::Malformed { table, field, offset, problem }.into())
        }
    }
}

/// The elements of an int8 constant.
pub(super) fn i8s(tensor: &NetTensor<'_>) -> Result<Vec<i8>, Refusal> {
    Ok(bytes::<1>(tensor, TensorType::Int8)?.iter().map(|&[byte]| byte.cast_signed()).collect())
}

/// The elements of an int16 constant.
pub(super) fn i16s(tensor: &NetTensor<'_>) -> Result<Vec<i16>, Refusal> {
    Ok(bytes(tensor, TensorType::Int16)?.iter().map(|&bytes| i16::from_le_bytes(bytes)).collect())
}

/// The elements of an int32 constant.
pub(super) fn i32s(tensor: &NetTensor<'_>) -> Result<Vec<i32>, Refusal> {
    Ok(bytes(tensor, TensorType::Int32)?.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())
}

/// The elements of an f32 constant.
pub(super) fn f32s(tensor: &NetTensor<'_>) -> Result<Vec<f32>, Refusal> {
    Ok(bytes(tensor, TensorType::Float32)?.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
