//! Carrying out a [`Run`]: the same code on the device and on the host.

use smidgen::checksum::crc32c;
use smidgen::model::Entry;
use smidgen::{EntryKind, Memory, Observer, Operators, Session, SessionError, Step, StepError};

use crate::message::{Record, Run};

/// The other end, as the job sees it.
pub trait Host {
    /// What can go wrong with it.
    type Error;

    /// Reads the next `bytes.len()` bytes of the inputs.
    ///
    /// # Errors
    /// If there are not so many left, or they cannot be read.
    fn input(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes the next bytes of the outputs.
    ///
    /// # Errors
    /// If they cannot be written.
    fn output(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Writes the next record.
    ///
    /// # Errors
    /// If it cannot be written.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Self::Error>;
}

/// What measures a run. `()` measures nothing: every count is 0.
pub trait Probe {
    /// The timer, which counts up and wraps.
    fn ticks(&mut self) -> u32;

    /// Runs `work` and measures how many bytes of stack it takes.
    fn stack<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> (R, u32);
}

impl Probe for () {
    fn ticks(&mut self) -> u32 {
        0
    }

    fn stack<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> (R, u32) {
        (work(self), 0)
    }
}

/// Why a job was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobError<E> {
    /// The session refused.
    Session(SessionError),
    /// A step wrote outside of its memory, which a validated model does not.
    Trace(StepError),
    /// The other end failed.
    Host(E),
}

/// Carries out `run`.
///
/// # Errors
/// See [`JobError`].
pub fn run<O: Operators, H: Host, P: Probe>(
    run: &Run,
    session: &mut Session<'_, '_, O>,
    host: &mut H,
    probe: &mut P,
) -> Result<(), JobError<H::Error>> {
    let mut stack_is_measured = false;
    for round in 0..run.rounds {
        let traced = run.traces(round);
        if run.reset_state {
            session.reset_state();
        }
        for (entry, &kind) in (0..).zip(&run.entries) {
            read_inputs(kind, session, host)?;
            let (ticks, stack_bytes) = if traced {
                let mut trace = Trace { round, entry, host, probe, began: 0, total: 0, result: Ok(()) };
                session.run_observed(kind, &mut trace).map_err(JobError::Session)?;
                trace.result?;
                (trace.total, None)
            } else if stack_is_measured {
                (timed(kind, session, probe).map_err(JobError::Session)?, None)
            } else {
                let (ticks, used) = probe.stack(|probe| timed(kind, session, probe));
                (ticks.map_err(JobError::Session)?, Some(used))
            };
            host.record(&Record::Ran { round, entry, ticks, stack_bytes }).map_err(JobError::Host)?;
            write_outputs(kind, session, host)?;
        }
        stack_is_measured |= !traced;
        if !session.parameters().is_empty() {
            let (parameters, state) = (crc32c(session.parameters()), crc32c(session.state()));
            host.record(&Record::Trained { round, parameters, state }).map_err(JobError::Host)?;
        }
    }
    host.record(&Record::Finished).map_err(JobError::Host)
}

/// Runs an entry and returns the ticks that it took. Not inlined, so that every count is of the same instructions.
///
/// # Errors
/// See [`Session::run`].
#[inline(never)]
pub fn timed<O: Operators, P: Probe>(
    kind: EntryKind,
    session: &mut Session<'_, '_, O>,
    probe: &mut P,
) -> Result<u32, SessionError> {
    let began = probe.ticks();
    session.run(kind)?;
    Ok(probe.ticks().wrapping_sub(began))
}

/// Fills the inputs of an entry, in order.
///
/// # Errors
/// See [`JobError`].
pub fn read_inputs<O: Operators, H: Host>(
    kind: EntryKind,
    session: &mut Session<'_, '_, O>,
    host: &mut H,
) -> Result<(), JobError<H::Error>> {
    let count = entry(kind, session)?.inputs.len();
    for index in 0..count {
        let bytes = session.input_bytes_mut(kind, index).map_err(JobError::Session)?;
        host.input(bytes).map_err(JobError::Host)?;
    }
    Ok(())
}

/// Writes the outputs of an entry, in order.
///
/// # Errors
/// See [`JobError`].
pub fn write_outputs<O: Operators, H: Host>(
    kind: EntryKind,
    session: &mut Session<'_, '_, O>,
    host: &mut H,
) -> Result<(), JobError<H::Error>> {
    let count = entry(kind, session)?.outputs.len();
    for index in 0..count {
        let bytes = session.output_bytes(kind, index).map_err(JobError::Session)?;
        host.output(bytes).map_err(JobError::Host)?;
    }
    Ok(())
}

fn entry<'m, O: Operators, E>(
    kind: EntryKind,
    session: &Session<'m, '_, O>,
) -> Result<Entry<'m>, JobError<E>> {
    session.model().entry(kind).ok_or(JobError::Session(SessionError::NoEntry { kind }))
}

/// Hash of what a step wrote: the CRC-32C of its write. With several writes, each rotates the hash so far by one bit to the left and
/// is combined with it by exclusive or.
///
/// # Errors
/// [`StepError::Memory`] if a write does not lie in its memory.
pub fn hash(step: Step<'_>, memory: &mut Memory<'_>) -> Result<u32, StepError> {
    step.writes.iter().try_fold(0u32, |hash, write| Ok(hash.rotate_left(1) ^ crc32c(memory.read(write)?)))
}

/// Reports each step. What it does itself does not count as the step's time.
struct Trace<'a, H: Host, P> {
    round: u32,
    entry: u8,
    host: &'a mut H,
    probe: &'a mut P,
    began: u32,
    total: u32,
    result: Result<(), JobError<H::Error>>,
}

impl<H: Host, P: Probe> Observer for Trace<'_, H, P> {
    fn before(&mut self, _index: u32, _step: Step<'_>) {
        self.began = self.probe.ticks();
    }

    fn after(&mut self, index: u32, step: Step<'_>, memory: &mut Memory<'_>) {
        let ticks = self.probe.ticks().wrapping_sub(self.began);
        self.total = self.total.wrapping_add(ticks);
        let (round, entry, operator) = (self.round, self.entry, step.operator);
        let reported = hash(step, memory).map_err(JobError::Trace).and_then(|hash| {
            let record = Record::Step { round, entry, index, operator, ticks, hash };
            self.host.record(&record).map_err(JobError::Host)
        });
        if self.result.is_ok() {
            self.result = reported;
        }
    }
}
