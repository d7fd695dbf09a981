//! Turns the target triple into one cfg alias per choice of kernels, so that the source names what it needs and not who has it.

use std::env;

/// Targets whose floating-point unit has `vfma.f32`.
const ARM_FMA: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(arm_fma)");
    if env::var("TARGET").is_ok_and(|target| ARM_FMA.contains(&target.as_str())) {
        println!("cargo::rustc-cfg=arm_fma");
    }
}
