//! `defmt` frames in a file of the host.
//!
//! Only numbers leave the device; the texts stay in the ELF file, with which the host decodes the frames.

use core::cell::UnsafeCell;

use critical_section::RestoreState;
use smidgen_protocol::files;

use crate::semihosting::{File, Mode};

#[defmt::global_logger]
struct Logger;

struct State {
    /// Opened with the first frame; `None` before, and if the host refuses it.
    file: Option<File>,
    encoder: defmt::Encoder,
    restore: RestoreState,
}

struct Shared(UnsafeCell<State>);

// SAFETY: `Logger` reaches the state only between `acquire` and `release`, in a critical section.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    file: None,
    encoder: defmt::Encoder::new(),
    restore: RestoreState::invalid(),
}));

impl State {
    /// Logs are no reason to stop: what the host does not take is lost.
    fn write(file: Option<File>) -> impl FnMut(&[u8]) {
        move |bytes| {
            if let Some(file) = file {
                let _ = file.write(bytes);
            }
        }
    }
}

// SAFETY: `acquire` enters a critical section and `release` leaves it; `write` and `flush` are called between them.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: `release` leaves the section with this state.
        let restore = unsafe { critical_section::acquire() };
        // SAFETY: in a critical section, and `defmt` does not log from within a log.
        let state = unsafe { &mut *STATE.0.get() };
        state.restore = restore;
        state.file = state.file.or_else(|| File::open(files::LOG, Mode::Write).ok());
        state.encoder.start_frame(State::write(state.file));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: still in the critical section.
        let state = unsafe { &mut *STATE.0.get() };
        state.encoder.end_frame(State::write(state.file));
        // SAFETY: what `acquire` got.
        unsafe { critical_section::release(state.restore) };
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: still in the critical section.
        let state = unsafe { &mut *STATE.0.get() };
        state.encoder.write(bytes, State::write(state.file));
    }
}
