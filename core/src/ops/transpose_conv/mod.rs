//! Transposed convolution: each input pixel adds its multiple of the filter to the output, a stride apart.
//!
//! It is the gradient of a convolution with respect to its input, and its own gradients are that convolution and its gradient with respect to
//! the filter. Its window slides over the *output*: it is the window of that convolution.

mod float;
pub mod int8;

use crate::geometry::Window;
use crate::operand::Shape;
use crate::ops::call::Tensor;

pub use float::{TransposeConv, forward, grad_input, grad_weights};

/// Checks that input, output and window fit each other, and that nothing in a kernel's arithmetic on positions overflows: slid over the
/// output, the window lies in it, with its padding, at least as often as the input has elements. What no tap reaches beyond that is bias.
fn check_shapes(window: &Window, input: Shape, output: Shape) -> Result<(), Tensor> {
    if input.has_zero() || input.elements().is_none() {
        return Err(Tensor::Input);
    }
    let ([in_n, in_h, in_w, _], [out_n, out_h, out_w, _]) = (input.dims(), output.dims());
    let reaches = |sources: usize, most: Option<usize>| most.is_some_and(|most| sources <= most);
    let fits = in_n == out_n
        && window.y.dilation > 0
        && window.x.dilation > 0
        && reaches(in_h, window.y.output(out_h))
        && reaches(in_w, window.x.output(out_w));
    if !fits || output.has_zero() || output.elements().is_none() {
        return Err(Tensor::Output);
    }
    Ok(())
}
