//! Depthwise: four pixels of one channel at a time.

use core::arch::naked_asm;

use crate::kernels::int8::scalar::taps::Block;
use crate::kernels::int8::taps::MAX_WIDTH;

/// Four pixels times one channel, for one channel after another.
///
/// Why four by one: see [`taps`](crate::kernels::int8::taps). There is code for the widest window; a jump leaves out what a row of this window does not have. All
/// instructions of a tap are four bytes long.
///
/// | register | holds |
/// |---|---|
/// | r4 to r7 | sums of four pixels |
/// | r0 | from a row's beginning to the first pixel's first tap |
/// | r1, r2, r3 | from the first pixel's tap to the others'; later, numbers of the requantization |
/// | r8, r9 | a weight, a tap |
/// | r10 | from tap to tap |
/// | r11 | next row of the window |
/// | r12, lr | next tap of the first pixel, next byte of the stream |
/// | stack | the fields of [`Block`] up to `entry` |
///
/// # Safety
/// What `scalar/taps.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn taps_4x1(call: *const Block) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "sub sp, sp, #52",
        "mov r12, sp",
        "ldm r0!, {{r1-r11}}",
        "stm r12!, {{r1-r11}}",
        "ldm r0, {{r1, r2, r10, r11, lr}}",
        // Forty bytes of code a tap. Addresses of Thumb code are odd.
        "add r11, r11, r11, lsl #2",
        "adr.w r2, 3f",
        "add r2, r2, r11, lsl #3",
        "orr r2, r2, #1",
        "stm r12, {{r1, r2}}",
        "1:",
        "ldr r11, [sp, #0]",
        "ldrd r0, r1, [sp, #8]",
        "ldrd r2, r3, [sp, #16]",
        "ldr r4, [lr], #4",
        "mov r5, r4",
        "mov r6, r4",
        "mov r7, r4",
        "2:",
        "ldr r12, [r11], #4",
        "add r12, r12, r0",
        "ldr pc, [sp, #48]",
        "3:",
        ".rept {width}",
        "ldrsb.w r8, [lr], #1",
        "ldrsb.w r9, [r12]",
        "mla r4, r9, r8, r4",
        "ldrsb.w r9, [r12, r1]",
        "mla r5, r9, r8, r5",
        "ldrsb.w r9, [r12, r2]",
        "mla r6, r9, r8, r6",
        "ldrsb.w r9, [r12, r3]",
        "mla r7, r9, r8, r7",
        "add.w r12, r12, r10",
        ".endr",
        "ldr r9, [sp, #4]",
        "cmp r11, r9",
        "bne 2b",
        "add lr, lr, #3",
        "bic lr, lr, #3",
        "ldm lr!, {{r0, r1, r2}}",
        "lsl r4, r4, #1",
        "lsl r5, r5, #1",
        "lsl r6, r6, #1",
        "lsl r7, r7, #1",
        requantize!("r4"),
        requantize!("r5"),
        requantize!("r6"),
        requantize!("r7"),
        "ldrd r0, r1, [sp, #24]",
        "ldrd r2, r3, [sp, #32]",
        "strb r5, [r0, r1]",
        "strb r6, [r0, r2]",
        "strb r7, [r0, r3]",
        "strb r4, [r0], #1",
        "str r0, [sp, #24]",
        "ldrd r0, r1, [sp, #40]",
        "ldr r2, [sp, #8]",
        "add r2, r2, r1",
        "str r2, [sp, #8]",
        "cmp lr, r0",
        "bne 1b",
        "add sp, sp, #52",
        "pop {{r4-r11, pc}}",
        width = const MAX_WIDTH,
    )
}
