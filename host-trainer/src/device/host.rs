//! This machine as a device: the firmware's own job, with memory instead of files.

use smidgen::{AllOperators, EntryKind, Model, Operand, Session, SessionError};
use smidgen_protocol::job::{self, Host, JobError};
use smidgen_protocol::{Record, Run};

use super::report::Done;
use super::{DeviceError, Log, Target};
use crate::buffer::AlignedBytes;

/// Bytes that one round reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundBytes {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Of a round of `entries` of a valid model.
pub(super) fn entries_bytes(
    model: &Model<'_, AllOperators>,
    entries: &[EntryKind],
) -> Result<RoundBytes, DeviceError> {
    let bytes = |operands: &[Operand]| operands.iter().filter_map(Operand::bytes).sum::<usize>();
    entries.iter().try_fold(RoundBytes::default(), |sum, &kind| {
        let entry = model.entry(kind).ok_or(DeviceError::NoEntry { kind })?;
        Ok(RoundBytes {
            inputs: sum.inputs + bytes(entry.inputs),
            outputs: sum.outputs + bytes(entry.outputs),
        })
    })
}

/// Of a round of `entries` of a model file.
pub(super) fn round_bytes(model: &[u8], entries: &[EntryKind]) -> Result<RoundBytes, DeviceError> {
    let aligned = AlignedBytes::copy_of(model);
    match Model::<AllOperators>::from_bytes(aligned.as_slice()) {
        Ok(model) => entries_bytes(&model, entries),
        Err(error) => Err(refused(&error, &error)),
    }
}

pub(super) fn refused(error: &dyn std::fmt::Debug, message: &dyn std::fmt::Display) -> DeviceError {
    let name = format!("{error:?}");
    let kind = name.split([' ', '(']).next().unwrap_or_default().to_owned();
    DeviceError::Refused { target: Target::Host, kind, message: message.to_string() }
}

/// Inputs, outputs and records in memory.
#[derive(Debug)]
struct InMemory<'a> {
    inputs: &'a [u8],
    outputs: Vec<u8>,
    records: Vec<u8>,
}

/// The inputs are at an end.
#[derive(Debug)]
struct NoInput;

impl Host for InMemory<'_> {
    type Error = NoInput;

    fn input(&mut self, bytes: &mut [u8]) -> Result<(), NoInput> {
        let (next, rest) = self.inputs.split_at_checked(bytes.len()).ok_or(NoInput)?;
        bytes.copy_from_slice(next);
        self.inputs = rest;
        Ok(())
    }

    fn output(&mut self, bytes: &[u8]) -> Result<(), NoInput> {
        self.outputs.extend_from_slice(bytes);
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), NoInput> {
        let mut buffer = [0; 256];
        let bytes = postcard::to_slice(record, &mut buffer).map_err(|_| NoInput)?;
        self.records.extend_from_slice(bytes);
        Ok(())
    }
}

/// Carries out `run` here. `model` lies at a multiple of 16 bytes.
pub(super) fn run(model: &[u8], inputs: &[u8], run: &Run) -> Result<Done, DeviceError> {
    let model = Model::<AllOperators>::from_bytes(model).map_err(|error| refused(&error, &error))?;
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    let mut host = InMemory { inputs, outputs: Vec::new(), records: Vec::new() };
    let loaded = Record::Loaded { memory_bytes: model.arena_bytes() as u32, stack_bytes: 0, ticks: 0 };
    let session = |error: SessionError| refused(&error, &error);
    let incomplete =
        |message: &str| DeviceError::Records { target: Target::Host, message: message.to_owned() };
    host.record(&loaded).map_err(|NoInput| incomplete("a record is too long"))?;
    let mut started = Session::new(model, memory.as_mut_slice()).map_err(session)?;
    job::run(run, &mut started, &mut host, &mut ()).map_err(|error| match error {
        JobError::Session(error) => session(error),
        JobError::Trace(error) => refused(&error, &error),
        JobError::Host(NoInput) => incomplete("the inputs end too early"),
    })?;
    Ok(Done { outputs: host.outputs, records: host.records, machine: None, log: Log::default() })
}
