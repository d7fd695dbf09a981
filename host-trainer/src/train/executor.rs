//! Runs a training program over the chunks of a batch, on several threads.
//!
//! A program is a list of phases (see [`Schedule`]). In a phase that runs per chunk, threads claim chunks until none is left; each chunk has its own
//! memory, and what the batch shares is read-only. A phase that runs once is the main thread's. Sums are per chunk and added in chunk order, so that the
//! result depends on the chunk size, which is part of the recipe, and not on the number of threads.
//!
//! All memory is made in [`Executor::new`]: a step of training allocates nothing.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use smidgen::model::Entry;
use smidgen::{
    AllOperators, Bytes, ChunkList, Chunks, ElementType, EntryKind, Memory, Model, Operand, OtherSpaces,
    Schedule, Step, StepError, elements, elements_mut, ops,
};

use super::checkpoint::Snapshot;
use super::team::{Member, Team};
use crate::buffer::AlignedBytes;

/// What a batch is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// To train, on samples of the training set.
    Train {
        /// The epoch, counted from 0.
        epoch: u32,
    },
    /// To measure, on held-out samples of the training set.
    Validate,
    /// To measure, on samples of the test set.
    Test,
}

/// What the outputs of one chunk should be, to be written by a [`Feed`].
#[derive(Debug)]
pub enum Targets<'a> {
    /// The samples' classes, `[chunk]`, for the cross-entropy; -1 for none.
    Labels(&'a mut [i32]),
    /// The outputs themselves, `[chunk, H, W, C]`, for the mean squared error.
    Values(&'a mut [f32]),
}

/// Fills the inputs of one chunk.
pub trait Feed: Sync {
    /// Writes a key of two numbers for each of the samples `indices`, from which the network's dropouts draw what they drop. Samples that
    /// are to drop alike have the same key.
    fn keys(&self, pass: Pass, indices: &[u32], keys: &mut [i32]) {
        let Pass::Train { epoch } = pass else { return };
        for (key, &index) in keys.as_chunks_mut::<2>().0.iter_mut().zip(indices) {
            *key = [index.cast_signed(), epoch.cast_signed()];
        }
    }

    /// Writes the samples `indices` of the pass's data set to `input` (`[chunk, H, W, C]`) and what is to come of them to `targets`. Where there are
    /// fewer indices than the chunk has samples, the rest has to be written all the same, with labels of -1.
    fn fill(&self, pass: Pass, indices: &[u32], input: &mut [f32], targets: Targets<'_>);
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The program lacks an entry.
    #[error("the program has no entry {kind:?}; compile the network for training")]
    NoEntry {
        /// The missing entry.
        kind: EntryKind,
    },
    /// An entry does not have the operands that training needs.
    #[error(
        "entry {kind:?} needs an f32 input and i32 labels or f32 targets that each chunk keeps, and a sum of losses in the state"
    )]
    Operands {
        /// The entry.
        kind: EntryKind,
    },
    /// A step failed: the program was compiled wrongly.
    #[error("step {step} ({name}) of entry {kind:?} failed: {error}")]
    Step {
        /// The entry.
        kind: EntryKind,
        /// Index of the step in the entry.
        step: usize,
        /// Name of its operator.
        name: &'static str,
        /// What the operator says.
        error: StepError,
    },
    /// A snapshot has other lengths than this program's memory.
    #[error("the snapshot is another program's: its parameters or its state have another length")]
    Snapshot,
    /// A worker thread panicked.
    #[error("a worker thread panicked; this is a defect of the trainer, please report it")]
    WorkerPanicked,
}

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Sum of the losses.
    pub loss: f64,
    /// How many samples were classified right.
    pub correct: f64,
    /// How many samples there were.
    pub samples: u64,
}

impl LossSum {
    /// The mean loss.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    /// The fraction of samples classified right.
    pub fn accuracy(&self) -> f64 {
        self.correct / self.samples.max(1) as f64
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.samples += other.samples;
    }
}

/// The steps of one schedule that follow one another.
#[derive(Debug)]
struct Phase<'m> {
    schedule: Schedule,
    first_step: usize,
    steps: Vec<Step<'m>>,
}

/// An entry, decoded.
#[derive(Debug)]
struct Procedure<'m> {
    kind: EntryKind,
    entry: Entry<'m>,
    phases: Vec<Phase<'m>>,
}

impl<'m> Procedure<'m> {
    fn new(model: &Model<'m>, kind: EntryKind) -> Result<Self, ExecutorError> {
        let entry = model.entry(kind).ok_or(ExecutorError::NoEntry { kind })?;
        let mut phases: Vec<Phase<'m>> = Vec::new();
        for (index, step) in model.steps(&entry).flatten().enumerate() {
            match phases.last_mut() {
                Some(phase) if phase.schedule == step.schedule => phase.steps.push(step),
                _ => phases.push(Phase { schedule: step.schedule, first_step: index, steps: vec![step] }),
            }
        }
        Ok(Self { kind, entry, phases })
    }

    fn run_phase(&self, index: usize, memory: &mut Memory<'_>) -> Result<(), ExecutorError> {
        let phase = &self.phases[index];
        for (i, &step) in phase.steps.iter().enumerate() {
            ops::run::<AllOperators>(step, memory).map_err(|error| ExecutorError::Step {
                kind: self.kind,
                step: phase.first_step + i,
                name: smidgen::Operator::from_code(step.operator).map_or("unknown", smidgen::Operator::name),
                error,
            })?;
        }
        Ok(())
    }

    fn operands(&self, inputs: usize, outputs: usize) -> Result<(), ExecutorError> {
        let error = ExecutorError::Operands { kind: self.kind };
        let there = self.entry.inputs.len() == inputs && self.entry.outputs.len() >= outputs;
        if there { Ok(()) } else { Err(error) }
    }
}

/// The operands by which the outside reaches a program.
#[derive(Clone, Copy, Debug)]
struct Interface {
    input: Operand,
    targets: Operand,
    /// The samples' keys, if the network has dropouts.
    keys: Option<Operand>,
    loss: Operand,
}

impl Interface {
    fn of(procedure: &Procedure<'_>) -> Result<Self, ExecutorError> {
        let Entry { inputs, outputs, .. } = procedure.entry;
        procedure.operands(inputs.len().clamp(2, 3), 1)?;
        Ok(Self { input: inputs[0], targets: inputs[1], keys: inputs.get(2).copied(), loss: outputs[0] })
    }
}

/// A program, the memory it runs in, and the batch it works on.
#[derive(Debug)]
pub struct Executor<'m> {
    constant: &'m [u8],
    train: Procedure<'m>,
    update: Procedure<'m>,
    evaluate: Procedure<'m>,
    train_interface: Interface,
    evaluate_interface: Interface,
    hyperparameters: Operand,
    chunk_samples: usize,
    arena_bytes: usize,
    threads: usize,
    parameter: RwLock<AlignedBytes>,
    state: RwLock<AlignedBytes>,
    gradient: RwLock<AlignedBytes>,
    chunks: Vec<RwLock<AlignedBytes>>,
    /// What the batch is run for, and its samples.
    batch: RwLock<(Pass, Vec<u32>)>,
}

impl<'m> Executor<'m> {
    /// An executor of `model` for batches of `chunks` chunks. `model` has the entries `Train`, `Update` and `Evaluate`.
    ///
    /// # Errors
    /// [`ExecutorError::NoEntry`], [`ExecutorError::Operands`].
    pub fn new(model: &Model<'m>, chunks: usize, threads: usize) -> Result<Self, ExecutorError> {
        let train = Procedure::new(model, EntryKind::Train)?;
        let update = Procedure::new(model, EntryKind::Update)?;
        let evaluate = Procedure::new(model, EntryKind::Evaluate)?;
        let (train_interface, evaluate_interface) = (Interface::of(&train)?, Interface::of(&evaluate)?);
        update.operands(1, 0)?;
        let memory = model.header().memory;
        let initial = |length: u32, initial: Option<&[u8]>| {
            RwLock::new(initial.map_or_else(|| AlignedBytes::zeroed(length as usize), AlignedBytes::copy_of))
        };
        let samples = train_interface.targets.shape.0[0] as usize;
        Ok(Self {
            constant: model.constant(),
            hyperparameters: update.entry.inputs[0],
            chunk_samples: samples,
            arena_bytes: memory.arena as usize,
            threads: threads.clamp(1, chunks.max(1)),
            parameter: initial(memory.parameter, model.initial_parameters()),
            state: initial(memory.state, model.initial_state()),
            gradient: initial(memory.gradient, None),
            chunks: (0..chunks).map(|_| initial(memory.chunk, None)).collect(),
            batch: RwLock::new((Pass::Validate, Vec::with_capacity(chunks * samples))),
            train,
            update,
            evaluate,
            train_interface,
            evaluate_interface,
        })
    }

    /// Samples in a batch.
    pub fn batch_samples(&self) -> usize {
        self.chunks.len() * self.chunk_samples
    }

    /// Threads that work, this one included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Copies of the parameters and of the state.
    pub fn snapshot(&self) -> Snapshot {
        (read(&self.parameter).clone(), read(&self.state).clone())
    }

    /// The parameters, lent to `look`.
    pub fn with_parameters<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(read(&self.parameter).as_slice())
    }

    /// The parameters and the state, lent to `look`.
    pub fn with_memory<T>(&self, look: impl FnOnce(&[u8], &[u8]) -> T) -> T {
        look(read(&self.parameter).as_slice(), read(&self.state).as_slice())
    }

    /// The gradients, lent to `look`.
    pub fn with_gradients<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(read(&self.gradient).as_slice())
    }

    /// The state, lent to `change`.
    pub(super) fn with_state_mut(&self, change: impl FnOnce(&mut [u8])) {
        change(write(&self.state).as_mut_slice());
    }

    /// Puts parameters and state back to a snapshot.
    ///
    /// # Errors
    /// [`ExecutorError::Snapshot`].
    pub fn restore(&self, (parameter, state): &Snapshot) -> Result<(), ExecutorError> {
        let (mut own_parameter, mut own_state) = (write(&self.parameter), write(&self.state));
        let fits = own_parameter.as_slice().len() == parameter.as_slice().len()
            && own_state.as_slice().len() == state.as_slice().len();
        if !fits {
            return Err(ExecutorError::Snapshot);
        }
        own_parameter.as_mut_slice().copy_from_slice(parameter.as_slice());
        own_state.as_mut_slice().copy_from_slice(state.as_slice());
        Ok(())
    }

    /// Runs `body` with the worker threads at hand; they end when it returns.
    ///
    /// # Errors
    /// [`ExecutorError::WorkerPanicked`].
    pub fn scope<T>(
        &self,
        feed: &dyn Feed,
        body: impl FnOnce(&mut Driver<'_, '_>) -> T,
    ) -> Result<T, ExecutorError> {
        let team = Team::new(self.chunks.len());
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| {
                    let mut arena = AlignedBytes::zeroed(self.arena_bytes);
                    team.work(|job, chunk| self.run_chunk(feed, job, chunk, arena.as_mut_slice()));
                });
            }
            let member = team.lead();
            let arena = AlignedBytes::zeroed(self.arena_bytes);
            let guards = ChunkGuards(Vec::with_capacity(self.chunks.len()));
            let value = body(&mut Driver { executor: self, feed, member, arena, guards });
            if team.is_broken() { Err(ExecutorError::WorkerPanicked) } else { Ok(value) }
        })
    }

    fn procedure(&self, pass: Pass) -> (&Procedure<'m>, &Interface) {
        match pass {
            Pass::Train { .. } => (&self.train, &self.train_interface),
            Pass::Validate | Pass::Test => (&self.evaluate, &self.evaluate_interface),
        }
    }

    /// Runs one phase for one chunk; the first phase fills the chunk's inputs before.
    fn run_chunk(
        &self,
        feed: &dyn Feed,
        job: Job,
        index: usize,
        arena: &mut [u8],
    ) -> Result<(), ExecutorError> {
        let (procedure, interface) = self.procedure(job.pass);
        let mut chunk = write(&self.chunks[index]);
        let (parameter, state) = (read(&self.parameter), read(&self.state));
        let gradient = read(&self.gradient);
        let mut others = OtherSpaces {
            parameter: Bytes::Shared(parameter.as_slice()),
            state: Bytes::Shared(state.as_slice()),
            gradient: Bytes::Shared(gradient.as_slice()),
            chunks: Chunks::One(Bytes::Exclusive(chunk.as_mut_slice())),
        };
        let mut memory = Memory { constant: self.constant, arena, elsewhere: &mut others };
        if job.phase == 0 {
            self.fill(feed, interface, index, &mut memory)
                .map_err(|_| ExecutorError::Operands { kind: procedure.kind })?;
        }
        procedure.run_phase(job.phase, &mut memory)
    }

    fn fill(
        &self,
        feed: &dyn Feed,
        interface: &Interface,
        index: usize,
        memory: &mut Memory<'_>,
    ) -> Result<(), StepError> {
        let batch = read(&self.batch);
        let (pass, samples) = (batch.0, &batch.1);
        let start = (index * self.chunk_samples).min(samples.len());
        let end = (start + self.chunk_samples).min(samples.len());
        let views = memory.views([], [&interface.input, &interface.targets])?;
        let [input, targets] = views.writes;
        let targets = match interface.targets.element_type {
            ElementType::F32 => Targets::Values(elements_mut(targets)?),
            _ => Targets::Labels(elements_mut(targets)?),
        };
        feed.fill(pass, &samples[start..end], elements_mut(input)?, targets);
        if let Some(keys) = &interface.keys {
            feed.keys(pass, &samples[start..end], elements_mut(memory.write(keys)?)?);
        }
        Ok(())
    }

    /// Runs one phase that runs once for the batch.
    fn run_once(
        &self,
        procedure: &Procedure<'_>,
        phase: usize,
        arena: &mut [u8],
        chunks: &dyn ChunkList,
    ) -> Result<(), ExecutorError> {
        let (mut parameter, mut state) = (write(&self.parameter), write(&self.state));
        let mut gradient = write(&self.gradient);
        let mut others = OtherSpaces {
            parameter: Bytes::Exclusive(parameter.as_mut_slice()),
            state: Bytes::Exclusive(state.as_mut_slice()),
            gradient: Bytes::Exclusive(gradient.as_mut_slice()),
            chunks: Chunks::All(chunks),
        };
        let mut memory = Memory { constant: self.constant, arena, elsewhere: &mut others };
        procedure.run_phase(phase, &mut memory)
    }

    fn hyperparameters(&self, change: impl FnOnce(&mut [f32])) -> Result<(), ExecutorError> {
        let error = || ExecutorError::Operands { kind: EntryKind::Update };
        let (start, end) = self.hyperparameters.range().ok_or_else(error)?;
        let mut state = write(&self.state);
        let bytes = state.as_mut_slice().get_mut(start..end).ok_or_else(error)?;
        change(elements_mut(bytes).map_err(|_| error())?);
        Ok(())
    }
}

/// One phase of one entry, for the workers.
#[derive(Clone, Copy, Debug)]
struct Job {
    pass: Pass,
    phase: usize,
}

/// An executor whose worker threads wait for work.
pub struct Driver<'e, 'm> {
    executor: &'e Executor<'m>,
    feed: &'e dyn Feed,
    member: Member<'e, Job, ExecutorError>,
    arena: AlignedBytes,
    guards: ChunkGuards<'e>,
}

impl std::fmt::Debug for Driver<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("executor", &self.executor).finish_non_exhaustive()
    }
}

impl<'e, 'm> Driver<'e, 'm> {
    /// The executor.
    pub fn executor(&self) -> &'e Executor<'m> {
        self.executor
    }

    /// One step of training on the samples `indices`, a whole batch, and the losses before it.
    ///
    /// # Errors
    /// See [`ExecutorError`]. The parameters are then not to be trusted.
    pub fn train(
        &mut self,
        epoch: u32,
        indices: &[u32],
        learning_rate: f32,
    ) -> Result<LossSum, ExecutorError> {
        let losses = self.gradients(epoch, indices)?;
        self.update(learning_rate)?;
        Ok(losses)
    }

    /// Forward and backward only: the losses, and the gradients in the gradient space.
    ///
    /// # Errors
    /// See [`ExecutorError`].
    pub fn gradients(&mut self, epoch: u32, indices: &[u32]) -> Result<LossSum, ExecutorError> {
        self.run(Pass::Train { epoch }, indices)
    }

    /// Updates the parameters with the gradients that are there.
    ///
    /// # Errors
    /// See [`ExecutorError`].
    pub fn update(&mut self, learning_rate: f32) -> Result<(), ExecutorError> {
        self.executor.hyperparameters(|values| values[0] = learning_rate)?;
        for phase in 0..self.executor.update.phases.len() {
            self.once(&self.executor.update, phase)?;
        }
        Ok(())
    }

    /// The losses on the samples `indices` of the pass's data set, any number of them, with the running statistics.
    ///
    /// # Errors
    /// See [`ExecutorError`].
    pub fn evaluate(&mut self, pass: Pass, indices: &[u32]) -> Result<LossSum, ExecutorError> {
        let mut sum = LossSum::default();
        for batch in indices.chunks(self.executor.batch_samples()) {
            sum.add(self.run(pass, batch)?);
        }
        Ok(sum)
    }

    fn run(&mut self, pass: Pass, indices: &[u32]) -> Result<LossSum, ExecutorError> {
        let executor = self.executor;
        {
            let mut batch = write(&executor.batch);
            batch.0 = pass;
            batch.1.clear();
            batch.1.extend_from_slice(indices);
        }
        let (procedure, interface) = executor.procedure(pass);
        for (phase, Phase { schedule, .. }) in procedure.phases.iter().enumerate() {
            match schedule {
                Schedule::Once => self.once(procedure, phase)?,
                Schedule::PerChunk => {
                    let (feed, arena) = (self.feed, self.arena.as_mut_slice());
                    let job = Job { pass, phase };
                    self.member.run(job, |job, chunk| executor.run_chunk(feed, job, chunk, arena))?;
                }
            }
        }
        let error = || ExecutorError::Operands { kind: procedure.kind };
        let state = read(&executor.state);
        let (start, end) = interface.loss.range().ok_or_else(error)?;
        let bytes = state.as_slice().get(start..end).ok_or_else(error)?;
        let &[loss, correct] = elements::<f32>(bytes).map_err(|_| error())? else { return Err(error()) };
        Ok(LossSum { loss: loss.into(), correct: correct.into(), samples: indices.len() as u64 })
    }

    fn once(&mut self, procedure: &Procedure<'_>, phase: usize) -> Result<(), ExecutorError> {
        let Self { executor, guards, arena, .. } = self;
        guards.0.extend(executor.chunks.iter().map(read));
        let result = executor.run_once(procedure, phase, arena.as_mut_slice(), guards);
        guards.0.clear();
        result
    }
}

/// All chunks, locked for reading.
struct ChunkGuards<'e>(Vec<RwLockReadGuard<'e, AlignedBytes>>);

impl ChunkList for ChunkGuards<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self, index: usize) -> &[u8] {
        self.0.get(index).map_or(&[], |guard| guard.as_slice())
    }
}

/// A panic elsewhere ends the run by other means; what a lock guards is plain bytes.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
