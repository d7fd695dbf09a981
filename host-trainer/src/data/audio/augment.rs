//! Random variation of clips and of their features.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use smidgen::frontend::{Audio, AudioConfig};

use super::features::{clip_of_bytes, features, frames_of};
use crate::data::DataError;
use crate::data::random::{Use, below, generator, symmetric, unit};

/// How the clips that are trained on vary. All that is 0 changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioAugmentation {
    /// Shift in time: up to so many milliseconds to either side. What comes in is silence.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub shift_ms: f32,
    /// Speed, and with it pitch: a factor up to so much from 1, below 0.9.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub speed: f32,
    /// Loudness: up to so many decibels to either side.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub gain_db: f32,
    /// Noise: an amplitude up to this, where 1 is full scale; small ones are likelier.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub noise: f32,
    /// Background noise: a piece of a recording, from a random place, with up to this part of its loudness.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub background: f32,
    /// Masks over time (Park et al.: *SpecAugment*, Interspeech 2019): how many.
    pub time_masks: u32,
    /// The most frames that a mask over time covers.
    pub time_mask_frames: u32,
    /// Masks over channels: how many.
    pub channel_masks: u32,
    /// The most channels that a mask covers.
    pub mask_channels: u32,
}

impl AudioAugmentation {
    /// Whether it varies nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DataError::Setting`] names what is out of its range.
    pub fn check(&self) -> Result<(), DataError> {
        let check = |name, found: f32, most: f32, expected| {
            if (0.0..=most).contains(&found) {
                Ok(())
            } else {
                Err(DataError::Setting { name, found, expected })
            }
        };
        check("audio_augmentation.shift_ms", self.shift_ms, 60_000.0, "milliseconds from 0 to 60000")?;
        check("audio_augmentation.speed", self.speed, 0.9, "a fraction from 0 to 0.9")?;
        check("audio_augmentation.gain_db", self.gain_db, 100.0, "decibels from 0 to 100")?;
        check("audio_augmentation.noise", self.noise, 1.0, "an amplitude from 0 to 1")?;
        check("audio_augmentation.background", self.background, 1.0, "a part from 0 to 1")?;
        check("audio_augmentation.time_masks", self.time_masks as f32, 100.0, "0 to 100")?;
        check("audio_augmentation.channel_masks", self.channel_masks as f32, 100.0, "0 to 100")
    }
}

/// Applies an [`AudioAugmentation`], and computes the features of what comes out.
///
/// What happens to a sample is a function of `(seed, epoch, sample)`, in f32 and by `libm`: the same on every machine and on any number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioAugmenter {
    settings: AudioAugmentation,
    config: AudioConfig,
    normalization: Vec<u8>,
    background: Vec<Vec<i16>>,
}

thread_local! {
    static CLIP: RefCell<(Vec<f32>, Vec<i16>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl AudioAugmenter {
    /// An augmenter for clips whose features are normalized with this, with recordings of background noise.
    ///
    /// # Errors
    /// [`DataError::Setting`], also if there is to be background noise and no recording has any.
    pub fn new(
        settings: AudioAugmentation,
        audio: &Audio<'_>,
        background: &[Vec<i16>],
    ) -> Result<Self, DataError> {
        settings.check()?;
        let background: Vec<_> = background.iter().filter(|noise| !noise.is_empty()).cloned().collect();
        if settings.background > 0.0 && background.is_empty() {
            let expected = "0 without data.background, the folder of the noise";
            return Err(DataError::Setting {
                name: "audio_augmentation.background",
                found: settings.background,
                expected,
            });
        }
        let normalization = audio.normalization.to_vec();
        Ok(Self { settings, config: audio.config, normalization, background })
    }

    /// The shape of what comes out, `[frames, channels, 1]`.
    pub fn shape(&self) -> [usize; 3] {
        frames_of(&self.config)
    }

    /// Varies a clip and writes its features, normalized.
    ///
    /// # Panics
    /// If `output` has not the length of the shape.
    pub fn apply(&self, clip: &[u8], seed: u64, epoch: u32, sample: u32, output: &mut [f32]) {
        let AudioAugmentation { shift_ms, speed, gain_db, noise, .. } = self.settings;
        let mut random = generator(seed, Use::Sound, epoch, sample);
        // All are drawn, needed or not: to change one setting does not change what the others do.
        let shift = symmetric(&mut random, shift_ms) * self.config.sample_rate as f32 / 1_000.0;
        let factor = 1.0 + symmetric(&mut random, speed);
        let gain = libm::powf(10.0, symmetric(&mut random, gain_db) / 20.0);
        let level = unit(&mut random);
        // Squared, so that half of all clips have less than a quarter of the noise.
        let amplitude = noise * level * level * 32_768.0;
        let (noise, loudness) = self.draw_background(&mut generator(seed, Use::Background, epoch, sample));
        let mut noise = noise.map(|noise| loudness * f32::from(noise));
        let audio = Audio { config: self.config, normalization: &self.normalization };
        CLIP.with_borrow_mut(|(source, varied)| {
            source.clear();
            source.extend(clip_of_bytes(clip).map(f32::from));
            varied.clear();
            let axes = self.config.axes as usize;
            let centre = (source.len() / axes) as f32 / 2.0;
            for n in 0..source.len() {
                let at = centre + ((n / axes) as f32 - centre - shift) * factor;
                let mut value = gain * interpolate(&source[n % axes..], axes, at);
                if amplitude > 0.0 {
                    // The sum of two uniform numbers: a triangle, near enough to a bell.
                    value += symmetric(&mut random, amplitude) + symmetric(&mut random, amplitude);
                }
                value += noise.next().unwrap_or(0.0);
                // A float to int cast saturates.
                varied.push(libm::roundf(value) as i16);
            }
            features(&audio, varied, output);
        });
        let mut random = generator(seed, Use::Mask, epoch, sample);
        let [frames, channels, _] = self.shape();
        for _ in 0..self.settings.time_masks {
            let (start, length) = draw_mask(&mut random, frames, self.settings.time_mask_frames);
            output[start * channels..(start + length) * channels].fill(0.0);
        }
        for _ in 0..self.settings.channel_masks {
            let (start, length) = draw_mask(&mut random, channels, self.settings.mask_channels);
            for row in output.chunks_exact_mut(channels) {
                row[start..start + length].fill(0.0);
            }
        }
    }
}

impl AudioAugmenter {
    /// A recording of background noise from a random place on, over and over, and its loudness; nothing if there is to be none.
    fn draw_background<'a>(
        &'a self,
        random: &mut rand_xoshiro::Xoshiro256PlusPlus,
    ) -> (impl Iterator<Item = i16> + use<'a>, f32) {
        let noise: &[i16] = match self.background.len() {
            0 => &[],
            _ if self.settings.background == 0.0 => &[],
            count => &self.background[below(random, count as u32) as usize],
        };
        let (start, loudness) = match noise.len() {
            0 => (0, 0.0),
            length => (below(random, length as u32) as usize, unit(random) * self.settings.background),
        };
        (noise[start..].iter().chain(noise.iter().cycle()).copied(), loudness)
    }
}

/// Where a mask begins and how long it is: up to `longest`, within `extent`.
fn draw_mask(random: &mut rand_xoshiro::Xoshiro256PlusPlus, extent: usize, longest: u32) -> (usize, usize) {
    let length = below(random, longest.min(extent as u32) + 1);
    (below(random, extent as u32 - length + 1) as usize, length as usize)
}

/// Between every `axes`th of the samples, by the cubic through four of them (Catmull and Rom); 0 outside.
fn interpolate(samples: &[f32], axes: usize, at: f32) -> f32 {
    let floor = libm::floorf(at);
    let t = at - floor;
    let first = floor as i64 - 1;
    let sample = |offset: i64| {
        usize::try_from(first + offset).ok().and_then(|n| samples.get(n * axes)).copied().unwrap_or(0.0)
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(sample);
    let (cubic, square) = ((d - a) + 3.0 * (b - c), 2.0 * a - 5.0 * b + 4.0 * c - d);
    b + 0.5 * t * ((c - a) + t * (square + t * cubic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::audio::bytes_of_clip;

    const CONFIG: AudioConfig = AudioConfig { frames: 20, ..AudioConfig::SPEECH_8_KHZ };
    const AUDIO: Audio<'_> = Audio { config: CONFIG, normalization: &[] };

    /// A click in the middle of noise that is hardly there.
    fn clip() -> Vec<u8> {
        let length = CONFIG.input_samples();
        let sample = |n: usize| if n == length / 2 { 20_000 } else { (n * 7_919 % 5) as i16 };
        bytes_of_clip(&(0..length).map(sample).collect::<Vec<_>>())
    }

    fn varied(settings: AudioAugmentation, sample: u32) -> Vec<f32> {
        let mut output = vec![f32::NAN; 20 * 24];
        AudioAugmenter::new(settings, &AUDIO, &[]).unwrap().apply(&clip(), 1, 2, sample, &mut output);
        output
    }

    fn plain() -> Vec<f32> {
        let mut output = vec![f32::NAN; 20 * 24];
        let clip: Vec<i16> = clip_of_bytes(&clip()).collect();
        features(&AUDIO, &clip, &mut output);
        output
    }

    /// The frame with the most of the click.
    fn loudest(features: &[f32]) -> usize {
        let sums: Vec<f32> = features.chunks(24).map(|row| row.iter().sum()).collect();
        (0..sums.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).unwrap()
    }

    #[test]
    fn nothing_changes_nothing_and_everything_depends_on_the_sample_only() {
        assert_eq!(varied(AudioAugmentation::default(), 3), plain());
        let all = AudioAugmentation {
            shift_ms: 90.0,
            speed: 0.1,
            gain_db: 6.0,
            noise: 0.1,
            ..AudioAugmentation::default()
        };
        assert_eq!(varied(all, 3), varied(all, 3));
        assert_ne!(varied(all, 3), varied(all, 4));
    }

    #[test]
    fn a_shift_moves_the_click_within_its_bounds() {
        let settings = AudioAugmentation { shift_ms: 64.0, ..AudioAugmentation::default() };
        let places: Vec<usize> = (0..60).map(|sample| loudest(&varied(settings, sample))).collect();
        let middle = loudest(&plain());
        // Four hops of 16 ms.
        assert!(places.iter().all(|&place| place.abs_diff(middle) <= 4 + 1), "{places:?}");
        let (least, most) = (places.iter().min().unwrap(), places.iter().max().unwrap());
        assert!(most - least >= 6, "{places:?}");
    }

    #[test]
    fn gain_moves_all_energies_alike() {
        let settings = AudioAugmentation { gain_db: 20.0, ..AudioAugmentation::default() };
        let (found, before) = (varied(settings, 1), plain());
        let row = loudest(&before) * 24;
        let difference = found[row + 4] - before[row + 4];
        assert!(difference.abs() > 0.1 && difference.abs() <= 4.7, "{difference}: 20 dB are ln(100)");
        assert!((found[row + 12] - before[row + 12] - difference).abs() < 0.05);
    }

    #[test]
    fn background_noise_comes_from_a_random_place_with_a_random_loudness() {
        let settings = AudioAugmentation { background: 0.5, ..AudioAugmentation::default() };
        // Shorter than the clip, so that it comes again.
        let noise: Vec<i16> = (0..500_i32).map(|n| (n * 7_919 % 20_011 - 10_000) as i16).collect();
        let augmenter = AudioAugmenter::new(settings, &AUDIO, &[vec![], noise]).unwrap();
        let varied = |sample| {
            let mut output = vec![f32::NAN; 20 * 24];
            augmenter.apply(&clip(), 1, 2, sample, &mut output);
            output
        };
        assert_eq!(varied(3), varied(3));
        let (found, quiet) = ([varied(3), varied(4), varied(5)], plain());
        assert!(found[0] != found[1] && found[1] != found[2]);
        let louder = |row: &[f32]| row.iter().zip(&quiet).filter(|(a, b)| a > b).count();
        assert!(found.iter().all(|row| louder(row) > 20 * 24 * 8 / 10));
    }

    #[test]
    fn masks_cover_whole_frames_and_channels() {
        let settings =
            AudioAugmentation { time_masks: 1, time_mask_frames: 5, ..AudioAugmentation::default() };
        let masked =
            |sample| varied(settings, sample).chunks(24).filter(|row| row.iter().all(|&x| x == 0.0)).count();
        let counts: Vec<usize> = (0..40).map(masked).collect();
        assert!(counts.iter().all(|&count| count <= 5) && counts.contains(&5), "{counts:?}");
        let settings =
            AudioAugmentation { channel_masks: 1, mask_channels: 24, ..AudioAugmentation::default() };
        assert!((0..40).any(|sample| varied(settings, sample).iter().all(|&x| x == 0.0)));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (expected, settings) in [
            ("speed", AudioAugmentation { speed: 1.0, ..AudioAugmentation::default() }),
            ("gain_db", AudioAugmentation { gain_db: f32::NAN, ..AudioAugmentation::default() }),
            ("noise", AudioAugmentation { noise: -0.1, ..AudioAugmentation::default() }),
            ("background", AudioAugmentation { background: 0.1, ..AudioAugmentation::default() }),
        ] {
            match AudioAugmenter::new(settings, &AUDIO, &[]).unwrap_err() {
                DataError::Setting { name, .. } => assert_eq!(name, format!("audio_augmentation.{expected}")),
                other => panic!("{other}"),
            }
        }
    }
}
