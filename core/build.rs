//! Turns the target triple into one cfg alias per choice of kernels, so that the source names what it needs and not who has it.

use std::env;

/// Targets whose floating-point unit has `vfma.f32`.
const ARM_FMA: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(arm_fma, arm_dsp, arm_v6m, arm_v7m, arm_v8m)");
    let target = env::var("TARGET").unwrap_or_default();
    if ARM_FMA.contains(&target.as_str()) {
        println!("cargo::rustc-cfg=arm_fma");
    }
    // Without dual multiplications.
    if target.starts_with("thumbv6m") {
        println!("cargo::rustc-cfg=arm_v6m");
    }
    if target.starts_with("thumbv7m-") {
        println!("cargo::rustc-cfg=arm_v7m");
    }
    let v8m = target.starts_with("thumbv8m.main");
    if v8m {
        println!("cargo::rustc-cfg=arm_v8m");
    }
    // Dual 16-bit multiplications. Not known of the target on Armv8-M, where whoever builds says so with a feature.
    if target.starts_with("thumbv7em") || (v8m && env::var_os("CARGO_FEATURE_DSP").is_some()) {
        println!("cargo::rustc-cfg=arm_dsp");
    }
}
