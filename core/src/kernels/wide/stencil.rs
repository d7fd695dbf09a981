//! Depthwise convolution, and its gradient with respect to the input.

use super::Wide;
use super::lanes::{Lanes, One, Vectors};
use crate::geometry::Window;
use crate::kernels::runs;
use crate::kernels::stencil::{Direction, Stencil};

/// The heights of tiles, in targets.
const HEIGHTS: [usize; 6] = [1, 3, 4, 5, 6, 8];

/// The height that wastes least on a line of `count` targets. (Tiles do not wait for each other's sums: few taps are soon done.)
fn height_of(count: usize) -> usize {
    let heights = HEIGHTS.into_iter().filter(|&height| height == 1 || height <= count);
    heights.min_by_key(|&height| (count.div_ceil(height) * (height + 2), height)).unwrap_or(1)
}

/// A width with more different columns is left to the portable kernel.
const MOST_COLUMNS: usize = 24;

/// What one tile is made from.
#[derive(Clone, Copy)]
struct Tile {
    source: *const f32,
    target: *mut f32,
    source_step: usize,
    target_step: usize,
    /// The weights of the first tap.
    weights: *const f32,
    bias: Option<*const f32>,
    /// How many taps over height and width.
    counts: [usize; 2],
    source_steps: [isize; 2],
    weight_steps: [usize; 2],
}

/// Adds the products of one tap's weights with what each target sees there.
///
/// # Safety
/// The processor has the instructions, and all is there.
#[inline(always)]
unsafe fn add_tap<L: Lanes, const M: usize>(
    mut sums: [L::Vector; M],
    source: *const f32,
    source_step: usize,
    weights: *const f32,
) -> [L::Vector; M] {
    // SAFETY: the caller's.
    unsafe {
        let weights = L::load(weights);
        for (m, sum) in sums.iter_mut().enumerate() {
            *sum = L::fma(L::load(source.add(m * source_step)), weights, *sum);
        }
    }
    sums
}

impl Tile {
    /// The sums of `M` targets for a vector of channels from `channel` on.
    ///
    /// With `THREE`, three taps over height and width each, which lie as far from one another over the width as the sources of neighbouring targets do,
    /// in the same direction or `BACK`: a source is loaded once for all of them.
    ///
    /// # Safety
    /// The processor has the instructions, and every source, weight and target of the tile is there.
    #[inline(always)]
    unsafe fn run<L: Lanes, const M: usize, const THREE: bool, const BACK: bool>(&self, channel: usize) {
        let Self {
            source,
            target,
            source_step,
            target_step,
            weights,
            bias,
            mut counts,
            mut source_steps,
            weight_steps,
        } = *self;
        if THREE {
            counts = [3, 3];
            source_steps[1] = if BACK { -source_step.cast_signed() } else { source_step.cast_signed() };
        }
        // SAFETY: the caller's.
        unsafe {
            let (source, target, weights) = (source.add(channel), target.add(channel), weights.add(channel));
            let first = match bias {
                Some(bias) => L::load(bias.add(channel)),
                None => L::zero(),
            };
            let mut sums = [first; M];
            if THREE {
                // The compiler does not unroll loops of this size.
                let (row, column) = (source_steps[0], source_steps[1]);
                for (k_y, from) in
                    [source, source.offset(row), source.offset(2 * row)].into_iter().enumerate()
                {
                    let weights = weights.add(k_y * weight_steps[0]);
                    sums = add_tap::<L, M>(sums, from, source_step, weights);
                    sums =
                        add_tap::<L, M>(sums, from.offset(column), source_step, weights.add(weight_steps[1]));
                    sums = add_tap::<L, M>(
                        sums,
                        from.offset(2 * column),
                        source_step,
                        weights.add(2 * weight_steps[1]),
                    );
                }
            } else {
                for k_y in 0..counts[0] {
                    for k_x in 0..counts[1] {
                        let (y, x) =
                            (k_y.cast_signed() * source_steps[0], k_x.cast_signed() * source_steps[1]);
                        let weights = weights.add(k_y * weight_steps[0] + k_x * weight_steps[1]);
                        sums = add_tap::<L, M>(sums, source.offset(y + x), source_step, weights);
                    }
                }
            }
            for (m, sum) in sums.into_iter().enumerate() {
                L::store(target.add(m * target_step), sum);
            }
        }
    }
}

/// A line of targets, all channels of them.
#[derive(Clone, Copy)]
struct Line {
    tile: Tile,
    count: usize,
    channels: usize,
}

impl Line {
    /// The sums of the line in tiles of `M` targets, the last of which is shifted back to end with it. All channels of a tile before the next: what
    /// it sees lies side by side.
    ///
    /// # Safety
    /// As [`Tile::run`], for all targets and channels of the line.
    #[inline(always)]
    unsafe fn run<V: Vectors, const M: usize, const THREE: bool, const BACK: bool>(self) {
        let Self { mut tile, count, channels } = self;
        let (source, target) = (tile.source, tile.target);
        let mut first = 0;
        loop {
            // SAFETY: the caller's; `first + M <= count`.
            unsafe {
                tile.source = source.add(first * tile.source_step);
                tile.target = target.add(first * tile.target_step);
                let whole = &tile;
                let mut channel = 0;
                while channel < channels {
                    let left = channels - channel;
                    channel += if left >= V::Wide::LANES {
                        whole.run::<V::Wide, M, THREE, BACK>(channel);
                        V::Wide::LANES
                    } else if left >= V::Eight::LANES {
                        whole.run::<V::Eight, M, THREE, BACK>(channel);
                        V::Eight::LANES
                    } else if left >= V::Four::LANES {
                        whole.run::<V::Four, M, false, BACK>(channel);
                        V::Four::LANES
                    } else {
                        whole.run::<One, M, false, BACK>(channel);
                        1
                    };
                }
            }
            if first + M >= count {
                return;
            }
            first = (first + M).min(count - M);
        }
    }

    /// The same in tiles of `height`, one of [`HEIGHTS`].
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn run_of<V: Vectors, const THREE: bool, const BACK: bool>(self, height: usize) {
        // SAFETY: the caller's.
        unsafe {
            match height {
                3 => self.run::<V, 3, THREE, BACK>(),
                4 => self.run::<V, 4, THREE, BACK>(),
                5 => self.run::<V, 5, THREE, BACK>(),
                6 => self.run::<V, 6, THREE, BACK>(),
                8 => self.run::<V, 8, THREE, BACK>(),
                _ => self.run::<V, 1, THREE, BACK>(),
            }
        }
    }
}

impl Wide for &mut Stencil<'_> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) =
            (self.input_shape.dims(), self.output_shape.dims());
        let Window { y, x } = self.window;
        let (input, output) = ([in_h, in_w, c_in], [out_h, out_w, c_out]);
        let (source, target) = match self.direction {
            Direction::Forward => (input, output),
            Direction::Backward => (output, input),
        };
        let all_there = self.source.len() >= n * source[0] * source[1] * source[2]
            && self.target.len() >= n * target[0] * target[1] * target[2]
            && self.filter.len() >= y.kernel * x.kernel * c_out
            && self.bias.is_none_or(|bias| bias.len() >= c_out);
        // With several output channels to an input channel, neighbouring targets do not see neighbouring sources.
        if c_in != c_out || !all_there {
            return false;
        }
        let is_forward = self.direction == Direction::Forward;
        let window_w = x.kernel;
        // Runs of columns, and the heights of their tiles.
        let mut columns = [const { None }; MOST_COLUMNS];
        let mut free = columns.iter_mut();
        let (mut forward, mut backward) = (runs::forward(x, in_w, out_w), runs::backward(x, in_w, out_w));
        while let Some(x) = if is_forward { forward.next() } else { backward.next() } {
            let Some(free) = free.next() else { return false };
            *free = Some((x, height_of(x.count)));
        }
        for image in 0..n {
            let (mut forward, mut backward) = (runs::forward(y, in_h, out_h), runs::backward(y, in_h, out_h));
            while let Some(y) = if is_forward { forward.next() } else { backward.next() } {
                for row in 0..y.count {
                    let source_row = image * source[0] + y.source + row * y.source_step;
                    let target_row = image * target[0] + y.target + row * y.target_step;
                    for (x, height) in columns.iter().map_while(Option::as_ref) {
                        let step = x.source_step * c_out;
                        // SAFETY: runs join targets with sources that are there, and the lengths of the slices are right.
                        unsafe {
                            let tile = Tile {
                                source: self.source.as_ptr().add((source_row * source[1] + x.source) * c_out),
                                target: self
                                    .target
                                    .as_mut_ptr()
                                    .add((target_row * target[1] + x.target) * c_out),
                                source_step: step,
                                target_step: x.target_step * c_out,
                                weights: self.filter.as_ptr().add((y.tap * window_w + x.tap) * c_out),
                                bias: self.bias.map(<[f32]>::as_ptr),
                                counts: [y.taps, x.taps],
                                source_steps: [
                                    y.source_per_tap * (source[1] * c_out).cast_signed(),
                                    x.source_per_tap * c_out.cast_signed(),
                                ],
                                weight_steps: [y.tap_step * window_w * c_out, x.tap_step * c_out],
                            };
                            let line = Line { tile, count: x.count, channels: c_out };
                            match (y.taps, x.taps, tile.source_steps[1]) {
                                (3, 3, per_tap) if per_tap == step.cast_signed() => {
                                    line.run_of::<V, true, false>(*height);
                                }
                                (3, 3, per_tap) if per_tap == -step.cast_signed() => {
                                    line.run_of::<V, true, true>(*height);
                                }
                                _ => line.run_of::<V, false, false>(*height),
                            }
                        }
                    }
                }
            }
        }
        true
    }
}

/// Runs `problem`, unless it says that it did not.
pub(crate) fn stencil(problem: &mut Stencil<'_>) -> bool {
    super::run(problem)
}
