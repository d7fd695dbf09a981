//! Gradients with respect to filters: sums over pixels, in registers for as many pixels as fit the first cache.

use core::marker::PhantomData;

use super::lanes::{Lanes, Vectors};
use super::{Wide, for_blocks};
use crate::geometry::Window;
use crate::kernels::correlate::Correlate;
use crate::kernels::image_dims;
use crate::kernels::runs::{self, Run};

/// Elements of input and output gradient that stay in the first cache while all tiles pass over them.
const CACHED: usize = 7 * 1024;
const CACHED_DEPTHWISE: usize = 10 * 1024;
/// Elements of two lines of the cache.
const LINES: usize = 32;

/// Neighbouring columns of output pixels that see the same taps.
#[derive(Clone, Copy, Default)]
struct Columns {
    first: usize,
    count: usize,
    /// The taps over the width that they see.
    taps: [usize; 2],
    /// Where the first one's window begins, seen from its row's, and where its gradients are, in elements.
    source: isize,
    gradient: usize,
}

/// A width with more different columns is left to the portable kernel.
const MOST_COLUMNS: usize = 24;

/// What is the same for all tiles.
struct Problem {
    window: Window,
    /// `[height, width, channels]`.
    input_dims: [usize; 3],
    output_dims: [usize; 3],
    /// Input channels of a group; one if depthwise.
    depth: usize,
    /// The group's first input channel and its first output channel.
    first_input: usize,
    first_output: usize,
    input: *const f32,
    grad_output: *const f32,
    grad_weights: *mut f32,
}

/// Output pixels: some of all images' rows, and some columns of each.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    rows: [usize; 2],
    columns: &'a [Columns],
}

/// The first of the sums of a tile: which tap, and which input channel of the group.
#[derive(Clone, Copy)]
struct Place {
    k_y: usize,
    k_x: usize,
    in_c: usize,
}

/// What the sums of a tile are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `C` neighbouring input channels of `R` taps one above the other.
    Channels,
    /// `C` taps beside each other of `R` taps one above the other, of one input channel.
    Taps,
    /// The same, and each output channel has an input channel of its own.
    Depthwise,
}

const CHANNELS: u8 = Kind::Channels as u8;
const TAPS: u8 = Kind::Taps as u8;
const DEPTHWISE: u8 = Kind::Depthwise as u8;

/// Neighbouring output pixels that see the same taps.
#[derive(Clone, Copy)]
struct Line {
    /// What the first pixel's window has for the first sum.
    source: *const f32,
    gradient: *const f32,
    count: usize,
    source_step: usize,
    gradient_step: usize,
    /// From one row of sums and from one sum to the next, in inputs.
    steps: [usize; 2],
}

impl Line {
    /// Adds the products to those sums that the pixels see: rows from `seen[0]` to `seen[1]`, columns from `seen[2]` to `seen[3]`.
    ///
    /// # Safety
    /// The processor has the instructions; the pixels and what they see are there.
    #[inline(always)]
    unsafe fn add<L: Lanes, const KIND: u8, const R: usize, const C: usize, const N: usize>(
        self,
        seen: [usize; 4],
        sums: &mut [[[L::Vector; N]; C]; R],
    ) {
        let Self { mut source, mut gradient, count, source_step, gradient_step, steps } = self;
        let [from, to, left, right] = seen;
        // SAFETY: the caller's.
        unsafe {
            for _ in 0..count {
                let mut gradients = [L::zero(); N];
                for (n, gradients) in gradients.iter_mut().enumerate() {
                    *gradients = L::load(gradient.add(n * L::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (c, sums) in sums.iter_mut().enumerate() {
                        if from <= r && r < to && left <= c && c < right {
                            let source = source.wrapping_add(r * steps[0] + c * steps[1]);
                            let value = L::splat(source);
                            for (n, (sum, gradients)) in sums.iter_mut().zip(gradients).enumerate() {
                                let value =
                                    if KIND == DEPTHWISE { L::load(source.add(n * L::LANES)) } else { value };
                                *sum = L::fma(value, gradients, *sum);
                            }
                        }
                    }
                }
                source = source.wrapping_add(source_step);
                gradient = gradient.wrapping_add(gradient_step);
            }
        }
    }
}

impl Problem {
    /// Adds the products at `pixels` to the sums of `R` rows times `C` columns times `N` vectors of output channels.
    ///
    /// # Safety
    /// The processor has the instructions; the sums and pixels are there.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const KIND: u8, const R: usize, const C: usize, const N: usize>(
        &self,
        channel: usize,
        place: Place,
        pixels: Pixels<'_>,
    ) {
        let Window { y, x } = self.window;
        let ([in_h, in_w, c_in], [out_h, out_w, c_out]) = (self.input_dims, self.output_dims);
        let channel = self.first_output + channel;
        // From one sum to the next, in inputs and in sums.
        let (row_step, sums_row) = (y.dilation * in_w * c_in, x.kernel * self.depth * c_out);
        let (step, sums_step) = match KIND {
            CHANNELS => (1, c_out),
            _ => (x.dilation * c_in, self.depth * c_out),
        };
        let first_input = if KIND == DEPTHWISE { channel } else { self.first_input + place.in_c };
        let first_input = first_input + place.k_x * x.dilation * c_in;
        // SAFETY: the caller's; where a tap is in the padding its input is not touched.
        unsafe {
            let sum = ((place.k_y * x.kernel + place.k_x) * self.depth + place.in_c) * c_out + channel;
            let resting = self.grad_weights.add(sum);
            let mut sums = [[[L::zero(); N]; C]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (c, sums) in sums.iter_mut().enumerate() {
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = L::load(resting.add(r * sums_row + c * sums_step + n * L::LANES));
                    }
                }
            }
            let (mut image, mut out_y) = (pixels.rows[0] / out_h, pixels.rows[0] % out_h);
            for row in pixels.rows[0]..pixels.rows[1] {
                let top =
                    (out_y * y.stride + place.k_y * y.dilation).cast_signed() - y.pad_before.cast_signed();
                let line = (image * in_h).cast_signed() + top;
                let line = line * (in_w * c_in).cast_signed() + first_input.cast_signed();
                // The rows of taps that are not in the padding.
                let taps = y.taps(out_y, in_h);
                let (from, to) =
                    (taps.start.saturating_sub(place.k_y), taps.end.saturating_sub(place.k_y).min(R));
                if from < to {
                    for columns in pixels.columns {
                        let [left, right] = columns.taps.map(|tap| tap.saturating_sub(place.k_x));
                        let (left, right) = match KIND {
                            CHANNELS if left == 0 && right > 0 => (0, C),
                            CHANNELS => (0, 0),
                            _ => (left, right.min(C)),
                        };
                        if left >= right {
                            continue;
                        }
                        let line = Line {
                            source: self.input.wrapping_offset(line + columns.source),
                            gradient: self.grad_output.add(row * out_w * c_out + columns.gradient + channel),
                            count: columns.count,
                            source_step: x.stride * c_in,
                            gradient_step: c_out,
                            steps: [row_step, step],
                        };
                        let all = from == 0 && to == R && left == 0 && right == C;
                        if R * C == 1 || KIND == CHANNELS && R == 1 || all {
                            line.add::<L, KIND, R, C, N>([0, R, 0, C], &mut sums);
                        } else if KIND == CHANNELS {
                            line.add::<L, KIND, R, C, N>([from, to, left, right], &mut sums);
                        } else {
                            // The borders of a 3x3 window; each is code of its own.
                            match (from, to, left, right) {
                                (0, 3, 1, 3) => line.add::<L, KIND, R, C, N>([0, 3, 1, 3], &mut sums),
                                (0, 3, 0, 2) => line.add::<L, KIND, R, C, N>([0, 3, 0, 2], &mut sums),
                                (1, 3, 0, 3) => line.add::<L, KIND, R, C, N>([1, 3, 0, 3], &mut sums),
                                (1, 3, 1, 3) => line.add::<L, KIND, R, C, N>([1, 3, 1, 3], &mut sums),
                                (1, 3, 0, 2) => line.add::<L, KIND, R, C, N>([1, 3, 0, 2], &mut sums),
                                (0, 2, 0, 3) => line.add::<L, KIND, R, C, N>([0, 2, 0, 3], &mut sums),
                                (0, 2, 1, 3) => line.add::<L, KIND, R, C, N>([0, 2, 1, 3], &mut sums),
                                (0, 2, 0, 2) => line.add::<L, KIND, R, C, N>([0, 2, 0, 2], &mut sums),
                                _ => line.add::<L, KIND, R, C, N>([from, to, left, right], &mut sums),
                            }
                        }
                    }
                }
                out_y += 1;
                if out_y == out_h {
                    (image, out_y) = (image + 1, 0);
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (c, sums) in sums.into_iter().enumerate() {
                    for (n, sum) in sums.into_iter().enumerate() {
                        L::store(resting.add(r * sums_row + c * sums_step + n * L::LANES), sum);
                    }
                }
            }
        }
    }
}

/// One [`Problem::tile`].
struct Tile<'a, L, const KIND: u8, const R: usize, const C: usize, const N: usize> {
    problem: &'a Problem,
    channel: usize,
    place: Place,
    pixels: Pixels<'a>,
    lanes: PhantomData<L>,
}

impl<L: Lanes, const KIND: u8, const R: usize, const C: usize, const N: usize> Wide
    for &Tile<'_, L, KIND, R, C, N>
{
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let Tile { problem, channel, place, pixels, .. } = *self;
        // SAFETY: whoever made the tile saw to it that its sums and pixels are there.
        unsafe { problem.tile::<L, KIND, R, C, N>(channel, place, pixels) };
        true
    }
}

impl Problem {
    /// [`tile`](Self::tile), as a function of its own.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn call<V: Vectors, L: Lanes, const KIND: u8, const R: usize, const C: usize, const N: usize>(
        &self,
        channel: usize,
        place: Place,
        pixels: Pixels<'_>,
    ) {
        let tile = Tile::<L, KIND, R, C, N> { problem: self, channel, place, pixels, lanes: PhantomData };
        // SAFETY: the caller's.
        unsafe { V::call(&tile) };
    }
}

/// Adds the products at `pixels` to all sums of `N` vectors of output channels, each of which has an input channel of its own.
///
/// # Safety
/// As [`Problem::tile`].
#[inline(always)]
unsafe fn depthwise_block<V: Vectors, L: Lanes, const N: usize>(
    channel: usize,
    problem: &Problem,
    pixels: Pixels<'_>,
) {
    let (rows, columns) = (problem.window.y.kernel, problem.window.x.kernel);
    // SAFETY: the caller's.
    unsafe {
        let mut place = Place { k_y: 0, k_x: 0, in_c: 0 };
        if [rows, columns] == [3, 3] {
            return problem.call::<V, L, DEPTHWISE, 3, 3, N>(channel, place, pixels);
        }
        while place.k_y < rows {
            place.k_x = 0;
            while place.k_x < columns {
                if columns - place.k_x >= 4 {
                    problem.call::<V, L, DEPTHWISE, 1, 4, N>(channel, place, pixels);
                    place.k_x += 4;
                } else {
                    problem.call::<V, L, DEPTHWISE, 1, 1, N>(channel, place, pixels);
                    place.k_x += 1;
                }
            }
            place.k_y += 1;
        }
    }
}

/// Adds the products at `pixels` to all sums of `N` vectors of output channels from `channel` on.
///
/// # Safety
/// As [`Problem::tile`].
#[inline(always)]
unsafe fn block<V: Vectors, L: Lanes, const N: usize>(channel: usize, problem: &Problem, pixels: Pixels<'_>) {
    let (rows, columns, depth) = (problem.window.y.kernel, problem.window.x.kernel, problem.depth);
    let mut place = Place { k_y: 0, k_x: 0, in_c: 0 };
    // SAFETY: the caller's.
    unsafe {
        while place.k_y < rows {
            // Few input channels: several taps at once, so that there are enough sums.
            let left = rows - place.k_y;
            if const { N == 1 } && depth == 1 && columns == 3 && left >= 3 {
                place.k_x = 0;
                problem.call::<V, L, TAPS, 3, 3, 1>(channel, place, pixels);
                place.k_y += 3;
                continue;
            }
            let together = if depth == 1 && left >= 4 {
                4
            } else if N == 1 && depth == 3 && left >= 3 {
                3
            } else {
                1
            };
            place.k_x = 0;
            while place.k_x < columns {
                place.in_c = 0;
                while place.in_c < depth {
                    place.in_c += match (together, depth - place.in_c) {
                        (4, _) => {
                            problem.call::<V, L, CHANNELS, 4, 1, N>(channel, place, pixels);
                            1
                        }
                        (3, _) if const { N == 1 } => {
                            problem.call::<V, L, CHANNELS, 3, 3, 1>(channel, place, pixels);
                            3
                        }
                        (_, 16..) if const { N == 1 && V::SUMS >= 16 } => {
                            problem.call::<V, L, CHANNELS, 1, 16, N>(channel, place, pixels);
                            16
                        }
                        (_, 8..) if const { N == 1 || N == 2 && V::SUMS >= 16 } => {
                            problem.call::<V, L, CHANNELS, 1, 8, N>(channel, place, pixels);
                            8
                        }
                        (_, 6..) if const { N == 2 && V::SUMS < 16 } => {
                            problem.call::<V, L, CHANNELS, 1, 6, N>(channel, place, pixels);
                            6
                        }
                        (_, 4..) => {
                            problem.call::<V, L, CHANNELS, 1, 4, N>(channel, place, pixels);
                            4
                        }
                        _ => {
                            problem.call::<V, L, CHANNELS, 1, 1, N>(channel, place, pixels);
                            1
                        }
                    };
                }
                place.in_c = 0;
                place.k_x += 1;
            }
            place.k_y += together;
        }
    }
}

impl Wide for &mut Correlate<'_> {
    #[inline(always)]
    unsafe fn run<V: Vectors>(self) -> bool {
        let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) = if self.depthwise {
            (self.input_shape.dims(), self.output_shape.dims())
        } else {
            image_dims(&self.window, self.input_shape, self.output_shape)
        };
        let Window { y, x } = self.window;
        let groups = if self.depthwise { 1 } else { self.groups.max(1) };
        let (group_c, group_out_c) = (c_in / groups, c_out / groups);
        let depth = if self.depthwise { 1 } else { group_c };
        let all_there = self.input.len() >= n * in_h * in_w * c_in
            && self.grad_output.len() >= n * out_h * out_w * c_out
            && self.grad_weights.len() >= y.kernel * x.kernel * depth * c_out;
        if !all_there || self.depthwise && c_in != c_out || out_h == 0 || depth == 0 {
            return false;
        }
        let mut columns = [Columns::default(); MOST_COLUMNS];
        let mut runs = runs::forward(x, in_w, out_w);
        let mut found = 0;
        for (to, Run { target, count, tap, taps, .. }) in columns.iter_mut().zip(&mut runs) {
            *to = Columns { first: target, count, taps: [tap, tap + taps], ..Columns::default() };
            found += 1;
        }
        let (None, Some(columns)) = (runs.next(), columns.get(..found)) else { return false };
        self.grad_weights.fill(0.0);
        // As many whole rows as stay in the cache, or pieces of one. A block of output channels goes over all input channels before the next does; with
        // one tap it sees each of them once, a line of the cache after the other.
        let pixel = match (self.depthwise, y.kernel * x.kernel) {
            (true, _) => y.stride * x.stride * c_in + c_out,
            (false, 1) => c_in.min(LINES) + c_out.min(V::SUMS / 6 * V::Wide::LANES),
            (false, _) => y.stride * x.stride * c_in + c_out.min(V::SUMS / 6 * V::Wide::LANES),
        };
        let elements = if self.depthwise { CACHED_DEPTHWISE } else { CACHED };
        let cached = (elements / pixel).max(8);
        let (rows_at_once, columns_at_once) =
            ((cached / out_w.max(1)).max(1), cached.max(out_w.min(2 * cached)));
        for group in 0..groups {
            let problem = Problem {
                window: self.window,
                input_dims: [in_h, in_w, c_in],
                output_dims: [out_h, out_w, c_out],
                depth,
                first_input: group * group_c,
                first_output: group * group_out_c,
                input: self.input.as_ptr(),
                grad_output: self.grad_output.as_ptr(),
                grad_weights: self.grad_weights.as_mut_ptr(),
            };
            for row in (0..n * out_h).step_by(rows_at_once) {
                for column in (0..out_w).step_by(columns_at_once) {
                    // The columns of this piece of a row.
                    let end = out_w.min(column + columns_at_once);
                    let mut piece = [Columns::default(); MOST_COLUMNS];
                    let mut found = 0;
                    for &Columns { first, count, taps, .. } in columns {
                        let (first, end) = (first.max(column), (first + count).min(end));
                        if let (Some(piece), true) = (piece.get_mut(found), first < end && taps[0] < taps[1])
                        {
                            let source = (first * x.stride).cast_signed() - x.pad_before.cast_signed();
                            let source = source * c_in.cast_signed();
                            *piece =
                                Columns { first, count: end - first, taps, source, gradient: first * c_out };
                            found += 1;
                        }
                    }
                    let columns = piece.get(..found).unwrap_or_default();
                    let pixels = Pixels { rows: [row, (n * out_h).min(row + rows_at_once)], columns };
                    // SAFETY: the lengths of the slices are right.
                    unsafe {
                        if self.depthwise {
                            for_blocks!(V, V::SUMS / 12, group_out_c, depthwise_block(&problem, pixels));
                        } else {
                            for_blocks!(V, V::SUMS / 6, group_out_c, block(&problem, pixels));
                        }
                    }
                }
            }
        }
        true
    }
}

/// Runs `problem`, unless it says that it did not.
pub(crate) fn correlate(problem: &mut Correlate<'_>) -> bool {
    super::run(problem)
}
