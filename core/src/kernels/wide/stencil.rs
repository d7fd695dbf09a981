//! Depthwise convolution, and its gradient with respect to the input.

use core::marker::PhantomData;

use super::Wide;
use super::lanes::{Lanes, One, Vectors};
use crate::geometry::Window;
use crate::kernels::runs::{self, Run};
use crate::kernels::stencil::{Direction, Stencil};

/// The heights of tiles, in targets.
const HEIGHTS: [usize; 6] = [1, 3, 4, 5, 6, 8];
/// Of tiles at borders, over steps, and of what whole vectors leave of the channels: each height is more code.
const FEW_HEIGHTS: [usize; 3] = [1, 4, 8];

/// The height that wastes least on a line of `count` targets. (Tiles do not wait for each other's sums: few taps are soon done.)
fn height_of(heights: &[usize], count: usize) -> usize {
    let heights = heights.iter().copied().filter(|&height| height == 1 || height <= count);
    heights.min_by_key(|&height| (count.div_ceil(height) * (height + 2), height)).unwrap_or(1)
}

/// Images with more different rows or columns are left to the portable kernel.
const MOST_RUNS: usize = 24;

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

/// How a tile goes over its taps.
trait Taps {
    /// How many over height and width; `[0, 0]` if only the tile knows. The compiler does not unroll loops of this size.
    const COUNTS: [usize; 2];
    /// Over the width, taps lie as far from one another as the sources of neighbouring targets do, in the same direction (1) or backwards (-1), so that a
    /// source is loaded once for all of them; 0 if they need not.
    const NEIGHBOURS: isize;
}

/// Taps of any number, anywhere.
struct Any;

impl Taps for Any {
    const COUNTS: [usize; 2] = [0, 0];
    const NEIGHBOURS: isize = 0;
}

/// `Y` times `X` taps, at most three each.
struct Few<const Y: usize, const X: usize>;

impl<const Y: usize, const X: usize> Taps for Few<Y, X> {
    const COUNTS: [usize; 2] = [Y, X];
    const NEIGHBOURS: isize = 0;
}

/// `Y` times three taps, those over the width at the sources of neighbouring targets.
struct Near<const Y: usize, const DIRECTION: isize>;

impl<const Y: usize, const DIRECTION: isize> Taps for Near<Y, DIRECTION> {
    const COUNTS: [usize; 2] = [Y, 3];
    const NEIGHBOURS: isize = DIRECTION;
}

impl Tile {
    /// The sums of `M` targets for a vector of channels from `channel` on.
    ///
    /// # Safety
    /// The processor has the instructions, the taps are `T`, and every source, weight and target of the tile is there.
    #[inline(always)]
    unsafe fn run<L: Lanes, const M: usize, T: Taps>(&self, channel: usize) {
        let Self {
            source,
            target,
            source_step,
            target_step,
            weights,
            bias,
            counts,
            mut source_steps,
            weight_steps,
        } = *self;
        if const { T::NEIGHBOURS != 0 } {
            source_steps[1] = T::NEIGHBOURS * source_step.cast_signed();
        }
        // SAFETY: the caller's.
        unsafe {
            let (source, target, weights) = (source.add(channel), target.add(channel), weights.add(channel));
            let first = match bias {
                Some(bias) => L::load(bias.add(channel)),
                None => L::zero(),
            };
            let mut sums = [first; M];
            if const { T::COUNTS[0] == 0 } {
                for y in 0..counts[0] {
                    for x in 0..counts[1] {
                        let step = y.cast_signed() * source_steps[0] + x.cast_signed() * source_steps[1];
                        let weights = weights.add(y * weight_steps[0] + x * weight_steps[1]);
                        sums = add_tap::<L, M>(sums, source.offset(step), source_step, weights);
                    }
                }
            } else {
                let [down, right] = source_steps.map(|step| [0, step, 2 * step]);
                let [rows, columns] = weight_steps.map(|step| [0, step, 2 * step]);
                // Macros, as a closure is a function of its own, without the instructions.
                macro_rules! tap {
                    ($y:literal, $x:literal) => {
                        if const { T::COUNTS[0] > $y && T::COUNTS[1] > $x } {
                            let from = source.offset(down[$y] + right[$x]);
                            let weights = weights.add(rows[$y] + columns[$x]);
                            sums = add_tap::<L, M>(sums, from, source_step, weights);
                        }
                    };
                }
                macro_rules! row {
                    ($y:literal) => {
                        tap!($y, 0);
                        tap!($y, 1);
                        tap!($y, 2);
                    };
                }
                row!(0);
                row!(1);
                row!(2);
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
    /// The line in the best tiles for its taps and channels; `heights` are the best of [`HEIGHTS`] and of [`FEW_HEIGHTS`].
    ///
    /// # Safety
    /// The processor has the instructions, and every source, weight and target of the line is there.
    #[inline(always)]
    unsafe fn run<V: Vectors>(&self, heights: [usize; 2]) {
        let [height, few] = heights;
        let Tile { counts, source_steps: [_, per_tap], source_step, .. } = self.tile;
        let is_near = |direction: isize| per_tap == direction * source_step.cast_signed();
        let rest = self.channels - self.channels % V::Eight::LANES;
        // SAFETY: the caller's, and the taps are those of the tile.
        unsafe {
            if rest > 0 {
                match counts {
                    [3, 3] if is_near(1) => self.of_height::<V, Near<3, 1>>(height),
                    [3, 3] if is_near(-1) => self.of_height::<V, Near<3, -1>>(height),
                    [3, 3] => self.of_few_heights::<V, Few<3, 3>>(few),
                    [3, 2] => self.of_few_heights::<V, Few<3, 2>>(few),
                    [2, 3] => self.of_few_heights::<V, Few<2, 3>>(few),
                    [2, 2] => self.of_few_heights::<V, Few<2, 2>>(few),
                    [2, 1] => self.of_few_heights::<V, Few<2, 1>>(few),
                    [1, 2] => self.of_few_heights::<V, Few<1, 2>>(few),
                    [1, 1] => self.of_few_heights::<V, Few<1, 1>>(few),
                    _ => self.of_few_heights::<V, Any>(few),
                }
            }
            if rest < self.channels {
                match few {
                    4 => V::call(Rest::<4> { line: self, from: rest }),
                    8 => V::call(Rest::<8> { line: self, from: rest }),
                    _ => V::call(Rest::<1> { line: self, from: rest }),
                };
            }
        }
    }

    /// In tiles of `height`, one of [`HEIGHTS`].
    ///
    /// # Safety
    /// As [`run`](Self::run), and the taps are `T`.
    #[inline(always)]
    unsafe fn of_height<V: Vectors, T: Taps>(&self, height: usize) {
        // SAFETY: the caller's.
        unsafe {
            match height {
                3 => V::call(Tiles::<T, 3>::of(self)),
                4 => V::call(Tiles::<T, 4>::of(self)),
                5 => V::call(Tiles::<T, 5>::of(self)),
                6 => V::call(Tiles::<T, 6>::of(self)),
                8 => V::call(Tiles::<T, 8>::of(self)),
                _ => V::call(Tiles::<T, 1>::of(self)),
            };
        }
    }

    /// In tiles of `height`, one of [`FEW_HEIGHTS`].
    ///
    /// # Safety
    /// As [`run`](Self::run), and the taps are `T`.
    #[inline(always)]
    unsafe fn of_few_heights<V: Vectors, T: Taps>(&self, height: usize) {
        // SAFETY: the caller's.
        unsafe {
            match height {
                4 => V::call(Tiles::<T, 4>::of(self)),
                8 => V::call(Tiles::<T, 8>::of(self)),
                _ => V::call(Tiles::<T, 1>::of(self)),
            };
        }
    }

    /// Calls `tile` for tiles of `height` targets that cover the line, the last of which is shifted back to end with it. All channels of a tile
    /// before the next: what it sees lies side by side.
    ///
    /// # Safety
    /// `height` is at most the line's count.
    #[inline(always)]
    unsafe fn each_tile(&self, height: usize, mut tile: impl FnMut(&Tile)) {
        let Self { tile: mut one, count, .. } = *self;
        let (source, target) = (one.source, one.target);
        let mut first = 0;
        loop {
            // SAFETY: the caller's; `first + height <= count`.
            unsafe {
                one.source = source.add(first * one.source_step);
                one.target = target.add(first * one.target_step);
            }
            tile(&one);
            if first + height >= count {
                return;
            }
            first = (first + height).min(count - height);
        }
    }
}

/// A line in tiles of `M` targets with the taps `T`: as many channels as fill eight lanes.
struct Tiles<'a, T, const M: usize> {
    line: &'a Line,
    taps: PhantomData<T>,
}

impl<'a, T: Taps, const M: usize> Tiles<'a, T, M> {
    #[inline(always)]
    fn of(line: &'a Line) -> Self {
        Self { line, taps: PhantomData }
    }
}

impl<T: Taps, const M: usize> Wide for Tiles<'_, T, M> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let channels = self.line.channels;
        // SAFETY: who made it saw to it.
        unsafe {
            self.line.each_tile(
                M,
                #[inline(always)]
                |tile| {
                    let mut channel = 0;
                    while channel + V::Wide::LANES <= channels {
                        tile.run::<V::Wide, M, T>(channel);
                        channel += V::Wide::LANES;
                    }
                    if const { V::Eight::LANES < V::Wide::LANES } && channel + V::Eight::LANES <= channels {
                        tile.run::<V::Eight, M, T>(channel);
                    }
                },
            );
        }
        true
    }
}

/// A line in tiles of `M` targets: the channels `from` on, which fill no eight lanes.
struct Rest<'a, const M: usize> {
    line: &'a Line,
    from: usize,
}

impl<const M: usize> Wide for Rest<'_, M> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let channels = self.line.channels;
        // SAFETY: who made it saw to it.
        unsafe {
            self.line.each_tile(
                M,
                #[inline(always)]
                |tile| {
                    let mut channel = self.from;
                    while channel + V::Four::LANES <= channels {
                        tile.run::<V::Four, M, Any>(channel);
                        channel += V::Four::LANES;
                    }
                    while channel < channels {
                        tile.run::<One, M, Any>(channel);
                        channel += 1;
                    }
                },
            );
        }
        true
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
        let window_w = x.kernel;
        let is_forward = self.direction == Direction::Forward;
        // Runs of rows and of columns, and the heights of tiles along them.
        let (mut rows, mut columns) = ([const { None }; MOST_RUNS], [const { None }; MOST_RUNS]);
        let all_fit = if is_forward {
            fill(&mut rows, runs::forward(y, in_h, out_h))
                && fill(&mut columns, runs::forward(x, in_w, out_w))
        } else {
            fill(&mut rows, runs::backward(y, in_h, out_h))
                && fill(&mut columns, runs::backward(x, in_w, out_w))
        };
        if !all_fit {
            return false;
        }
        let (source_row, target_row) = (source[1] * c_out, target[1] * c_out);
        for image in 0..n {
            for (y, heights_y) in rows.iter().map_while(Option::as_ref) {
                for (x, heights_x) in columns.iter().map_while(Option::as_ref) {
                    // What one step down is, and one step to the right, in elements of the tensors.
                    let down = [y.source_step * source_row, y.target_step * target_row];
                    let right = [x.source_step * c_out, x.target_step * c_out];
                    // Lines go along the rows, unless they are so short that their tiles' sums would wait for one another.
                    let is_short = x.count < 3 && y.count > x.count;
                    let (along, count, across, lines, heights) = if is_short {
                        (down, y.count, right, x.count, heights_y)
                    } else {
                        (right, x.count, down, y.count, heights_x)
                    };
                    let source_first = (image * source[0] + y.source) * source_row + x.source * c_out;
                    let target_first = (image * target[0] + y.target) * target_row + x.target * c_out;
                    for line in 0..lines {
                        // SAFETY: runs join targets with sources that are there, and the lengths of the slices are right.
                        unsafe {
                            let tile = Tile {
                                source: self.source.as_ptr().add(source_first + line * across[0]),
                                target: self.target.as_mut_ptr().add(target_first + line * across[1]),
                                source_step: along[0],
                                target_step: along[1],
                                weights: self.filter.as_ptr().add((y.tap * window_w + x.tap) * c_out),
                                bias: self.bias.map(<[f32]>::as_ptr),
                                counts: [y.taps, x.taps],
                                source_steps: [
                                    y.source_per_tap * source_row.cast_signed(),
                                    x.source_per_tap * c_out.cast_signed(),
                                ],
                                weight_steps: [y.tap_step * window_w * c_out, x.tap_step * c_out],
                            };
                            Line { tile, count, channels: c_out }.run::<V>(*heights);
                        }
                    }
                }
            }
        }
        true
    }
}

/// A run, and the best of [`HEIGHTS`] and of [`FEW_HEIGHTS`] for lines along it.
type Place = Option<(Run, [usize; 2])>;

/// Puts all runs into `places`, and says whether they fit.
#[inline(always)]
fn fill(places: &mut [Place; MOST_RUNS], runs: impl Iterator<Item = Run>) -> bool {
    let mut places = places.iter_mut();
    for run in runs {
        let Some(place) = places.next() else { return false };
        *place = Some((run, [height_of(&HEIGHTS, run.count), height_of(&FEW_HEIGHTS, run.count)]));
    }
    true
}

/// Runs `problem`, unless it says that it did not.
pub(crate) fn stencil(problem: &mut Stencil<'_>) -> bool {
    super::run(problem)
}
