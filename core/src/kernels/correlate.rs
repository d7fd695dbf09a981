//! Gradients with respect to filters in f32: sums over pixels of products of inputs and output gradients.

use super::channels::{columns, columns_mut};
use super::isa::{Kernel, scalar};
use super::runs::{self, Extents, Region};
use super::tile::{add_product, add_scaled, for_channel_blocks};
use crate::geometry::Window;
use crate::operand::Shape;

/// For each tap (and input channel of the group, if not depthwise) and output channel: from 0, `fma(input, grad_output, sum)` over the pixels at
/// which the tap is not in the padding, ascending.
pub(crate) struct Correlate<'a> {
    /// Whether an output channel sees one input channel only.
    pub depthwise: bool,
    /// Groups of channels, which divide `C_in` and `C_out`; 1 if depthwise.
    pub groups: usize,
    /// Shape of `input`, `[N, H, W, C_in]`.
    pub input_shape: Shape,
    /// Shape of `grad_output`, `[N, H_out, W_out, C_out]`.
    pub output_shape: Shape,
    pub window: Window,
    pub input: &'a [f32],
    pub grad_output: &'a [f32],
    /// `[K_h, K_w, C_in / groups, C_out]`; depthwise `[1, K_h, K_w, C_out]`.
    pub grad_weights: &'a mut [f32],
}

/// Neighbouring pixels that are summed before the sums go back to memory: their rows of both tensors stay in the first cache while
/// all taps pass over them.
const PIXELS: usize = 64;

impl Correlate<'_> {
    /// Computes it: with the vectors in use, or, where there are none or their kernel does not handle it, as every target does.
    #[inline]
    pub(crate) fn compute(mut self) {
        if !super::wide::correlate(&mut self) {
            scalar(self);
        }
    }
}

impl Kernel for Correlate<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) = if self.depthwise {
            (self.input_shape.dims(), self.output_shape.dims())
        } else {
            super::image_dims(&self.window, self.input_shape, self.output_shape)
        };
        self.grad_weights.fill(0.0);
        let extents = Extents { source: [in_h, in_w, c_in], target: [out_h, out_w, c_out] };
        let images = self.input.chunks_exact((in_h * in_w * c_in).max(1)).take(n);
        let gradients = self.grad_output.chunks_exact((out_h * out_w * c_out).max(1));
        for (input, grad_output) in images.zip(gradients) {
            for y in runs::forward(self.window.y, in_h, out_h) {
                for line in 0..y.count {
                    let one = runs::Run {
                        target: y.target + line,
                        source: y.source + line * y.source_step,
                        count: 1,
                        ..y
                    };
                    for x in runs::forward(self.window.x, in_w, out_w) {
                        let region = Region::new(&one, &x, &self.window, extents);
                        let mut row = Row {
                            depthwise: self.depthwise,
                            groups: self.groups.max(1),
                            input,
                            grad_output,
                            grad_weights: self.grad_weights,
                            c_in,
                            c_out,
                            region,
                            pixels: 0..0,
                        };
                        for first in (0..x.count).step_by(PIXELS) {
                            row.pixels = first..x.count.min(first + PIXELS);
                            row.all::<WIDE, TILE>();
                        }
                    }
                }
            }
        }
    }
}

/// Neighbouring pixels of a row that see the same taps.
struct Row<'a> {
    depthwise: bool,
    groups: usize,
    input: &'a [f32],
    grad_output: &'a [f32],
    grad_weights: &'a mut [f32],
    c_in: usize,
    c_out: usize,
    region: Region,
    pixels: core::ops::Range<usize>,
}

/// One row of the filter: its number, and where its input is, seen from the first tap's.
#[derive(Clone, Copy, Default)]
struct FilterRow {
    index: usize,
    input: isize,
}

impl Row<'_> {
    #[inline(always)]
    fn all<const WIDE: usize, const TILE: usize>(&mut self) {
        if !self.depthwise || self.c_in == self.c_out && TILE == 1 {
            for group in 0..self.groups {
                for_channel_blocks!(WIDE, self.c_out / self.groups, self.block::<_, TILE>(group));
            }
        } else if self.c_in == self.c_out {
            // Where every channel has an input of its own, the compiler does not unroll tiles above 4.
            for_channel_blocks!(WIDE, self.c_out, self.block::<_, 4>(0));
        } else {
            for channel in 0..self.c_out {
                self.block::<1, 1>(channel, 0);
            }
        }
    }

    /// All rows of the filter, `TILE` at a time, then 4, then 1, for the output channels from `channel` of the group on.
    #[inline(always)]
    fn block<const W: usize, const TILE: usize>(&mut self, channel: usize, group: usize) {
        let Region { y, x, .. } = self.region;
        let (group_c, group_out_c) = (self.c_in / self.groups, self.c_out / self.groups);
        let depth = if self.depthwise { 1 } else { group_c };
        let channel = group * group_out_c + channel;
        let source = if self.depthwise { channel * self.c_in / self.c_out.max(1) } else { group * group_c };
        let mut left = y.count * x.count * depth;
        let mut filter_rows = (0..y.count).flat_map(move |k_y| {
            (0..x.count).flat_map(move |k_x| {
                let tap = y.tap + k_y * y.tap_step + x.tap + k_x * x.tap_step;
                let input = k_y.cast_signed() * y.source_step + k_x.cast_signed() * x.source_step;
                (0..depth).map(move |in_c| FilterRow {
                    index: tap * depth + in_c,
                    input: input + in_c.cast_signed(),
                })
            })
        });
        while left > 0 {
            left -= if left >= TILE {
                self.tile::<W, TILE>(channel, source, &mut filter_rows);
                TILE
            } else if TILE > 4 && left >= 4 {
                self.tile::<W, 4>(channel, source, &mut filter_rows);
                4
            } else {
                self.tile::<W, 1>(channel, source, &mut filter_rows);
                1
            };
        }
    }

    /// The next `T` rows of the filter, for the output channels from `channel` on, whose inputs begin at the channel `in_c`.
    #[inline(always)]
    fn tile<const W: usize, const T: usize>(
        &mut self,
        channel: usize,
        in_c: usize,
        filter_rows: &mut impl Iterator<Item = FilterRow>,
    ) {
        let mut rows = [FilterRow::default(); T];
        let mut sums = [[0.0; W]; T];
        for ((row, sums), next) in rows.iter_mut().zip(&mut sums).zip(filter_rows) {
            *row = next;
            let Some(resting) = columns(self.grad_weights, row.index * self.c_out + channel) else { return };
            *sums = *resting;
        }
        let Region { along, source, target, .. } = self.region;
        let line = Line {
            source: source + self.pixels.start * along.source_step + in_c,
            source_step: along.source_step,
            target: target + self.pixels.start * along.target_step + channel,
            target_step: along.target_step,
            count: self.pixels.len(),
        };
        let offsets = rows.map(|row| row.input);
        let sums = if self.depthwise {
            add_channel_products(sums, self.input, self.grad_output, line, offsets)
        } else {
            add_scaled_gradients(sums, self.input, self.grad_output, line, offsets)
        };
        for (row, sums) in rows.iter().zip(&sums) {
            if let Some(resting) = columns_mut(self.grad_weights, row.index * self.c_out + channel) {
                *resting = *sums;
            }
        }
    }
}

/// Neighbouring pixels, in elements of input and output gradient.
#[derive(Clone, Copy)]
struct Line {
    count: usize,
    source: usize,
    source_step: usize,
    target: usize,
    target_step: usize,
}

/// Calls `add(sums, source, gradients)` for each pixel of `line`, as long as it says that its inputs are there.
#[inline(always)]
fn add_pixels<const W: usize, const T: usize>(
    mut sums: [[f32; W]; T],
    gradients: &[f32],
    line: Line,
    add: impl Fn(&mut [[f32; W]; T], usize, &[f32; W]) -> Option<()>,
) -> [[f32; W]; T] {
    for pixel in 0..line.count {
        let source = line.source + pixel * line.source_step;
        // Always there, for a region lies in its tensors.
        let Some(gradients) = columns(gradients, line.target + pixel * line.target_step) else { break };
        if add(&mut sums, source, gradients).is_none() {
            break;
        }
    }
    sums
}

/// For each pixel of `line`: `sums[t] = fma(input[offsets[t]], gradients, sums[t])`, where all gradients meet the same input.
#[inline(always)]
fn add_scaled_gradients<const W: usize, const T: usize>(
    sums: [[f32; W]; T],
    input: &[f32],
    gradients: &[f32],
    line: Line,
    offsets: [isize; T],
) -> [[f32; W]; T] {
    add_pixels(
        sums,
        gradients,
        line,
        #[inline(always)]
        |sums, source, gradients| {
            // Tested first, so that the arithmetic is one straight piece.
            let values = gather(input, source, offsets)?;
            sums.iter_mut().zip(values).for_each(|(sums, value)| add_scaled(sums, value, gradients));
            Some(())
        },
    )
}

/// For each pixel of `line`: `sums[t] = fma(input[offsets[t]..], gradients, sums[t])`, channel by channel.
#[inline(always)]
fn add_channel_products<const W: usize, const T: usize>(
    sums: [[f32; W]; T],
    input: &[f32],
    gradients: &[f32],
    line: Line,
    offsets: [isize; T],
) -> [[f32; W]; T] {
    add_pixels(
        sums,
        gradients,
        line,
        #[inline(always)]
        |sums, source, gradients| {
            let values = gather_columns(input, source, offsets)?;
            sums.iter_mut().zip(values).for_each(|(sums, values)| add_product(sums, values, gradients));
            Some(())
        },
    )
}

/// `values[t] = slice[start + offsets[t]]`.
#[inline(always)]
fn gather<const T: usize>(slice: &[f32], start: usize, offsets: [isize; T]) -> Option<[f32; T]> {
    let mut values = [0.0; T];
    for (value, offset) in values.iter_mut().zip(offsets) {
        *value = *slice.get(start.wrapping_add_signed(offset))?;
    }
    Some(values)
}

/// `values[t] = slice[start + offsets[t]..]`, `W` elements of it.
#[inline(always)]
fn gather_columns<const W: usize, const T: usize>(
    slice: &[f32],
    start: usize,
    offsets: [isize; T],
) -> Option<[&[f32; W]; T]> {
    let mut values = [&[0.0; W]; T];
    for (value, offset) in values.iter_mut().zip(offsets) {
        *value = columns(slice, start.wrapping_add_signed(offset))?;
    }
    Some(values)
}
