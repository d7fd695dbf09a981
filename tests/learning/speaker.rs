//! The example `new-speaker`: a network that was trained without a speaker gets to know them on the device, from 20 utterances.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use smidgen::checksum::crc32c;
use smidgen::learn::Replay;
use smidgen::{AllOperators, Learner};
use smidgen_tests::shared;
use smidgen_trainer::compile::OnDevice;
use smidgen_trainer::data::Dataset;
use smidgen_trainer::data::audio::{AudioOptions, load_audio_dir};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::Interface;
use smidgen_trainer::personalize::Options;
use smidgen_trainer::pipeline::{Run, Training, quantize_trained, train};
use smidgen_trainer::recipe::Recipe;

use crate::emulator;
use crate::models::{OPTIMIZERS, learning, with_learner};

/// Features of an utterance.
const FEATURES: usize = 49 * 32;
const UTTERANCES: usize = 20;
/// How often each of them is learned, about.
const EPOCHS: usize = 20;

/// Features, and what was said.
type Utterance = (Vec<i8>, u8);

/// The recordings, unpacked once.
fn recordings() -> Option<PathBuf> {
    let archive = shared("speaker", "data/fsdd.tar.xz")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fsdd");
    let done = folder.join("recordings");
    if !done.is_dir() {
        // Another process may do the same: the whole folder appears at once.
        let part = folder.with_extension(std::process::id().to_string());
        fs::create_dir_all(&part).unwrap();
        let status = Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(&part).status();
        assert!(status.expect("tar is installed").success(), "{}", archive.display());
        if fs::rename(&part, &folder).is_err() {
            fs::remove_dir_all(&part).unwrap();
        }
    }
    Some(done)
}

/// Folders with the recordings of this speaker, and of the others.
fn folders(recordings: &Path, speaker: &str) -> [PathBuf; 2] {
    let root = recordings.with_file_name(format!("{speaker}-{}", std::process::id()));
    let folders = ["of", "without"].map(|name| root.join(name));
    folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    for file in fs::read_dir(recordings).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = usize::from(name.split('_').nth(1) != Some(speaker));
        let link = folders[folder].join(name);
        if !link.exists() {
            symlink(&path, link).unwrap();
        }
    }
    folders
}

fn int8(interface: &Interface<'_>, data: &Dataset) -> Vec<Utterance> {
    let inputs = interface.inputs(data).unwrap();
    let samples = inputs.chunks_exact(FEATURES).zip(data.labels());
    samples.map(|(sample, &label)| (bytemuck::cast_slice(sample).to_vec(), label as u8)).collect()
}

/// What a seed's run needs: the model that learns, and what was said.
struct Prepared {
    file: Vec<u8>,
    /// To learn, with the clips.
    few: Vec<Utterance>,
    clips: Vec<Vec<u8>>,
    /// The rest of the speaker's, and test recordings of the others.
    rest: Vec<Utterance>,
    rest_clips: Vec<Vec<u8>>,
    others: Vec<Utterance>,
}

fn prepared(recordings: &Path, speaker: &str, seed: u64) -> Prepared {
    let mut recipe = Recipe::load("fsdd").unwrap();
    for assignment in ["training.epochs=12", "schedule.warm_up_epochs=1.0", "averaging.kind=none"] {
        recipe.set(assignment).unwrap();
    }
    recipe.set(&format!("training.seed={seed}")).unwrap();
    let [of, without] = folders(recordings, speaker);
    let known = load_audio_dir(&without, &recipe.audio_options()).unwrap();
    // Two of each digit are for learning.
    let own = load_audio_dir(&of, &AudioOptions { test_below: 2, ..recipe.audio_options() }).unwrap();
    fs::remove_dir_all(of.parent().unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    let run =
        Run { recipe: &recipe, split: &known, threads: 2, checkpoint: None, resume: false, stop: &stop };
    let Training::Done(trained) = train(&run, &mut ()).unwrap() else { panic!("nobody stops it") };
    let model = quantize_trained(&recipe, &known, &trained).unwrap().file;
    let interface = Interface::of_file(&model).unwrap();
    let clips = |data: &Dataset| (0..data.len()).map(|index| data.image(index).to_vec()).collect();
    let options = Options {
        tier: "full".parse().unwrap(),
        optimizer: OPTIMIZERS[0],
        device: OnDevice { learning_rate: 0.003, ..OnDevice::default() },
        ..Options::default()
    };
    Prepared {
        few: int8(&interface, &own.test),
        clips: clips(&own.test),
        rest: int8(&interface, &own.train),
        rest_clips: clips(&own.train),
        others: int8(&interface, &known.test),
        file: learning(&model, &options),
    }
}

/// Percent that are wrong.
fn error(learner: &mut Learner<'_, '_, AllOperators>, utterances: &[Utterance]) -> f64 {
    let is_wrong =
        |(input, label): &&Utterance| !learner.evaluate(input, (*label).into()).unwrap().is_correct;
    100.0 * utterances.iter().filter(is_wrong).count() as f64 / utterances.len() as f64
}

/// Does what the example does.
fn learn(learner: &mut Learner<'_, '_, AllOperators>, few: &[Utterance], epochs: usize) {
    let mut kept = Replay::<i8, FEATURES, UTTERANCES, 10>::new(1);
    few.iter().for_each(|(input, label)| assert!(kept.offer(input, *label)));
    for _ in 0..few.len() * epochs {
        let sample = kept.draw().unwrap();
        learner.step(&sample.input, sample.label.into()).unwrap();
    }
    assert_eq!(learner.counts().skipped, 0);
}

fn a_new_speaker_is_understood(speaker: &str, seed: u64) -> Option<Prepared> {
    let prepared = prepared(&recordings()?, speaker, seed);
    assert_eq!((prepared.few.len(), prepared.rest.len()), (UTTERANCES, 480));
    let [before, after, others_before, others_after] = with_learner(&prepared.file, |learner| {
        let before = [error(learner, &prepared.rest), error(learner, &prepared.others)];
        learn(learner, &prepared.few, EPOCHS);
        [before[0], error(learner, &prepared.rest), before[1], error(learner, &prepared.others)]
    });
    println!(
        "{speaker}, seed {seed}: {before:.2} % of 480 utterances wrong, after learning 20 others {after:.2} %; of the others' {others_before:.2} % and {others_after:.2} %"
    );
    assert!(before > 2.0 && after <= before * 0.6, "{speaker}, seed {seed}: {before} to {after}");
    Some(prepared)
}

#[test]
fn nicolas_is_understood_and_the_device_does_the_same() {
    let Some(prepared) = a_new_speaker_is_understood("nicolas", 1) else { return };
    if !emulator(Target::CortexM4) {
        return;
    }
    // Not as long, and a few of the test: weights with one hash give one answer.
    let (epochs, tested) = (2, 10);
    let mut inputs = vec![UTTERANCES as u8, epochs as u8];
    let few = prepared.clips.iter().zip(&prepared.few);
    for (clip, (_, label)) in few.chain(prepared.rest_clips.iter().zip(&prepared.rest).take(tested)) {
        inputs.extend_from_slice(clip);
        inputs.push(*label);
    }
    let there = Device::new(Target::CortexM4).example("new-speaker", &prepared.file, &inputs).unwrap();
    let here =
        with_learner(&prepared.file, |learner| {
            learn(learner, &prepared.few, epochs);
            let mut outputs = crc32c(learner.parameters()).to_le_bytes().to_vec();
            outputs.extend(prepared.rest[..tested].iter().map(|(input, label)| {
                u8::from(learner.evaluate(input, (*label).into()).unwrap().is_correct)
            }));
            outputs
        });
    assert_eq!(there, here);
}

#[test]
fn theo_is_understood() {
    a_new_speaker_is_understood("theo", 2);
}

#[test]
fn george_is_understood() {
    a_new_speaker_is_understood("george", 3);
}
