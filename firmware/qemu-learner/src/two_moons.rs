//! An example: a network learns to tell two half circles apart, from nothing, on the device. It prints its loss curve.
//!
//! The weights begin as random numbers. The points come from a generator on the device; nothing comes from the host.

#![no_std]
#![no_main]

use core::fmt::Write;

use heapless::String;
use smidgen::checksum::crc32c;
use smidgen::learn::{LearnError, Policy, Score};
use smidgen::{Aligned, Learner, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting::{self, File};
use smidgen_protocol::exit;
use smidgen_protocol::job::Host;
use smidgen_protocol::moons::Moons;

smidgen::include_model!(
    /// The network: two numbers, a few layers, two classes.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

const EPOCHS: u32 = 20;
const POINTS: u32 = 200;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Aligned<[u8; Network::ARENA_BYTES]> = Aligned([0; Network::ARENA_BYTES]);
    let Ok(mut files) = Files::open() else { semihosting::exit(exit::FILES) };
    let code = match learn(MEMORY, &mut files) {
        Ok(()) => files.finished(),
        Err(_) => exit::REFUSED,
    };
    semihosting::exit(code)
}

fn learn(
    memory: &'static mut Aligned<[u8; Network::ARENA_BYTES]>,
    files: &mut Files,
) -> Result<(), LearnError> {
    let _ = files.record(&Clock::start().calibrate());
    let session = Session::new(Network::model(), &mut memory.0)?;
    let mut learner = Learner::new(session, Policy::default())?;
    let (mut points, mut others) = (Moons::new(1), Moons::new(2));
    for epoch in 0..EPOCHS {
        let mut sum = 0.0;
        for _ in 0..POINTS {
            let (point, class) = points.point();
            sum += learner.step(&point, class)?.value;
        }
        let mut score = Score::default();
        for _ in 0..POINTS {
            let (point, class) = others.point();
            score.add(learner.evaluate(&point, class)?);
        }
        let loss = sum / POINTS as f32;
        let _ = files.output(&loss.to_le_bytes());
        let _ = files.output(&score.correct.to_le_bytes());
        let _ = files.output(&crc32c(learner.parameters()).to_le_bytes());
        print(epoch, loss, &score);
    }
    Ok(())
}

/// Prints a point of the curve, in thousandths: printing an f32 takes more code than all of the above.
fn print(epoch: u32, loss: f32, score: &Score) {
    let mut line = String::<80>::new();
    let thousandths = (loss * 1000.0) as u32;
    let (whole, rest, right) = (thousandths / 1000, thousandths % 1000, score.correct * 1000 / POINTS);
    let _ = writeln!(line, "epoch {epoch:2}  loss {whole}.{rest:03}  right {}.{} %", right / 10, right % 10);
    if let Ok(terminal) = File::standard_error() {
        let _ = terminal.write(line.as_bytes());
    }
}
