//! The model that is built in, and its memory.

use smidgen::frontend::{DetectorConfig, Spotter};
use smidgen::{Aligned, Preprocessing, Session};
use static_cell::StaticCell;

smidgen::include_model!(
    /// The model that `SMIDGEN_MODEL` named when this was built, or that of this repository.
    pub Network = concat!(env!("OUT_DIR"), "/model.smg")
);

/// What listens with the model that is built in.
pub type SpotterInMemory = Spotter<'static, 'static, Network>;

/// Bytes of memory that session, front end and features take.
pub const MEMORY_BYTES: usize = Network::ARENA_BYTES + Network::FRONT_END_BYTES + Network::INPUT_BYTES;

/// Samples a second that the model takes; 8000 if it takes no sound.
pub fn sample_rate() -> u32 {
    match Network::model().metadata().preprocessing {
        Preprocessing::Audio(audio) => audio.config.sample_rate,
        _ => 8_000,
    }
}

/// The name of a class.
pub(crate) fn label(class: usize) -> Option<&'static str> {
    Network::model().metadata().label(class)
}

/// The model that is built in, with the memory that it takes. `None` if it takes no sound, or the memory is taken already.
pub fn spotter() -> Option<SpotterInMemory> {
    static ARENA: StaticCell<Aligned<[u8; Network::ARENA_BYTES]>> = StaticCell::new();
    static FRONT_END: StaticCell<Aligned<[u8; Network::FRONT_END_BYTES]>> = StaticCell::new();
    static FRAMES: StaticCell<[i8; Network::INPUT_BYTES]> = StaticCell::new();
    let arena = ARENA.try_init_with(|| Aligned([0; Network::ARENA_BYTES]))?;
    let front_end = FRONT_END.try_init_with(|| Aligned([0; Network::FRONT_END_BYTES]))?;
    let frames = FRAMES.try_init_with(|| [0; Network::INPUT_BYTES])?;
    let session = Session::new(Network::model(), &mut arena.0).ok()?;
    Spotter::new(session, &mut front_end.0, frames, DetectorConfig::default()).ok()
}
