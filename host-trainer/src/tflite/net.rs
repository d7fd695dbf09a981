//! What a `.tflite` file says, as owned tables. Every index in them is in range.

use std::borrow::Cow;

use smidgen_tflite_schema::{BuiltinOptionsRef, OPERATOR_NAMES, TensorType};

/// A `.tflite` file of `'f`.
#[derive(Clone, Debug)]
pub struct Net<'f> {
    /// The subgraphs, at least one; the first is the network.
    pub subgraphs: Vec<Subgraph<'f>>,
    /// The buffers' bytes.
    pub buffers: Vec<&'f [u8]>,
    /// What the converter says of the file.
    pub description: String,
    /// Buffers with a name.
    pub metadata: Vec<(String, &'f [u8])>,
    /// Length of the file in bytes.
    pub file_bytes: usize,
}

/// A list of operators over tensors.
#[derive(Clone, Debug)]
pub struct Subgraph<'f> {
    /// Its name, for people.
    pub name: String,
    /// The tensors.
    pub tensors: Vec<NetTensor<'f>>,
    /// Indices of the tensors that the caller gives.
    pub inputs: Vec<usize>,
    /// Indices of the tensors that the caller gets.
    pub outputs: Vec<usize>,
    /// The operators, in the order in which they run.
    pub operators: Vec<NetOperator<'f>>,
}

/// A tensor.
#[derive(Clone, Debug)]
pub struct NetTensor<'f> {
    /// Offset of its table in the file.
    pub offset: usize,
    /// Its name, for people.
    pub name: String,
    /// Its dimensions, in memory order; at most 8.
    pub dims: Vec<usize>,
    /// The type of its elements.
    pub element_type: TensorType,
    /// Its elements, if it is a constant.
    pub data: Option<Cow<'f, [u8]>>,
    /// Its quantization.
    pub quantization: Option<NetQuantization>,
    /// Whether it keeps its elements from run to run.
    pub is_variable: bool,
    /// Whether its elements are stored sparsely.
    pub is_sparse: bool,
}

/// The most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 8;

/// `real = scale * (quantized - zero_point)`. As many zero points as scales: one, or one for each index of `axis`.
#[derive(Clone, Debug, PartialEq)]
pub struct NetQuantization {
    /// The scales; at least one.
    pub scales: Vec<f32>,
    /// The zero points.
    pub zero_points: Vec<i64>,
    /// The dimension that they belong to, if there are several.
    pub axis: usize,
}

/// An operator.
#[derive(Clone, Debug)]
pub struct NetOperator<'f> {
    /// Offset of its table in the file.
    pub offset: usize,
    /// Its number in the schema's list.
    pub code: i32,
    /// Name of a custom operator.
    pub custom: Option<&'f str>,
    /// Its version.
    pub version: i32,
    /// Indices of the tensors that it reads; `None` for an optional one that is not there.
    pub inputs: Vec<Option<usize>>,
    /// Indices of the tensors that it computes.
    pub outputs: Vec<usize>,
    /// Indices of tensors inside of it.
    pub intermediates: Vec<usize>,
    /// Its options; `None` also for options that this schema does not know.
    pub options: Option<BuiltinOptionsRef<'f>>,
}

impl NetTensor<'_> {
    /// The number of elements; `None` if that is more than a 32-bit device can address.
    pub fn elements(&self) -> Option<usize> {
        let product = self.dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))?;
        (product <= i32::MAX as usize).then_some(product)
    }
}

impl NetOperator<'_> {
    /// Its name, in capitals.
    pub fn name(&self) -> String {
        match (self.custom, operator_name(self.code)) {
            (Some(custom), name) if name == "CUSTOM" => format!("CUSTOM {}", shortened(custom)),
            (_, name) => name,
        }
    }
}

/// The name of a built-in operator, in capitals.
pub(super) fn operator_name(code: i32) -> String {
    let name = usize::try_from(code).ok().and_then(|code| OPERATOR_NAMES.get(code));
    name.map_or_else(|| format!("operator code {code}"), |&name| name.to_owned())
}

/// A name from a file for a message: not longer than a line.
pub(super) fn shortened(name: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String =
        name.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if name.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
