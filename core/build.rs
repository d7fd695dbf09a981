//! Turns the target triple into one cfg alias per choice of kernels, so that the source names what it needs and not who has it.

use std::env;

/// Targets whose floating-point unit has `vfma.f32`.
const ARM_FMA: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

/// Processors of Armv8.1-M with Helium.
const HELIUM: [&str; 2] = ["cortex-m55", "cortex-m85"];

/// What the compiler is told with `-C target-cpu`.
fn target_cpu() -> Option<String> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").ok()?;
    let mut cpus = flags.split('\u{1f}').filter_map(|flag| {
        flag.strip_prefix("-C").unwrap_or(flag).trim_start().strip_prefix("target-cpu=").map(str::to_owned)
    });
    cpus.next_back()
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(arm_fma, arm_dsp, arm_helium, arm_v6m, arm_v7m, arm_v8m)");
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
    // Vectors. Not known of the target either, but of the processor that is built for, since what the compiler makes has them, too.
    if v8m && target_cpu().is_some_and(|cpu| HELIUM.contains(&cpu.as_str())) {
        println!("cargo::rustc-cfg=arm_helium");
    }
}
