//! Running a model in one block of the caller's memory.

use bytemuck::{AnyBitPattern, NoUninit};

use crate::memory::{Bytes, Chunks, Elsewhere, HasSpaces, Memory, OtherSpaces, elements, elements_mut};
use crate::model::{ALIGNMENT, EntryKind, MemoryLengths, Model};
use crate::operand::{ElementType, Operand};
use crate::ops::{self, Operators};
use crate::step::{Step, StepError};

/// A model and the memory it runs in. Nothing is allocated, and a run cannot fail but for a missing entry.
///
/// The caller's block holds, in this order: parameters, state, gradients, one chunk, the arena. A model that only infers has
/// nothing but an arena.
#[derive(Debug)]
pub struct Session<'m, 'a, O> {
    model: Model<'m, O>,
    others: Others<'a>,
    arena: &'a mut [u8],
}

/// Why a session was not made, or a run not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionError {
    /// The memory given is too small.
    ArenaTooSmall {
        /// Bytes that the model needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The memory given is not at a multiple of 16 bytes.
    ArenaMisaligned,
    /// The model has no entry of this kind.
    NoEntry {
        /// The kind asked for.
        kind: EntryKind,
    },
    /// The entry has no such input or output, or one of another element type.
    NoOperand {
        /// The index asked for.
        index: usize,
    },
    /// Parameters to be loaded are of another length.
    ParameterLength {
        /// Bytes that the model has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A step failed, which does not happen to a validated model.
    Step {
        /// Index of the step in its entry.
        step: u32,
        /// What its operator says.
        error: StepError,
    },
    /// A step did not decode, which does not happen to a validated model.
    Malformed {
        /// Index of the step in its entry.
        step: u32,
    },
}

impl core::fmt::Display for SessionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ArenaTooSmall { expected, found } => {
                write!(f, "the model needs {expected} bytes of memory, {found} were given")
            }
            Self::ArenaMisaligned => write!(f, "the memory given is not at a multiple of {ALIGNMENT} bytes"),
            Self::NoEntry { kind } => write!(f, "the model has no entry {kind:?}"),
            Self::NoOperand { index } => {
                write!(f, "the entry has no input or output {index} of this element type")
            }
            Self::ParameterLength { expected, found } => {
                write!(f, "the model has {expected} bytes of parameters, {found} were given")
            }
            Self::Step { step, error } => write!(f, "step {step}: {error}"),
            Self::Malformed { step } => write!(f, "step {step} does not decode"),
        }
    }
}

impl core::error::Error for SessionError {}

/// Watches a run, step by step: for profiles, traces and hashes. `()` watches nothing and costs nothing.
pub trait Observer {
    /// Called before step `index` of the entry.
    fn before(&mut self, index: u32, step: Step<'_>) {
        let _ = (index, step);
    }

    /// Called after step `index` of the entry. What it wrote can be read from `memory`.
    fn after(&mut self, index: u32, step: Step<'_>, memory: &mut Memory<'_>) {
        let _ = (index, step, memory);
    }
}

impl Observer for () {}

/// Element types of Rust and of operands.
pub trait Element: AnyBitPattern + NoUninit {
    /// The operand's element type.
    const TYPE: ElementType;
}

impl Element for i8 {
    const TYPE: ElementType = ElementType::I8;
}

impl Element for u8 {
    const TYPE: ElementType = ElementType::U8;
}

impl Element for i16 {
    const TYPE: ElementType = ElementType::I16;
}

impl Element for i32 {
    const TYPE: ElementType = ElementType::I32;
}

impl Element for f32 {
    const TYPE: ElementType = ElementType::F32;
}

impl<'m, 'a, O: Operators> Session<'m, 'a, O> {
    /// A session of `model` in `memory`, with the parameters and the state at their initial values.
    ///
    /// `memory` lies at a multiple of 16 bytes (see [`Aligned`](crate::Aligned)) and has at least
    /// [`Model::arena_bytes`] bytes; more are left alone.
    ///
    /// # Errors
    /// [`SessionError::ArenaTooSmall`], [`SessionError::ArenaMisaligned`].
    pub fn new(model: Model<'m, O>, memory: &'a mut [u8]) -> Result<Self, SessionError> {
        let (expected, found) = (model.arena_bytes(), memory.len());
        let too_small = SessionError::ArenaTooSmall { expected, found };
        if !(memory.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
            return Err(SessionError::ArenaMisaligned);
        }
        let MemoryLengths { parameter, state, gradient, chunk, arena } = model.header().memory;
        let split =
            |memory: &'a mut [u8], length: u32| memory.split_at_mut_checked(length as usize).ok_or(too_small);
        let (parameter, rest) = split(memory, parameter)?;
        let (state, rest) = split(rest, state)?;
        let (gradient, rest) = split(rest, gradient)?;
        let (chunk, rest) = split(rest, chunk)?;
        let (arena, _) = split(rest, arena)?;
        let others = Others { parameter, state, gradient, chunk };
        let mut session = Self { model, others, arena };
        session.reset();
        Ok(session)
    }

    /// Puts parameters and state back to their initial values, and gradients to zero.
    pub fn reset(&mut self) {
        fill(self.others.parameter, self.model.initial_parameters());
        fill(self.others.state, self.model.initial_state());
        fill(self.others.gradient, None);
    }

    /// Puts the state back to its initial value: a network that keeps something from run to run begins anew. Parameters stay.
    pub fn reset_state(&mut self) {
        fill(self.others.state, self.model.initial_state());
    }

    /// Puts these bytes in the place of the parameters. Whatever they are, a run stays within its memory; whether they are good is the caller's to know.
    ///
    /// # Errors
    /// [`SessionError::ParameterLength`]; nothing has changed then.
    pub fn load_parameters(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let (expected, found) = (self.others.parameter.len(), bytes.len());
        if expected != found {
            return Err(SessionError::ParameterLength { expected, found });
        }
        self.others.parameter.copy_from_slice(bytes);
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &Model<'m, O> {
        &self.model
    }

    /// The parameters' bytes.
    pub fn parameters(&self) -> &[u8] {
        self.others.parameter
    }

    /// The state's bytes.
    pub fn state(&self) -> &[u8] {
        self.others.state
    }

    /// Input `index` of an entry, to be written before a run. A run may use its place for something else.
    ///
    /// # Errors
    /// [`SessionError::NoEntry`], [`SessionError::NoOperand`].
    pub fn input_mut<T: Element>(&mut self, kind: EntryKind, index: usize) -> Result<&mut [T], SessionError> {
        let operand = typed::<T>(self.input(kind, index)?, index)?;
        elements_mut(self.bytes_mut(operand, index)?).map_err(|_| SessionError::NoOperand { index })
    }

    /// Output `index` of an entry, to be read after a run.
    ///
    /// # Errors
    /// [`SessionError::NoEntry`], [`SessionError::NoOperand`].
    pub fn output<T: Element>(&mut self, kind: EntryKind, index: usize) -> Result<&[T], SessionError> {
        let entry = self.model.entry(kind).ok_or(SessionError::NoEntry { kind })?;
        let operand = entry.outputs.get(index).ok_or(SessionError::NoOperand { index })?;
        let operand = typed::<T>(operand, index)?;
        let error = |_| SessionError::NoOperand { index };
        elements(self.memory().into_read(operand).map_err(error)?).map_err(error)
    }

    /// As [`input_mut`](Self::input_mut), of whatever element type: its bytes, least significant first.
    ///
    /// # Errors
    /// [`SessionError::NoEntry`], [`SessionError::NoOperand`].
    pub fn input_bytes_mut(&mut self, kind: EntryKind, index: usize) -> Result<&mut [u8], SessionError> {
        let operand = self.input(kind, index)?;
        self.bytes_mut(operand, index)
    }

    /// As [`output`](Self::output), of whatever element type: its bytes, least significant first.
    ///
    /// # Errors
    /// [`SessionError::NoEntry`], [`SessionError::NoOperand`].
    pub fn output_bytes(&mut self, kind: EntryKind, index: usize) -> Result<&[u8], SessionError> {
        let entry = self.model.entry(kind).ok_or(SessionError::NoEntry { kind })?;
        let error = SessionError::NoOperand { index };
        self.memory().into_read(entry.outputs.get(index).ok_or(error)?).map_err(|_| error)
    }

    fn input(&self, kind: EntryKind, index: usize) -> Result<&'m Operand, SessionError> {
        let entry = self.model.entry(kind).ok_or(SessionError::NoEntry { kind })?;
        entry.inputs.get(index).ok_or(SessionError::NoOperand { index })
    }

    fn bytes_mut(&mut self, operand: &Operand, index: usize) -> Result<&mut [u8], SessionError> {
        self.memory().into_write(operand).map_err(|_| SessionError::NoOperand { index })
    }

    /// Runs an entry.
    ///
    /// # Errors
    /// [`SessionError::NoEntry`].
    pub fn run(&mut self, kind: EntryKind) -> Result<(), SessionError> {
        self.run_observed(kind, &mut ())
    }

    /// Runs an entry and shows each step to `observer`.
    ///
    /// # Errors
    /// [`SessionError::NoEntry`].
    pub fn run_observed(
        &mut self,
        kind: EntryKind,
        observer: &mut impl Observer,
    ) -> Result<(), SessionError> {
        let entry = self.model.entry(kind).ok_or(SessionError::NoEntry { kind })?;
        let steps = self.model.steps(&entry);
        let mut memory = self.memory();
        for (index, step) in (0..).zip(steps) {
            let step = step.map_err(|_| SessionError::Malformed { step: index })?;
            observer.before(index, step);
            ops::run::<O>(step, &mut memory).map_err(|error| SessionError::Step { step: index, error })?;
            observer.after(index, step, &mut memory);
        }
        Ok(())
    }

    fn memory(&mut self) -> Memory<'_> {
        let nowhere: &mut [OtherSpaces<'_>; 0] = &mut [];
        let elsewhere: &mut dyn Elsewhere = if O::ARENA_ONLY { nowhere } else { &mut self.others };
        Memory { constant: self.model.constant(), arena: self.arena, elsewhere }
    }
}

/// The spaces besides constants and arena.
#[derive(Debug)]
struct Others<'a> {
    parameter: &'a mut [u8],
    state: &'a mut [u8],
    gradient: &'a mut [u8],
    chunk: &'a mut [u8],
}

impl HasSpaces for Others<'_> {
    fn spaces(&mut self) -> Option<OtherSpaces<'_>> {
        Some(OtherSpaces {
            parameter: Bytes::Exclusive(self.parameter),
            state: Bytes::Exclusive(self.state),
            gradient: Bytes::Exclusive(self.gradient),
            chunks: Chunks::One(Bytes::Exclusive(self.chunk)),
        })
    }
}

fn fill(space: &mut [u8], initial: Option<&[u8]>) {
    match initial {
        Some(initial) if initial.len() == space.len() => space.copy_from_slice(initial),
        _ => space.fill(0),
    }
}

/// `operand`, if its elements are `T`.
fn typed<T: Element>(operand: &Operand, index: usize) -> Result<&Operand, SessionError> {
    if operand.element_type == T::TYPE { Ok(operand) } else { Err(SessionError::NoOperand { index }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Aligned;
    use crate::model::{Metadata, ModelParts, NewEntry, Preprocessing, write};
    use crate::operand::{Quantization, Shape, Space};
    use crate::ops::{AllOperators, Operator};
    use crate::step::{NewStep, Schedule};
    use std::vec::Vec;

    fn operand(space: Space, offset: u32) -> Operand {
        Operand {
            space,
            element_type: ElementType::F32,
            offset,
            shape: Shape::vector(4),
            quantization: Quantization::NONE,
        }
    }

    /// A model that adds a constant to its input, twice, and applies ReLU.
    fn file(buffer: &mut [u8]) -> &[u8] {
        let (input, constant) = (operand(Space::Arena, 0), operand(Space::Constant, 0));
        let step = |activation: i32, write| NewStep {
            operator: Operator::AddF32 as u8,
            schedule: Schedule::PerChunk,
            attributes: heapless::Vec::from_slice(&[activation, 0]).unwrap(),
            reads: heapless::Vec::from_slice(&[input, constant]).unwrap(),
            writes: heapless::Vec::from_slice(&[write]).unwrap(),
        };
        let output = operand(Space::Arena, 16);
        let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let parts = ModelParts {
            metadata: Metadata {
                name: "sum",
                labels: "",
                step_names: "add_0\nadd_1",
                provenance: "",
                preprocessing: Preprocessing::None,
            },
            entries: &[NewEntry {
                kind: EntryKind::Infer,
                first_step: 0,
                step_count: 2,
                inputs: &[input],
                outputs: &[output],
            }],
            steps: &[step(0, input), step(1, output)],
            memory: MemoryLengths { arena: 32, ..MemoryLengths::default() },
            weights: &weights,
            initial_parameters: None,
            initial_state: None,
        };
        let length = write(&parts, buffer).unwrap();
        &buffer[..length]
    }

    #[derive(Default)]
    struct Trace(Vec<(u32, f32)>);

    impl Observer for Trace {
        fn after(&mut self, index: u32, step: Step<'_>, memory: &mut Memory<'_>) {
            let written = memory.read(&step.writes[0]).unwrap();
            self.0.push((index, elements::<f32>(written).unwrap()[0]));
        }
    }

    #[test]
    fn a_written_model_loads_and_runs() {
        let mut buffer = Aligned([0u8; 1024]);
        let model = Model::<AllOperators>::from_bytes(file(&mut buffer.0)).unwrap();
        assert_eq!((model.metadata().name, model.arena_bytes()), ("sum", 32));
        assert_eq!((model.header().input_bytes, model.header().output_bytes), (16, 16));
        let mut arena = Aligned([0u8; 32]);
        let mut session = Session::new(model, &mut arena.0).unwrap();
        let input = session.input_mut::<f32>(EntryKind::Infer, 0).unwrap();
        input.copy_from_slice(&[0.5, -10.0, 0.0, 1.0]);
        let mut trace = Trace::default();
        session.run_observed(EntryKind::Infer, &mut trace).unwrap();
        assert_eq!(session.output::<f32>(EntryKind::Infer, 0).unwrap(), [2.5, 0.0, 6.0, 9.0]);
        assert_eq!(trace.0, [(0, 1.5), (1, 2.5)]);
        let error = SessionError::NoOperand { index: 0 };
        assert_eq!(session.input_mut::<i8>(EntryKind::Infer, 0), Err(error));
        assert_eq!(session.run(EntryKind::Train), Err(SessionError::NoEntry { kind: EntryKind::Train }));
    }

    #[test]
    fn memory_is_checked() {
        let mut buffer = Aligned([0u8; 1024]);
        let model = Model::<AllOperators>::from_bytes(file(&mut buffer.0)).unwrap();
        let mut arena = Aligned([0u8; 48]);
        let error = Session::new(model, &mut arena.0[..31]).unwrap_err();
        assert_eq!(error, SessionError::ArenaTooSmall { expected: 32, found: 31 });
        let error = Session::new(model, &mut arena.0[1..]).unwrap_err();
        assert_eq!(error, SessionError::ArenaMisaligned);
    }
}
