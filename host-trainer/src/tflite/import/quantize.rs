//! `QUANTIZE` and `DEQUANTIZE`.

use smidgen::ops::activation::Activation;
use smidgen::ops::lookup;
use smidgen_tflite_schema::TensorType;

use super::elementwise::lookup_i8;
use super::importer::{Importer, quantization};
use super::view::View;
use super::{Refusal, describe_tensor, unsupported};
use crate::graph::GraphOp;

pub(super) fn quantize(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let (from, to) = (view.input(0)?, view.output(0)?);
    match (from.element_type, to.element_type) {
        (TensorType::Float32, TensorType::Int8) => {
            let input = importer.activation(view, 0)?;
            let output = importer.output(view, 0)?;
            importer.push(view.node_name(), GraphOp::Quantize, vec![input], output)
        }
        // `Requantize`: the difference from the zero point, scaled by the f64 quotient of the scales.
        (TensorType::Int8, TensorType::Int8) => {
            let table = lookup::table(Activation::None, quantization(from)?, quantization(to)?);
            lookup_i8(importer, view, table.ok_or_else(|| unsupported("its scales are too far apart"))?)
        }
        _ => Err(types(view, "float32 or int8", "int8")),
    }
}

pub(super) fn dequantize(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    match (view.input(0)?.element_type, view.output(0)?.element_type) {
        (TensorType::Int8, TensorType::Float32) => {
            let input = importer.activation(view, 0)?;
            let output = importer.output(view, 0)?;
            importer.push(view.node_name(), GraphOp::Dequantize, vec![input], output)
        }
        _ => Err(types(view, "int8", "float32")),
    }
}

fn types(view: &View<'_, '_>, from: &str, to: &str) -> Refusal {
    let tensor = |tensor: Result<_, Refusal>| tensor.map(describe_tensor).unwrap_or_default();
    let (input, output) = (tensor(view.input(0)), tensor(view.output(0)));
    unsupported(format!("it goes from {input} to {output}, expected from {from} to {to}"))
}
