//! Networks as graphs: tensors and the operators between them, before anything is decided about memory or training.
//!
//! ```
//! use smidgen_trainer::graph::Network;
//!
//! let graph = Network::new("tiny", [28, 28, 1])
//!     .conv_2d(8, 3).stride(2).batch_norm().relu()
//!     .depthwise_conv_2d(3).batch_norm().relu()
//!     .conv_2d(16, 1).batch_norm().relu()
//!     .global_average_pool_2d()
//!     .fully_connected(10)
//!     .seed(7)
//!     .build()?;
//! assert_eq!(graph.tensor(graph.outputs[0]).shape.0, [1, 1, 1, 10]);
//! assert_eq!(graph.parameter_count(), 72 + 16 + 72 + 16 + 128 + 32 + 160 + 10);
//! # Ok::<(), smidgen_trainer::graph::GraphError>(())
//! ```
//!
//! The passes of [`compile`](crate::compile) turn a graph into a program of steps.

mod build;
mod elementwise;
mod error;
mod initialize;
pub mod movement;
pub mod nets;
mod op;
mod parse;
mod recurrent;
pub mod reduce;
mod structure;

pub use build::{Kernel, Network, Padding};
pub use elementwise::Elementwise;
pub use error::{GraphError, Problem};
pub use initialize::Initialization;
pub(crate) use initialize::even_weights;
pub use movement::{Gather, Movement, MovementKind};
pub use op::{Frozen, GraphOp, Range, RangeSource};
pub use parse::ParseError;
pub use reduce::{Reduce, ReduceKind, ResizeBilinear};
pub use structure::{Graph, Node, NodeId, Role, Tensor, TensorId, Value};
