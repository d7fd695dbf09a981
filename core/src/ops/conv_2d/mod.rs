//! Two-dimensional convolution, also in groups of channels.

mod float;
pub mod int8;
pub mod pairs;
pub mod rows;
pub mod vector_pairs;

use crate::geometry::Window;
use crate::operand::Shape;

pub use float::{Conv2d, forward, grad_input, grad_weights};

/// How many groups a filter with this many input channels cuts the channels of input and output into, as TensorFlow Lite does; `None` if
/// it does not cut them into equal parts.
fn groups(input: Shape, filter_in_c: usize, output: Shape) -> Option<usize> {
    let ([.., in_c], [.., out_c]) = (input.dims(), output.dims());
    let groups = in_c.checked_div(filter_in_c).filter(|_| in_c > 0 && in_c.is_multiple_of(filter_in_c))?;
    out_c.is_multiple_of(groups).then_some(groups)
}

/// Weights of an output channel that reads all `in_c` channels of the input, `None` if those of all output channels do not fit.
pub fn weights(Window { y, x }: &Window, [in_c, out_c]: [u32; 2]) -> Option<usize> {
    let filter = Shape([out_c, u32::try_from(y.kernel).ok()?, u32::try_from(x.kernel).ok()?, in_c]);
    filter.elements()?.checked_div(out_c as usize)
}
