//! Taking a package.

use core::ops::Range;

use embedded_io::{Read, ReadExactError};
use embedded_storage::nor_flash::NorFlash;
use smidgen::checksum::Crc32c;
use smidgen::model::{HEADER_BYTES, Header};
use smidgen::{LoadError, Operators};

use crate::boot::{Booted, Device};
use crate::layout::{Layout, LayoutError, SLOT_HEAD_BYTES};
use crate::package::{PACKAGE_BYTES, Package};
use crate::record::{BLOCK, Record, transfer};

/// As an erased flash has it.
const BLANK: [u8; BLOCK] = [0xff; BLOCK];

/// What a device takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A version that is not above the present one, too.
    pub allow_downgrade: bool,
    /// The public key of who may send models. Without it any package is taken; with it, only those that are signed with its other half.
    #[cfg(feature = "signed")]
    pub public_key: Option<[u8; 32]>,
}

/// A package that is in its slot; the next boot takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The slot.
    pub slot: usize,
    /// The model's version.
    pub version: u32,
    /// Bytes of the file that were there from a transfer that broke off.
    pub resumed_bytes: u32,
}

/// Why a package was not taken. What was in use before still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError<F, R> {
    /// The flash is not as the layout says.
    Layout(LayoutError),
    /// The flash refused.
    Flash(F),
    /// What the package comes from failed.
    Read(R),
    /// It ended before the package did. The transfer can go on later.
    Ended,
    /// Not a package, or its head is damaged.
    NotAPackage,
    /// For another kind of device.
    Kind {
        /// What this one takes.
        expected: u32,
        /// What the package is for.
        found: u32,
    },
    /// Not newer than what is there.
    Version {
        /// What is there.
        present: u32,
        /// What the package has.
        found: u32,
    },
    /// Longer than a slot has room for.
    TooLong {
        /// Length of the longest file.
        expected: u32,
        /// Length of the file.
        found: u32,
    },
    /// What was written does not read back.
    NotWritten,
    /// The file is not the one that the head announces.
    Checksum,
    /// The signature is not that of the device's key.
    Signature,
    /// Not a model file of a version that the device knows.
    Model(LoadError),
    /// The model needs more memory than the device has, or operators that it has not.
    DoesNotFit,
}

impl<F: core::fmt::Debug, R: core::fmt::Debug> core::fmt::Display for UpdateError<F, R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Layout(error) => write!(f, "the flash is not as the layout says: {error:?}"),
            Self::Flash(error) => write!(f, "the flash: {error:?}"),
            Self::Read(error) => write!(f, "the package cannot be read: {error:?}"),
            Self::Ended => write!(f, "the package broke off; send it again, it goes on where it was"),
            Self::NotAPackage => write!(f, "not a package, or its head is damaged"),
            Self::Kind { expected, found } => {
                write!(f, "the package is for devices of kind {found:#x}, this one is {expected:#x}")
            }
            Self::Version { present, found } => {
                write!(f, "version {found} is not above the present {present}")
            }
            Self::TooLong { expected, found } => {
                write!(f, "the file has {found} bytes, a slot has room for {expected}")
            }
            Self::NotWritten => write!(f, "what was written does not read back"),
            Self::Checksum => write!(f, "the file is not the one that the package announces"),
            Self::Signature => write!(f, "the signature is not that of this device's key"),
            Self::Model(error) => write!(f, "{error}"),
            Self::DoesNotFit => write!(f, "the model needs memory or operators that this device has not"),
        }
    }
}

impl<F: core::fmt::Debug, R: core::fmt::Debug> core::error::Error for UpdateError<F, R> {}

/// Takes packages into the slot that is not in use.
#[derive(Debug)]
pub struct Installer<'f, F> {
    flash: &'f mut F,
    layout: Layout,
    device: Device,
    operators: smidgen::OperatorSet,
    present: u32,
    sequence: u32,
    slot: usize,
    policy: Policy,
}

type Outcome<T, F, R> = Result<T, UpdateError<<F as embedded_storage::nor_flash::ErrorType>::Error, R>>;

impl<'f, F: NorFlash> Installer<'f, F> {
    /// An installer beside what `booted` uses.
    pub fn new<O: Operators>(
        flash: &'f mut F,
        layout: Layout,
        device: Device,
        booted: &Booted<'_, O>,
        policy: Policy,
    ) -> Self {
        let slot = if booted.slot == Some(0) { 1 } else { 0 };
        let (present, sequence) = (booted.version, booted.sequence.wrapping_add(1));
        Self { flash, layout, device, operators: O::SET, present, sequence, slot, policy }
    }

    /// How many bytes of this package's file are there already, from a transfer that broke off.
    ///
    /// # Errors
    /// [`UpdateError::Flash`].
    pub fn resumes_at(&mut self, package: &Package) -> Outcome<u32, F, core::convert::Infallible> {
        self.resume_offset(package).map_err(UpdateError::Flash)
    }

    /// Takes a package from its head on. What is there from a transfer of the same package that broke off is read and not written again.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn install<R: Read>(&mut self, mut from: R) -> Outcome<Installed, F, R::Error> {
        let mut head = [0; PACKAGE_BYTES];
        read(&mut from, &mut head)?;
        let package = Package::from_bytes(&head).map_err(|_| UpdateError::NotAPackage)?;
        self.check(&package)?;
        let offset = self.resume_offset(&package).map_err(UpdateError::Flash)?;
        let (mut skipped, mut block) = (0, [0; BLOCK]);
        while skipped < offset {
            let length = (offset - skipped).min(BLOCK as u32);
            read(&mut from, block.get_mut(..length as usize).unwrap_or_default())?;
            skipped += length;
        }
        self.finish(&package, offset, from)
    }

    /// Goes on with a package from [`resumes_at`](Self::resumes_at) on: `from` has the file's bytes from there.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn resume<R: Read>(&mut self, package: &Package, from: R) -> Outcome<Installed, F, R::Error> {
        self.check(package)?;
        let offset = self.resume_offset(package).map_err(UpdateError::Flash)?;
        self.finish(package, offset, from)
    }

    /// What can be known from the head.
    fn check<R>(&self, package: &Package) -> Outcome<(), F, R> {
        self.layout.check(self.flash).map_err(UpdateError::Layout)?;
        let (expected, found) = (self.device.kind, package.kind);
        if expected != found {
            return Err(UpdateError::Kind { expected, found });
        }
        let (present, found) = (self.present, package.version);
        if found <= present && !self.policy.allow_downgrade {
            return Err(UpdateError::Version { present, found });
        }
        let (expected, found) = (self.layout.file_bytes(self.slot), package.length);
        if found > expected { Err(UpdateError::TooLong { expected, found }) } else { Ok(()) }
    }

    fn slot_range(&self) -> Range<u32> {
        self.layout.slots.get(self.slot).cloned().unwrap_or_default()
    }

    /// Where the file of the slot begins.
    fn file_start(&self) -> u32 {
        self.slot_range().start.saturating_add(SLOT_HEAD_BYTES)
    }

    fn is_blank(&mut self, at: u32) -> Result<bool, F::Error> {
        let mut block = [0; BLOCK];
        self.flash.read(at, &mut block)?;
        Ok(block == BLANK)
    }

    /// Where to go on: at the beginning of the last page that has anything in it, which may not be complete; 0 for anew.
    ///
    /// Anew, too, if all was written: the record may have been begun then, and nothing be seen of it, and its words are only written after an erasure.
    fn resume_offset(&mut self, package: &Package) -> Result<u32, F::Error> {
        let slot = self.slot_range().start;
        let mut head = [0; BLOCK];
        self.flash.read(slot.saturating_add(BLOCK as u32), &mut head)?;
        let (start, length) = (self.file_start(), padded(package));
        if head != transfer(&package.to_bytes())
            || !self.is_blank(slot)?
            || !self.is_blank(start.saturating_add(length))?
        {
            return Ok(0);
        }
        let (mut last, mut done) = (start, 0);
        while done < length {
            let at = start.saturating_add(done);
            if !self.is_blank(at)? {
                last = at;
            }
            done += BLOCK as u32;
        }
        let page_start = last - last.checked_rem(F::ERASE_SIZE as u32).unwrap_or(0);
        Ok(page_start.saturating_sub(start))
    }

    fn finish<R: Read>(
        &mut self,
        package: &Package,
        offset: u32,
        mut from: R,
    ) -> Outcome<Installed, F, R::Error> {
        let (slot, start, length) = (self.slot_range(), self.file_start(), padded(package));
        let head = transfer(&package.to_bytes());
        if offset == 0 {
            // Its first page goes first, and with it what vouches for the slot. Then what says whose it will be.
            self.flash.erase(slot.start, slot.end).map_err(UpdateError::Flash)?;
            self.write_block(slot.start.saturating_add(BLOCK as u32), &head)?;
        }
        let page = F::ERASE_SIZE as u32;
        let mut done = offset;
        // The head again, behind the file, says that all of it is written.
        while done <= length {
            let at = start.saturating_add(done);
            // Something may have been begun here, and no word is written twice.
            if offset != 0 && at.checked_rem(page) == Some(0) {
                self.flash.erase(at, at.saturating_add(page)).map_err(UpdateError::Flash)?;
            }
            let mut block = if done < length { BLANK } else { head };
            let here = package.length.saturating_sub(done).min(BLOCK as u32);
            read(&mut from, block.get_mut(..here as usize).unwrap_or_default())?;
            self.write_block(at, &block)?;
            done += BLOCK as u32;
        }
        self.verify(package)?;
        let Package { kind, version, length, checksum, .. } = *package;
        let record = Record { sequence: self.sequence, kind, version, length, checksum };
        self.write_block(slot.start, &record.to_block())?;
        Ok(Installed { slot: self.slot, version, resumed_bytes: offset })
    }

    /// Writes a block and reads it back.
    fn write_block<R>(&mut self, at: u32, block: &[u8; BLOCK]) -> Outcome<(), F, R> {
        self.flash.write(at, block).map_err(UpdateError::Flash)?;
        let mut back = [0; BLOCK];
        self.flash.read(at, &mut back).map_err(UpdateError::Flash)?;
        if back == *block { Ok(()) } else { Err(UpdateError::NotWritten) }
    }

    /// Whether the slot holds what the package announces, and the device could use it.
    fn verify<R>(&mut self, package: &Package) -> Outcome<(), F, R> {
        let mut checksum = Crc32c::new();
        self.each_block(package, |part| checksum.update(part)).map_err(UpdateError::Flash)?;
        if checksum.finish() != package.checksum {
            // Nothing of it is of use: the transfer begins anew.
            return self.give_up(UpdateError::Checksum);
        }
        #[cfg(feature = "signed")]
        if let Some(key) = self.policy.public_key
            && !self.is_signed(package, key).map_err(UpdateError::Flash)?
        {
            return self.give_up(UpdateError::Signature);
        }
        let mut bytes = [0; HEADER_BYTES.next_multiple_of(BLOCK)];
        self.flash.read(self.file_start(), &mut bytes).map_err(UpdateError::Flash)?;
        let header = match Header::read(bytes.get(..HEADER_BYTES).unwrap_or_default()) {
            Ok(header) => header,
            Err(error) => return self.give_up(UpdateError::Model(error)),
        };
        let memory = header.memory.total().map_or(usize::MAX, |total| total as usize);
        let fits = header.file_bytes == package.length
            && memory <= self.device.memory_bytes
            && header.front_end_bytes as usize <= self.device.front_end_bytes
            && header.operators.0.iter().zip(self.operators.0).all(|(needed, linked)| needed & !linked == 0);
        if fits { Ok(()) } else { self.give_up(UpdateError::DoesNotFit) }
    }

    /// Forgets the transfer.
    fn give_up<R>(&mut self, error: UpdateError<F::Error, R>) -> Outcome<(), F, R> {
        let Range { start, .. } = self.slot_range();
        self.flash.erase(start, start.saturating_add(F::ERASE_SIZE as u32)).map_err(UpdateError::Flash)?;
        Err(error)
    }

    /// Reads the file in the slot, part by part.
    fn each_block(&mut self, package: &Package, mut part: impl FnMut(&[u8])) -> Result<(), F::Error> {
        let (start, mut done, mut block) = (self.file_start(), 0, [0; BLOCK]);
        while done < package.length {
            self.flash.read(start.saturating_add(done), &mut block)?;
            let length = (package.length - done).min(BLOCK as u32);
            part(block.get(..length as usize).unwrap_or_default());
            done += length;
        }
        Ok(())
    }

    #[cfg(feature = "signed")]
    fn is_signed(&mut self, package: &Package, key: [u8; 32]) -> Result<bool, F::Error> {
        use ed25519_compact::{PublicKey, Signature};
        let signature = Signature::new(package.signature);
        let Ok(mut state) = PublicKey::new(key).verify_incremental(&signature) else { return Ok(false) };
        state.absorb(package.signed_bytes());
        self.each_block(package, |part| state.absorb(part))?;
        Ok(state.verify().is_ok())
    }
}

/// Bytes of flash that a package's file takes: whole blocks.
fn padded(package: &Package) -> u32 {
    package.length.div_ceil(BLOCK as u32).saturating_mul(BLOCK as u32)
}

fn read<F, R: Read>(from: &mut R, bytes: &mut [u8]) -> Result<(), UpdateError<F, R::Error>> {
    from.read_exact(bytes).map_err(|error| match error {
        ReadExactError::UnexpectedEof => UpdateError::Ended,
        ReadExactError::Other(error) => UpdateError::Read(error),
    })
}
