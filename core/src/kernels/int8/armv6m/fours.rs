//! One pixel of four channels at a time.

use core::arch::naked_asm;

use crate::kernels::int8::scalar::fours::{Fours, ROUND};

/// An input times four weights, which are so many bytes after r0 and r1: fourteen instructions for four multiplications.
macro_rules! input {
    ($input:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            concat!("ldrb r2, [r0, #", $input, "]\n"),
            "eors r2, r4\n",
            concat!("ldrb r3, [r1, #", $a, "]\n"),
            "muls r3, r2, r3\n add r8, r3\n",
            concat!("ldrb r3, [r1, #", $b, "]\n"),
            "muls r3, r2, r3\n add r11, r3\n",
            concat!("ldrb r3, [r1, #", $c, "]\n"),
            "muls r3, r2, r3\n add r10, r3\n",
            concat!("ldrb r3, [r1, #", $d, "]\n"),
            "muls r3, r2, r3\n add r9, r3",
        )
    };
}

/// The output of the channel whose sum is in a register.
macro_rules! finish {
    ($sum:literal) => {
        concat!(
            "ldm r1!, {{r4, r6, r7}}\n",
            "mov r12, r6\n",
            "uxth r5, r4\n",
            "lsrs r4, r4, #16\n",
            concat!("mov r3, ", $sum, "\n"),
            "bl 6f\n",
            "ldr r2, [sp, #12]\n",
            "strb r3, [r2]\n",
            "adds r2, #1\n",
            "str r2, [sp, #12]",
        )
    };
}

/// One pixel times four channels, for one four after another.
///
/// | register | holds |
/// |---|---|
/// | r8 to r11 | sums of four channels |
/// | r0, r1 | next input, next word of the stream |
/// | r2, r3 | an input; a weight, and the product |
/// | r4 | 128, which turns an input unsigned |
/// | r12 | end of the inputs, in whole rounds or all; later, a number of the requantization |
/// | stack | the fields of [`Fours`] up to `part` |
///
/// # Safety
/// What `scalar/fours.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn fours_1x4(call: *const Fours) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldm r0!, {{r1-r6}}",
        "push {{r1-r6}}",
        "ldr r1, [r0]",
        "1:",
        "ldr r2, [sp, #20]",
        "ldm r1!, {{r4-r7}}",
        "subs r4, r4, r2",
        "subs r5, r5, r2",
        "subs r6, r6, r2",
        "subs r7, r7, r2",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "movs r4, #128",
        "ldr r0, [sp, #4]",
        "mov r12, r0",
        "ldr r0, [sp, #0]",
        "cmp r0, r12",
        "beq 3f",
        "2:",
        input!("0", "0", "1", "2", "3"),
        input!("1", "4", "5", "6", "7"),
        input!("2", "8", "9", "10", "11"),
        input!("3", "12", "13", "14", "15"),
        input!("4", "16", "17", "18", "19"),
        input!("5", "20", "21", "22", "23"),
        input!("6", "24", "25", "26", "27"),
        input!("7", "28", "29", "30", "31"),
        "adds r0, #{round}",
        "adds r1, #4 * {round}",
        "cmp r0, r12",
        "bne 2b",
        "3:",
        "ldr r2, [sp, #8]",
        "mov r12, r2",
        "cmp r0, r12",
        "beq 5f",
        "4:",
        input!("0", "0", "1", "2", "3"),
        "adds r0, #1",
        "adds r1, #4",
        "cmp r0, r12",
        "bne 4b",
        "5:",
        finish!("r8"),
        finish!("r9"),
        finish!("r10"),
        finish!("r11"),
        "ldr r0, [sp, #16]",
        "cmp r1, r0",
        "beq 5f",
        "b 1b",
        "5:",
        "add sp, #24",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        "6:",
        requantize_function!(),
        round = const ROUND,
    )
}
