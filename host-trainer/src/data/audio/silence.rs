//! A class for what is nothing: silence, and the noise of rooms.

use std::ops::Range;

use crate::data::random::{Use, below, generator, symmetric, unit};

/// Its label. One that begins with an underscore is no event for a device that listens.
pub const SILENCE: &str = "_silence_";

/// So many clips of `length` samples: of each five, two are pieces of the recordings of background noise, if there are any; the others are noise, as it is or with its low frequencies only,
/// and one is all zeros. Noise has an amplitude of 1/8192 to 1/8 of full scale, each octave as likely as the others.
///
/// For testing and for training pieces come from different parts of the recordings, the last fifth and the rest, and the numbers are others.
pub(super) fn clips(count: usize, length: usize, background: &[Vec<i16>], is_test: bool) -> Vec<Vec<i16>> {
    (0..count as u32).map(|index| clip(index, length, background, is_test)).collect()
}

fn clip(index: u32, length: usize, background: &[Vec<i16>], is_test: bool) -> Vec<i16> {
    let random = &mut generator(u64::from(is_test), Use::Silence, 0, index);
    let recording = match background.len() {
        0 => None,
        count => background.get(below(random, count as u32) as usize),
    };
    let gain = libm::exp2f(unit(random) * 10.0 - 13.0);
    // A float to int cast saturates.
    let sample = |value: f32| libm::roundf(value * 32_768.0) as i16;
    match (index % 5, recording) {
        (0, _) => vec![0; length],
        (1 | 2, Some(recording)) => {
            let part = part(recording.len(), is_test);
            // From a place where all of a clip is there, if there is one.
            let places = part.len().saturating_sub(length) + 1;
            let place = part.start + below(random, places as u32) as usize;
            let loudness = unit(random) * 1.5;
            let piece = recording[place..part.end]
                .iter()
                .map(|&value| sample(f32::from(value) / 32_768.0 * loudness));
            piece.chain(std::iter::repeat(0)).take(length).collect()
        }
        (kind, _) => {
            // The share of the newest: 1 is white noise, little of it a rumble.
            let newest = if kind.is_multiple_of(2) { 1.0 } else { libm::exp2f(-6.0 * unit(random)) };
            let louder = 1.0 / libm::sqrtf(newest / (2.0 - newest));
            let mut smooth = 0.0;
            let mut next = || {
                smooth += newest * (symmetric(random, 1.0) - smooth);
                sample(smooth * louder * gain)
            };
            (0..length).map(|_| next()).collect()
        }
    }
}

/// The samples of a recording that are for testing, or for training.
fn part(length: usize, is_test: bool) -> Range<usize> {
    let edge = length - length / 5;
    if is_test { edge..length } else { 0..edge }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_quiet_differ_and_keep_training_and_test_apart() {
        // Recordings whose samples say where they are.
        let background: Vec<Vec<i16>> = vec![(0..10_000).collect(); 2];
        let [train, test] = [false, true].map(|is_test| clips(100, 500, &background, is_test));
        assert_eq!((train.len(), train[0].len()), (100, 500));
        assert!(train.iter().step_by(5).all(|clip| clip.iter().all(|&sample| sample == 0)));
        let distinct: std::collections::HashSet<_> = train.iter().chain(&test).collect();
        assert!(distinct.len() > 155, "{}", distinct.len());
        assert_eq!(train, clips(100, 500, &background, false), "the same at every call");
        // What is played as loud as it was recorded or quieter shows its place.
        let steep = |clips: &[Vec<i16>], index: usize| clips[index][499].saturating_sub(clips[index][0]);
        assert!((0..20).any(|n| steep(&train, 5 * n + 1) > 100));
        for (clips, range) in [(&train, 0..8_000_u32), (&test, 8_000..10_000)] {
            for clip in clips.iter().skip(1).step_by(5) {
                // A place is its sample by the gain, which the slope tells.
                let slope = f32::from(clip[499] - clip[0]) / 499.0;
                if slope > 0.3 {
                    let place = (f32::from(clip[0]) / slope) as u32;
                    assert!(range.start <= place + 40 && place < range.end + 40, "{place} of {range:?}");
                }
            }
        }
        let noise = clips(100, 500, &[], false);
        let loudest = noise.iter().flatten().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((500..32_767).contains(&loudest), "{loudest}");
        assert_eq!(clips(3, 500, &[vec![7; 3]], true)[1].len(), 500);
    }
}
