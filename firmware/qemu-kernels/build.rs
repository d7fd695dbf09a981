//! Links with the runtime's script, which includes the memory map that `smidgen-firmware` wrote.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
