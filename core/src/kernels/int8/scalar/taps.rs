//! Depthwise: four pixels of one channel at a time.

#[cfg(arm_v6m)]
use crate::kernels::int8::armv6m::taps::taps_4x1;
#[cfg(any(arm_v7m, arm_dsp))]
use crate::kernels::int8::armv7m::taps::taps_4x1;
use crate::kernels::int8::taps::{self, MAX_HEIGHT, MAX_WIDTH};

/// All channels of `count` pixels, at most four, from pixel `out_x` on, which is at the beginning of `output`.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn block(row: &taps::Row<'_>, pixels: [usize; 2], output: &mut [i8]) {
    let Some(block) = row.block(pixels, output) else { return };
    let mut rows = [core::ptr::null(); MAX_HEIGHT];
    for (pointer, start) in rows.iter_mut().zip(row.starts()) {
        *pointer = row.ring.elements.as_ptr().wrapping_add(start);
    }
    let Some(rows) = rows.get(..row.window.y.kernel) else { return };
    let ([one, two, three], [out_one, out_two, out_three]) = (block.steps, block.out_steps);
    let (rows, stream) = (rows.as_ptr_range(), row.stream.as_ptr_range());
    let call = Block {
        rows: rows.start,
        rows_end: rows.end,
        offset: block.offset,
        one,
        two,
        three,
        output: output.as_mut_ptr(),
        out_one,
        out_two,
        out_three,
        stream_end: stream.end,
        channel_step: block.channel_step,
        entry: 0,
        step: block.step,
        unused: MAX_WIDTH - row.window.x.kernel,
        stream: stream.start,
    };
    // SAFETY: for each channel, which is as many words of the stream as its bias, its weights and its numbers take, the kernel reads all taps of four pixels from each row
    // of the window, and writes a byte at the beginning of `output` and at three places `out_steps` further. That all of it lies in the ring, the stream and the output is what
    // `Row::block` has checked; missing pixels are the last one. `unused` is less than the width of the window that the code has.
    unsafe { taps_4x1(&raw const call) }
}

/// What the kernel is told.
#[repr(C)]
pub(in crate::kernels::int8) struct Block {
    /// The first row of the window, in the ring, and the others.
    rows: *const *const i8,
    rows_end: *const *const i8,
    offset: usize,
    one: usize,
    two: usize,
    three: usize,
    output: *mut i8,
    out_one: usize,
    out_two: usize,
    out_three: usize,
    stream_end: *const i32,
    channel_step: usize,
    /// Room for an address of code.
    entry: usize,
    step: usize,
    /// Taps of a row that the window does not have, of those that there is code for.
    unused: usize,
    stream: *const i32,
}
