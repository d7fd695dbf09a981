//! A trained network that another one learns from.

use std::sync::{Mutex, PoisonError};

use smidgen::{AllOperators, EntryKind, Model, Session};

use crate::buffer::AlignedBytes;

/// A network that classifies, for any number of threads.
#[derive(Debug)]
pub struct Teacher<'m> {
    model: Model<'m, AllOperators>,
    /// Memory of sessions that nobody uses.
    arenas: Mutex<Vec<AlignedBytes>>,
}

impl<'m> Teacher<'m> {
    /// A teacher, if the model goes from one f32 input of `inputs` elements to one f32 output of `outputs`, and the lengths if not.
    ///
    /// # Errors
    /// The lengths of the model's own input and output, in elements; 0 if there is no such one.
    pub fn new(
        model: Model<'m, AllOperators>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, (usize, usize)> {
        let mut arena = AlignedBytes::zeroed(model.arena_bytes());
        let found = Session::new(model, arena.as_mut_slice()).map_or((0, 0), |mut session| {
            let input = session.input_mut::<f32>(EntryKind::Infer, 0).map_or(0, |values| values.len());
            let output = session.output::<f32>(EntryKind::Infer, 0).map_or(0, <[f32]>::len);
            (input, output)
        });
        if found == (inputs, outputs) {
            Ok(Self { model, arenas: Mutex::new(vec![arena]) })
        } else {
            Err(found)
        }
    }

    /// Writes the logits for one sample.
    pub fn logits(&self, input: &[f32], output: &mut [f32]) {
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
                Ok(logits) if ran => output.copy_from_slice(logits),
                // What cannot happen must not go unseen.
                _ => output.fill(f32::NAN),
            }
        }
        arenas().push(arena);
    }
}
