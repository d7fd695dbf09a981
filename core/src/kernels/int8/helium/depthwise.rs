//! Depthwise convolutions: sixteen channels of a pixel at a time.

use core::arch::naked_asm;

use super::copy::{clamp, fill};
use super::finish::Kind;
use crate::geometry::Window;
use crate::kernels::int8::depthwise_rows::{DepthwiseScratch, Rows};
use crate::kernels::int8::vectors::{Convolution, LANES, Record};
use crate::kernels::pieces::pieces;
use crate::memory::InOut;

/// A depthwise convolution of one sample, row by row: the rows of the input that a row of outputs reads are copied to the scratch, with their padding, and stay there as long
/// as a row needs them.
///
/// Does nothing if the lengths do not fit each other.
pub(in crate::kernels::int8) fn depthwise(of: &Convolution<'_>, both: &mut InOut<'_>, scratch: &mut [i32]) {
    let Convolution { window, size: [in_h, in_w, in_c], out_size: [out_h, out_w], .. } = *of;
    let elements = |lengths: [usize; 3]| lengths.into_iter().try_fold(1usize, usize::checked_mul);
    let lengths = elements([in_h, in_w, in_c]).zip(elements([out_h, out_w, in_c]));
    let fits =
        lengths.is_some_and(|(input, output)| input <= both.input().len() && output <= both.output().len());
    let Some(parts) = DepthwiseScratch::new(window, out_w, in_c).filter(|_| fits) else { return };
    let Some(mut kernel) = Depthwise::new(of, parts, scratch) else { return };
    (0..out_h).for_each(|out_y| kernel.outputs(out_y, both));
}

/// A convolution with its rows in the scratch.
struct Depthwise<'a, 's> {
    of: &'a Convolution<'a>,
    call: Call,
    rows: Rows<'a, 's>,
    /// Offsets of the taps from the first row on, and again.
    taps: &'s [i32],
    /// Pixels that are computed together.
    at_once: usize,
}

impl<'a, 's> Depthwise<'a, 's> {
    /// `None` if the lengths do not fit each other.
    fn new(of: &'a Convolution<'a>, parts: DepthwiseScratch, scratch: &'s mut [i32]) -> Option<Self> {
        let Convolution { layer, window: Window { y, x }, size: [.., in_c], out_size: [_, out_w], padding } =
            *of;
        let DepthwiseScratch {
            taps: taps_words,
            records: record_words,
            repeated: repeated_words,
            rows,
            row_bytes,
        } = parts;
        let taps = y.kernel.checked_mul(x.kernel)?;
        if layer.channels.len() != in_c || layer.weights.len() != taps.checked_mul(in_c)? {
            return None;
        }
        let (table, rest) = scratch.split_at_mut_checked(taps_words)?;
        let (records, rest) = rest.split_at_mut_checked(record_words)?;
        let (repeated, rest) = rest.split_at_mut_checked(repeated_words)?;
        let rows = elements_mut(rest).get_mut(..rows)?;
        fill(rows, padding);
        let mut slots = table.iter_mut();
        for row in (0..y.kernel).chain(0..y.kernel - 1) {
            let first = row * row_bytes;
            for (k_x, slot) in (0..x.kernel).zip(&mut slots) {
                *slot = (first + k_x * x.dilation * in_c) as i32;
            }
        }
        let mut least = has_least(layer.weights);
        let mut at_once = 1;
        let mut call = Call {
            lanes: [0, 48, 96, 144],
            addresses: [0; 4],
            taps: core::ptr::null(),
            fours: taps / 4,
            left: taps % 4,
            kind: Kind::of(&layer.finish),
            zero_point: layer.finish.zero_point,
            weights: layer.weights.as_ptr(),
            records: layer.channels.as_ptr(),
            step: x.stride * in_c,
            count: in_c,
            input: core::ptr::null(),
            output: core::ptr::null_mut(),
            pixels: 0,
        };
        if in_c < LANES {
            let channels = layer.channels.iter().flatten().cycle();
            records.iter_mut().zip(channels).for_each(|(word, &value)| *word = value);
            call.records = records.as_ptr().cast();
            let pixels = LANES / in_c.max(1);
            if !least && x.stride == 1 && pixels * in_c == LANES && out_w >= pixels {
                at_once = pixels;
                let repeated = elements_mut(repeated);
                for (weights, row) in pieces((layer.weights, &mut *repeated), [in_c, LANES]) {
                    row.iter_mut().zip(weights.iter().cycle()).for_each(|(weight, &value)| *weight = value);
                }
                call.weights = repeated.as_ptr();
                (call.count, call.step) = (LANES, LANES);
            } else {
                // Only by single taps are fewer channels loaded than a vector has.
                least = true;
            }
        }
        if least {
            (call.fours, call.left) = (0, taps);
        }
        Some(Self { of, call, rows: Rows::new(of, rows, row_bytes)?, taps: table, at_once })
    }

    /// The outputs of row `out_y`, which is the one after that of the last call, or the first.
    fn outputs(&mut self, out_y: usize, both: &mut InOut<'_>) {
        let Convolution { layer, window: Window { y, x }, size: [_, _, in_c], out_size: [_, out_w], .. } =
            *self.of;
        self.rows.load(out_y, both);
        let length = out_w * in_c;
        let place = out_y * length;
        let Some(output) = both.output().get_mut(place..place + length) else { return };
        let output: &mut [i8] = bytes_mut(output);
        let taps = self.taps.get(self.rows.first * x.kernel..).unwrap_or_default();
        // The last taps of the last pixel end where a row does.
        let fits =
            taps.len() >= y.kernel * x.kernel && self.rows.row_bytes * y.kernel <= self.rows.rows.len();
        if !fits {
            return;
        }
        self.call.taps = taps.as_ptr();
        let groups = out_w.checked_div(self.at_once).unwrap_or(0);
        self.run(0, groups, output);
        // Pixels that are left over from groups, and some of the last group again.
        if groups * self.at_once < out_w {
            self.run(out_w - self.at_once, 1, output);
        }
        clamp(output, [layer.finish.min, layer.finish.max]);
    }

    /// The outputs of pixels from `pixel` on, in `groups` of as many as are computed at once.
    fn run(&mut self, pixel: usize, groups: usize, output: &mut [i8]) {
        let Convolution { window: Window { x, .. }, size: [.., in_c], .. } = *self.of;
        let Some(output) =
            output.get_mut(pixel * in_c..).filter(|output| output.len() >= groups * self.call.count)
        else {
            return;
        };
        if groups == 0 {
            return;
        }
        self.call.input = self.rows.rows.as_ptr().wrapping_add(pixel * x.stride * in_c);
        self.call.output = output.as_mut_ptr();
        self.call.pixels = groups;
        // SAFETY: for each pixel, all channels are read at each tap, the last of which ends where a row of the scratch does, and all channels are written, one pixel
        // behind the other, within the output. A vector that would reach over the last channel begins earlier, or, where there are fewer channels than it has,
        // leaves some out, or takes as many pixels side by side as fill it. Of the weights, all channels' are read for each tap, or a vector for each of the
        // repeated ones; of the records, as many as there are channels or, if these are fewer than in a vector, as many as it has.
        unsafe { depthwise_16(&raw mut self.call) }
    }
}

/// The same bytes as int8, to write.
fn bytes_mut(bytes: &mut [u8]) -> &mut [i8] {
    crate::memory::elements_mut(bytes).unwrap_or_default()
}

/// The same memory as int8, to write.
fn elements_mut(words: &mut [i32]) -> &mut [i8] {
    bytemuck::try_cast_slice_mut(words).unwrap_or_default()
}

/// Whether one of the weights is -128: two products of such can add up to more than 16 bits hold.
fn has_least(weights: &[i8]) -> bool {
    // SAFETY: as many bytes are read as there are.
    unsafe { least(weights.as_ptr(), weights.len()) == i32::from(i8::MIN) }
}

/// The least of `count` numbers, or 127 of none.
#[unsafe(naked)]
unsafe extern "C" fn least(values: *const i8, count: usize) -> i32 {
    naked_asm!(
        helium_cpu!(),
        "push {{r4, lr}}",
        "mov r2, #127",
        "vdup.8 q0, r2",
        "wlstp.8 lr, r1, 2f",
        "1:",
        "vldrb.u8 q1, [r0], #16",
        "vmin.s8 q0, q0, q1",
        "letp lr, 1b",
        "2:",
        "mov r0, r2",
        "vminv.s8 r0, q0",
        "pop {{r4, pc}}",
    )
}

/// What [`depthwise_16`] is told. It goes by the places of the fields.
#[repr(C)]
struct Call {
    /// From the first of sixteen records to those of channels that lie four apart.
    lanes: [u32; 4],
    /// Set by the kernel: where the records of these sixteen channels are.
    addresses: [u32; 4],
    taps: *const i32,
    /// Fours of taps.
    fours: usize,
    /// Taps that are left over from fours.
    left: usize,
    kind: Kind,
    zero_point: i32,
    weights: *const i8,
    records: *const Record,
    /// From pixel to pixel.
    step: usize,
    count: usize,
    input: *const i8,
    output: *mut i8,
    pixels: usize,
}

const _: () = assert!(core::mem::offset_of!(Call, taps) == 32 && core::mem::offset_of!(Call, pixels) == 76);

/// Adds products of 16 bits of the even channels in `$even` and of the odd ones in `$odd` to q4 to q7. Changes q1.
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

/// Two taps whose offsets are in registers. There are eight vectors: the second tap is loaded twice.
macro_rules! two_taps {
    ($first:literal, $second:literal) => {
        concat!(
            concat!("add ", $first, ", ", $first, ", r0\n"),
            concat!("add ", $second, ", ", $second, ", r0\n"),
            concat!("vldrb.u8 q0, [", $first, "]\n"),
            "vldrb.u8 q1, [r4]\n",
            "add r4, r4, r5\n",
            "vmullb.s8 q2, q0, q1\n",
            "vmullt.s8 q0, q0, q1\n",
            concat!("vldrb.u8 q1, [", $second, "]\n"),
            "vldrb.u8 q3, [r4]\n",
            "add r4, r4, r5\n",
            "vmullb.s8 q1, q1, q3\n",
            "vadd.i16 q2, q2, q1\n",
            concat!("vldrb.u8 q1, [", $second, "]\n"),
            "vmullt.s8 q1, q1, q3\n",
            "vadd.i16 q0, q0, q1\n",
            add_products!("q2", "q0"),
        )
    };
}

/// Multiplies and shifts a vector of sums; see [`requantize`](super::finish).
macro_rules! scale {
    (relu, $record:literal, $sums:literal) => {
        concat!(
            concat!("vldrw.u32 q1, [q0, #", $record, " + 4]\n"),
            concat!("vldrw.u32 q2, [q0, #", $record, " + 8]\n"),
            concat!("vqrdmulh.s32 ", $sums, ", ", $sums, ", q1\n"),
            concat!("vrshl.s32 ", $sums, ", ", $sums, ", q2"),
        )
    };
    (any, $record:literal, $sums:literal) => {
        concat!(
            concat!("vldrw.u32 q1, [q0, #", $record, " + 4]\n"),
            concat!("vldrw.u32 q2, [q0, #", $record, " + 8]\n"),
            "vpt.s32 gt, q2, zr\n",
            concat!("vshlt.s32 ", $sums, ", ", $sums, ", q2\n"),
            concat!("vqrdmulh.s32 ", $sums, ", ", $sums, ", q1\n"),
            concat!("vand q3, ", $sums, ", q2\n"),
            "vshr.s32 q3, q3, #31\n",
            concat!("vadd.i32 ", $sums, ", ", $sums, ", q3\n"),
            "vpt.s32 lt, q2, zr\n",
            concat!("vrshlt.s32 ", $sums, ", ", $sums, ", q2"),
        )
    };
}

/// Sixteen channels of one pixel after another, then the next channels.
///
/// Why so: the channels of a tap are neighbours, in the input and in the filter, for any window. A product of int8 takes 16 bits, and so does the sum of two unless all
/// four factors are -128; the sum of all taps does not. So products are added by twos and then widened: `VMULLB` and `VMULLT` multiply the even and the odd
/// channels, `VMOVLB` and `VMOVLT` widen every other one of these. Four vectors of sums hold channels that lie four apart; two narrowings at the end put them in
/// order again, and keep what does not fit at the ends of int8. Each tap has an offset in a table, so that neither the shape of the window nor its dilation matters.
///
/// The last vector of a pixel begins where sixteen channels are left, if there are as many, and computes some of them once more.
///
/// Taps by twos are loaded whole. Single ones are loaded under a predicate: those left over from fours, or all, for fewer channels than sixteen and for weights with a -128.
///
/// | register | holds |
/// |---|---|
/// | q4 to q7 | sums of the channels 0, 4, 8, 12; 2, 6, 10, 14; 1, 5, 9, 13; 3, 7, 11, 15 |
/// | q0 to q3 | inputs, weights and products; later, addresses of the records, multipliers, shifts, and the correction |
/// | r0, r7 | this pixel's inputs at offset 0, and its outputs |
/// | r4, r9 | next weights, the first of these channels |
/// | r1 | next offset |
/// | r2, r3, r11, r12 | offsets and addresses |
/// | r5, r8 | number of channels, the first of these |
/// | r6 | the [`Call`] |
/// | r10 | pixels left |
#[unsafe(naked)]
unsafe extern "C" fn depthwise_16(call: *mut Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "mov r6, r0",
        "ldr r5, [r6, #64]",
        "mov r8, #0",
        // Sixteen channels.
        "1:",
        "vctp.8 r5",
        "ldrd r9, r3, [r6, #52]",
        "add r9, r9, r8",
        "add r2, r8, r8, lsl #1",
        "add r3, r3, r2, lsl #2",
        "vldrw.u32 q0, [r6]",
        "vadd.i32 q0, q0, r3",
        "vstrw.32 q0, [r6, #16]",
        "ldrd r0, r7, [r6, #68]",
        "ldr r10, [r6, #76]",
        "add r0, r0, r8",
        "add r7, r7, r8",
        // A pixel.
        "2:",
        "mov r4, r9",
        "vldrw.u32 q0, [r6, #16]",
        "vldrw.u32 q4, [q0]",
        "vldrw.u32 q5, [q0, #24]",
        "vldrw.u32 q6, [q0, #12]",
        "vldrw.u32 q7, [q0, #36]",
        "ldrd r1, lr, [r6, #32]",
        "wls lr, lr, 4f",
        "3:",
        "ldm r1!, {{r2, r3, r11, r12}}",
        two_taps!("r2", "r3"),
        two_taps!("r11", "r12"),
        "le lr, 3b",
        "4:",
        "ldr r12, [r6, #40]",
        "wls lr, r12, 6f",
        "5:",
        "ldr r2, [r1], #4",
        "add r2, r2, r0",
        "vpstt",
        "vldrbt.u8 q0, [r2]",
        "vldrbt.u8 q1, [r4]",
        "add r4, r4, r5",
        "vmullb.s8 q2, q0, q1",
        "vmullt.s8 q0, q0, q1",
        add_products!("q2", "q0"),
        "le lr, 5b",
        "6:",
        "vldrw.u32 q0, [r6, #16]",
        "ldrd r2, r12, [r6, #44]",
        "cmp r2, #0",
        "bne 9f",
        scale!(relu, "0", "q4"),
        scale!(relu, "24", "q5"),
        scale!(relu, "12", "q6"),
        scale!(relu, "36", "q7"),
        "8:",
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
        // The next pixel.
        "ldr r3, [r6, #60]",
        "add r7, r7, r5",
        "add r0, r0, r3",
        "subs r10, r10, #1",
        "bne 2b",
        // The next channels.
        "add r8, r8, #16",
        "subs r3, r5, r8",
        "ble 7f",
        "cmp r3, #16",
        "it lo",
        "sublo r8, r5, #16",
        "b 1b",
        "7:",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        "9:",
        scale!(any, "0", "q4"),
        scale!(any, "24", "q5"),
        scale!(any, "12", "q6"),
        scale!(any, "36", "q7"),
        "vctp.8 r5",
        "b 8b",
    )
}
