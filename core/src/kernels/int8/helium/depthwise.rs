//! Depthwise convolutions: sixteen channels of a pixel at a time.

use core::arch::naked_asm;

use super::finish::Kind;
use crate::kernels::int8::offsets::Offsets;
use crate::kernels::int8::vectors::{LANES, Layer, Record};
use crate::memory::InOut;

/// Words for what is copied: sixteen records, or a pixel of padding.
const SPARE: usize = 48;

/// A depthwise convolution of one sample.
pub(in crate::kernels::int8) struct Depthwise<'a, 'b, 'm> {
    layer: Layer<'a>,
    both: &'b mut InOut<'m>,
    call: Call,
    /// The records, followed by zeros, if there are fewer than a vector takes; else as many times the padding as there are channels, if they fit.
    spare: [i32; SPARE],
    taps: usize,
}

impl<'a, 'b, 'm> Depthwise<'a, 'b, 'm> {
    /// Of a window with so many taps, whose pixels are `step` elements apart in the input. A tap in the padding reads `padding`.
    pub(in crate::kernels::int8) fn new(
        layer: Layer<'a>,
        taps: usize,
        step: usize,
        padding: i8,
        both: &'b mut InOut<'m>,
    ) -> Self {
        let Layer { weights, channels, finish } = layer;
        let (input, output) = match both {
            InOut::Apart { input, output } => (input.as_ptr(), output.as_mut_ptr()),
            // One pointer that may both read and write.
            InOut::Over { region, input: (input, _), output: (output, _) } => {
                let region = region.as_mut_ptr();
                (region.wrapping_add(*input).cast_const(), region.wrapping_add(*output))
            }
        };
        let swift = channels.len() >= LANES && !has_least(weights);
        let mut spare = [0; SPARE];
        if channels.len() < LANES {
            for (word, value) in spare.iter_mut().zip(channels.as_flattened()) {
                *word = *value;
            }
        } else {
            spare.fill(i32::from_ne_bytes([padding as u8; 4]));
        }
        let call = Call {
            lanes: [0, 48, 96, 144],
            min: [finish.min as i8; LANES],
            max: [finish.max as i8; LANES],
            padding: [padding; LANES],
            weights: weights.as_ptr(),
            records: channels.as_ptr(),
            taps: core::ptr::null(),
            fours: if swift { taps / 4 } else { taps },
            left: taps % 4,
            careful: usize::from(!swift),
            zero_point: finish.zero_point,
            kind: Kind::of(&finish),
            step,
            count: channels.len(),
            input: input.cast(),
            pixels: 0,
            output: output.cast(),
        };
        Self { layer, both, call, spare, taps }
    }

    /// What stands for a tap in the padding. If it is not [`OUTSIDE`], offsets with it are for one pixel.
    pub(in crate::kernels::int8) fn outside(&self) -> i32 {
        if self.call.careful == 0 && self.call.count <= size_of_val(&self.spare) {
            // From the input to a pixel of padding; addresses have 32 bits.
            (self.spare.as_ptr() as usize).wrapping_sub(self.call.input as usize) as i32
        } else {
            OUTSIDE
        }
    }

    /// The outputs of some neighbouring pixels, from `place` on. `offsets` are those of the first one, with [`outside`](Self::outside) for taps in the padding.
    ///
    /// Does nothing if they do not lie in the input and the output.
    pub(in crate::kernels::int8) fn run(
        &mut self,
        offsets: &Offsets,
        outside: i32,
        pixels: usize,
        place: usize,
    ) {
        let Layer { weights, channels, .. } = self.layer;
        let (count, taps) = (channels.len(), self.taps);
        let end = |each: usize, first: usize| {
            pixels.checked_sub(1)?.checked_mul(each)?.checked_add(first)?.checked_add(count)
        };
        let ends = [end(self.call.step, offsets.reach()), end(count, place)];
        let [input_end, output_end] = ends.map(|end| end.unwrap_or(usize::MAX));
        let fits = input_end <= self.both.input().len() && output_end <= self.both.output().len();
        let padded = offsets.padded() && outside == OUTSIDE;
        let known = !offsets.padded() || outside == OUTSIDE || (outside == self.outside() && pixels == 1);
        if !fits
            || !known
            || count == 0
            || taps == 0
            || offsets.places().len() != taps
            || weights.len() / taps < count
        {
            return;
        }
        let swift = self.call.careful == 0;
        let mut call = Call {
            taps: offsets.places().as_ptr(),
            pixels,
            output: self.call.output.wrapping_add(place),
            ..self.call
        };
        if count < LANES {
            call.records = self.spare.as_ptr().cast();
        }
        if swift && padded {
            (call.careful, call.fours) = (1, taps);
        }
        // SAFETY: for each of `pixels` pixels, `count` bytes are read at each of the offsets, which are at most `reach`, `step` further from pixel to pixel, and
        // `count` bytes are written, one pixel behind the other: both lie in the input and in the output, whose pointers are those of `both`, borrowed as long as
        // this lives. A vector that would reach over the last channel begins earlier, or, where there are fewer channels than it has, leaves some out. Offsets that stand
        // for the padding lead, from the first pixel, to as many bytes in `spare`, which has not moved, or are not read from in the careful way. Of the weights,
        // `count` are read for each tap; of the records, as many as there are or, if they are fewer than in a vector, those in `spare`.
        unsafe { depthwise_16(&raw mut call) }
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
/// to a pixel of padding somewhere else.
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
