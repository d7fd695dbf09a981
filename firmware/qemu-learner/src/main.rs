//! Learns: one after another the samples that the host lays beside the emulator, with the model that is built in.
//!
//! The model is in flash, and a static of exactly its length is its memory; a sample goes straight to where the program reads it. For each sample the image
//! writes the loss and what became of it, and the hashes of parameters and state. The stack of the first step is measured.

#![no_std]
#![no_main]

use smidgen::checksum::crc32c;
use smidgen::learn::{Log, Policy};
use smidgen::{Aligned, EntryKind, Learner, Outcome, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::job::{Host, Probe};
use smidgen_protocol::{Record, exit};

smidgen::include_model!(
    /// The model.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

const REFUSED: &str = "the built-in model or a sample is refused";

type Memory = Aligned<[u8; Network::ARENA_BYTES]>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Aligned([0; Network::ARENA_BYTES]);
    semihosting::exit(run(MEMORY))
}

/// Learns every sample and returns the exit code.
fn run(memory: &'static mut Memory) -> u32 {
    let Ok(mut files) = Files::open() else { return exit::FILES };
    let mut clock = Clock::start();
    let calibration = clock.calibrate();
    let began = clock.ticks();
    let session = Session::new(Network::model(), &mut memory.0).ok();
    let learner = session.and_then(|session| Learner::new(session, Policy::default()).ok());
    let ticks = clock.ticks().wrapping_sub(began);
    let Some(mut learner) = learner else { return files.refused(REFUSED) };
    let loaded = Record::Loaded { memory_bytes: Network::ARENA_BYTES as u32, stack_bytes: 0, ticks };
    if files.loaded(&calibration, &loaded).is_err() {
        return exit::FILES;
    }
    let (mut round, mut seed) = (0, [0; 4]);
    if files.input(&mut seed).is_err() {
        return exit::FILES;
    }
    let mut log = Log::new(u32::from_le_bytes(seed), 1);
    while let Some(label) = read(&mut learner, &mut files, &mut log) {
        let measured = clock.stack(|clock| {
            let began = clock.ticks();
            let loss = learner.step_written(label, &mut ());
            (loss, clock.ticks().wrapping_sub(began))
        });
        let ((Ok(loss), ticks), stack_bytes) = measured else { return files.refused(REFUSED) };
        let outcome = match loss.outcome {
            Outcome::Learned => 0u8,
            Outcome::Skipped => 1,
            Outcome::RolledBack => 2,
        };
        let [a, b, c, d] = loss.value.to_le_bytes();
        let ran = Record::Ran { round, entry: 0, ticks, stack_bytes: Some(stack_bytes) };
        let (parameters, state) = (crc32c(learner.parameters()), crc32c(learner.session().state()));
        let written = files
            .output(&[a, b, c, d, u8::from(loss.is_correct), outcome])
            .and_then(|()| match log.step(learner.parameters()) {
                Some(record) => files.output(&record.to_bytes()),
                None => Ok(()),
            })
            .and_then(|()| files.record(&ran))
            .and_then(|()| files.record(&Record::Trained { round, parameters, state }));
        if written.is_err() {
            return exit::FILES;
        }
        round += 1;
    }
    files.finished()
}

/// Reads a sample to where the program reads it, and its label; `None` if there are no more.
fn read(learner: &mut Learner<'_, '_, Network>, files: &mut Files, log: &mut Log) -> Option<u32> {
    let input = learner.session_mut().input_bytes_mut(EntryKind::Train, 0).ok()?;
    files.input(input).ok()?;
    let mut label = [0; 4];
    files.input(&mut label).ok()?;
    let label = u32::from_le_bytes(label);
    log.sample(learner.session_mut().input_bytes_mut(EntryKind::Train, 0).ok()?, label);
    Some(label)
}
