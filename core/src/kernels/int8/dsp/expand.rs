//! Taps as the other kernels take them: int8 extended to halves of words, and copies of rows.

use core::arch::naked_asm;

use crate::kernels::int8::gather::runs_fit;
use crate::kernels::int8::pairs::{COLOUR_ROW, COLOUR_ROWS, COLOUR_WORDS, PIXELS};

/// Expands the taps of four pixels: `taps.len() / 2` elements each, a multiple of four, `stride` elements apart.
///
/// Does nothing if `rows` is too short.
pub(in crate::kernels::int8) fn expand(rows: &[i8], stride: usize, taps: &mut [i32]) {
    let length = taps.len() / 2;
    if length == 0 || !length.is_multiple_of(4) || !runs_fit(rows.len(), stride, [PIXELS, length]) {
        return;
    }
    // SAFETY: the four rows of `length` bytes, a positive multiple of four, lie in `rows`; `taps` has the 2 * `length` words that are written.
    unsafe { expand4(rows.as_ptr(), length, taps.as_mut_ptr(), stride) }
}

/// Four taps of each pixel: the even ones, then the odd ones, as halves of words.
macro_rules! expand_four {
    () => {
        "ldr r4, [r0], #4
         ldr r5, [r1], #4
         ldr r6, [r2], #4
         ldr r7, [r3], #4
         sxtb16 r8, r4
         sxtb16 r9, r5
         sxtb16 r10, r6
         sxtb16 r11, r7
         stm r12!, {{r8-r11}}
         sxtb16 r4, r4, ror #8
         sxtb16 r5, r5, ror #8
         sxtb16 r6, r6, ror #8
         sxtb16 r7, r7, ror #8
         stm r12!, {{r4-r7}}"
    };
}

/// [`expand`] of four rows of `length` bytes.
///
/// r0 to r3: the rows. r12: where the words go. lr: the end of the first row. r4 to r11: four bytes of each row, and their halves. A round is eight
/// taps; a number of taps that is no multiple of eight begins in the middle of one.
#[unsafe(naked)]
unsafe extern "C" fn expand4(rows: *const i8, length: usize, taps: *mut i32, stride: usize) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r11, lr}}",
        "mov r12, r2",
        "add lr, r0, r1",
        "tst r1, #4",
        "add r1, r0, r3",
        "add r2, r1, r3",
        "add r3, r2, r3",
        "bne 2f",
        "1:",
        expand_four!(),
        "2:",
        expand_four!(),
        "cmp r0, lr",
        "bne 1b",
        "pop {{r4-r11, pc}}",
    )
}

/// Expands the taps of four pixels of a window of three by three taps of three channels, none of which lies in the padding: rows of nine elements,
/// `row` elements apart, of pixels `stride` elements apart. The 27 taps are filled up with a zero.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn expand_colour(input: &[i8], [row, stride]: [usize; 2], taps: &mut [i32]) {
    let fits = row >= COLOUR_ROW && runs_fit(input.len(), stride, [PIXELS, 0]);
    let last = if fits { input.get(stride * (PIXELS - 1)..).unwrap_or_default() } else { &[] };
    if !runs_fit(last.len(), row, [COLOUR_ROWS, COLOUR_ROW]) || taps.len() != COLOUR_WORDS {
        return;
    }
    // SAFETY: of each pixel, three rows of nine bytes are read, and one or two bytes before the second and the third, which lie after the beginning
    // of the first, since `row` is at least nine; the last pixel's end in `input`. 56 words are written, which `taps` has.
    unsafe { expand_3x3x3(input.as_ptr(), row, taps.as_mut_ptr(), stride) }
}

/// Writes both halves of four taps in r5 to the words `$place` and `$place + 4` of the pixel.
macro_rules! put_four {
    ($place:literal) => {
        concat!(
            "sxtb16 r6, r5\n sxtb16 r7, r5, ror #8\n",
            concat!("str r6, [r2, #", $place, "]\n"),
            concat!("str r7, [r2, #", $place, " + 16]"),
        )
    };
}

/// [`expand_colour`].
///
/// The 27 taps of a pixel are seven words, the first two rows of nine bytes not filling theirs: where a word goes on in the next row, the word
/// before that row's beginning is loaded and its first one or two bytes are replaced.
///
/// r0: first row of a pixel. r1: from row to row. r2: the pixel's first word. r3: from pixel to pixel. r4, r12: the second and third row. r5: four
/// taps. r6, r7: their halves, or what the last row's end leaves over. lr: the end of the first row of words.
#[unsafe(naked)]
unsafe extern "C" fn expand_3x3x3(input: *const i8, row: usize, taps: *mut i32, stride: usize) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r7, lr}}",
        "add lr, r2, #16",
        "1:",
        "add r4, r0, r1",
        "add r12, r4, r1",
        "ldr r5, [r0]",
        put_four!("0"),
        "ldr r5, [r0, #4]",
        put_four!("32"),
        "ldrb r6, [r0, #8]",
        "ldr r5, [r4, #-1]",
        "bfi r5, r6, #0, #8",
        put_four!("64"),
        "ldr r5, [r4, #3]",
        put_four!("96"),
        "ldrh r6, [r4, #7]",
        "ldr r5, [r12, #-2]",
        "bfi r5, r6, #0, #16",
        put_four!("128"),
        "ldr r5, [r12, #2]",
        put_four!("160"),
        "ldr r5, [r12, #5]",
        "lsr r5, r5, #8",
        put_four!("192"),
        "add r0, r0, r3",
        "add r2, r2, #4",
        "cmp r2, lr",
        "bne 1b",
        "pop {{r4-r7, pc}}",
    )
}

/// Copies `rows` runs of `length` elements: `from` one of its strides after another, `to` one of its own.
///
/// Does nothing if a run would not fit.
pub(in crate::kernels::int8) fn copy_rows(
    from: &[i8],
    to: &mut [i8],
    [from_stride, to_stride]: [usize; 2],
    [rows, length]: [usize; 2],
) {
    let fits =
        runs_fit(from.len(), from_stride, [rows, length]) && runs_fit(to.len(), to_stride, [rows, length]);
    if !fits || length == 0 {
        return;
    }
    let skips = [from_stride.wrapping_sub(length), to_stride.wrapping_sub(length)];
    // SAFETY: there is at least one run of at least one byte, and the last one ends within its slice, on both sides.
    unsafe { copy_runs(from.as_ptr(), to.as_mut_ptr(), length, rows, skips[0], skips[1]) }
}

/// [`copy_rows`], with what is to be skipped between two runs.
///
/// r0, r1: where from and where to. r2: length. r3: rows left. r4, r5: what is skipped. r6: left of the run. r7: what is copied.
#[unsafe(naked)]
unsafe extern "C" fn copy_runs(
    from: *const i8,
    to: *mut i8,
    length: usize,
    rows: usize,
    from_skip: usize,
    to_skip: usize,
) {
    naked_asm!(
        "push {{r4-r7}}",
        "ldrd r4, r5, [sp, #16]",
        "1:",
        "mov r6, r2",
        "cmp r2, #16",
        "blo 7f",
        // Blocks of 16 bytes, if all addresses are multiples of four.
        "orr r7, r0, r1",
        "tst r7, #3",
        "bne 7f",
        "sub r6, r6, #16",
        "push {{r2-r5}}",
        "0:",
        "ldm r0!, {{r2-r5}}",
        "stm r1!, {{r2-r5}}",
        "subs r6, r6, #16",
        "bhs 0b",
        "pop {{r2-r5}}",
        "add r6, r6, #16",
        "7:",
        "subs r6, r6, #4",
        "blo 3f",
        "2:",
        "ldr r7, [r0], #4",
        "str r7, [r1], #4",
        "subs r6, r6, #4",
        "bhs 2b",
        "3:",
        "adds r6, r6, #4",
        "beq 5f",
        "4:",
        "ldrb r7, [r0], #1",
        "strb r7, [r1], #1",
        "subs r6, r6, #1",
        "bne 4b",
        "5:",
        "add r0, r0, r4",
        "add r1, r1, r5",
        "subs r3, r3, #1",
        "bne 1b",
        "pop {{r4-r7}}",
        "bx lr",
    )
}

/// Expands the taps of one pixel: `2 * taps.len()` elements, a multiple of four.
///
/// Does nothing if `row` is too short.
pub(in crate::kernels::int8) fn expand_one(row: &[i8], taps: &mut [i32]) {
    let length = 2 * taps.len();
    if length == 0 || !length.is_multiple_of(4) || row.len() < length {
        return;
    }
    // SAFETY: `length` bytes are read, and written as half as many words; both slices have them.
    unsafe { expand1(row.as_ptr(), taps.as_mut_ptr(), length) }
}

/// r0: the row. r1: where the words go. r2: the end of the row. A round is eight taps; a number of taps that is no multiple of eight begins in the
/// middle of one.
#[unsafe(naked)]
unsafe extern "C" fn expand1(row: *const i8, taps: *mut i32, length: usize) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4, r5}}",
        "tst r2, #4",
        "add r2, r0, r2",
        "bne 2f",
        "1:",
        "ldr r3, [r0], #4",
        "sxtb16 r4, r3",
        "sxtb16 r5, r3, ror #8",
        "stm r1!, {{r4, r5}}",
        "2:",
        "ldr r3, [r0], #4",
        "sxtb16 r4, r3",
        "sxtb16 r5, r3, ror #8",
        "stm r1!, {{r4, r5}}",
        "cmp r0, r2",
        "bne 1b",
        "pop {{r4, r5}}",
        "bx lr",
    )
}
