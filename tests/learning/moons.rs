//! The example `two-moons`: a network learns from nothing on the device.

use smidgen::checksum::crc32c;
use smidgen::learn::Score;
use smidgen::{Metadata, Preprocessing};
use smidgen_protocol::moons::Moons;
use smidgen_trainer::compile::{LowerOptions, compile_inference, fuse_activation};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::graph::Network;

use crate::emulator;
use crate::models::{OPTIMIZERS, learning, options, with_learner};

/// As the example's.
const EPOCHS: usize = 20;
const POINTS: u32 = 200;

/// Three layers with random weights.
fn network(seed: u64) -> Vec<u8> {
    let network = Network::new("moons", [1, 1, 2]).fully_connected(12).relu().fully_connected(12).relu();
    let graph = fuse_activation(network.fully_connected(2).seed(seed).build().unwrap());
    let metadata = Metadata {
        name: "moons",
        labels: "",
        step_names: "",
        provenance: "",
        preprocessing: Preprocessing::None,
    };
    let model = compile_inference(&graph, &LowerOptions::default()).unwrap().to_file(&metadata).unwrap();
    learning(&model, &options("full", OPTIMIZERS[1], 1))
}

/// What the example writes for each epoch: loss, points that are right, hash of the weights.
fn here(file: &[u8]) -> Vec<(f32, u32, u32)> {
    let (mut points, mut others) = (Moons::new(1), Moons::new(2));
    with_learner(file, |learner| {
        let epoch = |_| {
            let mut sum = 0.0;
            for _ in 0..POINTS {
                let (point, class) = points.point();
                sum += learner.step(&point, class).unwrap().value;
            }
            let mut score = Score::default();
            for _ in 0..POINTS {
                let (point, class) = others.point();
                score.add(learner.evaluate(&point, class).unwrap());
            }
            (sum / POINTS as f32, score.correct, crc32c(learner.parameters()))
        };
        (0..EPOCHS).map(epoch).collect()
    })
}

#[test]
fn a_network_learns_two_moons_from_nothing() {
    for seed in 1..=3 {
        let curve = here(&network(seed));
        let (first, last) = (curve[0], curve[EPOCHS - 1]);
        println!("seed {seed}: loss {} to {}, {} of {POINTS} right", first.0, last.0, last.1);
        assert!(last.0 < first.0 / 4.0 && last.1 >= POINTS * 97 / 100, "seed {seed}: {curve:?}");
    }
}

#[test]
fn the_device_s_loss_curve_is_the_host_s() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let file = network(1);
    let outputs = Device::new(Target::CortexM4).example("two-moons", &file, &[]).unwrap();
    let there: Vec<(f32, u32, u32)> = outputs
        .chunks_exact(12)
        .map(|epoch| {
            let word = |at: usize| u32::from_le_bytes(epoch[at..at + 4].try_into().unwrap());
            (f32::from_bits(word(0)), word(4), word(8))
        })
        .collect();
    assert_eq!(there, here(&file));
}
