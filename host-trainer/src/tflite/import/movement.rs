//! Operators that move elements and compute nothing.

use super::importer::Importer;
use super::view::View;
use super::{Refusal, unsupported};
use crate::graph::GraphOp;

/// `RESHAPE`, `SQUEEZE`, `EXPAND_DIMS`: the file says what dimensions the output has.
pub(super) fn reshape(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let input = importer.activation(view, 0)?;
    let (from, to) = (view.input(0)?, view.output(0)?);
    if from.element_type != to.element_type {
        return Err(unsupported("input and output have different types"));
    }
    let output = importer.output(view, 0)?;
    importer.push(view.node_name(), GraphOp::Reshape, vec![input], output)
}
