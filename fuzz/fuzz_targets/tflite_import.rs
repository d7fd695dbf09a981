//! TensorFlow Lite files: imported, compiled, written as models.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen_tests::faults::fuzz_tflite;

fuzz_target!(|bytes: &[u8]| fuzz_tflite(bytes));
