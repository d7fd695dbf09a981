//! How far an output may run over its input.
//!
//! An operator that goes through its output from front to back, and has read what a piece needs before it writes the piece, can write over what it
//! does not need any more. The planner on the host and the loader ask the same function how far.

use super::{Operator, Operators, conv_2d, depthwise_conv_2d, fully_connected};
use crate::geometry::Window;
use crate::operand::Shape;
use crate::step::Step;

/// The first write of `step` may overlap its first read if it begins at least this many bytes before it; `None` if it may not. It is a
/// property of shapes and attributes: where the operands lie does not matter.
///
/// Besides, a write may lie in exactly the place of a read where [`Operator::in_place`] says so.
pub fn overlap<O: Operators>(step: Step<'_>) -> Option<usize> {
    /// One arm for each operator that is in the set.
    macro_rules! distance {
        ($($operator:ident $overlap:path;)*) => {
            match step.operator {
                $(code if const { O::SET.contains(Operator::$operator as u8) } && code == Operator::$operator as u8 => {
                    $overlap(step)
                })*
                _ => None,
            }
        };
    }
    distance! {
        Conv2dI8 conv_2d::int8::overlap;
        DepthwiseConv2dI8 depthwise_conv_2d::int8::overlap;
        DepthwiseConv2dTapsI8 depthwise_conv_2d::taps::overlap;
        Conv2dPairsI8 conv_2d::pairs::overlap;
        Conv2dRowsI8 conv_2d::rows::overlap;
        Conv2dVectorPairsI8 conv_2d::vector_pairs::overlap;
        FullyConnectedPairsI8 fully_connected::pairs::overlap;
        FullyConnectedDoublePairsI8 fully_connected::double_pairs::overlap;
        FullyConnectedVectorPairsI8 fully_connected::vector_pairs::overlap;
        DepthwiseConv2dQuadsI8 depthwise_conv_2d::quads::overlap;
        DepthwiseConv2dSixteensI8 depthwise_conv_2d::sixteens::overlap;
    }
}

/// A sample of a batch of this shape.
pub(super) const fn sample(Shape([_, h, w, c]): Shape) -> Shape {
    Shape([1, h, w, c])
}

/// The most output pixels that [`pixel_by_pixel`] goes through: a file cannot make a loader work for longer than its own length allows.
const MOST_PIXELS: usize = 1 << 16;

/// What [`overlap`] is of an int8 operator that slides `window` and, pixel by pixel of the output, reads all that it needs and then writes all
/// channels; or that does so with several neighbouring pixels at once.
///
/// After the pixels `0..e`, the first `e * C_out` bytes of the output are written, and what the pixels from `e` on read must still be there.
pub(super) fn pixel_by_pixel(window: &Window, input: Shape, output: Shape) -> Option<usize> {
    let ([in_n, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (input.dims(), output.dims());
    let pixels = out_h.checked_mul(out_w)?;
    if in_n != 1 || pixels > MOST_PIXELS || window.y.output(in_h)? != out_h || window.x.output(in_w)? != out_w
    {
        return None;
    }
    let length = input.elements()?;
    // The first byte that a pixel, and that any from it on, reads.
    let (mut needed, mut distance, mut written) = (length, 0usize, output.elements()?);
    for out_y in (0..out_h).rev() {
        let row = (out_y * window.y.stride).saturating_sub(window.y.pad_before).min(in_h) * in_w;
        for out_x in (0..out_w).rev() {
            let column = (out_x * window.x.stride).saturating_sub(window.x.pad_before).min(in_w);
            needed = needed.min((row + column) * in_c);
            written = written.checked_sub(out_c)?;
            distance = distance.max(written.saturating_sub(needed));
        }
    }
    Some(distance)
}

/// What [`overlap`] is of an int8 operator that slides `window` and, row by row of the output, has copied every row of the input that this
/// one or an earlier one needs before it writes the row.
pub(super) fn row_by_row(window: &Window, input: Shape, output: Shape) -> Option<usize> {
    let ([in_n, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (input.dims(), output.dims());
    if in_n != 1 || out_h > MOST_PIXELS {
        return None;
    }
    output.elements()?;
    input.elements()?;
    let (in_row, out_row) = (in_w * in_c, out_w * out_c);
    let distances = (0..out_h).map(|out_y| {
        let copied = (out_y * window.y.stride + window.y.kernel).saturating_sub(window.y.pad_before);
        // The row that is written, and the first one that is still needed, if any.
        if copied < in_h { ((out_y + 1) * out_row).saturating_sub(copied * in_row) } else { 0 }
    });
    distances.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Axis;

    fn distance(kernel: usize, stride: usize, pads: [usize; 2], input: [u32; 3], channels: u32) -> usize {
        let axis = Axis { kernel, stride, dilation: 1, pad_before: pads[0], pad_after: pads[1] };
        let [h, w, c] = input;
        let [out_h, out_w] = [h, w].map(|length| axis.output(length as usize).unwrap() as u32);
        let window = Window { y: axis, x: axis };
        pixel_by_pixel(&window, Shape([1, h, w, c]), Shape([1, out_h, out_w, channels])).unwrap()
    }

    #[test]
    fn distances_of_known_layers() {
        // Pointwise: in place if it keeps or narrows; if it widens, by what all pixels but the last add.
        assert_eq!(distance(1, 1, [0, 0], [5, 7, 8], 8), 0);
        assert_eq!(distance(1, 1, [0, 0], [5, 7, 8], 3), 0);
        assert_eq!(distance(1, 1, [0, 0], [5, 7, 8], 16), 34 * 8);
        // 3 by 3 with padding: one row and one pixel.
        assert_eq!(distance(3, 1, [1, 1], [5, 7, 8], 8), 8 * 8);
        // With stride 2 the output falls behind the input.
        assert_eq!(distance(3, 2, [0, 1], [8, 8, 4], 4), 0);
    }

    #[test]
    fn distances_of_rows_that_are_copied() {
        let distance = |stride, pads: [usize; 2], input: [u32; 3]| {
            let axis = Axis { kernel: 3, stride, dilation: 1, pad_before: pads[0], pad_after: pads[1] };
            let [h, w, c] = input;
            let [out_h, out_w] = [h, w].map(|length| axis.output(length as usize).unwrap() as u32);
            row_by_row(&Window { y: axis, x: axis }, Shape([1, h, w, c]), Shape([1, out_h, out_w, c]))
        };
        // Two rows are copied before the first is written, then one more each.
        assert_eq!(distance(1, [1, 1], [5, 7, 8]), Some(0));
        // The padding below makes rows that need no more input, but what they write over is not needed either.
        assert_eq!(distance(1, [2, 2], [5, 7, 8]), Some(4 * 9 * 8 - 4 * 7 * 8));
        assert_eq!(distance(2, [0, 1], [8, 8, 4]), Some(0));
    }

    #[test]
    fn several_samples_and_many_pixels_have_none() {
        let found = |input, output| pixel_by_pixel(&Window::ONE, Shape(input), Shape(output));
        assert_eq!(found([2, 1, 4, 1], [2, 1, 4, 1]), None);
        assert_eq!(found([1, 1, 1 << 17, 1], [1, 1, 1 << 17, 1]), None);
        assert_eq!(found([1, 1, 4, 1], [1, 1, 5, 1]), None);
    }
}
