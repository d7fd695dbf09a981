//! The inner loops, by element type and instruction set, and the arithmetic that has to give the same bits everywhere. They know no
//! operator, no step and no model file.

pub(crate) mod activation;
#[cfg(arm_fma)]
mod arm;
pub(crate) mod channels;
pub(crate) mod convolve;
pub(crate) mod correlate;
pub(crate) mod each_isa;
mod fma;
pub mod int8;
pub mod isa;
mod math;
pub(crate) mod per_channel;
pub(crate) mod philox;
pub(crate) mod pieces;
mod runs;
pub(crate) mod stencil;
mod tile;
#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) mod wide;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod x86;

pub use fma::fma;
pub(crate) use math::{erfc, exp, expm1, ln, sqrt, tanh};
#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use wide::multiply_adds;

use crate::geometry::Window;
use crate::operand::Shape;

/// The register-tiled kernels of [`wide`] where there are any: each says whether it ran its problem.
#[cfg(not(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) mod wide {
    pub(crate) use never as convolve;
    pub(crate) use never as convolve_transposed;
    pub(crate) use never as correlate;
    pub(crate) use never as scale;
    pub(crate) use never as scale_gradient;
    pub(crate) use never as stencil;

    #[inline(always)]
    pub(crate) fn never<P>(_: &mut P) -> bool {
        false
    }
}

/// Dimensions of input and output. If the window has one tap and no stride, all pixels of the batch are one row: fewer, longer loops.
#[inline(always)]
fn image_dims(window: &Window, input: Shape, output: Shape) -> ([usize; 4], [usize; 4]) {
    let ([n, h, w, c_in], [_, out_h, out_w, c_out]) = (input.dims(), output.dims());
    // A transposed convolution's larger tensor may have more pixels than its window joins.
    if *window == Window::ONE && [h, w] == [out_h, out_w] {
        let pixels = n * h * w;
        ([1, 1, pixels, c_in], [1, 1, pixels, c_out])
    } else {
        (input.dims(), output.dims())
    }
}
