//! The code of layouts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Example, layouts, measured_on, probe};
use crate::compile::{Code, Packing};
use crate::device::{Device, DeviceError};

/// What is in the mangled names of the functions of operators and kernels.
const OWN: [&str; 2] = ["7smidgen3ops", "7smidgen7kernels"];

/// The code that layouts bring into an image, in pieces, each with the layouts that share it. What all images have counts nothing.
///
/// For each layout an image with one layer is built, and they are compared function by function. A function is shared by the layouts that have it, at the largest of its lengths. But one
/// that is in all images and is none of an operator or a kernel only calls these: what it is longer in one of the images is inlined there, and that layout's own.
///
/// # Errors
/// See [`DeviceError`].
pub fn code(packing: Packing) -> Result<Vec<Code>, DeviceError> {
    let device = Device::new(measured_on(packing));
    let each = [
        Example::convolution([8, 8, 8], 8, [3, 3], 1),
        Example::fully_connected(1, [64, 16]),
        Example::depthwise([8, 8, 16], 16, [3, 3], 1),
    ];
    let layouts = layouts(packing);
    let mut functions: BTreeMap<String, BTreeMap<&'static str, usize>> = BTreeMap::new();
    for &operator in &layouts {
        let (model, _) = probe(packing, &each, |found| found == operator);
        for (name, bytes) in device.functions(&model)? {
            functions.entry(name).or_default().insert(operator.name(), bytes);
        }
    }
    let mut pieces: BTreeMap<BTreeSet<&'static str>, usize> = BTreeMap::new();
    for (name, lengths) in &functions {
        let mut below = 0;
        if lengths.len() == layouts.len() {
            below = lengths.values().copied().min().unwrap_or(0);
            if !OWN.iter().any(|own| name.contains(own)) {
                for (&layout, length) in lengths {
                    *pieces.entry([layout].into()).or_default() += length - below;
                }
                continue;
            }
        }
        for length in lengths.values().copied().collect::<BTreeSet<usize>>() {
            let having =
                lengths.iter().filter(|&(_, &other)| other >= length).map(|(&name, _)| name).collect();
            *pieces.entry(having).or_default() += length - below;
            below = length;
        }
    }
    let pieces = pieces.into_iter().filter(|&(_, bytes)| bytes > 0);
    let code = |(having, bytes): (BTreeSet<&str>, _)| Code {
        bytes,
        layouts: having.into_iter().map(str::to_owned).collect(),
    };
    Ok(pieces.map(code).collect())
}
