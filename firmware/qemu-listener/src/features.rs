//! Computes features of the samples that the host lays beside the emulator, with the front end of the model that is built in.
//!
//! The samples are 16 bits each, least significant byte first, and come frame by frame as from a microphone. For each frame the image writes its features, f32, and
//! the instructions that they took.

#![no_std]
#![no_main]

use smidgen::frontend::FrontEnd;
use smidgen::{Aligned, Preprocessing};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::job::{Host, Probe};
use smidgen_protocol::{Record, exit};

smidgen::include_model!(
    /// The model.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

type Memory = Aligned<[u8; Network::FRONT_END_BYTES]>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Aligned([0; Network::FRONT_END_BYTES]);
    semihosting::exit(run(MEMORY))
}

/// Computes the features of all frames and returns the exit code.
fn run(memory: &'static mut Memory) -> u32 {
    let Ok(mut files) = Files::open() else { return exit::FILES };
    let mut clock = Clock::start();
    let calibration = clock.calibrate();
    let began = clock.ticks();
    let front_end = match Network::model().metadata().preprocessing {
        Preprocessing::Audio(audio) => FrontEnd::new(&audio, &mut memory.0).ok(),
        _ => None,
    };
    let ticks = clock.ticks().wrapping_sub(began);
    let Some(mut front_end) = front_end else { return exit::REFUSED };
    let loaded = Record::Loaded { memory_bytes: Network::FRONT_END_BYTES as u32, stack_bytes: 0, ticks };
    if files.loaded(&calibration, &loaded).is_err() {
        return exit::FILES;
    }
    let (mut round, mut bytes) = (0, [0; 2]);
    while files.input(&mut bytes).is_ok() {
        if front_end.push(&[i16::from_le_bytes(bytes)]).is_none() {
            continue;
        }
        let ((row, ticks), stack_bytes) = clock.stack(|clock| {
            let began = clock.ticks();
            let row = front_end.features();
            (row, clock.ticks().wrapping_sub(began))
        });
        let mut written = Ok(());
        for value in row {
            written = written.and_then(|()| files.output(&value.to_le_bytes()));
        }
        let ran = Record::Ran { round, entry: 0, ticks, stack_bytes: Some(stack_bytes) };
        if written.and_then(|()| files.record(&ran)).is_err() {
            return exit::FILES;
        }
        round += 1;
    }
    files.finished()
}
