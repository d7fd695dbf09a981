//! What was learned survives a loss of power at every write and every erasure: a boot finds the parameters of before or the new ones, whole.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use smidgen::learn::{Store, StoreError};

const WORD: usize = 4;
const PAGE: usize = 128;
const PARAMETERS: u32 = 200;
const MODEL: u32 = 0x1234_5678;

/// What is left of a word or a page when the power goes while it is written or erased.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// Nothing has happened yet.
    Clean,
    /// The first half has happened.
    FirstHalf,
    /// Every other byte has.
    EveryOther,
    /// Some bits have, as a generator of random numbers says.
    Bits,
}

const CUTS: [Cut; 4] = [Cut::Clean, Cut::FirstHalf, Cut::EveryOther, Cut::Bits];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
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

/// A NOR flash: erasing a page sets all bits, writing a word clears some, once.
#[derive(Clone)]
struct Nor {
    bytes: Vec<u8>,
    /// Words that were written since their page was erased.
    written: Vec<bool>,
    /// Operations, words and pages, before the power goes.
    left: Option<u32>,
    cut: Cut,
    random: u64,
    operations: u32,
}

impl Nor {
    fn new(pages: usize) -> Self {
        let bytes = vec![0xff; pages * PAGE];
        let written = vec![false; bytes.len() / WORD];
        Self { bytes, written, left: None, cut: Cut::Clean, random: 1, operations: 0 }
    }

    /// The same flash with the power back, to go again after so many operations.
    fn powered(&self, left: Option<u32>, cut: Cut) -> Self {
        Self { left, cut, operations: 0, ..self.clone() }
    }

    /// Counts an operation that turns `old` at `place` into `new`, or cuts it.
    fn operate(&mut self, place: usize, new: &[u8]) -> Result<(), Fault> {
        let is_last = match &mut self.left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        self.operations += 1;
        let half = new.len() / 2;
        for (index, &new) in new.iter().enumerate() {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let happened = match self.cut {
                _ if !is_last => 0xff,
                Cut::Clean => 0,
                Cut::FirstHalf => u8::from(index < half) * 0xff,
                Cut::EveryOther => u8::from(index % 2 == 0) * 0xff,
                Cut::Bits => (self.random >> 40) as u8,
            };
            let byte = &mut self.bytes[place + index];
            *byte = *byte & !happened | new & happened;
        }
        if is_last { Err(Fault::Power) } else { Ok(()) }
    }
}

impl ErrorType for Nor {
    type Error = Fault;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        let (from, to) = (from as usize, to as usize);
        if from % PAGE != 0 || to % PAGE != 0 {
            return Err(Fault::Rule("half a page is erased"));
        }
        for page in (from..to).step_by(PAGE) {
            self.operate(page, &[0xff; PAGE])?;
            self.written[page / WORD..(page + PAGE) / WORD].fill(false);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let offset = offset as usize;
        if !offset.is_multiple_of(WORD) || !bytes.len().is_multiple_of(WORD) {
            return Err(Fault::Rule("half a word is written"));
        }
        for (word, bytes) in (offset..).step_by(WORD).zip(bytes.chunks(WORD)) {
            if self.written[word / WORD] {
                return Err(Fault::Rule("a word is written twice"));
            }
            if self.bytes[word..].iter().zip(bytes).any(|(&old, &new)| new & !old != 0) {
                return Err(Fault::Rule("a bit is set without erasing"));
            }
            self.written[word / WORD] = true;
            self.operate(word, bytes)?;
        }
        Ok(())
    }
}

fn open(flash: Nor) -> Store<Nor> {
    let end = flash.bytes.len() as u32;
    Store::new(flash, 0..end, MODEL, PARAMETERS).unwrap()
}

fn parameters(seed: u8) -> Vec<u8> {
    (0..PARAMETERS as usize).map(|index| (index as u8).wrapping_mul(37).wrapping_add(seed)).collect()
}

/// What a boot finds; the factory's parameters are zeros.
fn boot(flash: &Nor) -> Vec<u8> {
    let mut found = vec![0; PARAMETERS as usize];
    open(flash.clone()).load(&mut found).unwrap();
    found
}

/// The flash after `new` was saved, or as far as that came.
fn save(flash: Nor, new: &[u8]) -> (Nor, Result<(), StoreError<Fault>>) {
    let mut store = open(flash);
    let saved = store.save(new).map(|_| ());
    (store.into_flash(), saved)
}

#[test]
fn a_loss_of_power_leaves_the_old_parameters_or_the_new_ones() {
    let generations: Vec<Vec<u8>> =
        (0..5).map(|index| if index == 0 { vec![0; 200] } else { parameters(index) }).collect();
    let (mut cuts, mut old_found, mut new_found, mut second_cuts) = (0u32, 0u32, 0u32, 0u32);
    // With two slots, and with three, so that a slot that was used before is used again, and one that was not.
    for pages in [6, 9] {
        let mut flash = Nor::new(pages);
        for pair in generations.windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            assert_eq!(&boot(&flash), old);
            let (done, saved) = save(flash.powered(None, Cut::Clean), new);
            saved.unwrap();
            assert!(done.operations > 60);
            for (operation, cut) in (0..done.operations).flat_map(|at| CUTS.map(|cut| (at, cut))) {
                let (torn, saved) = save(flash.powered(Some(operation), cut), new);
                assert_eq!(saved, Err(StoreError::Flash(Fault::Power)));
                cuts += 1;
                let found = boot(&torn);
                assert!(found == *old || found == *new, "cut {cut:?} at operation {operation}: a mixture");
                old_found += u32::from(found == *old);
                new_found += u32::from(found == *new);
                // The device goes on from what it found, learns something else, and loses power again, at every seventh operation.
                let other = parameters(99);
                let (whole, saved) = save(torn.powered(None, Cut::Clean), &other);
                saved.unwrap();
                assert_eq!(boot(&whole), other);
                for second in (operation % 7..whole.operations).step_by(7) {
                    let cut = CUTS[(operation + second) as usize % CUTS.len()];
                    let (torn, saved) = save(torn.powered(Some(second), cut), &other);
                    assert_eq!(saved, Err(StoreError::Flash(Fault::Power)));
                    second_cuts += 1;
                    let again = boot(&torn);
                    assert!(again == found || again == other, "second cut {cut:?} at {second}: a mixture");
                }
            }
            flash = done;
        }
    }
    println!(
        "{cuts} cuts: {old_found} times the old parameters, {new_found} times the new; {second_cuts} second cuts"
    );
    assert!(cuts > 2000 && old_found > 1000 && new_found > 0 && second_cuts > 20_000);
}

#[test]
fn forgetting_is_as_safe() {
    let (flash, saved) = save(Nor::new(6), &parameters(3));
    saved.unwrap();
    let forget = |flash: Nor| {
        let mut store = open(flash);
        let saved = store.forget();
        (store.into_flash(), saved)
    };
    let (done, saved) = forget(flash.powered(None, Cut::Clean));
    assert!(saved.unwrap().is_factory);
    assert_eq!(boot(&done), [0; 200]);
    for (operation, cut) in (0..done.operations).flat_map(|at| CUTS.map(|cut| (at, cut))) {
        let (torn, _) = forget(flash.powered(Some(operation), cut));
        let found = boot(&torn);
        assert!(found == parameters(3) || found == [0; 200], "{cut:?} at {operation}");
    }
    let (again, saved) = save(done, &parameters(4));
    saved.unwrap();
    assert_eq!(boot(&again), parameters(4));
}

#[test]
fn the_simulator_sees_what_is_not_allowed() {
    let mut flash = Nor::new(1);
    flash.write(0, &[0, 1, 2, 3]).unwrap();
    assert_eq!(flash.write(0, &[0, 1, 2, 3]), Err(Fault::Rule("a word is written twice")));
    assert_eq!(flash.write(2, &[0, 1, 2, 3]), Err(Fault::Rule("half a word is written")));
    assert_eq!(flash.erase(0, 64), Err(Fault::Rule("half a page is erased")));
    flash.written.fill(false);
    assert_eq!(flash.write(0, &[1; 4]), Err(Fault::Rule("a bit is set without erasing")));
    flash.erase(0, PAGE as u32).unwrap();
    assert_eq!(flash.bytes, [0xff; PAGE]);
}

/// A store without its checksums would not notice what these cuts do: a header that is there before its parameters.
#[test]
fn without_order_and_checksums_there_would_be_mixtures() {
    let (flash, saved) = save(Nor::new(6), &parameters(1));
    saved.unwrap();
    let mut mixtures = 0;
    for operation in 0..60 {
        let mut torn = flash.powered(Some(operation), Cut::FirstHalf);
        // In place of a store: the one copy is erased and written again.
        let _ = torn.erase(0, 384).and_then(|()| torn.write(64, &parameters(2)));
        let found = &torn.bytes[64..264];
        mixtures += u32::from(found != parameters(1) && found != parameters(2));
    }
    assert!(mixtures > 40, "{mixtures}");
}

#[test]
fn damage_is_found_and_the_record_before_counts() {
    let (flash, _) = save(Nor::new(6), &parameters(1));
    let (flash, _) = save(flash, &parameters(2));
    for (place, bit) in (0..flash.bytes.len()).flat_map(|place| [(place, 1), (place, 0x80)]) {
        let mut damaged = flash.clone();
        damaged.bytes[place] ^= bit;
        let found = boot(&damaged);
        // The second slot begins at the fourth page; behind its parameters nothing counts.
        let expected = if (384..384 + 24).contains(&place) || (448..648).contains(&place) { 1 } else { 2 };
        assert_eq!(found, parameters(expected), "bit {bit} of byte {place}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let open = |range, model, length| Store::new(Nor::new(6), range, model, length).map(|_| ());
    let region = |found| Err(StoreError::Region { expected: 768, found });
    assert_eq!(open(0..768, MODEL, PARAMETERS), Ok(()));
    assert_eq!(open(0..640, MODEL, PARAMETERS), region(640));
    assert_eq!(open(64..832, MODEL, PARAMETERS), region(768));
    assert_eq!(open(128..896, MODEL, PARAMETERS), region(768));
    let mut store = Store::new(Nor::new(6), 0..768, MODEL, PARAMETERS).unwrap();
    let error = StoreError::Length { expected: 200, found: 199 };
    assert_eq!(store.save(&[0; 199]).unwrap_err(), error);
    assert_eq!(store.load(&mut [0; 199]).unwrap_err(), error);
    store.save(&parameters(1)).unwrap();
    // Another model's parameters are not loaded.
    let mut other = Store::new(store.into_flash(), 0..768, MODEL + 1, PARAMETERS).unwrap();
    assert_eq!(other.newest(), Ok(None));
}

#[test]
fn records_are_numbered_and_the_newest_counts() {
    let mut flash = Nor::new(6);
    for seed in 0..9 {
        let (next, saved) = save(flash, &parameters(seed));
        saved.unwrap();
        flash = next;
        assert_eq!(boot(&flash), parameters(seed));
        assert_eq!(open(flash.clone()).newest().unwrap().unwrap().sequence, u32::from(seed) + 1);
    }
}
