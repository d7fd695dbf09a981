//! Takes the model that `SMIDGEN_MODEL` names, and links with the runtime's script.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
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
}
