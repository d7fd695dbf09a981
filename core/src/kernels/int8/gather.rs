//! What a window reads, one output pixel after another.

#[cfg(all(arm_dsp, not(arm_helium)))]
pub(super) use super::dsp::copy_rows;
#[cfg(arm_helium)]
pub(super) use super::helium::copy_rows;
use crate::geometry::Window;

/// An input with a window that slides over it, for one sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    /// `[H, W, C]`, row by row.
    pub(super) input: &'a [i8],
    /// Height, width and channels of the input.
    pub(super) size: [usize; 3],
    /// The window.
    pub(super) window: &'a Window,
    /// What a tap in the padding reads: the input's zero point.
    pub(super) padding: i8,
}

impl Image<'_> {
    /// Elements of one row of the window.
    #[inline(always)]
    pub(super) fn row(&self) -> usize {
        let [.., in_c] = self.size;
        self.window.x.kernel * in_c
    }

    /// Copies what the window of the output pixel `(out_y, out_x)` reads to `patch`, in the order `[K_h, K_w, C]`.
    #[inline(never)]
    pub(super) fn patch(&self, [out_y, out_x]: [usize; 2], patch: &mut [i8]) {
        let ([in_h, in_w, in_c], Window { y, x }) = (self.size, self.window);
        let strides = [y.dilation * in_w * in_c, self.row()];
        let top = (out_y * y.stride).checked_sub(y.pad_before);
        let left = (out_x * x.stride).checked_sub(x.pad_before);
        if let (Some(top), Some(left), 1) = (top, left, x.dilation) {
            // The common case: nothing lies in the padding.
            if top + (y.kernel - 1) * y.dilation < in_h && left + x.kernel <= in_w {
                let input = self.input.get((top * in_w + left) * in_c..).unwrap_or_default();
                return copy_rows(input, patch, strides, [y.kernel, self.row()]);
            }
        }
        let (rows, columns) = (y.taps(out_y, in_h), x.taps(out_x, in_w));
        if rows.count() != y.kernel || columns.count() != x.kernel {
            patch.fill(self.padding);
        }
        let input = self.input.get((rows.position * in_w + columns.position) * in_c..).unwrap_or_default();
        let patch = patch.get_mut(rows.start * self.row() + columns.start * in_c..).unwrap_or_default();
        if x.dilation == 1 {
            copy_rows(input, patch, strides, [rows.count(), columns.count() * in_c]);
            return;
        }
        for column in 0..columns.count() {
            let input = input.get(column * x.dilation * in_c..).unwrap_or_default();
            let patch = patch.get_mut(column * in_c..).unwrap_or_default();
            copy_rows(input, patch, strides, [rows.count(), in_c]);
        }
    }

    /// The input under the first tap of the output pixel `(out_y, out_x)` and its neighbours to the right, `count` in all, if in this row of the
    /// window none of their taps lies in the padding; `None` if one does. `Some` and nothing if all do, because the row lies above or below the input.
    #[inline(always)]
    pub(super) fn row_of_taps(&self, [out_y, out_x]: [usize; 2], count: usize, k_y: usize) -> Option<&[i8]> {
        let ([in_h, in_w, in_c], Window { y, x }) = (self.size, self.window);
        let first = (out_x * x.stride).checked_sub(x.pad_before)?;
        if first + (count - 1) * x.stride + (x.kernel - 1) * x.dilation >= in_w {
            return None;
        }
        match y.input(out_y, k_y, in_h) {
            Some(at_y) => self.input.get((at_y * in_w + first) * in_c..),
            None => Some(&[]),
        }
    }
}

/// Whether a run of `length` elements that begins `rows - 1` strides after the first one ends within `available`.
#[inline(always)]
pub(super) fn runs_fit(available: usize, stride: usize, [rows, length]: [usize; 2]) -> bool {
    let last = rows.checked_sub(1).and_then(|last| last.checked_mul(stride));
    last.and_then(|last| last.checked_add(length)).is_some_and(|end| end <= available)
}

/// Whether runs of `length` elements that begin at the beginning and `steps` after it end within `available`.
#[inline(always)]
pub(super) fn fits_steps(available: usize, steps: [usize; 3], length: usize) -> bool {
    available.checked_sub(length).is_some_and(|last| steps.iter().all(|&step| step <= last))
}

/// Copies `rows` runs of `length` elements: `from` one of its strides after another, `to` one of its own.
///
/// Does nothing if a run would not fit.
#[cfg(not(any(arm_dsp, arm_helium)))]
#[inline(never)]
pub(super) fn copy_rows(from: &[i8], to: &mut [i8], strides: [usize; 2], [rows, length]: [usize; 2]) {
    let [from_stride, to_stride] = strides;
    if !runs_fit(from.len(), from_stride, [rows, length]) || !runs_fit(to.len(), to_stride, [rows, length]) {
        return;
    }
    for row in 0..rows {
        let from = from.get(row * from_stride..).and_then(|from| from.get(..length));
        let to = to.get_mut(row * to_stride..).and_then(|to| to.get_mut(..length));
        if let (Some(from), Some(to)) = (from, to) {
            to.copy_from_slice(from);
        }
    }
}
