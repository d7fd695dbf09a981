//! An example: a network that listens gets to know a new speaker, from a few utterances, on the device.
//!
//! From the host come sound, as from a microphone, and what was said. The device computes the features, keeps those of the utterances that it is to learn, and learns them
//! again and again in random order.

#![no_std]
#![no_main]

use smidgen::checksum::crc32c;
use smidgen::frontend::Listener;
use smidgen::learn::{LearnError, Policy, Replay};
use smidgen::{Aligned, EntryKind, Learner, Preprocessing, Quantization, Session};
use smidgen_firmware::clock::Clock;
use smidgen_firmware::files::Files;
use smidgen_firmware::semihosting;
use smidgen_protocol::exit;
use smidgen_protocol::job::Host;

smidgen::include_model!(
    /// The network.
    Network = concat!(env!("OUT_DIR"), "/model.smg")
);

/// Samples that an interrupt brings at once.
const BLOCK: usize = 64;
/// Utterances that are kept.
const KEPT: usize = 20;
const CLASSES: usize = 10;

struct Memory {
    arena: Aligned<[u8; Network::ARENA_BYTES]>,
    front_end: Aligned<[u8; Network::FRONT_END_BYTES]>,
    frames: [i8; Network::INPUT_BYTES],
}

type Kept = Replay<i8, { Network::INPUT_BYTES }, KEPT, CLASSES>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory {
        arena: Aligned([0; Network::ARENA_BYTES]),
        front_end: Aligned([0; Network::FRONT_END_BYTES]),
        frames: [0; Network::INPUT_BYTES],
    };
    static mut KEPT_UTTERANCES: Kept = Replay::new(1);
    let Ok(mut files) = Files::open() else { semihosting::exit(exit::FILES) };
    let code = match learn(MEMORY, KEPT_UTTERANCES, &mut files) {
        Ok(()) => files.finished(),
        Err(_) => exit::REFUSED,
    };
    semihosting::exit(code)
}

/// Hears one utterance: its features are the listener's input then, and what was said is returned. `None` if there are no more.
fn hear(listener: &mut Listener<'_>, files: &mut Files) -> Option<u8> {
    listener.reset();
    let (mut bytes, mut samples) = ([0; 2 * BLOCK], [0; BLOCK]);
    loop {
        files.input(&mut bytes).ok()?;
        for (sample, &bytes) in samples.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *sample = i16::from_le_bytes(bytes);
        }
        if listener.push(&samples).is_some() {
            break;
        }
    }
    let mut label = [0];
    files.input(&mut label).ok()?;
    Some(label[0])
}

fn learn(memory: &'static mut Memory, kept: &mut Kept, files: &mut Files) -> Result<(), LearnError> {
    let _ = files.record(&Clock::start().calibrate());
    let model = Network::model();
    let input = model.entry(EntryKind::Train).and_then(|entry| entry.inputs.first().copied());
    let quantization = input.map_or(Quantization::NONE, |input| input.quantization);
    let Preprocessing::Audio(audio) = model.metadata().preprocessing else {
        semihosting::exit(exit::REFUSED)
    };
    let Ok(mut listener) = Listener::new(&audio, quantization, &mut memory.front_end.0, &mut memory.frames)
    else {
        semihosting::exit(exit::REFUSED)
    };
    let session = Session::new(model, &mut memory.arena.0)?;
    let mut learner = Learner::new(session, Policy::default())?;
    // How many utterances to learn, and how often; the rest are for the test.
    let mut counts = [0; 2];
    let _ = files.input(&mut counts);
    let [utterances, epochs] = counts;
    for _ in 0..utterances {
        let Some(label) = hear(&mut listener, files) else { break };
        kept.offer(listener.input(), label);
    }
    for _ in 0..u32::from(utterances) * u32::from(epochs) {
        if let Some(sample) = kept.draw() {
            learner.step(&sample.input, sample.label.into())?;
        }
    }
    let _ = files.output(&crc32c(learner.parameters()).to_le_bytes());
    while let Some(label) = hear(&mut listener, files) {
        let loss = learner.evaluate(listener.input(), label.into())?;
        let _ = files.output(&[u8::from(loss.is_correct)]);
    }
    Ok(())
}
