//! What all boards do: they listen with the model that is built in, and blink and write what they hear.
//!
//! A board brings four things, all of them traits of `embedded-hal` and `embedded-io`, and of this crate: [samples](Samples), a [light](Light), something that waits, and a serial line.
//! Its own crate knows its chip and its pins, and nothing of networks:
//!
//! ```text
//! interrupt: microphone ─► Level ─► Queue ┐
//!                                         └─► listen ─► Spotter ─► Signal ─► report ─► light, serial line, log
//! ```
//!
//! Samples come at a higher priority than the network runs, so that none are missed while it does. The light blinks once for the first class, twice for the second and so on.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod light;
mod model;
mod report;
mod samples;
mod update;

pub use light::{Light, blink};
pub use model::{MEMORY_BYTES, Network, SpotterInMemory, sample_rate, spotter, spotter_of, suits};
pub use report::{line, report};
pub use samples::{BLOCK, Block, Level, Queue, Samples};
pub use smidgen_update::Policy;
pub use update::{DEVICE, KIND, POLICY, Part, Silence, asked, take};

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embedded_hal::digital::OutputPin;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Read, Write};
use embedded_storage::nor_flash::NorFlash;
use smidgen::frontend::{Detection, Spotter};
use smidgen::{Model, Operators, SessionError};

/// The newest event, from the one that listens to the one that reports.
pub type Heard = Signal<CriticalSectionRawMutex, Detection>;

/// Listens with the model that is built in and reports what is heard, for ever.
///
/// It returns if the model cannot run, which one that [`spotter`] accepts does not do.
pub async fn run<S: Samples, P: OutputPin, D: DelayNs, W: Write>(
    mut samples: S,
    mut light: Light<P>,
    mut delay: D,
    mut serial: W,
) {
    hear(Network::model(), &mut samples, &mut light, &mut delay, &mut serial).await;
}

/// As [`run`], with the newest model in flash, and taking new ones over the serial line. It returns when it has to start anew: after a transfer.
pub async fn run_and_update<S: Samples, P: OutputPin, D: DelayNs + Clone, W: Write, R: Read, F: NorFlash>(
    mut samples: S,
    mut light: Light<P>,
    mut delay: D,
    mut serial: W,
    mut commands: R,
    mut models: Part<F>,
    policy: Policy,
) {
    let booted = models.boot();
    #[cfg(feature = "defmt")]
    defmt::info!("model version {}", booted.version);
    let model = booted.model.unwrap_or_else(Network::model);
    let mut clock = delay.clone();
    let hearing = async {
        hear(model, &mut samples, &mut light, &mut delay, &mut serial).await;
        // It cannot listen: a model that comes may.
        core::future::pending::<()>().await;
    };
    select(hearing, asked(&mut commands)).await;
    take(&mut models, &booted, policy, &mut commands, &mut serial, &mut clock);
    // The last of what was written is still on the line.
    clock.delay_ms(100).await;
}

/// Listens with a model and reports, until an inference fails.
async fn hear<S: Samples, P: OutputPin, D: DelayNs, W: Write>(
    model: Model<'static, Network>,
    samples: &mut S,
    light: &mut Light<P>,
    delay: &mut D,
    serial: &mut W,
) {
    static HEARD: Heard = Signal::new();
    let labels = model.metadata();
    let Some(mut spotter) = spotter_of(model) else {
        #[cfg(feature = "defmt")]
        defmt::error!("the model does not go from sound to classes in int8");
        return;
    };
    #[cfg(feature = "defmt")]
    defmt::info!("listening at {} Hz, with {} bytes of memory", sample_rate(), MEMORY_BYTES);
    let listening = listen(&mut spotter, samples, &HEARD);
    let reporting = async {
        loop {
            let heard = HEARD.wait().await;
            report(heard, labels.label(heard.class), light, delay, serial).await;
        }
    };
    select(listening, reporting).await;
}

/// Listens, block by block, until an inference fails.
pub async fn listen<O: Operators, S: Samples>(
    spotter: &mut Spotter<'_, '_, O>,
    samples: &mut S,
    heard: &Heard,
) -> SessionError {
    loop {
        let block = samples.next().await;
        let mut rest = &block[..];
        while let Some(left) = spotter.push(rest) {
            rest = left;
            match spotter.infer() {
                Ok(Some(detection)) => heard.signal(detection),
                Ok(None) => {}
                Err(error) => return error,
            }
        }
    }
}
