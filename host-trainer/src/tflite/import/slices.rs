//! What `STRIDED_SLICE` takes of each dimension.

use super::view::{View, options};
use super::{Refusal, constant, unsupported};

/// The ranges of a strided slice.
pub(super) struct Slices {
    /// Of each dimension of the input: first index, step, and how many.
    pub(super) ranges: Vec<(i64, i64, usize)>,
    /// The dimensions of the output: without those that shrink, with those that are new.
    pub(super) output: Vec<usize>,
}

impl Slices {
    /// Reads begin, end, strides and the masks, of which bit `i` says of entry `i`: `begin` and `end` leave a side open, `ellipsis` stands for all dimensions
    /// that no entry names, `new_axis` adds a dimension of 1 and `shrink_axis` takes one index and drops the dimension.
    pub(super) fn of(view: &View<'_, '_>, dims: &[usize]) -> Result<Self, Refusal> {
        let options = options!(view, StridedSliceOptions)?;
        let [begin, end, strides] = [
            constant::i32s(view.input(1)?)?,
            constant::i32s(view.input(2)?)?,
            constant::i32s(view.input(3)?)?,
        ];
        if begin.len() != end.len() || begin.len() != strides.len() || begin.len() > 32 {
            return Err(unsupported("begin, end and strides are of different lengths"));
        }
        let entries: Vec<[i64; 3]> = begin
            .iter()
            .zip(end.iter().zip(&strides))
            .map(|(&begin, (&end, &stride))| [begin, end, stride].map(i64::from))
            .collect();
        let (ellipsis, new_axis) = (options.ellipsis_mask()?, options.new_axis_mask()?);
        let (open_begin, open_end) = (options.begin_mask()?, options.end_mask()?);
        let (shrink, offset) = (options.shrink_axis_mask()?, options.offset()?);
        let has = |mask: i32, entry: usize| mask >> entry & 1 == 1;
        let named =
            (0..entries.len()).filter(|&entry| !has(ellipsis, entry) && !has(new_axis, entry)).count();
        let mut unnamed = dims
            .len()
            .checked_sub(named)
            .ok_or_else(|| unsupported("it slices more dimensions than there are"))?;
        let (mut slices, mut rest) = (Self { ranges: vec![], output: vec![] }, dims.iter());
        for (entry, &[begin, end, stride]) in entries.iter().enumerate() {
            if has(ellipsis, entry) {
                for &dim in rest.by_ref().take(std::mem::take(&mut unnamed)) {
                    slices.push((0, 1, dim), false);
                }
                continue;
            }
            if has(new_axis, entry) {
                slices.output.push(1);
                continue;
            }
            let Some(&dim) = rest.next() else { break };
            let size = dim as i64;
            // Where a side is when it is clamped: what a step to the right or to the left can reach.
            let reach = if stride > 0 { (0, size) } else { (-1, size - 1) };
            let clamped = |index: i64| (if index < 0 { index + size } else { index }).clamp(reach.0, reach.1);
            let first = match (has(open_begin, entry), stride > 0) {
                (true, true) => 0,
                (true, false) => size - 1,
                (false, _) => clamped(begin),
            };
            let end = if offset { end + first } else { end };
            let past = match (has(open_end, entry), stride > 0) {
                (true, true) => size,
                (true, false) => -1,
                (false, _) => clamped(end),
            };
            let shrinks = has(shrink, entry);
            let past = if shrinks { first + 1 } else { past };
            let step = if shrinks { 1 } else { stride };
            if step == 0 {
                return Err(unsupported("it has a stride of 0"));
            }
            let count = ((past - first) as f64 / step as f64).ceil().max(0.0) as usize;
            slices.push((first, step, count), shrinks);
        }
        for &dim in rest {
            slices.push((0, 1, dim), false);
        }
        Ok(slices)
    }

    fn push(&mut self, range: (i64, i64, usize), shrinks: bool) {
        self.ranges.push(range);
        if !shrinks {
            self.output.push(range.2);
        }
    }
}
