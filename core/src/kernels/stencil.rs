//! Depthwise convolution in f32: lanes are channels of sources and of targets alike.

use super::channels::{columns, columns_mut};
use super::isa::{Kernel, scalar};
use super::pieces::pieces;
use super::runs::{self, Extents, Region};
use super::tile::{add_product, for_channel_blocks, for_tiles, rows};
use crate::geometry::Window;
use crate::operand::Shape;

/// Which tensor is made from which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Outputs from inputs: from the bias (or 0), `fma(input, filter, sum)` over the taps ascending.
    Forward,
    /// Gradients of inputs from gradients of outputs: from 0, `fma(grad_output, filter, sum)` over the taps and the input channel's
    /// output channels, ascending.
    Backward,
}

/// A depthwise convolution or its transpose.
pub(crate) struct Stencil<'a> {
    pub direction: Direction,
    /// `[N, H, W, C_in]`.
    pub input_shape: Shape,
    /// `[N, H_out, W_out, C_out]`; `C_out` is a multiple of `C_in`.
    pub output_shape: Shape,
    pub window: Window,
    pub source: &'a [f32],
    /// `[1, K_h, K_w, C_out]`.
    pub filter: &'a [f32],
    /// As many elements as the target has channels.
    pub bias: Option<&'a [f32]>,
    pub target: &'a mut [f32],
}

impl Stencil<'_> {
    /// Computes it: with the vectors in use, or, where there are none or their kernel does not handle it, as every target does.
    #[inline]
    pub(crate) fn compute(mut self) {
        if !super::wide::stencil(&mut self) {
            scalar(self);
        }
    }
}

impl Kernel for Stencil<'_> {
    #[inline(always)]
    fn run<const WIDE: usize, const TILE: usize>(self) {
        let ([_, in_h, in_w, c_in], [_, out_h, out_w, c_out]) =
            (self.input_shape.dims(), self.output_shape.dims());
        let (input, output) = ([in_h, in_w, c_in], [out_h, out_w, c_out]);
        let extents = match self.direction {
            Direction::Forward => Extents { source: input, target: output },
            Direction::Backward => Extents { source: output, target: input },
        };
        let Extents { source: [source_h, source_w, source_c], target: [target_h, target_w, target_c] } =
            extents;
        let lengths = [source_h * source_w * source_c, target_h * target_w * target_c];
        let Window { y, x } = self.window;
        for (source, target) in pieces((self.source, self.target), lengths) {
            let mut image = Image {
                direction: self.direction,
                multiplier: c_out / c_in.max(1),
                source,
                filter: self.filter,
                c_out,
                bias: self.bias,
                target,
            };
            match self.direction {
                Direction::Forward => {
                    for y in runs::forward(y, in_h, out_h) {
                        for x in runs::forward(x, in_w, out_w) {
                            let region = Region::new(&y, &x, &self.window, extents);
                            image.region::<WIDE, TILE>(target_c, &region);
                        }
                    }
                }
                Direction::Backward => {
                    for y in runs::backward(y, in_h, out_h) {
                        for x in runs::backward(x, in_w, out_w) {
                            let region = Region::new(&y, &x, &self.window, extents);
                            image.region::<WIDE, TILE>(target_c, &region);
                        }
                    }
                }
            }
        }
    }
}

struct Image<'a> {
    direction: Direction,
    /// Output channels per input channel.
    multiplier: usize,
    source: &'a [f32],
    filter: &'a [f32],
    c_out: usize,
    bias: Option<&'a [f32]>,
    target: &'a mut [f32],
}

impl Image<'_> {
    #[inline(always)]
    fn region<const WIDE: usize, const TILE: usize>(&mut self, channels: usize, region: &Region) {
        if self.multiplier == 1 && TILE > 1 {
            // The compiler does not unroll tiles above 4 here.
            for_channel_blocks!(WIDE, channels, self.block::<_, 4>(region));
        } else if self.multiplier == 1 {
            for_channel_blocks!(WIDE, channels, self.block::<_, 1>(region));
        } else {
            // Neighbouring targets do not see neighbouring sources.
            for channel in 0..channels {
                self.block::<1, 1>(channel, region);
            }
        }
    }

    #[inline(always)]
    fn block<const W: usize, const TILE: usize>(&mut self, channel: usize, region: &Region) {
        for line in 0..region.across.count {
            for_tiles!(TILE, region.along.count, self.tile::<W, _>(line, channel, region));
        }
    }

    /// The sums of `M` pixels from `first` of a line on.
    #[inline(always)]
    fn tile<const W: usize, const M: usize>(
        &mut self,
        first: usize,
        line: usize,
        channel: usize,
        region: &Region,
    ) {
        let Region { along, across, y, x, .. } = *region;
        let (source_channel, filter_channel, depth) = match self.direction {
            Direction::Forward => (channel / self.multiplier.max(1), channel, 1),
            Direction::Backward => (channel * self.multiplier, channel * self.multiplier, self.multiplier),
        };
        let source = region.source + line * across.source_step + first * along.source_step;
        let bias = self.bias.and_then(|bias| columns::<W>(bias, channel)).copied().unwrap_or([0.0; W]);
        let mut sums = [bias; M];
        for k_y in 0..y.count {
            for k_x in 0..x.count {
                let tap = y.tap + k_y * y.tap_step + x.tap + k_x * x.tap_step;
                let source = source
                    .wrapping_add_signed(k_y.cast_signed() * y.source_step)
                    .wrapping_add_signed(k_x.cast_signed() * x.source_step);
                for i in 0..depth {
                    let Some(weights) = columns(self.filter, tap * self.c_out + filter_channel + i) else {
                        return;
                    };
                    let start = source + source_channel + i;
                    let Some(rows) = rows::<M>(self.source, start, along.source_step, W) else { return };
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        if let Some(values) = row.first_chunk() {
                            add_product(sums, values, weights);
                        }
                    }
                }
            }
        }
        let target = region.target + line * across.target_step + first * along.target_step;
        for (m, sums) in sums.iter().enumerate() {
            if let Some(output) = columns_mut(self.target, target + m * along.target_step + channel) {
                *output = *sums;
            }
        }
    }
}
