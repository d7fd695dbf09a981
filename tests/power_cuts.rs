//! What was learned survives a loss of power at every write and every erasure: a boot finds the parameters of before or the new ones, whole.

use embedded_storage::nor_flash::NorFlash;
use smidgen::learn::{Store, StoreError};
use smidgen_tests::nor::{CUTS, Cut, Fault, Nor};

const PAGE: usize = 128;
const PARAMETERS: u32 = 200;
const MODEL: u32 = 0x1234_5678;

type Flash = Nor<PAGE>;

fn open(flash: Flash) -> Store<Flash> {
    let end = flash.mapped().len() as u32;
    Store::new(flash, 0..end, MODEL, PARAMETERS).unwrap()
}

fn parameters(seed: u8) -> Vec<u8> {
    (0..PARAMETERS as usize).map(|index| (index as u8).wrapping_mul(37).wrapping_add(seed)).collect()
}

/// What a boot finds; the factory's parameters are zeros.
fn boot(flash: &Flash) -> Vec<u8> {
    let mut found = vec![0; PARAMETERS as usize];
    open(flash.clone()).load(&mut found).unwrap();
    found
}

/// The flash after `new` was saved, or as far as that came.
fn save(flash: Flash, new: &[u8]) -> (Flash, Result<(), StoreError<Fault>>) {
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
        let mut flash = Flash::new(pages);
        for pair in generations.windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            assert_eq!(&boot(&flash), old);
            let (done, saved) = save(flash.powered(None), new);
            saved.unwrap();
            assert!(done.log.len() > 60);
            for (operation, cut) in (0..done.log.len()).flat_map(|at| CUTS.map(|cut| (at, cut))) {
                let (torn, saved) = save(flash.powered(Some((operation, cut))), new);
                assert_eq!(saved, Err(StoreError::Flash(Fault::Power)));
                cuts += 1;
                let found = boot(&torn);
                assert!(found == *old || found == *new, "cut {cut:?} at operation {operation}: a mixture");
                old_found += u32::from(found == *old);
                new_found += u32::from(found == *new);
                // The device goes on from what it found, learns something else, and loses power again, at every operation and in every way.
                let other = parameters(99);
                let (whole, saved) = save(torn.powered(None), &other);
                saved.unwrap();
                assert_eq!(boot(&whole), other);
                for (second, cut) in (0..whole.log.len()).flat_map(|at| CUTS.map(|cut| (at, cut))) {
                    let (torn, saved) = save(torn.powered(Some((second, cut))), &other);
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
    assert!(cuts > 2000 && old_found > 1000 && new_found > 0 && second_cuts > 800_000);
}

#[test]
fn forgetting_is_as_safe() {
    let (flash, saved) = save(Flash::new(6), &parameters(3));
    saved.unwrap();
    let forget = |flash: Flash| {
        let mut store = open(flash);
        let saved = store.forget();
        (store.into_flash(), saved)
    };
    let (done, saved) = forget(flash.powered(None));
    assert!(saved.unwrap().is_factory);
    assert_eq!(boot(&done), [0; 200]);
    for (operation, cut) in (0..done.log.len()).flat_map(|at| CUTS.map(|cut| (at, cut))) {
        let (torn, _) = forget(flash.powered(Some((operation, cut))));
        let found = boot(&torn);
        assert!(found == parameters(3) || found == [0; 200], "{cut:?} at {operation}");
    }
    let (again, saved) = save(done, &parameters(4));
    saved.unwrap();
    assert_eq!(boot(&again), parameters(4));
}

/// A store without its checksums would not notice what these cuts do: a header that is there before its parameters.
#[test]
fn without_order_and_checksums_there_would_be_mixtures() {
    let (flash, saved) = save(Flash::new(6), &parameters(1));
    saved.unwrap();
    let mut mixtures = 0;
    for operation in 0..60 {
        let mut torn = flash.powered(Some((operation, Cut::FirstHalf)));
        // In place of a store: the one copy is erased and written again.
        let _ = torn.erase(0, 384).and_then(|()| torn.write(64, &parameters(2)));
        let found = &torn.mapped()[64..264];
        mixtures += u32::from(found != parameters(1) && found != parameters(2));
    }
    assert!(mixtures > 40, "{mixtures}");
}

#[test]
fn damage_is_found_and_the_record_before_counts() {
    let (flash, _) = save(Flash::new(6), &parameters(1));
    let (flash, _) = save(flash, &parameters(2));
    for (place, bit) in (0..flash.mapped().len()).flat_map(|place| [(place, 1), (place, 0x80)]) {
        let mut damaged = flash.clone();
        damaged.mapped_mut()[place] ^= bit;
        let found = boot(&damaged);
        // The second slot begins at the fourth page; behind its parameters nothing counts.
        let expected = if (384..384 + 24).contains(&place) || (448..648).contains(&place) { 1 } else { 2 };
        assert_eq!(found, parameters(expected), "bit {bit} of byte {place}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let open = |range, model, length| Store::new(Flash::new(6), range, model, length).map(|_| ());
    let region = |found| Err(StoreError::Region { expected: 768, found });
    assert_eq!(open(0..768, MODEL, PARAMETERS), Ok(()));
    assert_eq!(open(0..640, MODEL, PARAMETERS), region(640));
    assert_eq!(open(64..832, MODEL, PARAMETERS), region(768));
    assert_eq!(open(128..896, MODEL, PARAMETERS), region(768));
    let mut store = Store::new(Flash::new(6), 0..768, MODEL, PARAMETERS).unwrap();
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
    let mut flash = Flash::new(6);
    for seed in 0..9 {
        let (next, saved) = save(flash, &parameters(seed));
        saved.unwrap();
        flash = next;
        assert_eq!(boot(&flash), parameters(seed));
        assert_eq!(open(flash.clone()).newest().unwrap().unwrap().sequence, u32::from(seed) + 1);
    }
}
