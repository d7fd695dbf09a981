//! The model that is built in, others that take its place, and their memory.

use smidgen::frontend::{DetectorConfig, Spotter};
use smidgen::{Aligned, Model, Preprocessing, Session};
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

/// Whether a model can take the place of the one that is built in: it listens, at the same rate and with no more features.
pub fn suits(model: &Model<'_, Network>) -> bool {
    let Preprocessing::Audio(audio) = model.metadata().preprocessing else { return false };
    Spotter::check(model).is_ok()
        && audio.config.axes == 1
        && audio.config.sample_rate == sample_rate()
        && model.header().input_bytes as usize <= Network::INPUT_BYTES
}

/// The model that is built in, with the memory that it takes. `None` if it takes no sound, or the memory is taken already.
pub fn spotter() -> Option<SpotterInMemory> {
    spotter_of(Network::model())
}

/// A model that [suits], or the one that is built in. `None` if it does not, or the memory is taken already.
pub fn spotter_of(model: Model<'static, Network>) -> Option<SpotterInMemory> {
    static ARENA: StaticCell<Aligned<[u8; Network::ARENA_BYTES]>> = StaticCell::new();
    static FRONT_END: StaticCell<Aligned<[u8; Network::FRONT_END_BYTES]>> = StaticCell::new();
    static FRAMES: StaticCell<[i8; Network::INPUT_BYTES]> = StaticCell::new();
    let arena = ARENA.try_init_with(|| Aligned([0; Network::ARENA_BYTES]))?;
    let front_end = FRONT_END.try_init_with(|| Aligned([0; Network::FRONT_END_BYTES]))?;
    let frames = FRAMES.try_init_with(|| [0; Network::INPUT_BYTES])?;
    let frames = frames.get_mut(..model.header().input_bytes as usize)?;
    let config = DetectorConfig::for_labels(model.metadata().labels);
    let session = Session::new(model, &mut arena.0).ok()?;
    Spotter::new(session, &mut front_end.0, frames, config).ok()
}
