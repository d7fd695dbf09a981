//! The elements of constant tensors.

use smidgen::{ElementType, Quantization};
use smidgen_tflite_schema::TensorType;

use super::importer::{Importer, integers};
use super::view::{View, shape};
use super::{Refusal, describe_tensor, unsupported};
use crate::graph::{Role, Tensor, TensorId, Value};
use crate::tflite::error::ImportError;
use crate::tflite::net::NetTensor;

/// The bytes of a constant of `element_type`, as many as its dimensions say.
fn bytes<'t, const SIZE: usize>(
    tensor: &'t NetTensor<'_>,
    element_type: TensorType,
) -> Result<&'t [[u8; SIZE]], Refusal> {
    let name = || describe_tensor(tensor);
    if tensor.element_type != element_type {
        let expected = format!("{element_type:?}").to_lowercase();
        return Err(unsupported(format!("{} is not {expected}", name())));
    }
    if tensor.is_sparse {
        return Err(unsupported(format!("{} is sparse", name())));
    }
    let data = tensor.data.as_deref().ok_or_else(|| unsupported(format!("{} is not a constant", name())))?;
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

/// Input `position`, an activation or a constant that is added to the graph.
pub(super) fn operand(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    position: usize,
) -> Result<TensorId, Refusal> {
    let tensor = view.input(position)?;
    if tensor.data.is_none() {
        return importer.activation(view, position);
    }
    let (value, quantization): (Value, Option<Quantization>) = match tensor.element_type {
        TensorType::Float32 => (Value::F32(f32s(tensor)?), None),
        TensorType::Int8 => (Value::I8(i8s(tensor)?), Some(integers(tensor)?)),
        TensorType::Int32 => (Value::I32(i32s(tensor)?), None),
        _ => return Err(unsupported(format!("{} is a constant of this type", describe_tensor(tensor)))),
    };
    let shape =
        shape(tensor).ok_or_else(|| unsupported(format!("{} has no elements", describe_tensor(tensor))))?;
    let element_type: ElementType = value.element_type();
    importer.take(value.len() * element_type.bytes())?;
    let name = format!("{}/input_{position}", view.node_name());
    let (role, value) = (Role::Constant, Some(value));
    Ok(importer.add_tensor(Tensor { name, shape, element_type, quantization, role, value }))
}
