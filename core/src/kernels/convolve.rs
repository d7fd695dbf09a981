//! Convolution in f32: each target pixel is a product of rows of sources with the filter, in registers from the first tap to the
//! last.

use super::channels::{columns, columns_mut};
use super::isa::{Kernel, scalar};
use super::pieces::pieces;
use super::runs::{self, Extents, Region};
use super::tile::{add_products, for_channel_blocks, for_tiles, rows};
use crate::geometry::Window;
use crate::operand::Shape;

/// For each output pixel and channel: from the bias (or 0), `fma(input, filter, sum)` over the taps that are not in the padding and
/// the input's channels of the output channel's group, ascending.
pub(crate) struct Convolve<'a> {
    /// Shape of `input`, `[N, H, W, C_in]`.
    pub input_shape: Shape,
    /// Shape of `output`, `[N, H_out, W_out, C_out]`.
    pub output_shape: Shape,
    pub window: Window,
    /// Groups of channels, which divide `C_in` and `C_out`.
    pub groups: usize,
    pub input: &'a [f32],
    /// `[K_h, K_w, C_in / groups, C_out]`.
    pub filter: &'a [f32],
    /// `C_out` elements.
    pub bias: Option<&'a [f32]>,
    pub output: &'a mut [f32],
}

impl Convolve<'_> {
    /// Computes it: with the vectors in use, or, where there are none or their kernel does not handle it, as every target does.
    #[inline]
    pub(crate) fn compute(mut self) {
        if !super::wide::convolve(&mut self) {
            scalar(self);
        }
    }
}

impl Kernel for Convolve<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let ([_, in_h, in_w, c_in], [_, out_h, out_w, c_out]) =
            super::image_dims(&self.window, self.input_shape, self.output_shape);
        let extents = Extents { source: [in_h, in_w, c_in], target: [out_h, out_w, c_out] };
        let groups = self.groups.max(1);
        let (group_c, group_out_c) = (c_in / groups, c_out / groups);
        let lengths = [in_h * in_w * c_in, out_h * out_w * c_out];
        for (input, output) in pieces((self.input, self.output), lengths) {
            for y in runs::forward(self.window.y, in_h, out_h) {
                for x in runs::forward(self.window.x, in_w, out_w) {
                    let region = Region::new(&y, &x, &self.window, extents);
                    let (filter, bias) = (self.filter, self.bias);
                    for group in 0..groups {
                        let (first, source) = (group * group_out_c, group * group_c);
                        let mut image = Image {
                            input,
                            filter,
                            bias,
                            output,
                            c_in: group_c,
                            c_out,
                            first,
                            source,
                            region,
                        };
                        for_channel_blocks!(WIDE, group_out_c, image.block::<_, TILE>());
                    }
                }
            }
        }
    }
}

/// One region of one image, and one group of channels.
struct Image<'a> {
    input: &'a [f32],
    filter: &'a [f32],
    bias: Option<&'a [f32]>,
    output: &'a mut [f32],
    /// The group's.
    c_in: usize,
    /// All.
    c_out: usize,
    /// The group's first output channel and its first input channel.
    first: usize,
    source: usize,
    region: Region,
}

impl Image<'_> {
    #[inline(always)]
    fn block<const W: usize, const TILE: usize>(&mut self, channel: usize) {
        let channel = self.first + channel;
        let bias = self.bias.and_then(|bias| columns::<W>(bias, channel)).copied().unwrap_or([0.0; W]);
        let Region { along, across, .. } = self.region;
        for line in 0..across.count {
            for_tiles!(TILE, along.count, self.tile::<W, _>(line, channel, &bias));
        }
    }

    /// The sums of `M` pixels from `first` of a line on.
    #[inline(always)]
    fn tile<const W: usize, const M: usize>(
        &mut self,
        first: usize,
        line: usize,
        channel: usize,
        bias: &[f32; W],
    ) {
        let Region { along, across, y, x, .. } = self.region;
        let source = self.source + self.region.source + line * across.source_step + first * along.source_step;
        // Taps whose inputs are neighbours are one longer row.
        let (segments, length) = if x.source_step == self.c_in.cast_signed() {
            (1, x.count * self.c_in)
        } else {
            (x.count, self.c_in)
        };
        let mut sums = [*bias; M];
        for k_y in 0..y.count {
            for k_x in 0..segments {
                let tap = y.tap + k_y * y.tap_step + x.tap + k_x * x.tap_step;
                let source = source
                    .wrapping_add_signed(k_y.cast_signed() * y.source_step)
                    .wrapping_add_signed(k_x.cast_signed() * x.source_step);
                let filter = self.filter.get(tap * self.c_in * self.c_out..).unwrap_or_default();
                let weights = filter.chunks_exact(self.c_out.max(1)).map_while(|row| columns(row, channel));
                let Some(rows) = rows(self.input, source, along.source_step, length) else { return };
                sums = add_products(sums, rows, length, weights);
            }
        }
        let target = self.region.target + line * across.target_step + first * along.target_step;
        for (m, sums) in sums.iter().enumerate() {
            if let Some(output) = columns_mut(self.output, target + m * along.target_step + channel) {
                *output = *sums;
            }
        }
    }
}

/// For each input pixel and channel: from the bias (or 0), `fma(grad_output, filter, sum)` over the taps that join it with an output pixel and
/// the output's channels of the input channel's group, ascending.
pub(crate) struct ConvolveTransposed<'a> {
    /// Shape of `grad_input`, `[N, H, W, C_in]`.
    pub input_shape: Shape,
    /// Shape of `grad_output`, `[N, H_out, W_out, C_out]`.
    pub output_shape: Shape,
    pub window: Window,
    /// Groups of channels, which divide `C_in` and `C_out`.
    pub groups: usize,
    pub grad_output: &'a [f32],
    /// `[K_h, K_w, C_in / groups, C_out]`.
    pub filter: &'a [f32],
    /// `C_in` elements: of a transposed convolution, whose output is the gradient here.
    pub bias: Option<&'a [f32]>,
    pub grad_input: &'a mut [f32],
}

/// Output channels whose weights are transposed at once, on the stack.
const PANEL: usize = 32;

impl ConvolveTransposed<'_> {
    /// Computes it: with the vectors in use, or, where there are none or their kernel does not handle it, as every target does.
    #[inline]
    pub(crate) fn compute(mut self) {
        if !super::wide::convolve_transposed(&mut self) {
            scalar(self);
        }
    }
}

impl Kernel for ConvolveTransposed<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(mut self) {
        let [.., c_in] = self.input_shape.dims();
        match self.bias {
            None => self.grad_input.fill(0.0),
            Some(bias) => {
                for pixel in self.grad_input.chunks_exact_mut(c_in.max(1)) {
                    pixel.iter_mut().zip(bias).for_each(|(sum, &bias)| *sum = bias);
                }
            }
        }
        let groups = self.groups.max(1);
        for group in 0..groups {
            for_channel_blocks!(WIDE, c_in / groups, self.block::<_, TILE>(group));
        }
    }
}

/// Neighbouring output channels from `first` on, at one row of output pixels that a tap joins with inputs.
struct Joined {
    first: usize,
    count: usize,
    /// The first output pixel and the first input pixel, in elements.
    output: usize,
    input: usize,
    /// From one input pixel to the next, in elements.
    input_step: usize,
    /// From one output pixel to the next, in elements.
    output_step: usize,
}

impl ConvolveTransposed<'_> {
    /// Tap by tap, the sums resting in `grad_input` in between. Input channels are the lanes, so the weights, whose output channels
    /// are neighbours, are transposed: few at a time, and then used for all pixels.
    #[inline(always)]
    fn block<const W: usize, const TILE: usize>(&mut self, channel_in_group: usize, group: usize) {
        let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) =
            super::image_dims(&self.window, self.input_shape, self.output_shape);
        let Window { y, x } = self.window;
        let groups = self.groups.max(1);
        let (group_c, group_out_c) = (c_in / groups, c_out / groups);
        let (channel, end) = (group * group_c + channel_in_group, (group + 1) * group_out_c);
        let mut panel = [[0.0; W]; PANEL];
        for tap in 0..y.kernel * x.kernel {
            let (k_y, k_x) = (tap / x.kernel.max(1), tap % x.kernel.max(1));
            let outputs = runs::outputs_of_tap(x, k_x, in_w, out_w);
            let Some(in_x) = x.input(outputs.start, k_x, in_w) else { continue };
            for first in (group * group_out_c..end).step_by(PANEL) {
                let row = tap * group_c + channel_in_group;
                let weights = self.filter.get(row * c_out + first..).unwrap_or_default();
                let count = PANEL.min(end - first);
                transpose(weights, c_out, count, &mut panel);
                for image in 0..n {
                    for out_y in runs::outputs_of_tap(y, k_y, in_h, out_h) {
                        let Some(in_y) = y.input(out_y, k_y, in_h) else { continue };
                        let joined = Joined {
                            first,
                            count,
                            output: ((image * out_h + out_y) * out_w + outputs.start) * c_out,
                            input: ((image * in_h + in_y) * in_w + in_x) * c_in,
                            input_step: x.stride * c_in,
                            output_step: c_out,
                        };
                        for_tiles!(TILE, outputs.len(), self.tile::<W, _>(&joined, &panel, channel));
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tile<const W: usize, const M: usize>(
        &mut self,
        start: usize,
        joined: &Joined,
        panel: &[[f32; W]; PANEL],
        channel: usize,
    ) {
        let target = joined.input + start * joined.input_step + channel;
        let source = joined.output + start * joined.output_step + joined.first;
        let mut sums = [[0.0; W]; M];
        for (m, sums) in sums.iter_mut().enumerate() {
            let Some(resting) = columns(self.grad_input, target + m * joined.input_step) else { return };
            *sums = *resting;
        }
        let Some(rows) = rows(self.grad_output, source, joined.output_step, joined.count) else { return };
        let sums = add_products(sums, rows, joined.count, panel.iter());
        for (m, sums) in sums.iter().enumerate() {
            if let Some(resting) = columns_mut(self.grad_input, target + m * joined.input_step) {
                *resting = *sums;
            }
        }
    }
}

/// `panel[j][i] = weights[i * row + j]`, for `j` below `count`.
#[inline(always)]
fn transpose<const W: usize>(weights: &[f32], row: usize, count: usize, panel: &mut [[f32; W]; PANEL]) {
    for (i, weights) in weights.chunks(row.max(1)).take(W).enumerate() {
        for (panel, &weight) in panel.iter_mut().zip(weights).take(count) {
            if let Some(lane) = panel.get_mut(i) {
                *lane = weight;
            }
        }
    }
}
