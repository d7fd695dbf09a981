//! The `smidgen` command line.
fn main() {}
