//! From samples to events: front end, network and detector together.

use super::config::{Audio, FrontEndError};
use super::detector::{Detection, Detector, DetectorConfig};
use super::listener::Listener;
use crate::model::{EntryKind, Model, Preprocessing};
use crate::operand::Quantization;
use crate::ops::Operators;
use crate::session::{Session, SessionError};

/// Why a model cannot listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpotterError {
    /// The model takes no sound, or not in int8 from one input to one output.
    NotAListener,
    /// There is no front end.
    FrontEnd(FrontEndError),
    /// The network cannot run.
    Session(SessionError),
}

impl core::fmt::Display for SpotterError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAListener => write!(f, "the model does not go from sound to classes in int8"),
            Self::FrontEnd(error) => write!(f, "{error}"),
            Self::Session(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for SpotterError {}

impl From<FrontEndError> for SpotterError {
    fn from(error: FrontEndError) -> Self {
        Self::FrontEnd(error)
    }
}

impl From<SessionError> for SpotterError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// What an application that listens needs: it takes samples as they come and says which class is heard.
///
/// All of its memory is the caller's, and of lengths that the model file has: the session's, that of the front end
/// (`FRONT_END_BYTES` of [`include_model!`](crate::include_model)) and the features (`INPUT_BYTES`).
#[derive(Debug)]
pub struct Spotter<'m, 'a, O> {
    listener: Listener<'a>,
    session: Session<'m, 'a, O>,
    detector: Detector,
    scores: Quantization,
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
        let (audio, [features, scores]) = ports(session.model()).ok_or(SpotterError::NotAListener)?;
        let listener = Listener::new(&audio, features, front_end, frames)?;
        Ok(Self { listener, session, detector: Detector::new(config), scores })
    }

    /// Whether a model can listen, given memory.
    ///
    /// # Errors
    /// [`SpotterError::NotAListener`]; [`SpotterError::FrontEnd`] if the network takes other features than the front end makes.
    pub fn check(model: &Model<'_, O>) -> Result<(), SpotterError> {
        let (audio, _) = ports(model).ok_or(SpotterError::NotAListener)?;
        let (expected, found) =
            (model.header().input_bytes as usize, audio.config.frames as usize * audio.config.channels());
        if expected == found { Ok(()) } else { Err(FrontEndError::Input { expected, found }.into()) }
    }

    /// Takes samples until an inference is due. `None` if all were taken before; else the samples that are left, to be pushed next, after
    /// [`infer`](Self::infer).
    pub fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]> {
        self.listener.push(samples)
    }

    /// Runs the network on the last frames, and says what is heard with it.
    ///
    /// # Errors
    /// [`SessionError`], not for a valid model.
    pub fn infer(&mut self) -> Result<Option<Detection>, SessionError> {
        let input = self.session.input_mut::<i8>(EntryKind::Infer, 0)?;
        for (to, &from) in input.iter_mut().zip(self.listener.input()) {
            *to = from;
        }
        self.session.run(EntryKind::Infer)?;
        let scores = self.session.output::<i8>(EntryKind::Infer, 0)?;
        Ok(self.detector.hear(scores, self.scores))
    }

    /// The scores of the last inference.
    ///
    /// # Errors
    /// As [`infer`](Self::infer).
    pub fn scores(&mut self) -> Result<&[i8], SessionError> {
        self.session.output::<i8>(EntryKind::Infer, 0)
    }

    /// Front end and features.
    pub fn listener(&self) -> &Listener<'a> {
        &self.listener
    }
}

/// What a model that listens takes, and the quantization of its input and its output.
fn ports<'m, O: Operators>(model: &Model<'m, O>) -> Option<(Audio<'m>, [Quantization; 2])> {
    let Preprocessing::Audio(audio) = model.metadata().preprocessing else { return None };
    let entry = model.entry(EntryKind::Infer)?;
    let (&[input], &[output]) = (entry.inputs, entry.outputs) else { return None };
    Some((audio, [input.quantization.some()?, output.quantization.some()?]))
}
