//! Real recordings on emulated microcontrollers: a hundred spoken digits, of six speakers.

use std::path::Path;
use std::process::Command;

use smidgen::frontend::{Audio, FrontEnd};
use smidgen::{Aligned, Model, Preprocessing};
use smidgen_tests::shared;
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::data::audio::read_wav;
use smidgen_trainer::device::{Device, Target};

use crate::emulator;
use crate::listening::{CONFIG, bits, model};

const SPEAKERS: [&str; 6] = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"];

/// A hundred recordings of the Free Spoken Digit Dataset, the first of each digit and speaker and some second ones.
pub(crate) fn recordings(test: &str) -> Option<Vec<Vec<i16>>> {
    let archive = shared(test, "data/fsdd.tar.xz")?;
    let names: Vec<String> = (0..2)
        .flat_map(|index| SPEAKERS.map(|speaker| (index, speaker)))
        .flat_map(|(index, speaker)| (0..10).map(move |digit| format!("{digit}_{speaker}_{index}.wav")))
        .take(100)
        .collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).unwrap();
    let members = names.iter().map(|name| format!("recordings/{name}"));
    let tar = Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(&folder).args(members).output();
    let tar = tar.unwrap();
    assert!(tar.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&tar.stderr));
    let read = |name: &String| {
        let recording = read_wav(&folder.join("recordings").join(name)).unwrap();
        assert_eq!(recording.rate, CONFIG.sample_rate);
        recording.samples.iter().map(|sample| (sample * 32_768.0) as i16).collect()
    };
    Some(names.iter().map(read).collect())
}

/// The features of a recording frame by frame, without a stream.
fn batch(audio: &Audio<'_>, samples: &[i16]) -> Vec<f32> {
    let mut memory = Aligned([0; 16_384]);
    let mut front_end = FrontEnd::new(audio, &mut memory.0).unwrap();
    let frames = samples.windows(CONFIG.window_samples as usize).step_by(CONFIG.hop_samples as usize);
    frames.flat_map(|frame| front_end.frame(frame).to_vec()).collect()
}

#[test]
fn a_stream_on_the_device_has_the_bits_of_a_hundred_recordings() {
    let Some(recordings) = recordings("features_of_recordings") else { return };
    assert_eq!(recordings.len(), 100);
    if !emulator(Target::CortexM4) {
        return;
    }
    let file = AlignedBytes::copy_of(&model());
    let view: Model<'_> = Model::from_bytes(file.as_slice()).unwrap();
    let Preprocessing::Audio(audio) = view.metadata().preprocessing else { panic!("it takes sound") };
    // One after the other, so that one emulator does; a frame depends on its own samples only.
    let stream = recordings.concat();
    let expected = batch(&audio, &stream);
    let found = Device::new(Target::CortexM4).features(file.as_slice(), &stream).unwrap();
    assert_eq!(expected.len(), CONFIG.frames_in(stream.len()) * CONFIG.channels());
    assert_eq!(bits(&expected), bits(&found.features));
    let mut quieter = stream;
    quieter.iter_mut().for_each(|sample| *sample -= *sample / 64);
    assert_ne!(bits(&batch(&audio, &quieter)), bits(&found.features), "features depend on the samples");
}

#[test]
fn a_board_with_128_kb_of_ram_hears_what_the_host_hears() {
    let Some(recordings) = recordings("heard_on_a_small_board") else { return };
    if !emulator(Target::NetduinoPlus2) {
        return;
    }
    let model = model();
    let stream = recordings[..20].concat();
    let here = Device::new(Target::Host).listen(&model, &stream).unwrap();
    let there = Device::new(Target::NetduinoPlus2).listen(&model, &stream).unwrap();
    assert!(here.heard.len() > 100, "{}", here.heard.len());
    assert_eq!(here.heard, there.heard);
    let footprint = Device::new(Target::NetduinoPlus2).listening_footprint(&model).unwrap();
    let ram = footprint.static_bytes + there.stack_peak_bytes as usize;
    assert!(ram < 128 * 1024 && footprint.flash_bytes < 1024 * 1024, "{footprint:?}, {ram} bytes of RAM");
}
