//! The kernels of [`rows`](super::rows), [`fours`](super::fours) and [`taps`](super::taps) for Armv6-M: Cortex-M0, M0+ and M1.
//!
//! Of sixteen registers, loads, multiplications and shifts reach only r0 to r7; `ADD`, `MOV` and `CMP` reach all. So sums live in r8 to r11, where nothing but an addition
//! is ever done to them, and the others are for what changes. A multiplication keeps the lower 32 bits and overwrites one of its factors. Loads of
//! bytes have an offset among the instruction's bits only if they are unsigned.
//!
//! # Two multiplications in one
//!
//! With `x0 + 2^16 * x1` for one factor and `w` for the other, all of them unsigned bytes, the product is `x0 * w + 2^16 * x1 * w`, two products that both fit their 16 bits. Two
//! additions sum up, without separating them: all of the products, in `a`, and their upper halves, in `b`. In the end `b` is the sum of the `x1 * w`, and
//! `a - 2^16 * b` that of the `x0 * w`, exactly, however often `a` has wrapped. That is a multiplication, a shift and two additions where two multiplications and two
//! additions would do as well; but it needs half of the words of taps, in memory that these processors are short of.
#![allow(unsafe_code)]

/// The output of a channel for its accumulator in r3, which is smaller than `2^23` in magnitude, to r3: a function of the assembly's own, for `BL`. See
/// [`Folded`](super::Folded).
///
/// r4 and r5: the multiplier's upper half and its lower 16 bits. r7: the exponent. r12: what rounds, `half`. r0, r2 and r6 are overwritten.
///
/// There is no multiplication to 64 bits. With `s = 2^11 * sh + sl` and `m = 2^16 * mh + ml`, the four products fit 32 bits, and so do their sums if each is shifted
/// first by what separates it from the next. Rounding down at each shift is exact, because what is added afterwards has no bits there:
///
/// ```text
/// q = (s * m + 2^30) >> 31 = (sh * mh + ((sl * mh + ((sh * ml + (sl * ml >> 11)) >> 5)) >> 11) + 8) >> 4
/// ```
macro_rules! requantize_function {
    () => {
        "asrs r0, r3, #11
         lsls r3, r3, #21
         lsrs r3, r3, #21
         movs r2, r3
         muls r2, r5, r2
         lsrs r2, r2, #11
         movs r6, r0
         muls r6, r5, r6
         adds r2, r2, r6
         asrs r2, r2, #5
         muls r3, r4, r3
         adds r3, r3, r2
         asrs r3, r3, #11
         asrs r6, r0, #31
         muls r0, r4, r0
         adds r3, r3, r0
         adds r3, #8
         asrs r3, r3, #4
         adds r3, r3, r6
         add r3, r12
         asrs r3, r7
         sxtb r0, r3
         cmp r0, r3
         bne 0f
         bx lr
         0:
         asrs r3, r3, #31
         movs r0, #127
         eors r3, r0
         bx lr"
    };
}

pub(super) mod fours;
pub(super) mod rows;
pub(super) mod taps;
