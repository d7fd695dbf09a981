//! A NOR flash whose power goes.

use std::ops::Range;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// Bytes that are written at once.
pub const WORD: usize = 4;

/// What is left of a word or a page when the power goes while it is written or erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing has happened yet.
    Clean,
    /// The first half has happened.
    FirstHalf,
    /// Every other byte has.
    EveryOther,
    /// Some bits have.
    Bits,
}

/// All of them.
pub const CUTS: [Cut; 4] = [Cut::Clean, Cut::FirstHalf, Cut::EveryOther, Cut::Bits];

impl Cut {
    /// The byte between `old` and `new`, which is the one at `index` of the `length` bytes at `place`.
    fn apply(self, place: usize, index: usize, length: usize, old: u8, new: u8) -> u8 {
        let happened = match self {
            Self::Clean => 0,
            Self::FirstHalf => u8::from(index < length / 2) * 0xff,
            Self::EveryOther => u8::from(index.is_multiple_of(2)) * 0xff,
            Self::Bits => ((place + index).wrapping_mul(0x9e37_79b9) >> 13) as u8,
        };
        old & !happened | new & happened
    }
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power is gone.
    Power,
    /// Against the rules of the flash: a bit set without erasing, a word written twice, half a word, half a page.
    Rule(&'static str),
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// A word written or a page erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A word.
    Write {
        /// Its first byte.
        place: usize,
        /// What it is to hold.
        word: [u8; WORD],
    },
    /// A page.
    Erase {
        /// Its first byte.
        page: usize,
    },
}

impl Operation {
    /// The words that it changes, of a flash with pages of `PAGE` bytes.
    #[must_use]
    pub fn words<const PAGE: usize>(self) -> Range<usize> {
        match self {
            Self::Write { place, .. } => place / WORD..place / WORD + 1,
            Self::Erase { page } => page / WORD..(page + PAGE) / WORD,
        }
    }
}

/// A NOR flash with pages of `PAGE` bytes: erasing a page sets all bits, writing a word clears some, once.
#[derive(Clone, Debug)]
pub struct Nor<const PAGE: usize> {
    bytes: Vec<u128>,
    /// Words that were written since their page was erased.
    written: Vec<bool>,
    /// Operations before the power goes, and how.
    left: Option<(usize, Cut)>,
    /// What was done since the power came.
    pub log: Vec<Operation>,
}

impl<const PAGE: usize> Nor<PAGE> {
    /// An erased flash.
    #[must_use]
    pub fn new(pages: usize) -> Self {
        let bytes = pages * PAGE;
        Self {
            bytes: vec![u128::MAX; bytes / 16],
            written: vec![false; bytes / WORD],
            left: None,
            log: Vec::new(),
        }
    }

    /// As the processor sees it, at a multiple of 16.
    #[must_use]
    pub fn mapped(&self) -> &[u8] {
        bytemuck::cast_slice(&self.bytes)
    }

    /// The same, to put something there against all rules.
    pub fn mapped_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.bytes)
    }

    /// The same flash with the power back, to go again after so many operations.
    #[must_use]
    pub fn powered(&self, left: Option<(usize, Cut)>) -> Self {
        Self { bytes: self.bytes.clone(), written: self.written.clone(), left, log: Vec::new() }
    }

    /// Does an operation, or as much of it as `cut` lets happen, whatever the rules say.
    pub fn apply(&mut self, operation: Operation, cut: Option<Cut>) {
        let bytes = self.mapped_mut();
        match operation {
            Operation::Write { place, word } => {
                change(&mut bytes[place..][..WORD], place, &word, cut);
                self.written[place / WORD] = true;
            }
            Operation::Erase { page } => {
                change(&mut bytes[page..][..PAGE], page, &[0xff; PAGE], cut);
                if cut.is_none() {
                    self.written[operation.words::<PAGE>()].fill(false);
                }
            }
        }
    }

    /// How many words it has.
    #[must_use]
    pub fn words(&self) -> usize {
        self.written.len()
    }

    /// What a word holds, and whether it was written since its page was erased.
    #[must_use]
    pub fn word(&self, index: usize) -> ([u8; WORD], bool) {
        (self.mapped().as_chunks().0[index], self.written[index])
    }

    /// Puts back what [`word`](Self::word) gave.
    pub fn restore(&mut self, index: usize, (word, is_written): ([u8; WORD], bool)) {
        self.mapped_mut().as_chunks_mut().0[index] = word;
        self.written[index] = is_written;
    }

    fn operate(&mut self, operation: Operation) -> Result<(), Fault> {
        self.log.push(operation);
        let cut = match &mut self.left {
            Some((0, cut)) => Some(*cut),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        self.apply(operation, cut);
        if cut.is_some() { Err(Fault::Power) } else { Ok(()) }
    }
}

fn change(bytes: &mut [u8], place: usize, new: &[u8], cut: Option<Cut>) {
    let Some(cut) = cut else { return bytes.copy_from_slice(new) };
    for (index, (byte, &after)) in bytes.iter_mut().zip(new).enumerate() {
        *byte = cut.apply(place, index, new.len(), *byte, after);
    }
}

impl<const PAGE: usize> ErrorType for Nor<PAGE> {
    type Error = Fault;
}

impl<const PAGE: usize> ReadNorFlash for Nor<PAGE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        bytes.copy_from_slice(&self.mapped()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len() * 16
    }
}

impl<const PAGE: usize> NorFlash for Nor<PAGE> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        let (from, to) = (from as usize, to as usize);
        if !from.is_multiple_of(PAGE) || !to.is_multiple_of(PAGE) {
            return Err(Fault::Rule("half a page is erased"));
        }
        (from..to).step_by(PAGE).try_for_each(|page| self.operate(Operation::Erase { page }))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let offset = offset as usize;
        if !offset.is_multiple_of(WORD) || !bytes.len().is_multiple_of(WORD) {
            return Err(Fault::Rule("half a word is written"));
        }
        for (place, &word) in (offset..).step_by(WORD).zip(bytes.as_chunks::<WORD>().0) {
            if self.written[place / WORD] {
                return Err(Fault::Rule("a word is written twice"));
            }
            if self.mapped()[place..].iter().zip(word).any(|(&old, new)| new & !old != 0) {
                return Err(Fault::Rule("a bit is set without erasing"));
            }
            self.operate(Operation::Write { place, word })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 128;

    #[test]
    fn what_a_flash_does_not_allow_is_refused() {
        let mut flash = Nor::<PAGE>::new(1);
        flash.write(0, &[0, 1, 2, 3]).unwrap();
        assert_eq!(flash.write(0, &[0, 1, 2, 3]), Err(Fault::Rule("a word is written twice")));
        assert_eq!(flash.write(2, &[0, 1, 2, 3]), Err(Fault::Rule("half a word is written")));
        assert_eq!(flash.erase(0, 64), Err(Fault::Rule("half a page is erased")));
        flash.written.fill(false);
        assert_eq!(flash.write(0, &[1; 4]), Err(Fault::Rule("a bit is set without erasing")));
        flash.erase(0, PAGE as u32).unwrap();
        assert_eq!(flash.mapped(), [0xff; PAGE]);
    }

    #[test]
    fn a_cut_leaves_something_between_the_old_and_the_new() {
        let word = [0x10, 0x32, 0x54, 0x76];
        let mut found = Vec::new();
        for cut in CUTS {
            let mut flash = Nor::<PAGE>::new(1).powered(Some((1, cut)));
            flash.write(0, &[0; 4]).unwrap();
            assert_eq!(flash.write(4, &word), Err(Fault::Power));
            let left: [u8; 4] = flash.mapped()[4..8].try_into().unwrap();
            assert!(left.iter().zip(word).all(|(left, new)| left & new == new));
            assert!(flash.mapped()[8..].iter().all(|&byte| byte == 0xff));
            found.push(left);
        }
        assert_eq!(found[..3], [[0xff; 4], [0x10, 0x32, 0xff, 0xff], [0x10, 0xff, 0x54, 0xff]]);
        assert!(!found[..3].contains(&found[3]) && found[3] != word);
    }
}
