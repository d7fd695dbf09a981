//! Model files that are none: every command that reads one refuses it in the same words.

use crate::support::{Folder, fail, read, trained};

/// Every command that reads a model refuses the one at `path`.
#[track_caller]
fn refused(folder: &Folder, path: &str, parts: &[&str]) {
    let (input, output) = (folder.path("x.npy"), folder.path("y.npy"));
    for arguments in [
        &["eval", path, "--json"][..],
        &["run", path, "--input", &input, "--output", &output],
        &["inspect", path],
        &["inspect", path, "--json"],
        &["bench", path, "--on", "cortex-m4", "--json"],
    ] {
        fail(arguments, &[&[path], parts].concat());
    }
}

#[test]
fn a_missing_file_is_refused() {
    let folder = Folder::new();
    refused(&folder, &folder.path("missing.smg"), &["cannot be read", "No such file"]);
}

#[test]
fn an_empty_file_and_a_directory_are_refused() {
    let folder = Folder::new();
    refused(&folder, &folder.write("empty.smg", ""), &["not a valid model"]);
    refused(&folder, &folder.data(), &["cannot be read"]);
}

#[test]
fn another_kind_of_file_is_refused() {
    let folder = Folder::new();
    let other = folder.write("other.smg", "x".repeat(500));
    refused(&folder, &other, &["not a valid model", "[78, 78, 78, 78]", "\"SMDG\""]);
}

#[test]
fn a_truncated_model_is_refused() {
    let folder = Folder::new();
    let model = read(trained().model());
    let half = folder.write("half.smg", &model[..model.len() / 2]);
    refused(&folder, &half, &["not a valid model", &model.len().to_string()]);
}

#[test]
fn a_damaged_model_is_refused() {
    let folder = Folder::new();
    let mut model = read(trained().model());
    let last = model.len() - 40;
    model[last] ^= 1;
    refused(&folder, &folder.write("damaged.smg", model), &["not a valid model", "checksum"]);
}
