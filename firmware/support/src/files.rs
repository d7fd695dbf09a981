//! The protocol's files.

use postcard::{from_bytes, to_slice};
use smidgen_protocol::job::Host;
use smidgen_protocol::{PROTOCOL, Record, Request, exit, files};

use crate::semihosting::{File, FileError, Mode};

/// The longest request and the longest record, in bytes.
const MESSAGE_BYTES: usize = 256;

/// The files of a run: inputs to read, outputs and records to write.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    inputs: File,
    outputs: File,
    records: File,
}

impl Files {
    /// Opens them.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn open() -> Result<Self, FileError> {
        Ok(Self {
            inputs: File::open(files::INPUTS, Mode::Read)?,
            outputs: File::open(files::OUTPUTS, Mode::Write)?,
            records: File::open(files::RECORDS, Mode::Write)?,
        })
    }

    /// Writes what measuring takes, and what loading the model took: the first records of an image with a model built in.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn loaded(&mut self, calibration: &Record<'_>, loaded: &Record<'_>) -> Result<(), FileError> {
        self.record(calibration)?;
        self.record(loaded)
    }

    /// Writes that all is done, and returns the exit code.
    pub fn finished(&mut self) -> u32 {
        self.record(&Record::Finished).map_or(exit::FILES, |()| exit::SUCCESS)
    }

    /// Writes that the model or a run was refused, and returns the exit code. The words for each error would be more than the rest of an image; the host, which has the
    /// same model, knows them.
    pub fn refused(&mut self, message: &str) -> u32 {
        let record = Record::Failed { kind: "Refused", message };
        self.record(&record).map_or(exit::FILES, |()| exit::REFUSED)
    }

    /// Reads inputs until `bytes` is full or they end, and returns how many bytes were read.
    pub fn next_input(&self, bytes: &mut [u8]) -> usize {
        self.inputs.read(bytes)
    }
}

/// Reads the request.
///
/// # Errors
/// If it is not there, does not decode, or is of another version of the protocol.
pub fn request() -> Result<Request, FileError> {
    let mut buffer = [0; MESSAGE_BYTES];
    let length = File::open(files::REQUEST, Mode::Read)?.read(&mut buffer);
    let request: Request = from_bytes(buffer.get(..length).ok_or(FileError)?).map_err(|_| FileError)?;
    if request.protocol == PROTOCOL { Ok(request) } else { Err(FileError) }
}

impl Host for Files {
    type Error = FileError;

    fn input(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        self.inputs.read_exact(bytes)
    }

    fn output(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.outputs.write(bytes)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), FileError> {
        let mut buffer = [0; MESSAGE_BYTES];
        self.records.write(to_slice(record, &mut buffer).map_err(|_| FileError)?)
    }
}
