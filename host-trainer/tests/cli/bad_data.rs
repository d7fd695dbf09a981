//! Data sets that cannot be used: the error names the file, and training does not begin.

use std::fs;

use crate::support::{Folder, fail, idx, read, trained};

/// What happens to a file of a good data set, if it is then trained and measured with.
#[track_caller]
fn spoiled(file: &str, spoil: impl FnOnce(&str), parts: &[&str]) {
    let folder = Folder::new();
    let (recipe, data) = (folder.recipe(""), folder.data());
    spoil(&format!("{data}/{file}"));
    let out = folder.path("run");
    fail(&["train", &recipe, "--data", &data, "--out", &out], &[&[file], parts].concat());
    assert!(!fs::exists(format!("{out}/model.smg")).unwrap());
    fail(&["eval", &trained().model(), "--data", &data, "--json"], &[&[file], parts].concat());
}

#[test]
fn a_missing_file_is_named() {
    let remove = |path: &str| fs::remove_file(path).unwrap();
    spoiled("train-images-idx3-ubyte", remove, &["found none of"]);
}

#[test]
fn an_empty_file_is_named() {
    spoiled("train-labels-idx1-ubyte", |path| fs::write(path, "").unwrap(), &["the file is empty"]);
}

#[test]
fn a_truncated_file_is_named_with_both_lengths() {
    let cut = |path: &str| fs::write(path, &read(path)[..1000]).unwrap();
    spoiled("t10k-images-idx3-ubyte", cut, &["byte 1000", "expected 78416 bytes"]);
}

#[test]
fn images_for_labels_are_told_apart() {
    let swap = |path: &str| {
        fs::copy(path.replace("labels-idx1", "images-idx3"), path).unwrap();
    };
    spoiled("train-labels-idx1-ubyte", swap, &["0x00000803", "expected 0x00000801", "IDX images"]);
}

#[test]
fn a_web_page_is_no_data() {
    let page = |path: &str| fs::write(path, "<html>404 not found</html>").unwrap();
    spoiled("train-images-idx3-ubyte", page, &["looks like a web page"]);
}

#[test]
fn counts_that_differ_are_named() {
    let fewer = |path: &str| fs::write(path, idx(0x0801, &[399], vec![0; 399])).unwrap();
    spoiled("train-labels-idx1-ubyte", fewer, &["400", "399"]);
}

#[test]
fn a_label_without_a_class_is_named() {
    let ten = |path: &str| fs::write(path, idx(0x0801, &[100], vec![10; 100])).unwrap();
    spoiled("t10k-labels-idx1-ubyte", ten, &["10"]);
}

#[test]
fn a_missing_directory_is_named() {
    let folder = Folder::new();
    let recipe = folder.recipe("");
    fail(
        &["train", &recipe, "--data", "/no/such", "--out", &folder.path("run")],
        &["/no/such: there is no such directory"],
    );
    fail(&["train", &recipe, "--out", &folder.path("run")], &["--data DIR"]);
}

#[test]
fn data_of_another_size_do_not_fit_a_trained_model() {
    let folder = Folder::new();
    let data = folder.data();
    for (prefix, count) in [("train", 400_usize), ("t10k", 100)] {
        let images = idx(0x0803, &[count as u32, 8, 8], vec![1; count * 64]);
        folder.write(&format!("data/{prefix}-images-idx3-ubyte"), images);
    }
    fail(&["eval", &trained().model(), "--data", &data], &["model.smg", "784 elements", "64"]);
}
