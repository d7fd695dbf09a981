//! `smidgen run`: samples in, outputs out, and arrays that are no samples.

use smidgen::{Metadata, Model, Preprocessing};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::{LowerOptions, compile_inference, fold_batch_norm, fuse_activation};
use smidgen_trainer::data::load_mnist_dir;
use smidgen_trainer::evaluate::Interface;
use smidgen_trainer::graph::nets;
use smidgen_trainer::npy::{Array, ElementKind, parse};

use crate::support::{Folder, fail, object, read, succeed, trained};

/// The outputs of `model` for `samples`.
#[track_caller]
fn outputs(folder: &Folder, model: &str, samples: &Array) -> Array {
    let (input, output) = (folder.write("x.npy", samples.to_file()), folder.path("y.npy"));
    assert_eq!(succeed(&["run", model, "--input", &input, "--output", &output]), "");
    parse(&read(output)).unwrap()
}

fn bytes(kind: ElementKind, shape: Vec<usize>, bytes: Vec<u8>) -> Array {
    Array { kind, shape, bytes }
}

#[test]
fn raw_bytes_int8_and_float_rows_give_the_same_outputs() {
    let (folder, model) = (Folder::new(), trained().model());
    let file = AlignedBytes::copy_of(&read(&model));
    let interface = Interface::of(&Model::from_bytes(file.as_slice()).unwrap()).unwrap();
    let test = load_mnist_dir(trained().data.as_ref()).unwrap().test;
    let raw = test.samples()[..20 * 784].to_vec();
    let quantized = interface.inputs_from_bytes(&raw);
    let floats = raw.iter().flat_map(|&byte| interface.preprocessing.apply(byte).to_le_bytes()).collect();
    let shape = || vec![20, 28, 28];
    let from_raw = outputs(&folder, &model, &bytes(ElementKind::U8, shape(), raw));
    assert_eq!((from_raw.kind, from_raw.shape.as_slice()), (ElementKind::I8, [20, 10].as_slice()));
    assert_eq!(outputs(&folder, &model, &bytes(ElementKind::I8, vec![20, 784], quantized)), from_raw);
    assert_eq!(outputs(&folder, &model, &bytes(ElementKind::F32, shape(), floats)), from_raw);
    // What `eval` counts follows from the same outputs.
    let predictions = interface.predictions(&from_raw.bytes);
    let right = predictions.iter().zip(test.labels()).filter(|(a, b)| **a == **b as usize).count();
    let eval = object(&succeed(&["eval", &model, "--data", &trained().data, "--limit", "20", "--json"]));
    assert_eq!(eval["correct"], right);
}

/// A model file in f32 that nobody has trained.
fn float_model(folder: &Folder) -> String {
    let graph = fuse_activation(fold_batch_norm(nets::by_name("mnist_ds_cnn").unwrap().build().unwrap()));
    let program = compile_inference(&graph, &LowerOptions::default()).unwrap();
    let (labels, step_names, provenance) = ("", "", "by a test");
    let preprocessing = Preprocessing::None;
    let metadata = Metadata { name: "float", labels, step_names, provenance, preprocessing };
    folder.write("float.smg", program.to_file(&metadata).unwrap())
}

#[test]
fn a_float_model_takes_and_gives_floats() {
    let folder = Folder::new();
    let model = float_model(&folder);
    let values = (0..3 * 784).flat_map(|index| ((index % 7) as f32).to_le_bytes()).collect();
    let found = outputs(&folder, &model, &bytes(ElementKind::F32, vec![3, 28, 28, 1], values));
    assert_eq!((found.kind, found.shape), (ElementKind::F32, vec![3, 10]));
    let raw = (0..3 * 784).map(|index| (index % 7) as u8).collect();
    assert_eq!(outputs(&folder, &model, &bytes(ElementKind::U8, vec![3, 784], raw)).bytes, found.bytes);
    let input = folder.write("x.npy", bytes(ElementKind::I8, vec![1, 784], vec![0; 784]).to_file());
    fail(
        &["run", &model, "--input", &input, "--output", &folder.path("z.npy")],
        &["x.npy", "int8 samples are only for a model with such an input, this one's is float32"],
    );
}

#[test]
fn arrays_that_are_no_samples_are_refused() {
    let (folder, model) = (Folder::new(), trained().model());
    let output = folder.path("y.npy");
    let good = bytes(ElementKind::I8, vec![2, 784], vec![0; 2 * 784]).to_file();
    let with = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let shaped = |shape: &[usize]| {
        let elements = shape.iter().product();
        bytes(ElementKind::I8, shape.to_vec(), vec![0; elements]).to_file()
    };
    for (file, part) in [
        (vec![], "byte 0"),
        (b"PK\x03\x04 a zip".to_vec(), "save the array with numpy.save"),
        (good[..good.len() - 1].to_vec(), "the file ends at byte"),
        ([good.as_slice(), b"!"].concat(), "bytes, expected"),
        (with(b"|i1", b"<f8"), "\"<f8\", expected '|i1' (int8)"),
        (with(b"False", b"True "), "Fortran order"),
        (with(b"'shape'", b"'shade'"), "byte "),
        (shaped(&[784]), "1 elements a row, expected 784"),
        (shaped(&[28, 28]), "28 elements a row, expected 784 ([28, 28, 1])"),
        (shaped(&[0, 784]), "0 samples"),
        (shaped(&[]), "a single number"),
    ] {
        let input = folder.write("x.npy", file);
        fail(&["run", &model, "--input", &input, "--output", &output], &["x.npy: ", part]);
    }
    fail(
        &["run", &model, "--input", &folder.path("no.npy"), "--output", &output],
        &["no.npy", "No such file"],
    );
    let input = folder.write("x.npy", &good);
    let below_a_file = folder.path("x.npy/y.npy");
    fail(
        &["run", &model, "--input", &input, "--output", &below_a_file],
        &[&below_a_file, "cannot be written"],
    );
    assert!(!std::fs::exists(output).unwrap());
}
