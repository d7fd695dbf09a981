//! Copies of rows, and sums of pixels.

use core::arch::naked_asm;

use crate::kernels::int8::gather::runs_fit;
use crate::kernels::int8::vectors::ROWS;

/// Copies `rows` runs of `length` elements: `from` one of its strides after another, `to` one of its own.
///
/// Does nothing if a run would not fit.
pub(in crate::kernels::int8) fn copy_rows(
    from: &[i8],
    to: &mut [i8],
    [from_stride, to_stride]: [usize; 2],
    [rows, length]: [usize; 2],
) {
    let fits =
        runs_fit(from.len(), from_stride, [rows, length]) && runs_fit(to.len(), to_stride, [rows, length]);
    if !fits || length == 0 {
        return;
    }
    // SAFETY: there is at least one run, and the last one ends within its slice, on both sides.
    unsafe { copy_runs(from.as_ptr(), to.as_mut_ptr(), length, rows, from_stride, to_stride) }
}

/// r0, r1: where a run comes from and goes to. r2: its length. r3: runs left. r4, r5: the strides. r6, r12: places in the run.
#[unsafe(naked)]
unsafe extern "C" fn copy_runs(
    from: *const i8,
    to: *mut i8,
    length: usize,
    rows: usize,
    from_stride: usize,
    to_stride: usize,
) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r6, lr}}",
        "ldrd r4, r5, [sp, #16]",
        "1:",
        "mov r6, r0",
        "mov r12, r1",
        "wlstp.8 lr, r2, 3f",
        "2:",
        "vldrb.u8 q0, [r6], #16",
        "vstrb.u8 q0, [r12], #16",
        "letp lr, 2b",
        "3:",
        "add r0, r0, r4",
        "add r1, r1, r5",
        "subs r3, r3, #1",
        "bne 1b",
        "pop {{r4-r6, pc}}",
    )
}

/// Copies what the windows of three pixels read, `rows` runs of `length` elements each, to one place after another: from a run to the next in the input it
/// is `row_stride`, from a pixel to the next `pixel_stride`.
///
/// Does nothing if a run would not fit.
pub(in crate::kernels::int8) fn copy_three(
    from: &[i8],
    to: &mut [i8],
    [row_stride, pixel_stride]: [usize; 2],
    [rows, length]: [usize; 2],
) {
    let last = pixel_stride.checked_mul(ROWS - 1).and_then(|last| from.get(last..)).unwrap_or_default();
    let all = rows.checked_mul(length).and_then(|pixel| pixel.checked_mul(ROWS));
    if length == 0
        || !runs_fit(last.len(), row_stride, [rows, length])
        || all.is_none_or(|all| to.len() < all)
    {
        return;
    }
    // SAFETY: of each pixel there is at least one run of at least one element, and the last run of the last one ends within `from`; `to` has room for all.
    unsafe { copy_3_pixels(from.as_ptr(), to.as_mut_ptr(), length, rows, row_stride, pixel_stride) }
}

/// r0, r1: where a pixel's runs come from, where the next one goes to. r2: its length. r3: runs of a pixel. r4, r5: the strides. r6: pixels left. r7: runs left.
/// r8: where a run comes from. r9: place in it. r12: place where it goes.
#[unsafe(naked)]
unsafe extern "C" fn copy_3_pixels(
    from: *const i8,
    to: *mut i8,
    length: usize,
    rows: usize,
    row_stride: usize,
    pixel_stride: usize,
) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r9, lr}}",
        "ldrd r4, r5, [sp, #28]",
        "mov r6, #{pixels}",
        "1:",
        "mov r8, r0",
        "mov r7, r3",
        "2:",
        "mov r9, r8",
        "mov r12, r1",
        "wlstp.8 lr, r2, 4f",
        "3:",
        "vldrb.u8 q0, [r9], #16",
        "vstrb.u8 q0, [r12], #16",
        "letp lr, 3b",
        "4:",
        "add r8, r8, r4",
        "add r1, r1, r2",
        "subs r7, r7, #1",
        "bne 2b",
        "add r0, r0, r5",
        "subs r6, r6, #1",
        "bne 1b",
        "pop {{r4-r9, pc}}",
        pixels = const ROWS,
    )
}

/// Adds to `sums` the eight channels of each of `count` pixels, at most 256 of them.
///
/// Adds nothing if `input` is too short.
pub(in crate::kernels::int8) fn add_run(input: &[i8], stride: usize, count: usize, sums: &mut [i32; 8]) {
    if count == 0 || !runs_fit(input.len(), stride, [count, sums.len()]) {
        return;
    }
    // SAFETY: eight bytes of each of `count` pixels, at least one, lie in `input`.
    unsafe { sum_eight(input.as_ptr(), stride, count, sums.as_mut_ptr()) }
}

/// r0: a pixel. r1: from pixel to pixel. r2: pixels. r3: the sums. q0: eight channels. q1: sums of 16 bits, which hold 256 int8. q2, q3: the even and the odd
/// ones' sums, which two loads take apart and two stores put together.
#[unsafe(naked)]
unsafe extern "C" fn sum_eight(input: *const i8, stride: usize, count: usize, sums: *mut i32) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4, lr}}",
        "mov r12, #0",
        "vdup.16 q1, r12",
        "dls lr, r2",
        "1:",
        "vldrb.s16 q0, [r0]",
        "add r0, r0, r1",
        "vadd.i16 q1, q1, q0",
        "le lr, 1b",
        "vld20.32 {{q2, q3}}, [r3]",
        "vld21.32 {{q2, q3}}, [r3]",
        "vmovlb.s16 q0, q1",
        "vadd.i32 q2, q2, q0",
        "vmovlt.s16 q0, q1",
        "vadd.i32 q3, q3, q0",
        "vst20.32 {{q2, q3}}, [r3]",
        "vst21.32 {{q2, q3}}, [r3]",
        "pop {{r4, pc}}",
    )
}
