//! What a recipe can ask for, from the recipe to the trained weights, on a few of the bundled digits.

mod errors;
mod int8;
mod life;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use smidgen_trainer::data::{Split, digits};
use smidgen_trainer::pipeline::{PipelineError, Run, Trained, Training, train};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::train::{StepReport, Watch};

/// Two layers, 320 training samples, batches of 32: a run of a few epochs takes a moment.
fn recipe(sets: &[&str]) -> Recipe {
    let mut recipe = Recipe::built_in("digits").unwrap();
    let small = [
        "network.layers=conv_2d(6, 5).stride(3).batch_norm().relu().max_pool_2d(2).flatten().dropout(0.1).fully_connected(10)",
        "training.epochs=3",
        "training.batch=32",
        "data.validation_fraction=0.2",
        "schedule.learning_rate=0.01",
        "quantization.samples=32",
    ];
    for assignment in small.iter().chain(sets) {
        recipe.set(assignment).unwrap_or_else(|error| panic!("{assignment}: {error}"));
    }
    recipe
}

fn split() -> Split {
    let whole = digits().unwrap();
    let some = |count: u32| (0..count).map(|index| index * 7).collect::<Vec<_>>();
    let train = whole.train.select("some digits", &some(400)).unwrap();
    Split::new(train, whole.test.select("some test digits", &some(60)).unwrap()).unwrap()
}

fn run(recipe: &Recipe, split: &Split, threads: usize) -> Result<Trained, PipelineError> {
    run_at(recipe, split, threads, None, &mut ())
}

fn run_at(
    recipe: &Recipe,
    split: &Split,
    threads: usize,
    checkpoint: Option<&Path>,
    watch: &mut dyn Watch,
) -> Result<Trained, PipelineError> {
    let stop = AtomicBool::new(false);
    match train(&Run { recipe, split, threads, checkpoint, resume: false, stop: &stop }, watch)? {
        Training::Done(trained) => Ok(*trained),
        Training::Stopped(_) => panic!("nobody stopped it"),
    }
}

/// Trains with these settings, and holds that the loss comes down to `share` of what it began with.
#[track_caller]
fn learns(sets: &[&str], share: f64) -> Trained {
    let trained = run(&recipe(sets), &split(), 2).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
    let (first, history) = (trained.progress.first_loss, &trained.progress.history);
    let last = history.last().unwrap().train_loss;
    assert!(last < share * first, "{sets:?}: the loss went from {first} to {last}");
    trained
}

#[test]
fn every_optimizer_and_every_schedule_learns() {
    for sets in [
        &["optimizer.kind=sgd", "schedule.learning_rate=0.05"][..],
        &[
            "optimizer.kind=adam",
            "optimizer.clip_norm=1.0",
            "schedule.kind=one_cycle",
            "schedule.warm_up_epochs=1",
        ],
        &["optimizer.kind=rms_prop", "optimizer.momentum=0.0", "schedule.kind=exponential"],
        &["optimizer.kind=adagrad", "optimizer.l1_penalty=0.0001", "schedule.kind=step"],
        &["optimizer.kind=adadelta", "schedule.learning_rate=1.0", "schedule.kind=constant"],
        &["optimizer.kind=adam_w", "optimizer.clip_value=0.1", "schedule.kind=cosine"],
    ] {
        learns(sets, 0.7);
    }
}

#[test]
fn every_loss_learns() {
    for sets in [
        &["loss.kind=focal"][..],
        &["loss.balance_classes=true"],
        &["loss.class_weights=[1.0, 2.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]", "loss.kind=focal"],
        &["loss.kind=mean_squared_error"],
        &["loss.kind=huber", "loss.huber_delta=0.5"],
        &["loss.kind=binary_cross_entropy"],
        &["loss.kind=dice"],
    ] {
        let trained = learns(sets, 0.85);
        assert!(trained.test.correct > 0.0, "{sets:?} counts what is right");
    }
}

#[test]
fn samples_are_varied_mixed_and_balanced() {
    let all =
        ["flip_horizontal=0.1", "crop_padding=1", "brightness=0.2", "contrast=0.2", "cutout=3", "noise=0.02"];
    let all: Vec<String> = all.iter().map(|set| format!("augmentation.{set}")).collect();
    learns(&all.iter().map(String::as_str).collect::<Vec<_>>(), 0.9);
    learns(&["augmentation.mixup=0.2", "augmentation.cutmix=1.0"], 0.95);
    learns(&["data.sampling=balanced"], 0.7);
    learns(&["data.sampling=over_sample"], 0.7);
}

#[test]
fn nothing_depends_on_threads() {
    let sets = [
        "augmentation.mixup=0.2",
        "augmentation.crop_padding=2",
        "data.sampling=over_sample",
        "averaging.kind=stochastic",
        "optimizer.clip_norm=0.5",
    ];
    let (recipe, split) = (recipe(&sets), split());
    let hashes = [1, 3].map(|threads| run(&recipe, &split, threads).unwrap().weights_hash);
    assert_eq!(hashes[0], hashes[1]);
    let mut other = recipe.clone();
    other.set("training.seed=2").unwrap();
    assert_ne!(run(&other, &split, 1).unwrap().weights_hash, hashes[0]);
}

#[test]
fn dropout_is_drawn_anew_in_each_step_and_not_in_inference() {
    struct Losses(Vec<f64>);
    impl Watch for Losses {
        fn step(&mut self, report: &StepReport) {
            self.0.push(report.losses.mean_loss());
        }
    }
    // The same samples and weights in each epoch: a rate of nearly 0, no augmentation, one batch.
    let losses = |rate: &str| {
        let layers =
            format!("network.layers=flatten().fully_connected(8).dropout({rate}).fully_connected(10)");
        let mut recipe = recipe(&[
            &layers,
            "schedule.learning_rate=1e-12",
            "optimizer.kind=sgd",
            "schedule.kind=constant",
        ]);
        for set in
            ["augmentation.shift=0", "augmentation.rotate=0", "augmentation.scale=0", "training.batch=320"]
        {
            recipe.set(set).unwrap();
        }
        let mut losses = Losses(vec![]);
        let trained = run_at(&recipe, &split(), 2, None, &mut losses).unwrap();
        let held_out: Vec<f64> = trained.progress.history.iter().filter_map(|r| r.validation_loss).collect();
        (losses.0, held_out)
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
    let (without, held_out) = losses("0.0");
    assert!(near(without[0], without[1]) && near(without[1], without[2]), "{without:?}");
    let (with, held_out_with) = losses("0.5");
    assert!(!near(with[0], with[1]) && !near(with[1], with[2]), "{with:?}");
    assert!(near(held_out[0], held_out_with[0]), "inference drops nothing");
}
