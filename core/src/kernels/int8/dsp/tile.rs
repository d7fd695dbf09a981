//! Four pixels of two channels at a time.

use core::arch::naked_asm;
use core::marker::PhantomData;

use crate::kernels::int8::pairs::{FIXED_WORDS, PIXELS};

/// The channel pairs of a stream, for four pixels at a time. What does not change from one block of pixels to the next is checked and computed once.
pub(in crate::kernels::int8) struct Tiles<'a> {
    /// `call.stream` to `call.stream_end`.
    stream: PhantomData<&'a [i32]>,
    /// Words of taps.
    taps: usize,
    /// Bytes from the first output to the end of the last one.
    reach: usize,
    call: Tile,
}

impl<'a> Tiles<'a> {
    /// For `taps` words of taps of four pixels, whose outputs are `stride` apart. `None` if the lengths do not fit each other.
    pub(in crate::kernels::int8) fn new(
        stream: &'a [i32],
        taps: usize,
        relu: bool,
        stride: usize,
    ) -> Option<Self> {
        let weight_words = taps / 4;
        let pair_words = weight_words + FIXED_WORDS;
        let pairs = stream.len() / pair_words;
        let fits = pairs > 0 && stream.len() == pairs * pair_words;
        if !fits || weight_words == 0 || taps != weight_words * 4 || !weight_words.is_multiple_of(2) {
            return None;
        }
        let reach = (PIXELS - 1).checked_mul(stride)?.checked_add(2 * pairs)?;
        let stream = stream.as_ptr_range();
        let call = Tile {
            taps: core::ptr::null(),
            taps_end: core::ptr::null(),
            output: core::ptr::null_mut(),
            stride,
            three_strides: 3 * stride,
            stream_end: stream.end,
            skip: (ROUND - (weight_words - FIRST) % ROUND) * PAIR_BYTES,
            relu: usize::from(relu),
            stream: stream.start,
        };
        Some(Self { stream: PhantomData, taps, reach, call })
    }

    /// The outputs for the four pixels of `taps`: pixel `p`'s are `output[p * stride..]`, two for each pair.
    ///
    /// Does nothing if the lengths do not fit.
    #[inline(always)]
    pub(in crate::kernels::int8) fn run(&mut self, taps: &[i32], output: &mut [i8]) {
        if taps.len() != self.taps || output.len() < self.reach {
            return;
        }
        let taps = taps.as_ptr_range();
        (self.call.taps, self.call.taps_end, self.call.output) = (taps.start, taps.end, output.as_mut_ptr());
        // SAFETY: `new` made sure that the stream, which is borrowed, is `pairs` times `pair_words` words, for taps of `self.taps` words. For each pair of
        // channels, the kernel reads that many words of the stream and all of the taps, which it reaches after exactly `weight_words` words of weights, an even
        // number of at least two; and it writes two bytes at four places `stride` apart, which for all pairs end within `reach` bytes. `skip` is the
        // distance to the beginning of one of the repeated words of the round.
        unsafe { tile_4x2(&raw const self.call) }
    }
}

/// What [`tile_4x2`] is told.
#[repr(C)]
struct Tile {
    taps: *const i32,
    taps_end: *const i32,
    output: *mut i8,
    stride: usize,
    three_strides: usize,
    stream_end: *const i32,
    /// Bytes of code of the first round to be left out.
    skip: usize,
    /// Whether to leave out the sign when requantizing.
    relu: usize,
    stream: *const i32,
}

/// Words of weights in a round of the loop over the taps: 128 weights of a channel, whose first two words come before, are three rounds, 256 are six.
const ROUND: usize = 21;
/// Words of weights before the first round.
const FIRST: usize = 2;
/// Bytes of code for a word of weights: twelve instructions of four bytes each.
const PAIR_BYTES: usize = 48;

/// One word of weights with four words of taps: sixteen multiplications in twelve instructions.
macro_rules! word {
    () => {
        "ldr r2, [lr], #4
         ldrd r0, r1, [r12], #8
         sxtb16 r3, r2
         smlad r4, r0, r3, r4
         smlad r5, r1, r3, r5
         smlad r8, r0, r2, r8
         smlad r9, r1, r2, r9
         ldrd r0, r1, [r12], #8
         smlad r6, r0, r3, r6
         smlad r7, r1, r3, r7
         smlad r10, r0, r2, r10
         smlad r11, r1, r2, r11"
    };
}

/// The outputs of both channels.
macro_rules! requantize_pair {
    ($kind:ident) => {
        concat!(
            "ldm lr!, {{r0, r1, r2}}\n",
            concat!(requantize!($kind, "r4", "lsl r4, r4, #1"), "\n"),
            concat!(requantize!($kind, "r5", "lsl r5, r5, #1"), "\n"),
            concat!(requantize!($kind, "r6", "lsl r6, r6, #1"), "\n"),
            concat!(requantize!($kind, "r7", "lsl r7, r7, #1"), "\n"),
            "ldm lr!, {{r0, r1, r2}}\n",
            concat!(requantize!($kind, "r8", "asr r8, r8, #7"), "\n"),
            concat!(requantize!($kind, "r9", "asr r9, r9, #7"), "\n"),
            concat!(requantize!($kind, "r10", "asr r10, r10, #7"), "\n"),
            requantize!($kind, "r11", "asr r11, r11, #7"),
        )
    };
}

/// Four pixels times two channels, for one pair of channels after another.
///
/// Why four by two: it is the widest block whose accumulators leave room to work. Each word of weights serves four pixels and each word of taps
/// two channels, so that four loads and one extraction go with eight dual multiplications.
///
/// | register | holds |
/// |---|---|
/// | r4 to r7 | accumulators of the even channel, pixels 0 to 3 |
/// | r8 to r11 | 256 times the odd channel's plus the even channel's |
/// | r12, lr | next word of taps, next word of the stream |
/// | r0, r1 | taps of two pixels |
/// | r2, r3 | weights of both channels, of the even channel |
/// | stack | the fields of [`Tile`] up to `relu`; `skip` and `relu` have become addresses of code |
///
/// The first word's multiplications take the biases as summands, which saves moving them to eight accumulators. After the second word, a jump
/// into the loop leaves out of its first round what the weights do not fill; all instructions of a word are four bytes long. (If nothing or whole
/// rounds are left, the jump goes to the end of the loop or to its beginning by the same rule: `skip` is a whole round then, and the loop's end decides.)
#[unsafe(naked)]
unsafe extern "C" fn tile_4x2(call: *const Tile) {
    naked_asm!(
        dsp_cpu!(),
        "push {{r4-r11, lr}}",
        "sub sp, sp, #36",
        "ldm r0, {{r1-r9}}",
        // Addresses of Thumb code are odd.
        "adr.w r10, 2f",
        "add r7, r7, r10",
        "orr r7, r7, #1",
        "cmp r8, #0",
        "ite eq",
        "adreq.w r8, 5f",
        "adrne.w r8, 3f",
        "orr r8, r8, #1",
        "stm sp, {{r1-r8}}",
        "mov lr, r9",
        "1:",
        "ldr r12, [sp, #0]",
        "ldrd r7, r11, [lr], #8",
        "ldr r2, [lr], #4",
        "ldrd r0, r1, [r12], #8",
        "sxtb16 r3, r2",
        "smlad r4, r0, r3, r7",
        "smlad r5, r1, r3, r7",
        "smlad r8, r0, r2, r11",
        "smlad r9, r1, r2, r11",
        "ldrd r0, r1, [r12], #8",
        "smlad r6, r0, r3, r7",
        "smlad r7, r1, r3, r7",
        "smlad r10, r0, r2, r11",
        "smlad r11, r1, r2, r11",
        word!(),
        "ldr pc, [sp, #24]",
        "2:",
        ".rept {round}",
        word!(),
        ".endr",
        "ldr r0, [sp, #4]",
        "cmp r12, r0",
        "bne 2b",
        "sub r8, r8, r4",
        "sub r9, r9, r5",
        "sub r10, r10, r6",
        "sub r11, r11, r7",
        "ldr pc, [sp, #28]",
        "3:",
        requantize_pair!(relu),
        "4:",
        "ldrd r12, r0, [sp, #8]",
        "ldrd r1, r2, [sp, #16]",
        "bfi r4, r8, #8, #24",
        "bfi r5, r9, #8, #24",
        "bfi r6, r10, #8, #24",
        "bfi r7, r11, #8, #24",
        "strh r5, [r12, r0]",
        "strh r6, [r12, r0, lsl #1]",
        "strh r7, [r12, r1]",
        "strh r4, [r12], #2",
        "str r12, [sp, #8]",
        "cmp lr, r2",
        "bne 1b",
        "add sp, sp, #36",
        "pop {{r4-r11, pc}}",
        "5:",
        requantize_pair!(signed),
        "b 4b",
        round = const ROUND,
    )
}
