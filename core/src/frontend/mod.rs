//! From samples of a microphone to a network's input, and from its outputs to an event.
//!
//! The trainer makes the features that a network learns from with this very code, and a device those that it is asked with. All arithmetic is f32
//! addition, multiplication and division in a fixed order, nothing is fused, and what is not arithmetic is `libm`'s or made here from
//! that arithmetic ([`cosine_of_turn`]). So the features are the same bits on every target, with and without a floating-point unit.
//! (The FFT is this crate's own because ready ones either choose their order by the length or the processor, or take their constants from tables
//! whose lengths are types, while here the length stands in the model file.)
//!
//! A frame of [`AudioConfig::window_samples`] samples goes through
//!
//! 0. for motion, detrending: the frame's mean or its nearest straight line is taken away, and the root of the mean of what is left, squared, is a feature;
//! 1. pre-emphasis, `y[n] = x[n] - a * x[n - 1]`, with `x[-1] = x[0]`, of samples in `-1.0..1.0`;
//! 2. the window, and zeros up to the length of the transform;
//! 3. a discrete Fourier transform, `X[k] = sum over n of y[n] * exp(-2 pi i k n / N)`, and the power `|X[k]|^2`;
//! 4. triangular filters, evenly spaced in Hz or on the mel scale `1127 * ln(1 + f / 700)` (O'Shaughnessy, *Speech Communication*, 1987);
//! 5. the natural logarithm of energy plus [`AudioConfig::floor`];
//! 6. for cepstral coefficients, the orthonormal discrete cosine transform (DCT-II) of that;
//! 7. normalization of each channel, `(x - mean) * scale`.
//!
//! The axes of a motion sensor come in turns, sample by sample, and each goes through this by itself.
//!
//! A frame depends on its own samples only. That is why a stream gives what a recording gives: [`FrontEnd::push`] takes samples in portions of any
//! length and says when a frame is complete.
//!
//! ```
//! use smidgen::Aligned;
//! use smidgen::frontend::{Audio, AudioConfig, FrontEnd};
//!
//! const CONFIG: AudioConfig = AudioConfig { sample_rate: 8_000, ..AudioConfig::SPEECH_8_KHZ };
//! const MEMORY: usize = CONFIG.memory_bytes() as usize;
//! let mut memory = Aligned([0; MEMORY]);
//! let mut front_end = FrontEnd::new(&Audio { config: CONFIG, normalization: &[] }, &mut memory.0)?;
//!
//! let second = [0; 8_000];
//! let (mut samples, mut frames) = (&second[..], 0);
//! while let Some(rest) = front_end.push(samples) {
//!     assert_eq!(front_end.features().len(), CONFIG.channels());
//!     (samples, frames) = (rest, frames + 1);
//! }
//! assert_eq!(frames, CONFIG.frames_in(8_000));
//! # Ok::<(), smidgen::frontend::FrontEndError>(())
//! ```

mod anomaly;
mod config;
mod detector;
mod fft;
mod front_end;
mod inference;
mod listener;
mod spotter;
mod tables;
mod turn;
mod watcher;

pub use anomaly::reconstruction_error;
pub(crate) use config::Sensor;
pub use config::{Audio, AudioConfig, Detrend, FrontEndError, Spacing, WindowShape};
pub use detector::{Detection, Detector, DetectorConfig, MAX_CLASSES};
pub use front_end::FrontEnd;
pub use inference::SpotterError;
pub use listener::Listener;
pub use spotter::Spotter;
pub use turn::cosine_of_turn;
pub use watcher::Watcher;

#[cfg(test)]
mod tests;
