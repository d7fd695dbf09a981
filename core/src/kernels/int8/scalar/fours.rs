//! One pixel of four channels at a time.

#[cfg(arm_v6m)]
use crate::kernels::int8::armv6m::fours::fours_1x4;
#[cfg(arm_v7m)]
use crate::kernels::int8::armv7m::fours::fours_1x4;
use crate::kernels::int8::fours::{CHANNELS, FIXED_WORDS};

/// Inputs that are multiplied in a round of the kernel's loop.
pub(in crate::kernels::int8) const ROUND: usize = 8;

/// The fours of channels of `stream` for a row of inputs, whose part of all sums is `part`.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn fours(stream: &[i32], row: &[i8], part: i32, outputs: &mut [[i8; CHANNELS]]) {
    let words = row.len() + FIXED_WORDS;
    if row.is_empty() || outputs.is_empty() || outputs.len().checked_mul(words) != Some(stream.len()) {
        return;
    }
    let (rounds, row, stream) = (row.len() / ROUND * ROUND, row.as_ptr_range(), stream.as_ptr_range());
    let call = Fours {
        row: row.start,
        rounds_end: row.start.wrapping_add(rounds),
        row_end: row.end,
        output: outputs.as_mut_ptr(),
        stream_end: stream.end,
        part,
        stream: stream.start,
    };
    // SAFETY: for each four, the kernel reads `words` words of the stream and all of the row, first in whole rounds and then one by one, and it writes four bytes;
    // `outputs.len()` times that is what the slices have.
    unsafe { fours_1x4(&raw const call) }
}

/// What the kernel is told.
#[repr(C)]
pub(in crate::kernels::int8) struct Fours {
    row: *const i8,
    /// End of the whole rounds.
    rounds_end: *const i8,
    row_end: *const i8,
    output: *mut [i8; CHANNELS],
    stream_end: *const i32,
    part: i32,
    stream: *const i32,
}
