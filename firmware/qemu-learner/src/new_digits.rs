//! An example: a network that knows some digits learns new ones, and does not forget the old.
//!
//! From the host come, as an application would have them in its flash and from its sensor: a few samples of the old digits, and samples of the new ones, one after another. Each new
//! sample is learned once, and with it some that are drawn from the samples kept so far.

#![no_std]
#![no_main]

use smidgen::checksum::crc32c;
use smidgen::learn::{LearnError, Policy, Replay};
use smidgen::{Aligned, Learner, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::exit;
use smidgen_protocol::job::Host;

smidgen::include_model!(
    /// The network.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

/// Pixels of an image.
const PIXELS: usize = 28 * 28;
/// Samples that are kept.
const KEPT: usize = 400;
const CLASSES: usize = 10;

type Memory = Aligned<[u8; Network::ARENA_BYTES]>;
type Kept = Replay<i8, PIXELS, KEPT, CLASSES>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Aligned([0; Network::ARENA_BYTES]);
    static mut KEPT_SAMPLES: Kept = Replay::new(1);
    let Ok(mut files) = Files::open() else { semihosting::exit(exit::FILES) };
    let code = match learn(MEMORY, KEPT_SAMPLES, &mut files) {
        Ok(()) => files.finished(),
        Err(_) => exit::REFUSED,
    };
    semihosting::exit(code)
}

/// A sample, as the host writes it: pixels, then the label.
fn sample(files: &mut Files, pixels: &mut [i8; PIXELS]) -> Option<u8> {
    for pixel in pixels.iter_mut() {
        let mut byte = [0];
        files.input(&mut byte).ok()?;
        *pixel = i8::from_le_bytes(byte);
    }
    let mut label = [0];
    files.input(&mut label).ok()?;
    Some(label[0])
}

fn learn(memory: &'static mut Memory, kept: &mut Kept, files: &mut Files) -> Result<(), LearnError> {
    let _ = files.record(&Clock::start().calibrate());
    let session = Session::new(Network::model(), &mut memory.0)?;
    let mut learner = Learner::new(session, Policy::default())?;
    // How many old samples, how many new ones, how often a kept one is learned with each; the rest are for the test.
    let mut counts = [0; 6];
    let _ = files.input(&mut counts);
    let [a, b, c, d, e, f] = counts;
    let [old, new, again] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
    let mut pixels = [0; PIXELS];
    for _ in 0..old {
        let Some(label) = sample(files, &mut pixels) else { break };
        kept.offer(&pixels, label);
    }
    for _ in 0..new {
        let Some(label) = sample(files, &mut pixels) else { break };
        learner.step(&pixels, label.into())?;
        kept.offer(&pixels, label);
        for _ in 0..again {
            if let Some(sample) = kept.draw() {
                learner.step(&sample.input, sample.label.into())?;
            }
        }
    }
    let _ = files.output(&crc32c(learner.parameters()).to_le_bytes());
    while let Some(label) = sample(files, &mut pixels) {
        let loss = learner.evaluate(&pixels, label.into())?;
        let _ = files.output(&[u8::from(loss.is_correct)]);
    }
    Ok(())
}
