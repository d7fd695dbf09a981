//! Which model a device uses.

use core::ops::Range;

use smidgen::checksum::crc32c;
use smidgen::{Model, Operators};

use crate::layout::Layout;
use crate::record::{BLOCK, Record};

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
    let part = |range: &Range<u32>| flash.get(range.start as usize..range.end as usize).unwrap_or_default();
    let [first, second] = &layout.records;
    let records = [first, second].map(|range| part(range).get(..BLOCK).and_then(Record::read));
    // Sequence numbers wrap; the two are next to each other.
    let is_newer = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() > 0;
    let (order, sequence) = match records {
        [Some(a), Some(b)] if is_newer(b.sequence, a.sequence) => ([1, 0], b.sequence),
        [Some(a), _] => ([0, 1], a.sequence),
        [None, Some(b)] => ([1, 0], b.sequence),
        [None, None] => ([0, 1], 0),
    };
    for slot in order {
        let (Some(Some(record)), Some(range)) = (records.get(slot), layout.slots.get(slot)) else { continue };
        if let Some(model) = whole(record, part(range), device) {
            return Booted { model: Some(model), version: record.version, slot: Some(slot), sequence };
        }
    }
    Booted { model: None, version: device.built_in_version, slot: None, sequence }
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
