//! Clips as bytes, and their features.

use std::cell::RefCell;

use smidgen::frontend::{Audio, AudioConfig, FrontEnd};

thread_local! {
    /// A front end's memory, in words so that it is aligned; and the samples of a clip.
    static MEMORY: RefCell<(Vec<u32>, Vec<i16>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// A clip as a sample's bytes: two a sample, the least significant first.
pub fn bytes_of_clip(clip: &[i16]) -> Vec<u8> {
    clip.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The clip that these bytes are.
pub fn clip_of_bytes(bytes: &[u8]) -> impl Iterator<Item = i16> + '_ {
    bytes.as_chunks::<2>().0.iter().map(|&bytes| i16::from_le_bytes(bytes))
}

/// The features of a clip, `[frames, channels]`, into `output`, computed as a device computes them.
///
/// # Panics
/// If the configuration is not valid, or `output` has not [`AudioConfig::frames`] times [`AudioConfig::channels`] elements.
pub fn features(audio: &Audio<'_>, clip: &[i16], output: &mut [f32]) {
    let config = &audio.config;
    assert_eq!(output.len(), config.frames as usize * config.channels(), "output length");
    MEMORY.with_borrow_mut(|(memory, _)| {
        memory.resize((config.memory_bytes() as usize).div_ceil(4), 0);
        let mut front_end = FrontEnd::new(audio, bytemuck::cast_slice_mut(memory))
            .expect("the data set checked the configuration");
        for (frame, row) in output.chunks_exact_mut(config.channels()).enumerate() {
            let start = (frame * config.step_samples()).min(clip.len());
            let end = (start + config.frame_samples()).min(clip.len());
            row.copy_from_slice(front_end.frame(&clip[start..end]));
        }
    });
}

/// [`features`] of a clip in bytes.
pub(in crate::data) fn features_of_bytes(audio: &Audio<'_>, bytes: &[u8], output: &mut [f32]) {
    let mut clip = MEMORY.with_borrow_mut(|(_, clip)| std::mem::take(clip));
    clip.clear();
    clip.extend(clip_of_bytes(bytes));
    features(audio, &clip, output);
    MEMORY.with_borrow_mut(|(_, place)| *place = clip);
}

/// A sample's shape: frames, channels, 1.
pub fn frames_of(config: &AudioConfig) -> [usize; 3] {
    [config.frames as usize, config.channels(), 1]
}
