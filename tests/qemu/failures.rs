//! What goes wrong on a device is an error on the host.

use std::time::Duration;

use smidgen::checksum::crc32c;
use smidgen::model::{CHECKSUM_START, Header};
use smidgen_trainer::device::{Device, DeviceError, Failure, Target};

use crate::emulator;
use crate::models::{sum, sum_inputs};

const TARGET: Target = Target::CortexM4;

#[test]
fn a_panic_is_an_error_that_names_the_line() {
    if emulator(TARGET) {
        match Device::new(TARGET).fail(Failure::Panic) {
            Err(DeviceError::Panicked { output, .. }) => assert!(output.contains("qemu-runner"), "{output}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_fault_is_an_error_that_names_the_address() {
    if emulator(TARGET) {
        match Device::new(TARGET).fail(Failure::Fault) {
            Err(DeviceError::Faulted { output, .. }) => assert!(output.contains("hard fault"), "{output}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The kind of the device's refusal.
fn refusal(model: &[u8]) -> String {
    match Device::new(TARGET).run(model, &[]) {
        Err(DeviceError::Refused { target: TARGET, kind, message }) => {
            assert!(message.len() > 10, "{kind}: {message}");
            kind
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_device_refuses_a_damaged_file_and_says_why() {
    if !emulator(TARGET) {
        return;
    }
    let model = sum(true);
    let mut damaged = model.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&damaged), "WrongChecksum");
    assert_eq!(refusal(&model[..model.len() - 1]), "Truncated");
    assert_eq!(refusal(&[b'?'; 200]), "WrongMagic");
    // An arena that is too small for its operands, with the checksum repaired.
    let mut header = Header::read(&model).unwrap();
    header.memory.arena = 16;
    let mut small = model.clone();
    small[..header.write().len()].copy_from_slice(&header.write());
    header.checksum = crc32c(&small[CHECKSUM_START..]);
    small[..header.write().len()].copy_from_slice(&header.write());
    assert_eq!(refusal(&small), "OperandOutOfRange");
}

#[test]
fn a_model_that_needs_more_memory_than_the_machine_has_is_refused() {
    if !emulator(TARGET) {
        return;
    }
    let model = sum(true);
    let mut header = Header::read(&model).unwrap();
    header.memory.arena = 64 << 20;
    let mut large = model;
    large[..header.write().len()].copy_from_slice(&header.write());
    header.checksum = crc32c(&large[CHECKSUM_START..]);
    large[..header.write().len()].copy_from_slice(&header.write());
    match Device::new(TARGET).run(&large, &sum_inputs(1)) {
        Err(DeviceError::Refused { kind, .. }) => assert_eq!(kind, "ArenaTooSmall"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn inputs_that_are_no_whole_sample_are_refused_before_anything_runs() {
    match Device::new(TARGET).run(&sum(true), &[0; 255]) {
        Err(DeviceError::Inputs { expected: 256, found: 255 }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    if emulator(TARGET) {
        let device = Device::new(TARGET).time_limit(Duration::from_millis(1));
        match device.run(&sum(true), &sum_inputs(20_000)) {
            Err(DeviceError::TimeOut { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_host_refuses_with_the_same_kind() {
    let mut damaged = sum(true);
    *damaged.last_mut().unwrap() ^= 1;
    match Device::new(Target::Host).run(&damaged, &[]) {
        Err(DeviceError::Refused { kind, .. }) => assert_eq!(kind, "WrongChecksum"),
        other => panic!("{other:?}"),
    }
}
