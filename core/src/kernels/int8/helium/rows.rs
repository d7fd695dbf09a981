//! Three rows of inputs times rows of weights.

use core::arch::naked_asm;

use super::finish::Kind;
use crate::kernels::int8::gather::runs_fit;
use crate::kernels::int8::vectors::{BLOCK, Layer, ROWS, Record, Sums, Windows};
use crate::memory::InOut;

/// Bytes of a vector.
const VECTOR: usize = 16;

/// The outputs of rows of `length` inputs, which follow each other, a multiple of three of them; those of one row lie `stride` elements after those of the row before.
/// The layer has an even number of channels.
///
/// Does nothing if the lengths do not fit each other.
#[inline(always)]
pub(in crate::kernels::int8) fn three_rows(
    layer: &Layer<'_>,
    length: usize,
    inputs: &[i8],
    output: &mut [i8],
    stride: usize,
    sums: &mut Sums,
) {
    let Layer { weights, channels, finish } = *layer;
    let count = channels.len();
    let rows = inputs.len().checked_div(length).unwrap_or(0);
    let fits = rows > 0
        && rows.is_multiple_of(ROWS)
        && count > 0
        && count.is_multiple_of(2)
        && runs_fit(output.len(), stride, [rows, count])
        && weights.len() / count >= length;
    if !fits {
        return;
    }
    let input = inputs.as_ptr();
    let call = Call {
        inputs: [0, length, 2 * length].map(|place| input.wrapping_add(place)),
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
        threes: rows / ROWS,
        source: core::ptr::null(),
        windows: Windows { rows: 0, length: 0, row_stride: 0, pixel_stride: 0 },
        sums: sums.as_mut_ptr(),
    };
    // SAFETY: `length` bytes, at least one, are read of each of `rows` inputs and of each of `count` rows of weights, and `count` records; as many outputs are
    // written at `rows` places `stride` apart. The slices have them. `rows` is a positive multiple of three, and `count` one of two, as the kernel asks for.
    unsafe { rows_3x2(&raw const call) }
}

/// The outputs of the windows of neighbouring pixels, a multiple of three of them, which are copied to `taps` three at a time. The first one begins at `[input, output]`.
/// The layer has an even number of channels.
///
/// Does nothing if they do not lie in the input and in the output, or the lengths do not fit each other.
pub(in crate::kernels::int8) fn window_rows(
    layer: &Layer<'_>,
    both: &mut InOut<'_>,
    places: [usize; 2],
    windows: &Windows,
    threes: usize,
    (taps, sums): (&mut [i8], &mut Sums),
) {
    let Layer { weights, channels, finish } = *layer;
    let ([input, output], count) = (places, channels.len());
    let ends = || {
        let pixels = threes.checked_mul(ROWS)?;
        let last = pixels.checked_sub(1)?;
        let across = last.checked_mul(windows.pixel_stride)?;
        let down = windows.rows.checked_sub(1)?.checked_mul(windows.row_stride)?;
        let input_end = input.checked_add(across)?.checked_add(down)?.checked_add(windows.length)?;
        Some([
            input_end,
            output.checked_add(pixels.checked_mul(count)?)?,
            windows.rows.checked_mul(windows.length)?,
        ])
    };
    let Some([input_end, output_end, length]) = ends() else { return };
    let fits = input_end <= both.input().len()
        && output_end <= both.output().len()
        && length > 0
        && taps.len() / ROWS >= length
        && count > 0
        && count.is_multiple_of(2)
        && weights.len() / count >= length;
    if !fits {
        return;
    }
    let (source, outputs) = match both {
        InOut::Apart { input, output } => (input.as_ptr(), output.as_mut_ptr()),
        // One pointer that may both read and write.
        InOut::Over { region, input: (input, _), output: (output, _) } => {
            let region = region.as_mut_ptr();
            (region.wrapping_add(*input).cast_const(), region.wrapping_add(*output))
        }
    };
    let inputs = taps.as_mut_ptr();
    let call = Call {
        inputs: [0, length, 2 * length].map(|place| inputs.wrapping_add(place).cast_const()),
        excess: length.next_multiple_of(VECTOR) - length,
        sums_end: core::ptr::null(),
        weights: weights.as_ptr(),
        length,
        count,
        records: channels.as_ptr(),
        output: outputs.wrapping_add(output).cast(),
        stride: count,
        zero_point: finish.zero_point,
        min: finish.min,
        max: finish.max,
        kind: Kind::of(&finish),
        threes,
        source: source.wrapping_add(input).cast(),
        windows: *windows,
        sums: sums.as_mut_ptr(),
    };
    // SAFETY: the windows of all pixels lie in the input, and their outputs in the output; `taps`, which the first of `inputs` points to, has room for three windows. Of
    // each of `count` rows of weights, which is a positive multiple of two, as many bytes are read as a window has, and as many records as there are. Those
    // are what the slices have.
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
    /// Threes of rows.
    threes: usize,
    /// Where the windows come from that are to be copied to `inputs` first, and how; no rows if there are none.
    source: *const i8,
    windows: Windows,
    /// Memory for the sums of a block of channels, of three rows.
    sums: *mut i32,
}

/// Bytes that the call takes in the stack of the kernel, with three copies of those fields that begin anew for the next rows.
const FRAME: usize = 100;

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

/// The addresses for a pair of rows of weights.
macro_rules! begin_pair {
    () => {
        "ldrd r1, r3, [sp, #0]
         ldr r5, [sp, #8]
         add r9, r7, r11"
    };
}

/// Keeps the sums of a pair of rows of weights and goes to the next pair, which is at `$next`.
macro_rules! end_pair {
    ($next:literal) => {
        concat!(
            "strd r0, r2, [r12], #8\n",
            "strd r4, r6, [r12, #{second} - 8]\n",
            "strd r8, r10, [r12, #{third} - 8]\n",
            "ldrd r1, r3, [sp, #12]\n",
            "sub r7, r9, r1\n",
            "cmp r12, r3\n",
            concat!("bne ", $next),
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

/// Three rows of inputs times pairs of rows of weights, for a block of channels after another, with the outputs of the block behind its sums; for three rows after
/// another, which are copied together from the windows of pixels if they do not lie side by side.
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
/// | stack | the [`Call`], whose weights, count, records and output move on from block to block; before its last six words, the first three of these as they were |
///
/// The first vectors need no sums to add to, so that nothing has to be set to zero; a loop does the others. Of rows of 64 elements or more, four whole vectors come
/// before the loop; rows that are shorter than a vector have no whole one at all. How sums become outputs is said at [`requantize`](super::finish).
#[unsafe(naked)]
unsafe extern "C" fn rows_3x2(call: *const Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "sub sp, sp, #{frame}",
        "ldm r0!, {{r1-r8}}",
        "stm sp, {{r1-r8}}",
        "ldm r0!, {{r1-r8}}",
        "add r12, sp, #32",
        "stm r12!, {{r1-r8}}",
        "ldr r2, [sp, #20]",
        "ldr r3, [sp, #28]",
        "mov r4, r1",
        "stm r12!, {{r2, r3, r4}}",
        "ldm r0, {{r1-r6}}",
        "stm r12, {{r1-r6}}",
        // The windows of three pixels: r0 and r1 are places in the input and in the taps, r8 to r10 in a pixel and in a row.
        "15:",
        "ldr r3, [sp, #80]",
        "cmp r3, #0",
        "beq 1f",
        "ldr r0, [sp, #76]",
        "ldr r1, [sp, #0]",
        "ldrd r2, r4, [sp, #84]",
        "ldr r5, [sp, #92]",
        "mov r6, #{rows}",
        "vctp.8 r2",
        "cmp r2, #16",
        "bls 20f",
        "16:",
        "mov r8, r0",
        "mov r7, r3",
        "17:",
        "mov r9, r8",
        "mov r10, r1",
        "wlstp.8 lr, r2, 19f",
        "18:",
        "vldrb.u8 q0, [r9], #16",
        "vstrb.8 q0, [r10], #16",
        "letp lr, 18b",
        "19:",
        "add r8, r8, r4",
        "add r1, r1, r2",
        "subs r7, r7, #1",
        "bne 17b",
        "add r0, r0, r5",
        "subs r6, r6, #1",
        "bne 16b",
        "b 22f",
        // Rows that a vector holds.
        "20:",
        "mov r8, r0",
        "dls lr, r3",
        "21:",
        "vpstt",
        "vldrbt.u8 q0, [r8]",
        "vstrbt.8 q0, [r1]",
        "add r8, r8, r4",
        "add r1, r1, r2",
        "le lr, 21b",
        "add r0, r0, r5",
        "subs r6, r6, #1",
        "bne 20b",
        "22:",
        "str r0, [sp, #76]",
        // A block.
        "1:",
        "ldr r0, [sp, #28]",
        "cmp r0, #{block}",
        "it hs",
        "movhs r0, #{block}",
        "ldr r12, [sp, #96]",
        "add r1, r12, r0, lsl #2",
        "str r1, [sp, #16]",
        "ldrd r7, r11, [sp, #20]",
        "cmp r11, #64",
        "blo 4f",
        // Pairs of rows of weights that begin with four whole vectors.
        "2:",
        begin_pair!(),
        "sub lr, r11, #64",
        three_by_two!("vmlav"),
        three_by_two!("vmlava"),
        three_by_two!("vmlava"),
        three_by_two!("vmlava"),
        "wlstp.8 lr, lr, 3f",
        "13:",
        three_by_two!("vmlava"),
        "letp lr, 13b",
        "3:",
        end_pair!("2b"),
        "b 8f",
        "4:",
        "cmp r11, #16",
        "blo 7f",
        // With one.
        "5:",
        begin_pair!(),
        "sub lr, r11, #16",
        three_by_two!("vmlav"),
        "wlstp.8 lr, lr, 6f",
        "14:",
        three_by_two!("vmlava"),
        "letp lr, 14b",
        "6:",
        end_pair!("5b"),
        "b 8f",
        // With none.
        "7:",
        begin_pair!(),
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
        end_pair!("7b"),
        "8:",
        // Outputs: r5 is how many, r4 are the records, r1, r3, r7 the places in the three rows.
        "ldr r2, [sp, #96]",
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
        // The next three rows.
        "ldr r0, [sp, #60]",
        "subs r0, r0, #1",
        "beq 12f",
        "str r0, [sp, #60]",
        "add r12, sp, #64",
        "ldm r12, {{r1, r2, r3}}",
        "str r1, [sp, #20]",
        "strd r2, r3, [sp, #28]",
        "ldrd r4, r5, [sp, #36]",
        "sub r4, r4, r2",
        "add r5, r5, r5, lsl #1",
        "add r4, r4, r5",
        "str r4, [sp, #36]",
        "ldr r0, [sp, #80]",
        "cmp r0, #0",
        "bne 15b",
        "ldr r0, [sp, #24]",
        "add r0, r0, r0, lsl #1",
        "ldm sp, {{r1, r2, r3}}",
        "add r1, r1, r0",
        "add r2, r2, r0",
        "add r3, r3, r0",
        "stm sp, {{r1, r2, r3}}",
        "b 1b",
        "12:",
        "add sp, sp, #{frame}",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        frame = const FRAME,
        rows = const ROWS,
        block = const BLOCK,
        second = const 4 * BLOCK,
        third = const 8 * BLOCK,
    )
}
