//! `personalize`, `learn` and `replay`: what a device logs comes out the same on the host, and what does not is named.

use smidgen_trainer::npy::{Array, ElementKind};

use crate::devices::emulator;
use crate::support::{Folder, fail, object, read, succeed, trained};

/// A model that learns, its samples and their labels.
fn learner(folder: &Folder, count: usize) -> [String; 3] {
    let model = folder.path("learner.smg");
    let found = succeed(&["personalize", &trained().model(), "--tier", "head", "-o", &model]);
    assert_eq!(found, "");
    let bytes = (0..count * 784).map(|index| (index * 7919 % 251) as u8).collect();
    let samples = Array { kind: ElementKind::I8, shape: vec![count, 28, 28, 1], bytes };
    let labels = (0..count).map(|index| (index * 3 % 10) as u8).collect();
    let labels = Array { kind: ElementKind::U8, shape: vec![count], bytes: labels };
    [model, folder.write("x.npy", samples.to_file()), folder.write("y.npy", labels.to_file())]
}

#[test]
fn what_a_device_logs_is_the_same_here() {
    let folder = Folder::new();
    let [model, x, y] = learner(&folder, 40);
    let mut targets = vec!["host"];
    if emulator() {
        targets.push("cortex-m4");
    }
    let mut logs = Vec::new();
    for target in targets {
        let log = folder.path(target);
        let arguments = ["learn", &model, "--input", &x, "--labels", &y, "--on", target, "--seed", "7"];
        let printed = succeed(&[&arguments[..], &["--every", "8", "--log", &log]].concat());
        assert!(printed.contains("40 steps on"), "{printed}");
        let replayed = succeed(&["replay", &log]);
        assert!(replayed.contains("5 records of 40 steps"), "{replayed}");
        logs.push(serde_json::from_slice::<serde_json::Value>(&read(&log)).unwrap()["records"].clone());
    }
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]));
    // Another seed, another order, other weights.
    let log = folder.path("other");
    let arguments = ["learn", &model, "--input", &x, "--labels", &y, "--seed", "8", "--every", "8"];
    succeed(&[&arguments[..], &["--log", &log]].concat());
    assert_ne!(serde_json::from_slice::<serde_json::Value>(&read(&log)).unwrap()["records"], logs[0]);
}

#[test]
fn a_packed_model_learns_what_the_plain_one_learns() {
    let folder = Folder::new();
    let [_, x, y] = learner(&folder, 8);
    let tflite = folder.path("net.tflite");
    succeed(&["export", &trained().model(), "-o", &tflite]);
    let records = ["host", "cortex-m4", "cortex-m55"].map(|target| {
        let [model, learner, log] =
            ["model", "learner", "log"].map(|name| folder.path(&format!("{name}-{target}")));
        succeed(&["import", &tflite, "-o", &model, "--for", target]);
        succeed(&["personalize", &model, "--tier", "block:1", "-o", &learner]);
        succeed(&["learn", &learner, "--input", &x, "--labels", &y, "--every", "8", "--log", &log]);
        serde_json::from_slice::<serde_json::Value>(&read(&log)).unwrap()["records"].clone()
    });
    assert!(records.windows(2).all(|pair| pair[0] == pair[1]), "{records:?}");
}

#[test]
fn a_log_that_does_not_come_out_is_refused() {
    let folder = Folder::new();
    let [model, x, y] = learner(&folder, 16);
    let log = folder.path("log");
    succeed(&["learn", &model, "--input", &x, "--labels", &y, "--every", "4", "--log", &log]);
    let text = String::from_utf8(read(&log)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let changed = |pointer: &str, value: serde_json::Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        folder.write("changed", json.to_string())
    };
    fail(&["replay", &changed("/records/2/parameters", 1.into())], &["up to step 12", "the weights differ"]);
    fail(&["replay", &changed("/records/1/samples", 1.into())], &["up to step 8", "the samples differ"]);
    fail(&["replay", &changed("/model_checksum", 1.into())], &["learner.smg", "00000001"]);
    fail(&["replay", &changed("/every", 3.into())], &["5 records", "has 4"]);
    fail(&["replay", &changed("/every", 0.into())], &["every is 0"]);
    let mut bytes = read(&x);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&x, bytes).unwrap();
    fail(&["replay", &log], &["the samples differ"]);
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = Folder::new();
    let [model, x, y] = learner(&folder, 4);
    let plain = trained().model();
    fail(&["learn", &plain, "--input", &x, "--labels", &y], &["no entry train", "personalize"]);
    fail(&["learn", &model, "--input", &y, "--labels", &y], &["y.npy", "784", "|i1"]);
    fail(&["learn", &model, "--input", &x, "--labels", &x], &["x.npy", "expected int32 or uint8"]);
    fail(&["learn", &model, "--input", &x, "--labels", &y, "--every", "0"], &["--every 0"]);
    let out = folder.path("out.smg");
    fail(&["personalize", &plain, "--tier", "block:99", "-o", &out], &["block:99", "conv_2d_1"]);
    fail(&["personalize", &model, "--tier", "head", "-o", &out], &["cannot be personalized"]);
    let too_little = ["personalize", &plain, "--tier", "head", "--ram", "1000", "-o", &out];
    fail(&too_little, &["it takes at least", "1000 are there"]);
}

#[test]
fn inspect_says_what_learning_takes() {
    let folder = Folder::new();
    let [model, ..] = learner(&folder, 1);
    let found = object(&succeed(&["inspect", &model, "--json"]));
    let ram = &found["ram"];
    let part = |name: &str| ram[name].as_u64().unwrap();
    let parts = ["parameter_bytes", "state_bytes", "gradient_bytes", "arena_bytes", "stack_bytes"].map(part);
    assert_eq!(found["ram_bytes"].as_u64().unwrap(), parts.iter().sum::<u64>());
    assert!(part("arena_lower_bound") <= part("arena_bytes") && part("parameter_bytes") > 0);
    assert!(succeed(&["inspect", &model]).contains("RAM"));
}
