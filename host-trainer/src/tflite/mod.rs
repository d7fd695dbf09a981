//! TensorFlow Lite files: from a `.tflite` to a [`Graph`](crate::graph::Graph).
//!
//! | step | see |
//! |---|---|
//! | bytes to owned tables, every access checked | [`Net::read`] |
//! | tables to a graph, operator by operator | [`import`] |
//! | all of it, and on to a model file | [`convert`] |
//! | from a model file to a `.tflite` | [`export`] |
//!
//! The definition of every operator is TensorFlow Lite *Micro*'s: its `Prepare` gives the multipliers, its reference kernels the bytes. `docs/tflite.md` has what is
//! taken, and how.

mod convert;
mod error;
mod export;
mod import;
mod net;
mod read;

pub use convert::{Calibration, ConvertError, Converted, convert, convert_packed, convert_with};
pub use error::{ImportError, UnsupportedOperator};
pub use export::{ExportError, export};
pub use import::{Imported, import, operator_names};
pub use net::{Net, NetOperator, NetQuantization, NetTensor, Subgraph};
