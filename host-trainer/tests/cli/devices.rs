//! The commands on an emulated core. They need QEMU and Rust's target for it, which `make setup` installs.

use smidgen_trainer::device::{DeviceError, Target, check};
use smidgen_trainer::npy::{Array, ElementKind};

use crate::support::{Folder, fail, object, read, succeed, trained};

/// Whether the emulator is there. Without it a test cannot run: it says so, and fails where everything has to run (`CI=true`).
pub(crate) fn emulator() -> bool {
    match check(Target::CortexM4) {
        Ok(()) => true,
        Err(error @ DeviceError::QemuMissing) if std::env::var("CI").as_deref() != Ok("true") => {
            eprintln!("SKIPPED, this test did not run: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn bench_has_the_names_of_the_design_and_its_steps_add_up() {
    if !emulator() {
        return;
    }
    let model = trained().model();
    let found = object(&succeed(&["bench", &model, "--on", "cortex-m4", "--json"]));
    let mut names: Vec<_> = found.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "arena_bytes",
        "code_bytes",
        "instructions",
        "macs",
        "measured_code_bytes",
        "model_bytes",
        "stack_peak_bytes",
        "steps",
        "target",
    ];
    assert_eq!(names, expected);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(found["target"], "cortex-m4");
    // The weights are packed for the core, with a record for each pair of channels.
    assert!(number(&found["model_bytes"]) > read(&model).len() as u64);
    let steps = found["steps"].as_array().unwrap();
    let sum = |key: &str| steps.iter().map(|step| number(&step[key])).sum::<u64>();
    assert_eq!(sum("macs"), number(&found["macs"]));
    // The steps are counted in the image that runs any model, the whole in the one it is built into, so that they differ a little either way.
    let (inside, all) = (sum("instructions"), number(&found["instructions"]));
    assert!(inside < all * 11 / 10 && inside > all * 9 / 10, "{inside} of {all}");
    for (index, step) in steps.iter().enumerate() {
        let mut names: Vec<_> = step.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["index", "instructions", "macs", "name", "op"]);
        assert_eq!(step["index"], index);
    }
    let text = succeed(&["bench", &model, "--on", "cortex-m4"]);
    assert!(text.contains("per MAC") && text.contains("bytes of stack"), "{text}");
}

#[test]
fn eval_and_run_give_on_a_device_what_they_give_here() {
    if !emulator() {
        return;
    }
    let (folder, model, data) = (Folder::new(), trained().model(), &trained().data);
    let eval = |target| {
        object(&succeed(&[
            "eval",
            &model,
            "--data",
            data,
            "--limit",
            "12",
            "--json",
            "--threads",
            "2",
            "--on",
            target,
        ]))
    };
    let (here, there) = (eval("host"), eval("cortex-m4"));
    assert_eq!(here["confusion"], there["confusion"]);
    assert!(here["instructions"].is_null() && there["instructions"].as_u64().unwrap() > 0);
    let bytes = (0..5 * 784).map(|index| (index % 251) as u8).collect();
    let samples = Array { kind: ElementKind::I8, shape: vec![5, 28, 28, 1], bytes };
    let input = folder.write("x.npy", samples.to_file());
    let outputs = ["host", "cortex-m4"].map(|target| {
        let output = folder.path(target);
        succeed(&["run", &model, "--input", &input, "--output", &output, "--on", target]);
        read(output)
    });
    assert!(outputs[0] == outputs[1]);
}

#[test]
fn nothing_is_counted_on_the_host() {
    fail(&["bench", &trained().model(), "--on", "host"], &["--on host", "cortex-m4"]);
}
