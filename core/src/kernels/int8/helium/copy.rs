//! Copies of rows, what fills and clamps them, and sums of pixels.

use core::arch::naked_asm;

use crate::kernels::int8::gather::runs_fit;

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
    if !fits || length == 0 || rows == 0 {
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
        "cmp r2, #16",
        "bls 4f",
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
        // Runs that a vector holds.
        "4:",
        "vctp.8 r2",
        "dls lr, r3",
        "5:",
        "vpstt",
        "vldrbt.u8 q0, [r0]",
        "vstrbt.8 q0, [r1]",
        "add r0, r0, r4",
        "add r1, r1, r5",
        "le lr, 5b",
        "pop {{r4-r6, pc}}",
    )
}

/// Makes all values the same.
pub(in crate::kernels::int8) fn fill(values: &mut [i8], value: i8) {
    // SAFETY: as many bytes are written as there are.
    unsafe { fill_all(values.as_mut_ptr(), values.len(), value) }
}

#[unsafe(naked)]
unsafe extern "C" fn fill_all(values: *mut i8, length: usize, value: i8) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4, lr}}",
        "vdup.8 q0, r2",
        "wlstp.8 lr, r1, 2f",
        "1:",
        "vstrb.8 q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {{r4, pc}}",
    )
}

/// Brings all values into the range from `min` to `max`, or to `max` if that is less.
pub(crate) fn clamp(values: &mut [i8], [min, max]: [i32; 2]) {
    if [min, max] != [i32::from(i8::MIN), i32::from(i8::MAX)] {
        // SAFETY: as many bytes are read and written as there are.
        unsafe { clamp_all(values.as_mut_ptr(), values.len(), min as i8, max as i8) }
    }
}

#[unsafe(naked)]
unsafe extern "C" fn clamp_all(values: *mut i8, length: usize, min: i8, max: i8) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4, lr}}",
        "vdup.8 q1, r2",
        "vdup.8 q2, r3",
        "wlstp.8 lr, r1, 2f",
        "1:",
        "vldrb.u8 q0, [r0]",
        "vmax.s8 q0, q0, q1",
        "vmin.s8 q0, q0, q2",
        "vstrb.8 q0, [r0], #16",
        "letp lr, 1b",
        "2:",
        "pop {{r4, pc}}",
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
