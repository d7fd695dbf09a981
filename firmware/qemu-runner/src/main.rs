//! Runs any model file that the host lays beside the emulator, as the host's request says.

#![no_std]
#![no_main]

use core::fmt::{Debug, Write};

use heapless::String;
use smidgen::{Model, Operator, OperatorSet, Operators, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::{Files, request};
use smidgen_firmware::{MACHINE, memory, semihosting};
use smidgen_protocol::job::{self, Host, JobError, Probe};
use smidgen_protocol::{Job, Record, Run, exit};

/// The operators of this image: all, or, where the flash is too small for all, those of inference.
struct Linked;

impl Operators for Linked {
    const SET: OperatorSet = if MACHINE.flash.bytes < 512 * 1024 { inference() } else { OperatorSet::ALL };
}

const fn inference() -> OperatorSet {
    let mut set = OperatorSet::EMPTY;
    let mut operators = Operator::ALL;
    while let [operator, rest @ ..] = operators {
        if operator.is_inference() {
            set = set.with(*operator as u8);
        }
        operators = rest;
    }
    set
}

#[cortex_m_rt::entry]
fn main() -> ! {
    semihosting::exit(run())
}

/// Carries out the request and returns the exit code.
fn run() -> u32 {
    let (Ok(mut files), Ok(request)) = (Files::open(), request()) else { return exit::FILES };
    match request.job {
        Job::Run(run) => match run_model(&run, request.model_bytes as usize, &mut files) {
            Ok(()) => exit::SUCCESS,
            Err(Failure::Files) => exit::FILES,
            Err(Failure::Reported) => exit::REFUSED,
        },
        Job::Panic => panic!(),
        Job::Fault => {
            // SAFETY: not at all. The address has no memory, and the fault that follows is what was asked for.
            unsafe { core::ptr::read_volatile(0xa000_0000 as *const u32) };
            exit::SUCCESS
        }
    }
}

/// A failure whose record is written, or could not be.
enum Failure {
    Reported,
    Files,
}

fn run_model(run: &Run, model_bytes: usize, files: &mut Files) -> Result<(), Failure> {
    let mut clock = Clock::start();
    files.record(&clock.calibrate()).map_err(|_| Failure::Files)?;
    let Some((file, memory)) = memory::model(model_bytes).zip(memory::take_free()) else {
        return Err(report(files, &"ModelTooLong", &"the machine has no room for the model file"));
    };
    let (loaded, stack_bytes) = clock.stack(|clock| {
        let began = clock.ticks();
        let model = Model::<Linked>::from_bytes(file);
        (model, clock.ticks().wrapping_sub(began))
    });
    let (model, ticks) = match loaded {
        (Ok(model), ticks) => (model, ticks),
        (Err(error), _) => return Err(report(files, &error, &error)),
    };
    let memory_bytes = model.arena_bytes() as u32;
    files.record(&Record::Loaded { memory_bytes, stack_bytes, ticks }).map_err(|_| Failure::Files)?;
    let mut session = match Session::new(model, memory) {
        Ok(session) => session,
        Err(error) => return Err(report(files, &error, &error)),
    };
    match job::run(run, &mut session, files, &mut clock) {
        Ok(()) => Ok(()),
        Err(JobError::Session(error)) => Err(report(files, &error, &error)),
        Err(JobError::Trace(error)) => Err(report(files, &error, &error)),
        Err(JobError::Host(_)) => Err(Failure::Files),
    }
}

/// Writes the record of a failure: the error's name, and what it says.
fn report(files: &mut Files, error: &dyn Debug, message: &dyn core::fmt::Display) -> Failure {
    let (mut name, mut text) = (String::<32>::new(), String::<192>::new());
    // What does not fit is cut off.
    let _ = write!(name, "{error:?}");
    let _ = write!(text, "{message}");
    let kind = name.split([' ', '(', '"']).find(|part| !part.is_empty()).unwrap_or_default();
    match files.record(&Record::Failed { kind, message: &text }) {
        Ok(()) => Failure::Reported,
        Err(_) => Failure::Files,
    }
}
