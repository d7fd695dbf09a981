//! What becomes int8: with and without training for it.

use std::sync::atomic::{AtomicBool, Ordering};

use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::{Confusion, Interface, run_in_parts};
use smidgen_trainer::pipeline::{Run, Trained, Training, measure_sensitivity, quantize_trained, train};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::train::{StepReport, Watch};

use crate::{learns, recipe, run, split};

/// Accuracy of the int8 model on the test samples.
fn int8_accuracy(recipe: &Recipe, trained: &Trained) -> f64 {
    let split = split();
    let file = quantize_trained(recipe, &split, trained).unwrap().file;
    let interface = Interface::of_file(&file).unwrap();
    let inputs = interface.inputs(&split.test).unwrap();
    let bytes = interface.input.bytes().unwrap();
    let report = run_in_parts(&Device::new(Target::Host), &file, &inputs, bytes, 1).unwrap();
    let predictions = interface.predictions(&report.outputs);
    Confusion::of(&predictions, split.test.labels(), 10).accuracy().fraction()
}

/// A network of ReLU6, leaky ReLU, a sum, pools and batch norms, which learns the digits in some epochs.
const LAYERS: &str = "network.layers=conv_2d(8, 3).stride(2).batch_norm().relu6().tap(\"a\").conv_2d(8, 3).batch_norm().leaky_relu(0.1)\
                      .add(\"a\").average_pool_2d(2).stride(2).flatten().dropout(0.1).fully_connected(10)";

fn aware(ranges: &str) -> Vec<String> {
    let ranges = format!("quantization.aware_ranges={ranges}");
    [LAYERS, "training.epochs=4", "quantization.aware_epochs=2", "quantization.aware_fraction=0.2", &ranges]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn training_for_int8_is_as_accurate_in_int8_as_it_says() {
    for ranges in ["averaged", "learned", "fixed"] {
        let sets = aware(ranges);
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let trained = learns(&sets, 0.7);
        let found = trained.aware.as_ref().unwrap();
        assert_eq!(found.progress.history.len(), 2);
        // What is held out is measured with fake quantization.
        let last = found.progress.history.last().unwrap().train_loss;
        assert!(last < 1.1 * trained.progress.history.last().unwrap().train_loss, "{ranges}: {last}");
        let (float, int8) = (trained.test.accuracy(), int8_accuracy(&recipe(&sets), &trained));
        // Of 60 samples.
        assert!(int8 > float - 0.07, "{ranges}: {int8} in int8, {float} in f32");
        let calibrated = run(&recipe(&[sets[0], "training.epochs=4"]), &split(), 1).unwrap();
        assert_eq!(
            calibrated.weights_hash, trained.weights_hash,
            "the first epochs do not know what follows"
        );
        let moved = |name: &str| found.ranges[name] != trained_ranges(&sets, &calibrated)[name];
        assert_eq!(moved("relu6_1"), ranges != "fixed", "{ranges}");
        assert!(!moved("input"), "{ranges}");
    }
}

#[test]
fn epochs_for_int8_average_their_weights_and_ranges() {
    for kind in ["exponential", "stochastic"] {
        let mut sets = aware("averaged");
        sets.extend([format!("averaging.kind={kind}"), "averaging.decay=0.9".into()]);
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let trained = learns(&sets, 0.75);
        let averaged = trained.aware.as_ref().unwrap();
        let present = |graph: &smidgen_trainer::graph::Graph, name: &str| {
            let id = graph.find(name).unwrap_or_else(|| panic!("{name}"));
            graph.tensor(id).value.clone().unwrap()
        };
        for name in ["conv_2d_1/weights", "batch_norm_1/running"] {
            assert_ne!(present(&averaged.graph, name), present(&trained.graph, name), "{kind}: {name}");
        }
        let plain = learns(&[&sets[..sets.len() - 2], &["averaging.kind=none"]].concat(), 0.75);
        assert_ne!(averaged.ranges, plain.aware.as_ref().unwrap().ranges, "{kind}");
        let (float, int8) = (trained.test.accuracy(), int8_accuracy(&recipe(&sets), &trained));
        assert!(int8 > float - 0.07, "{kind}: {int8} in int8, {float} in f32");
    }
}

/// The ranges that the calibration finds.
fn trained_ranges(sets: &[&str], trained: &Trained) -> smidgen_trainer::compile::quantize::NamedRanges {
    quantize_trained(&recipe(&[sets[0]]), &split(), trained).unwrap().ranges
}

/// Stops a run after so many steps.
struct StopAfter<'a>(u32, &'a AtomicBool);

impl Watch for StopAfter<'_> {
    fn step(&mut self, _: &StepReport) {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn the_bits_depend_on_neither_threads_nor_stops() {
    for (ranges, averaging) in [
        ("averaged", "none"),
        ("learned", "exponential"),
        ("averaged", "exponential"),
        ("averaged", "stochastic"),
    ] {
        let mut sets = aware(ranges);
        sets.push(format!("averaging.kind={averaging}"));
        let recipe = recipe(&sets.iter().map(String::as_str).collect::<Vec<_>>());
        let split = split();
        let whole = run(&recipe, &split, 3).unwrap().aware.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = directory.path().join("checkpoint.safetensors");
        let stop = AtomicBool::new(false);
        let mut parts = 0;
        let resumed = loop {
            stop.store(false, Ordering::Relaxed);
            let (resume, checkpoint) = (parts > 0, Some(checkpoint.as_path()));
            let run = Run { recipe: &recipe, split: &split, threads: 1, checkpoint, resume, stop: &stop };
            parts += 1;
            match train(&run, &mut StopAfter(17, &stop)).unwrap() {
                Training::Done(trained) => break trained.aware.unwrap(),
                Training::Stopped(_) => assert!(parts < 20),
            }
        };
        // Four epochs of 10 steps and two more: the third stop is in the latter.
        assert!(parts >= 4, "{parts}");
        assert_eq!(resumed.weights_hash, whole.weights_hash);
        assert_eq!(resumed.ranges, whole.ranges);
    }
}

#[test]
fn quantizing_without_training_can_be_helped() {
    let trained = learns(&["training.epochs=6"], 0.6);
    let float = trained.test.accuracy();
    for sets in [
        &[][..],
        &["quantization.equalize=true"],
        &["quantization.correct_bias=true"],
        &["quantization.equalize=true", "quantization.correct_bias=true"],
    ] {
        let int8 = int8_accuracy(&recipe(sets), &trained);
        assert!(int8 > float - 0.07, "{sets:?}: {int8} in int8, {float} in f32");
    }
}

#[test]
fn the_report_of_the_layers_has_them_all() {
    let recipe = recipe(&[LAYERS]);
    let trained = run(&recipe, &split(), 2).unwrap();
    let quantized = quantize_trained(&recipe, &split(), &trained).unwrap();
    let found = measure_sensitivity(&recipe, &split(), &trained, &quantized, 40).unwrap();
    let names: Vec<&str> = found.layers.iter().map(|layer| layer.layer.as_str()).collect();
    let expected = [
        "input",
        "conv_2d_1",
        "conv_2d_2",
        "conv_2d_2/leaky_relu",
        "add_1",
        "average_pool_2d_1",
        "fully_connected_1",
    ];
    assert_eq!(names, expected);
    assert_eq!(found.samples, 40);
    assert!(
        found.layers.iter().all(|layer| layer.signal_to_noise_db.is_some_and(|ratio| ratio > 10.0)),
        "{found:?}"
    );
}
