//! Runs the model that is built in, on the samples that the host lays beside the emulator.
//!
//! The model is in flash, a static of exactly its length is its memory, and of the operators only those that it uses are there, as in the image
//! `application`; around it is what feeds it and measures it. The instructions and the stack that `smidgen bench` reports are of this image.

#![no_std]
#![no_main]

use smidgen::{Aligned, EntryKind, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::job::{Host, Probe, read_inputs, timed, write_outputs};
use smidgen_protocol::{Record, exit};

smidgen::include_model!(
    /// The model.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

const REFUSED: &str = "the built-in model is refused";

type Memory = Aligned<[u8; Network::ARENA_BYTES]>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Aligned([0; Network::ARENA_BYTES]);
    semihosting::exit(run(MEMORY))
}

/// Runs the model on every sample and returns the exit code.
fn run(memory: &'static mut Memory) -> u32 {
    let Ok(mut files) = Files::open() else { return exit::FILES };
    let mut clock = Clock::start();
    let calibration = clock.calibrate();
    let ((loaded, ticks), load_stack_bytes) = clock.stack(|clock| {
        let began = clock.ticks();
        let session = Session::new(Network::model(), &mut memory.0);
        (session, clock.ticks().wrapping_sub(began))
    });
    let Ok(mut session) = loaded else { return files.refused(REFUSED) };
    let memory_bytes = Network::ARENA_BYTES as u32;
    #[cfg(feature = "defmt")]
    defmt::info!("model of {=usize} bytes, memory of {=u32} bytes", Network::file().len(), memory_bytes);
    let loaded = Record::Loaded { memory_bytes, stack_bytes: load_stack_bytes, ticks };
    if files.loaded(&calibration, &loaded).is_err() {
        return exit::FILES;
    }
    let mut round = 0;
    while read_inputs(EntryKind::Infer, &mut session, &mut files).is_ok() {
        let (ticks, stack_bytes) = clock.stack(|clock| timed(EntryKind::Infer, &mut session, clock));
        let Ok(ticks) = ticks else { return files.refused(REFUSED) };
        let ran = Record::Ran { round, entry: 0, ticks, stack_bytes: Some(stack_bytes) };
        let written = write_outputs(EntryKind::Infer, &mut session, &mut files);
        if written.is_err() || files.record(&ran).is_err() {
            return exit::FILES;
        }
        round += 1;
    }
    #[cfg(feature = "defmt")]
    defmt::info!("{=u32} samples", round);
    files.finished()
}
