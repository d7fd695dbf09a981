//! Memory, everything counted: within what was asked for, and what the device uses.

use std::path::Path;

use smidgen::{AllOperators, Model};
use smidgen_tests::shared;
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::inspect::{Memory, Ram, STACK_BYTES, inspect};
use smidgen_trainer::personalize::Options;
use smidgen_trainer::tflite::convert;

use crate::emulator;
use crate::models::{OPTIMIZERS, int8_net, learning, options, samples};

/// What `inspect` says of memory.
struct Inspected {
    ram_bytes: usize,
    ram: Ram,
    memory: Memory,
}

fn inspected(file: &[u8]) -> Inspected {
    let aligned = AlignedBytes::copy_of(file);
    let model = Model::<AllOperators>::from_bytes(aligned.as_slice()).unwrap();
    let found = inspect(&model);
    Inspected { ram_bytes: found.ram_bytes, ram: found.ram, memory: found.memory }
}

/// MLPerf Tiny's keyword spotting network, as it learns.
fn keywords(tier: &str, bands: usize) -> Option<Vec<u8>> {
    let net = std::fs::read(shared("learning", "models/kws_ref_model.tflite")?).unwrap();
    let model = convert(&net, "kws", None).unwrap().file;
    Some(learning(&model, &Options { bands, ..options(tier, OPTIMIZERS[0], 1) }))
}

#[test]
fn the_keyword_network_learns_in_what_was_asked_for() {
    // In one band, the head takes 16 kilobytes: a tensor of the frozen part alone is 8,000 bytes.
    for (tier, bands, most) in
        [("head", 1, 16), ("head", 4, 12), ("bias", 1, 28), ("block:1", 1, 56), ("full", 1, 330)]
    {
        let Some(file) = keywords(tier, bands) else { return };
        let found = inspected(&file);
        println!("{tier}, {bands} bands: {} bytes, {:?}", found.ram_bytes, found.ram);
        let parts = found.ram;
        let sum = parts.parameter_bytes + parts.state_bytes + parts.gradient_bytes + parts.arena_bytes;
        assert_eq!(found.ram_bytes, sum + parts.stack_bytes);
        assert_eq!(found.memory.total_bytes, sum);
        assert!(parts.arena_lower_bound <= parts.arena_bytes);
        assert!(found.ram_bytes <= most * 1024, "{tier}: {} of {}", found.ram_bytes, most * 1024);
    }
}

/// MLPerf Tiny's visual wake words network. Its last two blocks have 99,000 weights: 397 kilobytes in f32. Of the channels that they read, one in eight learns.
#[test]
fn the_person_network_learns_in_what_was_asked_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tflite/zoo_mobilenet_v1_025_i8.tflite");
    let Ok(net) = std::fs::read(&path) else { panic!("{} is not there", path.display()) };
    let model = convert(&net, "person", None).unwrap().file;
    for (tier, one_in, most) in [("head", 1, 48), ("block:2", 8, 128)] {
        let found = inspected(&learning(&model, &Options { one_in, ..options(tier, OPTIMIZERS[0], 1) }));
        println!("{tier}: {} bytes, {:?}", found.ram_bytes, found.ram);
        assert!(found.ram_bytes <= most * 1024, "{tier}: {} of {}", found.ram_bytes, most * 1024);
    }
}

#[test]
fn a_board_of_128_kilobytes_learns_with_the_memory_that_inspect_says() {
    if !emulator(Target::NetduinoPlus2) {
        return;
    }
    let Some(file) = keywords("head", 4) else { return };
    let found = inspected(&file);
    let input = 49 * 10;
    let samples: Vec<u8> = (0..3u32)
        .flat_map(|index| {
            let values = (0..input).map(move |i| ((i * 37 + index * 11) % 256) as u8);
            values.chain((index % 12).to_le_bytes())
        })
        .collect();
    let here = Device::new(Target::Host).learn(&file, &samples, 0).unwrap();
    let there = Device::new(Target::NetduinoPlus2).learn(&file, &samples, 0).unwrap();
    assert_eq!(here.steps, there.steps);
    assert_eq!(there.memory_bytes as usize, found.memory.total_bytes);
    let stack = there.stack_peak_bytes.unwrap() as usize;
    println!("stack {stack} of {STACK_BYTES}, {} instructions a step", there.instructions.unwrap());
    assert!(stack <= STACK_BYTES, "{stack}");
}

#[test]
fn no_step_takes_more_stack_than_inspect_says() {
    if !emulator(Target::CortexM4) {
        return;
    }
    for (tier, optimizer) in [("full", OPTIMIZERS[2]), ("bias", OPTIMIZERS[0])] {
        let file = learning(&int8_net(), &options(tier, optimizer, 1));
        let there = Device::new(Target::CortexM4).learn(&file, &samples(2), 0).unwrap();
        let stack = there.stack_peak_bytes.unwrap() as usize;
        println!("{tier}: {stack} of {STACK_BYTES}");
        assert!(stack <= STACK_BYTES, "{tier}: {stack}");
    }
}
