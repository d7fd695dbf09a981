//! One pixel of four channels at a time.

use core::arch::naked_asm;

use crate::kernels::int8::double_pairs::{CHANNELS, FIXED_WORDS, SIDE};

/// The fours of channels of `stream` for the pixel of `taps`.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn double_single(
    stream: &[i32],
    taps: &[i32],
    relu: bool,
    outputs: &mut [[i8; CHANNELS]],
) {
    let words = 2 * taps.len() + FIXED_WORDS;
    let fits = !outputs.is_empty() && outputs.len().checked_mul(words) == Some(stream.len());
    if !fits || taps.is_empty() || !taps.len().is_multiple_of(SIDE) {
        return;
    }
    let (taps_range, stream) = (taps.as_ptr_range(), stream.as_ptr_range());
    let call = DoubleSingle {
        taps: taps_range.start,
        skip: (ROUND - taps.len() / SIDE % ROUND) % ROUND * BLOCK_BYTES,
        output: outputs.as_mut_ptr().cast(),
        stream_end: stream.end,
        taps_end: taps_range.end,
        relu: usize::from(relu),
        stream: stream.start,
    };
    // SAFETY: for each four of channels, the kernel reads `words` words of the stream and all of the taps, which it reaches after a whole number of blocks, at
    // least one, and after twice as many words of weights; and it writes four bytes. `outputs.len()` times that is what the slices have. `skip` is the distance
    // to the beginning of one of the repeated blocks of the round.
    unsafe { single_1x4(&raw const call) }
}

/// What [`single_1x4`] is told.
#[repr(C)]
struct DoubleSingle {
    taps: *const i32,
    /// Bytes of code of the first round to be left out.
    skip: usize,
    output: *mut i8,
    stream_end: *const i32,
    taps_end: *const i32,
    /// Whether to leave out the sign when requantizing.
    relu: usize,
    stream: *const i32,
}

/// Blocks in a round.
const ROUND: usize = 8;
/// Bytes of code of a block: 27 instructions of four bytes each.
const BLOCK_BYTES: usize = 108;

/// Four words of weights times the taps in r0 to r3, into two accumulators: of the even channel, and of both.
macro_rules! four_words {
    ($even:literal, $both:literal) => {
        concat!(
            "ldm lr!, {{r8-r11}}\n",
            four_words!($even, $both, "r0", "r8"),
            four_words!($even, $both, "r1", "r9"),
            four_words!($even, $both, "r2", "r10"),
            four_words!($even, $both, "r3", "r11"),
        )
    };
    ($even:literal, $both:literal, $taps:literal, $weights:literal) => {
        concat!(
            concat!("smlad ", $both, ", ", $taps, ", ", $weights, ", ", $both, "\n"),
            concat!("sxtb16 ", $weights, ", ", $weights, "\n"),
            concat!("smlad ", $even, ", ", $taps, ", ", $weights, ", ", $even, "\n"),
        )
    };
}

/// One pixel times four channels, for four channels after another.
///
/// Why one by four: four words of taps, loaded once, serve two pairs of channels, each with four words of weights; a word of weights is extended in its own
/// place after its first use, so that accumulators, taps, weights and both addresses fill the fourteen registers exactly. 27 instructions for 32
/// multiplications, and one end for four channels.
///
/// | register | holds |
/// |---|---|
/// | r4, r5 | accumulator of the first channel; 256 times the second channel's plus the first channel's |
/// | r6, r7 | the same of the third and the fourth channel |
/// | r8 to r11 | weights; later, numbers of the requantization |
/// | r0 to r3 | taps; later, numbers of the requantization |
/// | r12, lr | next word of taps, next word of the stream |
/// | stack | the fields of [`DoubleSingle`] up to `relu`; `skip` and `relu` have become addresses of code |
///
/// The first jump goes into the round, past what the taps do not fill.
#[unsafe(naked)]
unsafe extern "C" fn single_1x4(call: *const DoubleSingle) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #28",
        "ldm r0, {{r1-r7}}",
        // Addresses of Thumb code are odd.
        "adr.w r8, 2f",
        "add r2, r2, r8",
        "orr r2, r2, #1",
        "cmp r6, #0",
        "ite eq",
        "adreq.w r6, 5f",
        "adrne.w r6, 3f",
        "orr r6, r6, #1",
        "stm sp, {{r1-r6}}",
        "mov lr, r7",
        "1:",
        "ldm lr!, {{r4-r7}}",
        "ldm sp, {{r12, pc}}",
        "2:",
        ".rept {round}",
        "ldm r12!, {{r0-r3}}",
        four_words!("r4", "r5"),
        four_words!("r6", "r7"),
        ".endr",
        "ldr r0, [sp, #16]",
        "cmp r12, r0",
        "bne 2b",
        "sub r5, r5, r4",
        "sub r7, r7, r6",
        "lsl r4, r4, #1",
        "asr r5, r5, #7",
        "lsl r6, r6, #1",
        "asr r7, r7, #7",
        "ldr pc, [sp, #20]",
        "3:",
        requantize_four!(relu),
        "4:",
        "ldrd r0, r1, [sp, #8]",
        "bfi r4, r5, #8, #8",
        "bfi r6, r7, #8, #8",
        "pkhbt r4, r4, r6, lsl #16",
        "str r4, [r0], #4",
        "str r0, [sp, #8]",
        "cmp lr, r1",
        "bne 1b",
        "add sp, sp, #28",
        "pop {{r4-r11, pc}}",
        "5:",
        requantize_four!(signed),
        "b 4b",
        round = const ROUND,
    )
}
