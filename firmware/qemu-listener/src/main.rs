//! Listens, with the model that is built in, and says which class is heard: for each inference the class, or 255, and the scores ([`stream::listen`]).

#![no_std]
#![no_main]

mod stream;

use smidgen::frontend::{Detection, DetectorConfig, Spotter};
use smidgen::{Session, SessionError};
use smidgen_firmware::semihosting;
use stream::{Application, Memory, Network, listen};

struct Listener(Spotter<'static, 'static, Network>);

impl Application for Listener {
    type Found = Option<Detection>;

    fn push<'s>(&mut self, samples: &'s [i16]) -> Option<&'s [i16]> {
        self.0.push(samples)
    }

    fn infer(&mut self) -> Result<Option<Detection>, SessionError> {
        self.0.infer()
    }

    fn report(&mut self, heard: Option<Detection>, put: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let class = heard.map_or(255, |heard| heard.class as u8);
        let Ok(scores) = self.0.scores() else { return false };
        put(&[class]) && scores.iter().all(|score| put(&score.to_le_bytes()))
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::NEW;
    let Memory { arena, front_end, frames } = MEMORY;
    semihosting::exit(listen(|| {
        let session = Session::new(Network::model(), &mut arena.0).ok()?;
        let config = DetectorConfig::for_labels(Network::model().metadata().labels);
        Some(Listener(Spotter::new(session, &mut front_end.0, frames, config).ok()?))
    }))
}
