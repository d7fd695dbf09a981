//! `run --trace` and `diff-trace`: the first step at which two runs differ is named.

use smidgen_trainer::npy::{Array, ElementKind};

use crate::devices::emulator;
use crate::support::{Folder, failed_with, object, read, run, succeed, trained};

/// Writes samples of which each value depends on `seed`.
fn samples(folder: &Folder, name: &str, count: usize, seed: usize) -> String {
    let bytes = (0..count * 784).map(|index| ((index + seed) % 251) as u8).collect();
    let samples = Array { kind: ElementKind::I8, shape: vec![count, 28, 28, 1], bytes };
    folder.write(name, samples.to_file())
}

/// Runs a model and writes its trace.
fn trace(folder: &Folder, model: &str, input: &str, name: &str, more: &[&str]) -> String {
    let (output, trace) = (folder.path("y.npy"), folder.path(name));
    let arguments = ["run", model, "--input", input, "--output", &output, "--trace", &trace];
    assert_eq!(succeed(&[&arguments[..], more].concat()), "", "with a file, nothing goes to stdout");
    trace
}

/// A copy of the model with one bit of a weight of the step `name` changed, and its checksums made right.
fn with_a_changed_weight(folder: &Folder, name: &str) -> String {
    let file = smidgen_trainer::buffer::AlignedBytes::copy_of(&read(trained().model()));
    let model = smidgen::Model::<smidgen::AllOperators>::from_bytes(file.as_slice()).unwrap();
    let entry = model.entry(smidgen::EntryKind::Infer).unwrap();
    let index = model.metadata().step_names.lines().position(|step| step == name).unwrap();
    let step = model.steps(&entry).nth(index).unwrap().unwrap();
    // The first channel's bias: records of (bias, multiplier, shift).
    let offset = step.reads[2].offset as usize;
    let place = model.constant().as_ptr() as usize - file.as_slice().as_ptr() as usize + offset;
    let mut bytes = file.as_slice().to_vec();
    bytes[place + 1] ^= 4;
    // The header's checksum stands before all that it covers.
    let checksum = smidgen::checksum::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    folder.write("changed.smg", bytes)
}

#[test]
fn the_same_run_has_the_same_trace_on_any_number_of_threads() {
    let (folder, model) = (Folder::new(), trained().model());
    let input = samples(&folder, "x.npy", 5, 0);
    let one = trace(&folder, &model, &input, "one", &["--threads", "1"]);
    let three = trace(&folder, &model, &input, "three", &["--threads", "3"]);
    assert_eq!(read(&one), read(&three));
    let steps =
        object(&succeed(&["inspect", &model, "--json"]))["entries"][0]["steps"].as_array().unwrap().len();
    // The two lines of the header; per row the input and the steps.
    let text = String::from_utf8(read(&one)).unwrap();
    assert_eq!(text.lines().count(), 2 + 5 * (1 + steps));
    assert!(succeed(&["diff-trace", &one, &three]).contains(&format!("all {} hashes", 5 * (1 + steps))));
    let output = folder.path("y.npy");
    let stdout = succeed(&["run", &model, "--input", &input, "--output", &output, "--trace"]);
    assert_eq!(stdout, text, "without a file the trace goes to stdout");
}

#[test]
fn a_trace_does_not_change_the_outputs() {
    let (folder, model) = (Folder::new(), trained().model());
    let input = samples(&folder, "x.npy", 4, 0);
    trace(&folder, &model, &input, "trace", &[]);
    let plain = folder.path("plain.npy");
    succeed(&["run", &model, "--input", &input, "--output", &plain]);
    assert!(read(plain) == read(folder.path("y.npy")));
}

#[test]
fn a_changed_weight_shows_at_its_step() {
    let (folder, model) = (Folder::new(), trained().model());
    let input = samples(&folder, "x.npy", 3, 0);
    let before = trace(&folder, &model, &input, "before", &[]);
    let inspected = object(&succeed(&["inspect", &model, "--json"]));
    let steps = inspected["entries"][0]["steps"].as_array().unwrap();
    let index = steps.iter().position(|step| step["op"] == "depthwise_conv_2d_i8").unwrap();
    let name = steps[index]["name"].as_str().unwrap();
    let changed = with_a_changed_weight(&folder, name);
    let after = trace(&folder, &changed, &input, "after", &[]);
    let ended = run(&["diff-trace", &before, &after]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = format!("first difference: row 0, step {index}, depthwise_conv_2d_i8 i8[");
    assert!(ended.stdout.starts_with(&expected) && ended.stdout.contains(name), "{ended:?}");
    let json = run(&["diff-trace", &before, &after, "--json"]);
    let found = object(&json.stdout);
    assert_eq!((json.code, &found["same"]), (Some(1), &false.into()));
    let difference = &found["first_difference"];
    assert_eq!((&difference["row"], &difference["step"]), (&0.into(), &index.into()));
    let hashes = [&difference["hash"], &difference["other_hash"]].map(|hash| hash.as_str().unwrap());
    assert!(hashes.iter().all(|hash| ended.stdout.contains(hash)) && hashes[0] != hashes[1]);
}

#[test]
fn another_input_shows_at_the_input() {
    let (folder, model) = (Folder::new(), trained().model());
    let [one, other] = [0, 1].map(|seed| {
        let input = samples(&folder, "x.npy", 1, seed);
        trace(&folder, &model, &input, &seed.to_string(), &[])
    });
    let ended = run(&["diff-trace", &one, &other]);
    assert!(ended.code == Some(1) && ended.stdout.contains("row 0, the input i8[1,28,28,1]"), "{ended:?}");
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let (folder, model) = (Folder::new(), trained().model());
    let long = trace(&folder, &model, &samples(&folder, "x.npy", 2, 0), "long", &[]);
    let short = trace(&folder, &model, &samples(&folder, "x.npy", 1, 0), "short", &[]);
    let text = String::from_utf8(read(&long)).unwrap();
    let other = folder.write("other", text.replacen("conv_2d_i8", "add_i8", 1));
    let broken = folder.write("broken", text.replacen("conv_2d_i8\t", "conv_2d_i8 ", 1));
    let differs =
        |left: &str, right: &str, parts: &[&str]| failed_with(2, &run(&["diff-trace", left, right]), parts);
    differs(&long, &short, &[&long, &short, "the same, but one has"]);
    differs(&long, &other, &["different models", "row 0, step 0, conv_2d_i8", "row 0, step 0, add_i8"]);
    differs(&long, &broken, &[&broken, "line 4: the column hash"]);
    differs(&model, &long, &[&model, "not a trace"]);
    differs(&long, &folder.path("none"), &["none"]);
}

#[test]
fn the_trace_of_a_device_is_that_of_the_host() {
    if !emulator() {
        return;
    }
    let (folder, model) = (Folder::new(), trained().model());
    // More samples than the protocol traces singly.
    let input = samples(&folder, "x.npy", 18, 0);
    let here = trace(&folder, &model, &input, "here", &[]);
    let there = trace(&folder, &model, &input, "there", &["--on", "cortex-m4", "--threads", "1"]);
    assert!(succeed(&["diff-trace", &here, &there]).contains("are the same"));
    let (here, there) = (String::from_utf8(read(here)).unwrap(), String::from_utf8(read(there)).unwrap());
    assert!(here.lines().skip(1).eq(there.lines().skip(1)) && there.contains("on cortex-m4"));
}
