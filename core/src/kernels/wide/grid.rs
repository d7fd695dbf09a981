//! Targets that all see the same taps, cut into lines and tiles.

use crate::geometry::Window;
use crate::kernels::runs::Run;

/// What a grid's elements are measured in: images of `[height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides {
    pub(super) source: [usize; 3],
    pub(super) target: [usize; 3],
}

/// A block of targets over images, height and width, in elements of the tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// How many images, rows and columns.
    pub(super) counts: [usize; 3],
    /// From one target's source to the next's.
    pub(super) source_steps: [usize; 3],
    /// From one target to the next.
    pub(super) target_steps: [usize; 3],
    /// What the first target sees at its first tap.
    pub(super) source: usize,
    /// The first target.
    pub(super) target: usize,
    /// Taps over height and width.
    pub(super) taps: [Taps; 2],
}

/// The taps of one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    /// How many.
    pub(super) count: usize,
    /// The first one's part of the tap's number.
    pub(super) first: usize,
    /// From one tap's part to the next's.
    pub(super) step: usize,
    /// From one tap's source to the next's, in elements.
    pub(super) source_step: isize,
}

impl Grid {
    /// The targets of `images` images where the runs `y` and `x` cross.
    pub(super) fn new(images: usize, y: &Run, x: &Run, window: &Window, sides: Sides) -> Self {
        let Sides { source: [source_h, source_w, source_c], target: [target_h, target_w, target_c] } = sides;
        let (source_row, target_row) = (source_w * source_c, target_w * target_c);
        let taps = |run: &Run, part: usize, source: usize| Taps {
            count: run.taps,
            first: run.tap * part,
            step: run.tap_step * part,
            source_step: run.source_per_tap * source.cast_signed(),
        };
        Self {
            counts: [images, y.count, x.count],
            source_steps: [source_h * source_row, y.source_step * source_row, x.source_step * source_c],
            target_steps: [target_h * target_row, y.target_step * target_row, x.target_step * target_c],
            source: y.source * source_row + x.source * source_c,
            target: y.target * target_row + x.target * target_c,
            taps: [taps(y, window.x.kernel, source_row), taps(x, 1, source_c)],
        }
    }

    /// How to cut it into tiles of `vectors` vectors: along the axis that tiles waste least of, in the best of `heights`.
    pub(super) fn cut(&self, heights: &[usize], vectors: usize, sums: usize) -> Cut {
        let Self { counts: [n, h, w], source_steps: [s_n, s_h, s_w], target_steps: [t_n, t_h, t_w], .. } =
            *self;
        let height = |count| best_height(heights, count, vectors, sums);
        let cost = |count: usize, lines: usize| match count {
            1 => usize::MAX,
            _ => tiles_cost(count, height(count), vectors) * lines,
        };
        // Of equals the innermost: its targets are neighbours.
        let over_w = tiles_cost(w, height(w), vectors) * n * h;
        let (over_h, over_n) = (cost(h, n * w), cost(n, h * w));
        let (count, source_step, target_step, counts, source_steps, target_steps) =
            if over_w <= over_h && over_w <= over_n {
                (w, s_w, t_w, [n, h], [s_n, s_h], [t_n, t_h])
            } else if over_h <= over_n {
                (h, s_h, t_h, [n, w], [s_n, s_w], [t_n, t_w])
            } else {
                (n, s_n, t_n, [h, w], [s_h, s_w], [t_h, t_w])
            };
        Cut { height: height(count), count, source_step, target_step, counts, source_steps, target_steps }
    }
}

/// A grid's lines, and the height of their tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) height: usize,
    /// Targets in a line.
    pub(super) count: usize,
    /// From one target's source to the next's.
    pub(super) source_step: usize,
    /// From one target to the next.
    pub(super) target_step: usize,
    /// The lines, over two axes.
    pub(super) counts: [usize; 2],
    pub(super) source_steps: [usize; 2],
    pub(super) target_steps: [usize; 2],
}

/// What a line of `count` targets takes in tiles of `height` targets and `vectors` vectors, in multiply-adds for each tap: the last tile is
/// shifted back to end with the line, and sums below eight wait for one another.
fn tiles_cost(count: usize, height: usize, vectors: usize) -> usize {
    count.div_ceil(height) * ((height * vectors).max(8) + 1)
}

/// The best of `heights`, ascending, the first of which is 1, for lines of `count` targets: not higher than that, with at most `sums` vectors in
/// a tile.
fn best_height(heights: &[usize], count: usize, vectors: usize, sums: usize) -> usize {
    heights
        .iter()
        .copied()
        .take_while(|&height| height == 1 || height <= count && height * vectors <= sums)
        .min_by_key(|&height| (tiles_cost(count, height, vectors), height))
        .unwrap_or(1)
}
