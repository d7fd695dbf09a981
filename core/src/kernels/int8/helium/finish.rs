//! From sums to outputs.

use core::arch::naked_asm;

use crate::kernels::int8::gather::runs_fit;
use crate::kernels::int8::vectors::{BLOCK, Finish, ROWS, Record, Sums};

/// The outputs of as many channels as there are records: `sums` and `output` have at least as many.
///
/// Does nothing if they do not.
pub(in crate::kernels::int8) fn finish(sums: &[i32], channels: &[Record], how: &Finish, output: &mut [i8]) {
    let count = channels.len();
    if count == 0 || sums.len() < count || output.len() < count {
        return;
    }
    let kind = if how.shifts_left {
        Kind::OneLeft
    } else if how.is_relu() {
        Kind::OneRelu
    } else {
        Kind::OneSigned
    };
    let call = Call::new(kind, sums.as_ptr(), channels, how, output.as_mut_ptr(), 0);
    // SAFETY: as many sums and records are read as `channels` has, and as many outputs written; the slices have them.
    unsafe { requantize(&raw const call) }
}

/// The outputs of three rows, `stride` elements apart, of as many channels as there are records, which are at most [`BLOCK`].
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn finish_three(
    sums: &Sums,
    channels: &[Record],
    how: &Finish,
    output: &mut [i8],
    stride: usize,
) {
    let count = channels.len();
    if count == 0 || count > BLOCK || !runs_fit(output.len(), stride, [ROWS, count]) {
        return;
    }
    if how.shifts_left {
        for (row, sums) in sums.iter().enumerate() {
            finish(sums, channels, how, output.get_mut(row * stride..).unwrap_or_default());
        }
        return;
    }
    let kind = if how.is_relu() { Kind::ThreeRelu } else { Kind::ThreeSigned };
    let call = Call::new(kind, sums.as_ptr().cast(), channels, how, output.as_mut_ptr(), stride);
    // SAFETY: as many records are read as `channels` has, and as many sums of each row, which are no more than a row has; as many outputs are written at
    // three places `stride` apart, where `output` has them.
    unsafe { requantize(&raw const call) }
}

/// Which loop of [`requantize`] to run. The numbers are known to the assembly.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Kind {
    ThreeRelu = 0,
    ThreeSigned = 1,
    OneRelu = 2,
    OneSigned = 3,
    OneLeft = 4,
}

/// What [`requantize`] is told.
#[repr(C)]
struct Call {
    output: *mut i8,
    sums: *const i32,
    stride: usize,
    records: *const Record,
    count: usize,
    zero_point: i32,
    min: i32,
    max: i32,
    kind: Kind,
}

impl Call {
    fn new(
        kind: Kind,
        sums: *const i32,
        channels: &[Record],
        how: &Finish,
        output: *mut i8,
        stride: usize,
    ) -> Self {
        let Finish { zero_point, min, max, .. } = *how;
        let (records, count) = (channels.as_ptr(), channels.len());
        Self { output, sums, stride, records, count, zero_point, min, max, kind }
    }
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

/// The loop over one row.
macro_rules! one_row {
    ($kind:ident) => {
        concat!(
            "dlstp.32 lr, r5\n",
            "9:\n",
            concat!(records!(), "\n"),
            "vldrw.u32 q6, [r2], #16\n",
            concat!(outputs!($kind, "r1"), "\n"),
            "letp lr, 9b\n",
            "b 6f",
        )
    };
}

/// The loop over three rows.
macro_rules! three_rows {
    ($kind:ident) => {
        concat!(
            "dlstp.32 lr, r5\n",
            "9:\n",
            concat!(records!(), "\n"),
            "vldrw.u32 q6, [r2, #{second}]\n",
            concat!(outputs!($kind, "r3"), "\n"),
            "vldrw.u32 q6, [r2, #{third}]\n",
            concat!(outputs!($kind, "r4"), "\n"),
            "vldrw.u32 q6, [r2], #16\n",
            concat!(outputs!($kind, "r1"), "\n"),
            "letp lr, 9b\n",
            "b 6f",
        )
    };
}

/// TensorFlow Lite Micro's requantization (see [`quantization`](crate::quantization)) of four neighbouring channels at a time, of one row or of three.
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
/// | r1, r3, r4 | where the outputs of the rows go |
/// | r2 | next sums |
/// | r5, r6 | number of channels, zero point |
#[unsafe(naked)]
unsafe extern "C" fn requantize(call: *const Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r9, lr}}",
        "vpush {{d8-d15}}",
        "ldm r0, {{r1-r9}}",
        "add r3, r1, r3",
        "sub r12, r3, r1",
        // Addresses of the records: 12 bytes from one to the next, and the first load adds 48.
        "mov r0, #0",
        "vidup.u32 q3, r0, #4",
        "mov r0, #3",
        "vmul.i32 q3, q3, r0",
        "sub r0, r4, #48",
        "vadd.i32 q3, q3, r0",
        "add r4, r3, r12",
        "vdup.32 q4, r7",
        "vdup.32 q5, r8",
        "cmp r9, #1",
        "blo 1f",
        "beq 2f",
        "cmp r9, #3",
        "blo 3f",
        "beq 4f",
        one_row!(left),
        "4:",
        one_row!(signed),
        "3:",
        one_row!(relu),
        "2:",
        three_rows!(signed),
        "1:",
        three_rows!(relu),
        "6:",
        "vpop {{d8-d15}}",
        "pop {{r4-r9, pc}}",
        second = const 4 * BLOCK,
        third = const 8 * BLOCK,
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
