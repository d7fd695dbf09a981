//! Loading a file and running everything in it.

use smidgen::ops;
use smidgen::{
    AllOperators, Bytes, ChunkList, Chunks, Element, EntryKind, LoadError, Memory, Model, OtherSpaces,
    Schedule, Session, SessionError, Step,
};

use super::AlignedBytes;

/// All kinds of entries, in the order in which they are run.
const KINDS: [EntryKind; 4] = [EntryKind::Infer, EntryKind::Train, EntryKind::Update, EntryKind::Evaluate];

/// The most memory that a model is given. One that wants more is told that there is not enough.
pub const MEMORY_BYTES: usize = 64 * 1024;

/// Bytes after a session's memory that nothing may write.
const CANARY: [u8; 64] = [0xA5; 64];

/// How many chunks a batch has.
const CHUNKS: usize = 2;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not a model.
    Rejected(LoadError),
    /// It is a model that needs more than [`MEMORY_BYTES`].
    TooLarge,
    /// It is a model, and all its entries ran.
    Ran,
}

/// Memory for [`run_file`], to be used again and again.
#[derive(Debug)]
pub struct Scratch {
    noise: Vec<u8>,
    memory: AlignedBytes,
}

impl Scratch {
    /// Memory whose contents before a run are noise that depends on `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = seed | 1;
        let noise = (0..MEMORY_BYTES / 8).flat_map(|_| {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { noise: noise.collect(), memory: AlignedBytes::zeroed(MEMORY_BYTES + CANARY.len()) }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new(1)
    }
}

/// Loads `file` and, if it is a model, runs all its entries on noise: in a session, and as the host's threads run it, in chunks that
/// share what they only read.
///
/// # Panics
/// If a model that was found valid does not run, or writes outside of its memory.
pub fn run_file(file: &[u8], scratch: &mut Scratch) -> Outcome {
    let model = match Model::<AllOperators>::from_bytes(file) {
        Ok(model) => model,
        Err(error) => return Outcome::Rejected(error),
    };
    let length = model.arena_bytes();
    let Some(noise) = scratch.noise.get(..length) else {
        let error = SessionError::ArenaTooSmall { expected: length, found: MEMORY_BYTES };
        assert_eq!(Session::new(model, &mut scratch.memory[..MEMORY_BYTES]).err(), Some(error));
        return Outcome::TooLarge;
    };
    scratch.memory[..length].copy_from_slice(noise);
    scratch.memory[length..][..CANARY.len()].copy_from_slice(&CANARY);
    let mut session = Session::new(model, &mut scratch.memory).expect("memory of the right length");
    for kind in KINDS {
        run_entry(&mut session, kind, noise);
    }
    assert_eq!(scratch.memory[length..][..CANARY.len()], CANARY, "a write outside of the session's memory");
    run_in_chunks(&model, noise);
    Outcome::Ran
}

fn run_entry(session: &mut Session<'_, '_, AllOperators>, kind: EntryKind, noise: &[u8]) {
    let Some(entry) = session.model().entry(kind) else {
        assert_eq!(session.run(kind), Err(SessionError::NoEntry { kind }));
        return;
    };
    for (index, operand) in entry.inputs.iter().enumerate() {
        let noise = &noise[..operand.bytes().expect("a valid operand")];
        match operand.element_type {
            smidgen::ElementType::I8 => fill::<i8>(session, kind, index, noise),
            smidgen::ElementType::U8 => fill::<u8>(session, kind, index, noise),
            smidgen::ElementType::I16 => fill::<i16>(session, kind, index, noise),
            smidgen::ElementType::I32 => fill::<i32>(session, kind, index, noise),
            smidgen::ElementType::F32 => fill::<f32>(session, kind, index, noise),
        }
    }
    session.run(kind).expect("a valid model runs");
    for (index, operand) in entry.outputs.iter().enumerate() {
        let length = match operand.element_type {
            smidgen::ElementType::I8 => session.output::<i8>(kind, index).map(<[i8]>::len),
            smidgen::ElementType::U8 => session.output::<u8>(kind, index).map(<[u8]>::len),
            smidgen::ElementType::I16 => session.output::<i16>(kind, index).map(<[i16]>::len),
            smidgen::ElementType::I32 => session.output::<i32>(kind, index).map(<[i32]>::len),
            smidgen::ElementType::F32 => session.output::<f32>(kind, index).map(<[f32]>::len),
        };
        assert_eq!(length.ok(), operand.shape.elements());
    }
}

fn fill<T: Element>(
    session: &mut Session<'_, '_, AllOperators>,
    kind: EntryKind,
    index: usize,
    noise: &[u8],
) {
    let input = session.input_mut::<T>(kind, index).expect("an input of this type");
    bytemuck::cast_slice_mut(input).copy_from_slice(noise);
}

struct ChunkMemory(Vec<AlignedBytes>);

impl ChunkList for ChunkMemory {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self, index: usize) -> &[u8] {
        self.0.get(index).map_or(&[], |chunk| chunk)
    }
}

fn run_in_chunks(model: &Model<'_, AllOperators>, noise: &[u8]) {
    let lengths = model.header().memory;
    let space = |length: u32| AlignedBytes::copy_of(&noise[..length as usize]);
    let (mut parameter, mut state, mut gradient, mut arena) =
        (space(lengths.parameter), space(lengths.state), space(lengths.gradient), space(lengths.arena));
    let mut chunks = ChunkMemory((0..CHUNKS).map(|_| space(lengths.chunk)).collect());
    for entry in model.entries().flatten() {
        let steps: Vec<Step<'_>> = model.steps(&entry).map(|step| step.expect("a valid step")).collect();
        for phase in steps.chunk_by(|a, b| a.schedule == b.schedule) {
            if phase[0].schedule == Schedule::PerChunk {
                for chunk in &mut chunks.0 {
                    let mut others = OtherSpaces {
                        parameter: Bytes::Shared(&parameter),
                        state: Bytes::Shared(&state),
                        gradient: Bytes::Shared(&gradient),
                        chunks: Chunks::One(Bytes::Exclusive(chunk)),
                    };
                    let (constant, arena) = (model.constant(), &mut *arena);
                    run_phase(phase, &mut Memory { constant, arena, elsewhere: &mut others });
                }
            } else {
                let mut others = OtherSpaces {
                    parameter: Bytes::Exclusive(&mut parameter),
                    state: Bytes::Exclusive(&mut state),
                    gradient: Bytes::Exclusive(&mut gradient),
                    chunks: Chunks::All(&chunks),
                };
                let (constant, arena) = (model.constant(), &mut *arena);
                run_phase(phase, &mut Memory { constant, arena, elsewhere: &mut others });
            }
        }
    }
}

fn run_phase(phase: &[Step<'_>], memory: &mut Memory<'_>) {
    for &step in phase {
        if let Err(error) = ops::run::<AllOperators>(step, memory) {
            panic!("a valid step does not run: {error:?} in {step:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::sample;

    #[test]
    #[should_panic(expected = "a valid step does not run")]
    fn a_step_that_does_not_run_is_noticed() {
        let mut memory = Memory { constant: &[], arena: &mut [], elsewhere: &mut OtherSpaces::empty() };
        let steps = sample::sum().steps;
        run_phase(&[steps[0].step()], &mut memory);
    }
}
