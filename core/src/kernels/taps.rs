//! Which input pixel each tap of a window meets at each output pixel.

use crate::geometry::Window;
use crate::operand::Shape;

/// Calls `visit(tap, input pixel, output pixel)` for every pair of pixels that a tap of `window` joins; taps in the padding
/// join none. Taps are counted row-major in the window, pixels row-major in the batch. The order is by tap, then by pixel.
#[inline(always)]
pub(crate) fn for_each_tap(
    window: &Window,
    input: Shape,
    output: Shape,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let ([n, in_h, in_w, _], [_, out_h, out_w, _]) = (input.dims(), output.dims());
    for k_y in 0..window.y.kernel {
        for k_x in 0..window.x.kernel {
            for image in 0..n {
                for out_y in 0..out_h {
                    let Some(in_y) = window.y.input(out_y, k_y, in_h) else { continue };
                    for out_x in 0..out_w {
                        let Some(in_x) = window.x.input(out_x, k_x, in_w) else { continue };
                        let in_pixel = (image * in_h + in_y) * in_w + in_x;
                        let out_pixel = (image * out_h + out_y) * out_w + out_x;
                        visit(k_y * window.x.kernel + k_x, in_pixel, out_pixel);
                    }
                }
            }
        }
    }
}

/// The `index`-th piece of `length` elements.
#[inline(always)]
pub(crate) fn piece(slice: &[f32], index: usize, length: usize) -> &[f32] {
    slice.get(index * length..(index + 1) * length).unwrap_or(&[])
}

/// The `index`-th piece of `length` elements, to write.
#[inline(always)]
pub(crate) fn piece_mut(slice: &mut [f32], index: usize, length: usize) -> &mut [f32] {
    slice.get_mut(index * length..(index + 1) * length).unwrap_or(&mut [])
}
