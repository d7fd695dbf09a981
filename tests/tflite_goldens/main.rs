//! `.tflite` networks with every operator, imported and run: the bytes of TensorFlow Lite Micro on the host, and the host's bytes on emulated cores.
//!
//! `SMIDGEN_GOLDENS=conv_2d cargo test -p smidgen-tests --test tflite_goldens -- --nocapture` runs those whose name contains `conv_2d`.

mod compare;
mod files;

use std::collections::BTreeMap;

use smidgen_trainer::compile::Packing;
use smidgen_trainer::device::{Device, DeviceError, Target, check};
use smidgen_trainer::tflite::convert_packed;

use self::compare::difference;
use self::files::{Golden, goldens};

/// The model of a golden.
fn model(golden: &Golden, packing: Packing) -> Result<Vec<u8>, String> {
    convert_packed(&golden.tflite(), &golden.name, None, packing)
        .map(|converted| converted.file)
        .map_err(|error| error.to_string())
}

fn run(target: Target, model: &[u8], golden: &Golden) -> Result<Vec<u8>, DeviceError> {
    // Nothing is traced: what is traced runs once more, and some networks remember.
    Ok(Device::new(target).traced(&[]).run(model, &golden.inputs())?.outputs)
}

/// What became of one golden.
enum Outcome {
    Equal,
    Refused(String),
    Different(String),
}

/// Runs a golden on the host, with the weights as each target packs them.
fn outcome(golden: &Golden) -> Outcome {
    for target in Target::ALL {
        let model = match model(golden, target.packing()) {
            Ok(model) => model,
            Err(error) => return Outcome::Refused(error),
        };
        let difference = match run(Target::Host, &model, golden) {
            Ok(found) => difference(golden, &found),
            Err(error) => Some(error.to_string()),
        };
        if let Some(difference) = difference {
            return Outcome::Different(format!("packed for {target}: {difference}"));
        }
    }
    Outcome::Equal
}

#[test]
fn the_host_gives_the_oracle_s_outputs() {
    let mut by_operator: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut problems = Vec::new();
    for golden in goldens() {
        let outcome = outcome(&golden);
        let kind = match &outcome {
            Outcome::Equal => 0,
            Outcome::Refused(_) => 1,
            Outcome::Different(_) => 2,
        };
        for operator in &golden.operators {
            by_operator.entry(operator.clone()).or_default()[kind] += 1;
        }
        match outcome {
            Outcome::Refused(error) => problems.push(format!("{}: not imported: {error}", golden.name)),
            Outcome::Different(what) => {
                problems.push(format!("{} ({}): {what}", golden.name, golden.oracle));
            }
            Outcome::Equal => {}
        }
    }
    println!("{:30} {:>6} {:>8} {:>10}", "operator", "equal", "refused", "different");
    for (operator, [equal, refused, different]) in &by_operator {
        println!("{operator:30} {equal:6} {refused:8} {different:10}");
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// The goldens that can be imported, packed for a target, with the host's outputs.
fn with_outputs(target: Target, chosen: impl Fn(&Golden) -> bool) -> Vec<(Golden, Vec<u8>, Vec<u8>)> {
    let known = |golden: Golden| {
        let model = model(&golden, target.packing()).ok()?;
        let outputs = run(Target::Host, &model, &golden).expect("the host runs what it imported");
        Some((golden, model, outputs))
    };
    goldens().into_iter().filter(chosen).filter_map(known).collect()
}

/// Runs goldens on an emulated core; all outputs are the host's, floats too.
fn same_on(target: Target, chosen: impl Fn(&Golden) -> bool) {
    match check(target) {
        Ok(()) => {}
        Err(error @ DeviceError::QemuMissing) if std::env::var("CI").as_deref() != Ok("true") => {
            eprintln!("SKIPPED, this test did not run: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let mut problems = Vec::new();
    let mut equal = 0;
    for (golden, model, expected) in with_outputs(target, chosen) {
        match run(target, &model, &golden) {
            Ok(found) if found == expected => equal += 1,
            Ok(found) => {
                let byte = found.iter().zip(&expected).position(|(found, expected)| found != expected);
                problems.push(format!("{}: byte {byte:?} is not the host's", golden.name));
            }
            Err(error) => problems.push(format!("{}: {error}", golden.name)),
        }
    }
    println!("{target}: {equal} networks give the host's bytes");
    assert!(problems.is_empty(), "{target}:\n{}", problems.join("\n"));
    assert!(equal > 0, "{target}: nothing ran");
}

/// Whole networks in int8, and about a fifth of the others.
fn selected(golden: &Golden, target: Target) -> bool {
    let begins = |prefix| golden.name.starts_with(prefix);
    if begins("zoo_") {
        // Real sizes do not fit the 16 KB of RAM of the emulated Cortex-M0.
        return target != Target::CortexM0 && !golden.is_float();
    }
    if begins("net_") || begins("keras_") { !golden.is_float() } else { golden.name.len().is_multiple_of(5) }
}

#[test]
fn a_cortex_m4_gives_the_host_s_outputs() {
    same_on(Target::CortexM4, |_| true);
}

#[test]
fn other_cores_give_the_host_s_outputs() {
    for target in [Target::CortexM0, Target::CortexM3, Target::CortexM7, Target::CortexM33, Target::CortexM55]
    {
        same_on(target, |golden| selected(golden, target));
    }
}

#[test]
fn a_difference_of_one_bit_is_seen() {
    let all = goldens();
    let golden = all.iter().find(|golden| golden.name == "max_pool_2d_same_i8").unwrap_or(&all[0]);
    let right = run(Target::Host, &model(golden, Packing::Plain).unwrap(), golden).unwrap();
    assert_eq!(difference(golden, &right), None);
    for byte in [0, right.len() / 2, right.len() - 1] {
        let mut wrong = right.clone();
        wrong[byte] ^= 1;
        let found = difference(golden, &wrong).unwrap();
        assert!(found.contains("1 of"), "{found}");
    }
    assert!(difference(golden, &right[1..]).is_some());
}

#[test]
fn floats_are_told_apart() {
    let golden = goldens().into_iter().find(|golden| golden.name == "softmax_rows_f32");
    let Some(golden) = golden else { return };
    let right = run(Target::Host, &model(&golden, Packing::Plain).unwrap(), &golden).unwrap();
    assert_eq!(difference(&golden, &right), None);
    let mut wrong = right;
    let value = f32::from_le_bytes(*wrong.first_chunk().unwrap());
    wrong[..4].copy_from_slice(&(value + 2e-5).to_le_bytes());
    assert!(difference(&golden, &wrong).is_some());
    wrong[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(difference(&golden, &wrong).is_some());
}
