//! Three rows of inputs times rows of weights.

use core::arch::naked_asm;

use super::finish::Kind;
use crate::kernels::int8::gather::runs_fit;
use crate::kernels::int8::vectors::{Layer, ROWS, Record};

/// Bytes of a vector.
const VECTOR: usize = 16;

/// The outputs of three rows of inputs, those of one row `stride` elements after those of the row before. The layer has an even number of channels.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn three_rows(
    layer: &Layer<'_>,
    inputs: [&[i8]; ROWS],
    output: &mut [i8],
    stride: usize,
) {
    let Layer { weights, channels, finish } = *layer;
    let ([first, second, third], count) = (inputs, channels.len());
    let length = first.len();
    let fits = length > 0
        && second.len() == length
        && third.len() == length
        && runs_fit(output.len(), stride, [ROWS, count]);
    if !fits || count == 0 || !count.is_multiple_of(2) || weights.len() / count < length {
        return;
    }
    let call = Call {
        inputs: inputs.map(<[i8]>::as_ptr),
        excess: length.next_multiple_of(VECTOR) - length,
        sums_end: core::ptr::null(),
        weights: weights.as_ptr(),
        length,
        count,
        records: channels.as_ptr(),
        output: output.as_mut_ptr(),
        stride,
        zero_point: finish.zero_point,
        min: finish.min,
        max: finish.max,
        kind: Kind::of(&finish),
    };
    // SAFETY: `length` bytes, at least one, are read of each input and of each of `count` rows of weights, and `count` records; as many outputs are
    // written at three places `stride` apart. The slices have them. `count` is a positive multiple of two, as the pairs of rows ask for.
    unsafe { rows_3x2(&raw const call) }
}

/// What [`rows_3x2`] is told.
#[repr(C)]
struct Call {
    inputs: [*const i8; ROWS],
    /// By how much whole vectors are longer than the rows.
    excess: usize,
    /// Set by the kernel: the end of the sums of a block.
    sums_end: *const i32,
    weights: *const i8,
    length: usize,
    count: usize,
    records: *const Record,
    output: *mut i8,
    stride: usize,
    zero_point: i32,
    min: i32,
    max: i32,
    kind: Kind,
}

/// Channels whose sums are computed before they become outputs.
const BLOCK: usize = 32;
/// Where the sums begin in the stack of the kernel: behind the call and a word that aligns them.
const SUMS: usize = 64;

/// One vector of each of three inputs with one of each of two rows of weights: 96 products in eleven instructions. `$sum` is `vmlav` for the first ones
/// and `vmlava` for those that are added to them.
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

/// The outputs of four channels of three rows at a time.
macro_rules! outputs_of_three {
    ($kind:ident) => {
        concat!(
            "dlstp.32 lr, r5\n",
            "9:\n",
            concat!(records!(), "\n"),
            "vldrw.u32 q6, [r2, #{second}]\n",
            concat!(outputs!($kind, "r3"), "\n"),
            "vldrw.u32 q6, [r2, #{third}]\n",
            concat!(outputs!($kind, "r7"), "\n"),
            "vldrw.u32 q6, [r2], #16\n",
            concat!(outputs!($kind, "r1"), "\n"),
            "letp lr, 9b",
        )
    };
}

/// Three rows of inputs times pairs of rows of weights, for a block of channels after another; then the outputs of the block.
///
/// Why three by two: five loads go with six times sixteen products. There are eight even registers for sums; of these r14 counts the loop and r12 says where
/// sums go. More sums would need another register for an address each, too.
///
/// | register | holds while summing |
/// |---|---|
/// | r0, r2 | sums of the first input with both rows |
/// | r4, r6; r8, r10 | those of the second and of the third input |
/// | r1, r3, r5 | addresses in the inputs |
/// | r7, r9 | addresses in the two rows of weights |
/// | r11 | length of a row |
/// | r12 | where the next sums go |
/// | q0 to q2, q3 | vectors of the inputs, of a row of weights |
/// | stack | the [`Call`], whose weights, count, records and output move on from block to block, then three rows of sums |
///
/// The first vectors need no sums to add to, so that nothing has to be set to zero; the loop does the others. Rows that are shorter than a vector have no
/// first whole one: they take the path at the end. How sums become outputs is said at [`requantize`](super::finish).
#[unsafe(naked)]
unsafe extern "C" fn rows_3x2(call: *const Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "sub sp, sp, #{frame}",
        "ldm r0!, {{r1-r8}}",
        "stm sp, {{r1-r8}}",
        "ldm r0, {{r1-r7}}",
        "add r12, sp, #32",
        "stm r12, {{r1-r7}}",
        // A block.
        "1:",
        "ldr r0, [sp, #28]",
        "cmp r0, #{block}",
        "it hs",
        "movhs r0, #{block}",
        "add r12, sp, #{sums}",
        "add r1, r12, r0, lsl #2",
        "str r1, [sp, #16]",
        "ldrd r7, r11, [sp, #20]",
        // A pair of rows of weights.
        "2:",
        "ldrd r1, r3, [sp, #0]",
        "ldr r5, [sp, #8]",
        "add r9, r7, r11",
        "subs lr, r11, #16",
        "blo 8f",
        three_by_two!("vmlav"),
        "wlstp.8 lr, lr, 4f",
        "3:",
        three_by_two!("vmlava"),
        "letp lr, 3b",
        "4:",
        "strd r0, r2, [r12], #8",
        "strd r4, r6, [r12, #{second} - 8]",
        "strd r8, r10, [r12, #{third} - 8]",
        "ldrd r1, r3, [sp, #12]",
        "sub r7, r9, r1",
        "cmp r12, r3",
        "bne 2b",
        // Outputs: r5 is how many, r4 are the records, r1, r3, r7 the places in the three rows.
        "add r2, sp, #{sums}",
        "sub r5, r12, r2",
        "lsr r5, r5, #2",
        "ldr r0, [sp, #28]",
        "sub r0, r0, r5",
        "strd r7, r11, [sp, #20]",
        "str r0, [sp, #28]",
        "ldrd r4, r1, [sp, #32]",
        "ldrd r8, r6, [sp, #40]",
        "add r0, r5, r5, lsl #1",
        "add r7, r4, r0, lsl #2",
        "add r0, r1, r5",
        "strd r7, r0, [sp, #32]",
        "add r3, r1, r8",
        "mov r0, #0",
        "vidup.u32 q3, r0, #4",
        "mov r0, #3",
        "vmul.i32 q3, q3, r0",
        "sub r4, r4, #48",
        "vadd.i32 q3, q3, r4",
        "ldrd r0, r7, [sp, #48]",
        "vdup.32 q4, r0",
        "vdup.32 q5, r7",
        "add r7, r3, r8",
        "ldr r0, [sp, #56]",
        "cmp r0, #1",
        "blo 5f",
        "beq 6f",
        outputs_of_three!(left),
        "b 7f",
        "6:",
        outputs_of_three!(signed),
        "b 7f",
        "5:",
        outputs_of_three!(relu),
        "7:",
        "ldr r0, [sp, #28]",
        "cmp r0, #0",
        "bne 1b",
        "add sp, sp, #{frame}",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        "8:",
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
        "b 4b",
        frame = const SUMS + ROWS * 4 * BLOCK,
        sums = const SUMS,
        block = const BLOCK,
        second = const 4 * BLOCK,
        third = const 8 * BLOCK,
    )
}
