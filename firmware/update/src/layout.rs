//! Where things are in flash.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::record::BLOCK;

/// The flash that updates may use: two slots, and a page (or more) of records for each. All begin and end at pages and are apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where model files go.
    pub slots: [Range<u32>; 2],
    /// Where it is said what is in the slots.
    pub records: [Range<u32>; 2],
}

/// What is wrong with a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// A range is empty, does not begin and end at pages, or reaches beyond the flash.
    Range {
        /// Where it begins.
        start: u32,
    },
    /// Two ranges overlap.
    Overlap,
    /// The flash reads or writes in units that no block of 64 bytes is made of.
    Unit,
    /// A slot does not begin at a multiple of 16, where a model file has to lie.
    Alignment,
}

impl Layout {
    /// A layout in `region`: two pages of records first, and the rest for the slots, equally long.
    pub const fn split(region: Range<u32>, page: u32) -> Self {
        let (start, end) = (region.start, region.end);
        let rest = end.saturating_sub(start).saturating_sub(page.saturating_mul(2));
        let pages = match rest.checked_div(page) {
            Some(pages) => pages / 2,
            None => 0,
        };
        let (slot, first) = (pages.saturating_mul(page), start.saturating_add(page.saturating_mul(2)));
        let second = first.saturating_add(slot);
        Self {
            slots: [first..second, second..second.saturating_add(slot)],
            records: [start..start.saturating_add(page), start.saturating_add(page)..first],
        }
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
        let all = self.slots.iter().chain(&self.records);
        for (index, range) in all.clone().enumerate() {
            let whole = range.start.checked_rem(page) == Some(0) && range.end.checked_rem(page) == Some(0);
            if !whole || range.is_empty() || range.end as usize > flash.capacity() {
                return Err(LayoutError::Range { start: range.start });
            }
            if all.clone().skip(index + 1).any(|other| range.start < other.end && other.start < range.end) {
                return Err(LayoutError::Overlap);
            }
        }
        let aligned =
            self.slots.iter().all(|slot| slot.start.is_multiple_of(smidgen::model::ALIGNMENT as u32));
        if aligned { Ok(()) } else { Err(LayoutError::Alignment) }
    }
}
