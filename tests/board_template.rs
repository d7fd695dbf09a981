//! The template of a project: expanded for a board, it builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use smidgen_trainer::device::{BOARDS, DeviceError, firmware_folder};

/// Writes the template into `to`, with each file's placeholders replaced as cargo-generate does: it uses the same library.
fn expand(template: &Path, to: &Path, values: &liquid::Object) {
    let parser = liquid::ParserBuilder::with_stdlib().build().unwrap();
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(template).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            expand(&path, &target, values);
        } else if path.file_name().unwrap() != "cargo-generate.toml" {
            let text = fs::read_to_string(&path).unwrap();
            let rendered = parser.parse(&text).and_then(|template| template.render(values));
            fs::write(&target, rendered.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
                .unwrap();
        }
    }
}

/// A project in a folder of its own: tests run side by side.
fn project(test: &str, board: &str) -> PathBuf {
    let boards = firmware_folder().join("boards").canonicalize().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{board}"));
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let values = liquid::object!({
        "project-name": "my-listener",
        "board": board,
        "model": text(&boards.join("application/digits.smg")),
        "smidgen": text(boards.parent().and_then(Path::parent).unwrap()),
    });
    expand(&boards.join("template"), &folder, &values);
    // The versions that the images of this repository are built with.
    fs::copy(boards.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    folder
}

#[test]
fn every_board_gets_its_target_and_chip() {
    for board in BOARDS {
        let config =
            fs::read_to_string(project("configured", board.name).join(".cargo/config.toml")).unwrap();
        assert!(config.contains(&format!("target = \"{}\"", board.triple)), "{board}: {config}");
        assert!(config.contains(&format!("\"--chip\", \"{}\"", board.chip)), "{board}: {config}");
        assert!(!config.contains("{%") && !config.contains("{{"), "{config}");
    }
}

#[test]
fn a_project_builds() {
    let folder = project("built", "microbit-v2");
    // The boards' own, where all that it depends on is built already.
    let target = firmware_folder().join("boards/target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&folder).args(["build", "--release", "--quiet"]).arg("--target-dir").arg(&target);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "SMIDGEN_MODEL"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = target.join(BOARDS[0].triple).join("release/my-listener");
    let footprint = BOARDS[0].footprint(&image).unwrap();
    let model = fs::metadata(firmware_folder().join("boards/application/digits.smg")).unwrap().len();
    assert!(footprint.flash_bytes as u64 > model, "the model is in it: {footprint:?}");
    // A chip whose RAM is a byte less than its statics and 8 KB of stack refuses it.
    let mut small = BOARDS[0];
    small.ram.bytes = footprint.static_bytes as u32 + 8 * 1024 - 1;
    // With flip-link statics are at the end of the RAM: there they are.
    small.ram.start += BOARDS[0].ram.bytes - small.ram.bytes;
    let refused = small.footprint(&image);
    assert!(
        matches!(refused, Err(DeviceError::BoardTooSmall { memory, .. }) if memory.starts_with("RAM")),
        "{refused:?}"
    );
}
