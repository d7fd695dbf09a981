//! Element-wise addition. The f32 function is that of [`binary`].

pub mod int8;

use super::activation::Activation;
use super::binary::{self, Add};
use crate::operand::Shape;

/// `output = activation(left + right)`, all of the same length.
///
/// The gradient with respect to both inputs is the gradient with respect to the sum, so that there is no backward
/// function: a program reads the same gradient twice.
pub fn forward(activation: Activation, left: &[f32], right: &[f32], output: &mut [f32]) {
    let shape = Shape::vector(output.len() as u32);
    binary::forward::<Add>(activation, [shape; 2], left, right, output);
}
