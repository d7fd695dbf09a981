//! Depthwise: one pixel of four channels at a time.

use core::arch::naked_asm;

use crate::kernels::int8::quads::{CHANNELS, QUAD_WORDS, TAPS};

/// One output row of a depthwise convolution, from the three rows of the input with their padding. `output` has a whole number of pixels, as
/// `stream` has of quads.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn row(
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
        requantize_four!(relu),
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
        requantize_four!(signed),
        "b 4b",
    )
}
