//! The smallest application: a model, a static of exactly its length as memory, and a loop from a sensor to an actuator.
//!
//! There is no host to talk to and nothing is measured: the sections of this image, without the model, are what `smidgen bench` calls
//! its code. They hold the start-up code and the vector table of the processor, too.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU8, Ordering};

use smidgen::{Aligned, EntryKind, Session, SessionError};
use smidgen_firmware as _;

smidgen::include_model!(
    /// The model.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

type Memory = Aligned<[u8; Network::ARENA_BYTES]>;

/// Stands for a peripheral: every read may give another value.
static SENSOR: AtomicU8 = AtomicU8::new(0);
/// Stands for a peripheral: every write is seen.
static ACTUATOR: AtomicU8 = AtomicU8::new(0);

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Aligned([0; Network::ARENA_BYTES]);
    #[cfg(not(feature = "load"))]
    let model = Some(Network::model());
    #[cfg(feature = "load")]
    let model = Network::validated().ok();
    let session = model.and_then(|model| Session::new(model, &mut MEMORY.0).ok());
    let Some(mut session) = session else { stop() };
    while infer(&mut session).is_ok() {}
    stop()
}

fn infer(session: &mut Session<'_, '_, Network>) -> Result<(), SessionError> {
    for byte in session.input_bytes_mut(EntryKind::Infer, 0)? {
        *byte = SENSOR.load(Ordering::Relaxed);
    }
    session.run(EntryKind::Infer)?;
    let output = session.output_bytes(EntryKind::Infer, 0)?;
    #[cfg(feature = "panic-on-purpose")]
    ACTUATOR.store(output[usize::from(SENSOR.load(Ordering::Relaxed))], Ordering::Relaxed);
    for &byte in output {
        ACTUATOR.store(byte, Ordering::Relaxed);
    }
    Ok(())
}

fn stop() -> ! {
    loop {
        core::hint::spin_loop();
    }
}
