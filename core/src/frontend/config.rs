//! What a front end computes: part of the model file.

use serde::{Deserialize, Serialize};

/// How the samples of a frame are weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum WindowShape {
    /// `0.5 - 0.5 * cos(2 pi n / N)`.
    #[default]
    Hann,
    /// `0.54 - 0.46 * cos(2 pi n / N)`.
    Hamming,
    /// All the same.
    Rectangular,
}

/// What is taken away from the samples of a frame before anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Detrend {
    /// Nothing.
    #[default]
    None,
    /// Their mean, such as gravity in what an accelerometer measures.
    Mean,
    /// The straight line that is nearest to them (least squares): what drifts, too.
    Line,
}

/// How the filters are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Evenly on the mel scale, as one hears.
    #[default]
    Mel,
    /// Evenly in Hz: bands of a spectrum.
    Linear,
}

/// What is computed from sound, or from the axes of a motion sensor. [`check`](Self::check) says what is allowed.
///
/// A model file has the last four fields only where one of them is not as for sound, see [`Preprocessing`](crate::Preprocessing).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AudioConfig {
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples of a frame: an even number, at least 16.
    pub window_samples: u32,
    /// Samples from the beginning of a frame to that of the next: 1 to `window_samples`.
    pub hop_samples: u32,
    /// Length of the Fourier transform: a power of two, at least `window_samples`, at most 4096.
    pub fft_length: u32,
    /// How the samples of a frame are weighted.
    pub window: WindowShape,
    /// The factor of pre-emphasis, 0 to 1; 0 is none.
    pub pre_emphasis: f32,
    /// Where the lowest filter begins, in Hz, not negative.
    pub low_hz: f32,
    /// Where the highest filter ends, in Hz, at most half the sample rate.
    pub high_hz: f32,
    /// Filters: 1 to 128.
    pub mels: u32,
    /// Cepstral coefficients, at most `mels`; with 0, the logarithms of the filters' energies are the features.
    pub coefficients: u32,
    /// What is added to an energy before the logarithm, positive. A full-scale sine has an energy of about `(fft_length / 4)^2`.
    pub floor: f32,
    /// Frames of a network's input: 1 to 4096.
    pub frames: u32,
    /// Frames from one inference to the next, in a stream: 1 to `frames`.
    pub stride_frames: u32,
    /// Axes of the sensor, 1 to 16, whose samples come in turns; all lengths in samples are of each axis. 1 for sound.
    #[serde(skip, default = "one_axis")]
    pub axes: u32,
    /// What is taken away from the samples of a frame.
    #[serde(skip)]
    pub detrend: Detrend,
    /// Whether the root of the mean of a frame's squares, after that, is a feature of each axis, before those of the filters.
    #[serde(skip)]
    pub rms: bool,
    /// How the filters are spaced.
    #[serde(skip)]
    pub spacing: Spacing,
}

const fn one_axis() -> u32 {
    1
}

/// The fields of an [`AudioConfig`] that sound has no need of, as a model file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sensor {
    axes: u32,
    detrend: Detrend,
    rms: bool,
    spacing: Spacing,
}

impl Sensor {
    /// What holds for sound.
    pub(crate) const SOUND: Self =
        Self { axes: 1, detrend: Detrend::None, rms: false, spacing: Spacing::Mel };
}

/// Sound, as a model takes it: the front end, and what its features are normalized with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Audio<'a> {
    /// The front end.
    pub config: AudioConfig,
    /// Mean and scale of each channel, f32, least significant byte first; empty for 0 and 1.
    #[serde(serialize_with = "as_bytes")]
    pub normalization: &'a [u8],
}

/// As serde's bytes, which is what is read in place; the numbers of a list would be written one by one.
fn as_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Why there is no front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrontEndError {
    /// A value of the configuration is out of its range.
    Config(&'static str),
    /// The normalization has not two numbers for each channel, or one that is not finite.
    Normalization {
        /// Bytes there should be.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The memory is too small, or does not lie at a multiple of 4.
    Memory {
        /// Bytes that are needed.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// What is to be listened to is not what the network takes.
    Input {
        /// Elements of the network's input.
        expected: usize,
        /// Features of all its frames.
        found: usize,
    },
}

impl core::fmt::Display for FrontEndError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Config(field) => write!(f, "the front end's {field} is out of its range"),
            Self::Normalization { expected, found } => {
                write!(
                    f,
                    "the front end's normalization has {found} bytes, expected {expected}, finite numbers all"
                )
            }
            Self::Memory { expected, found } => {
                write!(f, "the front end needs {expected} bytes at a multiple of 4, there are {found}")
            }
            Self::Input { expected, found } => {
                write!(f, "the network takes {expected} features, the front end makes {found}")
            }
        }
    }
}

impl core::error::Error for FrontEndError {}

/// Elements of the parts of a front end's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) window: usize,
    pub(super) twiddles: usize,
    pub(super) split: usize,
    pub(super) rises: usize,
    pub(super) cosines: usize,
    pub(super) normalization: usize,
    pub(super) spectrum: usize,
    pub(super) row: usize,
    pub(super) output: usize,
    /// `u16`: how many bins lie between two neighbouring centres.
    pub(super) segments: usize,
    /// `i16`.
    pub(super) history: usize,
}

impl AudioConfig {
    /// A start for speech at 8 kHz: 32 ms every 16 ms, 24 filters from 100 Hz, one second, an inference four times a second.
    pub const SPEECH_8_KHZ: Self = Self {
        sample_rate: 8_000,
        window_samples: 256,
        hop_samples: 128,
        fft_length: 256,
        window: WindowShape::Hann,
        pre_emphasis: 0.0,
        low_hz: 100.0,
        high_hz: 4_000.0,
        mels: 24,
        coefficients: 0,
        floor: 1e-5,
        frames: 61,
        stride_frames: 16,
        axes: 1,
        detrend: Detrend::None,
        rms: false,
        spacing: Spacing::Mel,
    };

    /// A start for an accelerometer of three axes at 50 Hz: of 1.28 s every 0.64 s, of each axis, the root mean square and six bands from 0.5 to 20 Hz; four
    /// frames, an inference with every second one.
    pub const MOTION_50_HZ: Self = Self {
        sample_rate: 50,
        window_samples: 64,
        hop_samples: 32,
        fft_length: 64,
        low_hz: 0.5,
        high_hz: 20.0,
        mels: 6,
        floor: 1e-3,
        frames: 4,
        stride_frames: 2,
        axes: 3,
        detrend: Detrend::Line,
        rms: true,
        spacing: Spacing::Linear,
        ..Self::SPEECH_8_KHZ
    };

    pub(crate) const fn sensor(&self) -> Sensor {
        let Self { axes, detrend, rms, spacing, .. } = *self;
        Sensor { axes, detrend, rms, spacing }
    }

    pub(crate) const fn with_sensor(self, sensor: Sensor) -> Self {
        let Sensor { axes, detrend, rms, spacing } = sensor;
        Self { axes, detrend, rms, spacing, ..self }
    }

    /// Features of a frame: those of the first axis, then those of the next.
    pub const fn channels(&self) -> usize {
        self.axes as usize * self.axis_channels()
    }

    /// Features of an axis.
    pub(super) const fn axis_channels(&self) -> usize {
        let filters = if self.coefficients == 0 { self.mels } else { self.coefficients };
        filters as usize + self.rms as usize
    }

    /// Samples of all axes that a frame has.
    pub const fn frame_samples(&self) -> usize {
        self.window_samples as usize * self.axes as usize
    }

    /// Samples of all axes from one frame to the next.
    pub const fn step_samples(&self) -> usize {
        self.hop_samples as usize * self.axes as usize
    }

    /// Samples of all axes that the frames of one input cover.
    pub const fn input_samples(&self) -> usize {
        (self.frames as usize).saturating_sub(1) * self.step_samples() + self.frame_samples()
    }

    /// Complete frames in so many samples of all axes.
    pub const fn frames_in(&self, samples: usize) -> usize {
        match samples.checked_sub(self.frame_samples()) {
            Some(rest) => match rest.checked_div(self.step_samples()) {
                Some(hops) => hops + 1,
                None => 0,
            },
            None => 0,
        }
    }

    /// Checks every value's range.
    ///
    /// # Errors
    /// [`FrontEndError::Config`] names the first field that is out of its range.
    pub const fn check(&self) -> Result<(), FrontEndError> {
        let rate = self.sample_rate;
        let finite = self.low_hz.is_finite() && self.high_hz.is_finite() && self.pre_emphasis.is_finite();
        let (window, length) = (self.window_samples, self.fft_length);
        let field = if rate == 0 || rate > 200_000 {
            "sample_rate"
        } else if window < 16 || !window.is_multiple_of(2) {
            "window_samples"
        } else if self.hop_samples == 0 || self.hop_samples > window {
            "hop_samples"
        } else if !length.is_power_of_two() || length < window || length > 4096 {
            "fft_length"
        } else if !finite || self.pre_emphasis < 0.0 || self.pre_emphasis > 1.0 {
            "pre_emphasis"
        } else if self.low_hz < 0.0 || self.low_hz >= self.high_hz {
            "low_hz"
        } else if self.high_hz * 2.0 > rate as f32 {
            "high_hz"
        } else if self.mels == 0 || self.mels > 128 {
            "mels"
        } else if self.coefficients > self.mels {
            "coefficients"
        } else if !self.floor.is_finite() || self.floor < 1e-30 {
            "floor"
        } else if self.frames == 0 || self.frames > 4096 {
            "frames"
        } else if self.stride_frames == 0 || self.stride_frames > self.frames {
            "stride_frames"
        } else if self.axes == 0 || self.axes > 16 {
            "axes"
        } else {
            return Ok(());
        };
        Err(FrontEndError::Config(field))
    }

    pub(super) const fn lengths(&self) -> Lengths {
        let (n, mels) = (self.fft_length as usize, self.mels as usize);
        Lengths {
            window: self.window_samples as usize,
            twiddles: n.saturating_sub(8),
            split: n / 2,
            rises: n / 2 + 1,
            cosines: mels * self.coefficients as usize,
            normalization: 2 * self.channels(),
            spectrum: n,
            row: mels,
            output: self.channels(),
            // Even, so that what follows is a whole number of words.
            segments: (mels + 1).next_multiple_of(2),
            // Even, too: a frame of an axis is.
            history: self.frame_samples(),
        }
    }

    /// Bytes of memory that a [`FrontEnd`](super::FrontEnd) needs, of a configuration that [`check`](Self::check) accepts.
    pub const fn memory_bytes(&self) -> u32 {
        let l = self.lengths();
        let words = l.window + l.twiddles + l.split + l.rises + l.cosines + l.normalization + l.spectrum;
        ((words + l.row + l.output) * 4 + (l.segments + l.history) * 2) as u32
    }
}

impl<'a> Audio<'a> {
    /// Checks configuration and normalization.
    ///
    /// # Errors
    /// [`FrontEndError::Config`], [`FrontEndError::Normalization`].
    pub fn check(&self) -> Result<(), FrontEndError> {
        self.config.check()?;
        let (expected, found) = (self.config.channels() * 8, self.normalization.len());
        let fits = found == 0 || found == expected;
        let finite = self.numbers().all(f32::is_finite);
        if fits && finite { Ok(()) } else { Err(FrontEndError::Normalization { expected, found }) }
    }

    /// Mean and scale of each channel, in turns.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f32> + use<'a> {
        self.normalization.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes))
    }
}
