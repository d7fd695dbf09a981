//! The kernels of [`pairs`], [`double_pairs`](super::double_pairs), [`quads`](super::quads), [`sums`](super::sums) and [`maxima`](super::maxima) for Armv7E-M and for Armv8-M with the DSP extension.
//!
//! Naked functions, because compilers spill: each of them needs all fourteen registers that there are. They call nothing and use no stack but
//! what they save. Unaligned `LDR`, `STR` and `STRH` are used on bytes, as the architecture allows for as long as `CCR.UNALIGN_TRP` is 0, its value
//! at reset; `LDRD`, `LDM` and `STM` only on words.
#![allow(unsafe_code)]

/// Tells the assembler of naked functions of the instructions, where the target does not: the DSP extension is an option on Armv8-M.
#[cfg(arm_v8m)]
macro_rules! dsp_cpu {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(arm_v8m))]
macro_rules! dsp_cpu {
    () => {
        ""
    };
}

/// The output for the accumulator in a register, of which a shift makes the double; r0, r1, r2: multiplier, half, exponent. See
/// [`Folded`](super::Folded): `signed` with the sign, `relu` without.
macro_rules! requantize {
    (signed, $accumulator:literal, $shift:literal) => {
        concat!(
            concat!($shift, "\n"),
            concat!("add r3, r1, ", $accumulator, ", asr #31\n"),
            concat!("smmlar ", $accumulator, ", ", $accumulator, ", r0, r3\n"),
            concat!("asr ", $accumulator, ", ", $accumulator, ", r2\n"),
            concat!("ssat ", $accumulator, ", #8, ", $accumulator),
        )
    };
    (relu, $accumulator:literal, $shift:literal) => {
        concat!(
            concat!($shift, "\n"),
            concat!("smmlar ", $accumulator, ", ", $accumulator, ", r0, r1\n"),
            concat!("asr ", $accumulator, ", ", $accumulator, ", r2\n"),
            concat!("ssat ", $accumulator, ", #8, ", $accumulator),
        )
    };
}

/// The output for an accumulator that is doubled, with its multiplier, half and exponent in registers.
macro_rules! requantize_doubled {
    (signed, $accumulator:literal, $multiplier:literal, $half:literal, $exponent:literal) => {
        concat!(
            concat!("add ", $half, ", ", $half, ", ", $accumulator, ", asr #31\n"),
            requantize_doubled!(relu, $accumulator, $multiplier, $half, $exponent),
        )
    };
    (relu, $accumulator:literal, $multiplier:literal, $half:literal, $exponent:literal) => {
        concat!(
            concat!("smmlar ", $accumulator, ", ", $accumulator, ", ", $multiplier, ", ", $half, "\n"),
            concat!("asr ", $accumulator, ", ", $accumulator, ", ", $exponent, "\n"),
            concat!("ssat ", $accumulator, ", #8, ", $accumulator),
        )
    };
}

/// The outputs of four channels, whose accumulators in r4 to r7 are doubled; takes r0 to r2, r8 to r10, and the next words of the stream from lr.
macro_rules! requantize_four {
    ($kind:ident) => {
        concat!(
            "ldm lr!, {{r0, r1, r2, r8, r9, r10}}\n",
            concat!(requantize_doubled!($kind, "r4", "r0", "r1", "r2"), "\n"),
            concat!(requantize_doubled!($kind, "r5", "r8", "r9", "r10"), "\n"),
            "ldm lr!, {{r0, r1, r2, r8, r9, r10}}\n",
            concat!(requantize_doubled!($kind, "r6", "r0", "r1", "r2"), "\n"),
            requantize_doubled!($kind, "r7", "r8", "r9", "r10"),
        )
    };
}

mod double_single;
mod expand;
#[cfg(not(arm_helium))]
mod maxima;
mod row;
mod single;
#[cfg(not(arm_helium))]
mod sums;
mod tile;

pub(super) use double_single::double_single;
pub(super) use expand::{copy_rows, expand, expand_colour, expand_one};
#[cfg(not(arm_helium))]
pub(super) use maxima::keep_greater_fours;
pub(super) use row::row;
pub(super) use single::single;
#[cfg(not(arm_helium))]
pub(super) use sums::add_run;
pub(super) use tile::Tiles;
