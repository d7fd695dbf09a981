//! Dot products: rows of inputs with rows of weights.

use core::arch::naked_asm;

use crate::kernels::int8::vectors::{BLOCK, ROWS, Sums};

/// Bytes of a vector.
const VECTOR: usize = 16;

/// The dot products of three inputs with `2 * pairs` rows of weights, which follow each other: those of input `i` go to `sums[i]`.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn three_dots(
    inputs: [&[i8]; ROWS],
    weights: &[i8],
    pairs: usize,
    sums: &mut Sums,
) {
    let [first, second, third] = inputs;
    let length = first.len();
    let fits = length > 0 && second.len() == length && third.len() == length;
    // No product is too long: `pairs` is small.
    if !fits || pairs == 0 || 2 * pairs > BLOCK || weights.len() / (2 * pairs) < length {
        return;
    }
    let sums = sums.as_mut_ptr().cast::<i32>();
    let call = ThreeDots {
        inputs: inputs.map(<[i8]>::as_ptr),
        excess: length.next_multiple_of(VECTOR) - length,
        sums_end: sums.wrapping_add(2 * pairs),
        weights: weights.as_ptr(),
        length,
        sums,
    };
    // SAFETY: `length` bytes, at least one, are read of each input and of each of the `2 * pairs` rows of weights; the slices have them. For each pair
    // of rows, two neighbouring sums of each input are written, which are `pairs` times two of the `BLOCK` that it has.
    unsafe { dots_3x2(&raw const call) }
}

/// What [`dots_3x2`] is told.
#[repr(C)]
struct ThreeDots {
    inputs: [*const i8; ROWS],
    /// By how much whole vectors are longer than the rows.
    excess: usize,
    sums_end: *const i32,
    weights: *const i8,
    length: usize,
    sums: *mut i32,
}

/// One vector of each of three inputs with one of each of two rows of weights: 96 products in eleven instructions. `$sum` is `VMLAV` for the first ones
/// and `VMLAVA` for those that are added to them.
macro_rules! three_by_two {
    ($sum:literal) => {
        concat!(
            "vldrb.u8 q0, [r1], #16\n",
            "vldrb.u8 q1, [r3], #16\n",
            "vldrb.u8 q2, [r5], #16\n",
            "vldrb.u8 q3, [r7], #16\n",
            concat!($sum, ".s8 r0, q0, q3\n"),
            concat!($sum, ".s8 r4, q1, q3\n"),
            concat!($sum, ".s8 r8, q2, q3\n"),
            "vldrb.u8 q3, [r9], #16\n",
            concat!($sum, ".s8 r2, q0, q3\n"),
            concat!($sum, ".s8 r6, q1, q3\n"),
            concat!($sum, ".s8 r10, q2, q3"),
        )
    };
}

/// Three inputs times two rows of weights, for one pair of rows after another.
///
/// Why three by two: five loads go with six times sixteen products. There are eight even registers for sums; of these r14 counts the loop and r12 says where
/// sums go. More sums would need another register for an address each, too.
///
/// | register | holds |
/// |---|---|
/// | r0, r2 | sums of the first input with both rows |
/// | r4, r6; r8, r10 | those of the second and of the third input |
/// | r1, r3, r5 | addresses in the inputs |
/// | r7, r9 | addresses in the two rows of weights |
/// | r11 | length of a row |
/// | r12 | where the next sums go |
/// | q0 to q2, q3 | vectors of the inputs, of a row of weights |
/// | stack | the fields of [`ThreeDots`] up to `sums_end` |
///
/// The first vectors need no sums to add to, so that nothing has to be set to zero; the loop does the others. Rows that are shorter than a vector have no
/// first whole one: they take the path at the end.
#[unsafe(naked)]
unsafe extern "C" fn dots_3x2(call: *const ThreeDots) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #20",
        "ldm r0!, {{r1-r5}}",
        "stm sp, {{r1-r5}}",
        "ldm r0, {{r7, r11, r12}}",
        "1:",
        "ldrd r1, r3, [sp, #0]",
        "ldr r5, [sp, #8]",
        "add r9, r7, r11",
        "subs lr, r11, #16",
        "blo 5f",
        three_by_two!("vmlav"),
        "wlstp.8 lr, lr, 3f",
        "2:",
        three_by_two!("vmlava"),
        "letp lr, 2b",
        "3:",
        "strd r0, r2, [r12], #8",
        "strd r4, r6, [r12, #{second} - 8]",
        "strd r8, r10, [r12, #{third} - 8]",
        "ldrd r1, r3, [sp, #12]",
        "sub r7, r9, r1",
        "cmp r12, r3",
        "bne 1b",
        "add sp, sp, #20",
        "pop {{r4-r11, pc}}",
        "5:",
        "vctp.8 r11",
        "vpstttt",
        "vldrbt.u8 q0, [r1]",
        "vldrbt.u8 q1, [r3]",
        "vldrbt.u8 q2, [r5]",
        "vldrbt.u8 q3, [r7]",
        "vpstttt",
        "vmlavt.s8 r0, q0, q3",
        "vmlavt.s8 r4, q1, q3",
        "vmlavt.s8 r8, q2, q3",
        "vldrbt.u8 q3, [r9], #16",
        "vpsttt",
        "vmlavt.s8 r2, q0, q3",
        "vmlavt.s8 r6, q1, q3",
        "vmlavt.s8 r10, q2, q3",
        "b 3b",
        second = const 4 * BLOCK,
        third = const 8 * BLOCK,
    )
}

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
