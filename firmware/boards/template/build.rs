//! The board's crate brings its memory map; these scripts put the image together.

fn main() {
    for script in ["link.x", {% if board == "pico" %}"link-rp.x", {% endif %}"defmt.x"] {
        println!("cargo:rustc-link-arg-bins=-T{script}");
    }
}
