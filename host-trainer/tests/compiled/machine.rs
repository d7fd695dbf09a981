//! Runs a compiled program's steps directly, on memory that is poisoned wherever nothing promises its contents.

use smidgen::{
    AllOperators, Bytes, ChunkList, Chunks, EntryKind, Memory, Operand, OtherSpaces, Schedule, Space, Step,
    elements, ops,
};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::Assembled;

/// Bytes that are NaN as f32.
const POISON: u8 = 0xff;

struct List<'a>(&'a [AlignedBytes]);

impl ChunkList for List<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self, index: usize) -> &[u8] {
        self.0[index].as_slice()
    }
}

/// A program and its memory.
pub(crate) struct Machine {
    pub(crate) assembled: Assembled,
    constant: AlignedBytes,
    parameter: AlignedBytes,
    state: AlignedBytes,
    gradient: AlignedBytes,
    chunks: Vec<AlignedBytes>,
    arena: AlignedBytes,
}

fn poisoned(length: u32) -> AlignedBytes {
    AlignedBytes::copy_of(&vec![POISON; length as usize])
}

impl Machine {
    pub(crate) fn new(assembled: Assembled, chunks: usize) -> Self {
        let memory = assembled.memory;
        Self {
            constant: AlignedBytes::copy_of(&assembled.constants),
            parameter: AlignedBytes::copy_of(&assembled.parameters),
            state: AlignedBytes::copy_of(&assembled.state),
            gradient: poisoned(memory.gradient),
            chunks: (0..chunks).map(|_| poisoned(memory.chunk)).collect(),
            arena: poisoned(memory.arena),
            assembled,
        }
    }

    fn bytes(&mut self, space: Space, chunk: usize) -> &mut [u8] {
        match space {
            Space::Constant => self.constant.as_mut_slice(),
            Space::Parameter => self.parameter.as_mut_slice(),
            Space::State => self.state.as_mut_slice(),
            Space::Gradient => self.gradient.as_mut_slice(),
            Space::Chunk => self.chunks[chunk].as_mut_slice(),
            Space::Arena => self.arena.as_mut_slice(),
        }
    }

    pub(crate) fn write(&mut self, operand: &Operand, chunk: usize, bytes: &[u8]) {
        let (start, end) = operand.range().unwrap();
        self.bytes(operand.space, chunk)[start..end].copy_from_slice(bytes);
    }

    pub(crate) fn read(&mut self, operand: &Operand) -> Vec<f32> {
        let (start, end) = operand.range().unwrap();
        elements::<f32>(&self.bytes(operand.space, 0)[start..end]).unwrap().to_vec()
    }

    pub(crate) fn tensor(&mut self, name: &str) -> Vec<f32> {
        let operand = *self.assembled.tensor(name).unwrap_or_else(|| panic!("no tensor {name}"));
        self.read(&operand)
    }

    /// Poisons the chunks, fills the inputs of each and runs the entry.
    pub(crate) fn run_batch(&mut self, kind: EntryKind, input: &[f32], target: &[u8]) {
        let entry = self.assembled.entry(kind).unwrap().clone();
        let chunks = self.chunks.len();
        for chunk in 0..chunks {
            self.chunks[chunk].as_mut_slice().fill(POISON);
            let bytes: &[u8] = bytemuck::cast_slice(input);
            for (operand, bytes) in entry.inputs.iter().zip([bytes, target]) {
                let length = bytes.len() / chunks;
                self.write(operand, chunk, &bytes[chunk * length..][..length]);
            }
        }
        self.run(kind);
    }

    /// Runs an entry as it is.
    pub(crate) fn run(&mut self, kind: EntryKind) {
        let steps = self.assembled.steps_of(kind).to_vec();
        let one_phase = steps.iter().all(|step| step.schedule == steps[0].schedule);
        for phase in steps.chunk_by(|left, right| left.schedule == right.schedule) {
            let turns = if phase[0].schedule == Schedule::Once { 1 } else { self.chunks.len() };
            for turn in 0..turns {
                if !one_phase {
                    self.arena.as_mut_slice().fill(POISON);
                }
                phase.iter().for_each(|step| self.run_step(step.step(), turn));
            }
        }
    }

    fn run_step(&mut self, step: Step<'_>, turn: usize) {
        let once = step.schedule == Schedule::Once;
        let mut chunks = std::mem::take(&mut self.chunks);
        let result = if once {
            let all = List(&chunks);
            let mut others = OtherSpaces {
                parameter: Bytes::Exclusive(self.parameter.as_mut_slice()),
                state: Bytes::Exclusive(self.state.as_mut_slice()),
                gradient: Bytes::Exclusive(self.gradient.as_mut_slice()),
                chunks: Chunks::All(&all),
            };
            let (constant, arena) = (self.constant.as_slice(), self.arena.as_mut_slice());
            ops::run::<AllOperators>(step, &mut Memory { constant, arena, elsewhere: &mut others })
        } else {
            let mut others = OtherSpaces {
                parameter: Bytes::Shared(self.parameter.as_slice()),
                state: Bytes::Shared(self.state.as_slice()),
                gradient: Bytes::Shared(self.gradient.as_slice()),
                chunks: Chunks::One(Bytes::Exclusive(chunks[turn].as_mut_slice())),
            };
            let (constant, arena) = (self.constant.as_slice(), self.arena.as_mut_slice());
            ops::run::<AllOperators>(step, &mut Memory { constant, arena, elsewhere: &mut others })
        };
        self.chunks = chunks;
        result.unwrap_or_else(|error| panic!("{step:?}: {error}"));
    }
}
