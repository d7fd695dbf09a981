//! Maxima of pixels, for pools.

use core::arch::naked_asm;

/// Keeps in each of `greatest` the greater of it and of the value beside it.
///
/// Does nothing if they are not as many.
pub(in crate::kernels::int8) fn keep_greater_fours(greatest: &mut [[i8; 4]], values: &[[i8; 4]]) {
    if greatest.is_empty() || greatest.len() != values.len() {
        return;
    }
    let range = greatest.as_mut_ptr_range();
    // SAFETY: both slices have the words from the first to before `range.end`, of which there is at least one.
    unsafe { greater(range.start.cast(), values.as_ptr().cast(), range.end.cast()) }
}

/// r0, r1: the words of both. r2: the end of the first ones. r3, r12: a word of each; the differences of their bytes, in r4, leave in the flags of `SEL` which
/// byte is the greater one.
#[unsafe(naked)]
unsafe extern "C" fn greater(greatest: *mut i8, values: *const i8, end: *mut i8) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4, lr}}",
        "1:",
        "ldr r3, [r0]",
        "ldr r12, [r1], #4",
        "ssub8 r4, r3, r12",
        "sel r3, r3, r12",
        "str r3, [r0], #4",
        "cmp r0, r2",
        "bne 1b",
        "pop {{r4, pc}}",
    )
}
