//! Recipes that cannot work: the error names the layer or the key, before the first step where that can be.

use smidgen_trainer::data::{Dataset, Split};

use crate::{recipe, run, split};

#[track_caller]
fn fails_on(split: &Split, sets: &[&str], parts: &[&str]) {
    let error = run(&recipe(sets), split, 1).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error:?}");
}

#[track_caller]
fn fails(sets: &[&str], parts: &[&str]) {
    fails_on(&split(), sets, parts);
}

#[track_caller]
fn refused(set: &str, parts: &[&str]) {
    let error = recipe(&[]).set(set).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error:?}");
}

#[test]
fn shapes_that_do_not_fit_name_their_layer() {
    fails(&["network.layers=conv_2d(4, 40).valid().flatten().fully_connected(10)"], &["conv_2d_1", "40x40"]);
    fails(&["network.layers=fully_connected(10)"], &["fully_connected_1", "flatten()"]);
    fails(&["network.layers=flatten().fully_connected(9)"], &["9 outputs", "10 classes"]);
    fails(&["network.layers=flatten().dropout(1.0).fully_connected(10)"], &["dropout_1", "the rate is 1"]);
}

#[test]
fn a_class_without_samples_is_named() {
    let whole = split();
    let without: Vec<u32> = (0..400).filter(|&index| whole.train.label(index as usize) != 3).collect();
    let train = whole.train.select("no threes", &without).unwrap();
    fails_on(&Split::new(train, whole.test.clone()).unwrap(), &[], &["no threes", "\"3\""]);
}

#[test]
fn a_batch_larger_than_the_data_is_an_error() {
    fails(&["training.batch=512"], &["320 samples", "512", "training.batch"]);
}

#[test]
fn a_batch_norm_of_one_number_names_its_layer() {
    let layers = "network.layers=flatten().fully_connected(8).batch_norm().relu().fully_connected(10)";
    let mut one = recipe(&[layers, "training.chunk=1", "training.batch=1"]);
    let error = run(&one, &split(), 1).unwrap_err().to_string();
    assert!(error.contains("batch_norm_1") && error.contains("training.batch"), "{error}");
    one.set("training.batch=2").unwrap();
    one.set("training.epochs=1").unwrap();
    assert!(run(&one, &split(), 1).is_ok());
}

#[test]
fn divergence_says_so_with_its_key() {
    let layers = "network.layers=flatten().fully_connected(10)";
    fails(
        &[layers, "optimizer.kind=sgd", "schedule.learning_rate=30", "schedule.kind=constant"],
        &["diverges", "schedule.learning_rate"],
    );
    fails(&[layers, "schedule.learning_rate=1e38"], &["schedule.learning_rate"]);
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    refused("loss.class_weights=[-1.0]", &["loss.class_weights"]);
    let mut mixed = recipe(&["augmentation.mixup=0.2"]);
    let error = mixed.set("loss.kind=focal").unwrap_err().to_string();
    assert!(error.contains("loss.kind") && error.contains("mixup"), "{error}");
    let error = mixed.set("loss.balance_classes=true").unwrap_err().to_string();
    assert!(error.contains("loss.class_weights"), "{error}");
    refused("data.fold=1", &["data.fold", "less than data.folds"]);
    refused("data.folds=1", &["data.folds"]);
    refused("training.snapshots=2", &["training.snapshots", "schedule.cycles"]);
    refused("schedule.cycles=4", &["schedule.cycles", "training.epochs"]);
    let mut constant = recipe(&["schedule.kind=constant"]);
    assert!(constant.set("schedule.cycles=2").unwrap_err().to_string().contains("cosine"));
    refused("quantization.aware_fraction=0.0", &["quantization.aware_fraction", "above 0"]);
    let mut aware = recipe(&["quantization.aware_epochs=1"]);
    assert!(
        aware
            .set("quantization.equalize=true")
            .unwrap_err()
            .to_string()
            .contains("quantization.aware_epochs")
    );
    refused("quantization.aware_range=learned", &["unknown key", "quantization.aware_ranges"]);
    refused("averaging.kind=swa", &["stochastic"]);
    refused("averaging.decay=1.0", &["averaging.decay"]);
    refused("optimizer.clip_norm=-1.0", &["optimizer.clip_norm"]);
    refused("loss.focal_gama=1.0", &["unknown key", "loss.focal_gamma"]);
    refused("augmentation.mixupp=1.0", &["unknown key", "augmentation.mixup"]);
    fails(&["loss.class_weights=[1.0, 2.0]"], &["2 weights", "10 classes"]);
    fails(&["augmentation.saturation=0.5"], &["augmentation.saturation", "three channels"]);
    fails(&["augmentation.hue=0.1"], &["augmentation.hue", "three channels"]);
    fails(&["network.net=resnet_8"], &["\"resnet_8\"", "network.net", "did you mean `resnet8`?"]);
    fails(&["fine_tuning.freeze=[\"conv_2d_9\"]"], &["conv_2d_9", "did you mean `conv_2d_1`"]);
    fails(
        &["fine_tuning.weights=/nowhere/w.safetensors"],
        &["fine_tuning.weights", "/nowhere/w.safetensors"],
    );
    fails(&["distillation.teacher=/nowhere"], &["distillation.teacher", "/nowhere", "directory of a run"]);
}

#[test]
fn a_constant_image_set_is_an_error() {
    let names = || (0..10).map(|class| class.to_string()).collect();
    let grey = |count: usize| {
        let labels = (0..count as u32).map(|index| index % 10).collect();
        Dataset::new("grey", vec![7; 784 * count], [28, 28, 1], labels, names()).unwrap()
    };
    fails_on(&Split::new(grey(100), grey(10)).unwrap(), &["training.batch=32"], &["grey", "channel 0"]);
}
