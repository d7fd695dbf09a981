//! What the images that listen have in common: the samples that the host lays beside the emulator, as if they came from a microphone, and what is measured.

use smidgen::{Aligned, SessionError};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_protocol::job::{Host, Probe};
use smidgen_protocol::{Record, exit};

smidgen::include_model!(
    /// The model.
    pub(crate) Network = concat!(env!("OUT_DIR"), "/model.smg")
);

/// Samples that an interrupt brings at once.
const BLOCK: usize = 64;

/// The memory of an application, of exactly the lengths that its model needs.
pub(crate) struct Memory {
    pub(crate) arena: Aligned<[u8; Network::ARENA_BYTES]>,
    pub(crate) front_end: Aligned<[u8; Network::FRONT_END_BYTES]>,
    pub(crate) frames: [i8; Network::INPUT_BYTES],
}

impl Memory {
    pub(crate) const NEW: Self = Self {
        arena: Aligned([0; Network::ARENA_BYTES]),
        front_end: Aligned([0; Network::FRONT_END_BYTES]),
        frames: [0; Network::INPUT_BYTES],
    };
}

/// An application that listens.
pub(crate) trait Application {
    /// What it finds out with an inference.
    type Found;

    /// Takes samples until an inference is due, and returns those that are left.
    fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]>;

    /// Infers.
    fn infer(&mut self) -> Result<Self::Found, SessionError>;

    /// Gives `put` the bytes of what was found, piece by piece, until it says no.
    fn report(&mut self, found: Self::Found, put: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// Lets the application that `make` makes listen to all samples, and returns the exit code.
///
/// Samples are 16 bits each, least significant byte first, and come in blocks as an interrupt would bring them. After each inference the outputs get the place in the stream (samples so far,
/// four bytes), and what the application reports; the records have the instructions of all samples since the one before: features, inference and what the application makes of it.
pub(crate) fn listen<A: Application>(make: impl FnOnce() -> Option<A>) -> u32 {
    let Ok(mut files) = Files::open() else { return exit::FILES };
    let mut clock = Clock::start();
    let calibration = clock.calibrate();
    // What the measuring itself takes, once a block.
    let Record::Calibrated { empty, .. } = calibration else { return exit::REFUSED };
    let began = clock.ticks();
    let application = make();
    let ticks = clock.ticks().wrapping_sub(began);
    let Some(mut application) = application else { return exit::REFUSED };
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
            let ((found, ticks), stack_bytes) = clock.stack(|clock| {
                let began = clock.ticks();
                left = application.push(part);
                let found = left.map(|_| application.infer());
                (found, clock.ticks().wrapping_sub(began))
            });
            spent = spent.wrapping_add(ticks.saturating_sub(empty));
            let Some(found) = found else { continue };
            let Ok(found) = found else { return exit::REFUSED };
            let at = position - left.map_or(0, <[i16]>::len) as u32;
            let mut put = |bytes: &[u8]| files.output(bytes).is_ok();
            let is_written = put(&at.to_le_bytes()) && application.report(found, &mut put);
            let ran = Record::Ran { round, entry: 0, ticks: spent, stack_bytes: Some(stack_bytes) };
            if !is_written || files.record(&ran).is_err() {
                return exit::FILES;
            }
            (round, spent) = (round + 1, 0);
        }
    }
    files.finished()
}
