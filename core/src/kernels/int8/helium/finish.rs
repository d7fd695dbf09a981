//! From sums to outputs.

use core::arch::naked_asm;

use crate::kernels::int8::vectors::{Finish, Record};

/// The outputs of as many channels as there are records: `sums` and `output` have at least as many.
///
/// Does nothing if they do not.
pub(in crate::kernels::int8) fn finish(sums: &[i32], channels: &[Record], how: &Finish, output: &mut [i8]) {
    let count = channels.len();
    if count == 0 || sums.len() < count || output.len() < count {
        return;
    }
    let call = Call {
        output: output.as_mut_ptr(),
        sums: sums.as_ptr(),
        records: channels.as_ptr(),
        count,
        zero_point: how.zero_point,
        min: how.min,
        max: how.max,
        kind: Kind::of(how),
    };
    // SAFETY: as many sums and records are read as `channels` has, and as many outputs written; the slices have them.
    unsafe { requantize(&raw const call) }
}

/// Which way of [`requantize`] to go. The numbers are known to the assembly.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum Kind {
    Relu = 0,
    Signed = 1,
    Left = 2,
}

impl Kind {
    pub(super) fn of(how: &Finish) -> Self {
        match how {
            Finish { shifts_left: true, .. } => Self::Left,
            Finish { zero_point, min, .. } if min >= zero_point => Self::Relu,
            _ => Self::Signed,
        }
    }
}

/// What [`requantize`] is told.
#[repr(C)]
struct Call {
    output: *mut i8,
    sums: *const i32,
    records: *const Record,
    count: usize,
    zero_point: i32,
    min: i32,
    max: i32,
    kind: Kind,
}

/// The records of the next four channels: biases to q0, multipliers to q1, shifts to q2. q3 has the addresses of those before.
macro_rules! records {
    () => {
        "vldrw.u32 q0, [q3, #48]!
         vldrw.u32 q1, [q3, #4]
         vldrw.u32 q2, [q3, #8]"
    };
}

/// Four outputs of a row to `$output`, from the sums in q6. See [`requantize`].
macro_rules! outputs {
    (relu, $output:literal) => {
        concat!(
            "vadd.i32 q6, q6, q0\n",
            "vqrdmulh.s32 q6, q6, q1\n",
            "vrshl.s32 q6, q6, q2\n",
            outputs!(clamp, $output),
        )
    };
    (signed, $output:literal) => {
        concat!(
            "vadd.i32 q6, q6, q0\n",
            "vqrdmulh.s32 q6, q6, q1\n",
            "vand q7, q6, q2\n",
            "vshr.s32 q7, q7, #31\n",
            "vadd.i32 q6, q6, q7\n",
            "vrshl.s32 q6, q6, q2\n",
            outputs!(clamp, $output),
        )
    };
    (left, $output:literal) => {
        concat!(
            "vadd.i32 q6, q6, q0\n",
            "vpt.s32 gt, q2, zr\n",
            "vshlt.s32 q6, q6, q2\n",
            "vqrdmulh.s32 q6, q6, q1\n",
            "vand q7, q6, q2\n",
            "vshr.s32 q7, q7, #31\n",
            "vadd.i32 q6, q6, q7\n",
            "vpt.s32 lt, q2, zr\n",
            "vrshlt.s32 q6, q6, q2\n",
            outputs!(clamp, $output),
        )
    };
    (clamp, $output:literal) => {
        concat!(
            "vqadd.s32 q6, q6, r6\n",
            "vmax.s32 q6, q6, q4\n",
            "vmin.s32 q6, q6, q5\n",
            concat!("vstrb.32 q6, [", $output, "], #4"),
        )
    };
}

/// The outputs of four channels of a row at a time.
macro_rules! outputs_of_one {
    ($kind:ident) => {
        concat!(
            "dlstp.32 lr, r4\n",
            "9:\n",
            concat!(records!(), "\n"),
            "vldrw.u32 q6, [r2], #16\n",
            concat!(outputs!($kind, "r1"), "\n"),
            "letp lr, 9b",
        )
    };
}

/// TensorFlow Lite Micro's requantization (see [`quantization`](crate::quantization)) of four neighbouring channels at a time.
///
/// With `x` the sum and the bias, `VQRDMULH` is the first rounding: `q = saturate(floor((2 * x * multiplier + 2^31) / 2^32))`. `VRSHL` by a negative number
/// is `floor(q / 2^e + 1/2)`, which is to nearest with ties upward; TensorFlow Lite's ties go away from zero. Taking one off a negative `q` first sends its
/// ties down and moves nothing else, and must not happen if nothing is shifted. `q & shift` has its sign bit set just then: if `q` is negative and so is the shift
/// (TensorFlow Lite's number for a shift to the right), and an arithmetic shift makes that bit the -1 that is to be added.
///
/// Three kinds of loop:
///
/// - `signed` does all this.
/// - `relu` leaves the correction out, for a least output that is not below the zero point: a negative `q` gives at most the zero point either way,
///   and so the least output.
/// - `left` also shifts left before it multiplies where a shift is positive, under a predicate for those channels.
///
/// | register | holds |
/// |---|---|
/// | q0, q1, q2 | biases, multipliers, shifts of four channels |
/// | q3 | addresses of the four records before |
/// | q4, q5 | least and greatest output |
/// | q6, q7 | sums that become outputs; the correction |
/// | r1, r2 | where the outputs go, the next sums |
/// | r4, r6 | number of channels, zero point |
#[unsafe(naked)]
unsafe extern "C" fn requantize(call: *const Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r8, lr}}",
        "vpush {{d8-d15}}",
        "ldm r0, {{r1-r8}}",
        "vdup.32 q4, r6",
        "vdup.32 q5, r7",
        "mov r6, r5",
        // Addresses of the records: 12 bytes from one to the next, and the first load adds 48.
        "mov r0, #0",
        "vidup.u32 q3, r0, #4",
        "mov r0, #3",
        "vmul.i32 q3, q3, r0",
        "sub r3, r3, #48",
        "vadd.i32 q3, q3, r3",
        "cmp r8, #1",
        "blo 1f",
        "beq 2f",
        outputs_of_one!(left),
        "b 3f",
        "2:",
        outputs_of_one!(signed),
        "b 3f",
        "1:",
        outputs_of_one!(relu),
        "3:",
        "vpop {{d8-d15}}",
        "pop {{r4-r8, pc}}",
    )
}

/// Whether the shift of any channel is to the left.
pub(in crate::kernels::int8) fn any_left_shift(channels: &[Record]) -> bool {
    // SAFETY: of as many records as there are, one byte each is read.
    unsafe { greatest_shift(channels.as_ptr(), channels.len()) > 0 }
}

/// The greatest lowest byte of the third words of `count` records, and at least 0. A shift fits into a byte.
///
/// Sixteen records at a time, whose bytes are gathered: q0 has where they are, `12 * lane`, and q1 the greatest so far.
#[unsafe(naked)]
unsafe extern "C" fn greatest_shift(records: *const Record, count: usize) -> i32 {
    naked_asm!(
        helium_cpu!(),
        "push {{r4, lr}}",
        "add r3, r0, #8",
        "mov r0, #0",
        "vdup.8 q1, r0",
        "mov r2, #0",
        "vidup.u8 q0, r2, #4",
        "mov r2, #3",
        "vmul.i8 q0, q0, r2",
        "wlstp.8 lr, r1, 2f",
        "1:",
        "vldrb.u8 q2, [r3, q0]",
        "add r3, r3, #192",
        "vmax.s8 q1, q1, q2",
        "letp lr, 1b",
        "2:",
        "vmaxv.s8 r0, q1",
        "pop {{r4, pc}}",
    )
}
