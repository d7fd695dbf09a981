//! For build scripts of images with a model built in.

use std::path::PathBuf;
use std::{env, fs};

/// Copies the model that `SMIDGEN_MODEL` names to `OUT_DIR/model.smg`, and links with the runtime's script and, where the image has logs, defmt's.
///
/// # Panics
/// If there is no such model, which ends the build with these words.
pub fn build_in() {
    println!("cargo:rerun-if-env-changed=SMIDGEN_MODEL");
    let Some(model) = env::var_os("SMIDGEN_MODEL").map(PathBuf::from) else {
        panic!("set SMIDGEN_MODEL to the absolute path of the model file to build in");
    };
    println!("cargo:rerun-if-changed={}", model.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("model.smg");
    if let Err(error) = fs::copy(&model, &out) {
        panic!("SMIDGEN_MODEL={}: {error}", model.display());
    }
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
    }
}
