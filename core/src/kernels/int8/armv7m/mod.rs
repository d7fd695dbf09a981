//! The kernels of [`rows`](super::rows), [`fours`](super::fours) and [`taps`](super::taps) for Armv7-M without the DSP extension: Cortex-M3. Those of `taps` are also used where there
//! is that extension.
//!
//! Naked functions, because compilers spill: each of them needs nearly all fourteen registers that there are. They call nothing and use no stack but
//! what they save. `LDRD`, `LDM`, `STRD` and `STM` are used on words only; bytes are loaded as bytes.
//!
//! # Two multiplications in one
//!
//! `UMLAL` adds the product of two 32-bit numbers to a sum of 64 bits. With `x0 + 2^24 * x1` for one of them and `w` for the other, that is two
//! multiplications of bytes with their additions: the sum is `s0 + 2^24 * s1`. Where both are in one number, `s0` is negative as often as not and then has borrowed one
//! from `s1`. So `2^23` is added before, which makes the lower 24 bits a number that is not negative: they are `s0 + 2^23`, and what lies above them is `s1`.
//!
//! (On silicon, `UMLAL` takes some cycles more than `MLA`, which it replaces twice; Arm's manual says 4 to 7 against 2, fewer for small numbers. What is
//! counted here are instructions.)
#![allow(unsafe_code)]

/// The output of a channel for twice an accumulator in `$sum`; r0, r1, r2: multiplier, half, exponent. See [`Folded`](super::Folded). r3 and r12 are overwritten.
///
/// The multiplication leaves the product's halves in r12 and `$sum`. What rounds it is bit 31 of the lower half, shifted into the carry.
macro_rules! requantize {
    ($sum:literal) => {
        concat!(
            concat!("add r3, r1, ", $sum, ", asr #31\n"),
            concat!("smull r12, ", $sum, ", ", $sum, ", r0\n"),
            "lsls r12, r12, #1\n",
            concat!("adc ", $sum, ", ", $sum, ", r3\n"),
            concat!("asr ", $sum, ", ", $sum, ", r2\n"),
            concat!("ssat ", $sum, ", #8, ", $sum),
        )
    };
}

#[cfg(arm_v7m)]
/// Twice both accumulators from their sum of 64 bits, see the [module](self). r3 is overwritten.
macro_rules! both_sums {
    ($low:literal, $high:literal) => {
        concat!(
            concat!("lsl r3, ", $low, ", #8\n"),
            concat!("eor r3, r3, #0x80000000\n"),
            concat!("lsr ", $low, ", ", $low, ", #24\n"),
            concat!("orr ", $high, ", ", $low, ", ", $high, ", lsl #8\n"),
            concat!("lsl ", $high, ", ", $high, ", #1\n"),
            concat!("asr ", $low, ", r3, #7"),
        )
    };
}

#[cfg(arm_v7m)]
pub(super) mod fours;
#[cfg(arm_v7m)]
pub(super) mod rows;
pub(super) mod taps;
