//! Depthwise convolutions: sixteen channels of a pixel at a time.

use core::arch::naked_asm;
use core::marker::PhantomData;

use super::finish::Kind;
use crate::geometry::{Taps, Window};
use crate::kernels::int8::vectors::{Convolution, LANES, MOST_TAPS, Record};
use crate::memory::InOut;

/// Records for a vector.
type Records = [Record; LANES];
/// Bytes of padding that are kept, where the records are not needed.
const PADDING: usize = size_of::<Records>();
/// The most taps whose weights are repeated for several pixels.
const REPEATED_TAPS: usize = 9;

/// A depthwise convolution of one sample.
pub(in crate::kernels::int8) struct Depthwise<'a, 'b, 'm> {
    of: &'a Convolution<'a>,
    call: Call,
    /// Where the inputs and the outputs begin, which are borrowed.
    input: *const i8,
    output: *mut i8,
    both: PhantomData<&'b mut InOut<'m>>,
    /// From a tap to the next one down and across.
    strides: [usize; 2],
    /// From the first tap of a window to its others, if all lie in the input; and for a pixel with taps in the padding.
    inside: [i32; MOST_TAPS],
    border: [i32; MOST_TAPS],
    taps: usize,
    /// Whether a weight is -128.
    least: bool,
    /// The records again and again, if there are fewer channels than in a vector; else padding.
    records: Records,
    /// The weights of a tap again and again, if as many pixels side by side fill a vector, and how many; else 1.
    repeated: [[i8; LANES]; REPEATED_TAPS],
    at_once: usize,
}

impl<'a, 'b, 'm> Depthwise<'a, 'b, 'm> {
    /// `None` if the lengths do not fit each other, or are too long.
    pub(in crate::kernels::int8) fn new(of: &'a Convolution<'a>, both: &'b mut InOut<'m>) -> Option<Self> {
        let Convolution {
            layer,
            window: Window { y, x },
            size: [in_h, in_w, in_c],
            out_size: [out_h, out_w],
            padding,
        } = *of;
        let (count, taps) = (layer.channels.len(), y.kernel.checked_mul(x.kernel)?);
        let elements = |lengths: [usize; 3]| lengths.into_iter().try_fold(1usize, usize::checked_mul);
        let fits = elements([in_h, in_w, in_c])? <= both.input().len()
            && elements([out_h, out_w, count])? <= both.output().len()
            && elements([1, taps, count])? <= layer.weights.len()
            && (1..=MOST_TAPS).contains(&taps)
            && count > 0
            && count == in_c;
        // All places in the window and all steps of it are less than these.
        let greatest = [y.extent()?, x.extent()?, out_h.checked_mul(y.stride)?, out_w.checked_mul(x.stride)?];
        if !fits || greatest.into_iter().chain([in_h, in_w]).any(|length| length > 1 << 24) {
            return None;
        }
        let (input, output) = match both {
            InOut::Apart { input, output } => (input.as_ptr(), output.as_mut_ptr()),
            // One pointer that may both read and write.
            InOut::Over { region, input: (input, _), output: (output, _) } => {
                let region = region.as_mut_ptr();
                (region.wrapping_add(*input).cast_const(), region.wrapping_add(*output))
            }
        };
        let strides = [y.dilation.wrapping_mul(in_w).wrapping_mul(in_c), x.dilation.wrapping_mul(in_c)];
        let mut inside = [0; MOST_TAPS];
        let mut slots = inside.iter_mut();
        for (k_y, k_x) in (0..y.kernel).flat_map(|k_y| (0..x.kernel).map(move |k_x| (k_y, k_x))) {
            let [down, across] = strides;
            let place = k_y.wrapping_mul(down).wrapping_add(k_x.wrapping_mul(across));
            slots.next().into_iter().for_each(|slot| *slot = place as i32);
        }
        let least = has_least(layer.weights);
        let mut records = [[i32::from_ne_bytes([padding as u8; 4]); 3]; LANES];
        let mut repeated = [[0; LANES]; REPEATED_TAPS];
        let mut at_once = 1;
        if count < LANES {
            for (record, channel) in records.iter_mut().zip(layer.channels.iter().cycle()) {
                *record = *channel;
            }
            if !least && taps <= REPEATED_TAPS && x.stride == 1 && LANES.is_multiple_of(count) {
                at_once = LANES / count;
                for (row, weights) in repeated.iter_mut().zip(layer.weights.chunks_exact(count)) {
                    row.iter_mut().zip(weights.iter().cycle()).for_each(|(weight, &value)| *weight = value);
                }
            }
        }
        let finish = layer.finish;
        let call = Call {
            lanes: [0, 48, 96, 144],
            min: [finish.min as i8; LANES],
            max: [finish.max as i8; LANES],
            padding: [padding; LANES],
            weights: layer.weights.as_ptr(),
            records: layer.channels.as_ptr(),
            taps: core::ptr::null(),
            fours: 0,
            left: taps % 4,
            careful: 0,
            zero_point: finish.zero_point,
            kind: Kind::of(&finish),
            step: 0,
            count,
            input: core::ptr::null(),
            pixels: 0,
            output: core::ptr::null_mut(),
        };
        let (input, output, border, both) = (input.cast(), output.cast(), inside, PhantomData);
        Some(Self {
            of,
            call,
            input,
            output,
            both,
            strides,
            inside,
            border,
            taps,
            least,
            records,
            repeated,
            at_once,
        })
    }

    /// The outputs of row `out_y`.
    pub(in crate::kernels::int8) fn row(&mut self, out_y: usize) {
        let Convolution {
            window: Window { y, x }, size: [in_h, in_w, in_c], out_size: [out_h, out_w], ..
        } = *self.of;
        if out_y >= out_h {
            return;
        }
        let rows = y.taps(out_y, in_h);
        // Pixels `first..end` have all of their taps of a row in the input.
        let first = x.pad_before.div_ceil(x.stride.max(1));
        let last =
            x.extent().and_then(|extent| (in_w + x.pad_before).checked_sub(extent)?.checked_div(x.stride));
        let end = last.map_or(0, |last| out_w.min(last + 1));
        let whole = rows.count() == y.kernel;
        let mut place = out_y * out_w * in_c;
        let mut out_x = 0;
        while out_x < out_w {
            if whole && first <= out_x && out_x < end {
                let columns = Taps { start: 0, end: x.kernel, position: out_x * x.stride - x.pad_before };
                let groups = if self.at_once > 1 { (end - out_x) / self.at_once } else { end - out_x };
                let (groups, at_once) = if groups > 0 { (groups, self.at_once) } else { (end - out_x, 1) };
                self.run([rows, columns], [groups, at_once], place);
                out_x += groups * at_once;
                place += groups * at_once * in_c;
            } else {
                self.run([rows, x.taps(out_x, in_w)], [1, 1], place);
                out_x += 1;
                place += in_c;
            }
        }
    }

    /// The outputs of `groups` times `at_once` neighbouring pixels, which lie at `place`; the first has these taps in the input, and more than one have all
    /// of them.
    fn run(&mut self, [rows, columns]: [Taps; 2], [groups, at_once]: [usize; 2], place: usize) {
        let Convolution {
            layer,
            window: Window { y, x },
            size: [in_h, in_w, in_c],
            out_size: [out_h, out_w],
            ..
        } = *self.of;
        let [down, across] = self.strides;
        let (row_count, column_count) =
            (rows.end.wrapping_sub(rows.start), columns.end.wrapping_sub(columns.start));
        let inside = row_count == y.kernel && column_count == x.kernel;
        let any = rows.start < rows.end && columns.start < columns.end;
        let pixels = groups * at_once;
        // The last tap of the last pixel lies in the input.
        let bottom = rows.position + row_count.wrapping_sub(1).wrapping_mul(y.dilation);
        let right = columns.position
            + column_count.wrapping_sub(1).wrapping_mul(x.dilation)
            + (pixels - 1) * x.stride;
        let fits = rows.end <= y.kernel
            && columns.end <= x.kernel
            && (!any || bottom < in_h && right < in_w)
            && (inside || pixels == 1)
            && place + pixels * in_c <= out_h * out_w * in_c;
        if !fits {
            return;
        }
        // Where the first tap of the window would lie.
        let mut corner = 0usize;
        if any {
            let first = (rows.position * in_w + columns.position) * in_c;
            corner = first
                .wrapping_sub(rows.start.wrapping_mul(down))
                .wrapping_sub(columns.start.wrapping_mul(across));
        }
        let call = &mut self.call;
        call.input = self.input.wrapping_add(corner);
        call.output = self.output.wrapping_add(place);
        (call.pixels, call.count, call.step) = (groups, at_once * in_c, at_once * x.stride * in_c);
        call.taps = self.inside.as_ptr();
        let narrow = in_c < LANES;
        let mut careful = at_once == 1 && (narrow || self.least);
        if !inside {
            careful |= in_c > PADDING;
            // Addresses have 32 bits.
            let padding = (self.records.as_ptr() as usize).wrapping_sub(call.input as usize) as i32;
            let outside = if careful { OUTSIDE } else { padding };
            let mut slots = self.border.iter_mut().zip(&self.inside);
            for k_y in 0..y.kernel {
                let in_row = rows.contains(k_y);
                for k_x in 0..x.kernel {
                    if let Some((border, &inside)) = slots.next() {
                        *border = if in_row && columns.contains(k_x) { inside } else { outside };
                    }
                }
            }
            call.taps = self.border.as_ptr();
        }
        call.careful = usize::from(careful);
        call.fours = if careful { self.taps } else { self.taps / 4 };
        call.records = if narrow { self.records.as_ptr() } else { layer.channels.as_ptr() };
        call.weights = if at_once == 1 { layer.weights.as_ptr() } else { self.repeated.as_ptr().cast() };
        // SAFETY: `new` has seen that the input, the output and the weights have the lengths of their shapes, and they are borrowed as long as this lives. For each
        // pixel, all channels are read at each tap that lies in the input, of which the first pixel's first tap and the last one's last tap do, and
        // all channels are written, one pixel behind the other, within the output. A vector that would reach over the last channel begins
        // earlier, or, where there are fewer channels than it has, leaves some out, or takes as many pixels side by side as fill it. A tap in the padding
        // leads, from the only pixel, to as many bytes in `records`, which hold padding if there are not fewer channels than in a vector, or is not read in
        // the careful way. Of the weights, all channels' are read for each tap, or a vector for each from `repeated`, which has as many; of the records, as many as
        // there are channels or, if these are fewer than in a vector, as many as it has.
        unsafe { depthwise_16(&raw mut *call) }
    }
}

/// What stands for a tap in the padding, in the careful way.
const OUTSIDE: i32 = i32::MIN;

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
#[derive(Clone, Copy)]
#[repr(C)]
struct Call {
    /// From the first of sixteen records to those of channels that lie four apart.
    lanes: [u32; 4],
    min: [i8; LANES],
    max: [i8; LANES],
    /// What a tap in the padding reads.
    padding: [i8; LANES],
    weights: *const i8,
    records: *const Record,
    taps: *const i32,
    /// Fours of taps, or taps in the careful way.
    fours: usize,
    /// Taps that are left over from fours.
    left: usize,
    careful: usize,
    zero_point: i32,
    kind: Kind,
    step: usize,
    count: usize,
    input: *const i8,
    /// Pixels that are left.
    pixels: usize,
    output: *mut i8,
}

const _: () =
    assert!(core::mem::offset_of!(Call, weights) == 64 && core::mem::offset_of!(Call, output) == 112);

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

/// Sixteen channels of a pixel, then the next ones, for one pixel after another.
///
/// Why so: the channels of a tap are neighbours, in the input and in the filter, for any window. A product of int8 takes 16 bits, and so does the sum of two unless all
/// four factors are -128; the sum of all taps does not. So products are added by twos and then widened: `VMULLB` and `VMULLT` multiply the even and the odd
/// channels, `VMOVLB` and `VMOVLT` widen every other one of these. Four vectors of sums hold channels that lie four apart; two narrowings at the end put them in
/// order again. Each tap has an offset in a table, so that neither the shape of the window nor its dilation matters, and a tap in the padding may lead
/// to a pixel of padding somewhere else. Where eight channels or fewer would leave lanes
/// empty, several pixels side by side are taken for one with more channels.
///
/// The last vector of a pixel begins where sixteen channels are left, if there are as many, and computes some of them once more.
///
/// There is a careful way for weights with a -128, for fewer channels than sixteen, and for a padding that is too long to be copied: one tap at a time, with predicated
/// loads, and an offset may stand for a vector of padding.
///
/// | register | holds |
/// |---|---|
/// | q4 to q7 | sums of the channels 0, 4, 8, 12; 2, 6, 10, 14; 1, 5, 9, 13; 3, 7, 11, 15 |
/// | q0 to q3 | inputs, weights and products; later, addresses of the records, multipliers, shifts, and the correction |
/// | r0, r4, r9 | these channels: in the first tap at offset 0, next weights, records |
/// | r1 | next offset |
/// | r2, r3, r11, r12 | offsets and addresses |
/// | r5, r8 | number of channels, the first of these |
/// | r6 | the [`Call`] |
/// | r7, r10 | this pixel: where its outputs go, where its inputs are |
#[unsafe(naked)]
unsafe extern "C" fn depthwise_16(call: *mut Call) {
    naked_asm!(
        helium_cpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "mov r6, r0",
        "ldrd r5, r10, [r6, #100]",
        "ldr r7, [r6, #112]",
        // A pixel.
        "1:",
        "mov r8, #0",
        // Sixteen channels.
        "2:",
        "ldrd r4, r9, [r6, #64]",
        "add r0, r10, r8",
        "add r4, r4, r8",
        "add r3, r8, r8, lsl #1",
        "add r9, r9, r3, lsl #2",
        "vldrw.u32 q0, [r6]",
        "vadd.i32 q0, q0, r9",
        "vldrw.u32 q4, [q0]",
        "vldrw.u32 q5, [q0, #24]",
        "vldrw.u32 q6, [q0, #12]",
        "vldrw.u32 q7, [q0, #36]",
        "ldrd r1, lr, [r6, #72]",
        "ldrd r12, r3, [r6, #80]",
        "cmp r3, #0",
        "bne 7f",
        "wls lr, lr, 4f",
        "3:",
        "ldm r1!, {{r2, r3, r11, r12}}",
        two_taps!("r2", "r3"),
        two_taps!("r11", "r12"),
        "le lr, 3b",
        "ldr r12, [r6, #80]",
        "4:",
        "wls lr, r12, 6f",
        "5:",
        "ldr r2, [r1], #4",
        "add r2, r2, r0",
        "vldrb.u8 q0, [r2]",
        "vldrb.u8 q1, [r4]",
        "add r4, r4, r5",
        "vmullb.s8 q2, q0, q1",
        "vmullt.s8 q0, q0, q1",
        add_products!("q2", "q0"),
        "le lr, 5b",
        "6:",
        "vldrw.u32 q0, [r6]",
        "vadd.i32 q0, q0, r9",
        "ldrd r12, lr, [r6, #88]",
        "cmp lr, #0",
        "bne 9f",
        scale!(relu, "0", "q4"),
        scale!(relu, "24", "q5"),
        scale!(relu, "12", "q6"),
        scale!(relu, "36", "q7"),
        "10:",
        "vqmovnb.s32 q0, q4",
        "vqmovnt.s32 q0, q5",
        "vqmovnb.s32 q1, q6",
        "vqmovnt.s32 q1, q7",
        "vqadd.s16 q0, q0, r12",
        "vqadd.s16 q1, q1, r12",
        "vqmovnb.s16 q0, q0",
        "vqmovnt.s16 q0, q1",
        "vldrw.u32 q1, [r6, #16]",
        "vldrw.u32 q2, [r6, #32]",
        "vmax.s8 q0, q0, q1",
        "vmin.s8 q0, q0, q2",
        "add r3, r7, r8",
        "vctp.8 r5",
        "vpst",
        "vstrbt.8 q0, [r3]",
        // The next channels.
        "add r8, r8, #16",
        "subs r3, r5, r8",
        "ble 11f",
        "cmp r3, #16",
        "it lo",
        "sublo r8, r5, #16",
        "b 2b",
        // The next pixel.
        "11:",
        "ldr r3, [r6, #96]",
        "add r10, r10, r3",
        "add r7, r7, r5",
        "ldr r2, [r6, #108]",
        "subs r2, r2, #1",
        "str r2, [r6, #108]",
        "bne 1b",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
        // The careful way.
        "7:",
        "vctp.8 r5",
        "add r12, r6, #48",
        "dls lr, lr",
        "8:",
        "ldr r2, [r1], #4",
        "cmp r2, #{outside}",
        "add r2, r2, r0",
        "csel r2, r12, r2, eq",
        "vpstt",
        "vldrbt.u8 q0, [r2]",
        "vldrbt.u8 q1, [r4]",
        "add r4, r4, r5",
        "vmullb.s8 q2, q0, q1",
        "vmullt.s8 q0, q0, q1",
        add_products!("q2", "q0"),
        "le lr, 8b",
        "b 6b",
        "9:",
        scale!(any, "0", "q4"),
        scale!(any, "24", "q5"),
        scale!(any, "12", "q6"),
        scale!(any, "36", "q7"),
        "b 10b",
        outside = const OUTSIDE,
    )
}
