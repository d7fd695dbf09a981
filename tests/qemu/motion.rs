//! Gestures of an accelerometer: recordings, a network that is trained on them, and an emulated microcontroller that tells them apart with the host's bits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use smidgen::Preprocessing;
use smidgen::frontend::AudioConfig;
use smidgen_trainer::data::audio::{clip_of_bytes, features, load_series_dir, samples_of_series};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::pipeline::{Run, Training, quantize_trained, train};
use smidgen_trainer::recipe::Recipe;

use crate::emulator;
use crate::listening::bits;

#[path = "../../host-trainer/examples/gestures.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is an example, too")]
mod gestures;

/// The recordings of the example, in a folder of this test.
fn recordings(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::remove_dir_all(&folder).ok();
    gestures::write(&folder, 8, 3).unwrap();
    folder
}

#[test]
fn gestures_are_learned_and_told_apart_on_a_device() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let folder = recordings("gestures");
    let recipe = Recipe::load("gestures").unwrap();
    let split = load_series_dir(&folder, &recipe.audio_options(), recipe.data.full_scale).unwrap();
    let stop = AtomicBool::new(false);
    let run =
        Run { recipe: &recipe, split: &split, threads: 2, checkpoint: None, resume: false, stop: &stop };
    let Training::Done(trained) = train(&run, &mut ()).unwrap() else { panic!("nobody stops it") };
    let quantized = quantize_trained(&recipe, &split, &trained).unwrap();
    let model = smidgen::Model::<smidgen::AllOperators>::from_bytes(&quantized.file).unwrap();
    let Preprocessing::Audio(audio) = model.metadata().preprocessing else { panic!("a front end") };
    let AudioConfig { axes, frames, .. } = audio.config;
    assert_eq!((axes, frames, split.test.class_names()[0].as_str()), (3, 4, "_rest_"));
    let mut right = 0;
    let mut heard_at_rest = 0;
    let files: Vec<(usize, PathBuf)> = (0..4)
        .flat_map(|class| {
            let name = &split.test.class_names()[class];
            let folder = folder.join("test").join(name);
            (8..11).map(move |index| (class, folder.join(format!("{index}.csv"))))
        })
        .collect();
    for (class, file) in &files {
        let samples = samples_of_series(file, &audio.config, 4.0).unwrap();
        let device = |target| Device::new(target).listen(&quantized.file, &samples).unwrap();
        let (here, there) = (device(Target::Host), device(Target::CortexM4));
        assert_eq!(here.heard, there.heard, "{}", file.display());
        assert_eq!(here.memory_bytes, there.memory_bytes);
        let events: Vec<u8> = there.heard.iter().filter_map(|heard| heard.class).collect();
        right += usize::from(!events.is_empty() && events.iter().all(|&event| usize::from(event) == *class));
        heard_at_rest += if *class == 0 { events.len() } else { 0 };
    }
    assert!(right >= 8, "{right} of the 9 gestures are heard, and nothing else with them");
    assert_eq!(heard_at_rest, 0, "a class with an underscore is no event");
    // Features: of the stream on the device, and of the clips that were trained on.
    let stream = samples_of_series(&files[4].1, &audio.config, 4.0).unwrap();
    let there = Device::new(Target::CortexM3).features(&quantized.file, &stream).unwrap().features;
    let here = Device::new(Target::Host).features(&quantized.file, &stream).unwrap().features;
    assert_eq!(bits(&there), bits(&here));
    let length = audio.config.frames as usize * audio.config.channels();
    let of_test = (0..split.test.len()).filter(|&sample| {
        let clip: Vec<i16> = clip_of_bytes(split.test.image(sample)).collect();
        let Some(start) =
            stream.windows(clip.len()).step_by(audio.config.step_samples()).position(|part| part == clip)
        else {
            return false;
        };
        let mut batch = vec![0.0; length];
        features(&audio, &clip, &mut batch);
        let first = start * audio.config.channels();
        assert_eq!(bits(&batch), bits(&there[first..][..length]), "a stream gives what a recording gives");
        true
    });
    assert_eq!(of_test.count(), audio.config.frames_in(stream.len()) - 3);
}
