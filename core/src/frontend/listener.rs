//! A stream of samples as a network's inputs.

use core::cell::Cell;

use super::config::{Audio, FrontEndError};
use super::front_end::FrontEnd;
use crate::operand::Quantization;

/// A front end and the last frames of its features, quantized: what an int8 network is asked again and again.
#[derive(Debug)]
pub struct Listener<'m> {
    front_end: FrontEnd<'m>,
    frames: &'m mut [i8],
    quantization: Quantization,
    /// Frames until the next inference.
    missing: u32,
}

impl<'m> Listener<'m> {
    /// A listener with the front end in `memory` ([`FrontEnd::new`]) and the features in `frames`, as many as the network's input has elements, whose
    /// quantization is `quantization`.
    ///
    /// # Errors
    /// See [`FrontEndError`].
    pub fn new(
        audio: &Audio<'_>,
        quantization: Quantization,
        memory: &'m mut [u8],
        frames: &'m mut [i8],
    ) -> Result<Self, FrontEndError> {
        let front_end = FrontEnd::new(audio, memory)?;
        let found = audio.config.frames as usize * audio.config.channels();
        if found != frames.len() {
            return Err(FrontEndError::Input { expected: frames.len(), found });
        }
        let missing = audio.config.frames;
        Ok(Self { front_end, frames, quantization, missing })
    }

    /// Forgets what was heard.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.missing = self.front_end.config().frames;
    }

    /// Takes samples until an inference is due, and returns the samples that are left; `None` if all were taken before.
    ///
    /// The first is due when all frames of an input are there, the next ones every [`stride_frames`](super::AudioConfig::stride_frames).
    pub fn push<'s>(&mut self, mut samples: &'s [i16]) -> Option<&'s [i16]> {
        loop {
            samples = self.front_end.push(samples)?;
            let row = self.front_end.features();
            let cells = Cell::from_mut(&mut *self.frames).as_slice_of_cells();
            for (to, from) in cells.iter().zip(cells.get(row.len()..).unwrap_or_default()) {
                to.set(from.get());
            }
            for (to, &value) in self.frames.iter_mut().rev().zip(row.iter().rev()) {
                *to = self.quantization.quantize(value);
            }
            self.missing = self.missing.saturating_sub(1);
            if self.missing == 0 {
                self.missing = self.front_end.config().stride_frames;
                return Some(samples);
            }
        }
    }

    /// The last frames, the oldest first: the network's input, `[frames, channels]`.
    pub fn input(&self) -> &[i8] {
        self.frames
    }

    /// The front end.
    pub fn front_end(&self) -> &FrontEnd<'m> {
        &self.front_end
    }
}
