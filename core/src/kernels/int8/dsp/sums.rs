//! Sums of pixels, for pools.

use core::arch::naked_asm;

use crate::kernels::int8::gather::runs_fit;

/// Adds to `sums` the eight channels of each of `count` pixels, at most 256 of them.
///
/// Adds nothing if `input` is too short.
pub(in crate::kernels::int8) fn add_run(input: &[i8], stride: usize, count: usize, sums: &mut [i32; 8]) {
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
