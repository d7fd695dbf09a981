//! Four networks of others, as TensorFlow Lite files, with the outputs of TensorFlow Lite Micro: every byte is the same, here and on emulated cores.
//!
//! They lie in `models/` of the directory that `SMIDGEN_SHARED` names. Without the variable these tests say that they did not run, and fail under `CI=true`.

use std::path::{Path, PathBuf};

use smidgen_tests::shared;
use smidgen_trainer::compile::Packing;
use smidgen_trainer::device::{Device, DeviceError, Target, check};
use smidgen_trainer::npy::{self, Array};
use smidgen_trainer::tflite::{convert, convert_packed};

/// A network with its samples.
struct Reference {
    name: &'static str,
    /// How many samples there are.
    samples: usize,
    /// Whether it fits an emulated Cortex-M0 with its 16 KB of RAM and 36 KB for the model.
    fits_m0: bool,
}

const REFERENCES: [Reference; 4] = [
    Reference { name: "kws_ref_model", samples: 500, fits_m0: false },
    Reference { name: "ad01_int8", samples: 32, fits_m0: false },
    Reference { name: "hello_world_int8", samples: 32, fits_m0: true },
    Reference { name: "micro_speech_quantized", samples: 32, fits_m0: true },
];

/// Samples that each emulated core runs.
const ON_DEVICES: usize = 20;

/// The folder of the networks.
fn models(test: &str) -> Option<PathBuf> {
    shared(test, "models")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn array(models: &Path, reference: &Reference, name: &str) -> Array {
    let path = models.join(reference.name).join(name);
    let array = npy::parse(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(array.shape[0], reference.samples, "{}", path.display());
    array
}

/// The model file of a network, by the importer.
fn model(models: &Path, reference: &Reference) -> Vec<u8> {
    packed_model(models, reference, Packing::Plain)
}

/// The model file of a network, by the importer, with packed weights.
fn packed_model(models: &Path, reference: &Reference, packing: Packing) -> Vec<u8> {
    let tflite = read(&models.join(format!("{}.tflite", reference.name)));
    convert_packed(&tflite, reference.name, None, packing)
        .unwrap_or_else(|error| panic!("{}: {error}", reference.name))
        .file
}

#[test]
fn every_sample_gives_the_bytes_of_tensorflow_lite_micro() {
    let Some(models) = models("every_sample_gives_the_bytes_of_tensorflow_lite_micro") else { return };
    for reference in &REFERENCES {
        let (input, expected) =
            (array(&models, reference, "input.npy"), array(&models, reference, "output.npy"));
        for packing in [Packing::Plain].into_iter().chain(Packing::ALL) {
            let model = packed_model(&models, reference, packing);
            let report = Device::new(Target::Host).run(&model, &input.bytes).unwrap();
            assert!(report.outputs == expected.bytes, "{}, {packing:?}: outputs differ", reference.name);
        }
    }
}

#[test]
fn keywords_are_found_as_often_as_published() {
    let Some(models) = models("keywords_are_found_as_often_as_published") else { return };
    let reference = &REFERENCES[0];
    let (input, labels) = (array(&models, reference, "input.npy"), array(&models, reference, "labels.npy"));
    let report = Device::new(Target::Host).run(&model(&models, reference), &input.bytes).unwrap();
    let right = report.outputs.chunks_exact(12).zip(&labels.bytes).filter(|(scores, label)| {
        let greatest = scores.iter().map(|score| score.cast_signed()).max();
        let found = scores.iter().position(|score| Some(score.cast_signed()) == greatest);
        found == Some(usize::from(**label))
    });
    // 0.9040 of 500.
    assert_eq!(right.count(), 452);
}

#[test]
fn emulated_cores_give_the_same_bytes() {
    let Some(models) = models("emulated_cores_give_the_same_bytes") else { return };
    for target in Target::ALL.into_iter().filter(|&target| target != Target::Host) {
        match check(target) {
            Ok(()) => {}
            Err(error @ DeviceError::QemuMissing) if std::env::var("CI").as_deref() != Ok("true") => {
                eprintln!("SKIPPED, this test did not run: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
        for reference in &REFERENCES {
            let (input, expected) =
                (array(&models, reference, "input.npy"), array(&models, reference, "output.npy"));
            let part =
                |array: &Array| array.bytes[..array.bytes.len() / reference.samples * ON_DEVICES].to_vec();
            let (model, inputs) = (packed_model(&models, reference, target.packing()), part(&input));
            let device = Device::new(target);
            // All operators do not fit the flash of a Cortex-M0: its image has those of this model.
            let outcome = match target {
                Target::CortexM0 if !reference.fits_m0 => continue,
                Target::CortexM0 => device.run_embedded(&model, &inputs),
                _ => device.run(&model, &inputs),
            };
            let report = outcome.unwrap_or_else(|error| panic!("{}: {error}", reference.name));
            assert!(report.outputs == part(&expected), "{} on {target}: outputs differ", reference.name);
        }
    }
}

#[test]
fn one_weight_that_is_off_by_one_is_seen() {
    let Some(models) = models("one_weight_that_is_off_by_one_is_seen") else { return };
    let reference = &REFERENCES[0];
    let (input, expected) = (array(&models, reference, "input.npy"), array(&models, reference, "output.npy"));
    let tflite = read(&models.join("kws_ref_model.tflite"));
    let net = smidgen_trainer::tflite::Net::read(&tflite).unwrap();
    // The weights of the first convolution.
    let first = &net.subgraphs[0].operators[0];
    let weights = net.subgraphs[0].tensors[first.inputs[1].unwrap()].data.as_ref().unwrap();
    let offset = weights.as_ptr() as usize - tflite.as_ptr() as usize;
    let mut changed = tflite.clone();
    changed[offset] = changed[offset].wrapping_add(1);
    let model = convert(&changed, reference.name, None).unwrap().file;
    let report = Device::new(Target::Host).run(&model, &input.bytes).unwrap();
    assert!(report.outputs != expected.bytes);
}
