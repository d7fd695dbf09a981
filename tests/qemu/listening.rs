//! Sound on emulated microcontrollers: features, scores and events have the host's bits, and a stream gives what a recording gives.

use smidgen::Metadata;
use smidgen::frontend::{Audio, AudioConfig};
use smidgen::model::Preprocessing;
use smidgen_trainer::compile::quantize::{Options, post_training};
use smidgen_trainer::compile::{LowerOptions, compile_inference, fold_batch_norm, fuse_activation};
use smidgen_trainer::data::audio::features;
use smidgen_trainer::device::{Device, Target, WatchReport};
use smidgen_trainer::evaluate::Interface;
use smidgen_trainer::graph::Network;

use crate::emulator;

/// Frames that overlap by an odd number of samples, cepstra, pre-emphasis: everything.
pub(crate) const CONFIG: AudioConfig = AudioConfig {
    hop_samples: 101,
    pre_emphasis: 0.9,
    coefficients: 10,
    frames: 12,
    stride_frames: 5,
    ..AudioConfig::SPEECH_8_KHZ
};

/// Recording `seed`: a tone of its own that rises, with noise of its own loudness.
fn recording(seed: u32, length: usize) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut phase = 0_u32;
    let sample = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        phase = phase.wrapping_add((50_000_000 + seed * 7_000_000).wrapping_add(n as u32 * 40_000));
        // A triangle is tone enough, and the same everywhere.
        let triangle = (phase >> 15) as i32 - 65_536;
        let noise = i32::from((state >> 16) as i16) / (2 + (seed % 60) as i32);
        ((triangle.abs() - 32_768) / 2 + noise).clamp(-32_768, 32_767) as i16
    };
    (0..length).map(sample).collect()
}

/// A small network that listens.
pub(crate) fn model() -> Vec<u8> {
    let network = Network::new("listener", [12, 10, 1]).conv_2d(8, 3).stride(2).batch_norm().relu();
    int8(network.global_average_pool_2d().fully_connected(3), "a\nb\nc")
}

/// What all networks here listen through.
fn with_front_end<T>(use_it: impl FnOnce(Audio<'_>) -> T) -> T {
    let normalization: Vec<u8> =
        (0..10).flat_map(|channel| [-3.0 + channel as f32 / 3.0, 0.25]).flat_map(f32::to_le_bytes).collect();
    use_it(Audio { config: CONFIG, normalization: &normalization })
}

/// The network in int8, behind the front end.
fn int8(network: Network, labels: &str) -> Vec<u8> {
    let graph = fold_batch_norm(fuse_activation(network.build().unwrap()));
    with_front_end(|audio| {
        let clip = |seed| recording(seed, CONFIG.input_samples());
        let mut fill = |sample: usize, input: &mut [f32]| features(&audio, &clip(sample as u32), input);
        let graph = post_training(&graph, &Default::default(), Options::default(), 16, &mut fill).unwrap();
        let preprocessing = Preprocessing::Audio(audio);
        let metadata = Metadata { name: "listener", labels, step_names: "", provenance: "", preprocessing };
        compile_inference(&graph, &LowerOptions::default()).unwrap().to_file(&metadata).unwrap()
    })
}

pub(crate) fn bits(features: &[f32]) -> Vec<u32> {
    features.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn features_of_a_hundred_recordings_have_the_same_bits() {
    let model = model();
    for target in [Target::CortexM4, Target::CortexM3] {
        if !emulator(target) {
            return;
        }
        // One stream, so that one emulator does; a frame depends on its own samples only.
        let stream: Vec<i16> = (0..100).flat_map(|seed| recording(seed, 1_000)).collect();
        let here = Device::new(Target::Host).features(&model, &stream).unwrap();
        let there = Device::new(target).features(&model, &stream).unwrap();
        assert_eq!(here.features.len(), CONFIG.frames_in(stream.len()) * 10);
        assert_eq!(bits(&here.features), bits(&there.features), "{target}");
        assert_eq!(here.memory_bytes, there.memory_bytes);
        let frame = there.instructions.iter().max().unwrap();
        println!(
            "{target}: {} frames, {frame} instructions each at most, emulated",
            there.instructions.len()
        );
        // It sees one bit of one sample.
        let mut other = stream.clone();
        other[50_000] ^= 1;
        let other = Device::new(Target::Host).features(&model, &other).unwrap();
        assert_ne!(bits(&other.features), bits(&there.features));
    }
}

#[test]
fn an_application_hears_what_the_host_hears() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let model = model();
    let stream: Vec<i16> = (0..10).flat_map(|seed| recording(seed * 9, 2_000)).collect();
    let here = Device::new(Target::Host).listen(&model, &stream).unwrap();
    let there = Device::new(Target::CortexM4).listen(&model, &stream).unwrap();
    let blocks = stream.len() / 64 * 64;
    assert_eq!(here.heard.len(), (CONFIG.frames_in(blocks) - 12) / 5 + 1);
    assert_eq!(here.heard, there.heard);
    assert_eq!(here.memory_bytes, there.memory_bytes);
    assert!(here.heard.windows(2).any(|pair| pair[0].scores != pair[1].scores), "the scores differ at all");
    assert_eq!(there.instructions.len(), there.heard.len());
    let footprint = Device::new(Target::CortexM4).listening_footprint(&model).unwrap();
    assert!(footprint.static_bytes >= here.memory_bytes as usize, "{footprint:?}");
    assert!(footprint.flash_bytes > model.len(), "{footprint:?}");
}

#[test]
fn an_application_scores_anomalies_as_the_host_does() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let network = Network::new("watcher", [12, 10, 1]).flatten().fully_connected(8).relu();
    let model = int8(network.fully_connected(120), "");
    let stream: Vec<i16> = (0..4).flat_map(|seed| recording(seed * 9, 2_000)).collect();
    let here = Device::new(Target::Host).watch(&model, &stream).unwrap();
    let there = Device::new(Target::CortexM4).watch(&model, &stream).unwrap();
    let bits = |report: &WatchReport| -> Vec<(u32, u32)> {
        report.scores.iter().map(|&(at, score)| (at, score.to_bits())).collect()
    };
    assert_eq!(bits(&here), bits(&there));
    assert_eq!(here.memory_bytes, there.memory_bytes);
    assert_eq!(there.instructions.len(), there.scores.len());
    assert!(here.scores.len() > 5 && here.scores.windows(2).all(|pair| pair[0].1 != pair[1].1), "{here:?}");
    // The scores are those that the trainer measures its threshold with, of the recordings that end where an inference is due.
    let interface = Interface::of_file(&model).unwrap();
    for &(at, score) in &here.scores {
        let clip = &stream[at as usize - CONFIG.input_samples()..at as usize];
        let mut values = [0.0; 120];
        with_front_end(|audio| features(&audio, clip, &mut values));
        let inputs = values.map(|value| interface.input.quantization.quantize(value).cast_unsigned());
        let outputs = Device::new(Target::Host).run(&model, &inputs).unwrap().outputs;
        assert_eq!(interface.scores(&inputs, &outputs), [score], "after {at} samples");
    }
    // A network that gives something else has no such score.
    assert!(Device::new(Target::Host).watch(&self::model(), &stream).is_err());
}

#[test]
fn a_model_that_takes_no_sound_is_refused() {
    let model = crate::models::int8_net();
    assert!(Device::new(Target::Host).listen(&model, &[0; 64]).is_err());
    assert!(Device::new(Target::Host).features(&model, &[0; 64]).is_err());
}
