//! The same bits on host and device.

use smidgen_trainer::device::{Device, Target};

use crate::emulator;
use crate::models::{sum, sum_inputs};

#[test]
fn a_model_gives_the_same_bytes_and_step_hashes_on_the_emulated_cortex_m4() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let (model, inputs) = (sum(true), sum_inputs(20));
    let traced = [0, 7, 19];
    let here = Device::new(Target::Host).traced(&traced).run(&model, &inputs).unwrap();
    let there = Device::new(Target::CortexM4).traced(&traced).run(&model, &inputs).unwrap();
    assert_eq!(here.outputs, there.outputs);
    assert_eq!((here.steps.len(), here.first_difference(&there)), (9, None));
    assert_eq!((here.arena_bytes, there.arena_bytes), (768, 768));
}

#[test]
fn a_built_in_model_gives_the_same_bytes_and_its_log_decodes() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let (model, inputs) = (sum(true), sum_inputs(3));
    let here = Device::new(Target::Host).run(&model, &inputs).unwrap();
    let there = Device::new(Target::CortexM4).run_embedded(&model, &inputs).unwrap();
    assert_eq!((here.outputs, here.arena_bytes), (there.outputs, there.arena_bytes));
    let loaded = format!("INFO model of {} bytes, memory of 768 bytes", model.len());
    assert_eq!(there.log, [loaded.as_str(), "INFO 3 samples"]);
}
