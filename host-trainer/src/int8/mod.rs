//! int8 arithmetic that the host does so that a device need not: tables of functions, and weights of sums.
//!
//! Both the quantizer and the importer of `.tflite` files use it.

mod fixed_point;
mod table;
mod weighted_sum;

pub use table::{LOGISTIC_OUTPUT, TANH_OUTPUT, TableFunction, clamped_relu6, table};
pub use weighted_sum::weighted_sum;
