//! The front end of a recipe.

use serde::{Deserialize, Serialize};
use smidgen::frontend::{AudioConfig, Detrend, FrontEndError, Spacing, WindowShape};

use super::RecipeError;

/// What is computed from sound; [`AudioConfig`] has the same values, and says more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioSettings {
    /// Samples a second; recordings at other rates are resampled.
    pub sample_rate: u32,
    /// Samples of a frame, an even number.
    pub window_samples: u32,
    /// Samples from one frame to the next.
    pub hop_samples: u32,
    /// Length of the Fourier transform, a power of two; 0 for the least that holds a frame.
    pub fft_length: u32,
    /// How the samples of a frame are weighted.
    pub window: WindowShape,
    /// The factor of pre-emphasis, 0 to 1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub pre_emphasis: f32,
    /// Where the lowest filter begins, in Hz.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub low_hz: f32,
    /// Where the highest filter ends, in Hz; 0 for half the rate.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub high_hz: f32,
    /// Filters.
    pub mels: u32,
    /// Cepstral coefficients; 0 for the filters' energies.
    pub coefficients: u32,
    /// What is added to an energy before the logarithm.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub floor: f32,
    /// Frames of a network's input.
    pub frames: u32,
    /// Frames from one inference to the next, in a stream.
    pub stride_frames: u32,
    /// Axes of the sensor, 1 for sound.
    pub axes: u32,
    /// What is taken away from the samples of a frame.
    pub detrend: Detrend,
    /// Whether the root mean square of a frame is a feature of each axis.
    pub rms: bool,
    /// How the filters are spaced.
    pub spacing: Spacing,
}

impl Default for AudioSettings {
    fn default() -> Self {
        let AudioConfig { sample_rate, window_samples, hop_samples, window, pre_emphasis, low_hz, .. } =
            AudioConfig::SPEECH_8_KHZ;
        let AudioConfig { mels, coefficients, floor, frames, stride_frames, .. } = AudioConfig::SPEECH_8_KHZ;
        let AudioConfig { axes, detrend, rms, spacing, .. } = AudioConfig::SPEECH_8_KHZ;
        Self {
            sample_rate,
            window_samples,
            hop_samples,
            fft_length: 0,
            window,
            pre_emphasis,
            low_hz,
            high_hz: 0.0,
            mels,
            coefficients,
            floor,
            frames,
            stride_frames,
            axes,
            detrend,
            rms,
            spacing,
        }
    }
}

impl AudioSettings {
    /// The front end's configuration.
    pub fn config(&self) -> AudioConfig {
        let least = self.window_samples.checked_next_power_of_two().unwrap_or(0);
        AudioConfig {
            sample_rate: self.sample_rate,
            window_samples: self.window_samples,
            hop_samples: self.hop_samples,
            fft_length: if self.fft_length == 0 { least } else { self.fft_length },
            window: self.window,
            pre_emphasis: self.pre_emphasis,
            low_hz: self.low_hz,
            high_hz: if self.high_hz == 0.0 { self.sample_rate as f32 / 2.0 } else { self.high_hz },
            mels: self.mels,
            coefficients: self.coefficients,
            floor: self.floor,
            frames: self.frames,
            stride_frames: self.stride_frames,
            axes: self.axes,
            detrend: self.detrend,
            rms: self.rms,
            spacing: self.spacing,
        }
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let field = match self.config().check() {
            Ok(()) => return Ok(()),
            // The transform's length is that of the window then.
            Err(FrontEndError::Config("fft_length")) if self.fft_length == 0 => "window_samples",
            Err(FrontEndError::Config(field)) => field,
            Err(other) => return Err(value("audio", other.to_string(), "a front end that can be")),
        };
        let (key, expected) = match field {
            "sample_rate" => ("audio.sample_rate", "1 to 200000"),
            "window_samples" => ("audio.window_samples", "an even number from 16 to 4096"),
            "hop_samples" => ("audio.hop_samples", "1 to audio.window_samples"),
            "fft_length" => ("audio.fft_length", "0, or a power of two from audio.window_samples to 4096"),
            "pre_emphasis" => ("audio.pre_emphasis", "0 to 1"),
            "low_hz" => ("audio.low_hz", "at least 0 and below audio.high_hz"),
            "high_hz" => ("audio.high_hz", "0, or at most half of audio.sample_rate"),
            "mels" => ("audio.mels", "1 to 128"),
            "coefficients" => ("audio.coefficients", "at most audio.mels"),
            "floor" => ("audio.floor", "a number from 1e-30 on"),
            "frames" => ("audio.frames", "1 to 4096"),
            "stride_frames" => ("audio.stride_frames", "1 to audio.frames"),
            "axes" => ("audio.axes", "1 to 16"),
            _ => ("audio", "values in the ranges that docs/recipes.md has"),
        };
        let values = toml::Table::try_from(self).unwrap_or_default();
        Err(value(key, values.get(field).map_or_else(|| field.to_owned(), ToString::to_string), expected))
    }
}

fn value(key: &'static str, found: String, expected: &'static str) -> RecipeError {
    RecipeError::Value { key, found, expected }
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;

    #[test]
    fn what_no_front_end_can_be_is_named_with_its_range() {
        for (set, says) in [
            ("sample_rate=0", "audio.sample_rate is 0, expected 1 to 200000"),
            ("window_samples=63", "audio.window_samples is 63, expected an even number"),
            ("window_samples=5000", "audio.window_samples is 5000, expected an even number from 16 to 4096"),
            ("hop_samples=1000", "audio.hop_samples is 1000, expected 1 to audio.window_samples"),
            ("fft_length=100", "audio.fft_length is 100, expected 0, or a power of two"),
            ("pre_emphasis=2.0", "audio.pre_emphasis is 2.0, expected 0 to 1"),
            ("low_hz=9000.0", "audio.low_hz is 9000.0, expected at least 0 and below"),
            ("high_hz=5000.0", "audio.high_hz is 5000.0, expected 0, or at most half"),
            ("mels=200", "audio.mels is 200, expected 1 to 128"),
            ("coefficients=100", "audio.coefficients is 100, expected at most audio.mels"),
            ("floor=0.0", "audio.floor is 0.0, expected a number from 1e-30 on"),
            ("frames=0", "audio.frames is 0, expected 1 to 4096"),
            ("stride_frames=1000", "audio.stride_frames is 1000, expected 1 to audio.frames"),
            ("axes=17", "audio.axes is 17, expected 1"),
        ] {
            let error = Recipe::built_in("fsdd").unwrap().set(&format!("audio.{set}")).unwrap_err();
            assert!(error.to_string().starts_with(says), "{error}");
        }
    }
}
