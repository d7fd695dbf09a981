//! Training that does not go well: it says so, keeps what is good, and goes on to the same bits.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::{Ended, Folder, fail, failed, object, read, run, smidgen, succeed, trained};

#[test]
fn a_loss_that_is_no_number_stops_with_its_step() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    let rate = "schedule.learning_rate=1e30";
    let parts = ["the loss became", "at step", "of epoch 1", "lower schedule.learning_rate"];
    fail(&["train", &recipe, "--data", &data, "--out", &out, "--set", rate], &parts);
    assert!(!fs::exists(format!("{out}/checkpoint.safetensors")).unwrap(), "nothing good to keep");
}

#[test]
fn the_last_good_checkpoint_is_kept() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    // The rate explodes with the second epoch.
    let sets = ["schedule.kind=step", "schedule.step_epochs=1.0", "schedule.step_factor=1e30"];
    let mut arguments = vec!["train", &recipe, "--data", &data, "--out", &out, "--set", sets[0]];
    arguments.extend(["--set", sets[1], "--set", sets[2]]);
    fail(&arguments, &["of epoch 2", "the last good state is in", "run/checkpoint.safetensors"]);
    let checkpoint = read(format!("{out}/checkpoint.safetensors"));
    assert!(String::from_utf8_lossy(&checkpoint).contains(r#"\"epoch\":1,"#));
    assert!(!fs::exists(format!("{out}/model.smg")).unwrap());
}

#[test]
fn an_output_directory_below_a_file_is_refused() {
    let folder = Folder::new();
    let (recipe, data) = (folder.recipe(""), folder.data());
    let out = format!("{recipe}/run");
    fail(&["train", &recipe, "--data", &data, "--out", &out], &[&out, "the directory cannot be made"]);
}

/// `/dev/full` is a disk without room: where the temporary file should be, a link leads there.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_and_the_old_file_stays() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    fs::create_dir(&out).unwrap();
    folder.write("run/checkpoint.safetensors", "old");
    std::os::unix::fs::symlink("/dev/full", format!("{out}/checkpoint.safetensors.tmp")).unwrap();
    fail(
        &["train", &recipe, "--data", &data, "--out", &out],
        &["run/checkpoint.safetensors: cannot be written", "No space left", "free some space"],
    );
    assert_eq!(read(format!("{out}/checkpoint.safetensors")), b"old");
}

#[test]
#[cfg(target_os = "linux")]
fn results_that_cannot_be_printed_are_an_error() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = smidgen(&["inspect", &trained().model()]).stdout(full()).output().unwrap();
    failed(&Ended::from(ended), &["stdout: No space left"]);
}

/// Sends the interrupt signal, as Ctrl-C does.
fn interrupt(process: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -INT {process}")]).status();
    assert!(status.expect("sh").success());
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let folder = Folder::new();
    let (recipe, data) = (folder.recipe(""), folder.data());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path(name));
    // Epochs enough that there is time to interrupt between the first and the last.
    let arguments = |out| ["train", &recipe, "--data", &data, "--epochs", "40", "--json", "--out", out];
    let uninterrupted = object(&succeed(&arguments(&whole)));

    let mut child =
        smidgen(&arguments(&parts)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("epoch   1/40") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended too early");
    }
    interrupt(child.id());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(rest.contains("--resume") && !rest.contains("epoch  40/40"), "{rest}");
    assert!(!fs::exists(format!("{parts}/model.smg")).unwrap());

    // Another number of threads does not matter either.
    let resume = [arguments(&parts).as_slice(), &["--resume", "--threads", "3"]].concat();
    let resumed = run(&resume);
    assert!(!resumed.stderr.contains("epoch   1/40"), "it began anew: {}", resumed.stderr);
    assert_eq!(object(&resumed.stdout)["weights_hash"], uninterrupted["weights_hash"]);
    for file in ["model.smg", "weights.safetensors"] {
        assert!(read(format!("{whole}/{file}")) == read(format!("{parts}/{file}")), "{file} differs");
    }
}

#[test]
fn a_checkpoint_of_another_recipe_or_none_is_refused() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    fs::create_dir(&out).unwrap();
    fs::copy(trained().path("checkpoint.safetensors"), format!("{out}/checkpoint.safetensors")).unwrap();
    let arguments = ["train", &recipe, "--data", &data, "--out", &out, "--resume"];
    fail(
        &[&arguments[..], &["--seed", "7"]].concat(),
        &["checkpoint.safetensors", "`seed = 1`, now `seed = 7`"],
    );
    folder.write("run/checkpoint.safetensors", "no checkpoint");
    fail(&arguments, &["checkpoint.safetensors: not a checkpoint", "start without --resume"]);
}
