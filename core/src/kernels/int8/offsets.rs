//! Where the taps of a pixel lie in the input.

use super::vectors::MOST_TAPS;
use crate::geometry::{Taps, Window};

/// Offsets of the taps of one output pixel, of a window with at most [`MOST_TAPS`].
///
/// Each of them is at most [`reach`](Self::reach), or the number that stands for a tap in the padding: nothing outside of this module can make it otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    places: [i32; MOST_TAPS],
    count: usize,
    reach: usize,
    padded: bool,
}

impl Offsets {
    /// Of no tap.
    pub(super) const NONE: Self = Self { places: [0; MOST_TAPS], count: 0, reach: 0, padded: false };

    /// Those of a pixel whose window has these `[rows, columns]` of taps in an input of `in_w` pixels with `channels` each in a row. `outside` stands for
    /// taps in the padding.
    ///
    /// No offsets, if there are too many taps.
    pub(super) fn set(
        &mut self,
        window: &Window,
        [rows, columns]: [Taps; 2],
        [in_w, channels]: [usize; 2],
        outside: i32,
    ) {
        let Window { y, x } = window;
        (self.count, self.reach, self.padded) = (0, 0, false);
        let count = y.kernel * x.kernel;
        let Some(places) = self.places.get_mut(..count) else { return };
        let mut row = (rows.position * in_w + columns.position) * channels;
        for (k_y, places) in places.chunks_exact_mut(x.kernel.max(1)).enumerate() {
            let inside = rows.contains(k_y);
            let mut place = row;
            for (k_x, offset) in places.iter_mut().enumerate() {
                if inside && columns.contains(k_x) {
                    *offset = place as i32;
                    self.reach = self.reach.max(place);
                    place += x.dilation * channels;
                } else {
                    *offset = outside;
                    self.padded = true;
                }
            }
            row += if inside { y.dilation * in_w * channels } else { 0 };
        }
        self.count = count;
    }

    /// The offsets, in the order of the taps.
    pub(super) fn places(&self) -> &[i32] {
        self.places.get(..self.count).unwrap_or_default()
    }

    /// Whether any tap lies in the padding.
    #[cfg_attr(not(arm_helium), expect(dead_code, reason = "the kernel in safe Rust asks of each tap"))]
    pub(super) const fn padded(&self) -> bool {
        self.padded
    }

    /// No offset of a tap in the input is greater.
    #[cfg_attr(not(arm_helium), expect(dead_code, reason = "the kernel in safe Rust asks of each tap"))]
    pub(super) const fn reach(&self) -> usize {
        self.reach
    }
}
