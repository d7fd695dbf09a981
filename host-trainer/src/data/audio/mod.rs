//! Sound: recordings as samples of a data set, and the features that a network sees of them.
//!
//! A sample is a clip of as many samples as the frames of a network's input cover, 16 bits each. It becomes features by the core's own
//! front end ([`smidgen::frontend`]), the one that the device has.

mod augment;
mod features;
mod folder;
mod resample;
mod series;
mod silence;
mod wav;

pub use augment::{AudioAugmentation, AudioAugmenter};
pub(in crate::data) use features::features_of_bytes;
pub use features::{bytes_of_clip, clip_of_bytes, features, frames_of};
pub use folder::{AudioOptions, load_audio_dir, load_test_audio};
pub use resample::resample;
pub use series::{load_series_dir, load_test_series, read_series, samples_of_series};
pub use silence::SILENCE;
pub use wav::{Recording, read_wav};
