//! Kernels for Armv8.1-M with Helium, the vector extension: Cortex-M55 and M85.
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
mod eights;
mod sixteens;
mod vector_pairs;

pub(crate) use copy::clamp;
pub(super) use copy::{add_run, copy_rows, fill};
pub(super) use eights::eights;
pub(super) use sixteens::lanes;
pub(super) use vector_pairs::pixels;
