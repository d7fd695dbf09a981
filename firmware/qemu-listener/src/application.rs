//! The smallest application that listens: a model, its front end, statics of exactly their lengths, and a loop from a microphone to a light.
//!
//! There is no host to talk to and nothing is measured: the sections of this image are the flash and the RAM that `smidgen bench` reports for a model that listens.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicI16, AtomicU8, Ordering};

use smidgen::frontend::{DetectorConfig, Spotter};
use smidgen::{Aligned, Session};
use smidgen_firmware as _;

smidgen::include_model!(
    /// The model.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

struct Memory {
    arena: Aligned<[u8; Network::ARENA_BYTES]>,
    front_end: Aligned<[u8; Network::FRONT_END_BYTES]>,
    frames: [i8; Network::INPUT_BYTES],
}

/// Stands for a peripheral: every read may give another value.
static MICROPHONE: AtomicI16 = AtomicI16::new(0);
/// Stands for a peripheral: every write is seen.
static LIGHT: AtomicU8 = AtomicU8::new(0);

/// Interrupts of the nRF52833: as many as a chip of this size has, and not the 240 that a chip nobody knows would need room for.
const INTERRUPTS: usize = 48;

unsafe extern "C" {
    /// What `cortex-m-rt` does with an interrupt that nobody handles.
    fn DefaultHandler();
}

// SAFETY: the linker script of `cortex-m-rt` asks for the symbol, in this section: behind the exceptions, an address for each interrupt.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); INTERRUPTS] = [DefaultHandler; INTERRUPTS];

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory {
        arena: Aligned([0; Network::ARENA_BYTES]),
        front_end: Aligned([0; Network::FRONT_END_BYTES]),
        frames: [0; Network::INPUT_BYTES],
    };
    let session = Session::new(Network::model(), &mut MEMORY.arena.0).ok();
    let config = DetectorConfig::for_labels(Network::model().metadata().labels);
    let spotter = session
        .and_then(|session| Spotter::new(session, &mut MEMORY.front_end.0, &mut MEMORY.frames, config).ok());
    if let Some(mut spotter) = spotter {
        loop {
            if spotter.push(&[MICROPHONE.load(Ordering::Relaxed)]).is_none() {
                continue;
            }
            match spotter.infer() {
                Ok(Some(heard)) => LIGHT.store(heard.class as u8, Ordering::Relaxed),
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }
    loop {
        core::hint::spin_loop();
    }
}
