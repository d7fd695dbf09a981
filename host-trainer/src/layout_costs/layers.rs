//! The layers that are measured.

use super::{Channel, Multiplier, Operator, Shape, WINDOW_ATTRIBUTES, Window};
use smidgen::geometry::Axis;

/// What kind of layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Convolution,
    Depthwise,
    Rows,
}

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    kind: Kind,
    /// Height, width and channels of the input.
    input: [usize; 3],
    out_c: usize,
    window: Window,
}

impl Example {
    /// A convolution with padding that keeps the size, but for the stride.
    pub fn convolution([h, w, in_c]: [usize; 3], out_c: usize, kernel: [usize; 2], stride: usize) -> Self {
        Self { kind: Kind::Convolution, input: [h, w, in_c], out_c, window: same([h, w], kernel, stride) }
    }

    /// A depthwise convolution with such padding; of an input of one channel, all output channels read it.
    pub fn depthwise([h, w, in_c]: [usize; 3], out_c: usize, kernel: [usize; 2], stride: usize) -> Self {
        Self { kind: Kind::Depthwise, input: [h, w, in_c], out_c, window: same([h, w], kernel, stride) }
    }

    /// A fully connected layer of so many rows.
    pub fn fully_connected(rows: usize, [in_c, out_c]: [usize; 2]) -> Self {
        Self { kind: Kind::Rows, input: [1, rows, in_c], out_c, window: Window::ONE }
    }

    /// The layer in words.
    pub fn name(&self) -> String {
        let Self { kind, input: [h, w, c], out_c, window: Window { y, x } } = self;
        let (k_h, k_w, stride) = (y.kernel, x.kernel, y.stride);
        match kind {
            Kind::Rows => format!("{w} rows {c} -> {out_c}"),
            Kind::Convolution => format!("{h}x{w}x{c} -> {out_c}, {k_h}x{k_w}, stride {stride}"),
            Kind::Depthwise => format!("{h}x{w}x{c} -> {out_c}, depthwise {k_h}x{k_w}, stride {stride}"),
        }
    }

    pub(super) fn operator(&self) -> Operator {
        match self.kind {
            Kind::Convolution => Operator::Conv2dI8,
            Kind::Depthwise => Operator::DepthwiseConv2dI8,
            Kind::Rows => Operator::FullyConnectedI8,
        }
    }

    pub(super) fn attributes(&self) -> Vec<i32> {
        let window: [i32; WINDOW_ATTRIBUTES] = self.window.attributes();
        let window = if self.kind == Kind::Rows { &[][..] } else { &window };
        [window, &[-128, 127]].concat()
    }

    pub(super) fn input(&self) -> Shape {
        let [h, w, c] = self.input.map(|length| length as u32);
        Shape([1, h, w, c])
    }

    pub(super) fn output(&self) -> Shape {
        let ([h, w, _], Window { y, x }) = (self.input, self.window);
        let length = |axis: Axis, input| axis.output(input).map_or(0, |output| output as u32);
        Shape([1, length(y, h), length(x, w), self.out_c as u32])
    }

    pub(super) fn filter_shape(&self) -> Shape {
        let [.., in_c] = self.input.map(|length| length as u32);
        let [k_h, k_w] = [self.window.y, self.window.x].map(|axis| axis.kernel as u32);
        match self.kind {
            Kind::Depthwise => Shape([1, k_h, k_w, self.out_c as u32]),
            _ => Shape([self.out_c as u32, k_h, k_w, in_c]),
        }
    }

    /// Weights so small that every layout can hold them.
    pub(super) fn filter(&self) -> Vec<i8> {
        let count = self.filter_shape().elements().unwrap_or(0);
        (0..count).map(|index| ((index * 89 % 61) as u8).cast_signed() - 30).collect()
    }

    /// The records of the channels.
    pub(super) fn channels(&self) -> Vec<i32> {
        let multiplier = Multiplier { multiplier: 1 << 30, shift: -8 };
        (0..self.out_c).flat_map(|index| Channel { bias: index as i32, multiplier }.words()).collect()
    }
}

fn same([h, w]: [usize; 2], [k_h, k_w]: [usize; 2], stride: usize) -> Window {
    let axis = |kernel, length| Axis::same(kernel, stride, 1, length).unwrap_or(Axis::ONE);
    Window { y: axis(k_h, h), x: axis(k_w, w) }
}

/// The layers from which the table is made: sizes of small networks, and odd ones, so that no two terms rise and fall together.
pub fn examples() -> Vec<Example> {
    let mut layers = Vec::new();
    // Pointwise.
    for ([h, w, in_c], out_c) in [
        ([1, 1, 16], 8),
        ([1, 1, 64], 64),
        ([1, 7, 24], 10),
        ([3, 3, 8], 16),
        ([3, 3, 128], 64),
        ([5, 5, 64], 64),
        ([6, 6, 33], 17),
        ([8, 8, 16], 32),
        ([12, 12, 4], 8),
        ([13, 5, 20], 7),
    ] {
        layers.push(Example::convolution([h, w, in_c], out_c, [1, 1], 1));
    }
    // Windows.
    for ([h, w, in_c], out_c, kernel, stride) in [
        ([16, 16, 3], 8, [3, 3], 2),
        ([16, 16, 3], 16, [3, 3], 1),
        ([25, 5, 1], 16, [10, 4], 2),
        ([12, 12, 1], 8, [3, 3], 1),
        ([8, 8, 16], 16, [3, 3], 1),
        ([8, 8, 16], 32, [3, 3], 2),
        ([8, 8, 16], 32, [1, 1], 2),
        ([4, 4, 64], 32, [3, 3], 1),
        ([9, 7, 6], 10, [5, 5], 1),
        ([1, 32, 8], 12, [1, 5], 1),
        ([10, 10, 12], 5, [2, 2], 2),
        ([6, 6, 24], 24, [3, 3], 1),
    ] {
        layers.push(Example::convolution([h, w, in_c], out_c, kernel, stride));
    }
    // Fully connected.
    for (rows, in_c, out_c) in [
        (1, 8, 4),
        (1, 8, 128),
        (1, 64, 12),
        (1, 128, 8),
        (1, 128, 128),
        (1, 640, 32),
        (1, 32, 640),
        (1, 37, 11),
        (1, 256, 2),
        (1, 20, 30),
        (7, 24, 10),
        (16, 64, 16),
        (3, 10, 50),
        (1, 100, 61),
    ] {
        layers.push(Example::fully_connected(rows, [in_c, out_c]));
    }
    // Depthwise.
    for ([h, w, in_c], out_c, kernel, stride) in [
        ([12, 12, 8], 8, [3, 3], 1),
        ([12, 12, 16], 16, [3, 3], 2),
        ([6, 6, 64], 64, [3, 3], 1),
        ([3, 3, 128], 128, [3, 3], 1),
        ([25, 5, 32], 32, [3, 3], 1),
        ([6, 6, 64], 64, [3, 3], 2),
        ([9, 7, 10], 10, [3, 3], 1),
        ([9, 9, 24], 24, [3, 3], 3),
        ([8, 8, 4], 4, [3, 3], 1),
        ([2, 2, 48], 48, [3, 3], 1),
        ([20, 20, 3], 3, [3, 3], 1),
        ([12, 12, 8], 8, [5, 5], 1),
        ([7, 7, 40], 40, [5, 5], 2),
        ([1, 40, 16], 16, [1, 7], 1),
        ([10, 10, 20], 20, [2, 2], 2),
        ([25, 5, 1], 8, [8, 4], 2),
        ([12, 12, 1], 6, [3, 3], 1),
        ([5, 5, 36], 36, [1, 1], 1),
    ] {
        layers.push(Example::depthwise([h, w, in_c], out_c, kernel, stride));
    }
    layers
}
