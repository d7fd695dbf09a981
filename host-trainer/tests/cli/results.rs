//! What the commands give when all is well: one JSON object each, with the names that scripts rely on, and text for people.

use crate::support::{Folder, fail, object, read, run, smidgen, succeed, trained};

/// The keys of an object, sorted.
fn keys(object: &serde_json::Map<String, serde_json::Value>) -> Vec<&str> {
    object.keys().map(String::as_str).collect()
}

#[test]
fn train_prints_its_metrics_and_writes_its_files() {
    let metrics = object(&trained().printed.stdout);
    for key in ["float_accuracy", "int8_accuracy", "seed", "epochs", "seconds", "weights_hash"] {
        assert!(metrics.contains_key(key), "{key} is missing");
    }
    let written: serde_json::Value = serde_json::from_slice(&read(trained().path("metrics.json"))).unwrap();
    assert_eq!(written, serde_json::Value::Object(metrics));
    for file in ["model.smg", "weights.safetensors", "recipe.toml", "checkpoint.safetensors"] {
        assert!(!read(trained().path(file)).is_empty());
    }
    let page = String::from_utf8(read(trained().path("report.html"))).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("mnist_ds_cnn"));
}

#[test]
fn eval_is_the_same_on_any_number_of_threads() {
    let (model, data) = (trained().model(), &trained().data);
    let eval =
        |more: &[&str]| object(&succeed(&[&["eval", &model, "--data", data, "--json"], more].concat()));
    let one = eval(&["--threads", "1"]);
    assert_eq!(one, eval(&["--threads", "3"]));
    assert_eq!(one["samples"], 100);
    assert_eq!(one["accuracy"], object(&trained().printed.stdout)["int8_accuracy"]);
    let counts = one["confusion"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 100);
    assert_eq!(eval(&["--limit", "7"])["samples"], 7);
    let text = succeed(&["eval", &model, "--data", data]);
    assert!(text.contains("accuracy") && text.contains("of 100)") && text.contains("taken for"), "{text}");
}

#[test]
fn inspect_tells_what_is_in_a_model() {
    let model = trained().model();
    let found = object(&succeed(&["inspect", &model, "--json"]));
    assert_eq!(found["name"], "tiny");
    assert_eq!(found["file_bytes"], read(&model).len());
    assert_eq!(found["labels"].as_array().unwrap().len(), 10);
    assert_eq!(found["provenance"]["recipe"]["network"]["net"], "mnist_ds_cnn");
    let entry = &found["entries"][0];
    assert_eq!((&entry["kind"], &entry["macs"]), (&"Infer".into(), &150_064.into()));
    let map = &entry["memory_map"];
    assert_eq!(map["moments"].as_array().unwrap().len(), entry["steps"].as_array().unwrap().len());
    let bytes = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(bytes(&map["lower_bound"]) <= bytes(&map["used_bytes"]));
    assert!(bytes(&map["used_bytes"]) <= bytes(&found["memory"]["arena_bytes"]));
    let text = succeed(&["inspect", &model]);
    for part in ["tiny", "150,064", "depthwise_conv_2d_i8", "← the most", "recipe tiny", "28×28×1 int8"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn bench_train_has_the_names_of_the_design() {
    let arguments = ["bench-train", "mnist_ds_cnn", "--batch", "16", "--threads", "2", "--seconds", "0"];
    let found = object(&succeed(&[&arguments[..], &["--json"]].concat()));
    let mut names = keys(&found);
    names.sort_unstable();
    let of_the_design = ["batch", "net", "samples_per_second", "threads"];
    let more =
        ["chunk", "flops_per_sample", "peak_flops_per_second", "peak_memory_bytes", "samples_per_cpu_second"];
    let mut expected = [&of_the_design[..], &more].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(
        (&found["net"], &found["batch"], &found["threads"]),
        (&"mnist_ds_cnn".into(), &16.into(), &2.into())
    );
    assert!(found["samples_per_second"].as_f64().unwrap() > 0.0);
    assert!(succeed(&arguments).contains("samples a second"));
}

#[test]
fn the_instruction_set_does_not_change_a_bit() {
    let folder = Folder::new();
    let (recipe, out) = (folder.recipe(""), folder.path("run"));
    let arguments = ["train", &recipe, "--data", &trained().data, "--out", &out, "--json", "--simd", "off"];
    let ended = run(&arguments);
    assert!(ended.stderr.contains("Scalar kernels"), "{ended:?}");
    assert_eq!(object(&ended.stdout)["weights_hash"], object(&trained().printed.stdout)["weights_hash"]);
    assert!(read(format!("{out}/model.smg")) == read(trained().model()));
    // Equal hashes mean something: another seed gives another.
    let other = object(&succeed(&[&arguments[..], &["--seed", "2"]].concat()));
    assert_ne!(other["weights_hash"], object(&trained().printed.stdout)["weights_hash"]);
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused() {
    let other = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let part = format!("--simd {other}: this processor does not have it, expected off");
    fail(&["--simd", other, "inspect", &trained().model()], &[&part]);
    let ended = smidgen(&["inspect", &trained().model()]).env("SMIDGEN_SIMD", other).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let mut child =
        smidgen(&["inspect", &trained().model()]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn help_is_for_every_command() {
    for command in ["demo", "train", "eval", "run", "diff-trace", "inspect", "bench", "bench-train"] {
        assert!(succeed(&[command, "--help"]).contains("Usage: smidgen"), "{command}");
    }
    assert!(succeed(&["--version"]).starts_with("smidgen "));
}
