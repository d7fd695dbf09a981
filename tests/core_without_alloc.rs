//! The core allocates nothing: a library for a device that uses all of it is made without an allocator. (rustc refuses a final artifact
//! whose crates link `alloc` and that has no global allocator.)

use std::path::Path;
use std::process::{Command, Output};
use std::{env, str};

const TARGET: &str = "thumbv7em-none-eabihf";

/// Builds `tests/no_alloc` for a device.
fn build(features: &[&str]) -> Output {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("no_alloc");
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_alloc");
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--target", TARGET])
        .args(features)
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs")
}

#[test]
fn core_links_without_an_allocator() {
    let output = build(&[]);
    assert!(output.status.success(), "{}", str::from_utf8(&output.stderr).unwrap());

    // The same with `extern crate alloc` must not link, or this test could not fail.
    let control = build(&["--features", "alloc"]);
    let errors = str::from_utf8(&control.stderr).unwrap();
    assert!(!control.status.success() && errors.contains("no global memory allocator"), "{errors}");
}
