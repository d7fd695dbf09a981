//! `QUANTIZE` and `DEQUANTIZE`.
//!
//! uint8 is int8 with the greatest bit flipped, and a zero point that is 128 greater: between it and the rest stands a table of 256 values.

use smidgen::ops::lookup::TABLE_ELEMENTS;
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, Quantization, Shape};
use smidgen_tflite_schema::TensorType;

use super::importer::{Importer, quantization};
use super::view::View;
use super::{Refusal, describe_tensor, unsupported};
use crate::graph::{GraphOp, Role, TensorId, Value};

pub(super) fn quantize(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let (from, to) = (view.input(0)?, view.output(0)?);
    let input = importer.activation(view, 0)?;
    match (from.element_type, to.element_type) {
        (TensorType::Float32, TensorType::Int8) => {
            let output = importer.output(view, 0)?;
            importer.push(view.node_name(), GraphOp::Quantize, vec![input], output)
        }
        (TensorType::Float32, TensorType::Uint8) => {
            let output = importer.output(view, 0)?;
            let inner = as_int8(importer, view, output, quantization(to)?);
            importer.push(format!("{}/int8", view.node_name()), GraphOp::Quantize, vec![input], inner)?;
            lookup(importer, view, [inner, output], flipped())
        }
        (TensorType::Int8 | TensorType::Uint8, TensorType::Int8 | TensorType::Uint8) => {
            let table =
                requantized((from.element_type, quantization(from)?), (to.element_type, quantization(to)?));
            let table = table.ok_or_else(|| unsupported("its scales are too far apart"))?;
            let output = importer.output(view, 0)?;
            lookup(importer, view, [input, output], table)
        }
        _ => Err(types(view, "float32, int8 or uint8", "int8 or uint8")),
    }
}

pub(super) fn dequantize(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let (from, to) = (view.input(0)?, view.output(0)?);
    let input = importer.activation(view, 0)?;
    match (from.element_type, to.element_type) {
        (TensorType::Int8, TensorType::Float32) => {
            let output = importer.output(view, 0)?;
            importer.push(view.node_name(), GraphOp::Dequantize, vec![input], output)
        }
        (TensorType::Uint8, TensorType::Float32) => {
            let inner = as_int8(importer, view, input, quantization(from)?);
            lookup(importer, view, [input, inner], flipped())?;
            let output = importer.output(view, 0)?;
            importer.push(format!("{}/real", view.node_name()), GraphOp::Dequantize, vec![inner], output)
        }
        _ => Err(types(view, "int8 or uint8", "float32")),
    }
}

/// An int8 tensor that stands for the same numbers as the uint8 tensor `id`.
fn as_int8(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    id: TensorId,
    Quantization { scale, zero_point }: Quantization,
) -> TensorId {
    let shape = importer.tensor(id).shape;
    let quantization = Quantization { scale, zero_point: zero_point - 128 };
    importer.intermediate(format!("{}/as_int8", view.node_name()), shape, ElementType::I8, Some(quantization))
}

/// The bytes of a table, in its order: entry `x + 128` for an int8 `x`, entry `x` with its greatest bit flipped for a uint8.
type Table = [u8; TABLE_ELEMENTS];

/// From int8 to uint8 or back, to the same number.
fn flipped() -> Table {
    std::array::from_fn(|entry| entry as u8)
}

/// From one quantization to another, as TensorFlow Lite Micro's `Requantize`: the difference from the zero point, scaled by the f64 quotient of the scales.
fn requantized(
    (from_type, from): (TensorType, Quantization),
    (to_type, to): (TensorType, Quantization),
) -> Option<Table> {
    let factor = Multiplier::from_real(f64::from(from.scale) / f64::from(to.scale))?;
    let least = |element_type| if element_type == TensorType::Uint8 { 0 } else { -128 };
    let mut table = [0; TABLE_ELEMENTS];
    for entry in 0..=u8::MAX {
        // The byte's value in its type.
        let x = match from_type {
            TensorType::Uint8 => i32::from(entry ^ 0x80),
            _ => i32::from(entry) - 128,
        };
        let (min, max) = (least(to_type), least(to_type) + 255);
        let value = factor.apply(x - from.zero_point).saturating_add(to.zero_point).clamp(min, max);
        table[usize::from(entry)] = value as u8;
    }
    Some(table)
}

/// Adds the node of a table.
fn lookup(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    [input, output]: [TensorId; 2],
    table: Table,
) -> Result<(), Refusal> {
    let value = match importer.tensor(output).element_type {
        ElementType::U8 => Value::U8(table.to_vec()),
        _ => Value::I8(table.iter().map(|byte| byte.cast_signed()).collect()),
    };
    let shape = Shape::vector(table.len() as u32);
    let table = importer.constant(&view.node_name(), "table", shape, Role::Constant, value)?;
    importer.push(view.node_name(), GraphOp::LookupI8, vec![input, table], output)
}

fn types(view: &View<'_, '_>, from: &str, to: &str) -> Refusal {
    let tensor = |tensor: Result<_, Refusal>| tensor.map(describe_tensor).unwrap_or_default();
    let (input, output) = (tensor(view.input(0)), tensor(view.output(0)));
    unsupported(format!("it goes from {input} to {output}, expected from {from} to {to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const I8: TensorType = TensorType::Int8;
    const U8: TensorType = TensorType::Uint8;

    #[test]
    fn one_quantization_under_two_names_is_the_flipped_bit() {
        let signed = Quantization { scale: 0.3, zero_point: -7 };
        let unsigned = Quantization { scale: 0.3, zero_point: 121 };
        assert_eq!(requantized((I8, signed), (U8, unsigned)), Some(flipped()));
        // The table of a uint8 is in the order of its bytes as int8.
        let expected: Vec<u8> = (0..=255u8).collect();
        assert_eq!(requantized((U8, unsigned), (I8, signed)).unwrap().to_vec(), expected);
    }

    #[test]
    fn uint8_saturates_at_its_own_ends() {
        let (from, to) =
            (Quantization { scale: 1.0, zero_point: 0 }, Quantization { scale: 0.5, zero_point: 100 });
        let table = requantized((I8, from), (U8, to)).unwrap();
        let at = |x: i32| table[(x + 128) as usize];
        assert_eq!([at(-128), at(-50), at(0), at(77), at(127)], [0, 0, 100, 254, 255]);
    }
}
