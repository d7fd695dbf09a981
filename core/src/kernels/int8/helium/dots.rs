//! Dot products of one row of inputs with rows of weights.

use core::arch::naked_asm;

/// The dot products of an input with as many rows of weights as there are sums; the rows follow each other.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn dots(input: &[i8], weights: &[i8], sums: &mut [i32]) {
    let (length, rows) = (input.len(), sums.len());
    if length == 0 || rows == 0 || weights.len().checked_div(rows).is_none_or(|most| most < length) {
        return;
    }
    let call = Dots {
        input: input.as_ptr(),
        fours: rows / 4,
        left: rows % 4,
        length,
        weights: weights.as_ptr(),
        sums: sums.as_mut_ptr(),
    };
    // SAFETY: `length` bytes, at least one, are read of the input and of each row of weights, and a sum is written for each row; the slices have them.
    unsafe { dots_1x4(&raw const call) }
}

/// What [`dots_1x4`] is told.
#[repr(C)]
struct Dots {
    input: *const i8,
    /// Fours of rows.
    fours: usize,
    /// Rows left over from fours.
    left: usize,
    length: usize,
    weights: *const i8,
    sums: *mut i32,
}

/// One vector of the input with one of each of four rows of weights: 64 products in nine instructions.
macro_rules! one_by_four {
    ($sum:literal) => {
        concat!(
            "vldrb.u8 q0, [r9], #16\n",
            "vldrb.u8 q1, [r1], #16\n",
            concat!($sum, ".s8 r0, q0, q1\n"),
            "vldrb.u8 q2, [r3], #16\n",
            concat!($sum, ".s8 r2, q0, q2\n"),
            "vldrb.u8 q3, [r5], #16\n",
            concat!($sum, ".s8 r4, q0, q3\n"),
            "vldrb.u8 q1, [r7], #16\n",
            concat!($sum, ".s8 r6, q0, q1"),
        )
    };
}

/// One input times four rows of weights, for four rows after another, then for one row after another.
///
/// Why one by four: each weight is used once, so that every sixteen products cost a load of weights. The vector of the input is shared by four rows;
/// by more it cannot be without more addresses than there are odd registers left.
///
/// | register | holds |
/// |---|---|
/// | r0, r2, r4, r6 | sums |
/// | r1, r3, r5, r7 | addresses in four rows of weights |
/// | r9 | address in the input |
/// | r10 | first row of weights |
/// | r11 | length of a row |
/// | r12 | where the next sums go |
/// | q0, q1 to q3 | vectors of the input, of weights |
/// | stack | the fields of [`Dots`] up to `left` |
#[unsafe(naked)]
unsafe extern "C" fn dots_1x4(call: *const Dots) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #12",
        "ldm r0, {{r1-r3, r11, r12, lr}}",
        "stm sp, {{r1-r3}}",
        "mov r10, r12",
        "mov r12, lr",
        "ldr r8, [sp, #4]",
        "cmp r8, #0",
        "beq 4f",
        "1:",
        "ldr r9, [sp, #0]",
        "mov r1, r10",
        "add r3, r1, r11",
        "add r5, r3, r11",
        "add r7, r5, r11",
        "add r10, r7, r11",
        "subs lr, r11, #16",
        "blo 7f",
        one_by_four!("vmlav"),
        "wlstp.8 lr, lr, 3f",
        "2:",
        one_by_four!("vmlava"),
        "letp lr, 2b",
        "3:",
        "strd r0, r2, [r12], #8",
        "strd r4, r6, [r12], #8",
        "subs r8, r8, #1",
        "bne 1b",
        "4:",
        "ldr r8, [sp, #8]",
        "cmp r8, #0",
        "beq 6f",
        "5:",
        "ldr r9, [sp, #0]",
        "mov r1, r10",
        "add r10, r10, r11",
        "mov r0, #0",
        "wlstp.8 lr, r11, 9f",
        "8:",
        "vldrb.u8 q0, [r9], #16",
        "vldrb.u8 q1, [r1], #16",
        "vmlava.s8 r0, q0, q1",
        "letp lr, 8b",
        "9:",
        "str r0, [r12], #4",
        "subs r8, r8, #1",
        "bne 5b",
        "6:",
        "add sp, sp, #12",
        "pop {{r4-r11, pc}}",
        "7:",
        "vctp.8 r11",
        "vpstttt",
        "vldrbt.u8 q0, [r9]",
        "vldrbt.u8 q1, [r1]",
        "vmlavt.s8 r0, q0, q1",
        "vldrbt.u8 q1, [r3]",
        "vpstttt",
        "vmlavt.s8 r2, q0, q1",
        "vldrbt.u8 q1, [r5]",
        "vmlavt.s8 r4, q0, q1",
        "vldrbt.u8 q1, [r7]",
        "vpst",
        "vmlavt.s8 r6, q0, q1",
        "b 3b",
    )
}
