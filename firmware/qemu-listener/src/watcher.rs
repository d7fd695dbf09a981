//! Watches, with the model that is built in and gives its input back: for each inference the anomaly score, an f32, least significant byte first ([`stream::listen`]).

#![no_std]
#![no_main]

mod stream;

use smidgen::frontend::Watcher;
use smidgen::{Session, SessionError};
use smidgen_firmware::semihosting;
use stream::{Application, Memory, Network, listen};

struct Guard(Watcher<'static, 'static, Network>);

impl Application for Guard {
    type Found = f32;

    fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]> {
        self.0.push(samples)
    }

    fn infer(&mut self) -> Result<f32, SessionError> {
        self.0.infer()
    }

    fn report(&mut self, score: f32, put: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        put(&score.to_le_bytes())
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::NEW;
    let Memory { arena, front_end, frames } = MEMORY;
    semihosting::exit(listen(|| {
        let session = Session::new(Network::model(), &mut arena.0).ok()?;
        Some(Guard(Watcher::new(session, &mut front_end.0, frames).ok()?))
    }))
}
