//! Functions of one element, or of one element of each input.

use smidgen::Shape;
use smidgen::ops::activation::Activation;
use smidgen::ops::add::int8::AddI8;
use smidgen::ops::lookup;

use super::importer::{Importer, quantization};
use super::view::{Arithmetic, View, options};
use super::{Refusal, fused, unsupported};
use crate::graph::{GraphOp, Role, Value};

pub(super) fn add(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let fused = options!(view, AddOptions)?.fused_activation_function()?;
    let inputs = vec![importer.activation(view, 0)?, importer.activation(view, 1)?];
    let op = match view.arithmetic()? {
        Arithmetic::F32 => GraphOp::Add { activation: fused::activation(fused)? },
        Arithmetic::I8 => {
            let (left, right) = (quantization(view.input(0)?)?, quantization(view.input(1)?)?);
            let output = quantization(view.output(0)?)?;
            let sum = AddI8::new(left, right, output, Activation::None);
            let sum = sum.ok_or_else(|| unsupported("its scales are too far apart"))?;
            let [left, right] = sum.multipliers;
            let left_shift = sum.left_shift.cast_signed();
            let range = fused::range(fused, output)?;
            GraphOp::AddI8 { left_shift, left, right, output: sum.output_multiplier, range }
        }
    };
    let output = importer.output(view, 0)?;
    importer.push(view.node_name(), op, inputs, output)
}

pub(super) fn relu(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    activation(importer, view, Activation::Relu)
}

pub(super) fn relu6(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    activation(importer, view, Activation::Relu6)
}

fn activation(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    activation: Activation,
) -> Result<(), Refusal> {
    let input = importer.activation(view, 0)?;
    match view.arithmetic()? {
        Arithmetic::F32 => {
            let output = importer.output(view, 0)?;
            importer.push(view.node_name(), GraphOp::Activation { activation }, vec![input], output)
        }
        Arithmetic::I8 => {
            let (from, to) = (quantization(view.input(0)?)?, quantization(view.output(0)?)?);
            let table = lookup::table(activation, from, to);
            let table = table.ok_or_else(|| unsupported("its scales are too far apart"))?;
            lookup_i8(importer, view, table)
        }
    }
}

/// Adds a table of 256 values, entry `x + 128` for `x`, as the operator's node.
pub(super) fn lookup_i8(
    importer: &mut Importer<'_, '_>,
    view: &View<'_, '_>,
    table: [i8; lookup::TABLE_ELEMENTS],
) -> Result<(), Refusal> {
    let node = view.node_name();
    let input = importer.activation(view, 0)?;
    let shape = Shape::vector(table.len() as u32);
    let table = importer.constant(&node, "table", shape, Role::Constant, Value::I8(table.to_vec()))?;
    let output = importer.output(view, 0)?;
    importer.push(node, GraphOp::LookupI8, vec![input, table], output)
}
