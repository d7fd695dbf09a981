//! Keeping what was learned over a loss of power.
//!
//! The region is cut into slots of whole pages, at least two. A save erases the slot behind the newest record's, writes the parameters there, and in the end the
//! header, whose checksum covers itself and that of the parameters. So at every moment the newest complete record is whole: a boot finds the old parameters or the new ones, and a
//! boot writes nothing. No word is written twice between two erasures, and slots wear evenly.
//!
//! | bytes of a slot | |
//! |---|---|
//! | 0..4 | "SMGP" |
//! | 4..8 | sequence number of the record |
//! | 8..12 | identity of the model: what does not fit it is not loaded |
//! | 12..16 | length of the parameters; 0 stands for the factory's |
//! | 16..20 | CRC-32C of the parameters |
//! | 20..24 | CRC-32C of bytes 0..20 |
//! | 24..64 | ones |
//! | 64.. | the parameters, then ones to a multiple of 64 |
//!
//! Numbers have their least significant byte first.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::checksum::Crc32c;

/// What is read and written at a time.
const BLOCK: usize = 64;
const MAGIC: [u8; 4] = *b"SMGP";

/// Parameters in flash.
#[derive(Debug)]
pub struct Store<F> {
    flash: F,
    region: Range<u32>,
    slot_bytes: u32,
    slots: u32,
    model: u32,
    parameter_bytes: u32,
}

/// A record that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Saved {
    /// Its number; each record's is one more than that of the one before.
    pub sequence: u32,
    /// Whether it says that the factory's parameters are to be used.
    pub is_factory: bool,
    /// The slot that it is in.
    slot: u32,
    checksum: u32,
}

/// Why parameters were not saved or loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StoreError<E> {
    /// The flash refused.
    Flash(E),
    /// The region does not begin and end at pages, or has no room for two records.
    Region {
        /// The least length it has to have.
        expected: u32,
        /// Its length.
        found: u32,
    },
    /// The flash reads or writes in units that no block of 64 bytes is made of.
    Unit,
    /// Parameters are of another length.
    Length {
        /// Bytes of the model's.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// What was written does not read back. The record before is still there.
    NotWritten,
}

impl<E> From<E> for StoreError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

impl<E: core::fmt::Debug> core::fmt::Display for StoreError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "the flash: {error:?}"),
            Self::Region { expected, found } => {
                write!(f, "the region has {found} bytes, expected whole pages of at least {expected}")
            }
            Self::Unit => write!(f, "the flash's units of reading and writing do not divide {BLOCK} bytes"),
            Self::Length { expected, found } => {
                write!(f, "the model has {expected} bytes of parameters, {found} were given")
            }
            Self::NotWritten => write!(f, "what was written does not read back"),
        }
    }
}

impl<E: core::fmt::Debug> core::error::Error for StoreError<E> {}

impl<F: NorFlash> Store<F> {
    /// A store in `region` of `flash`, for models of this identity (the checksum in the file's header will do) with so many bytes of parameters.
    ///
    /// # Errors
    /// [`StoreError::Region`], [`StoreError::Unit`].
    pub fn new(
        flash: F,
        region: Range<u32>,
        model: u32,
        parameter_bytes: u32,
    ) -> Result<Self, StoreError<F::Error>> {
        let unit = |size: usize| size != 0 && BLOCK.is_multiple_of(size);
        if !unit(F::WRITE_SIZE) || !unit(F::READ_SIZE) {
            return Err(StoreError::Unit);
        }
        let page = F::ERASE_SIZE as u32;
        let needed = parameter_bytes.checked_next_multiple_of(BLOCK as u32);
        let needed = needed.and_then(|bytes| bytes.checked_add(BLOCK as u32));
        let slot_bytes = needed.and_then(|bytes| bytes.checked_next_multiple_of(page)).unwrap_or(u32::MAX);
        let found = region.end.saturating_sub(region.start);
        let is_whole = |at: u32| at.checked_rem(page) == Some(0);
        let slots = found.checked_div(slot_bytes).unwrap_or(0);
        if slots < 2
            || !is_whole(region.start)
            || !is_whole(region.end)
            || region.end as usize > flash.capacity()
        {
            return Err(StoreError::Region { expected: slot_bytes.saturating_mul(2), found });
        }
        Ok(Self { flash, region, slot_bytes, slots, model, parameter_bytes })
    }

    /// The newest whole record; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Flash`].
    pub fn newest(&mut self) -> Result<Option<Saved>, StoreError<F::Error>> {
        let mut newest: Option<Saved> = None;
        for slot in 0..self.slots {
            let Some(found) = self.record(slot)? else { continue };
            // Sequence numbers wrap; all that are here are close to each other.
            let is_newer = |newest: &Saved| found.sequence.wrapping_sub(newest.sequence).cast_signed() > 0;
            if newest.as_ref().is_none_or(is_newer) && self.is_whole(&found)? {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    /// Loads the newest parameters into `parameters`, which are left alone if there are none or the factory's are to be used.
    ///
    /// # Errors
    /// [`StoreError::Flash`], [`StoreError::Length`].
    pub fn load(&mut self, parameters: &mut [u8]) -> Result<Option<Saved>, StoreError<F::Error>> {
        self.check_length(parameters.len())?;
        let newest = self.newest()?;
        if let Some(saved) = newest.filter(|saved| !saved.is_factory) {
            let mut at = self.data(saved.slot);
            let mut block = [0; BLOCK];
            for part in parameters.chunks_mut(BLOCK) {
                self.flash.read(at, &mut block)?;
                part.copy_from_slice(block.get(..part.len()).unwrap_or_default());
                at = at.saturating_add(BLOCK as u32);
            }
        }
        Ok(newest)
    }

    /// Saves parameters. Until this returns, a loss of power leaves those of before, or these.
    ///
    /// # Errors
    /// [`StoreError::Length`], [`StoreError::Flash`], [`StoreError::NotWritten`].
    pub fn save(&mut self, parameters: &[u8]) -> Result<Saved, StoreError<F::Error>> {
        self.check_length(parameters.len())?;
        self.write(parameters)
    }

    /// Makes the factory's parameters those that count, as safely as [`save`](Self::save).
    ///
    /// # Errors
    /// [`StoreError::Flash`], [`StoreError::NotWritten`].
    pub fn forget(&mut self) -> Result<Saved, StoreError<F::Error>> {
        self.write(&[])
    }

    /// The flash.
    pub fn into_flash(self) -> F {
        self.flash
    }

    fn check_length(&self, found: usize) -> Result<(), StoreError<F::Error>> {
        let expected = self.parameter_bytes as usize;
        if expected == found { Ok(()) } else { Err(StoreError::Length { expected, found }) }
    }

    fn start(&self, slot: u32) -> u32 {
        self.region.start.saturating_add(slot.saturating_mul(self.slot_bytes))
    }

    fn data(&self, slot: u32) -> u32 {
        self.start(slot).saturating_add(BLOCK as u32)
    }

    /// What the header of a slot says, if it is one of ours.
    fn record(&mut self, slot: u32) -> Result<Option<Saved>, StoreError<F::Error>> {
        let mut header = [0; BLOCK];
        self.flash.read(self.start(slot), &mut header)?;
        let Some((covered, _)) = header.split_first_chunk::<20>() else { return Ok(None) };
        let [word_0, sequence, model, length, checksum, own] = words(&header);
        let is_ours = word_0 == u32::from_le_bytes(MAGIC)
            && own == Crc32c::of(covered)
            && model == self.model
            && (length == 0 || length == self.parameter_bytes);
        Ok(is_ours.then_some(Saved { sequence, is_factory: length == 0, slot, checksum }))
    }

    /// Whether the parameters of a record are those that it was made with.
    fn is_whole(&mut self, saved: &Saved) -> Result<bool, StoreError<F::Error>> {
        let mut left = if saved.is_factory { 0 } else { self.parameter_bytes as usize };
        let (mut at, mut block, mut checksum) = (self.data(saved.slot), [0; BLOCK], Crc32c::new());
        while left > 0 {
            self.flash.read(at, &mut block)?;
            let part = block.get(..left.min(BLOCK)).unwrap_or_default();
            checksum.update(part);
            left = left.saturating_sub(BLOCK);
            at = at.saturating_add(BLOCK as u32);
        }
        Ok(checksum.finish() == saved.checksum)
    }

    fn write(&mut self, parameters: &[u8]) -> Result<Saved, StoreError<F::Error>> {
        let newest = self.newest()?;
        let (slot, sequence) = newest.map_or((0, 1), |newest| {
            let next = newest.slot.saturating_add(1);
            (if next < self.slots { next } else { 0 }, newest.sequence.wrapping_add(1))
        });
        let start = self.start(slot);
        self.flash.erase(start, start.saturating_add(self.slot_bytes))?;
        let (mut at, mut block) = (self.data(slot), [0; BLOCK]);
        for part in parameters.chunks(BLOCK) {
            block.fill(0xff);
            block.iter_mut().zip(part).for_each(|(place, &byte)| *place = byte);
            self.flash.write(at, &block)?;
            at = at.saturating_add(BLOCK as u32);
        }
        let length = parameters.len() as u32;
        let checksum = Crc32c::of(parameters);
        let saved = Saved { sequence, is_factory: length == 0, slot, checksum };
        if !self.is_whole(&saved)? {
            return Err(StoreError::NotWritten);
        }
        block.fill(0xff);
        let numbers = [u32::from_le_bytes(MAGIC), sequence, self.model, length, checksum];
        for (place, number) in block.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        if let Some((covered, rest)) = block.split_first_chunk_mut::<20>()
            && let Some(place) = rest.first_chunk_mut::<4>()
        {
            *place = Crc32c::of(covered).to_le_bytes();
        }
        self.flash.write(start, &block)?;
        match self.record(slot)? {
            Some(found) if found == saved => Ok(saved),
            _ => Err(StoreError::NotWritten),
        }
    }
}

/// The first words of a header.
fn words(header: &[u8; BLOCK]) -> [u32; 6] {
    let mut words = [0; 6];
    for (word, &bytes) in words.iter_mut().zip(header.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(bytes);
    }
    words
}
