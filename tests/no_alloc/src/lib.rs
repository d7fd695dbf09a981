//! A whole program for a device as far as linking goes: it loads a model and runs it, and there is no allocator.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;

use core::panic::PanicInfo;

use smidgen::{AllOperators, EntryKind, Model, Session};

/// Loads `file` and infers once in `memory`; whether that worked.
pub fn infer(file: &[u8], memory: &mut [u8]) -> bool {
    let Ok(model) = Model::<AllOperators>::from_bytes(file) else { return false };
    Session::new(model, memory).is_ok_and(|mut session| session.run(EntryKind::Infer).is_ok())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
