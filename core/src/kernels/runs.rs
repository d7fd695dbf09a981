//! A sliding window cut into rectangles whose pixels all see the same taps, so that a kernel needs no test for the padding.
//!
//! A kernel makes *targets* from *sources*: forward, targets are outputs and sources inputs; for the gradient with respect to
//! the input it is the other way around.

use core::ops::Range;

use crate::geometry::{Axis, Window};

/// Neighbouring targets of one axis that see the same taps, and the sources they see them at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first target.
    pub target: usize,
    /// From one target to the next.
    pub target_step: usize,
    /// How many targets.
    pub count: usize,
    /// The first tap.
    pub tap: usize,
    /// From one tap to the next.
    pub tap_step: usize,
    /// How many taps; perhaps none.
    pub taps: usize,
    /// What the first target sees at the first tap.
    pub source: usize,
    /// From one target's source to the next's.
    pub source_step: usize,
    /// From one tap's source to the next's.
    pub source_per_tap: isize,
}

/// The runs of all outputs, ascending.
#[inline]
pub(crate) fn forward(axis: Axis, input: usize, output: usize) -> impl Iterator<Item = Run> {
    let seen = move |target| {
        let taps = axis.taps(target, input);
        (taps.start, taps.end - taps.start, taps.position)
    };
    let steps = Steps { target: 1, tap: 1, source: axis.stride, source_per_tap: axis.dilation.cast_signed() };
    runs_from(0, output, steps, seen)
}

/// The runs of all inputs: for each remainder of the stride ascending.
#[inline]
pub(crate) fn backward(axis: Axis, input: usize, output: usize) -> impl Iterator<Item = Run> {
    let stride = axis.stride.max(1);
    // A tap joins an input with an output if the stride divides their distance: every `tap_step`-th tap does.
    let tap_step = stride / greatest_common_divisor(stride, axis.dilation);
    let outputs_per_tap = tap_step * axis.dilation / stride;
    let seen = move |target: usize| {
        let output_at = |tap: usize| {
            let corner = (target + axis.pad_before).checked_sub(tap * axis.dilation)?;
            let found = corner.checked_div(stride)?;
            (found * stride == corner && found < output).then_some(found)
        };
        let mut joined = (0..axis.kernel).filter_map(|tap| Some((tap, output_at(tap)?)));
        match joined.next() {
            Some((first, source)) => (first, 1 + joined.count(), source),
            None => (0, 0, 0),
        }
    };
    let steps =
        Steps { target: stride, tap: tap_step, source: 1, source_per_tap: -outputs_per_tap.cast_signed() };
    (0..stride.min(input)).flat_map(move |first| runs_from(first, input, steps, seen))
}

#[derive(Clone, Copy)]
struct Steps {
    target: usize,
    tap: usize,
    source: usize,
    source_per_tap: isize,
}

/// The runs of targets `first, first + steps.target, ...` below `end`. `seen` gives a target's first tap, how many taps it sees,
/// and the first tap's source.
#[inline]
fn runs_from(
    first: usize,
    end: usize,
    steps: Steps,
    seen: impl Fn(usize) -> (usize, usize, usize),
) -> impl Iterator<Item = Run> {
    let mut next = first;
    core::iter::from_fn(move || {
        let target = next;
        if target >= end {
            return None;
        }
        let (tap, taps, source) = seen(target);
        let same = |index: usize| {
            let (next_tap, next_taps, _) = seen(target + index * steps.target);
            (next_tap, next_taps) == (tap, taps)
        };
        let left = (end - target).div_ceil(steps.target.max(1));
        // What a target sees moves in one direction: once it has changed it does not come back, except that nothing may be seen time and again.
        let count = match taps {
            0 => (1..left).find(|&index| !same(index)).unwrap_or(left),
            _ => {
                let (mut inside, mut outside) = (0, left);
                while outside - inside > 1 {
                    let middle = usize::midpoint(inside, outside);
                    if same(middle) { inside = middle } else { outside = middle }
                }
                outside
            }
        };
        next = target + count * steps.target;
        Some(Run {
            target,
            target_step: steps.target,
            count,
            tap,
            tap_step: steps.tap,
            taps,
            source,
            source_step: steps.source,
            source_per_tap: steps.source_per_tap,
        })
    })
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// The outputs that tap `tap` joins with an input: always neighbours.
pub(crate) fn outputs_of_tap(axis: Axis, tap: usize, input: usize, output: usize) -> Range<usize> {
    let (stride, position) = (axis.stride.max(1), tap * axis.dilation);
    let start = axis.pad_before.saturating_sub(position).div_ceil(stride);
    let end = (input + axis.pad_before).saturating_sub(position).div_ceil(stride).min(output);
    start..end.max(start)
}

/// A line of targets, in elements of the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// How many targets.
    pub count: usize,
    /// From one target's source to the next's.
    pub source_step: usize,
    /// From one target to the next.
    pub target_step: usize,
}

/// A rectangle of targets that see the same taps, in elements of the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// The longer side.
    pub along: Line,
    /// The shorter side.
    pub across: Line,
    /// What the first target sees at the first tap.
    pub source: usize,
    /// The first target.
    pub target: usize,
    /// Taps over the height.
    pub y: Taps,
    /// Taps over the width; a tap of a window counts its row times the window's width plus its column.
    pub x: Taps,
}

/// The taps of one axis that a region sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    /// How many.
    pub count: usize,
    /// The first one's part of the tap's number.
    pub tap: usize,
    /// From one tap's part to the next's.
    pub tap_step: usize,
    /// From one tap's source to the next's, in elements.
    pub source_step: isize,
}

/// Height, width and channels of sources and targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub source: [usize; 3],
    pub target: [usize; 3],
}

impl Region {
    /// The region of one image where the runs `y` and `x` cross.
    #[inline]
    pub(crate) fn new(y: &Run, x: &Run, window: &Window, extents: Extents) -> Self {
        let Extents { source: [_, source_w, source_c], target: [_, target_w, target_c] } = extents;
        let (source_row, target_row) = (source_w * source_c, target_w * target_c);
        let line = |run: &Run, source: usize, target: usize| Line {
            count: run.count,
            source_step: run.source_step * source,
            target_step: run.target_step * target,
        };
        let taps = |run: &Run, part: usize, source: usize| Taps {
            count: run.taps,
            tap: run.tap * part,
            tap_step: run.tap_step * part,
            source_step: run.source_per_tap * source.cast_signed(),
        };
        let (height, width) = (line(y, source_row, target_row), line(x, source_c, target_c));
        let (along, across) = if width.count >= height.count { (width, height) } else { (height, width) };
        Self {
            along,
            across,
            source: y.source * source_row + x.source * source_c,
            target: y.target * target_row + x.target * target_c,
            y: taps(y, window.x.kernel, source_row),
            x: taps(x, 1, source_c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Every (target, tap, source) of some runs.
    fn joined(runs: impl Iterator<Item = Run>) -> (Vec<usize>, Vec<(usize, usize, usize)>) {
        let (mut targets, mut triples) = (Vec::new(), Vec::new());
        for run in runs {
            for i in 0..run.count {
                let target = run.target + i * run.target_step;
                targets.push(target);
                for t in 0..run.taps {
                    let source = (run.source + i * run.source_step)
                        .checked_add_signed(t.cast_signed() * run.source_per_tap);
                    triples.push((target, run.tap + t * run.tap_step, source.unwrap()));
                }
            }
        }
        targets.sort_unstable();
        (targets, triples)
    }

    #[test]
    fn runs_join_what_the_axis_joins() {
        for code in 0..5 * 4 * 4 * 4 * 4 * 12 {
            let [kernel, stride, dilation, pad_before, pad_after, input] = [
                1 + code % 5,
                1 + code / 5 % 4,
                1 + code / 20 % 4,
                code / 80 % 4,
                code / 320 % 4,
                1 + code / 1280,
            ];
            let axis = Axis { kernel, stride, dilation, pad_before, pad_after };
            let Some(output) = axis.output(input) else { continue };
            let mut expected = Vec::new();
            for out in 0..output {
                for tap in 0..kernel {
                    expected.extend(axis.input(out, tap, input).map(|position| (out, tap, position)));
                }
            }
            let (targets, found) = joined(forward(axis, input, output));
            assert_eq!(targets, (0..output).collect::<Vec<_>>(), "{axis:?} {input}");
            assert_eq!(found, expected, "{axis:?} {input}");
            for tap in 0..kernel {
                let outputs = outputs_of_tap(axis, tap, input, output);
                let expected = expected.iter().filter(|triple| triple.1 == tap).map(|triple| triple.0);
                assert!(expected.eq(outputs), "{axis:?} {input} tap {tap}");
            }
            // Backward, taps ascend for each input.
            expected = expected.into_iter().map(|(out, tap, position)| (position, tap, out)).collect();
            expected.sort_unstable();
            let (targets, mut found) = joined(backward(axis, input, output));
            assert_eq!(targets, (0..input).collect::<Vec<_>>(), "{axis:?} {input}");
            found.sort_by_key(|triple| triple.0);
            assert_eq!(found, expected, "{axis:?} {input}");
        }
    }
}
