//! Convolution, and its gradient with respect to the input: rows of sources times a matrix of weights.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use super::grid::{Grid, Sides};
use super::lanes::{Lanes, Vectors};
use super::{Wide, for_blocks};
use crate::geometry::Window;
use crate::kernels::convolve::{Convolve, ConvolveTransposed};
use crate::kernels::image_dims;
use crate::kernels::runs;

/// The heights of tiles, in targets.
const HEIGHTS: [usize; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 15];
/// Of tiles of what the widest vectors leave of the channels.
const FEW_HEIGHTS: [usize; 3] = [1, 4, 8];

/// What one tile is made from.
#[derive(Clone, Copy)]
struct Tile {
    /// The first target's source at the first tap, and where its sums go.
    source: *const f32,
    target: *mut f32,
    source_step: usize,
    target_step: usize,
    /// The weights of the first tap's first input channel.
    weights: *const f32,
    /// What the sums begin with, if not with 0.
    bias: Option<*const f32>,
    taps: Rows,
}

/// The taps of a tile: rows of `depth` neighbouring sources.
#[derive(Clone, Copy)]
struct Rows {
    /// How many over height and width.
    counts: [usize; 2],
    source_steps: [isize; 2],
    weight_steps: [usize; 2],
    depth: usize,
    /// From the weights of one source to the next one's.
    weight_step: usize,
}

impl Rows {
    /// The taps of `grid`, `depth` sources each, whose weights begin at the multiples of `tap_weights`.
    fn new(grid: &Grid, depth: usize, tap_weights: usize, weight_step: usize) -> Self {
        let [y, x] = grid.taps;
        let mut rows = Self {
            counts: [y.count, x.count],
            source_steps: [y.source_step, x.source_step],
            weight_steps: [y.step * tap_weights, x.step * tap_weights],
            depth,
            weight_step,
        };
        if x.source_step == depth.cast_signed() && rows.weight_steps[1] == depth * weight_step {
            // Taps whose sources are neighbours are one longer row.
            (rows.depth, rows.counts[1]) = (depth * x.count, 1);
        }
        rows
    }
}

impl Tile {
    /// The sums of `M` targets for `N` vectors of channels.
    ///
    /// # Safety
    /// The processor has the instructions, and every source, weight and target of the tile is there.
    #[inline(always)]
    unsafe fn run<L: Lanes, const M: usize, const N: usize>(&self) {
        let Self { source, source_step, target, target_step, weights, bias, taps } = *self;
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[L::zero(); N]; M];
            if let Some(bias) = bias {
                for (n, sum) in sums[0].iter_mut().enumerate() {
                    *sum = L::load(bias.add(n * L::LANES));
                }
                sums = [sums[0]; M];
            }
            for k_y in 0..taps.counts[0] {
                for k_x in 0..taps.counts[1] {
                    let (y, x) =
                        (k_y.cast_signed() * taps.source_steps[0], k_x.cast_signed() * taps.source_steps[1]);
                    let source = source.offset(y + x);
                    let mut weights = weights.add(k_y * taps.weight_steps[0] + k_x * taps.weight_steps[1]);
                    for k in 0..taps.depth {
                        let mut row = [L::zero(); N];
                        for (n, row) in row.iter_mut().enumerate() {
                            *row = L::load(weights.add(n * L::LANES));
                        }
                        for (m, sums) in sums.iter_mut().enumerate() {
                            let value = L::splat(source.add(m * source_step + k));
                            for (sum, row) in sums.iter_mut().zip(row) {
                                *sum = L::fma(value, row, *sum);
                            }
                        }
                        // After the last one, nothing is there.
                        weights = weights.wrapping_add(taps.weight_step);
                    }
                }
            }
            for (m, sums) in sums.into_iter().enumerate() {
                for (n, sum) in sums.into_iter().enumerate() {
                    L::store(target.add(m * target_step + n * L::LANES), sum);
                }
            }
        }
    }
}

/// The sums of a line of `count` targets for `N` vectors of channels, in tiles of `M`, the last of which is shifted back to end with the line: sums
/// that it computes again are the same.
struct Line<L, const M: usize, const N: usize> {
    tile: Tile,
    count: usize,
    lanes: PhantomData<L>,
}

impl<L: Lanes, const M: usize, const N: usize> Wide for &Line<L, M, N> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let Line { mut tile, count, .. } = *self;
        let (source, target) = (tile.source, tile.target);
        let mut first = 0;
        loop {
            // SAFETY: whoever made the line saw to it that all of its targets are there; `first + M <= count`.
            unsafe {
                tile.source = source.add(first * tile.source_step);
                tile.target = target.add(first * tile.target_step);
                tile.run::<L, M, N>();
            }
            if first + M >= count {
                return true;
            }
            first = (first + M).min(count - M);
        }
    }
}

/// Products of one grid of targets, for neighbouring channels.
struct Product<'a> {
    grid: &'a Grid,
    channels: usize,
    source: *const f32,
    target: *mut f32,
    weights: *const f32,
    bias: Option<*const f32>,
    rows: Rows,
}

impl Wide for &Product<'_> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        // SAFETY: whoever made the product saw to it that all that it reaches is there.
        unsafe { for_blocks!(V, V::SUMS / 6, self.channels, block(self)) };
        true
    }
}

/// Whether lines are cut into tiles of all [`HEIGHTS`].
const fn is_widest<V: Vectors, L: Lanes>() -> bool {
    L::LANES >= 8 || L::LANES == V::Wide::LANES
}

/// The sums of all targets of a grid, for `N` vectors of channels from `channel` on.
///
/// # Safety
/// The processor has the instructions, and all that the grid reaches is there.
#[inline(always)]
unsafe fn block<V: Vectors, L: Lanes, const N: usize>(channel: usize, product: &Product<'_>) {
    let Product { grid, source, target, weights, bias, rows, .. } = *product;
    let cut = grid.cut(if is_widest::<V, L>() { &HEIGHTS } else { &FEW_HEIGHTS }, N, V::SUMS);
    for i in 0..cut.counts[0] {
        for j in 0..cut.counts[1] {
            // SAFETY: the caller's.
            unsafe {
                let tile = Tile {
                    source: source.add(grid.source + i * cut.source_steps[0] + j * cut.source_steps[1]),
                    target: target
                        .add(grid.target + channel + i * cut.target_steps[0] + j * cut.target_steps[1]),
                    source_step: cut.source_step,
                    target_step: cut.target_step,
                    weights: weights.add(channel),
                    bias: bias.map(|bias| bias.add(channel)),
                    taps: rows,
                };
                // What is not among the heights is not compiled.
                macro_rules! line {
                    ($height:literal) => {
                        V::call(&Line::<L, $height, N> { tile, count: cut.count, lanes: PhantomData })
                    };
                }
                match cut.height {
                    4 => line!(4),
                    8 if const { N <= 2 } => line!(8),
                    2 if const { is_widest::<V, L>() } => line!(2),
                    3 if const { is_widest::<V, L>() } => line!(3),
                    5 if const { is_widest::<V, L>() } => line!(5),
                    6 if const { is_widest::<V, L>() } => line!(6),
                    7 if const { is_widest::<V, L>() && N <= 2 } => line!(7),
                    12 if const { is_widest::<V, L>() && N <= 2 } => line!(12),
                    14 if const { is_widest::<V, L>() && N == 1 } => line!(14),
                    15 if const { is_widest::<V, L>() && N == 1 && V::SUMS >= 16 } => line!(15),
                    _ => line!(1),
                };
            }
        }
    }
}

/// Runs `problem`, unless it says that it did not.
pub(crate) fn convolve(problem: &mut Convolve<'_>) -> bool {
    let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) =
        image_dims(&problem.window, problem.input_shape, problem.output_shape);
    let Window { y, x } = problem.window;
    let groups = problem.groups.max(1);
    let (depth, group_out_c) = (c_in / groups, c_out / groups);
    let all_there = problem.input.len() >= n * in_h * in_w * c_in
        && problem.output.len() >= n * out_h * out_w * c_out
        && problem.filter.len() >= y.kernel * x.kernel * depth * c_out
        && problem.bias.is_none_or(|bias| bias.len() >= c_out);
    if !super::are_there() || !all_there {
        return false;
    }
    let sides = Sides { source: [in_h, in_w, c_in], target: [out_h, out_w, c_out] };
    for y in runs::forward(y, in_h, out_h) {
        for x in runs::forward(x, in_w, out_w) {
            let grid = Grid::new(n, &y, &x, &problem.window, sides);
            for group in 0..groups {
                let first = (grid.taps[0].first + grid.taps[1].first) * depth * c_out + group * group_out_c;
                // SAFETY: runs join outputs with inputs that are there, and the lengths of the slices are right.
                let product = unsafe {
                    Product {
                        grid: &grid,
                        channels: group_out_c,
                        source: problem.input.as_ptr().add(group * depth),
                        target: problem.output.as_mut_ptr().add(group * group_out_c),
                        weights: problem.filter.as_ptr().add(first),
                        bias: problem.bias.map(|bias| bias.as_ptr().add(group * group_out_c)),
                        rows: Rows::new(&grid, depth, depth * c_out, c_out),
                    }
                };
                super::run(&product);
            }
        }
    }
    true
}

/// Weights of a block of input channels, transposed: on the stack.
const PANEL: usize = 1 << 16;

/// As [`convolve`].
pub(crate) fn convolve_transposed(problem: &mut ConvolveTransposed<'_>) -> bool {
    let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) =
        image_dims(&problem.window, problem.input_shape, problem.output_shape);
    let Window { y, x } = problem.window;
    let groups = problem.groups.max(1);
    let (group_c, depth) = (c_in / groups, c_out / groups);
    let taps = y.kernel * x.kernel;
    // Four of the widest vectors, or fewer if the panel holds no more.
    let width = (PANEL / 16).checked_div(taps * depth).unwrap_or(0).min(4) * 16;
    let all_there = problem.grad_input.len() >= n * in_h * in_w * c_in
        && problem.grad_output.len() >= n * out_h * out_w * c_out
        && problem.filter.len() >= taps * group_c * c_out
        && problem.bias.is_none_or(|bias| bias.len() >= c_in);
    if !super::are_there() || width == 0 || !all_there {
        return false;
    }
    let sides = Sides { source: [out_h, out_w, c_out], target: [in_h, in_w, c_in] };
    // panel[tap][out_c][in_c]
    let mut panel = [MaybeUninit::<f32>::uninit(); PANEL];
    let panel = panel.as_mut_ptr().cast::<f32>();
    for group in 0..groups {
        for channel in (0..group_c).step_by(width) {
            let (channels, first) = (width.min(group_c - channel), group * group_c + channel);
            for tap in 0..taps {
                let weights = (tap * group_c + channel) * c_out + group * depth;
                // SAFETY: the lengths of the slices are right, and `width` is what the panel holds.
                unsafe {
                    let (weights, panel) =
                        (problem.filter.as_ptr().add(weights), panel.add(tap * depth * channels));
                    transpose(weights, c_out, channels, depth, panel);
                }
            }
            for y in runs::backward(y, in_h, out_h) {
                for x in runs::backward(x, in_w, out_w) {
                    let grid = Grid::new(n, &y, &x, &problem.window, sides);
                    let first_tap = grid.taps[0].first + grid.taps[1].first;
                    // SAFETY: runs join inputs with outputs that are there, and the lengths of the slices are right.
                    let product = unsafe {
                        Product {
                            grid: &grid,
                            channels,
                            source: problem.grad_output.as_ptr().add(group * depth),
                            target: problem.grad_input.as_mut_ptr().add(first),
                            weights: panel.add(first_tap * depth * channels),
                            bias: problem.bias.map(|bias| bias.as_ptr().add(first)),
                            rows: Rows::new(&grid, depth, depth * channels, channels),
                        }
                    };
                    super::run(&product);
                }
            }
        }
    }
    true
}

/// `to[j * rows + i] = from[i * step + j]` for `i` below `rows` and `j` below `columns`.
///
/// # Safety
/// All of these are there.
unsafe fn transpose(from: *const f32, step: usize, rows: usize, columns: usize, to: *mut f32) {
    let (whole_rows, whole_columns) = (rows - rows % 4, columns - columns % 4);
    // SAFETY: the caller's.
    unsafe {
        for j in (0..whole_columns).step_by(4) {
            for i in (0..whole_rows).step_by(4) {
                transpose_four(from.add(i * step + j), step, to.add(j * rows + i), rows);
            }
        }
        for j in 0..columns {
            for i in if j < whole_columns { whole_rows } else { 0 }..rows {
                *to.add(j * rows + i) = *from.add(i * step + j);
            }
        }
    }
}

/// `to[j * to_step + i] = from[i * step + j]` for `i` and `j` below 4.
///
/// # Safety
/// All of these are there.
#[inline(always)]
unsafe fn transpose_four(from: *const f32, step: usize, to: *mut f32, to_step: usize) {
    // SAFETY: the caller's; every x86-64 has these instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use core::arch::x86_64::{
            _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| _mm_loadu_ps(from.add(i * step)));
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        _mm_storeu_ps(to, _mm_movelh_ps(ab, cd));
        _mm_storeu_ps(to.add(to_step), _mm_movehl_ps(cd, ab));
        _mm_storeu_ps(to.add(2 * to_step), _mm_movelh_ps(ab_high, cd_high));
        _mm_storeu_ps(to.add(3 * to_step), _mm_movehl_ps(cd_high, ab_high));
    }
    // SAFETY: the caller's.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        for i in 0..4 {
            for j in 0..4 {
                *to.add(j * to_step + i) = *from.add(i * step + j);
            }
        }
    }
}
