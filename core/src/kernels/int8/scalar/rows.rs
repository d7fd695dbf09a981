//! Four pixels of one channel at a time.

#[cfg(arm_v6m)]
use crate::kernels::int8::armv6m::rows::{Expansion, Tile, expand_4, tile_4x1};
#[cfg(arm_v7m)]
use crate::kernels::int8::armv7m::rows::{Expansion, Tile, expand_4, tile_4x1};
use crate::kernels::int8::gather::fits_steps;
use crate::kernels::int8::rows::{FIXED_WORDS, HEADER, PIXELS, ROUND, TAP_WORDS};

/// Expands `length` taps of four pixels, the first of which is at the beginning of `rows` and the others `steps` elements further, to `taps` from number
/// `at` on, and adds 128 times each pixel's sum of them to the taps' part.
///
/// Does nothing if `rows` or `taps` is too short.
#[inline(never)]
pub(in crate::kernels::int8) fn expand(
    rows: &[i8],
    steps: [usize; PIXELS - 1],
    length: usize,
    taps: &mut [i32],
    at: usize,
) {
    let Some((header, taps)) = taps.split_first_chunk_mut::<HEADER>() else { return };
    let Some(taps) = taps.get_mut(TAP_WORDS * at..TAP_WORDS * (at + length)) else { return };
    if length == 0 || !fits_steps(rows.len(), steps, length) {
        return;
    }
    let [one, two, three] = steps;
    let taps = taps.as_mut_ptr_range();
    let call = Expansion {
        rows: rows.as_ptr(),
        one,
        two,
        three,
        taps: taps.start,
        taps_end: taps.end,
        #[cfg(arm_v6m)]
        sum: 128 * length,
        header: header.as_mut_ptr(),
    };
    // SAFETY: `length` bytes, at least one, are read of each of four rows, which `rows` has; two words are written for each of them, from the beginning
    // to the end of `taps`, and four words of the header are read and written.
    unsafe { expand_4(&raw const call) }
}

/// The channels of `stream` for the four pixels of `taps`: the first pixel's are at the beginning of `output`, the others' `steps` further.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn tile(
    stream: &[i32],
    taps: &[i32],
    steps: [usize; PIXELS - 1],
    output: &mut [i8],
) {
    let weights = taps.len().saturating_sub(HEADER) / TAP_WORDS;
    let words = weights / 4 + FIXED_WORDS;
    let channels = records(stream.len(), words);
    let whole = weights > 0 && weights.is_multiple_of(ROUND) && taps.len() == HEADER + TAP_WORDS * weights;
    if !whole || channels == 0 || !fits_steps(output.len(), steps, channels) {
        return;
    }
    let [one, two, three] = steps;
    let (taps, stream) = (taps.as_ptr_range(), stream.as_ptr_range());
    let call = Tile {
        taps: taps.start,
        stream_end: stream.end,
        output: output.as_mut_ptr(),
        one,
        two,
        three,
        taps_end: taps.end,
        stream: stream.start,
    };
    // SAFETY: for each channel, the kernel reads `words` words of the stream and all of the taps, which it reaches after whole rounds of weights and
    // exactly `weights / 4` words of them, and it writes a byte at the beginning of `output` and at three places `steps` further; `channels` times that is
    // what the slices have.
    unsafe { tile_4x1(&raw const call) }
}

/// How many records of `words` words, a positive number, `length` words are; 0 if they are not whole ones.
fn records(length: usize, words: usize) -> usize {
    if cfg!(arm_v6m) {
        // A division takes more than a hundred instructions there.
        let (mut records, mut left) = (0, length);
        while left >= words {
            (records, left) = (records + 1, left - words);
        }
        if left == 0 { records } else { 0 }
    } else {
        let records = length.checked_div(words).unwrap_or(0);
        if records * words == length { records } else { 0 }
    }
}
