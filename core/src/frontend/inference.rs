//! A front end and the network behind it.

use super::config::{Audio, FrontEndError};
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
    /// The model does not give as many numbers as it takes: it has no [`Watcher`](super::Watcher).
    NoReconstruction,
    /// There is no front end.
    FrontEnd(FrontEndError),
    /// The network cannot run.
    Session(SessionError),
}

impl core::fmt::Display for SpotterError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotAListener => write!(f, "the model does not go from sound to numbers in int8"),
            Self::NoReconstruction => write!(f, "the model does not give its input back"),
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

/// The features of a stream of samples, and a session that is run on them.
#[derive(Debug)]
pub(super) struct Inference<'m, 'a, O> {
    pub(super) listener: Listener<'a>,
    pub(super) session: Session<'m, 'a, O>,
    /// Of the features and of what the network makes of them.
    pub(super) quantizations: [Quantization; 2],
}

impl<'m, 'a, O: Operators> Inference<'m, 'a, O> {
    pub(super) fn new(
        session: Session<'m, 'a, O>,
        front_end: &'a mut [u8],
        frames: &'a mut [i8],
    ) -> Result<Self, SpotterError> {
        let (audio, quantizations) = ports(session.model()).ok_or(SpotterError::NotAListener)?;
        let listener = Listener::new(&audio, quantizations[0], front_end, frames)?;
        Ok(Self { listener, session, quantizations })
    }

    /// Runs the network on the last frames: they, and its outputs.
    pub(super) fn run(&mut self) -> Result<(&[i8], &[i8]), SessionError> {
        let input = self.session.input_mut::<i8>(EntryKind::Infer, 0)?;
        for (to, &from) in input.iter_mut().zip(self.listener.input()) {
            *to = from;
        }
        self.session.run(EntryKind::Infer)?;
        Ok((self.listener.input(), self.session.output::<i8>(EntryKind::Infer, 0)?))
    }
}

/// Whether a model can listen, given memory.
pub(super) fn check<O: Operators>(model: &Model<'_, O>) -> Result<(), SpotterError> {
    let (audio, _) = ports(model).ok_or(SpotterError::NotAListener)?;
    let (expected, found) =
        (model.header().input_bytes as usize, audio.config.frames as usize * audio.config.channels());
    if expected == found { Ok(()) } else { Err(FrontEndError::Input { expected, found }.into()) }
}

/// What a model that listens takes, and the quantization of its input and its output.
fn ports<'m, O: Operators>(model: &Model<'m, O>) -> Option<(Audio<'m>, [Quantization; 2])> {
    let Preprocessing::Audio(audio) = model.metadata().preprocessing else { return None };
    let entry = model.entry(EntryKind::Infer)?;
    let (&[input], &[output]) = (entry.inputs, entry.outputs) else { return None };
    Some((audio, [input.quantization.some()?, output.quantization.some()?]))
}
