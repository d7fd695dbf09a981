//! The same bits on host and device.

use defmt_decoder::{DecodeError, Table};
use smidgen_trainer::device::Log;
use smidgen_trainer::device::{Device, Report, Target};

use crate::emulator;
use crate::models::{
    batches, float_inputs, float_net, float_remembering, int8_inputs, int8_net, int8_remembering, sum,
    sum_inputs, training_net,
};

/// Runs a model on the host and on `target`; everything that both report is the same, step by step.
fn same(target: Target, model: &[u8], inputs: &[u8], traced: &[u32]) -> Report {
    let here = Device::new(Target::Host).traced(traced).run(model, inputs).unwrap();
    let there = Device::new(target).traced(traced).run(model, inputs).unwrap();
    assert_eq!(here.first_difference(&there), None);
    assert_eq!(here.outputs, there.outputs);
    assert_eq!(here.arena_bytes, there.arena_bytes);
    let (instructions, stack) = (there.instructions.unwrap(), there.stack_peak_bytes.unwrap());
    println!(
        "{target}: {instructions} instructions, emulated; {stack} bytes of stack, {} of memory",
        there.arena_bytes
    );
    assert!(!there.steps.is_empty() && there.steps.iter().all(|step| step.instructions > Some(0)));
    there
}

#[test]
fn a_model_made_by_hand_gives_the_same_bytes_and_counts_repeat() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let (model, inputs) = (sum(true), sum_inputs(20));
    let report = same(Target::CortexM4, &model, &inputs, &[0, 7, 19]);
    assert_eq!((report.steps.len(), report.arena_bytes), (9, 768));
    let again = Device::new(Target::CortexM4).traced(&[0, 7, 19]).run(&model, &inputs).unwrap();
    assert_eq!(report, again, "counts, hashes and outputs repeat");
    // Steps and what is between them.
    let of_steps: u64 = report.steps[..3].iter().filter_map(|step| step.instructions).sum();
    let (total, stack) = (report.instructions.unwrap(), report.stack_peak_bytes.unwrap());
    assert!(of_steps < total && total < 20 * of_steps, "{of_steps} of {total}");
    assert!((256..16_384).contains(&stack), "{stack}");
}

#[test]
fn a_difference_in_one_weight_is_seen_at_its_step() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let (model, inputs) = (sum(true), sum_inputs(1));
    let other = sum(false);
    let here = Device::new(Target::Host).run(&model, &inputs).unwrap();
    let there = Device::new(Target::CortexM4).run(&other, &inputs).unwrap();
    assert_eq!(here.first_difference(&there).map(|step| step.index), Some(1));
    assert_ne!(here.outputs, there.outputs);
}

#[test]
fn a_float_network_gives_the_same_bytes() {
    if emulator(Target::CortexM4) {
        same(Target::CortexM4, &float_net(), &float_inputs(10), &[0, 9]);
    }
}

#[test]
fn an_int8_network_gives_the_same_bytes() {
    if emulator(Target::CortexM4) {
        let report = same(Target::CortexM4, &int8_net(), &int8_inputs(200), &[0, 199]);
        let first = &report.outputs[..report.outputs.len() / 200];
        assert!(report.outputs.chunks(first.len()).any(|output| output != first), "outputs differ by sample");
    }
}

#[test]
fn networks_that_remember_give_the_same_bytes() {
    if emulator(Target::CortexM4) {
        same(Target::CortexM4, &float_remembering(), &float_inputs(5), &[0, 4]);
        same(Target::CortexM4, &int8_remembering(), &int8_inputs(50), &[0, 49]);
    }
}

#[test]
fn every_emulated_core_gives_the_same_bytes() {
    for target in Target::ALL.into_iter().filter(|&target| target != Target::Host) {
        if emulator(target) {
            same(target, &int8_net(), &int8_inputs(3), &[0]);
            same(target, &float_net(), &float_inputs(1), &[0]);
        }
    }
}

#[test]
fn training_steps_give_the_same_parameters_on_the_emulated_cortex_m4f() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let (model, inputs) = (training_net(), batches(5));
    let here = Device::new(Target::Host).traced(&[0, 4]).train(&model, &inputs).unwrap();
    let there = Device::new(Target::CortexM4).traced(&[0, 4]).train(&model, &inputs).unwrap();
    assert_eq!(here.first_difference(&there), None);
    assert_eq!(here.trained, there.trained);
    assert_eq!(here.outputs, there.outputs);
    assert_eq!(there.trained.len(), 5);
    assert!(there.trained.windows(2).all(|pair| pair[0].parameters != pair[1].parameters), "it learns");
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
    assert_eq!(lines(&there.log), [loaded.as_str(), "INFO 3 samples"]);
}

/// The lines of a log, `LEVEL message` each.
fn lines(log: &Log) -> Vec<String> {
    let elf = std::fs::read(&log.image).unwrap();
    let table = Table::parse(&elf).unwrap().expect("the image has a table of log texts");
    let mut decoder = table.new_stream_decoder();
    decoder.received(&log.frames);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("PRINT", |level| level.as_str());
                lines.push(format!("{} {}", level.to_uppercase(), frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return lines,
            Err(DecodeError::Malformed) => panic!("a log frame does not decode"),
        }
    }
}
