//! A host, a serial line and a flash, in memory.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::vec::Vec;

use ed25519_compact::SecretKey;
use embassy_futures::block_on;
use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use smidgen::Aligned;
use smidgen_update::Package;

use super::*;

const PAGE: usize = 4096;
const BYTES: usize = 2 * 10 * PAGE;
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

impl Line {
    /// What the device ended with.
    fn text(&self) -> String {
        let said = &self.0.borrow().said;
        let end = said.iter().rposition(|&byte| byte == 0).unwrap();
        std::str::from_utf8(&said[end + 1..]).unwrap().trim_end().to_owned()
    }
}

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
    // It asked three times before the device looked.
    line.0.borrow_mut().to_device.extend(b"xyUUU");
    block_on(asked(&mut line.clone()));
    let mut part = flash.part();
    let booted = part.boot();
    take(&mut part, &booted, POLICY, &mut line.clone(), &mut line.clone(), &mut Clock);
    line.text()
}

/// Signed with the key for tests. An application without a key takes it, too.
fn package_of(file: &[u8], kind: u32, version: u32) -> Vec<u8> {
    let key = SecretKey::from_pem(include_str!("../../test-keys/private.pem")).unwrap();
    let head = Package::of(file, kind, version);
    let signature = *key.sign([&head.signed_bytes()[..], file].concat(), None);
    [&Package { signature, ..head }.to_bytes()[..], file].concat()
}

fn package(version: u32) -> Vec<u8> {
    package_of(Network::file(), KIND, version)
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
    flash.0.borrow_mut()[START + PAGE..].fill(0);
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
    let other = package_of(Network::file(), KIND + 1, 2);
    assert!(transfer(&flash, &other, other.len()).contains("for devices of kind"));
    assert!(transfer(&flash, &package(1), 40_000.min(package(1).len())).contains("version 1 is not above"));
    assert!(flash.part().boot().model.is_none());
}

/// The whole way: the serial line's protocol, the flash, the next start. `SMIDGEN_EVERY_BIT=1` tries each bit of the file, which takes minutes in release.
#[cfg(feature = "signed")]
#[test]
fn no_bit_of_a_signed_package_may_change() {
    use smidgen::checksum::crc32c;
    use smidgen_update::PACKAGE_BYTES;

    let good = package(2);
    let number = |name, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let every = if number("SMIDGEN_EVERY_BIT", 0) == 1 { 1 } else { 1_009 };
    let (part, parts) = (number("SMIDGEN_BITS_PART", 0), number("SMIDGEN_BITS_PARTS", 1));
    let (mut bits, mut unsigned) = (0, 0);
    for bit in (0..good.len() * 8).filter(|bit| *bit < PACKAGE_BYTES * 8 || bit % every == 0) {
        if bit % parts != part {
            continue;
        }
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut tries = vec![bad.clone()];
        // Who changes it on purpose makes the checksums fit: of the file, in the head; and of the head.
        if !(16 * 8..PACKAGE_BYTES * 8).contains(&bit) {
            let checksum = crc32c(&bad[PACKAGE_BYTES..]);
            bad[16..20].copy_from_slice(&checksum.to_le_bytes());
            let checksum = crc32c(&bad[..20]);
            bad[20..24].copy_from_slice(&checksum.to_le_bytes());
            tries.push(bad);
        }
        for package in tries {
            let (text, booted) = offered(&package);
            assert!(text.starts_with("refused: "), "bit {bit}: {text}");
            assert_eq!(booted, DEVICE.built_in_version, "bit {bit}");
            unsigned += usize::from(text.contains("signature"));
        }
        bits += 1;
    }
    assert_eq!(offered(&good), ("version 2 is there".into(), 2));
    println!("{bits} bits of {}, {unsigned} packages refused by their signature alone", good.len() * 8);
    assert!(bits > good.len() * 8 / parts / (every + 1) && unsigned > 0);
    // No signature at all, and one of somebody else.
    let file = Network::file();
    let none = [&Package::of(file, KIND, 2).to_bytes()[..], file].concat();
    let head = Package::of(file, KIND, 2);
    let other = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([1; 32]));
    let signature = *other.sk.sign([&head.signed_bytes()[..], file].concat(), None);
    let other = [&Package { signature, ..head }.to_bytes()[..], file].concat();
    for package in [none, other] {
        assert!(offered(&package).0.contains("not that of this device's key"));
    }
}

/// What a device with an empty flash says to a package, and the version that it starts with after it.
#[cfg(feature = "signed")]
fn offered(package: &[u8]) -> (String, u32) {
    let flash = Nor::new();
    let host = Host { package: package.to_vec(), sends: package.len(), ..Host::default() };
    let line = Line(Rc::new(RefCell::new(host)));
    let mut part = Part { driver: flash.clone(), start: START as u32, mapped: &BLANK.0 };
    let booted = part.boot();
    take(&mut part, &booted, POLICY, &mut line.clone(), &mut line.clone(), &mut Clock);
    let mut after = Box::new(Aligned([0; BYTES]));
    after.0.copy_from_slice(&flash.0.borrow()[START..]);
    let version = boot::<Network>(&after.0, &part.layout(), &DEVICE).version;
    (line.text(), version)
}

/// An erased flash, as the processor sees it.
#[cfg(feature = "signed")]
static BLANK: Aligned<[u8; BYTES]> = Aligned([0xff; BYTES]);
