//! Takes the model that `SMIDGEN_MODEL` names, or the one that is in this repository; and with the feature `signed`, the public key that `SMIDGEN_PUBLIC_KEY` names.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=SMIDGEN_MODEL");
    let bundled = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("digits.smg");
    let model = env::var_os("SMIDGEN_MODEL").map_or(bundled, PathBuf::from);
    println!("cargo:rerun-if-changed={}", model.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    if let Err(error) = fs::copy(&model, out.join("model.smg")) {
        panic!("{}: {error}", model.display());
    }
    #[cfg(feature = "signed")]
    fs::write(out.join("public.key"), public_key()).expect("cargo's folder for it can be written");
}

/// The 32 bytes of the key.
#[cfg(feature = "signed")]
fn public_key() -> [u8; 32] {
    println!("cargo:rerun-if-env-changed=SMIDGEN_PUBLIC_KEY");
    let path = env::var_os("SMIDGEN_PUBLIC_KEY").map(PathBuf::from);
    let path = path.expect(
        "SMIDGEN_PUBLIC_KEY names the public key (PEM) of who may send models: the feature `signed` needs it",
    );
    println!("cargo:rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let key = ed25519_compact::PublicKey::from_pem(&text);
    *key.unwrap_or_else(|error| panic!("{}: no public key of ed25519 in PEM: {error:?}", path.display()))
}
