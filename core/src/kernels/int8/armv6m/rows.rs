//! Four pixels of one channel at a time.

use core::arch::naked_asm;

use crate::kernels::int8::rows::{HEADER, ROUND};

/// Makes the taps' part of all sums nothing.
///
/// The part is a word for each pixel, and is taken off.
pub(in crate::kernels::int8) fn clear(taps: &mut [i32]) {
    if let Some(header) = taps.first_chunk_mut::<HEADER>() {
        *header = [0; HEADER];
    }
}

/// What [`expand_4`] is told.
#[repr(C)]
pub(in crate::kernels::int8) struct Expansion {
    pub(in crate::kernels::int8) rows: *const i8,
    pub(in crate::kernels::int8) one: usize,
    pub(in crate::kernels::int8) two: usize,
    pub(in crate::kernels::int8) three: usize,
    pub(in crate::kernels::int8) taps: *mut i32,
    pub(in crate::kernels::int8) taps_end: *mut i32,
    /// What a sum of taps is more than one of signed numbers.
    pub(in crate::kernels::int8) sum: usize,
    pub(in crate::kernels::int8) header: *mut i32,
}

/// Adds 128 times a sum of taps to the next word of the header.
macro_rules! add_part {
    ($sum:literal) => {
        concat!(
            concat!("mov r5, ", $sum, "\n"),
            "lsls r5, r5, #7\n",
            "ldr r6, [r4]\n",
            "adds r6, r6, r5\n",
            "stm r4!, {{r6}}",
        )
    };
}

/// [`expand`](crate::kernels::int8::scalar::rows::expand).
///
/// Taps are loaded as signed numbers, because loads with an offset in a register can be, and become unsigned where two of them become a word: there, one addition
/// adds 128 to both.
///
/// | register | holds |
/// |---|---|
/// | r0 | next tap of the first pixel |
/// | r1, r2, r3 | from it to those of the other pixels |
/// | r4 | where the next words go |
/// | r5, r6 | taps of two pixels, and their word |
/// | r7 | 0x00800080 |
/// | r8 to r11 | sums of taps |
/// | r12 | end of the words |
///
/// # Safety
/// What `scalar/rows.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn expand_4(call: *const Expansion) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldr r4, [r0, #28]",
        "push {{r4}}",
        "ldr r5, [r0, #24]",
        "mov r8, r5",
        "mov r9, r5",
        "mov r10, r5",
        "mov r11, r5",
        "ldr r5, [r0, #20]",
        "mov r12, r5",
        "ldr r4, [r0, #16]",
        "ldm r0, {{r0-r3}}",
        "movs r7, #128",
        "lsls r5, r7, #16",
        "orrs r7, r5",
        "1:",
        "ldrb r5, [r0]",
        "sxtb r5, r5",
        "add r8, r5",
        "ldrsb r6, [r0, r1]",
        "add r9, r6",
        "lsls r6, r6, #16",
        "adds r5, r5, r6",
        "adds r5, r5, r7",
        "stm r4!, {{r5}}",
        "ldrsb r5, [r0, r2]",
        "add r10, r5",
        "ldrsb r6, [r0, r3]",
        "add r11, r6",
        "lsls r6, r6, #16",
        "adds r5, r5, r6",
        "adds r5, r5, r7",
        "stm r4!, {{r5}}",
        "adds r0, #1",
        "cmp r4, r12",
        "bne 1b",
        "pop {{r4}}",
        add_part!("r8"),
        add_part!("r9"),
        add_part!("r10"),
        add_part!("r11"),
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}

/// What [`tile_4x1`] is told.
#[repr(C)]
pub(in crate::kernels::int8) struct Tile {
    pub(in crate::kernels::int8) taps: *const i32,
    pub(in crate::kernels::int8) taps_end: *const i32,
    pub(in crate::kernels::int8) output: *mut i8,
    pub(in crate::kernels::int8) stream_end: *const i32,
    pub(in crate::kernels::int8) one: usize,
    pub(in crate::kernels::int8) two: usize,
    pub(in crate::kernels::int8) three: usize,
    pub(in crate::kernels::int8) stream: *const i32,
}

/// Two taps of four pixels times two weights: eight multiplications in nineteen instructions.
macro_rules! two_taps {
    ($first:literal, $second:literal) => {
        concat!(
            "ldm r0!, {{r3-r6}}\n",
            concat!("ldrb r2, [r1, #", $first, "]\n"),
            "muls r3, r2, r3
             add r8, r3
             lsrs r3, r3, #16
             add r9, r3
             muls r4, r2, r4
             add r10, r4
             lsrs r4, r4, #16
             add r11, r4\n",
            concat!("ldrb r2, [r1, #", $second, "]\n"),
            "muls r5, r2, r5
             add r8, r5
             lsrs r5, r5, #16
             add r9, r5
             muls r6, r2, r6
             add r10, r6
             lsrs r6, r6, #16
             add r11, r6",
        )
    };
}

/// Four pixels times one channel, for one channel after another.
///
/// Why four by one: a word of taps is two pixels, so that one `LDM` of four words, as many as there are registers for, brings two taps of four pixels. Two channels at once
/// would have to keep the taps, and copy what a multiplication overwrites.
///
/// | register | holds |
/// |---|---|
/// | r8, r9 | sum of all products of the pixels 0 and 1, sum of their upper halves |
/// | r10, r11 | the same of the pixels 2 and 3 |
/// | r0, r1 | next word of taps, next byte of the stream |
/// | r2 | a weight |
/// | r3 to r6 | taps, and products |
/// | r12 | end of the taps; later, a number of the requantization |
/// | stack | the fields of [`Tile`] up to `three` |
///
/// # Safety
/// What `scalar/rows.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn tile_4x1(call: *const Tile) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "ldm r0!, {{r1-r7}}",
        "push {{r1-r7}}",
        "ldr r1, [r0]",
        "1:",
        "ldr r2, [sp, #4]",
        "mov r12, r2",
        "ldr r0, [sp, #0]",
        "ldm r1!, {{r2}}",
        "ldm r0!, {{r3-r6}}",
        // The bias less the taps' parts, to the sum of the upper halves; and that again as upper halves, with the other pixel's, to the sum of all.
        "subs r3, r2, r3",
        "subs r4, r2, r4",
        "subs r5, r2, r5",
        "subs r6, r2, r6",
        "mov r9, r4",
        "lsls r4, r4, #16",
        "adds r3, r3, r4",
        "mov r8, r3",
        "mov r11, r6",
        "lsls r6, r6, #16",
        "adds r5, r5, r6",
        "mov r10, r5",
        "2:",
        two_taps!("0", "1"),
        two_taps!("2", "3"),
        two_taps!("4", "5"),
        two_taps!("6", "7"),
        "adds r1, #{round}",
        "cmp r0, r12",
        "bne 2b",
        "ldm r1!, {{r4, r6, r7}}",
        "mov r12, r6",
        "uxth r5, r4",
        "lsrs r4, r4, #16",
        "mov r3, r8",
        "mov r2, r9",
        "lsls r2, r2, #16",
        "subs r3, r3, r2",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "strb r3, [r2]",
        "mov r3, r9",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "ldr r0, [sp, #16]",
        "strb r3, [r2, r0]",
        "mov r3, r10",
        "mov r2, r11",
        "lsls r2, r2, #16",
        "subs r3, r3, r2",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "ldr r0, [sp, #20]",
        "strb r3, [r2, r0]",
        "mov r3, r11",
        "bl 5f",
        "ldr r2, [sp, #8]",
        "ldr r0, [sp, #24]",
        "strb r3, [r2, r0]",
        "adds r2, #1",
        "str r2, [sp, #8]",
        "ldr r0, [sp, #12]",
        "cmp r1, r0",
        "beq 3f",
        "b 1b",
        "3:",
        "add sp, #28",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        "5:",
        requantize_function!(),
        round = const ROUND,
    )
}
