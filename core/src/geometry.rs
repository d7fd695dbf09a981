//! Geometry of windows: output sizes, padding and valid ranges, shared by every operator that slides a window, in f32
//! and in int8.

use crate::operand::Shape;
use crate::step::StepError;

/// How many attributes a [`Window`] takes.
pub const WINDOW_ATTRIBUTES: usize = 10;

/// One axis of a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Taps of the window.
    pub kernel: usize,
    /// Step between neighbouring outputs.
    pub stride: usize,
    /// Step between neighbouring taps.
    pub dilation: usize,
    /// Padding before the first input element.
    pub pad_before: usize,
    /// Padding after the last input element.
    pub pad_after: usize,
}

impl Axis {
    /// One tap, stride 1, no padding: outputs are inputs.
    pub const ONE: Self = Self { kernel: 1, stride: 1, dilation: 1, pad_before: 0, pad_after: 0 };

    /// Extent of the window over the input: `(kernel - 1) * dilation + 1`.
    pub fn extent(&self) -> Option<usize> {
        self.kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)
    }

    /// Output length: `(input + pad_before + pad_after - extent) / stride + 1`; `None` if the window does not fit once.
    pub fn output(&self, input: usize) -> Option<usize> {
        let padded = input.checked_add(self.pad_before)?.checked_add(self.pad_after)?;
        padded.checked_sub(self.extent()?)?.checked_div(self.stride)?.checked_add(1)
    }

    /// The input position of tap `tap` of output `output`, if it is not in the padding.
    #[inline(always)]
    pub fn input(&self, output: usize, tap: usize, length: usize) -> Option<usize> {
        let padded = output * self.stride + tap * self.dilation;
        if padded < self.pad_before {
            return None;
        }
        let position = padded - self.pad_before;
        (position < length).then_some(position)
    }

    /// The taps of output `output` that are not in the padding of an input of `length` elements: always neighbours.
    ///
    /// For an output that [`Axis::output`] counts, nothing in here overflows, and a product of `position` with the size of
    /// a row is no larger than the input: without a tap in the input, which only a dilated window can be, it is 0.
    ///
    /// On a device it is one function, not part of each that calls it.
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline)]
    pub fn taps(&self, output: usize, length: usize) -> Taps {
        let corner = output * self.stride;
        let before = self.pad_before.saturating_sub(corner);
        let dilation = self.dilation.max(1);
        let start = if dilation == 1 { before } else { before.div_ceil(dilation) }.min(self.kernel);
        let position = (corner + start * dilation).saturating_sub(self.pad_before);
        let rest = length.saturating_sub(position);
        if rest == 0 {
            return Taps { start, end: start, position: 0 };
        }
        let fitting = if dilation == 1 { rest } else { rest.div_ceil(dilation) };
        Taps { start, end: self.kernel.min(start.saturating_add(fitting)), position }
    }

    /// TensorFlow's SAME padding: output length `ceil(input / stride)`, the smaller half of the padding first.
    /// `None` if a number does not fit or is zero where it must not be.
    pub fn same(kernel: usize, stride: usize, dilation: usize, input: usize) -> Option<Self> {
        let axis = Self { kernel, stride, dilation, pad_before: 0, pad_after: 0 };
        let output = input.checked_add(stride.checked_sub(1)?)?.checked_div(stride)?;
        let needed = output.checked_sub(1)?.checked_mul(stride)?.checked_add(axis.extent()?)?;
        let padding = needed.saturating_sub(input);
        Some(Self { pad_before: padding / 2, pad_after: padding - padding / 2, ..axis })
    }
}

/// The taps `start..end` of one output, which lie in the input; the others lie in the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// The first tap that lies in the input.
    pub start: usize,
    /// One past the last; not below `start`.
    pub end: usize,
    /// The input position of tap `start`, 0 if there is none. The next tap's is one dilation further.
    pub position: usize,
}

impl Taps {
    /// How many they are.
    #[inline(always)]
    pub fn count(self) -> usize {
        self.end - self.start
    }

    /// Whether `tap` is one of them.
    #[inline(always)]
    pub fn contains(self, tap: usize) -> bool {
        self.start <= tap && tap < self.end
    }
}

/// A window that slides over height and width.
///
/// Attributes, in order: kernel height, kernel width, stride y, stride x, padding top, bottom, left, right, dilation y,
/// dilation x. Kernel, strides and dilations are positive, paddings are not negative and smaller than the window's extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Over the height.
    pub y: Axis,
    /// Over the width.
    pub x: Axis,
}

impl Window {
    /// One tap, stride 1, no padding: the window of a pointwise convolution.
    pub const ONE: Self = Self { y: Axis::ONE, x: Axis::ONE };

    /// The window of attributes that [`read`](Self::read) has found right.
    pub(crate) fn of(attributes: &[i32; WINDOW_ATTRIBUTES]) -> Self {
        let &[kernel_y, kernel_x, stride_y, stride_x, top, bottom, left, right, dilation_y, dilation_x] =
            attributes;
        let axis = |kernel: i32, stride: i32, dilation: i32, before: i32, after: i32| Axis {
            kernel: kernel as usize,
            stride: stride as usize,
            dilation: dilation as usize,
            pad_before: before as usize,
            pad_after: after as usize,
        };
        Self {
            y: axis(kernel_y, stride_y, dilation_y, top, bottom),
            x: axis(kernel_x, stride_x, dilation_x, left, right),
        }
    }

    /// Reads a window from the first ten attributes.
    ///
    /// # Errors
    /// [`StepError::ZeroWindow`] for a kernel, stride or dilation below one, [`StepError::Attribute`] for a padding that
    /// is negative or as large as the window's extent, [`StepError::AttributeCount`] if there are not enough.
    pub fn read(attributes: &[i32]) -> Result<(Self, &[i32]), StepError> {
        let Some((window, rest)) = attributes.split_first_chunk::<WINDOW_ATTRIBUTES>() else {
            return Err(StepError::AttributeCount {
                expected: WINDOW_ATTRIBUTES as u8,
                found: attributes.len() as u8,
            });
        };
        for index in [0, 1, 2, 3, 8, 9] {
            if window.get(index).is_some_and(|&value| value <= 0) {
                return Err(StepError::ZeroWindow { index: index as u8 });
            }
        }
        let found = Self::of(window);
        for (axis, kernel, paddings) in [(&found.y, 0, [4, 5]), (&found.x, 1, [6, 7])] {
            let value = |index: usize| window.get(index).copied().unwrap_or_default();
            let wrong = |index: usize| StepError::Attribute { index: index as u8, found: value(index) };
            let extent = axis.extent().ok_or(wrong(kernel))?;
            for index in paddings {
                if usize::try_from(value(index)).is_ok_and(|padding| padding < extent) {
                    continue;
                }
                return Err(wrong(index));
            }
        }
        Ok((found, rest))
    }

    /// The attributes that [`Window::read`] reads.
    pub fn attributes(&self) -> [i32; WINDOW_ATTRIBUTES] {
        let Self { y, x } = self;
        [
            y.kernel,
            x.kernel,
            y.stride,
            x.stride,
            y.pad_before,
            y.pad_after,
            x.pad_before,
            x.pad_after,
            y.dilation,
            x.dilation,
        ]
        .map(|value| i32::try_from(value).unwrap_or(i32::MAX))
    }

    /// Whether a window over `input` gives `output` (height and width; batch and channels are not looked at).
    pub fn fits(&self, input: Shape, output: Shape) -> bool {
        let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (input.dims(), output.dims());
        self.y.output(in_h) == Some(out_h) && self.x.output(in_w) == Some(out_w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_smaller_half_first() {
        // A kernel of 3 with stride 2 over an even length pads one element, and that one comes last.
        let axis = Axis::same(3, 2, 1, 28).unwrap();
        assert_eq!((axis.pad_before, axis.pad_after, axis.output(28)), (0, 1, Some(14)));
        let axis = Axis::same(10, 2, 1, 49).unwrap();
        assert_eq!((axis.pad_before, axis.pad_after, axis.output(49)), (4, 5, Some(25)));
    }

    #[test]
    fn taps_are_those_whose_input_exists() {
        for (kernel, stride, dilation, input) in (1..6).flat_map(|k| {
            (1..4).flat_map(move |s| (1..4).flat_map(move |d| (1..9).map(move |i| (k, s, d, i))))
        }) {
            let axis = Axis { kernel, stride, dilation, pad_before: 0, pad_after: 0 };
            let extent = axis.extent().unwrap();
            for (pad_before, pad_after) in (0..extent).flat_map(|a| (0..extent).map(move |b| (a, b))) {
                let axis = Axis { pad_before, pad_after, ..axis };
                for output in 0..axis.output(input).unwrap_or(0) {
                    let taps = axis.taps(output, input);
                    let inside = |tap| axis.input(output, tap, input);
                    assert!(taps.start <= taps.end && taps.end <= kernel, "{axis:?} {taps:?}");
                    for tap in 0..kernel {
                        let expected = (taps.start..taps.end)
                            .contains(&tap)
                            .then(|| taps.position + (tap - taps.start) * dilation);
                        assert_eq!(inside(tap), expected, "{axis:?} {input} {output} {taps:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_that_lies_in_the_padding_has_no_tap_and_no_position_outside_of_the_input() {
        // The only two taps lie to both sides of the input, the second one far outside.
        let dilation = i32::MAX as usize;
        let axis = Axis { kernel: 2, stride: 1, dilation, pad_before: 3, pad_after: dilation - 3 };
        assert_eq!(axis.output(4), Some(4));
        let taps = axis.taps(0, 4);
        assert_eq!((taps.count(), taps.position), (0, 0), "{taps:?}");
        assert_eq!(axis.taps(3, 4), Taps { start: 0, end: 1, position: 0 });
        for (length, output) in (1..9).flat_map(|length| (0..6).map(move |output| (length, output))) {
            let axis = Axis { kernel: 3, stride: 2, dilation: 7, pad_before: 5, pad_after: 14 };
            assert!(axis.taps(output, length).position < length, "{length} {output}");
        }
    }

    #[test]
    fn same_padding_keeps_its_promise() {
        for (kernel, stride, dilation, input) in (1..6).flat_map(|k| {
            (1..4).flat_map(move |s| (1..3).flat_map(move |d| (1..20).map(move |i| (k, s, d, i))))
        }) {
            let axis = Axis::same(kernel, stride, dilation, input).unwrap();
            assert_eq!(axis.output(input), Some(input.div_ceil(stride)), "{axis:?} {input}");
        }
    }

    #[test]
    fn attributes_round_trip_and_are_checked() {
        let window = Window { y: Axis::same(3, 2, 1, 9).unwrap(), x: Axis::same(5, 1, 2, 9).unwrap() };
        let attributes = window.attributes();
        assert_eq!(Window::read(&attributes), Ok((window, [].as_slice())));
        for index in [0, 1, 2, 3, 8, 9] {
            let mut bad = attributes;
            bad[index] = 0;
            assert_eq!(Window::read(&bad), Err(StepError::ZeroWindow { index: index as u8 }));
        }
        for (index, found) in [(4, 3), (5, -1), (6, 9), (7, i32::MIN)] {
            let mut bad = attributes;
            bad[index] = found;
            assert_eq!(Window::read(&bad), Err(StepError::Attribute { index: index as u8, found }));
        }
    }

    #[test]
    fn a_window_that_does_not_fit_has_no_output() {
        let axis = Axis { kernel: 5, stride: 1, dilation: 1, pad_before: 0, pad_after: 0 };
        assert_eq!((axis.output(4), axis.output(5)), (None, Some(1)));
    }
}
