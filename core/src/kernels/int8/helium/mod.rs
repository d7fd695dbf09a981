//! The kernels of [`vectors`](super::vectors) for Armv8.1-M with Helium, the vector extension: Cortex-M55 and M85.
//!
//! Naked functions, because what decides is which of eight vectors and fourteen registers hold what. A vector is 16 bytes and may lie anywhere in
//! memory. What does not fill a vector is left out by predication: in a loop that `WLSTP` or `DLSTP` begins, an instruction reads, sums and writes
//! only as many lanes as there are elements left, so that no length has to be a multiple of anything.
//!
//! `VMLADAV` (which `VMLAV` is another name of) adds up sixteen products of int8 in a register of the scalar core, which has to be one with an even number. Kernels
//! keep their sums in those and their addresses in the odd ones.
#![allow(unsafe_code)]

/// Tells the assembler of naked functions of the instructions: it goes by the function before, not by what the compiler is told.
macro_rules! helium_cpu {
    () => {
        ".cpu cortex-m55"
    };
}

mod copy;
mod depthwise;
mod dots;
mod eights;
#[macro_use]
mod finish;
mod rows;

pub(super) use copy::{SLACK, add_run, copy_rows, fill, short_patch};
pub(super) use depthwise::depthwise;
pub(super) use dots::dots;
pub(super) use eights::eights;
pub(super) use finish::{any_left_shift, finish};
pub(super) use rows::{three_rows, window_rows};
