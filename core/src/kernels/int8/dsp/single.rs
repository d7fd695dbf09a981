//! One pixel of two channels at a time.

use core::arch::naked_asm;

use crate::kernels::int8::pairs::FIXED_WORDS;

/// The channel pairs of `stream` for the pixel of `taps`, two outputs for each pair.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn single(stream: &[i32], taps: &[i32], output: &mut [i8]) {
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
