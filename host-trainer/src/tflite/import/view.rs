use smidgen::Shape;
use smidgen_tflite_schema::TensorType;

use super::{Refusal, describe_tensor, unsupported};
use crate::tflite::error::ImportError;
use crate::tflite::net::{NetOperator, NetTensor, Subgraph};

/// One operator of the file, with its tensors.
#[derive(Clone, Copy, Debug)]
pub(in crate::tflite) struct View<'n, 'f> {
    /// The subgraph that it is in.
    pub(super) subgraph: &'n Subgraph<'f>,
    /// Its index there.
    pub(super) index: usize,
    /// Its table.
    pub(super) operator: &'n NetOperator<'f>,
}

impl<'n, 'f> View<'n, 'f> {
    pub(super) const fn new(subgraph: &'n Subgraph<'f>, index: usize, operator: &'n NetOperator<'f>) -> Self {
        Self { subgraph, index, operator }
    }

    /// The name of its node: the operator's in small letters, and its index.
    pub(super) fn node_name(&self) -> String {
        let name: String = self.operator.name().to_lowercase().replace(' ', "_");
        format!("{name}_{}", self.index)
    }

    /// Index of input `position` among the subgraph's tensors; `None` if it is an optional one that is not there.
    pub(super) fn input_index(&self, position: usize) -> Option<usize> {
        self.operator.inputs.get(position).copied().flatten()
    }

    /// Input `position`, if it is there.
    pub(super) fn optional_input(&self, position: usize) -> Option<&'n NetTensor<'f>> {
        Some(&self.subgraph.tensors[self.input_index(position)?])
    }

    /// Input `position`.
    pub(super) fn input(&self, position: usize) -> Result<&'n NetTensor<'f>, Refusal> {
        let missing = || self.broken("inputs", &format!("input {position} is missing"));
        self.optional_input(position).ok_or_else(missing)
    }

    /// Index of output `position` among the subgraph's tensors.
    pub(super) fn output_index(&self, position: usize) -> Result<usize, Refusal> {
        let missing = || self.broken("outputs", &format!("output {position} is missing"));
        self.operator.outputs.get(position).copied().ok_or_else(missing)
    }

    /// Output `position`.
    pub(super) fn output(&self, position: usize) -> Result<&'n NetTensor<'f>, Refusal> {
        Ok(&self.subgraph.tensors[self.output_index(position)?])
    }

    /// An error about a field of the operator's table.
    pub(super) fn broken(&self, field: &'static str, problem: &str) -> Refusal {
        let problem = format!("operator {} ({}): {problem}", self.index, self.operator.name());
        let offset = self.operator.offset;
        Refusal::Broken(ImportError::Malformed { table: "Operator", field, offset, problem })
    }

    /// The elements' type of the first input, if the first output has the same, of which the handler knows f32 and int8.
    pub(super) fn arithmetic(&self) -> Result<Arithmetic, Refusal> {
        self.arithmetic_of(self.input(0)?)
    }

    /// [`View::arithmetic`] of an operator that has another first.
    pub(super) fn arithmetic_of(&self, input: &NetTensor<'_>) -> Result<Arithmetic, Refusal> {
        let output = self.output(0)?;
        match (input.element_type, output.element_type) {
            (TensorType::Float32, TensorType::Float32) => Ok(Arithmetic::F32),
            (TensorType::Int8, TensorType::Int8) => Ok(Arithmetic::I8),
            _ => Err(unsupported(format!(
                "it works on {} and {}; expected both float32 or both int8",
                describe_tensor(input),
                describe_tensor(output)
            ))),
        }
    }
}

/// What an operator computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// f32.
    F32,
    /// int8 with TensorFlow Lite Micro's quantization.
    I8,
}

/// The options of an operator, or a refusal that names what it lacks.
macro_rules! options {
    ($view:expr, $table:ident) => {
        match &$view.operator.options {
            Some(smidgen_tflite_schema::BuiltinOptionsRef::$table(options)) => Ok(options),
            _ => Err($view.broken("builtin_options", concat!("expected ", stringify!($table)))),
        }
    };
}
pub(super) use options;

/// The shape of a tensor in a graph: aligned at its last dimension, what does not fit merged into `H`.
///
/// `None` if it has a dimension of zero, or too many elements.
pub(super) fn shape(tensor: &NetTensor<'_>) -> Option<Shape> {
    if tensor.elements()? == 0 {
        return None;
    }
    let [mut h, mut w, mut c] = [1, 1, 1];
    for (place, &dim) in tensor.dims.iter().rev().enumerate() {
        match place {
            0 => c = dim,
            1 => w = dim,
            // The product is no larger than the number of elements.
            _ => h *= dim,
        }
    }
    Some(Shape([1, h as u32, w as u32, c as u32]))
}
