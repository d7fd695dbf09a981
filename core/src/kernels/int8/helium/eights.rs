//! A row of inputs times eight rows of weights.

use core::arch::naked_asm;

use super::copy::clamp;
use crate::kernels::int8::eights::{CHANNELS, VECTOR, eight_words};

/// The outputs of a row of inputs, as many as there are, at most the channels of `stream`.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn eights(
    stream: &[i32],
    row: &[i8],
    [zero_point, min, max]: [i32; 3],
    output: &mut [i8],
) {
    let Some(words) = eight_words(row.len()) else { return };
    let fits = stream.len().checked_div(words) >= Some(output.len().div_ceil(CHANNELS));
    if row.is_empty() || output.is_empty() || !fits {
        return;
    }
    let call = Call {
        stream: stream.as_ptr(),
        input: row.as_ptr(),
        vectors: row.len() / VECTOR,
        output: output.as_mut_ptr(),
        count: output.len(),
        zero_point,
        left: row.len() % VECTOR,
        signed: i32::from(min < zero_point),
    };
    // SAFETY: the row, which is not empty, is read from its beginning to its end, as many outputs are written as there are, at least one, and for each eight of these, or what is
    // left of them, the words of one eight are read, of which the stream has as many.
    unsafe { rows_1x8(&raw const call) }
    clamp(output, [min, max]);
}

/// What [`rows_1x8`] is told.
#[repr(C)]
struct Call {
    stream: *const i32,
    input: *const i8,
    /// Whole vectors of inputs.
    vectors: usize,
    output: *mut i8,
    /// Outputs.
    count: usize,
    zero_point: i32,
    /// Inputs that are left over from whole vectors.
    left: usize,
    /// 1 if outputs below the zero point matter, or else 0.
    signed: i32,
}

/// One vector of weights of each of eight channels with the vector of the input in `$input`.
macro_rules! eight_rows {
    ($input:literal) => {
        concat!(
            eight_rows!("r0", $input),
            eight_rows!("r2", $input),
            eight_rows!("r4", $input),
            eight_rows!("r6", $input),
            eight_rows!("r8", $input),
            eight_rows!("r10", $input),
            eight_rows!("r12", $input),
            eight_rows!("lr", $input),
        )
    };
    ($sum:literal, $input:literal) => {
        concat!("vldrb.u8 q1, [r1], #16\n", "vmlava.s8 ", $sum, ", ", $input, ", q1\n")
    };
}

/// Multiplies and shifts the sums in `$sums` by what the stream says next; see [`pixels_3x2`](super::vector_pairs). The sign is left out for a least output that is
/// not below the zero point.
macro_rules! scale {
    (relu, $sums:literal) => {
        concat!(
            "vldrw.u32 q0, [r1], #16\n",
            "vldrw.u32 q1, [r1], #16\n",
            concat!("vqrdmulh.s32 ", $sums, ", ", $sums, ", q0\n"),
            concat!("vrshl.s32 ", $sums, ", ", $sums, ", q1"),
        )
    };
    (signed, $sums:literal) => {
        concat!(
            "vldrw.u32 q0, [r1], #16\n",
            "vldrw.u32 q1, [r1], #16\n",
            concat!("vqrdmulh.s32 ", $sums, ", ", $sums, ", q0\n"),
            concat!("vand q0, ", $sums, ", q1\n"),
            "vshr.s32 q0, q0, #31\n",
            concat!("vadd.i32 ", $sums, ", ", $sums, ", q0\n"),
            concat!("vrshl.s32 ", $sums, ", ", $sums, ", q1"),
        )
    };
}

/// Eight channels after another, of which the last ones may be fewer.
///
/// Why eight: there are eight registers that sums can be in. With a stream there is one address of weights, so that even the link register, which would count a loop, can
/// be a sum: every 128 products cost nine loads and eight multiplications, or eight loads for the last three vectors of the input, which stay where they are for all channels. The
/// loop has eight of the vectors before these and is entered where as many are left as there are more than a multiple of eight.
///
/// What is left over from whole vectors comes first, so that only it is loaded under a predicate. The loop counts down by two from an even number, or from an odd one if the sign
/// matters for the requantization, and ends with flags that say so.
///
/// | register | holds |
/// |---|---|
/// | r0, r2, r4, r6, r8, r10, r12, r14 | sums, which begin with the biases |
/// | r1, r3, r7 | addresses in the stream, in the input, and of the next outputs |
/// | r5 | twice how often the loop is still to be gone through, less one if the sign matters |
/// | r9 | outputs left |
/// | r11 | where to go |
/// | q0, q1 | vectors of the input and of weights; later, multipliers and shifts |
/// | q2, q3 | sums of the even channels and of the odd ones |
/// | q4, q6, q7 | the last three vectors of the input, or the last ones of these |
/// | q5 | zero point, of 16 bits |
/// | stack | input; r5 at first; where to go with the biases loaded; where to go then; how many inputs are left over from vectors; where to go without a loop |
#[unsafe(naked)]
unsafe extern "C" fn rows_1x8(call: *const Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "sub sp, sp, #28",
        "ldm r0, {{r1, r3, r5, r7, r9, r10, r11, r12}}",
        "vdup.16 q5, r10",
        // The last three vectors.
        "add r10, r3, r11",
        "add r10, r10, r5, lsl #4",
        "cmp r5, #1",
        "blo 10f",
        "vldrb.u8 q7, [r10, #-16]",
        "beq 10f",
        "vldrb.u8 q6, [r10, #-32]",
        "cmp r5, #3",
        "blo 10f",
        "vldrb.u8 q4, [r10, #-48]",
        "10:",
        // r5: how many come before. r10: where to go without any, past those that there are not.
        "adr r10, 6f",
        "subs r5, r5, #3",
        "itt lo",
        "sublo r10, r10, r5, lsl #6",
        "movlo r5, #0",
        // A vector is seventeen instructions in the loop.
        "add r6, r5, #7",
        "lsr r6, r6, #3",
        "rsb r6, r12, r6, lsl #1",
        "rsb r4, r5, #0",
        "and r4, r4, #7",
        "add r4, r4, r4, lsl #4",
        "adr r8, 3f",
        "add r8, r8, r4, lsl #2",
        "cmp r5, #0",
        "it eq",
        "adreq r8, 5f",
        "mov r2, r8",
        "cmp r11, #0",
        "it ne",
        "adrne r2, 2f",
        "vctp.8 r11",
        "strd r3, r6, [sp, #0]",
        "strd r2, r8, [sp, #8]",
        "strd r11, r10, [sp, #16]",
        // Eight channels.
        "1:",
        "ldm r1!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
        "ldm sp, {{r3, r5, r11}}",
        "mov pc, r11",
        // What is left over from whole vectors.
        "2:",
        "vpst",
        "vldrbt.u8 q0, [r3]",
        "ldr r11, [sp, #16]",
        "add r3, r3, r11",
        eight_rows!("q0"),
        "ldr r11, [sp, #12]",
        "mov pc, r11",
        // No loop.
        "5:",
        "cmp r5, #0",
        "ldr r11, [sp, #20]",
        "mov pc, r11",
        "3:",
        ".rept 8",
        "vldrb.u8 q0, [r3], #16",
        eight_rows!("q0"),
        ".endr",
        "subs r5, r5, #2",
        "bgt 3b",
        // A vector is sixteen instructions here.
        "6:",
        eight_rows!("q4"),
        eight_rows!("q6"),
        eight_rows!("q7"),
        // The first register goes to the lower lane.
        "vmov q2[2], q2[0], r0, r8",
        "vmov q2[3], q2[1], r4, r12",
        "vmov q3[2], q3[0], r2, r10",
        "vmov q3[3], q3[1], r6, lr",
        "blt 8f",
        scale!(relu, "q2"),
        scale!(relu, "q3"),
        "4:",
        "vqmovnb.s32 q2, q2",
        "vqmovnt.s32 q2, q3",
        "vqadd.s16 q2, q2, q5",
        "vqmovnb.s16 q2, q2",
        "subs r9, r9, #8",
        "blt 9f",
        "vstrb.16 q2, [r7], #8",
        "bne 1b",
        "7:",
        "add sp, sp, #28",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        "8:",
        scale!(signed, "q2"),
        scale!(signed, "q3"),
        "b 4b",
        // Fewer than eight.
        "9:",
        "add r9, r9, #8",
        "vctp.16 r9",
        "vpst",
        "vstrbt.16 q2, [r7]",
        "b 7b",
    )
}
