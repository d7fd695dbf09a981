//! Depthwise: four pixels of one channel at a time.

use core::arch::naked_asm;

use crate::kernels::int8::scalar::taps::Block;
use crate::kernels::int8::taps::MAX_WIDTH;

/// Four pixels of a tap: sixteen instructions, of two bytes each. `$weight` is how many bytes after r4.
macro_rules! tap {
    ($weight:literal) => {
        concat!(
            concat!("ldrb r5, [r4, #", $weight, "]\n"),
            "sxtb r5, r5
             ldrb r6, [r0]
             sxtb r6, r6
             muls r6, r5, r6
             add r8, r6
             ldrsb r6, [r0, r1]
             muls r6, r5, r6
             add r9, r6
             ldrsb r6, [r0, r2]
             muls r6, r5, r6
             add r10, r6
             ldrsb r6, [r0, r3]
             muls r6, r5, r6
             add r11, r6
             adds r0, r0, r7",
        )
    };
}

/// The output for the sum in a register, to `$place` words into [`Block`] after the output, or to the output itself.
macro_rules! finish {
    ($sum:literal) => {
        concat!(concat!("mov r3, ", $sum, "\n"), "bl 6f\n", "ldr r2, [sp, #24]\n", "strb r3, [r2]")
    };
    ($sum:literal, $place:literal) => {
        concat!(
            concat!("mov r3, ", $sum, "\n"),
            "bl 6f\n",
            "ldr r2, [sp, #24]\n",
            concat!("ldr r0, [sp, #", $place, "]\n"),
            "strb r3, [r2, r0]",
        )
    };
}

/// Four pixels times one channel, for one channel after another.
///
/// Why four by one: see [`taps`](crate::kernels::int8::taps). There is code for the widest window; a jump leaves out what a row of this window does not have, and the weights are
/// addressed as if that had been before them.
///
/// | register | holds |
/// |---|---|
/// | r8 to r11 | sums of four pixels |
/// | r0 | next tap of the first pixel |
/// | r1, r2, r3 | from it to those of the others |
/// | r4 | next byte of the stream |
/// | r5, r6 | a weight; a tap, and the product |
/// | r7 | from tap to tap |
/// | r12, lr | unused taps of a row; next row of the window |
/// | stack | the fields of [`Block`] up to `unused` |
///
/// # Safety
/// What `scalar/taps.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn taps_4x1(call: *const Block) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "mov r12, r0",
        "adds r0, #56",
        "ldm r0!, {{r6, r7}}",
        "push {{r6}}",
        "mov lr, r7",
        "mov r0, r12",
        "adds r0, #28",
        "ldm r0!, {{r1-r7}}",
        "push {{r1-r7}}",
        "mov r0, r12",
        "ldm r0!, {{r1-r7}}",
        "push {{r1-r7}}",
        "mov r4, lr",
        // Thirty-two bytes of code a tap. Addresses of Thumb code are odd.
        "ldr r5, [sp, #56]",
        "lsls r5, r5, #5",
        "adr r6, 3f",
        "adds r5, r5, r6",
        "adds r5, #1",
        "str r5, [sp, #48]",
        "1:",
        "ldr r5, [sp, #56]",
        "mov r12, r5",
        "ldr r7, [sp, #52]",
        "ldr r5, [sp, #0]",
        "mov lr, r5",
        "ldr r1, [sp, #12]",
        "ldr r2, [sp, #16]",
        "ldr r3, [sp, #20]",
        "ldm r4!, {{r5}}",
        "mov r8, r5",
        "mov r9, r5",
        "mov r10, r5",
        "mov r11, r5",
        "2:",
        "mov r5, lr",
        "ldm r5!, {{r0}}",
        "mov lr, r5",
        "ldr r5, [sp, #8]",
        "adds r0, r0, r5",
        "mov r5, r12",
        "subs r4, r4, r5",
        "ldr r5, [sp, #48]",
        "bx r5",
        ".balign 4",
        "3:",
        tap!("0"),
        tap!("1"),
        tap!("2"),
        tap!("3"),
        tap!("4"),
        tap!("5"),
        tap!("6"),
        tap!("7"),
        "adds r4, #{width}",
        "ldr r5, [sp, #4]",
        "cmp r5, lr",
        "beq 4f",
        "b 2b",
        "4:",
        "adds r4, #3",
        "movs r5, #3",
        "bics r4, r5",
        "movs r1, r4",
        "ldm r1!, {{r4, r6, r7}}",
        "mov r12, r6",
        "uxth r5, r4",
        "lsrs r4, r4, #16",
        finish!("r9", "28"),
        finish!("r10", "32"),
        finish!("r11", "36"),
        finish!("r8"),
        "adds r2, #1",
        "str r2, [sp, #24]",
        "ldr r5, [sp, #8]",
        "ldr r6, [sp, #44]",
        "adds r5, r5, r6",
        "str r5, [sp, #8]",
        "movs r4, r1",
        "ldr r5, [sp, #40]",
        "cmp r4, r5",
        "beq 5f",
        "b 1b",
        "5:",
        "add sp, #60",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        "6:",
        requantize_function!(),
        width = const MAX_WIDTH,
    )
}
