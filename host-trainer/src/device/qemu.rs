//! The emulator: its files, its command line, its end.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use smidgen_protocol::machine::Machine;
use smidgen_protocol::{Job, PROTOCOL, Request, exit, files};

use super::report::Done;
use super::{DeviceError, Log, Target};

const QEMU: &str = "qemu-system-arm";

/// What an image is to do.
pub(super) struct Work<'a> {
    /// The model, for the runner.
    pub(super) model: Option<&'a [u8]>,
    pub(super) inputs: &'a [u8],
    pub(super) job: &'a Job,
}

/// Whether QEMU can be started.
pub(super) fn check() -> Result<(), DeviceError> {
    let output = Command::new(QEMU).arg("--version").output();
    output.map(|_| ()).map_err(not_started)
}

fn not_started(error: io::Error) -> DeviceError {
    match error.kind() {
        ErrorKind::NotFound => DeviceError::QemuMissing,
        _ => DeviceError::QemuNotStarted(error),
    }
}

/// Runs `image` and collects what it wrote.
pub(super) fn run(
    target: Target,
    machine: &'static Machine,
    image: &Path,
    work: &Work<'_>,
    limit: Duration,
) -> Result<Done, DeviceError> {
    let model = work.model.unwrap_or_default();
    if model.len() > machine.model.bytes as usize {
        let (expected, found) = (machine.model.bytes as usize, model.len());
        return Err(DeviceError::ModelTooLong { target, expected, found });
    }
    let folder = tempfile::tempdir().map_err(DeviceError::file(std::env::temp_dir()))?;
    let path = |name: &str| folder.path().join(name);
    let write =
        |name: &str, bytes: &[u8]| fs::write(path(name), bytes).map_err(DeviceError::file(path(name)));
    let read = |name: &str| match fs::read(path(name)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(DeviceError::file(path(name))(error)),
    };
    let request = Request { protocol: PROTOCOL, model_bytes: model.len() as u32, job: work.job.clone() };
    let mut buffer = [0; 256];
    let request = postcard::to_slice(&request, &mut buffer)
        .map_err(|error| DeviceError::Records { target, message: error.to_string() })?;
    write(files::REQUEST, request)?;
    write(files::INPUTS, work.inputs)?;
    let mut command = Command::new(QEMU);
    command.args(["-M", machine.qemu, "-nodefaults", "-nographic", "-monitor", "none", "-serial", "null"]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    command.args(["-icount", &format!("shift={}", machine.icount_shift)]);
    command.arg("-kernel").arg(image);
    if !model.is_empty() {
        write(files::MODEL, model)?;
        let address = machine.model.start;
        command.args(["-device", &format!("loader,file={},addr={address:#x},force-raw=on", files::MODEL)]);
    }
    let output = path("qemu.txt");
    let sink = File::create(&output).map_err(DeviceError::file(&output))?;
    let sink_too = sink.try_clone().map_err(DeviceError::file(&output))?;
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(sink).stderr(sink_too);
    let status = wait(command.spawn().map_err(not_started)?, limit).map_err(DeviceError::QemuNotStarted)?;
    let Some(status) = status else { return Err(DeviceError::TimeOut { target, limit }) };

    let done = Done {
        outputs: read(files::OUTPUTS)?,
        records: read(files::RECORDS)?,
        machine: Some(machine),
        log: Log { image: image.to_owned(), frames: read(files::LOG)? },
    };
    let output = String::from_utf8_lossy(&read("qemu.txt")?).trim().to_owned();
    match status.code().map(i32::cast_unsigned) {
        // What was refused stands in the records.
        Some(exit::SUCCESS | exit::REFUSED) => Ok(done),
        Some(exit::PANIC) => Err(DeviceError::Panicked { target, output }),
        Some(exit::FAULT) => Err(DeviceError::Faulted { target, output }),
        Some(exit::FILES) => Err(DeviceError::Records {
            target,
            message: "the device could not read or write a file".to_owned(),
        }),
        _ => Err(DeviceError::Crashed { target, status: status.to_string(), output }),
    }
}

/// Ends the emulator when it is dropped, however that comes about.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `child` ends; `None` if it did not in time, and was ended.
fn wait(child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let mut child = Guard(child);
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
