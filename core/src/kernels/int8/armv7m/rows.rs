//! Four pixels of one channel at a time.

use core::arch::naked_asm;

use crate::kernels::int8::bounds::LIMIT;
use crate::kernels::int8::rows::{HEADER, ROUND};

/// Makes the taps' part of all sums nothing, but for the `2^23` that keep a sum from borrowing.
///
/// The part is two numbers of 64 bits, for two pixels each, and is taken off.
pub(in crate::kernels::int8) fn clear(taps: &mut [i32]) {
    if let Some(header) = taps.first_chunk_mut::<HEADER>() {
        *header = [-LIMIT as i32, -1, -LIMIT as i32, -1];
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
    pub(in crate::kernels::int8) header: *mut i32,
}

/// [`expand`](crate::kernels::int8::scalar::rows::expand).
///
/// | register | holds |
/// |---|---|
/// | r0 | next tap of the first pixel |
/// | r1, r2, r3 | from it to those of the other pixels |
/// | r4 to r7 | the taps' part of both sums, 64 bits each |
/// | r8, r9 | words of taps |
/// | r10 | 0x80000080, which adds 128 to both bytes of a word |
/// | r11 | a tap; 128 |
/// | r12 | where the next words go |
/// | lr | header, then end of the words |
///
/// # Safety
/// What `scalar/rows.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn expand_4(call: *const Expansion) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr lr, [r0, #24]",
        "ldm lr, {{r4-r7}}",
        "push {{lr}}",
        "ldrd r12, lr, [r0, #16]",
        "ldm r0, {{r0-r3}}",
        "mov r10, #0x80",
        "orr r10, r10, #0x80000000",
        "1:",
        "ldrb r9, [r0, r3]",
        "ldrb r11, [r0, r2]",
        "orr r9, r11, r9, lsl #24",
        "ldrb r8, [r0, r1]",
        "ldrb r11, [r0], #1",
        "orr r8, r11, r8, lsl #24",
        "eor r8, r8, r10",
        "eor r9, r9, r10",
        "mov r11, #128",
        "umlal r4, r5, r8, r11",
        "umlal r6, r7, r9, r11",
        "strd r8, r9, [r12], #8",
        "cmp r12, lr",
        "bne 1b",
        "pop {{lr}}",
        "stm lr, {{r4-r7}}",
        "pop {{r4-r11, pc}}",
    )
}

/// What [`tile_4x1`] is told.
#[repr(C)]
pub(in crate::kernels::int8) struct Tile {
    pub(in crate::kernels::int8) taps: *const i32,
    pub(in crate::kernels::int8) stream_end: *const i32,
    pub(in crate::kernels::int8) output: *mut i8,
    pub(in crate::kernels::int8) one: usize,
    pub(in crate::kernels::int8) two: usize,
    pub(in crate::kernels::int8) three: usize,
    pub(in crate::kernels::int8) taps_end: *const i32,
    pub(in crate::kernels::int8) stream: *const i32,
}

/// Four pixels times one channel, for one channel after another.
///
/// Why four by one: a word of taps is two pixels, so that one `LDM` of four words brings two taps of four pixels. With it go two weights and four
/// multiplications of two each: seven instructions for eight multiplications, and the next wider block, eight pixels, would have no register for the taps.
///
/// | register | holds |
/// |---|---|
/// | r4 and r5, r6 and r7 | sums of the pixels 0 and 1, 2 and 3, 64 bits each |
/// | r0 to r3 | taps: of the pixels 0 and 1, 2 and 3, then the next; later, numbers of the requantization |
/// | r8 | a weight |
/// | r9 | end of the taps |
/// | r10 | `2^24 + 1`, which puts the bias into both sums |
/// | r12, lr | next word of taps, next byte of the stream |
/// | stack | the fields of [`Tile`] up to `three` |
///
/// # Safety
/// What `scalar/rows.rs` checks.
#[unsafe(naked)]
pub(in crate::kernels::int8) unsafe extern "C" fn tile_4x1(call: *const Tile) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "sub sp, sp, #24",
        "ldm r0, {{r1-r8}}",
        "stm sp, {{r1-r6}}",
        "mov r9, r7",
        "mov lr, r8",
        "mov r10, #1",
        "orr r10, r10, #0x1000000",
        "1:",
        "ldr r12, [sp, #0]",
        "ldr r8, [lr], #4",
        "ldm r12!, {{r0-r3}}",
        "smull r4, r5, r8, r10",
        "subs r6, r4, r2",
        "sbc r7, r5, r3",
        "subs r4, r4, r0",
        "sbc r5, r5, r1",
        "2:",
        ".rept {round} / 2",
        "ldm r12!, {{r0-r3}}",
        "ldrb r8, [lr], #1",
        "umlal r4, r5, r0, r8",
        "umlal r6, r7, r1, r8",
        "ldrb r8, [lr], #1",
        "umlal r4, r5, r2, r8",
        "umlal r6, r7, r3, r8",
        ".endr",
        "cmp r12, r9",
        "bne 2b",
        "ldm lr!, {{r0, r1, r2}}",
        both_sums!("r4", "r5"),
        both_sums!("r6", "r7"),
        requantize!("r4"),
        requantize!("r5"),
        requantize!("r6"),
        requantize!("r7"),
        "ldrd r12, r0, [sp, #4]",
        "ldrd r1, r2, [sp, #12]",
        "ldr r3, [sp, #20]",
        "strb r5, [r0, r1]",
        "strb r6, [r0, r2]",
        "strb r7, [r0, r3]",
        "strb r4, [r0], #1",
        "str r0, [sp, #8]",
        "cmp lr, r12",
        "bne 1b",
        "add sp, sp, #24",
        "pop {{r4-r11, pc}}",
        round = const ROUND,
    )
}
