//! Three pixels times rows of weights.

use core::arch::naked_asm;
use core::mem::offset_of;

use crate::kernels::int8::gather::runs_fit;
use crate::kernels::int8::layer::PackedLayer;
use crate::kernels::int8::vector_pairs::{CHANNELS, PIXELS, Windows, four_words, tap_bytes, vectors};
use crate::memory::InOut;

/// The outputs of the pixels `first..end`: of those with these windows, a multiple of three, which are copied to `taps` three at a time, or of at most three whose taps are there.
///
/// Does nothing if the lengths do not fit each other.
#[inline(never)]
pub(in crate::kernels::int8) fn pixels(
    layer: &PackedLayer<'_>,
    both: &mut InOut<'_>,
    taps: &mut [i8],
    windows: Option<&Windows>,
    [first, end]: [usize; 2],
) {
    let ([zero_point, ..], [.., channels], stream) = (layer.range, layer.out_size, layer.stream);
    let weights = layer.weights();
    let bytes = tap_bytes(weights);
    let count = end.saturating_sub(first);
    let stream_fits = four_words(weights)
        .and_then(|words| words.checked_mul(channels.div_ceil(CHANNELS)))
        .is_some_and(|words| words <= stream.len());
    let fits = stream_fits
        && weights > 0
        && channels > 0
        && taps.len() / PIXELS >= bytes
        && end.checked_mul(channels).is_some_and(|length| length <= both.output().len());
    let windows_fit = match windows {
        Some(&Windows { first, rows, length, row_stride, pixel_stride }) => {
            let input = both.input().get(first..).unwrap_or_default();
            let last = count.wrapping_sub(1).checked_mul(pixel_stride);
            let input = last.and_then(|last| input.get(last..)).unwrap_or_default();
            count > 0
                && count.is_multiple_of(PIXELS)
                && rows.checked_mul(length) == Some(weights)
                && runs_fit(input.len(), row_stride, [rows, length])
        }
        None => (1..=PIXELS).contains(&count),
    };
    if !fits || !windows_fit {
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
    // Which pixels the second one and the third one are: of fewer than three, the last one again.
    let [second, third] = [1, 2].map(|pixel: usize| pixel.min(count - 1));
    let taps = taps.as_mut_ptr();
    let windows =
        windows.copied().unwrap_or(Windows { first: 0, rows: 0, length: 0, row_stride: 0, pixel_stride: 0 });
    let call = Call {
        taps: [0, second, third].map(|pixel| taps.wrapping_add(pixel * bytes)),
        vectors: vectors(weights),
        outputs: [core::ptr::null_mut(); PIXELS],
        zero_point,
        output: outputs.wrapping_add(first * channels).cast(),
        second: second * channels,
        third: third * channels,
        channels,
        stream: stream.as_ptr(),
        signed: usize::from(!layer.relu()),
        threes: count.div_ceil(PIXELS),
        source: source.wrapping_add(windows.first).cast(),
        rows: windows.rows,
        length: windows.length,
        row_stride: windows.row_stride,
        pixel_stride: windows.pixel_stride,
    };
    // SAFETY: the windows of all pixels, of which there are a multiple of three, lie in the input, or there are no rows of windows and the taps of the pixels are where `taps` says; it has room
    // for three pixels of whole vectors, at least one. The channels of all pixels, at least one, lie in the output, and of the stream, as many words are read as four
    // channels have, for each four or what is left of them; the slice has those.
    unsafe { pixels_3x2(call) }
}

/// What [`pixels_3x2`] is told. It lies on the stack, four words of it after the kernel has put them there, and is the kernel's own, to change as well.
#[repr(C)]
struct Call {
    /// Memory for what three pixels read, in whole vectors.
    taps: [*mut i8; PIXELS],
    /// Vectors of a pixel; in the kernel, how often the loop runs.
    vectors: usize,
    /// Set by the kernel: where the next outputs of three pixels go.
    outputs: [*mut i8; PIXELS],
    zero_point: i32,
    /// Where the outputs of the next three pixels begin.
    output: *mut i8,
    /// From the first pixel's outputs to the second's and the third's.
    second: usize,
    third: usize,
    channels: usize,
    stream: *const i32,
    /// Whether sums below zero matter.
    signed: usize,
    threes: usize,
    /// Where the windows come from, and how; no rows if the taps are there already.
    source: *const i8,
    rows: usize,
    length: usize,
    row_stride: usize,
    pixel_stride: usize,
}

/// Bytes of registers that the kernel puts on the stack before the [`Call`].
const SAVED: usize = 9 * 4 + 6 * 8;

/// One vector of each of three pixels with one of each of two rows of weights: 96 products in eleven instructions, 44 bytes. `$sum` is `vmlav` for the first ones
/// and `vmlava` for those that are added to them.
macro_rules! three_by_two {
    ($sum:literal) => {
        concat!(
            "vldrb.u8 q3, [r7], #16\n",
            "vldrb.u8 q0, [r1], #16\n",
            concat!($sum, ".s8 r0, q0, q3\n"),
            "vldrb.u8 q1, [r3], #16\n",
            concat!($sum, ".s8 r4, q1, q3\n"),
            "vldrb.u8 q2, [r5], #16\n",
            concat!($sum, ".s8 r8, q2, q3\n"),
            "vldrb.u8 q3, [r7], #16\n",
            concat!($sum, ".s8 r2, q0, q3\n"),
            concat!($sum, ".s8 r6, q1, q3\n"),
            concat!($sum, ".s8 r10, q2, q3"),
        )
    };
}

/// The same instruction for the sums of all three pixels, `q4` to `q6`, with what stands behind.
macro_rules! of_three {
    ($instruction:literal, $with:literal) => {
        concat!(
            concat!($instruction, " q4, q4", $with, "\n"),
            concat!($instruction, " q5, q5", $with, "\n"),
            concat!($instruction, " q6, q6", $with),
        )
    };
}

/// Takes one off the sums in `$sums` that are negative if they are shifted; see [`pixels_3x2`].
macro_rules! correct {
    ($sums:literal) => {
        concat!(
            concat!("vand q3, ", $sums, ", q2\n"),
            "vshr.s32 q3, q3, #31\n",
            concat!("vadd.i32 ", $sums, ", ", $sums, ", q3"),
        )
    };
}

/// Three pixels times two rows of weights, for the two pairs of rows of four channels, with the outputs of these behind their sums; for four channels after another; and for
/// three pixels after another, whose windows are copied together.
///
/// Why three by two: five loads go with six times sixteen products. `VMLADAV` adds to even registers, of which there are eight. Six are sums; of the others r12 counts channels and r14 the
/// loop. Eight sums (four pixels) would take five vectors of factors and four of sums, of eight that there are. The stream has all weights at one address, so that three of the odd registers are free.
///
/// | register | holds while summing |
/// |---|---|
/// | r0, r2; r4, r6; r8, r10 | sums of the first, the second and the third pixel with both rows |
/// | r1, r3, r5 | addresses in the taps of the three pixels |
/// | r7 | address in the stream |
/// | r9 | where to go behind the sums of a pair |
/// | r11 | where in the loop to begin |
/// | r12 | output channels left |
/// | q0 to q2, q3 | vectors of the three pixels, of a row of weights; later, biases, multipliers, shifts, and the correction |
/// | q4, q5, q6 | sums of four channels of each pixel |
///
/// The first vectors need no sums to add to, so that nothing has to be set to zero. The loop has four of the others and is entered where as many are left as there are more than a multiple of four.
///
/// The requantization is TensorFlow Lite Micro's (see [`quantization`](crate::quantization)). With `x` the sum and the bias, `VQRDMULH` is the first rounding: `q = saturate(floor((2 * x * multiplier + 2^31) / 2^32))`.
/// `VRSHL` by a negative number is `floor(q / 2^e + 1/2)`, which is to nearest with ties upward; TensorFlow Lite's ties go away from zero. Taking one off a negative `q` first sends its
/// ties down and moves nothing else, and must not happen if nothing is shifted. `q & shift` has its sign bit set just then, and an arithmetic shift makes that bit the -1 that is to be
/// added. It is left out where the zero point is -128: a negative `q` gives -128 either way.
#[unsafe(naked)]
unsafe extern "C" fn pixels_3x2(call: Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r0-r3}}",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d13}}",
        // Of the vectors behind the first: how often the loop runs, and past how many of its four parts it is entered.
        "ldr r0, [sp, #{vectors}]",
        "subs r0, r0, #1",
        "add r1, r0, #3",
        "lsr r1, r1, #2",
        "str r1, [sp, #{vectors}]",
        "rsb r1, r0, #0",
        "and r1, r1, #3",
        "mov r2, #44",
        "adr r11, 6f",
        "mla r11, r1, r2, r11",
        "cmp r0, #0",
        "it eq",
        "adreq r11, 7f",
        // Three pixels: a window is r3 rows from r0 on. r8, r9 are places in the input, r1, r10 in the taps.
        "1:",
        "ldr r3, [sp, #{rows}]",
        "cmp r3, #0",
        "beq 4f",
        "ldrd r2, r4, [sp, #{length}]",
        "ldr r5, [sp, #{pixel_stride}]",
        "ldr r0, [sp, #{source}]",
        "add r12, sp, #{taps}",
        "mov r6, #{count}",
        "2:",
        "ldr r1, [r12], #4",
        "mov r8, r0",
        "mov r7, r3",
        "3:",
        "mov r9, r8",
        "mov r10, r1",
        "wlstp.8 lr, r2, 13f",
        "12:",
        "vldrb.u8 q0, [r9], #16",
        "vstrb.8 q0, [r10], #16",
        "letp lr, 12b",
        "13:",
        "add r8, r8, r4",
        "add r1, r1, r2",
        "subs r7, r7, #1",
        "bne 3b",
        "add r0, r0, r5",
        "subs r6, r6, #1",
        "bne 2b",
        "str r0, [sp, #{source}]",
        "4:",
        "ldrd r0, r1, [sp, #{output}]",
        "ldrd r2, r12, [sp, #{third}]",
        "ldr r7, [sp, #{stream}]",
        "add r1, r1, r0",
        "add r2, r2, r0",
        "add r3, sp, #{outputs}",
        "stm r3, {{r0, r1, r2}}",
        "add r0, r0, r12",
        "add r0, r0, r12, lsl #1",
        "str r0, [sp, #{output}]",
        // Four channels: two pairs.
        "5:",
        "adr r9, 8f",
        "15:",
        "ldrd r1, r3, [sp, #{taps}]",
        "ldrd r5, lr, [sp, #{taps} + 8]",
        three_by_two!("vmlav"),
        "mov pc, r11",
        "6:",
        three_by_two!("vmlava"),
        three_by_two!("vmlava"),
        three_by_two!("vmlava"),
        three_by_two!("vmlava"),
        "le lr, 6b",
        "7:",
        "mov pc, r9",
        // The first pair. The first register goes to the lower lane.
        "8:",
        "vmov q4[2], q4[0], r0, r2",
        "vmov q5[2], q5[0], r4, r6",
        "vmov q6[2], q6[0], r8, r10",
        "adr r9, 9f",
        "b 15b",
        // The second.
        "9:",
        "vmov q4[3], q4[1], r0, r2",
        "vmov q5[3], q5[1], r4, r6",
        "vmov q6[3], q6[1], r8, r10",
        "vldrw.u32 q0, [r7], #16",
        "vldrw.u32 q1, [r7], #16",
        "vldrw.u32 q2, [r7], #16",
        "ldr r4, [sp, #{signed}]",
        of_three!("vadd.i32", ", q0"),
        of_three!("vqrdmulh.s32", ", q1"),
        "cbz r4, 10f",
        correct!("q4"),
        correct!("q5"),
        correct!("q6"),
        "10:",
        "ldrd r0, r1, [sp, #{outputs}]",
        "ldrd r2, r3, [sp, #{outputs} + 8]",
        of_three!("vrshl.s32", ", q2"),
        of_three!("vqadd.s32", ", r3"),
        // To bytes, the lowest one of each lane.
        of_three!("vqmovnb.s32", ""),
        of_three!("vqmovnb.s16", ""),
        "vctp.32 r12",
        "vpsttt",
        "vstrbt.32 q4, [r0], #4",
        "vstrbt.32 q5, [r1], #4",
        "vstrbt.32 q6, [r2], #4",
        "strd r0, r1, [sp, #{outputs}]",
        "str r2, [sp, #{outputs} + 8]",
        "subs r12, r12, #{channels_at_once}",
        "bgt 5b",
        // The next three pixels.
        "ldr r0, [sp, #{threes}]",
        "subs r0, r0, #1",
        "str r0, [sp, #{threes}]",
        "bne 1b",
        "vpop {{d8-d13}}",
        "pop {{r4-r11, lr}}",
        "add sp, sp, #16",
        "bx lr",
        count = const PIXELS,
        channels_at_once = const CHANNELS,
        taps = const SAVED + offset_of!(Call, taps),
        vectors = const SAVED + offset_of!(Call, vectors),
        outputs = const SAVED + offset_of!(Call, outputs),
        output = const SAVED + offset_of!(Call, output),
        third = const SAVED + offset_of!(Call, third),
        stream = const SAVED + offset_of!(Call, stream),
        signed = const SAVED + offset_of!(Call, signed),
        threes = const SAVED + offset_of!(Call, threes),
        source = const SAVED + offset_of!(Call, source),
        rows = const SAVED + offset_of!(Call, rows),
        length = const SAVED + offset_of!(Call, length),
        pixel_stride = const SAVED + offset_of!(Call, pixel_stride),
    )
}
