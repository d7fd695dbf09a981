//! Where things are in flash.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::record::BLOCK;

/// Bytes of a slot before its file: the record and the head of the transfer.
pub const SLOT_HEAD_BYTES: u32 = 2 * BLOCK as u32;
/// And behind it: the head again.
const SLOT_END_BYTES: u32 = BLOCK as u32;

/// The flash that updates may use: two slots, which begin and end at pages and are apart.
///
/// A page is what is erased at once. A slot may be a single one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The slots: in each a record, the head of the transfer that brought its file, the file, and the head again.
    pub slots: [Range<u32>; 2],
}

/// What is wrong with a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// A slot has no room for a file, does not begin and end at pages, or reaches beyond the flash.
    Range {
        /// Where it begins.
        start: u32,
    },
    /// The slots overlap.
    Overlap,
    /// The flash reads or writes in units that no block of 64 bytes is made of.
    Unit,
    /// A slot does not begin at a multiple of 16, where a model file has to lie.
    Alignment,
}

impl Layout {
    /// Two slots of equal length in `region`.
    pub const fn split(region: Range<u32>, page: u32) -> Self {
        let (start, end) = (region.start, region.end);
        let pages = match end.saturating_sub(start).checked_div(page) {
            Some(pages) => pages / 2,
            None => 0,
        };
        let slot = pages.saturating_mul(page);
        let second = start.saturating_add(slot);
        Self { slots: [start..second, second..second.saturating_add(slot)] }
    }

    /// Length of the longest file that a slot has room for.
    pub fn file_bytes(&self, slot: usize) -> u32 {
        let bytes = self.slots.get(slot).map_or(0, |slot| slot.end.saturating_sub(slot.start));
        let bytes = bytes.saturating_sub(SLOT_HEAD_BYTES + SLOT_END_BYTES);
        bytes - bytes % BLOCK as u32
    }

    /// Checks the layout against a flash.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn check<F: NorFlash>(&self, flash: &F) -> Result<(), LayoutError> {
        let unit = |size: usize| size != 0 && BLOCK.is_multiple_of(size);
        if !unit(F::WRITE_SIZE)
            || !unit(F::READ_SIZE)
            || F::ERASE_SIZE == 0
            || !F::ERASE_SIZE.is_multiple_of(BLOCK)
        {
            return Err(LayoutError::Unit);
        }
        let page = F::ERASE_SIZE as u32;
        let [first, second] = &self.slots;
        for (slot, range) in self.slots.iter().enumerate() {
            let whole = range.start.checked_rem(page) == Some(0) && range.end.checked_rem(page) == Some(0);
            if !whole || self.file_bytes(slot) == 0 || range.end as usize > flash.capacity() {
                return Err(LayoutError::Range { start: range.start });
            }
        }
        if first.start < second.end && second.start < first.end {
            return Err(LayoutError::Overlap);
        }
        let aligned =
            self.slots.iter().all(|slot| slot.start.is_multiple_of(smidgen::model::ALIGNMENT as u32));
        if aligned { Ok(()) } else { Err(LayoutError::Alignment) }
    }
}
