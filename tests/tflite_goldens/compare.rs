//! Outputs against an oracle's: integers bit for bit, floats within a tolerance.

use smidgen_trainer::npy::{Array, ElementKind};

use crate::files::{Golden, row_of};

/// Largest error of a float, relative to the largest magnitude in the row's output, but at least 1. The oracle adds in another order and takes `exp` from
/// another library: a few units in the last place (6e-8) for each of up to some hundred terms. Whole networks stay below it, too.
const TOLERANCE: f32 = 4e-6;

/// The first difference between `found`, all outputs of all rows as they come from a device, and what the oracle says.
pub(crate) fn difference(golden: &Golden, found: &[u8]) -> Option<String> {
    let outputs = golden.outputs();
    let row_bytes: usize = outputs.iter().map(|output| output.bytes.len() / golden.rows).sum();
    if found.len() != row_bytes * golden.rows {
        return Some(format!(
            "{} bytes of output, expected {} rows of {row_bytes}",
            found.len(),
            golden.rows
        ));
    }
    let mut rest = found;
    for row in 0..golden.rows {
        for (index, output) in outputs.iter().enumerate() {
            let expected = row_of(output, row);
            let (found, others) = rest.split_at(expected.len());
            rest = others;
            if let Some(difference) = in_row(output, expected, found) {
                return Some(format!("row {row}, output {index}, {difference}"));
            }
        }
    }
    None
}

fn in_row(output: &Array, expected: &[u8], found: &[u8]) -> Option<String> {
    if output.kind == ElementKind::F32 {
        let [expected, found] = [expected, found].map(floats);
        let largest = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
        return first(&expected, &found, |expected, found| (expected - found).abs() <= TOLERANCE * largest);
    }
    match output.kind.bytes() {
        1 if output.kind == ElementKind::U8 => first(expected, found, |expected, found| expected == found),
        1 => {
            let [expected, found] = [expected, found].map(bytemuck::cast_slice::<u8, i8>);
            first(expected, found, |expected, found| expected == found)
        }
        _ => {
            let [expected, found] = [expected, found].map(integers);
            first(&expected, &found, |expected, found| expected == found)
        }
    }
}

/// The first element that is not the same, and how many there are.
fn first<T: Copy + std::fmt::Display>(
    expected: &[T],
    found: &[T],
    same: impl Fn(T, T) -> bool,
) -> Option<String> {
    let pairs = || expected.iter().zip(found).map(|(&expected, &found)| (expected, found));
    let differs = |(expected, found): (T, T)| !same(expected, found);
    let element = pairs().position(differs)?;
    let count = pairs().filter(|&pair| differs(pair)).count();
    let (expected_value, found_value) = (expected[element], found[element]);
    let all = expected.len();
    Some(format!(
        "element {element}: expected {expected_value}, found {found_value}; {count} of {all} differ"
    ))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn integers(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect()
}
