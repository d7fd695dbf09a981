//! Which model a device uses.

use core::ops::Range;

use smidgen::checksum::crc32c;
use smidgen::{Model, Operators};

use crate::layout::{Layout, SLOT_HEAD_BYTES};
use crate::record::Record;

/// What a device is, whatever model it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kind of model that it takes.
    pub kind: u32,
    /// Version of the model that is built in.
    pub built_in_version: u32,
    /// Bytes of memory that it has for a session.
    pub memory_bytes: usize,
    /// Bytes of memory that it has for a front end.
    pub front_end_bytes: usize,
}

/// What a boot found.
#[derive(Clone, Copy, Debug)]
pub struct Booted<'f, O> {
    /// The model in flash; `None` if the one that is built in is to be used.
    pub model: Option<Model<'f, O>>,
    /// Its version, or that of the one built in.
    pub version: u32,
    /// The slot in use.
    pub(crate) slot: Option<usize>,
    /// The highest sequence number that any record has.
    pub(crate) sequence: u32,
}

impl<O> Booted<'_, O> {
    /// The slot in use; `None` if it is the model that is built in.
    pub fn slot(&self) -> Option<usize> {
        self.slot
    }
}

/// Chooses the model: of the newest record whose file is whole, valid and fits the device.
///
/// `flash` is the flash as the processor sees it in its memory, from the address on that offsets count from. It may hold anything. Nothing is written, so that a boot can be
/// interrupted and repeated at will.
pub fn boot<'f, O: Operators>(flash: &'f [u8], layout: &Layout, device: &Device) -> Booted<'f, O> {
    let [first, second] = &layout.slots;
    let slots = [first, second].map(|slot| part(flash, slot).split_at_checked(SLOT_HEAD_BYTES as usize));
    let slots = slots.map(|slot| slot.and_then(|(head, file)| Some((Record::read(head)?, file))));
    // Sequence numbers wrap; the two are next to each other.
    let is_newer = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() > 0;
    let (order, sequence) = match slots.map(|slot| slot.map(|(record, _)| record)) {
        [Some(a), Some(b)] if is_newer(b.sequence, a.sequence) => ([1, 0], b.sequence),
        [Some(a), _] => ([0, 1], a.sequence),
        [None, Some(b)] => ([1, 0], b.sequence),
        [None, None] => ([0, 1], 0),
    };
    for slot in order {
        let Some(Some((record, file))) = slots.get(slot) else { continue };
        if let Some(model) = whole(record, file, device) {
            return Booted { model: Some(model), version: record.version, slot: Some(slot), sequence };
        }
    }
    Booted { model: None, version: device.built_in_version, slot: None, sequence }
}

fn part<'f>(flash: &'f [u8], range: &Range<u32>) -> &'f [u8] {
    flash.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// The model of a slot, if it is as the record says and the device can run it.
fn whole<'f, O: Operators>(record: &Record, slot: &'f [u8], device: &Device) -> Option<Model<'f, O>> {
    let file = slot.get(..record.length as usize)?;
    if record.kind != device.kind || crc32c(file) != record.checksum {
        return None;
    }
    let model = Model::from_bytes(file).ok()?;
    let fits = model.arena_bytes() <= device.memory_bytes
        && model.header().front_end_bytes as usize <= device.front_end_bytes;
    fits.then_some(model)
}
