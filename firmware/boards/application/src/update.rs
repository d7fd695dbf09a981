//! A new model over the serial line, into flash beside the application.
//!
//! | who | sends | |
//! |---|---|---|
//! | host | `U` | until the device answers; whatever else comes is ignored |
//! | device | `00`, `SMGU` | it listens no more; nothing that it writes otherwise has a zero |
//! | device | a number from 1 to 64 | it wants so many bytes of the package, from its beginning on: the host sends them, and nothing else |
//! | device | `00` and a line of text | what came of it; the device restarts |
//!
//! Nothing is under way while the device writes its flash, because it may not run while it does. If the host falls silent, the device restarts with the model that it had,
//! and the next transfer of the same package skips what is there.

use core::fmt::{Debug, Write as _};
use core::ops::Range;

use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Read, Write};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use smidgen::Operators;
use smidgen_update::{Booted, Device, Installer, Layout, Policy, boot};

use crate::model::{Network, suits};

/// The kind of model that this application takes.
pub const KIND: u32 = u32::from_le_bytes(*b"EARS");

/// What the application is, whatever model it uses: one that needs more memory or other operators than the one that is built in is refused.
pub const DEVICE: Device = Device {
    kind: KIND,
    built_in_version: 1,
    memory_bytes: Network::ARENA_BYTES,
    front_end_bytes: Network::FRONT_END_BYTES,
};

/// Which models it takes: newer ones; with the feature `signed`, only those that are signed with the other half of the key in the file that `SMIDGEN_PUBLIC_KEY` named when this
/// was built.
pub const POLICY: Policy = Policy {
    allow_downgrade: false,
    #[cfg(feature = "signed")]
    public_key: Some(*include_bytes!(concat!(env!("OUT_DIR"), "/public.key"))),
};

const WANTED: &[u8] = b"\0SMGU";
const BLOCK: usize = 64;
/// How long a host may take for 64 bytes.
const PATIENCE_MS: u32 = 5_000;
/// After so long nothing more is under way that it sent before it was answered.
const PAUSE_MS: u32 = 50;

/// The part of a flash that models have.
#[derive(Debug)]
pub struct Part<F> {
    driver: F,
    /// Where in the driver's flash it begins, and its length.
    start: u32,
    mapped: &'static [u8],
}

impl<F: NorFlash> Part<F> {
    /// The part from `start` on, which the processor sees as `mapped`.
    pub const fn new(driver: F, start: u32, mapped: &'static [u8]) -> Self {
        Self { driver, start, mapped }
    }

    fn layout(&self) -> Layout {
        Layout::split(0..self.mapped.len() as u32, F::ERASE_SIZE as u32)
    }

    /// The model to listen with: the newest in flash that is whole and suits the application.
    pub fn boot(&self) -> Booted<'static, Network> {
        let mut booted = boot::<Network>(self.mapped, &self.layout(), &DEVICE);
        booted.model = booted.model.filter(suits);
        booted
    }

    fn place(&self, offset: u32) -> u32 {
        self.start.saturating_add(offset)
    }
}

impl<F: ErrorType> ErrorType for Part<F> {
    type Error = F::Error;
}

impl<F: NorFlash> ReadNorFlash for Part<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.driver.read(self.place(offset), bytes)
    }

    fn capacity(&self) -> usize {
        self.mapped.len()
    }
}

impl<F: NorFlash> NorFlash for Part<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        let Range { start, end } = self.place(from)..self.place(to);
        self.driver.erase(start, end)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.driver.write(self.place(offset), bytes)
    }
}

/// Returns when a host wants to send a model.
pub async fn asked<R: Read>(commands: &mut R) {
    let mut byte = [0];
    loop {
        match commands.read(&mut byte).await {
            Ok(1) if byte == *b"U" => return,
            // A line that fails is asked again: nothing else is to be done with it.
            _ => embassy_futures::yield_now().await,
        }
    }
}

/// Takes a model from a host that [asked](asked), and writes what came of it. The next start uses the model.
pub fn take<F: NorFlash, R: Read, W: Write, D: DelayNs>(
    part: &mut Part<F>,
    booted: &Booted<'_, impl Operators>,
    policy: Policy,
    commands: &mut R,
    serial: &mut W,
    delay: &mut D,
) {
    let mut text = heapless::String::<160>::new();
    let layout = part.layout();
    let mut transfer = Transfer { commands, serial, delay };
    if transfer.send(WANTED).is_some() {
        transfer.forget();
        match Installer::new(part, layout, DEVICE, booted, policy).install(&mut transfer) {
            Ok(done) => write!(text, "version {} is there", done.version),
            Err(error) => write!(text, "refused: {error}"),
        }
        // A text that is too long is cut off.
        .ok();
    }
    transfer.send(b"\0");
    transfer.send(text.as_bytes());
    transfer.send(b"\r\n");
}

/// What asks the host for bytes.
struct Transfer<'a, R, W, D> {
    commands: &'a mut R,
    serial: &'a mut W,
    delay: &'a mut D,
}

impl<R: Read, W: Write, D: DelayNs> Transfer<'_, R, W, D> {
    /// Sends all of it. `None` if the line fails.
    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        block_on(async {
            self.serial.write_all(bytes).await.ok()?;
            self.serial.flush().await.ok()
        })
    }
}

impl<R: Read, W: Write, D: DelayNs> Transfer<'_, R, W, D> {
    /// Leaves out what comes unasked: a host that waits long asks more than once.
    fn forget(&mut self) {
        let mut bytes = [0; 16];
        while let Either::First(Ok(1..)) =
            block_on(select(self.commands.read(&mut bytes), self.delay.delay_ms(PAUSE_MS)))
        {}
    }
}

/// The host is silent, or the line failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence;

impl embedded_io::Error for Silence {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::TimedOut
    }
}

impl<R, W, D> embedded_io::ErrorType for Transfer<'_, R, W, D> {
    type Error = Silence;
}

impl<R: Read, W: Write, D: DelayNs> embedded_io::Read for Transfer<'_, R, W, D> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Silence> {
        let length = bytes.len().min(BLOCK);
        let Some(wanted) = bytes.get_mut(..length).filter(|wanted| !wanted.is_empty()) else { return Ok(0) };
        self.send(&[length as u8]).ok_or(Silence)?;
        let read = select(self.commands.read_exact(wanted), self.delay.delay_ms(PATIENCE_MS));
        match block_on(read) {
            Either::First(Ok(())) => Ok(length),
            _ => Err(Silence),
        }
    }
}

#[cfg(test)]
mod tests;
