//! The hash of the weights after each of 200 steps is the host's, for every tier and optimizer, on an emulated Cortex-M4F and M7.

use smidgen_trainer::compile::{OnDevice, Optimizer, Packing};
use smidgen_trainer::device::{Device, Target, TrainedHashes};

use smidgen_trainer::personalize::{Options, Part};

use crate::emulator;
use crate::models::{ELEMENTS, OPTIMIZERS, int8_net, int8_net_with_mean, learning, options, samples};

const STEPS: usize = 200;
const TIERS: [&str; 6] =
    ["head", "bias", "bias:3", "block:1", "layers:conv_2d_1,depthwise_conv_2d_2", "full"];

/// What the runner reads for each step: the sample, its label, and the table of hyperparameters as the step before has left it, because the runner writes the inputs of both
/// entries.
fn rounds(optimizer: Optimizer, rate: f32, batch: u32) -> Vec<u8> {
    let (mut powers, mut bytes) = ([1.0f32; 2], Vec::new());
    for (index, sample) in samples(STEPS).chunks(ELEMENTS + 4).enumerate() {
        bytes.extend_from_slice(sample);
        // With one sample an update, `train` counts; with more, `update` does, behind what is written here.
        if let Optimizer::Adam { beta_1, beta_2, .. } = optimizer
            && (batch == 1 || index > 0)
        {
            powers[0] *= beta_1;
            powers[1] *= beta_2;
        }
        let table = [rate, powers[0], powers[1], batch as f32];
        bytes.extend(table.into_iter().flat_map(f32::to_le_bytes));
    }
    bytes
}

fn same(target: Target, model: &[u8], rounds: &[u8], what: &str) -> Vec<TrainedHashes> {
    let here = Device::new(Target::Host).traced(&[]).train(model, rounds).unwrap();
    let there = Device::new(target).traced(&[]).train(model, rounds).unwrap();
    assert_eq!(here.trained.len(), STEPS);
    let differs = here.trained.iter().zip(&there.trained).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{target}, {what}: the first step after which weights or moments differ");
    assert_eq!(here.outputs, there.outputs, "{target}, {what}: losses");
    let changes = here.trained.windows(2).filter(|pair| pair[0].parameters != pair[1].parameters).count();
    assert!(changes > STEPS * 9 / 10, "{what}: only {changes} steps changed something");
    here.trained
}

#[test]
fn two_hundred_steps_give_the_same_weights_for_every_tier_and_optimizer() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let model = int8_net();
    let mut finals = Vec::new();
    for tier in TIERS {
        for optimizer in OPTIMIZERS {
            let options = options(tier, optimizer, 1);
            let learner = learning(&model, &options);
            let rounds = rounds(optimizer, options.device.learning_rate, 1);
            let what = format!("{tier}, {optimizer:?}");
            let hashes = same(Target::CortexM4, &learner, &rounds, &what);
            assert_eq!(hashes, same(Target::CortexM7, &learner, &rounds, &what));
            finals.push(hashes[STEPS - 1].parameters);
        }
    }
    // Every tier and optimizer learns something else.
    finals.sort_unstable();
    finals.dedup();
    assert_eq!(finals.len(), TIERS.len() * OPTIMIZERS.len());
}

#[test]
fn gradients_of_several_samples_are_added_the_same_way() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let options = options("block:1", OPTIMIZERS[2], 4);
    let learner = learning(&int8_net(), &options);
    // The runner updates after each step, whatever the number of samples is.
    let rounds = rounds(OPTIMIZERS[2], options.device.learning_rate, 4);
    same(Target::CortexM4, &learner, &rounds, "four samples an update");
}

#[test]
fn a_part_of_the_weights_learns_the_same_way() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let all = options("block:2", OPTIMIZERS[0], 1);
    let rounds = rounds(OPTIMIZERS[0], all.device.learning_rate, 1);
    for part in [Part::OneIn(3), Part::Rank(2)] {
        let learner = learning(&int8_net(), &Options { part, ..all.clone() });
        same(Target::CortexM4, &learner, &rounds, &part.to_string());
    }
}

#[test]
fn a_network_with_a_mean_learns_the_same_way_in_bands_and_packed() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let model = int8_net_with_mean();
    let variants = [("head", 1), ("head", 2), ("bias", 1), ("block:1", 1)];
    for ((tier, bands), optimizer) in
        variants.into_iter().flat_map(|variant| OPTIMIZERS.map(|optimizer| (variant, optimizer)))
    {
        let plain = Options { bands: Some(bands), ..options(tier, optimizer, 1) };
        let rounds = rounds(optimizer, plain.device.learning_rate, 1);
        let device = OnDevice { packing: Packing::Dsp, ..plain.device };
        let packed = learning(&model, &Options { device, ..plain.clone() });
        let plain = learning(&model, &plain);
        assert_ne!(plain, packed);
        let what = format!("{tier}, {bands} bands, {optimizer:?}");
        let hashes = same(Target::CortexM4, &packed, &rounds, &what);
        assert_eq!(hashes, same(Target::CortexM7, &packed, &rounds, &what));
        let here = Device::new(Target::Host).traced(&[]).train(&plain, &rounds).unwrap();
        assert_eq!(hashes, here.trained, "{what}: as it is, and packed");
    }
}

#[test]
fn another_weight_gives_another_hash() {
    let model = int8_net();
    let options = options("head", OPTIMIZERS[0], 1);
    let learner = learning(&model, &options);
    let rounds = rounds(OPTIMIZERS[0], 0.01, 1);
    let one = Device::new(Target::Host).traced(&[]).train(&learner, &rounds).unwrap();
    let mut other = rounds.clone();
    // One more in one byte of the last sample.
    let last = other.len() - ELEMENTS;
    other[last] ^= 1;
    let other = Device::new(Target::Host).traced(&[]).train(&learner, &other).unwrap();
    assert_eq!(one.trained[..STEPS - 1], other.trained[..STEPS - 1]);
    assert_ne!(one.trained[STEPS - 1], other.trained[STEPS - 1]);
}

#[test]
fn the_image_that_learns_gives_the_host_s_losses_and_weights() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let learner = learning(&int8_net(), &options("block:1", OPTIMIZERS[2], 1));
    let samples = samples(40);
    let here = Device::new(Target::Host).learn(&learner, &samples, 0).unwrap();
    let there = Device::new(Target::CortexM4).learn(&learner, &samples, 0).unwrap();
    assert_eq!((&here.steps, here.memory_bytes), (&there.steps, there.memory_bytes));
    let (instructions, stack) = (there.instructions.unwrap(), there.stack_peak_bytes.unwrap());
    println!("a step takes {instructions} instructions, emulated, and {stack} bytes of stack");
    assert!(here.steps.iter().all(|step| step.outcome == 0));
}
