//! A host, a serial line and a flash, in memory.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::vec::Vec;

use embassy_futures::block_on;
use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use smidgen::Aligned;
use smidgen_update::Package;

use super::*;

const PAGE: usize = 4096;
const BYTES: usize = 2 * PAGE + 2 * 10 * PAGE;
/// Where in the driver's flash the models' part begins.
const START: usize = 3 * PAGE;

/// A flash: writing clears bits, erasing sets them.
#[derive(Clone, Debug)]
struct Nor(Rc<RefCell<Vec<u8>>>);

#[derive(Clone, Copy, Debug)]
struct Bounds;

impl NorFlashError for Bounds {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::OutOfBounds
    }
}

impl ErrorType for Nor {
    type Error = Bounds;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Bounds> {
        bytes.copy_from_slice(
            self.0.borrow().get(offset as usize..).and_then(|b| b.get(..bytes.len())).ok_or(Bounds)?,
        );
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Bounds> {
        self.0.borrow_mut().get_mut(from as usize..to as usize).ok_or(Bounds)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Bounds> {
        let mut flash = self.0.borrow_mut();
        let there = flash.get_mut(offset as usize..).and_then(|b| b.get_mut(..bytes.len())).ok_or(Bounds)?;
        there.iter_mut().zip(bytes).for_each(|(there, byte)| *there &= byte);
        Ok(())
    }
}

impl Nor {
    fn new() -> Self {
        // What is before the part is the application's.
        Self(Rc::new(RefCell::new([vec![0x5a; START], vec![0xff; BYTES]].concat())))
    }

    /// The part, as the processor sees it after a start.
    fn part(&self) -> Part<Self> {
        let mut mapped = Box::new(Aligned([0; BYTES]));
        mapped.0.copy_from_slice(&self.0.borrow()[START..]);
        Part::new(self.clone(), START as u32, &Box::leak(mapped).0)
    }
}

/// What the host does, as soon as a byte comes.
#[derive(Debug, Default)]
struct Host {
    package: Vec<u8>,
    /// It falls silent after so many bytes.
    sends: usize,
    sent: usize,
    to_device: VecDeque<u8>,
    said: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Line(Rc<RefCell<Host>>);

impl embedded_io_async::ErrorType for Line {
    type Error = Infallible;
}

impl Write for Line {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let mut host = self.0.borrow_mut();
        for &byte in bytes {
            let is_asked = host.said.starts_with(WANTED) && !host.said[WANTED.len()..].contains(&0);
            host.said.push(byte);
            if is_asked && byte != 0 {
                assert!(byte <= 64 && host.to_device.is_empty(), "nothing is under way");
                let (start, end) = (host.sent, (host.sent + usize::from(byte)).min(host.sends));
                let bytes = host.package[start..end].to_vec();
                host.to_device.extend(bytes);
                host.sent = end;
            }
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Read for Line {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        if self.0.borrow().to_device.is_empty() {
            std::future::pending::<()>().await;
        }
        bytes[0] = self.0.borrow_mut().to_device.pop_front().unwrap();
        Ok(1)
    }
}

/// A clock that only runs when the line is silent: the line is looked at first.
struct Clock;

impl DelayNs for Clock {
    async fn delay_ns(&mut self, _: u32) {}
}

/// The text that the device ends with.
fn transfer(flash: &Nor, package: &[u8], sends: usize) -> String {
    let host = Host { package: package.to_vec(), sends, ..Host::default() };
    let line = Line(Rc::new(RefCell::new(host)));
    line.0.borrow_mut().to_device.extend(b"xyU");
    block_on(asked(&mut line.clone()));
    let mut part = flash.part();
    let booted = part.boot();
    take(&mut part, &booted, Policy::default(), &mut line.clone(), &mut line.clone(), &mut Clock);
    let said = &line.0.borrow().said;
    let end = said.iter().rposition(|&byte| byte == 0).unwrap();
    std::str::from_utf8(&said[end + 1..]).unwrap().trim_end().to_owned()
}

fn package(version: u32) -> Vec<u8> {
    let file = Network::file();
    [&Package::of(file, KIND, version).to_bytes()[..], file].concat()
}

#[test]
fn a_model_that_is_sent_is_the_next_starts() {
    let flash = Nor::new();
    assert!(flash.part().boot().model.is_none());
    for version in [2, 3] {
        let package = package(version);
        assert_eq!(transfer(&flash, &package, package.len()), format!("version {version} is there"));
        let booted = flash.part().boot();
        assert_eq!((booted.version, booted.model.is_some()), (version, true));
    }
    assert!(flash.0.borrow()[..START].iter().all(|&byte| byte == 0x5a), "the application is as it was");
    // A model in flash that no longer suits: the one that is built in.
    flash.0.borrow_mut()[START + 2 * PAGE..].fill(0);
    assert!(flash.part().boot().model.is_none());
}

#[test]
fn a_host_that_falls_silent_can_go_on_later() {
    let (flash, package) = (Nor::new(), package(2));
    let text = transfer(&flash, &package, 20_000);
    assert!(text.starts_with("refused: the package cannot be read"), "{text}");
    assert!(flash.part().boot().model.is_none());
    assert_eq!(transfer(&flash, &package, package.len()), "version 2 is there");
}

#[test]
fn what_is_not_for_this_application_is_refused() {
    let flash = Nor::new();
    let mut other = package(2);
    other[4] ^= 1;
    let text = transfer(&flash, &other, other.len());
    assert!(text.starts_with("refused: not a package"), "{text}");
    let file = Network::file();
    let other = [&Package::of(file, KIND + 1, 2).to_bytes()[..], file].concat();
    assert!(transfer(&flash, &other, other.len()).contains("for devices of kind"));
    assert!(transfer(&flash, &package(1), 40_000.min(package(1).len())).contains("version 1 is not above"));
    assert!(flash.part().boot().model.is_none());
}
