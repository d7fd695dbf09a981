//! The example `new-digits`: a network that was trained on the digits 0 to 7 learns 8 and 9 on the device, and does not forget the others.

use std::sync::atomic::AtomicBool;

use smidgen::checksum::crc32c;
use smidgen::learn::Replay;
use smidgen::{AllOperators, Learner};
use smidgen_trainer::compile::OnDevice;
use smidgen_trainer::data::{Dataset, Split, digits};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::Interface;
use smidgen_trainer::personalize::{Options, Part, Tier};
use smidgen_trainer::pipeline::{Run, Training, quantize_trained, train};
use smidgen_trainer::recipe::Recipe;

use crate::emulator;
use crate::models::{OPTIMIZERS, learning, try_learning, with_learner};

const PIXELS: usize = 28 * 28;
/// Old samples that the device has from the factory, new samples, and how often a kept one is learned with each new one.
const OLD: usize = 320;
const NEW: usize = 200;
const AGAIN: usize = 15;

/// Images and labels of one seed's run.
struct Samples {
    old: Vec<(Vec<i8>, u8)>,
    new: Vec<(Vec<i8>, u8)>,
    test: Vec<(Vec<i8>, u8)>,
}

/// Indices of images of these classes, so many of each, from a place that depends on the seed.
fn indices(data: &Dataset, classes: std::ops::Range<u32>, each: usize, seed: usize) -> Vec<usize> {
    let mut found: Vec<Vec<usize>> = classes
        .map(|class| {
            let all: Vec<usize> = (0..data.len()).filter(|&index| data.label(index) == class).collect();
            let from = seed * 131 % all.len();
            all.iter().cycle().skip(from).take(each.min(all.len())).copied().collect()
        })
        .collect();
    // One of each in turn.
    let mut mixed = Vec::new();
    while found.iter().any(|class| !class.is_empty()) {
        mixed.extend(found.iter_mut().filter_map(Vec::pop));
    }
    mixed
}

fn int8(interface: &Interface<'_>, data: &Dataset, indices: &[usize]) -> Vec<(Vec<i8>, u8)> {
    let sample = |&index: &usize| {
        let bytes = interface.inputs_from_bytes(data.image(index));
        (bytes.into_iter().map(u8::cast_signed).collect(), data.label(index) as u8)
    };
    indices.iter().map(sample).collect()
}

/// The network that knows 0 to 7, in int8.
fn base(split: &Split, seed: u64) -> Vec<u8> {
    let mut recipe = Recipe::load("digits").unwrap();
    for assignment in [
        "network.layers=conv_2d(16, 5).stride(2).batch_norm().relu().conv_2d(32, 3).batch_norm().relu().max_pool_2d(2)\
         .conv_2d(64, 3).batch_norm().relu().max_pool_2d(2).flatten().fully_connected(10)",
        "training.epochs=6",
        "data.leave_out=[\"8\", \"9\"]",
    ] {
        recipe.set(assignment).unwrap();
    }
    recipe.set(&format!("training.seed={seed}")).unwrap();
    let known = split.clone().leaving_out(&recipe.data.leave_out).unwrap();
    let stop = AtomicBool::new(false);
    let run =
        Run { recipe: &recipe, split: &known, threads: 2, checkpoint: None, resume: false, stop: &stop };
    let Training::Done(trained) = train(&run, &mut ()).unwrap() else { panic!("nobody stops it") };
    quantize_trained(&recipe, &known, &trained).unwrap().file
}

/// The model that learns, and what it learns from.
fn prepared(split: &Split, seed: u64) -> (Vec<u8>, Samples) {
    let device = OnDevice { learning_rate: 0.005, ..OnDevice::default() };
    let options = Options { tier: Tier::Head, optimizer: OPTIMIZERS[0], device, ..Options::default() };
    let (model, samples) = known(split, seed);
    (learning(&model, &options), samples)
}

/// The network that knows 0 to 7, and samples of a seed's run.
fn known(split: &Split, seed: u64) -> (Vec<u8>, Samples) {
    let model = base(split, seed);
    let interface = Interface::of_file(&model).unwrap();
    let all: Vec<usize> = (0..split.test.len()).collect();
    let samples = Samples {
        old: int8(&interface, &split.train, &indices(&split.train, 0..8, OLD / 8, seed as usize)),
        new: int8(&interface, &split.train, &indices(&split.train, 8..10, NEW / 2, seed as usize)),
        test: int8(&interface, &split.test, &all),
    };
    (model, samples)
}

/// Shares of the test's old and new digits that are right, in percent.
fn accuracy(learner: &mut Learner<'_, '_, AllOperators>, test: &[(Vec<i8>, u8)]) -> [f64; 2] {
    let (mut right, mut all) = ([0u32; 2], [0u32; 2]);
    for (image, label) in test {
        let group = usize::from(*label >= 8);
        all[group] += 1;
        right[group] += u32::from(learner.evaluate(image, (*label).into()).unwrap().is_correct);
    }
    [0, 1].map(|group| 100.0 * f64::from(right[group]) / f64::from(all[group]))
}

/// Does what the example does; with `again` 0, without what was kept.
fn learn(learner: &mut Learner<'_, '_, AllOperators>, samples: &Samples, again: usize) {
    let mut kept = Replay::<i8, PIXELS, 400, 10>::new(1);
    samples.old.iter().for_each(|(image, label)| assert!(kept.offer(image, *label)));
    for (image, label) in &samples.new {
        learner.step(image, (*label).into()).unwrap();
        kept.offer(image, *label);
        for _ in 0..again {
            let sample = kept.draw().unwrap();
            learner.step(&sample.input, sample.label.into()).unwrap();
        }
    }
    assert_eq!(learner.counts().skipped, 0);
}

#[test]
fn eight_and_nine_are_learned_and_the_rest_is_not_forgotten() {
    let split = digits().unwrap();
    for seed in 1..=3 {
        let (file, samples) = prepared(&split, seed);
        let [before, after, without] = with_learner(&file, |learner| {
            let before = accuracy(learner, &samples.test);
            learn(learner, &samples, AGAIN);
            let after = accuracy(learner, &samples.test);
            learner.factory_reset().unwrap();
            learn(learner, &samples, 0);
            [before, after, accuracy(learner, &samples.test)]
        });
        println!(
            "seed {seed}: 0 to 7 {:.2} % to {:.2} %, 8 and 9 {:.2} % to {:.2} %; without what was kept {:.2} % and {:.2} %",
            before[0], after[0], before[1], after[1], without[0], without[1]
        );
        assert!(before[1] < 1.0 && after[1] >= 90.0, "seed {seed}: {before:?} {after:?}");
        assert!(after[0] >= before[0] - 2.0, "seed {seed}: {before:?} {after:?}");
        // What the kept samples are for.
        assert!(without[0] < before[0] - 5.0, "seed {seed}: {before:?} {without:?}");
        if seed == 1 {
            the_device_does_the_same(&file, &samples);
        }
    }
}

fn the_device_does_the_same(file: &[u8], samples: &Samples) {
    if !emulator(Target::CortexM4) {
        return;
    }
    // Fewer samples of the test: weights with one hash give one answer.
    let (few, tested) = (30, 50);
    let mut inputs: Vec<u8> =
        [OLD, few, AGAIN].iter().flat_map(|&count| (count as u16).to_le_bytes()).collect();
    let all = samples.old.iter().chain(&samples.new[..few]).chain(&samples.test[..tested]);
    for (image, label) in all {
        inputs.extend(image.iter().map(|&pixel| pixel.cast_unsigned()));
        inputs.push(*label);
    }
    let there = Device::new(Target::CortexM4).example("new-digits", file, &inputs).unwrap();
    let part = Samples {
        old: samples.old.clone(),
        new: samples.new[..few].to_vec(),
        test: samples.test[..tested].to_vec(),
    };
    let here =
        with_learner(file, |learner| {
            learn(learner, &part, AGAIN);
            let mut outputs = crc32c(learner.parameters()).to_le_bytes().to_vec();
            outputs.extend(part.test.iter().map(|(image, label)| {
                u8::from(learner.evaluate(image, (*label).into()).unwrap().is_correct)
            }));
            outputs
        });
    assert_eq!(there, here);
}

/// What is learned by all weights of the last convolution, and by parts of them: figures for `docs/on-device-learning.md`.
#[test]
#[ignore = "figures, not a contract: a minute"]
fn parts_of_the_weights_learn_how_much() {
    let split = digits().unwrap();
    let (model, samples) = known(&split, 1);
    let parts = [
        Part::All,
        Part::Rank(32),
        Part::Rank(16),
        Part::Rank(8),
        Part::Rank(4),
        Part::OneIn(4),
        Part::OneIn(8),
    ];
    let tiers = ["head", "bias"].map(|tier| (tier, Part::All)).into_iter();
    for (tier, part) in tiers.chain(parts.map(|part| ("block:1", part))) {
        for learning_rate in [0.002, 0.005, 0.01] {
            let device = OnDevice { learning_rate, ..OnDevice::default() };
            let options = Options {
                tier: tier.parse().unwrap(),
                part,
                optimizer: OPTIMIZERS[0],
                device,
                ..Options::default()
            };
            let made = try_learning(&model, &options).unwrap();
            let after = with_learner(&made.file, |learner| {
                learn(learner, &samples, AGAIN);
                accuracy(learner, &samples.test)
            });
            println!(
                "{tier}, {part}, rate {learning_rate}: {} bytes, 0 to 7 {:.2} %, 8 and 9 {:.2} %",
                made.ram_bytes, after[0], after[1]
            );
        }
    }
}
