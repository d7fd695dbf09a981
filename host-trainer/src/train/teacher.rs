//! Trained networks that another one learns from, or that are asked together.

use std::sync::{Mutex, PoisonError};

use smidgen::{AllOperators, EntryKind, Model, Session};

use crate::buffer::AlignedBytes;

/// One network that classifies, or several that are asked together, for any number of threads.
#[derive(Debug)]
pub struct Teacher<'m> {
    members: Vec<Member<'m>>,
}

#[derive(Debug)]
struct Member<'m> {
    model: Model<'m, AllOperators>,
    /// Memory of sessions that nobody uses.
    arenas: Mutex<Vec<AlignedBytes>>,
}

impl<'m> Teacher<'m> {
    /// A teacher, if all models go from one f32 input of `inputs` elements to one f32 output of `outputs`.
    ///
    /// # Errors
    /// The lengths of the first other model's input and output, in elements; 0 if there is no such one.
    pub fn new(
        models: impl IntoIterator<Item = Model<'m, AllOperators>>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, (usize, usize)> {
        let mut members = Vec::new();
        for model in models {
            let mut arena = AlignedBytes::zeroed(model.arena_bytes());
            let found = Session::new(model, arena.as_mut_slice()).map_or((0, 0), |mut session| {
                let input = session.input_mut::<f32>(EntryKind::Infer, 0).map_or(0, |values| values.len());
                let output = session.output::<f32>(EntryKind::Infer, 0).map_or(0, <[f32]>::len);
                (input, output)
            });
            if found != (inputs, outputs) {
                return Err(found);
            }
            members.push(Member { model, arenas: Mutex::new(vec![arena]) });
        }
        if members.is_empty() { Err((0, 0)) } else { Ok(Self { members }) }
    }

    /// Writes the logits for one sample, the mean of all networks'.
    pub fn logits(&self, input: &[f32], output: &mut [f32]) {
        let share = 1.0 / self.members.len() as f32;
        output.fill(0.0);
        for member in &self.members {
            member.ask(input, &mut |logits| {
                output.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += logit * share);
            });
        }
    }

    /// Writes the probabilities of the classes for one sample, the mean of all networks'.
    pub fn probabilities(&self, input: &[f32], output: &mut [f64]) {
        let share = 1.0 / self.members.len() as f64;
        output.fill(0.0);
        for member in &self.members {
            member.ask(input, &mut |logits| {
                let greatest = logits.iter().fold(f32::NEG_INFINITY, |greatest, &logit| greatest.max(logit));
                let exponential = |&logit: &f32| libm::exp(f64::from(logit) - f64::from(greatest));
                let sum: f64 = logits.iter().map(exponential).sum();
                output
                    .iter_mut()
                    .zip(logits)
                    .for_each(|(mean, logit)| *mean += share * exponential(logit) / sum);
            });
        }
    }
}

impl Member<'_> {
    /// Hands the logits for one sample to `look`; NaN if it does not run.
    fn ask(&self, input: &[f32], look: &mut dyn FnMut(&[f32])) {
        let arenas = || self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        // Made once for each thread.
        let spare = arenas().pop();
        let mut arena = spare.unwrap_or_else(|| AlignedBytes::zeroed(self.model.arena_bytes()));
        if let Ok(mut session) = Session::new(self.model, arena.as_mut_slice()) {
            if let Ok(place) = session.input_mut::<f32>(EntryKind::Infer, 0) {
                place.copy_from_slice(input);
            }
            let ran = session.run(EntryKind::Infer).is_ok();
            match session.output::<f32>(EntryKind::Infer, 0) {
                Ok(logits) if ran => look(logits),
                // What cannot happen must not go unseen.
                _ => look(&[f32::NAN; 1]),
            }
        }
        arenas().push(arena);
    }
}
