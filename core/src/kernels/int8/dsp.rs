//! The kernels of [`pairs`](super::pairs) for Armv7E-M and for Armv8-M with the DSP extension.
//!
//! Naked functions, because compilers spill: each of them needs all fourteen registers that there are. They call nothing and use no stack but
//! what they save. Unaligned `LDR`, `STR` and `STRH` are used on bytes, as the architecture allows for as long as `CCR.UNALIGN_TRP` is 0, its value
//! at reset; `LDRD`, `LDM` and `STM` only on words.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::gather::runs_fit;
use super::pairs::{COLOUR_ROW, COLOUR_ROWS, COLOUR_WORDS, FIXED_WORDS, PIXELS};
use super::quads::{CHANNELS, QUAD_WORDS, TAPS};

/// Tells the assembler of naked functions of the instructions, where the target does not: the DSP extension is an option on Armv8-M.
#[cfg(arm_v8m)]
macro_rules! dsp_cpu {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(arm_v8m))]
macro_rules! dsp_cpu {
    () => {
        ""
    };
}

/// Expands the taps of four pixels: `taps.len() / 2` elements each, a multiple of four, `stride` elements apart.
///
/// Does nothing if `rows` is too short.
pub(super) fn expand(rows: &[i8], stride: usize, taps: &mut [i32]) {
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
pub(super) fn expand_colour(input: &[i8], [row, stride]: [usize; 2], taps: &mut [i32]) {
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
pub(super) fn copy_rows(
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

/// The channel pairs of `stream` for the four pixels of `taps`: pixel `p`'s are `output[p * stride..]`, two for each pair.
///
/// Does nothing if the lengths do not fit each other.
pub(super) fn tile(stream: &[i32], taps: &[i32], relu: bool, output: &mut [i8], stride: usize) {
    let weight_words = taps.len() / 4;
    let pair_words = weight_words + FIXED_WORDS;
    let pairs = stream.len() / pair_words;
    let fits = pairs > 0
        && stream.len() == pairs * pair_words
        && runs_fit(output.len(), stride, [PIXELS, 2 * pairs]);
    if !fits || weight_words == 0 || taps.len() != weight_words * 4 || !weight_words.is_multiple_of(2) {
        return;
    }
    let taps = taps.as_ptr_range();
    let stream = stream.as_ptr_range();
    let call = Tile {
        taps: taps.start,
        taps_end: taps.end,
        output: output.as_mut_ptr(),
        stride,
        three_strides: 3 * stride,
        stream_end: stream.end,
        skip: (ROUND - (weight_words - FIRST) % ROUND) * PAIR_BYTES,
        relu: usize::from(relu),
        stream: stream.start,
    };
    // SAFETY: for each pair of channels, the kernel reads `pair_words` words of the stream and all of the taps, which it reaches after exactly
    // `weight_words` words of weights, an even number of at least two, and it writes two bytes at four places `stride` apart; `pairs` times that is
    // what the slices have. `skip` is the distance to the beginning of one of the repeated words of the round.
    unsafe { tile_4x2(&raw const call) }
}

/// What [`tile_4x2`] is told.
#[repr(C)]
struct Tile {
    taps: *const i32,
    taps_end: *const i32,
    output: *mut i8,
    stride: usize,
    three_strides: usize,
    stream_end: *const i32,
    /// Bytes of code of the first round to be left out.
    skip: usize,
    /// Whether to leave out the sign when requantizing.
    relu: usize,
    stream: *const i32,
}

/// Words of weights in a round of the loop over the taps.
const ROUND: usize = 8;
/// Words of weights before the first round.
const FIRST: usize = 2;
/// Bytes of code for a word of weights: twelve instructions of four bytes each.
const PAIR_BYTES: usize = 48;

/// One word of weights with four words of taps: sixteen multiplications in twelve instructions.
macro_rules! word {
    () => {
        "ldr r2, [lr], #4
         ldrd r0, r1, [r12], #8
         sxtb16 r3, r2
         smlad r4, r0, r3, r4
         smlad r5, r1, r3, r5
         smlad r8, r0, r2, r8
         smlad r9, r1, r2, r9
         ldrd r0, r1, [r12], #8
         smlad r6, r0, r3, r6
         smlad r7, r1, r3, r7
         smlad r10, r0, r2, r10
         smlad r11, r1, r2, r11"
    };
}

/// The output for the accumulator in a register, of which a shift makes the double; r0, r1, r2: multiplier, half, exponent. See
/// [`Folded`](super::Folded): `signed` with the sign, `relu` without.
macro_rules! requantize {
    (signed, $accumulator:literal, $shift:literal) => {
        concat!(
            concat!($shift, "\n"),
            concat!("add r3, r1, ", $accumulator, ", asr #31\n"),
            concat!("smmlar ", $accumulator, ", ", $accumulator, ", r0, r3\n"),
            concat!("asr ", $accumulator, ", ", $accumulator, ", r2\n"),
            concat!("ssat ", $accumulator, ", #8, ", $accumulator),
        )
    };
    (relu, $accumulator:literal, $shift:literal) => {
        concat!(
            concat!($shift, "\n"),
            concat!("smmlar ", $accumulator, ", ", $accumulator, ", r0, r1\n"),
            concat!("asr ", $accumulator, ", ", $accumulator, ", r2\n"),
            concat!("ssat ", $accumulator, ", #8, ", $accumulator),
        )
    };
}

/// The outputs of both channels.
macro_rules! requantize_pair {
    ($kind:ident) => {
        concat!(
            "ldm lr!, {{r0, r1, r2}}\n",
            concat!(requantize!($kind, "r4", "lsl r4, r4, #1"), "\n"),
            concat!(requantize!($kind, "r5", "lsl r5, r5, #1"), "\n"),
            concat!(requantize!($kind, "r6", "lsl r6, r6, #1"), "\n"),
            concat!(requantize!($kind, "r7", "lsl r7, r7, #1"), "\n"),
            "ldm lr!, {{r0, r1, r2}}\n",
            concat!(requantize!($kind, "r8", "asr r8, r8, #7"), "\n"),
            concat!(requantize!($kind, "r9", "asr r9, r9, #7"), "\n"),
            concat!(requantize!($kind, "r10", "asr r10, r10, #7"), "\n"),
            requantize!($kind, "r11", "asr r11, r11, #7"),
        )
    };
}

/// Four pixels times two channels, for one pair of channels after another.
///
/// Why four by two: it is the widest block whose accumulators leave room to work. Each word of weights serves four pixels and each word of taps
/// two channels, so that four loads and one extraction go with eight dual multiplications.
///
/// | register | holds |
/// |---|---|
/// | r4 to r7 | accumulators of the even channel, pixels 0 to 3 |
/// | r8 to r11 | 256 times the odd channel's plus the even channel's |
/// | r12, lr | next word of taps, next word of the stream |
/// | r0, r1 | taps of two pixels |
/// | r2, r3 | weights of both channels, of the even channel |
/// | stack | the fields of [`Tile`] up to `relu`; `skip` and `relu` have become addresses of code |
///
/// The first word's multiplications take the biases as summands, which saves moving them to eight accumulators. After the second word, a jump
/// into the loop leaves out of its first round what the weights do not fill; all instructions of a word are four bytes long. (If nothing or whole
/// rounds are left, the jump goes to the end of the loop or to its beginning by the same rule: `skip` is a whole round then, and the loop's end decides.)
#[unsafe(naked)]
unsafe extern "C" fn tile_4x2(call: *const Tile) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #36",
        "ldm r0, {{r1-r9}}",
        // Addresses of Thumb code are odd.
        "adr.w r10, 2f",
        "add r7, r7, r10",
        "orr r7, r7, #1",
        "cmp r8, #0",
        "ite eq",
        "adreq.w r8, 5f",
        "adrne.w r8, 3f",
        "orr r8, r8, #1",
        "stm sp, {{r1-r8}}",
        "mov lr, r9",
        "1:",
        "ldr r12, [sp, #0]",
        "ldrd r7, r11, [lr], #8",
        "ldr r2, [lr], #4",
        "ldrd r0, r1, [r12], #8",
        "sxtb16 r3, r2",
        "smlad r4, r0, r3, r7",
        "smlad r5, r1, r3, r7",
        "smlad r8, r0, r2, r11",
        "smlad r9, r1, r2, r11",
        "ldrd r0, r1, [r12], #8",
        "smlad r6, r0, r3, r7",
        "smlad r7, r1, r3, r7",
        "smlad r10, r0, r2, r11",
        "smlad r11, r1, r2, r11",
        word!(),
        "ldr pc, [sp, #24]",
        "2:",
        ".rept {round}",
        word!(),
        ".endr",
        "ldr r0, [sp, #4]",
        "cmp r12, r0",
        "bne 2b",
        "sub r8, r8, r4",
        "sub r9, r9, r5",
        "sub r10, r10, r6",
        "sub r11, r11, r7",
        "ldr pc, [sp, #28]",
        "3:",
        requantize_pair!(relu),
        "4:",
        "ldrd r12, r0, [sp, #8]",
        "ldrd r1, r2, [sp, #16]",
        "bfi r4, r8, #8, #24",
        "bfi r5, r9, #8, #24",
        "bfi r6, r10, #8, #24",
        "bfi r7, r11, #8, #24",
        "strh r5, [r12, r0]",
        "strh r6, [r12, r0, lsl #1]",
        "strh r7, [r12, r1]",
        "strh r4, [r12], #2",
        "str r12, [sp, #8]",
        "cmp lr, r2",
        "bne 1b",
        "add sp, sp, #36",
        "pop {{r4-r11, pc}}",
        "5:",
        requantize_pair!(signed),
        "b 4b",
        round = const ROUND,
    )
}

/// Expands the taps of one pixel: `2 * taps.len()` elements, a multiple of four.
///
/// Does nothing if `row` is too short.
pub(super) fn expand_one(row: &[i8], taps: &mut [i32]) {
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

/// The channel pairs of `stream` for the pixel of `taps`, two outputs for each pair.
///
/// Does nothing if the lengths do not fit each other.
pub(super) fn single(stream: &[i32], taps: &[i32], output: &mut [i8]) {
    let pair_words = taps.len() + FIXED_WORDS;
    let pairs = stream.len() / pair_words;
    let fits = pairs > 0 && stream.len() == pairs * pair_words && output.len() >= 2 * pairs;
    if !fits || taps.is_empty() || !taps.len().is_multiple_of(2) {
        return;
    }
    let (taps_range, stream) = (taps.as_ptr_range(), stream.as_ptr_range());
    let call = Single {
        taps: taps_range.start,
        odd: taps.len() / 2 % 2,
        skip: (SINGLE_ROUND - taps.len() / 4 % SINGLE_ROUND) * FOUR_WORDS_BYTES,
        output: output.as_mut_ptr(),
        stream_end: stream.end,
        taps_end: taps_range.end,
        stream: stream.start,
    };
    // SAFETY: for each pair of channels, the kernel reads `pair_words` words of the stream and all of the taps, which it reaches after as many
    // words of weights, and it writes two bytes; `pairs` times that is what the slices have. `skip` is the distance to the beginning of one of the
    // repeated parts of the round, or to its end.
    unsafe { single_1x2(&raw const call) }
}

/// What [`single_1x2`] is told.
#[repr(C)]
struct Single {
    taps: *const i32,
    /// Whether two words are left over from fours.
    odd: usize,
    /// Bytes of code of the first round to be left out.
    skip: usize,
    output: *mut i8,
    stream_end: *const i32,
    taps_end: *const i32,
    stream: *const i32,
}

/// Fours of words of weights in a round.
const SINGLE_ROUND: usize = 8;
/// Bytes of code for four words of weights: fourteen instructions of four bytes each.
const FOUR_WORDS_BYTES: usize = 56;

/// Two multiplications of each channel: a word of weights and a word of taps.
macro_rules! single_word {
    ($weights:literal, $taps:literal) => {
        concat!(
            concat!("sxtb16 r10, ", $weights, "\n"),
            concat!("smlad r5, ", $taps, ", ", $weights, ", r5\n"),
            concat!("smlad r4, ", $taps, ", r10, r4"),
        )
    };
}

/// One pixel times two channels, for one pair of channels after another: what is left over from fours of pixels, and fully connected layers.
///
/// Why one by two: there is nothing to share a weight with, so the fewest instructions are those that load four words of weights and four of taps at
/// once, fourteen for sixteen multiplications.
///
/// | register | holds |
/// |---|---|
/// | r4, r5 | accumulator of the even channel; 256 times the odd channel's plus the even channel's |
/// | r6 to r9 | weights |
/// | r0 to r3 | taps; later, numbers of the requantization |
/// | r10 | weights of the even channel |
/// | r11 | end of the taps |
/// | r12, lr | next word of taps, next word of the stream |
/// | stack | the fields of [`Single`] up to `stream_end`; `odd` and `skip` have become addresses of code |
///
/// The first jump goes to the two words that are left over from fours, if there are any, or where the second jump goes: into the first round of the
/// loop, past what the weights do not fill.
#[unsafe(naked)]
unsafe extern "C" fn single_1x2(call: *const Single) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #20",
        "ldm r0, {{r1-r7}}",
        "mov r11, r6",
        "mov lr, r7",
        // Addresses of Thumb code are odd.
        "adr.w r8, 3f",
        "add r3, r3, r8",
        "orr r3, r3, #1",
        "cmp r2, #0",
        "ite eq",
        "moveq r2, r3",
        "adrne.w r2, 2f",
        "orr r2, r2, #1",
        "stm sp, {{r1-r5}}",
        "1:",
        "ldrd r4, r5, [lr], #8",
        "ldr r12, [sp, #0]",
        "ldr pc, [sp, #4]",
        "2:",
        "ldrd r6, r7, [lr], #8",
        "ldrd r0, r1, [r12], #8",
        single_word!("r6", "r0"),
        single_word!("r7", "r1"),
        "ldr pc, [sp, #8]",
        "3:",
        ".rept {round}",
        "ldm lr!, {{r6-r9}}",
        "ldm r12!, {{r0-r3}}",
        single_word!("r6", "r0"),
        single_word!("r7", "r1"),
        single_word!("r8", "r2"),
        single_word!("r9", "r3"),
        ".endr",
        "cmp r12, r11",
        "bne 3b",
        "sub r5, r5, r4",
        "ldm lr!, {{r0, r1, r2}}",
        requantize!(signed, "r4", "lsl r4, r4, #1"),
        "ldm lr!, {{r0, r1, r2}}",
        requantize!(signed, "r5", "asr r5, r5, #7"),
        "ldrd r0, r1, [sp, #12]",
        "bfi r4, r5, #8, #24",
        "strh r4, [r0], #2",
        "str r0, [sp, #12]",
        "cmp lr, r1",
        "bne 1b",
        "add sp, sp, #20",
        "pop {{r4-r11, pc}}",
        round = const SINGLE_ROUND,
    )
}

/// One output row of a depthwise convolution, from the three rows of the input with their padding. `output` has a whole number of pixels, as
/// `stream` has of quads.
///
/// Does nothing if the lengths do not fit each other.
pub(super) fn row(
    stream: &[i32],
    rows: [&[i8]; TAPS],
    [channels, stride]: [usize; 2],
    relu: bool,
    output: &mut [i8],
) {
    let (quads, pixels) = (stream.len() / QUAD_WORDS, output.len().checked_div(channels).unwrap_or(0));
    let fits = quads > 0
        && stream.len() == quads * QUAD_WORDS
        && channels == quads * CHANNELS
        && pixels > 0
        && output.len() == pixels * channels;
    let reach = pixels.saturating_sub(1).checked_mul(stride).and_then(|last| last.checked_add(TAPS));
    let bytes = reach.and_then(|reach| reach.checked_mul(channels));
    if !fits || bytes.is_none_or(|bytes| rows.iter().any(|row| row.len() < bytes)) {
        return;
    }
    let [first, second, third] = rows.map(<[i8]>::as_ptr);
    let (from, stream) = (first as usize, stream.as_ptr_range());
    let call = Row {
        to_second: (second as usize).wrapping_sub(from),
        to_third: (third as usize).wrapping_sub(second as usize),
        back: (third as usize).wrapping_sub(from).wrapping_sub(CHANNELS),
        output: (output.as_mut_ptr() as usize).wrapping_sub(from).wrapping_sub(CHANNELS),
        stream_end: stream.end,
        stream: stream.start,
        step: stride.wrapping_mul(channels).wrapping_sub(channels),
        pixels,
        relu: usize::from(relu),
        first,
        channels,
    };
    // SAFETY: of each row, three pixels of all channels are read at `pixels` places, each `stride` pixels further: `bytes` at most, which every row
    // has. `pixels` times `channels` bytes are written to the output. For each pixel, the stream is read from its beginning to its end.
    unsafe { row_3x3(&raw const call) }
}

/// What [`row_3x3`] is told. All distances are between addresses, and wrap.
#[repr(C)]
struct Row {
    /// From a row to the next one.
    to_second: usize,
    to_third: usize,
    /// From the next channels in the first row to these in the third one.
    back: usize,
    /// From the next channels in the first row to where these are written.
    output: usize,
    stream_end: *const i32,
    stream: *const i32,
    /// What is to be skipped after all channels of a pixel, for the next one.
    step: usize,
    pixels: usize,
    /// Whether to leave out the sign when requantizing.
    relu: usize,
    first: *const i8,
    channels: usize,
}

/// Four channels at two taps, which are in r0 and r1: the halves are paired, the pairs extended, and multiplied with four words of weights.
macro_rules! two_taps {
    () => {
        "ldm lr!, {{r8-r11}}
         pkhbt r2, r0, r1, lsl #16
         pkhtb r0, r1, r0, asr #16
         sxtb16 r1, r2
         sxtb16 r2, r2, ror #8
         smlad r4, r1, r8, r4
         smlad r5, r2, r9, r5
         sxtb16 r1, r0
         sxtb16 r0, r0, ror #8
         smlad r6, r1, r10, r6
         smlad r7, r0, r11, r7"
    };
}

/// The output for an accumulator that is doubled, with its multiplier, half and exponent in registers.
macro_rules! requantize_doubled {
    (signed, $accumulator:literal, $multiplier:literal, $half:literal, $exponent:literal) => {
        concat!(
            concat!("add ", $half, ", ", $half, ", ", $accumulator, ", asr #31\n"),
            requantize_doubled!(relu, $accumulator, $multiplier, $half, $exponent),
        )
    };
    (relu, $accumulator:literal, $multiplier:literal, $half:literal, $exponent:literal) => {
        concat!(
            concat!("smmlar ", $accumulator, ", ", $accumulator, ", ", $multiplier, ", ", $half, "\n"),
            concat!("asr ", $accumulator, ", ", $accumulator, ", ", $exponent, "\n"),
            concat!("ssat ", $accumulator, ", #8, ", $accumulator),
        )
    };
}

/// The outputs of four channels.
macro_rules! requantize_quad {
    ($kind:ident) => {
        concat!(
            "ldm lr!, {{r0, r1, r2, r8, r9, r10}}\n",
            concat!(requantize_doubled!($kind, "r4", "r0", "r1", "r2"), "\n"),
            concat!(requantize_doubled!($kind, "r5", "r8", "r9", "r10"), "\n"),
            "ldm lr!, {{r0, r1, r2, r8, r9, r10}}\n",
            concat!(requantize_doubled!($kind, "r6", "r0", "r1", "r2"), "\n"),
            requantize_doubled!($kind, "r7", "r8", "r9", "r10"),
        )
    };
}

/// One pixel times four channels, for one quad of channels and one pixel after another.
///
/// Why so: a word of the input is four channels at one tap. Two words, of neighbouring taps, become four pairs of halves in six instructions, and each pair
/// is what a dual multiplication takes. Nothing is written but the result, and all weights are read in a row.
///
/// | register | holds |
/// |---|---|
/// | r4 to r7 | twice the accumulators of four channels |
/// | r8 to r11 | weights of four channels at two taps; later, numbers of the requantization |
/// | r12 | first tap of a row of the window |
/// | r3 | from a tap to its neighbour, which is the number of channels |
/// | lr | next word of the stream |
/// | r0, r1, r2 | taps |
/// | stack | the fields of [`Row`] up to `relu`, which has become an address of code |
#[unsafe(naked)]
unsafe extern "C" fn row_3x3(call: *const Row) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #44",
        "ldm r0, {{r1-r11}}",
        // Addresses of Thumb code are odd.
        "cmp r9, #0",
        "ite eq",
        "adreq.w r9, 5f",
        "adrne.w r9, 3f",
        "orr r9, r9, #1",
        "stm sp, {{r1-r9}}",
        "mov r12, r10",
        "mov r3, r11",
        "1:",
        "ldr lr, [sp, #20]",
        "2:",
        "ldm lr!, {{r4-r7}}",
        // The first row, and the first tap of the second one.
        "ldr r0, [r12]",
        "ldr r1, [r12, r3]",
        two_taps!(),
        "ldr r0, [r12, r3, lsl #1]",
        "ldr r1, [sp, #0]",
        "add r12, r12, r1",
        "ldr r1, [r12]",
        two_taps!(),
        "ldr r0, [r12, r3]",
        "ldr r1, [r12, r3, lsl #1]",
        two_taps!(),
        // The third row.
        "ldr r1, [sp, #4]",
        "add r12, r12, r1",
        "ldr r0, [r12]",
        "ldr r1, [r12, r3]",
        two_taps!(),
        "ldr r0, [r12, r3, lsl #1]",
        "ldm lr!, {{r8-r11}}",
        "ldr r2, [sp, #8]",
        "sub r12, r12, r2",
        "sxtb16 r1, r0",
        "sxtb16 r0, r0, ror #8",
        "smlabb r4, r1, r8, r4",
        "smlabb r5, r0, r9, r5",
        "smlatb r6, r1, r10, r6",
        "smlatb r7, r0, r11, r7",
        "ldr pc, [sp, #32]",
        "3:",
        requantize_quad!(relu),
        "4:",
        "ldrd r0, r1, [sp, #12]",
        "bfi r4, r5, #8, #8",
        "bfi r6, r7, #8, #8",
        "pkhbt r4, r4, r6, lsl #16",
        "str r4, [r12, r0]",
        "cmp lr, r1",
        "bne 2b",
        // The next pixel is `step` further in the input, and next to this one in the output.
        "ldrd r1, r2, [sp, #24]",
        "add r12, r12, r1",
        "sub r0, r0, r1",
        "str r0, [sp, #12]",
        "subs r2, r2, #1",
        "str r2, [sp, #28]",
        "bne 1b",
        "add sp, sp, #44",
        "pop {{r4-r11, pc}}",
        "5:",
        requantize_quad!(signed),
        "b 4b",
    )
}

/// Adds to `sums` the eight channels of each of `count` pixels, at most 256 of them.
///
/// Adds nothing if `input` is too short.
pub(super) fn add_run(input: &[i8], stride: usize, count: usize, sums: &mut [i32; 8]) {
    if count == 0 || !runs_fit(input.len(), stride, [count, sums.len()]) {
        return;
    }
    // SAFETY: eight bytes of each of `count` pixels, at least one, lie in `input`.
    unsafe { sum_eight(input.as_ptr(), stride, count, sums.as_mut_ptr()) }
}

/// r0: a pixel. r1: from pixel to pixel. r2: pixels left. r3: the sums. r4 to r7: sums of two channels each, in halves, which hold 256 int8. r8, r12: eight
/// channels.
#[unsafe(naked)]
unsafe extern "C" fn sum_eight(input: *const i8, stride: usize, count: usize, sums: *mut i32) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r8, lr}}",
        "mov r4, #0",
        "mov r5, #0",
        "mov r6, #0",
        "mov r7, #0",
        "1:",
        "ldr r8, [r0]",
        "ldr r12, [r0, #4]",
        "add r0, r0, r1",
        "sxtab16 r4, r4, r8",
        "sxtab16 r5, r5, r8, ror #8",
        "sxtab16 r6, r6, r12",
        "sxtab16 r7, r7, r12, ror #8",
        "subs r2, r2, #1",
        "bne 1b",
        "ldm r3, {{r0, r1, r2, r8}}",
        "sxtah r0, r0, r4",
        "sxtah r1, r1, r5",
        "add r2, r2, r4, asr #16",
        "add r8, r8, r5, asr #16",
        "stm r3!, {{r0, r1, r2, r8}}",
        "ldm r3, {{r0, r1, r2, r8}}",
        "sxtah r0, r0, r6",
        "sxtah r1, r1, r7",
        "add r2, r2, r6, asr #16",
        "add r8, r8, r7, asr #16",
        "stm r3, {{r0, r1, r2, r8}}",
        "pop {{r4-r8, pc}}",
    )
}
