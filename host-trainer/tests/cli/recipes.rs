//! The commands around a recipe: what they print, and what a run for int8 or with an ensemble leaves.

use std::fs;

use crate::support::{Folder, fail, object, read, run, succeed};

#[test]
fn the_doctor_finds_and_a_rate_is_found() {
    let folder = Folder::new();
    let (recipe, data) = (folder.recipe(""), folder.data());
    let found = object(&succeed(&["doctor", &recipe, "--data", &data, "--json"]));
    assert_eq!(found["healthy"], true, "{found:?}");
    let checks: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["check"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["classes", "schedule", "loss before training", "gradients", "one batch by heart"]);
    let slow = ["doctor", &recipe, "--data", &data, "--set", "schedule.learning_rate=1e-9"];
    let sick = run(&slow);
    assert!(sick.code == Some(1) && sick.stdout.contains("BAD"), "{sick:?}");
    let rates = object(&succeed(&["find-rate", &recipe, "--data", &data, "--steps", "30", "--json"]));
    let rate = rates["learning_rate"].as_f64().unwrap();
    assert!((1e-7..1.0).contains(&rate) && rates["trials"].as_array().unwrap().len() > 10, "{rates:?}");
    fail(&["find-rate", &recipe, "--data", &data, "--from", "100"], &["--from", "--to"]);
}

#[test]
fn a_sweep_ranks_its_points_over_folds() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("scores.json"));
    let vary = "schedule.learning_rate=1e-7,0.003";
    let found = object(&succeed(&[
        "sweep", &recipe, "--data", &data, "--vary", vary, "--folds", "2", "--json", "--out", &out,
    ]));
    let scores = found["scores"].as_array().unwrap();
    let first = |index: usize| scores[index]["point"][0].as_str().unwrap();
    assert_eq!([first(0), first(1)], ["schedule.learning_rate=0.003", "schedule.learning_rate=1e-7"]);
    assert_eq!(scores[0]["folds"].as_array().unwrap().len(), 2);
    let written: serde_json::Value = serde_json::from_slice(&read(&out)).unwrap();
    assert_eq!(written["scores"].as_array().unwrap().len(), 2);
    let random = "schedule.learning_rate=1e-4..1e-2";
    let found =
        object(&succeed(&["sweep", &recipe, "--data", &data, "--vary", random, "--samples", "2", "--json"]));
    assert_eq!(found["scores"].as_array().unwrap().len(), 2);
    fail(
        &["sweep", &recipe, "--data", &data, "--vary", "training.epoch=1,2"],
        &["did you mean `training.epochs`"],
    );
}

#[test]
fn a_run_for_int8_says_what_it_did_and_leaves_events() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    let sets =
        ["quantization.aware_epochs=1", "training.epochs=2", "schedule.cycles=2", "training.snapshots=2"];
    let mut arguments = vec!["train", &recipe, "--data", &data, "--out", &out, "--json"];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    let metrics = object(&succeed(&arguments));
    assert_eq!(metrics["aware"]["history"].as_array().unwrap().len(), 1);
    assert!(metrics["ensemble_accuracy"].as_f64().unwrap() > 0.0);
    assert!(metrics["sensitivity"]["layers"].as_array().unwrap().len() > 4);
    for member in ["member-1", "member-2"] {
        assert!(!read(format!("{out}/ensemble/{member}.safetensors")).is_empty());
    }
    let files = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let events: Vec<String> = files.filter(|name| name.starts_with("events.out.tfevents.")).collect();
    let [events] = events.as_slice() else { panic!("one file: {events:?}") };
    let events = String::from_utf8_lossy(&read(format!("{out}/{events}"))).into_owned();
    assert!(events.contains("brain.Event:2") && events.contains("int8 loss/training"), "{events:?}");
    let page = String::from_utf8(read(format!("{out}/report.html"))).unwrap();
    for part in ["while training for int8", "ensemble in f32", "<h2>Layers</h2>", "Memory map", "dB</td>"] {
        assert!(page.contains(part), "{part}");
    }
    // Resumed behind its end, it is what it was.
    let resumed = object(&succeed(&[&arguments[..], &["--resume"]].concat()));
    assert_eq!(resumed["aware"]["weights_hash"], metrics["aware"]["weights_hash"]);
    assert_eq!(resumed["int8_accuracy"], metrics["int8_accuracy"]);
}
