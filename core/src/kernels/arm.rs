//! Instructions of the Cortex-M floating-point unit that Rust has no name for.
//!
//! A whole function each: the register class that `asm!` would need is one that the compiler does not allow on the
//! single-precision units of Cortex-M.
#![allow(unsafe_code)]

/// `a * b + c`, rounded once.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    vfma(a, b, c)
}

#[unsafe(naked)]
extern "C" fn vfma(a: f32, b: f32, c: f32) -> f32 {
    // The hard-float calling convention of the targets that `arm_fma` stands for passes `a`, `b`, `c` in s0, s1, s2, gives the
    // result in s0, and leaves all three free to use.
    // The assembler of naked functions has to be told of the unit.
    core::arch::naked_asm!(".fpu fpv4-sp-d16", "vfma.f32 s2, s0, s1", "vmov.f32 s0, s2", "bx lr")
}
