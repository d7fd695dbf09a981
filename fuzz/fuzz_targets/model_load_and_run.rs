//! Model files, or changes to valid ones: loaded, and run if they load. See `smidgen_tests::faults::fuzz_model`.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use smidgen_tests::faults::{Scratch, fuzz_model};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    SCRATCH.with_borrow_mut(|scratch| fuzz_model(bytes, scratch));
});
