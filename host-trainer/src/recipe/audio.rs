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
        let Err(error) = self.config().check() else { return Ok(()) };
        let found = match error {
            FrontEndError::Config(field) => format!("wrong in {field}"),
            other => other.to_string(),
        };
        Err(RecipeError::Value {
            key: "audio",
            found,
            expected: "values in the ranges that docs/recipes.md has",
        })
    }
}
