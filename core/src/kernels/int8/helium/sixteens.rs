//! Depthwise convolutions: sixteen lanes at a time.

use core::arch::naked_asm;
use core::mem::offset_of;

use crate::kernels::int8::sixteens::{LANES, Pixels, Rows, sixteen_words};

/// The outputs of pixels of a row, one pixel behind the other: as many as `output` has.
///
/// Does nothing if a slice is too short.
pub(in crate::kernels::int8) fn lanes(rows: &Rows<'_, '_>, pixels: Pixels, output: &mut [i8]) {
    let Pixels { place, step, channels } = pixels;
    let (taps, stream, [zero_point, ..]) = (rows.taps(), rows.layer.stream, rows.layer.range);
    let Some(taps_of_window) = taps.len().checked_sub(1) else { return };
    let count = output.len().checked_div(channels).unwrap_or(0);
    let stream_fits = sixteen_words(taps_of_window)
        .and_then(|words| words.checked_mul(channels.div_ceil(LANES)))
        .is_some_and(|words| words <= stream.len());
    if count == 0 || !stream_fits {
        return;
    }
    let call = Call {
        input: rows.rows.as_ptr().wrapping_add(place),
        output: output.as_mut_ptr(),
        pixels: count,
        channels,
        step,
        stride: channels,
        taps: taps.as_ptr(),
        pairs: taps.len() / 2,
        stream: stream.as_ptr(),
        zero_point,
    };
    // SAFETY: whoever calls asks for pixels of one row of outputs. [`Rows`] has all that these read, the last tap of the last channel of the last pixel at the end of a row, and behind the
    // last row as much as a vector can reach further. `taps` has the places of as many taps as are read: an even number, which is that of the window or one more. Of the
    // stream, as many words are read as sixteen lanes have, for each sixteen channels or what is left of them, of which there is at least one; and as many outputs are
    // written as there are channels in all pixels, of which there is at least one. The slices have those.
    unsafe { lanes_16(call) }
}

/// What [`lanes_16`] is told. It lies on the stack, four words of it after the kernel has put them there, and is the kernel's own, to change as well.
#[repr(C)]
struct Call {
    /// Where the taps of the first pixel begin, and where its outputs go; later, those of the next channels.
    input: *const i8,
    output: *mut i8,
    pixels: usize,
    /// Channels left.
    channels: usize,
    /// From pixel to pixel, in the input and in the output.
    step: usize,
    stride: usize,
    taps: *const i32,
    pairs: usize,
    stream: *const i32,
    zero_point: i32,
}

/// Bytes of registers that the kernel puts on the stack before the [`Call`].
const SAVED: usize = 9 * 4 + 8 * 8;

/// Adds products of 16 bits of the even lanes in `$even` and of the odd ones in `$odd` to q4 to q7. Changes q1.
macro_rules! add_products {
    ($even:literal, $odd:literal) => {
        concat!(
            concat!("vmovlb.s16 q1, ", $even, "\n"),
            "vadd.i32 q4, q4, q1\n",
            concat!("vmovlt.s16 ", $even, ", ", $even, "\n"),
            concat!("vadd.i32 q5, q5, ", $even, "\n"),
            concat!("vmovlb.s16 q1, ", $odd, "\n"),
            "vadd.i32 q6, q6, q1\n",
            concat!("vmovlt.s16 ", $odd, ", ", $odd, "\n"),
            concat!("vadd.i32 q7, q7, ", $odd),
        )
    };
}

/// Multiplies and shifts the sums in `$sums` by what the stream says next; see [`pixels_3x2`](super::vector_pairs). The sign is left out for the zero point -128.
macro_rules! scale {
    (relu, $sums:literal) => {
        concat!(
            "vldrw.u32 q1, [r4], #16\n",
            "vldrw.u32 q2, [r4], #16\n",
            concat!("vqrdmulh.s32 ", $sums, ", ", $sums, ", q1\n"),
            concat!("vrshl.s32 ", $sums, ", ", $sums, ", q2"),
        )
    };
    (signed, $sums:literal) => {
        concat!(
            "vldrw.u32 q1, [r4], #16\n",
            "vldrw.u32 q2, [r4], #16\n",
            concat!("vqrdmulh.s32 ", $sums, ", ", $sums, ", q1\n"),
            concat!("vand q3, ", $sums, ", q2\n"),
            "vshr.s32 q3, q3, #31\n",
            concat!("vadd.i32 ", $sums, ", ", $sums, ", q3\n"),
            concat!("vrshl.s32 ", $sums, ", ", $sums, ", q2"),
        )
    };
}

/// Sixteen lanes of one pixel after another, then the next channels.
///
/// Why so: the channels of a tap are neighbours, in the input and in the filter, for any window. A product of int8 takes 16 bits, and so does the sum of two;
/// that of all taps does not. So products are added by twos and then widened: `VMULLB` and `VMULLT` multiply the even and the odd
/// lanes, `VMOVLB` and `VMOVLT` widen every other one of these. Four vectors of sums hold lanes that lie four apart; two narrowings at the end put them in
/// order again, and keep what does not fit at the ends of int8. Each tap has its place in a table, so that neither the shape of the window nor its dilation matters.
/// There are eight vectors, so that the second tap of two is loaded twice.
///
/// Whole vectors are loaded, also where there are fewer channels; only as many are stored as there are.
///
/// | register | holds |
/// |---|---|
/// | q4 to q7 | sums of the lanes 0, 4, 8, 12; 2, 6, 10, 14; 1, 5, 9, 13; 3, 7, 11, 15 |
/// | q0 to q3 | inputs, weights and products; later, multipliers, shifts, and the correction |
/// | r0, r5 | where the taps of this pixel begin, and how far it is to the next |
/// | r7, r6 | where its outputs go, and how far it is to the next |
/// | r4, r9 | address in the stream, and where these sixteen lanes begin there |
/// | r1, r11 | address in the table of the taps, and its beginning |
/// | r2, r3 | addresses of two taps |
/// | r8 | pairs of taps |
/// | r10 | pixels left |
/// | r12 | zero point |
/// | vpr | which lanes are stored |
#[unsafe(naked)]
unsafe extern "C" fn lanes_16(call: Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r0-r3}}",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "ldrd r5, r6, [sp, #{step}]",
        "ldrd r11, r8, [sp, #{taps}]",
        "ldrd r9, r12, [sp, #{stream}]",
        // Sixteen lanes.
        "1:",
        "ldrd r0, r7, [sp, #{input}]",
        "ldrd r10, r3, [sp, #{pixels}]",
        "vctp.8 r3",
        // A pixel.
        "2:",
        "mov r4, r9",
        "mov r1, r11",
        "vldrw.u32 q4, [r4], #16",
        "vldrw.u32 q5, [r4], #16",
        "vldrw.u32 q6, [r4], #16",
        "vldrw.u32 q7, [r4], #16",
        "dls lr, r8",
        // Two taps.
        "3:",
        "ldrd r2, r3, [r1], #8",
        "add r2, r2, r0",
        "add r3, r3, r0",
        "vldrb.u8 q0, [r2]",
        "vldrb.u8 q1, [r4], #16",
        "vmullb.s8 q2, q0, q1",
        "vmullt.s8 q0, q0, q1",
        "vldrb.u8 q1, [r3]",
        "vldrb.u8 q3, [r4], #16",
        "vmullb.s8 q1, q1, q3",
        "vadd.i16 q2, q2, q1",
        "vldrb.u8 q1, [r3]",
        "vmullt.s8 q1, q1, q3",
        "vadd.i16 q0, q0, q1",
        add_products!("q2", "q0"),
        "le lr, 3b",
        "cmn r12, #128",
        "bne 5f",
        scale!(relu, "q4"),
        scale!(relu, "q5"),
        scale!(relu, "q6"),
        scale!(relu, "q7"),
        "4:",
        "vqmovnb.s32 q0, q4",
        "vqmovnt.s32 q0, q5",
        "vqmovnb.s32 q1, q6",
        "vqmovnt.s32 q1, q7",
        "vqadd.s16 q0, q0, r12",
        "vqadd.s16 q1, q1, r12",
        "vqmovnb.s16 q0, q0",
        "vqmovnt.s16 q0, q1",
        "vpst",
        "vstrbt.8 q0, [r7]",
        "add r0, r0, r5",
        "add r7, r7, r6",
        "subs r10, r10, #1",
        "bne 2b",
        // The next lanes.
        "mov r9, r4",
        "ldrd r0, r7, [sp, #{input}]",
        "add r0, r0, #{lanes}",
        "add r7, r7, #{lanes}",
        "strd r0, r7, [sp, #{input}]",
        "ldr r3, [sp, #{channels}]",
        "subs r3, r3, #{lanes}",
        "str r3, [sp, #{channels}]",
        "bgt 1b",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, lr}}",
        "add sp, sp, #16",
        "bx lr",
        "5:",
        scale!(signed, "q4"),
        scale!(signed, "q5"),
        scale!(signed, "q6"),
        scale!(signed, "q7"),
        "b 4b",
        lanes = const LANES,
        input = const SAVED + offset_of!(Call, input),
        pixels = const SAVED + offset_of!(Call, pixels),
        channels = const SAVED + offset_of!(Call, channels),
        step = const SAVED + offset_of!(Call, step),
        taps = const SAVED + offset_of!(Call, taps),
        stream = const SAVED + offset_of!(Call, stream),
    )
}
