//! Memory, everything counted: within what was asked for, and what the device uses.

use std::path::Path;

use smidgen::{AllOperators, EntryKind, Model};
use smidgen_tests::shared;
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::inspect::{Memory, Ram, STACK_BYTES, inspect};
use smidgen_trainer::personalize::{Options, Part, PersonalizeError, Personalized};
use smidgen_trainer::tflite::convert;

use crate::emulator;
use crate::models::{OPTIMIZERS, int8_net, learning, options, samples, try_learning};

/// What `inspect` says of memory.
struct Inspected {
    ram_bytes: usize,
    ram: Ram,
    memory: Memory,
    /// Bytes of a sample.
    input: usize,
}

fn inspected(file: &[u8]) -> Inspected {
    let aligned = AlignedBytes::copy_of(file);
    let model = Model::<AllOperators>::from_bytes(aligned.as_slice()).unwrap();
    let found = inspect(&model);
    let input = model.entry(EntryKind::Train).unwrap().inputs[0].bytes().unwrap();
    Inspected { ram_bytes: found.ram_bytes, ram: found.ram, memory: found.memory, input }
}

/// MLPerf Tiny's keyword spotting network.
fn keywords() -> Option<Vec<u8>> {
    let net = std::fs::read(shared("learning", "models/kws_ref_model.tflite")?).unwrap();
    Some(convert(&net, "kws", None).unwrap().file)
}

/// MLPerf Tiny's visual wake words network.
fn persons() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tflite/zoo_mobilenet_v1_025_i8.tflite");
    let Ok(net) = std::fs::read(&path) else { panic!("{} is not there", path.display()) };
    convert(&net, "person", None).unwrap().file
}

/// What learns, and the kilobytes that it may take.
fn learns_in_what(model: &[u8], tier: &str, ram_bytes: Option<usize>, most: usize) -> Personalized {
    let made = try_learning(model, &Options { ram_bytes, ..options(tier, OPTIMIZERS[0], 1) }).unwrap();
    let found = inspected(&made.file);
    let parts = found.ram;
    println!("{tier}, {}, {} bands: {} bytes, {parts:?}", made.part, made.bands, found.ram_bytes);
    let sum = parts.parameter_bytes + parts.state_bytes + parts.gradient_bytes + parts.arena_bytes;
    assert_eq!((found.ram_bytes, made.ram_bytes), (sum + parts.stack_bytes, sum + parts.stack_bytes));
    assert_eq!(found.memory.total_bytes, sum);
    assert!(parts.arena_lower_bound <= parts.arena_bytes);
    assert!(found.ram_bytes <= most * 1024, "{tier}: {} of {}", found.ram_bytes, most * 1024);
    made
}

#[test]
fn the_keyword_network_learns_in_what_was_asked_for() {
    let Some(model) = keywords() else { return };
    for (tier, most) in [("head", 12), ("bias", 28), ("block:1", 56), ("full", 330)] {
        learns_in_what(&model, tier, None, most);
    }
    // In one band, a tensor of the part that does not learn alone is 8,000 bytes.
    let whole = learning(&model, &Options { bands: Some(1), ..options("head", OPTIMIZERS[0], 1) });
    assert!(inspected(&whole).ram_bytes > 12 * 1024);
}

/// The last two blocks have 98,304 weights: a byte each, with an image of 27,648 bytes and the stack, are 129,024 bytes, and nothing is computed yet. In f32 they are 384 kilobytes. What
/// fits is a part of them.
#[test]
fn the_person_network_learns_in_what_was_asked_for() {
    let model = persons();
    learns_in_what(&model, "head", None, 48);
    let all = inspected(&learning(&model, &options("block:2", OPTIMIZERS[0], 1)));
    assert!(all.ram.parameter_bytes > 98_304 * 4);
    let made = learns_in_what(&model, "block:2", Some(128 * 1024), 128);
    // One part fewer would be too much.
    let Part::OneIn(count) = made.part else { panic!("{}", made.part) };
    let part = Part::OneIn(count - 1);
    let more = inspected(&learning(&model, &Options { part, ..options("block:2", OPTIMIZERS[0], 1) }));
    assert!(more.ram_bytes > 128 * 1024, "{}", more.ram_bytes);
    let too_little = Options { ram_bytes: Some(40_000), ..options("block:2", OPTIMIZERS[0], 1) };
    let error = try_learning(&model, &too_little);
    assert!(matches!(error, Err(PersonalizeError::Memory { most: 40_000, least: 40_001..=60_000 })));
}

#[test]
fn a_board_of_128_kilobytes_learns_with_the_memory_that_inspect_says() {
    if !emulator(Target::NetduinoPlus2) {
        return;
    }
    let Some(keywords) = keywords() else { return };
    let persons = persons();
    // The last one takes more flash than this board has beside the file of a model that is loaded.
    let (board, larger) = (Target::NetduinoPlus2, Target::CortexM4);
    for (model, classes, tier, ram_bytes, target) in [
        (&keywords, 12, "head", None, board),
        (&keywords, 12, "bias", None, board),
        (&keywords, 12, "block:1", None, board),
        (&persons, 2, "head", None, board),
        (&persons, 2, "block:2", Some(128 * 1024), larger),
    ] {
        let file = learning(model, &Options { ram_bytes, ..options(tier, OPTIMIZERS[0], 1) });
        let found = inspected(&file);
        let samples: Vec<u8> = (0..2u32)
            .flat_map(|index| {
                let values = (0..found.input).map(move |i| ((i * 37 + index as usize * 11) % 256) as u8);
                values.chain((index % classes).to_le_bytes())
            })
            .collect();
        let here = Device::new(Target::Host).learn(&file, &samples, 0).unwrap();
        let there = Device::new(target).learn(&file, &samples, 0).unwrap();
        assert_eq!(here.steps, there.steps);
        assert_eq!(there.memory_bytes as usize, found.memory.total_bytes);
        let stack = there.stack_peak_bytes.unwrap() as usize;
        let instructions = there.instructions.unwrap();
        println!("{tier}: stack {stack} of {STACK_BYTES}, {instructions} instructions a step");
        assert!(stack <= STACK_BYTES, "{stack}");
    }
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
