//! Kernels compiled for the vector instruction sets of x86-64.
#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected;

use super::isa::{Kernel, scalar};

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

pub(super) fn has_avx512() -> bool {
    has_avx2() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

#[target_feature(enable = "avx2,fma")]
fn avx2(kernel: impl Kernel) {
    kernel.run::<16, 4>();
}

#[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
fn avx512(kernel: impl Kernel) {
    kernel.run::<32, 8>();
}

pub(super) fn run_avx2(kernel: impl Kernel) {
    if has_avx2() {
        // SAFETY: the processor has the features of `avx2`.
        unsafe { avx2(kernel) }
    } else {
        scalar(kernel);
    }
}

pub(super) fn run_avx512(kernel: impl Kernel) {
    if has_avx512() {
        // SAFETY: the processor has the features of `avx512`.
        unsafe { avx512(kernel) }
    } else {
        scalar(kernel);
    }
}
