//! A network that is trained here, exported as a TensorFlow Lite file, and run by TensorFlow Lite Micro: the same bytes.
//!
//! TensorFlow Lite Micro is that of `tools/with-tflite.sh --micro`, which sets up its Python on first use. Where it cannot, the test says that it did not run, and fails under
//! `CI=true`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use smidgen_trainer::data::digits;
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::Interface;
use smidgen_trainer::npy::{self, Array, ElementKind};
use smidgen_trainer::pipeline::{Run, Training, quantize_trained, train};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::tflite::{convert, export};

const IMAGES: usize = 500;

/// The outputs of TensorFlow Lite Micro.
fn tensorflow_lite_micro(tflite: &[u8], inputs: &Array) -> Result<Vec<u8>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::temp_dir().join(format!("smidgen-exported-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let path = |name: &str| folder.join(name);
    fs::write(path("net.tflite"), tflite).map_err(|error| error.to_string())?;
    fs::write(path("x.npy"), inputs.to_file()).map_err(|error| error.to_string())?;
    let run = Command::new(root.join("tools/with-tflite.sh"))
        .arg("--micro")
        .arg(root.join("tools/run_tflite_micro.py"))
        .args([path("net.tflite"), path("x.npy"), path("y.npy")])
        .output()
        .map_err(|error| format!("tools/with-tflite.sh: {error}"))?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    let outputs = fs::read(path("y.npy")).map_err(|error| error.to_string())?;
    let _ = fs::remove_dir_all(&folder);
    Ok(npy::parse(&outputs).map_err(|error| error.to_string())?.bytes)
}

#[test]
fn the_digits_give_the_same_bytes_in_tensorflow_lite_micro() {
    let mut recipe = Recipe::load("digits").unwrap();
    for assignment in ["training.epochs=1", "schedule.warm_up_epochs=0.0"] {
        recipe.set(assignment).unwrap();
    }
    let split = digits().unwrap();
    let stop = AtomicBool::new(false);
    let run =
        Run { recipe: &recipe, split: &split, threads: 2, checkpoint: None, resume: false, stop: &stop };
    let Training::Done(trained) = train(&run, &mut ()).unwrap() else { panic!("nobody stops it") };
    let model = quantize_trained(&recipe, &split, &trained).unwrap().file;
    let interface = Interface::of_file(&model).unwrap();
    let (mut inputs, row) = (interface.inputs(&split.test).unwrap(), interface.sample_elements());
    assert!(inputs.len() >= IMAGES * row);
    inputs.truncate(IMAGES * row);
    let tflite = export(&model).unwrap();

    let device = Device::new(Target::Host);
    let here = device.run(&model, &inputs).unwrap().outputs;
    let again = convert(&tflite, "digits", None).unwrap().file;
    assert_eq!(device.run(&again, &inputs).unwrap().outputs, here, "imported again");

    let array = Array { kind: ElementKind::I8, shape: vec![IMAGES, row], bytes: inputs };
    match tensorflow_lite_micro(&tflite, &array) {
        Ok(there) => {
            assert!(there == here, "outputs differ");
            assert!(here.chunks(10).any(|scores| scores != &here[..10]), "outputs differ by image");
        }
        Err(error) => {
            let message = format!("SKIPPED, TensorFlow Lite Micro did not run: {error}\n");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
            std::io::stderr().write_all(message.as_bytes()).expect("stderr is open");
        }
    }
}
