//! Checkpoints, averages, frozen layers, teachers, searches.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use smidgen_trainer::pipeline::doctor::{examine, search_rate};
use smidgen_trainer::pipeline::sweep::{rank, score};
use smidgen_trainer::pipeline::{Run, Trained, Training, measure_ensemble, quantize_trained, train};
use smidgen_trainer::train::{Ending, RateSearch, StepReport, Watch};

use crate::{learns, recipe, run, run_at, split};

/// Stops a run after so many steps in all.
struct StopAfter<'a> {
    left: u32,
    stop: &'a AtomicBool,
}

impl Watch for StopAfter<'_> {
    fn step(&mut self, _: &StepReport) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_was_not_stopped() {
    for kind in ["exponential", "stochastic", "none"] {
        let averaging = format!("averaging.kind={kind}");
        let sets = [
            averaging.as_str(),
            "optimizer.kind=rms_prop",
            "data.sampling=balanced",
            "training.best_checkpoints=2",
        ];
        let (recipe, split) = (recipe(&sets), split());
        let whole = run(&recipe, &split, 2).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = directory.path().join("checkpoint.safetensors");
        let stop = AtomicBool::new(false);
        let mut parts = 0;
        let resumed: Trained = loop {
            stop.store(false, Ordering::Relaxed);
            let resume = parts > 0;
            let run = Run {
                recipe: &recipe,
                split: &split,
                threads: 1,
                checkpoint: Some(&checkpoint),
                resume,
                stop: &stop,
            };
            parts += 1;
            match train(&run, &mut StopAfter { left: 7, stop: &stop }).unwrap() {
                Training::Done(trained) => break *trained,
                Training::Stopped(_) => assert!(parts < 20),
            }
        };
        assert!(parts > 3, "{kind}: it was stopped");
        assert_eq!(resumed.weights_hash, whole.weights_hash, "{kind}");
        let kept = fs::read_dir(directory.path().join("best")).unwrap().count();
        assert_eq!(kept, 2, "{kind}: the two best epochs");
    }
}

#[test]
fn averages_are_other_weights_that_classify_as_well() {
    let plain = learns(&["training.epochs=6"], 0.6);
    for kind in ["exponential", "stochastic"] {
        let kind = format!("averaging.kind={kind}");
        let averaged = learns(&["training.epochs=6", &kind, "averaging.decay=0.9"], 0.6);
        assert_ne!(averaged.weights_hash, plain.weights_hash);
        assert!(
            averaged.test.accuracy() > plain.test.accuracy() - 0.15,
            "{kind}: {:?} {:?}",
            averaged.test,
            plain.test
        );
        // The training itself is the same.
        let losses =
            |trained: &Trained| trained.progress.history.iter().map(|r| r.train_loss).collect::<Vec<_>>();
        assert_eq!(losses(&averaged), losses(&plain));
    }
}

#[test]
fn frozen_layers_keep_the_bits_that_fine_tuning_begins_with() {
    let split = split();
    let first = run(&recipe(&[]), &split, 2).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let weights = directory.path().join("weights.safetensors");
    fs::write(&weights, first.to_safetensors().unwrap()).unwrap();
    let from = format!("fine_tuning.weights={}", weights.display());
    let freeze = "fine_tuning.freeze=[\"conv_2d_*\", \"batch_norm_1\"]";
    let second = run(&recipe(&[&from, freeze, "training.seed=9"]), &split, 2).unwrap();
    let value = |trained: &Trained, name: &str| {
        let id = trained.graph.find(name).unwrap_or_else(|| panic!("{name}"));
        trained.graph.tensor(id).value.clone().unwrap()
    };
    for name in ["conv_2d_1/weights", "batch_norm_1/parameters", "batch_norm_1/running"] {
        assert_eq!(value(&first, name), value(&second, name), "{name}");
    }
    assert_ne!(value(&first, "fully_connected_1/weights"), value(&second, "fully_connected_1/weights"));
    assert!(second.progress.first_loss < 0.7 * first.progress.first_loss, "it began with what was learned");
}

#[test]
fn a_teacher_is_learned_from_and_models_without_dropout_come_out() {
    let split = split();
    let directory = tempfile::tempdir().unwrap();
    let teacher = recipe(&["training.epochs=6"]);
    let trained = run(&teacher, &split, 2).unwrap();
    fs::write(directory.path().join("recipe.toml"), teacher.to_toml()).unwrap();
    fs::write(directory.path().join("weights.safetensors"), trained.to_safetensors().unwrap()).unwrap();
    let from = format!("distillation.teacher={}", directory.path().display());
    let sets = [from.as_str(), "distillation.share=0.9", "training.seed=5", "augmentation.mixup=0.2"];
    let student = learns(&sets, 0.9);
    let quantized = quantize_trained(&recipe(&sets), &split, &student).unwrap();
    assert!(quantized.graph.nodes.iter().all(|node| node.op.name() != "dropout"));
}

#[test]
fn snapshots_at_the_ends_of_cycles_are_asked_together() {
    let sets =
        ["training.epochs=6", "schedule.cycles=3", "training.snapshots=2", "schedule.warm_up_epochs=0"];
    let (recipe, split) = (recipe(&sets), split());
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint.safetensors");
    let trained = run_at(&recipe, &split, 2, Some(&checkpoint), &mut ()).unwrap();
    assert_eq!(trained.progress.snapshots, [4, 6]);
    let [first, last] = trained.ensemble.as_slice() else { panic!("two networks") };
    assert_ne!(first, last);
    let together = measure_ensemble(&trained, &split.test, 3).unwrap().unwrap();
    assert_eq!(
        (together, together.samples),
        (measure_ensemble(&trained, &split.test, 1).unwrap().unwrap(), 60)
    );
    // Two of the same network say what it says: the last snapshot is the last epoch's.
    let same = Trained { ensemble: vec![last.clone(), last.clone()], ..trained.clone() };
    let alone = Trained { ensemble: vec![last.clone()], ..trained.clone() };
    let [same, alone] = [same, alone].map(|it| measure_ensemble(&it, &split.test, 2).unwrap().unwrap());
    assert!((same.loss - alone.loss).abs() < 1e-9 && same.correct == alone.correct);
    assert_ne!(together.loss, alone.loss);
    // Resumed behind the end, it has the same networks.
    let stop = AtomicBool::new(false);
    let resume = Run {
        recipe: &recipe,
        split: &split,
        threads: 1,
        checkpoint: Some(&checkpoint),
        resume: true,
        stop: &stop,
    };
    let Training::Done(resumed) = train(&resume, &mut ()).unwrap() else { panic!("nobody stopped it") };
    assert_eq!(resumed.ensemble, trained.ensemble);
    // And it can teach.
    let members = directory.path().join("ensemble");
    fs::create_dir(&members).unwrap();
    for (index, weights) in trained.ensemble_to_safetensors().unwrap().iter().enumerate() {
        fs::write(members.join(format!("member-{}.safetensors", index + 1)), weights).unwrap();
    }
    fs::write(directory.path().join("recipe.toml"), recipe.to_toml()).unwrap();
    let from = format!("distillation.teacher={}", directory.path().display());
    learns(&[&from, "distillation.share=0.9", "training.seed=5"], 0.9);
}

#[test]
fn the_best_epochs_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = directory.path().join("checkpoint.safetensors");
    let recipe = recipe(&["training.best_checkpoints=1", "training.epochs=4"]);
    let trained = run_at(&recipe, &split(), 1, Some(&checkpoint), &mut ()).unwrap();
    let names: Vec<String> = fs::read_dir(directory.path().join("best"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, [format!("epoch-{:04}.safetensors", trained.progress.best_epoch)]);
}

#[test]
fn training_stops_when_nothing_is_gained_any_more() {
    let split = split();
    let trained = run(&recipe(&["training.early_stopping=1", "training.epochs=40"]), &split, 2).unwrap();
    assert_eq!(trained.ending, Ending::Early);
    let progress = &trained.progress;
    assert!(progress.epoch < 40 && progress.best_epoch == progress.epoch - 1, "{progress:?}");
    assert_eq!(run(&recipe(&[]), &split, 2).unwrap().ending, Ending::Complete);
}

#[test]
fn the_doctor_tells_good_from_bad() {
    let split = split();
    let good = examine(&recipe(&[]), &split, 2).unwrap();
    assert!(good.iter().all(|finding| finding.good), "{good:?}");
    let bad = |sets: &[&str], check: &str| {
        let findings = examine(&recipe(sets), &split, 2).unwrap();
        let bad: Vec<&str> = findings.iter().filter(|f| !f.good).map(|f| f.check).collect();
        assert_eq!(bad, [check], "{findings:?}");
    };
    bad(&["schedule.learning_rate=1e-9"], "one batch by heart");
    bad(&["schedule.warm_up_epochs=3"], "schedule");
}

#[test]
fn a_learning_rate_is_found_between_too_small_and_too_large() {
    let (recipe, split) = (recipe(&["optimizer.kind=sgd"]), split());
    let search = RateSearch { first: 1e-6, last: 100.0, steps: 60 };
    let (trials, rate) = search_rate(&recipe, &split, search, 2).unwrap();
    assert!(trials.len() > 30 && (1e-5..1.0).contains(&rate), "{rate} {trials:?}");
}

#[test]
fn points_are_scored_over_folds_and_ranked() {
    let (recipe, split) = (recipe(&["training.epochs=2"]), split());
    let stop = AtomicBool::new(false);
    let score =
        |set: &str, folds| score(&recipe, &vec![set.to_owned()], folds, &split, 2, &stop).unwrap().unwrap();
    let mut scores = vec![
        score("schedule.learning_rate=1e-7", 1),
        score("schedule.learning_rate=0.01", 3),
        score("training.batch=512", 1),
    ];
    assert_eq!((scores[1].folds.len(), scores[0].folds.len()), (3, 1));
    assert!(scores[1].deviation > 0.0 && scores[0].deviation == 0.0);
    rank(&mut scores);
    assert_eq!(scores[0].point, ["schedule.learning_rate=0.01"]);
}
