//! From samples to events: front end, network and detector together.

use super::detector::{Detection, Detector, DetectorConfig};
use super::inference::{Inference, SpotterError, check};
use super::listener::Listener;
use crate::model::{EntryKind, Model};
use crate::ops::Operators;
use crate::session::{Session, SessionError};

/// What an application that listens needs: it takes samples as they come and says which class is heard.
///
/// All of its memory is the caller's, and of lengths that the model file has: the session's, that of the front end
/// (`FRONT_END_BYTES` of [`include_model!`](crate::include_model)) and the features (`INPUT_BYTES`).
#[derive(Debug)]
pub struct Spotter<'m, 'a, O> {
    inference: Inference<'m, 'a, O>,
    detector: Detector,
}

impl<'m, 'a, O: Operators> Spotter<'m, 'a, O> {
    /// A spotter for the model of `session`.
    ///
    /// # Errors
    /// See [`SpotterError`].
    pub fn new(
        session: Session<'m, 'a, O>,
        front_end: &'a mut [u8],
        frames: &'a mut [i8],
        config: DetectorConfig,
    ) -> Result<Self, SpotterError> {
        let inference = Inference::new(session, front_end, frames)?;
        Ok(Self { inference, detector: Detector::new(config) })
    }

    /// Whether a model can listen, given memory.
    ///
    /// # Errors
    /// [`SpotterError::NotAListener`]; [`SpotterError::FrontEnd`] if the network takes other features than the front end makes.
    pub fn check(model: &Model<'_, O>) -> Result<(), SpotterError> {
        check(model)
    }

    /// Takes samples until an inference is due. `None` if all were taken before; else the samples that are left, to be pushed next, after
    /// [`infer`](Self::infer).
    pub fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]> {
        self.inference.listener.push(samples)
    }

    /// Runs the network on the last frames, and says what is heard with it.
    ///
    /// # Errors
    /// [`SessionError`], not for a valid model.
    pub fn infer(&mut self) -> Result<Option<Detection>, SessionError> {
        let [_, quantization] = self.inference.quantizations;
        let (_, scores) = self.inference.run()?;
        Ok(self.detector.hear(scores, quantization))
    }

    /// The scores of the last inference.
    ///
    /// # Errors
    /// As [`infer`](Self::infer).
    pub fn scores(&mut self) -> Result<&[i8], SessionError> {
        self.inference.session.output::<i8>(EntryKind::Infer, 0)
    }

    /// Front end and features.
    pub fn listener(&self) -> &Listener<'a> {
        &self.inference.listener
    }
}
