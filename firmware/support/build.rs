//! Writes the linker's memory map of the machine that the cfg `smidgen_machine` names, by default `cortex-m4`.

use std::path::PathBuf;
use std::{env, fs};

use smidgen_protocol::machine::{MACHINES, find};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let name = env::var("CARGO_CFG_SMIDGEN_MACHINE").unwrap_or_else(|_| "cortex-m4".to_owned());
    let Some(machine) = find(&name) else {
        let known = MACHINES.map(|machine| machine.name).join(", ");
        panic!("smidgen_machine is {name}, expected one of {known}");
    };
    let target = env::var("TARGET").expect("cargo sets TARGET");
    assert_eq!(target, machine.triple, "{name} needs --target {}", machine.triple);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let (flash, ram) = (machine.flash, machine.ram);
    let memory = format!(
        "MEMORY\n{{\n  FLASH : ORIGIN = {:#010x}, LENGTH = {}\n  RAM : ORIGIN = {:#010x}, LENGTH = {}\n}}\n\
         _stack_limit = ORIGIN(RAM) + LENGTH(RAM) - {};\n\
         ASSERT(__sheap <= _stack_limit, \"the statics reach into the stack\");\n",
        flash.start, flash.bytes, ram.start, ram.bytes, machine.stack_bytes
    );
    fs::write(out.join("memory.x"), memory).expect("OUT_DIR can be written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-env=SMIDGEN_MACHINE={name}");
}
