//! What a network learns from: datasets, their files, and how their samples are ordered, varied and normalized.
//!
//! ```
//! use smidgen_trainer::data::{Augmentation, Augmenter, Normalization, digits, epoch_order};
//!
//! let digits = digits()?;
//! let train = &digits.train;
//! assert_eq!((train.len(), train.shape()), (12_000, [28, 28, 1]));
//!
//! let normalization = Normalization::of(train)?;
//! let augmenter = Augmenter::new(Augmentation { shift: 2.0, rotate: 10.0, ..Augmentation::default() }, train.shape())?;
//!
//! // Epoch 3 of a run with seed 7. Neither buffer is allocated again, and nothing here depends on threads.
//! let mut order = vec![0; train.len()];
//! let mut input = vec![0.0; train.sample_len()];
//! epoch_order(7, 3, &mut order);
//! for &index in &order[..10] {
//!     augmenter.apply(train.image(index as usize), 7, 3, index, &mut input);
//!     normalization.apply_in_place(&mut input);
//! }
//! # Ok::<(), smidgen_trainer::data::DataError>(())
//! ```
//!
//! Everything random is a function of `(seed, epoch, sample)`, computed with a named generator (xoshiro256++) and arithmetic that
//! gives the same bits on every machine.

pub mod audio;
mod augment;
mod cifar;
mod dataset;
mod digits;
mod error;
mod folder;
mod idx;
mod masks;
mod normalize;
mod random;
mod sampling;
mod shuffle;

pub use augment::{Augmentation, Augmenter, Mixer, Mixing, Pixel, Variation};
pub use cifar::{is_cifar_dir, load_cifar_dir};
pub use dataset::{Dataset, Split};
pub use digits::digits;
pub use error::DataError;
pub use folder::{ImageOptions, load_image_dir, load_test_images};
pub use idx::{Images, load_mnist_dir, parse_images, parse_labels, read_images, read_labels};
pub use masks::{load_mask_dir, load_test_masks};
pub use normalize::Normalization;
pub use sampling::{Sampler, Sampling};
pub use shuffle::epoch_order;

/// The key from which a network's dropouts draw what they drop of a sample in an epoch of the run with this seed.
pub fn dropout_key(seed: u64, epoch: u32, sample: u32) -> [i32; 2] {
    let key = random::key(seed, random::Use::Dropout, epoch, sample);
    [key as i32, (key >> 32) as i32]
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    /// The directory of the full MNIST set, `data/mnist` in what the variable `SMIDGEN_SHARED` names. Without the variable the test
    /// that asks is skipped, which is said past the test runner's capture; under `CI=true` it fails.
    pub(super) fn shared_mnist(test: &str) -> Option<PathBuf> {
        if let Some(shared) = std::env::var_os("SMIDGEN_SHARED") {
            return Some(PathBuf::from(shared).join("data/mnist"));
        }
        let message = format!("SKIPPED {test}: set SMIDGEN_SHARED to the directory that holds data/mnist\n");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        std::io::stderr().write_all(message.as_bytes()).expect("stderr is open");
        None
    }
}
