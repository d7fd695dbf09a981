//! The kernel of [`blocks`](crate::kernels::int8::blocks) for Armv6-M and for Armv7-M without the DSP extension.
use core::arch::naked_asm;

/// Adds to `sums` the dot products of two inputs with two rows of weights; see [`blocks`](crate::kernels::int8::blocks).
///
/// Adds nothing if the lengths differ.
pub(crate) fn add_dots(inputs: &[i8], weights: &[i8], sums: &mut [i32; 4]) {
    let length = inputs.len() / 2;
    if length == 0 || inputs.len() != weights.len() || inputs.len() != 2 * length {
        return;
    }
    let rounds = length - length % ROUND;
    let call =
        Rows { inputs: inputs.as_ptr(), weights: weights.as_ptr(), length, sums: sums.as_mut_ptr(), rounds };
    // SAFETY: twice `length` bytes are read of both, which they have; `length` is not zero, and `rounds` is a multiple of the round.
    unsafe { dots_2x2(&raw const call) }
}

/// What [`dots_2x2`] is told.
#[repr(C)]
struct Rows {
    inputs: *const i8,
    weights: *const i8,
    length: usize,
    sums: *mut i32,
    /// Elements in whole rounds.
    rounds: usize,
}

/// Elements in a round of the loop.
const ROUND: usize = 8;

/// Four products of one element of each row, in fifteen instructions.
#[cfg(arm_v6m)]
macro_rules! element {
    () => {
        "ldrsb r4, [r0, r2]
         ldrsb r6, [r1, r2]
         ldrsb r7, [r1, r3]
         mov r5, r4
         muls r5, r6, r5
         add r8, r8, r5
         muls r4, r7, r4
         add r9, r9, r4
         ldrsb r5, [r0, r3]
         muls r6, r5, r6
         add r10, r10, r6
         muls r7, r5, r7
         add r11, r11, r7
         adds r2, r2, #1
         adds r3, r3, #1"
    };
}

/// Two inputs times two rows of weights.
///
/// Loads and multiplications reach only r0 to r7, but `ADD` takes any register: the sums are out of the way.
///
/// | register | holds |
/// |---|---|
/// | r8 to r11 | the sums |
/// | r0, r1 | both inputs, both rows of weights |
/// | r2, r3 | index in the first, in the second of them |
/// | r4 to r7 | elements and products |
/// | r12, lr | end of the whole rounds, of all |
#[cfg(arm_v6m)]
#[unsafe(naked)]
unsafe extern "C" fn dots_2x2(call: *const Rows) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "mov r7, r0",
        "ldr r0, [r7, #0]",
        "ldr r1, [r7, #4]",
        "ldr r3, [r7, #8]",
        "ldr r2, [r7, #16]",
        "mov lr, r3",
        "mov r12, r2",
        "ldr r2, [r7, #12]",
        "push {{r2}}",
        "ldm r2!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "movs r2, #0",
        "cmp r2, r12",
        "beq 2f",
        "1:",
        ".rept {round}",
        element!(),
        ".endr",
        "cmp r2, r12",
        "bne 1b",
        "2:",
        "cmp r2, lr",
        "beq 4f",
        "3:",
        element!(),
        "cmp r2, lr",
        "bne 3b",
        "4:",
        "pop {{r3}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "stm r3!, {{r4-r7}}",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        round = const ROUND,
    )
}

/// Four products of one element of each row, in eight instructions.
#[cfg(arm_v7m)]
macro_rules! element {
    () => {
        "ldrsb r9, [r0, r2]
         ldrsb r8, [r0], #1
         ldrsb r11, [r1, r2]
         ldrsb r10, [r1], #1
         mla r4, r8, r10, r4
         mla r5, r8, r11, r5
         mla r6, r9, r10, r6
         mla r7, r9, r11, r7"
    };
}

/// Two inputs times two rows of weights.
///
/// | register | holds |
/// |---|---|
/// | r4 to r7 | the sums |
/// | r0, r1 | next element of the first input, of the first row of weights |
/// | r2 | from the first to the second of them |
/// | r8 to r11 | an element of each |
/// | r3 | where the sums go |
/// | r12, lr | end of the whole rounds, of all |
#[cfg(arm_v7m)]
#[unsafe(naked)]
unsafe extern "C" fn dots_2x2(call: *const Rows) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldm r0, {{r0, r1, r2, r3, r12}}",
        "ldm r3, {{r4-r7}}",
        "add r12, r12, r0",
        "add lr, r0, r2",
        "cmp r0, r12",
        "beq 2f",
        "1:",
        ".rept {round}",
        element!(),
        ".endr",
        "cmp r0, r12",
        "bne 1b",
        "2:",
        "cmp r0, lr",
        "beq 4f",
        "3:",
        element!(),
        "cmp r0, lr",
        "bne 3b",
        "4:",
        "stm r3, {{r4-r7}}",
        "pop {{r4-r11, pc}}",
        round = const ROUND,
    )
}
