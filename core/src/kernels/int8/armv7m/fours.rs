//! One pixel of four channels at a time.

use core::arch::naked_asm;

use crate::kernels::int8::scalar::fours::Fours;

/// Four inputs in r0, turned unsigned, times four words of weights: sixteen multiplications.
macro_rules! four_inputs {
    () => {
        concat!(
            "ldr r0, [r12], #4\n",
            "ldm lr!, {{r3, r8, r9, r10}}\n",
            "eor r0, r0, #0x80808080\n",
            "uxtb r1, r0\n",
            input!("r3"),
            "ubfx r1, r0, #8, #8\n",
            input!("r8"),
            "ubfx r1, r0, #16, #8\n",
            input!("r9"),
            "lsr r1, r0, #24\n",
            input!("r10"),
        )
    };
}

/// The input in r1 times a word of weights: four multiplications.
macro_rules! input {
    ($word:literal) => {
        concat!(
            concat!("and r2, r11, ", $word, "\n"),
            concat!("and ", $word, ", r11, ", $word, ", ror #16\n"),
            "umlal r4, r5, r2, r1\n",
            concat!("umlal r6, r7, ", $word, ", r1\n"),
        )
    };
}

/// The sums of two channels from their biases less the inputs' part, `$low` and `$high`: of 64 bits, and with the `2^23` that keep one from borrowing. r8 is `2^24`. r1, r2
/// and r3 are overwritten.
macro_rules! begin {
    ($low:literal, $high:literal) => {
        concat!(
            concat!("smull r1, r2, ", $high, ", r8\n"),
            concat!("add ", $low, ", ", $low, ", #0x800000\n"),
            concat!("asr r3, ", $low, ", #31\n"),
            concat!("adds ", $low, ", ", $low, ", r1\n"),
            concat!("adc ", $high, ", r2, r3"),
        )
    };
}

/// One pixel times four channels, for one four after another.
///
/// Why one by four: a word of weights is one input's of four channels, and two `AND` make of it two factors of `UMLAL`, which multiplies both of their weights. Four inputs at a
/// time are one load, four words of weights another.
///
/// | register | holds |
/// |---|---|
/// | r4 and r5, r6 and r7 | sums of the channels 0 and 1, 2 and 3, 64 bits each |
/// | r0, r1 | four inputs, one of them |
/// | r3, r8, r9, r10 | weights of four channels each |
/// | r2 | weights of two channels |
/// | r11 | 0xff0000ff |
/// | r12, lr | next input, next word of the stream |
/// | stack | the fields of [`Fours`] up to `part` |
///
/// # Safety
/// What `scalar/fours.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn fours_1x4(call: *const Fours) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "sub sp, sp, #24",
        "ldm r0, {{r1-r7}}",
        "stm sp, {{r1-r6}}",
        "mov lr, r7",
        "mov r11, #0xff",
        "orr r11, r11, #0xff000000",
        "1:",
        "ldr r12, [sp, #0]",
        "ldr r0, [sp, #20]",
        "ldm lr!, {{r4-r7}}",
        "sub r4, r4, r0",
        "sub r5, r5, r0",
        "sub r6, r6, r0",
        "sub r7, r7, r0",
        "mov r8, #0x1000000",
        begin!("r4", "r5"),
        begin!("r6", "r7"),
        "ldr r0, [sp, #4]",
        "cmp r12, r0",
        "beq 3f",
        "2:",
        four_inputs!(),
        four_inputs!(),
        "ldr r0, [sp, #4]",
        "cmp r12, r0",
        "bne 2b",
        "3:",
        "ldr r0, [sp, #8]",
        "cmp r12, r0",
        "beq 5f",
        "4:",
        "ldrb r1, [r12], #1",
        "ldr r3, [lr], #4",
        "eor r1, r1, #0x80",
        input!("r3"),
        "cmp r12, r0",
        "bne 4b",
        "5:",
        both_sums!("r4", "r5"),
        both_sums!("r6", "r7"),
        "ldm lr!, {{r0, r1, r2}}",
        requantize!("r4"),
        "ldm lr!, {{r0, r1, r2}}",
        requantize!("r5"),
        "ldm lr!, {{r0, r1, r2}}",
        requantize!("r6"),
        "ldm lr!, {{r0, r1, r2}}",
        requantize!("r7"),
        "ldrd r0, r1, [sp, #12]",
        "strb r4, [r0], #1",
        "strb r5, [r0], #1",
        "strb r6, [r0], #1",
        "strb r7, [r0], #1",
        "str r0, [sp, #12]",
        "cmp lr, r1",
        "bne 1b",
        "add sp, sp, #24",
        "pop {{r4-r11, pc}}",
    )
}
