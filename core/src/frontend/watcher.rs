//! From samples to anomalies: front end, a network that gives its input back, and how far it is off.

use super::anomaly::reconstruction_error;
use super::inference::{Inference, SpotterError};
use super::listener::Listener;
use crate::ops::Operators;
use crate::ops::quantize::dequantize_one;
use crate::session::{Session, SessionError};

/// What an application that looks for anomalies needs: it takes samples as they come and gives a score again and again, which is high where the network, that has learned what is normal, cannot
/// give back what it was given. What is high is the application's to say; the trainer proposes a threshold.
///
/// Its memory is that of a [`Spotter`](super::Spotter).
#[derive(Debug)]
pub struct Watcher<'m, 'a, O> {
    inference: Inference<'m, 'a, O>,
}

impl<'m, 'a, O: Operators> Watcher<'m, 'a, O> {
    /// A watcher with the model of `session`.
    ///
    /// # Errors
    /// See [`SpotterError`].
    pub fn new(
        session: Session<'m, 'a, O>,
        front_end: &'a mut [u8],
        frames: &'a mut [i8],
    ) -> Result<Self, SpotterError> {
        let header = session.model().header();
        if header.output_bytes != header.input_bytes {
            return Err(SpotterError::NoReconstruction);
        }
        Ok(Self { inference: Inference::new(session, front_end, frames)? })
    }

    /// Takes samples until an inference is due. `None` if all were taken before; else the samples that are left, to be pushed next, after
    /// [`infer`](Self::infer).
    pub fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]> {
        self.inference.listener.push(samples)
    }

    /// Runs the network on the last frames: the [`reconstruction_error`] of what it makes of them, the trainer's score with the same bits.
    ///
    /// # Errors
    /// [`SessionError`], not for a valid model.
    pub fn infer(&mut self) -> Result<f32, SessionError> {
        let [of_given, of_made] = self.inference.quantizations;
        let (given, made) = self.inference.run()?;
        let given = given.iter().map(|&element| dequantize_one(of_given, element));
        Ok(reconstruction_error(given, made.iter().map(|&element| dequantize_one(of_made, element))))
    }

    /// Front end and features.
    pub fn listener(&self) -> &Listener<'a> {
        &self.inference.listener
    }
}
