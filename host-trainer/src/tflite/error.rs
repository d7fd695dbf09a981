use std::fmt;

use smidgen_tflite_schema::planus;

use crate::graph::GraphError;

/// Why a `.tflite` file did not become a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is something else.
    #[error("not a TensorFlow Lite file: expected the identifier \"TFL3\" at byte 4, found {found:?}")]
    NotTflite {
        /// What stands there.
        found: String,
    },
    /// A table or a field of the file is broken.
    #[error("{table}.{field} at byte {offset}: {problem}")]
    Malformed {
        /// Name of the table.
        table: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Offset of the table in the file.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file describes more than its own length allows.
    #[error(
        "{table}.{field} at byte {offset}: by now the file of {file_bytes} bytes has grown to more than {limit} bytes in memory; tables of it are used over and over"
    )]
    TooLarge {
        /// Name of the table.
        table: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Offset of the table in the file.
        offset: usize,
        /// Length of the file.
        file_bytes: usize,
        /// Bytes that it may take.
        limit: usize,
    },
    /// The file has operators that cannot be imported: all of them.
    #[error("{} of {operators} operators cannot be imported:{}", .unsupported.len(), lines(.unsupported))]
    Unsupported {
        /// The operators, in the order of the file.
        unsupported: Vec<UnsupportedOperator>,
        /// How many operators the file has.
        operators: usize,
    },
    /// The network is not one that can be run at all.
    #[error("{problem}")]
    Network {
        /// What is wrong.
        problem: String,
    },
    /// The graph that came out is not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// An operator that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedOperator {
    /// Index of its subgraph.
    pub subgraph: usize,
    /// Index in its subgraph.
    pub index: usize,
    /// Its name in capitals, as the schema has it, or of a custom operator `CUSTOM name`.
    pub name: String,
    /// Its version.
    pub version: i32,
    /// Names, types and dimensions of what it reads.
    pub inputs: Vec<String>,
    /// Names, types and dimensions of what it computes.
    pub outputs: Vec<String>,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for UnsupportedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subgraph, index, name, version, inputs, outputs, reason } = self;
        write!(f, "operator {index}")?;
        if *subgraph != 0 {
            write!(f, " of subgraph {subgraph}")?;
        }
        write!(f, ", {name} version {version}: {reason}; it reads {}", list(inputs))?;
        write!(f, " and computes {}", list(outputs))
    }
}

fn list(tensors: &[String]) -> String {
    if tensors.is_empty() { "nothing".to_owned() } else { tensors.join(", ") }
}

fn lines(operators: &[UnsupportedOperator]) -> String {
    operators.iter().map(|operator| format!("\n  {operator}")).collect()
}

impl From<planus::Error> for ImportError {
    fn from(error: planus::Error) -> Self {
        let location = error.source_location;
        Self::Malformed {
            table: location.type_,
            field: location.method,
            offset: location.byte_offset,
            problem: format!("{}; the file is damaged or cut off", error.error_kind),
        }
    }
}
