//! Whether two models compute the same with the same weights.

use smidgen::{EntryKind, Model, Operand, Operator, Space, Step};

use crate::buffer::AlignedBytes;

/// Whether the inference of `file` has the steps of `model`: operators, attributes, shapes, types, quantizations and constants. Where things lie in memory, and what they are
/// called, does not matter.
pub(super) fn same(model: &Model<'_>, file: &[u8]) -> Result<(), String> {
    let aligned = AlignedBytes::copy_of(file);
    let other: Model<'_> = Model::from_bytes(aligned.as_slice()).map_err(|error| error.to_string())?;
    let (Some(entry), Some(other_entry)) = (model.entry(EntryKind::Infer), other.entry(EntryKind::Infer))
    else {
        return Err("there is no inference".to_owned());
    };
    if entry.step_count != other_entry.step_count {
        return Err(format!("it has {} steps, expected {}", other_entry.step_count, entry.step_count));
    }
    for (index, (left, right)) in model.steps(&entry).zip(other.steps(&other_entry)).enumerate() {
        let (Ok(left), Ok(right)) = (left, right) else { return Err("a step does not decode".to_owned()) };
        if let Some(what) = difference(&left, model.constant(), &right, other.constant()) {
            let operator = Operator::from_code(left.operator).map_or("unknown", Operator::name);
            return Err(format!("{what} of step {index} ({operator}) differ"));
        }
    }
    let ports =
        |operands: &[Operand]| operands.iter().map(|&operand| description(operand)).collect::<Vec<_>>();
    let (inputs, outputs) = (ports(entry.inputs), ports(entry.outputs));
    if inputs != ports(other_entry.inputs) || outputs != ports(other_entry.outputs) {
        return Err("inputs or outputs differ".to_owned());
    }
    Ok(())
}

/// What of two steps differs.
fn difference(left: &Step<'_>, constant: &[u8], right: &Step<'_>, other: &[u8]) -> Option<&'static str> {
    if left.operator != right.operator {
        return Some("the operators");
    }
    if left.attributes != right.attributes {
        return Some("the attributes");
    }
    if (left.reads.len(), left.writes.len()) != (right.reads.len(), right.writes.len()) {
        return Some("the numbers of operands");
    }
    for (&a, &b) in left.operands().zip(right.operands()) {
        if description(a) != description(b) {
            return Some("the operands");
        }
        let bytes = |operand: Operand, constant: &'_ [u8]| -> Option<Vec<u8>> {
            let (start, end) = operand.range()?;
            Some(constant.get(start..end)?.to_vec())
        };
        if a.space == Space::Constant && bytes(a, constant) != bytes(b, other) {
            return Some("the constants");
        }
    }
    None
}

/// An operand without its place in its space.
fn description(operand: Operand) -> Operand {
    Operand { offset: 0, ..operand }
}
