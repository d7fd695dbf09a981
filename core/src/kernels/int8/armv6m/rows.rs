//! Four pixels of one channel at a time.

use core::arch::naked_asm;

use crate::kernels::int8::gather::fits_steps;
use crate::kernels::int8::rows::{FIXED_WORDS, HEADER, PIXELS, ROUND, TAP_WORDS};

/// Makes the taps' part of all sums nothing.
///
/// The part is a word for each pixel, and is taken off.
pub(in crate::kernels::int8) fn clear(taps: &mut [i32]) {
    if let Some(header) = taps.first_chunk_mut::<HEADER>() {
        *header = [0; HEADER];
    }
}

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
        sum: 128 * length,
        header: header.as_mut_ptr(),
    };
    // SAFETY: `length` bytes, at least one, are read of each of four rows, which `rows` has; two words are written for each of them, from the beginning
    // to the end of `taps`, and four words of the header are read and written.
    unsafe { expand_4(&raw const call) }
}

/// What [`expand_4`] is told.
#[repr(C)]
struct Expansion {
    rows: *const i8,
    one: usize,
    two: usize,
    three: usize,
    taps: *mut i32,
    taps_end: *mut i32,
    /// What a sum of taps is more than one of signed numbers.
    sum: usize,
    header: *mut i32,
}

/// Adds 128 times a sum of taps to the next word of the header.
macro_rules! add_part {
    ($sum:literal) => {
        concat!(
            concat!("mov r5, ", $sum, "\n"),
            "lsls r5, r5, #7\n",
            "ldr r6, [r4]\n",
            "adds r6, r6, r5\n",
            "stm r4!, {{r6}}",
        )
    };
}

/// [`expand`].
///
/// Taps are loaded as signed numbers, because loads with an offset in a register can be, and become unsigned where two of them become a word: there, one addition
/// adds 128 to both.
///
/// | register | holds |
/// |---|---|
/// | r0 | next tap of the first pixel |
/// | r1, r2, r3 | from it to those of the other pixels |
/// | r4 | where the next words go |
/// | r5, r6 | taps of two pixels, and their word |
/// | r7 | 0x00800080 |
/// | r8 to r11 | sums of taps |
/// | r12 | end of the words |
#[unsafe(naked)]
unsafe extern "C" fn expand_4(call: *const Expansion) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldr r4, [r0, #28]",
        "push {{r4}}",
        "ldr r5, [r0, #24]",
        "mov r8, r5",
        "mov r9, r5",
        "mov r10, r5",
        "mov r11, r5",
        "ldr r5, [r0, #20]",
        "mov r12, r5",
        "ldr r4, [r0, #16]",
        "ldm r0, {{r0-r3}}",
        "movs r7, #128",
        "lsls r5, r7, #16",
        "orrs r7, r5",
        "1:",
        "ldrb r5, [r0]",
        "sxtb r5, r5",
        "add r8, r5",
        "ldrsb r6, [r0, r1]",
        "add r9, r6",
        "lsls r6, r6, #16",
        "adds r5, r5, r6",
        "adds r5, r5, r7",
        "stm r4!, {{r5}}",
        "ldrsb r5, [r0, r2]",
        "add r10, r5",
        "ldrsb r6, [r0, r3]",
        "add r11, r6",
        "lsls r6, r6, #16",
        "adds r5, r5, r6",
        "adds r5, r5, r7",
        "stm r4!, {{r5}}",
        "adds r0, #1",
        "cmp r4, r12",
        "bne 1b",
        "pop {{r4}}",
        add_part!("r8"),
        add_part!("r9"),
        add_part!("r10"),
        add_part!("r11"),
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
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
    let whole = weights > 0 && weights.is_multiple_of(ROUND) && taps.len() == HEADER + TAP_WORDS * weights;
    // By subtraction: a division takes more than a hundred instructions.
    let words = weights / 4 + FIXED_WORDS;
    let (mut channels, mut left) = (0, stream.len());
    while left >= words {
        (channels, left) = (channels + 1, left - words);
    }
    if !whole || channels == 0 || left != 0 || !fits_steps(output.len(), steps, channels) {
        return;
    }
    let [one, two, three] = steps;
    let (taps, stream) = (taps.as_ptr_range(), stream.as_ptr_range());
    let call = Tile {
        taps: taps.start,
        taps_end: taps.end,
        output: output.as_mut_ptr(),
        stream_end: stream.end,
        one,
        two,
        three,
        stream: stream.start,
    };
    // SAFETY: for each channel, the kernel reads `words` words of the stream and all of the taps, which it reaches after whole rounds of weights and
    // exactly `weights / 4` words of them, and it writes a byte at the beginning of `output` and at three places `steps` further; `channels` times that is
    // what the slices have.
    unsafe { tile_4x1(&raw const call) }
}

/// What [`tile_4x1`] is told.
#[repr(C)]
struct Tile {
    taps: *const i32,
    taps_end: *const i32,
    output: *mut i8,
    stream_end: *const i32,
    one: usize,
    two: usize,
    three: usize,
    stream: *const i32,
}

/// Two taps of four pixels times two weights: eight multiplications in nineteen instructions.
macro_rules! two_taps {
    ($first:literal, $second:literal) => {
        concat!(
            "ldm r0!, {{r3-r6}}\n",
            concat!("ldrb r2, [r1, #", $first, "]\n"),
            "muls r3, r2, r3
             add r8, r3
             lsrs r3, r3, #16
             add r9, r3
             muls r4, r2, r4
             add r10, r4
             lsrs r4, r4, #16
             add r11, r4\n",
            concat!("ldrb r2, [r1, #", $second, "]\n"),
            "muls r5, r2, r5
             add r8, r5
             lsrs r5, r5, #16
             add r9, r5
             muls r6, r2, r6
             add r10, r6
             lsrs r6, r6, #16
             add r11, r6",
        )
    };
}

/// Four pixels times one channel, for one channel after another.
///
/// Why four by one: a word of taps is two pixels, so that one `LDM` of four words, as many as there are registers for, brings two taps of four pixels. Two channels at once
/// would have to keep the taps, and copy what a multiplication overwrites.
///
/// | register | holds |
/// |---|---|
/// | r8, r9 | sum of all products of the pixels 0 and 1, sum of their upper halves |
/// | r10, r11 | the same of the pixels 2 and 3 |
/// | r0, r1 | next word of taps, next byte of the stream |
/// | r2 | a weight |
/// | r3 to r6 | taps, and products |
/// | r12 | end of the taps; later, a number of the requantization |
/// | stack | the fields of [`Tile`] up to `three` |
#[unsafe(naked)]
unsafe extern "C" fn tile_4x1(call: *const Tile) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldm r0!, {{r1-r7}}",
        "push {{r1-r7}}",
        "ldr r1, [r0]",
        "1:",
        "ldr r2, [sp, #4]",
        "mov r12, r2",
        "ldr r0, [sp, #0]",
        "ldm r1!, {{r2}}",
        "ldm r0!, {{r3-r6}}",
        // The bias less the taps' parts, to the sum of the upper halves; and that again as upper halves, with the other pixel's, to the sum of all.
        "subs r3, r2, r3",
        "subs r4, r2, r4",
        "subs r5, r2, r5",
        "subs r6, r2, r6",
        "mov r9, r4",
        "lsls r4, r4, #16",
        "adds r3, r3, r4",
        "mov r8, r3",
        "mov r11, r6",
        "lsls r6, r6, #16",
        "adds r5, r5, r6",
        "mov r10, r5",
        "2:",
        two_taps!("0", "1"),
        two_taps!("2", "3"),
        two_taps!("4", "5"),
        two_taps!("6", "7"),
        "adds r1, #{round}",
        "cmp r0, r12",
        "bne 2b",
        "ldm r1!, {{r4, r6, r7}}",
        "mov r12, r6",
        "uxth r5, r4",
        "lsrs r4, r4, #16",
        "mov r3, r8",
        "mov r2, r9",
        "lsls r2, r2, #16",
        "subs r3, r3, r2",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "strb r3, [r2]",
        "mov r3, r9",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "ldr r0, [sp, #16]",
        "strb r3, [r2, r0]",
        "mov r3, r10",
        "mov r2, r11",
        "lsls r2, r2, #16",
        "subs r3, r3, r2",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "ldr r0, [sp, #20]",
        "strb r3, [r2, r0]",
        "mov r3, r11",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "ldr r0, [sp, #24]",
        "strb r3, [r2, r0]",
        "adds r2, #1",
        "str r2, [sp, #8]",
        "ldr r0, [sp, #12]",
        "cmp r1, r0",
        "beq 3f",
        "b 1b",
        "3:",
        "add sp, #28",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        "5:",
        requantize_function!(),
        round = const ROUND,
    )
}
