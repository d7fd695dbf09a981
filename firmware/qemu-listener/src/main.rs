//! Listens: to the samples that the host lays beside the emulator, as if they came from a microphone, with the model that is built in.
//!
//! Samples are 16 bits each, least significant byte first, and come in blocks as an interrupt would bring them. After each inference the image writes the place in the stream
//! (samples so far, four bytes), what is heard (the class, or 255) and the scores; the records have the instructions of all samples since
//! the one before: features, inference and detection.

#![no_std]
#![no_main]

use smidgen::frontend::{DetectorConfig, Spotter};
use smidgen::{Aligned, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::job::{Host, Probe};
use smidgen_protocol::{Record, exit};

smidgen::include_model!(
    /// The model.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

/// Samples that an interrupt brings at once.
const BLOCK: usize = 64;

struct Memory {
    arena: Aligned<[u8; Network::ARENA_BYTES]>,
    front_end: Aligned<[u8; Network::FRONT_END_BYTES]>,
    frames: [i8; Network::INPUT_BYTES],
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory {
        arena: Aligned([0; Network::ARENA_BYTES]),
        front_end: Aligned([0; Network::FRONT_END_BYTES]),
        frames: [0; Network::INPUT_BYTES],
    };
    semihosting::exit(run(MEMORY))
}

/// Listens to all samples and returns the exit code.
fn run(memory: &'static mut Memory) -> u32 {
    let Ok(mut files) = Files::open() else { return exit::FILES };
    let mut clock = Clock::start();
    let calibration = clock.calibrate();
    // What the measuring itself takes, once a block.
    let Record::Calibrated { empty, .. } = calibration else { return exit::REFUSED };
    let began = clock.ticks();
    let session = Session::new(Network::model(), &mut memory.arena.0).ok();
    let config = DetectorConfig::for_labels(Network::model().metadata().labels);
    let spotter = session
        .and_then(|session| Spotter::new(session, &mut memory.front_end.0, &mut memory.frames, config).ok());
    let ticks = clock.ticks().wrapping_sub(began);
    let Some(mut spotter) = spotter else { return exit::REFUSED };
    let memory_bytes = (Network::ARENA_BYTES + Network::FRONT_END_BYTES + Network::INPUT_BYTES) as u32;
    let loaded = Record::Loaded { memory_bytes, stack_bytes: 0, ticks };
    if files.loaded(&calibration, &loaded).is_err() {
        return exit::FILES;
    }
    let (mut bytes, mut samples) = ([0; 2 * BLOCK], [0; BLOCK]);
    let (mut round, mut position, mut spent) = (0, 0u32, 0u32);
    while files.input(&mut bytes).is_ok() {
        for (sample, &bytes) in samples.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *sample = i16::from_le_bytes(bytes);
        }
        position += BLOCK as u32;
        let mut left = Some(&samples[..]);
        while let Some(part) = left {
            let ((heard, ticks), stack_bytes) = clock.stack(|clock| {
                let began = clock.ticks();
                left = spotter.push(part);
                let heard = left.map(|_| spotter.infer());
                (heard, clock.ticks().wrapping_sub(began))
            });
            spent = spent.wrapping_add(ticks.saturating_sub(empty));
            let Some(heard) = heard else { continue };
            let (Ok(heard), Ok(scores)) = (heard, spotter.scores()) else { return exit::REFUSED };
            let at = position - left.map_or(0, <[i16]>::len) as u32;
            let class = heard.map_or(255, |heard| heard.class as u8);
            let ran = Record::Ran { round, entry: 0, ticks: spent, stack_bytes: Some(stack_bytes) };
            let written = files
                .output(&at.to_le_bytes())
                .and_then(|()| files.output(&[class]))
                .and_then(|()| scores.iter().try_for_each(|score| files.output(&score.to_le_bytes())))
                .and_then(|()| files.record(&ran));
            if written.is_err() {
                return exit::FILES;
            }
            (round, spent) = (round + 1, 0);
        }
    }
    files.finished()
}
