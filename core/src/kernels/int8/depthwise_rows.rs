//! Depthwise convolutions row by row, from copies of the rows that a row of outputs reads.
//!
//! As many rows as the window has are kept, with their padding, each as long as a row of outputs needs. For the next row of outputs those that are not needed any more
//! make room for others: which of them is the first goes round. So every pixel is the same work, whether it lies at a border or not, and when a row
//! of outputs is written, all that it or an earlier one reads has been copied: the output may run over the input as far as that allows.

use super::gather::copy_rows;
#[cfg(not(arm_helium))]
use super::vectors::finish;
use super::vectors::{Convolution, LANES};
use crate::geometry::Window;
#[cfg(not(arm_helium))]
use crate::memory::elements_mut;
use crate::memory::{InOut, elements};

/// Lengths of the parts of the scratch of a depthwise convolution, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DepthwiseScratch {
    /// Words for the offsets of the taps, whose first row may be any of those in the scratch.
    pub(super) taps: usize,
    /// Words for the records again and again, if there are fewer channels than in a vector.
    pub(super) records: usize,
    /// Words for the weights of each tap again and again, if there are.
    pub(super) repeated: usize,
    /// Bytes of as many rows as the window has.
    pub(super) rows: usize,
    /// Bytes of a row: all that a row of outputs reads.
    pub(super) row_bytes: usize,
}

impl DepthwiseScratch {
    /// For rows of `out_w` outputs with `in_c` channels; `None` if one of them is 0 or they are too long.
    pub(crate) fn new(window: &Window, out_w: usize, in_c: usize) -> Option<Self> {
        let Window { y, x } = window;
        let taps = y.kernel.checked_mul(2)?.checked_sub(1)?.checked_mul(x.kernel)?;
        let [records, repeated] = if in_c < LANES {
            [3 * LANES, y.kernel.checked_mul(x.kernel)?.checked_mul(LANES / 4)?]
        } else {
            [0; 2]
        };
        let columns = out_w.checked_sub(1)?.checked_mul(x.stride)?.checked_add(x.extent()?)?;
        let row_bytes = columns.checked_mul(in_c)?;
        let rows = row_bytes.checked_mul(y.kernel)?;
        let parts = Self { taps, records, repeated, rows, row_bytes };
        (in_c > 0 && parts.words()? <= 1 << 24).then_some(parts)
    }

    /// All of them.
    pub(crate) fn words(&self) -> Option<usize> {
        self.taps.checked_add(self.records)?.checked_add(self.repeated)?.checked_add(self.rows.div_ceil(4))
    }
}

/// Rows of the input in memory that has room for as many as the window has.
pub(super) struct Rows<'a, 's> {
    of: &'a Convolution<'a>,
    pub(super) rows: &'s mut [i8],
    pub(super) row_bytes: usize,
    /// Which of them is the first row of the window.
    pub(super) first: usize,
}

impl<'a, 's> Rows<'a, 's> {
    /// In `rows`, which are padding all over. `None` if they are too short.
    pub(super) fn new(of: &'a Convolution<'a>, rows: &'s mut [i8], row_bytes: usize) -> Option<Self> {
        let room = row_bytes.checked_mul(of.window.y.kernel)?;
        (row_bytes > 0 && room <= rows.len()).then_some(Self { of, rows, row_bytes, first: 0 })
    }

    /// Copies what row `out_y` of the outputs reads and is not there yet; it is the row after that of the last call, or the first.
    pub(super) fn load(&mut self, out_y: usize, both: &InOut<'_>) {
        let Window { y, .. } = self.of.window;
        let mut kept = 0;
        if out_y > 0 && y.dilation == 1 && y.stride < y.kernel {
            kept = y.kernel - y.stride;
            self.first += y.stride;
            self.first -= if self.first >= y.kernel { y.kernel } else { 0 };
        }
        for k_y in kept..y.kernel {
            self.load_row(out_y, k_y, both);
        }
    }

    /// Copies row `k_y` of the window, or fills it with padding.
    fn load_row(&mut self, out_y: usize, k_y: usize, both: &InOut<'_>) {
        let Convolution { window: Window { y, x }, size: [in_h, in_w, in_c], padding, .. } = *self.of;
        let first = self.place(k_y) * self.row_bytes;
        let Some(row) = self.rows.get_mut(first..first + self.row_bytes) else { return };
        match y.input(out_y, k_y, in_h) {
            Some(at) => {
                let length = in_w * in_c;
                let Some(to) = row.get_mut(x.pad_before * in_c..) else { return };
                let input: &[i8] = elements(both.input()).unwrap_or_default();
                let from = input.get(at * length..).unwrap_or_default();
                let length = length.min(to.len());
                copy_rows(from, to, [0, 0], [1, length]);
            }
            None => fill(row, padding),
        }
    }

    /// Which of the rows is row `k_y` of the window.
    fn place(&self, k_y: usize) -> usize {
        let (place, count) = (self.first + k_y, self.of.window.y.kernel);
        if place < count { place } else { place - count }
    }
}

#[cfg(arm_helium)]
use super::helium::fill;

/// Makes all values the same.
#[cfg(not(arm_helium))]
fn fill(values: &mut [i8], value: i8) {
    values.fill(value);
}

/// A depthwise convolution of one sample.
///
/// Does nothing if the lengths do not fit each other.
#[cfg(not(arm_helium))]
#[inline(never)]
pub(crate) fn depthwise(of: &Convolution<'_>, both: &mut InOut<'_>, scratch: &mut [i32]) {
    let Convolution { layer, window, size: [.., in_c], out_size: [out_h, out_w], padding } = *of;
    let Some(parts) = DepthwiseScratch::new(window, out_w, in_c) else { return };
    let rows = scratch.get_mut(parts.taps + parts.records + parts.repeated..).unwrap_or_default();
    let rows: &mut [i8] = bytemuck::try_cast_slice_mut(rows).unwrap_or_default();
    fill(rows, padding);
    let Some(mut rows) = Rows::new(of, rows, parts.row_bytes) else { return };
    for out_y in 0..out_h {
        rows.load(out_y, both);
        let output: &mut [i8] = elements_mut(both.output()).unwrap_or_default();
        let output = output.get_mut(out_y * out_w * in_c..).unwrap_or_default();
        for (out_x, output) in output.chunks_exact_mut(in_c.max(1)).take(out_w).enumerate() {
            for (c, (output, channel)) in output.iter_mut().zip(layer.channels).enumerate() {
                let sum = rows.sum(out_x, c);
                let (sum, channel) = (core::slice::from_ref(&sum), core::slice::from_ref(channel));
                finish(sum, channel, &layer.finish, core::slice::from_mut(output));
            }
        }
    }
}

#[cfg(not(arm_helium))]
impl Rows<'_, '_> {
    /// The sum of the products of a channel of a pixel.
    fn sum(&self, out_x: usize, c: usize) -> i32 {
        let Convolution { layer, window: Window { y, x }, size: [.., in_c], .. } = *self.of;
        let mut weights = layer.weights.iter().skip(c).step_by(in_c.max(1));
        let mut sum = 0i32;
        for k_y in 0..y.kernel {
            let row = self.rows.get(self.place(k_y) * self.row_bytes..).unwrap_or_default();
            let row = row.get(out_x * x.stride * in_c + c..).unwrap_or_default();
            let taps = row.iter().step_by((x.dilation * in_c).max(1)).take(x.kernel);
            for (&tap, &weight) in taps.zip(&mut weights) {
                sum = sum.wrapping_add(i32::from(tap) * i32::from(weight));
            }
        }
        sum
    }
}
