//! Bytes as an IDX file, of images and of labels, plain or packed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen_tests::faults::fuzz_idx;

fuzz_target!(|bytes: &[u8]| fuzz_idx(bytes));
