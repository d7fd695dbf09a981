//! Takes the model that `SMIDGEN_MODEL` names, or the one that is in this repository.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=SMIDGEN_MODEL");
    let bundled = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("digits.smg");
    let model = env::var_os("SMIDGEN_MODEL").map_or(bundled, PathBuf::from);
    println!("cargo:rerun-if-changed={}", model.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("model.smg");
    if let Err(error) = fs::copy(&model, &out) {
        panic!("{}: {error}", model.display());
    }
}
