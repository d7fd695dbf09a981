//! `smidgen flash`, with a probe-rs that is a script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Ended, Folder, failed, object, read, smidgen, trained};

/// The model that is in the repository.
fn model() -> String {
    format!("{}/../firmware/boards/application/digits.smg", env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a program `probe-rs` that is this script.
fn tools(script: &str) -> Folder {
    let folder = Folder::new();
    let path = folder.write("probe-rs", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A run that finds `tools` first.
fn with(tools: &Folder, arguments: &[&str]) -> Command {
    let mut command = smidgen(arguments);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", tools.path("").trim_end_matches('/')));
    command
}

fn ended(command: &mut Command) -> Ended {
    command.output().expect("the program starts").into()
}

#[test]
fn what_is_missing_is_said_at_once() {
    let flash = ["flash", &model(), "--board", "pico"];
    let nothing = Folder::new();
    failed(&ended(smidgen(&flash).env("PATH", nothing.path(""))), &["probe-rs: not found", "cargo install"]);
    let no_probe = tools("echo No debug probes were found.");
    failed(&ended(&mut with(&no_probe, &flash)), &["no debug probe was found", "Raspberry Pi Debug Probe"]);
    let board = ended(&mut smidgen(&["flash", &model(), "--board", "uno"]));
    assert!(board.code == Some(2) && board.stderr.contains("microbit-v2"), "{board:?}");
}

#[test]
fn a_model_that_takes_no_sound_is_refused() {
    let ended = ended(&mut smidgen(&["flash", &trained().model(), "--board", "microbit-v2", "--build"]));
    failed(&ended, &["takes no sound"]);
}

#[test]
fn an_image_is_built_written_verified_and_started() {
    let tools = tools(
        r#"echo "$@" >> "$(dirname "$0")/asked"
case "$1" in list) echo "[0]: BBC micro:bit CMSIS-DAP";; esac"#,
    );
    let found = ended(&mut with(&tools, &["flash", &model(), "--board", "microbit-v2", "--json"]));
    assert_eq!(found.code, Some(0), "{found:?}");
    let figures = object(&found.stdout);
    assert_eq!((&figures["chip"], &figures["flashed"]), (&"nRF52833_xxAA".into(), &true.into()));
    let image = figures["image"].as_str().unwrap();
    assert!(read(image).starts_with(b"\x7fELF"));
    let asked = fs::read_to_string(tools.path("asked")).unwrap();
    let expected =
        format!("list\nlist\ndownload --chip nRF52833_xxAA --verify {image}\nreset --chip nRF52833_xxAA\n");
    assert_eq!(asked, expected);

    let fails = self::tools("case \"$1\" in list) ;; *) echo the chip is locked >&2; exit 1;; esac");
    let found = ended(&mut with(&fails, &["flash", &model(), "--board", "microbit-v2"]));
    failed(&found, &["probe-rs download"]);
    assert!(found.stderr.contains("the chip is locked"), "{found:?}");
}
