//! Every truncation and every change of one byte, with the checksum repaired and not.

use std::sync::Mutex;
use std::thread;

use smidgen::model::LoadError;
use smidgen_tests::faults::{AlignedBytes, Outcome, Scratch, edit_header, repair, run_file, sample};

/// Calls `change` for each offset below `length`, spread over the cores, and gives the counts of outcomes: rejected, too large, ran.
fn for_each_offset(
    length: usize,
    change: impl Fn(usize, &mut Scratch, &mut [usize; 3]) + Sync,
) -> [usize; 3] {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let total = Mutex::new([0; 3]);
    thread::scope(|scope| {
        for first in 0..threads {
            let (change, total) = (&change, &total);
            scope.spawn(move || {
                let (mut scratch, mut counts) = (Scratch::default(), [0; 3]);
                for offset in (first..length).step_by(threads) {
                    change(offset, &mut scratch, &mut counts);
                }
                for (total, count) in total.lock().unwrap().iter_mut().zip(counts) {
                    *total += count;
                }
            });
        }
    });
    total.into_inner().unwrap()
}

fn count(counts: &mut [usize; 3], outcome: Outcome) {
    match outcome {
        Outcome::Rejected(_) => counts[0] += 1,
        Outcome::TooLarge => counts[1] += 1,
        Outcome::Ran => counts[2] += 1,
    }
}

#[test]
fn every_sample_runs() {
    for parts in sample::all() {
        assert_eq!(run_file(&parts.write(), &mut Scratch::default()), Outcome::Ran, "{}", parts.name);
    }
}

#[test]
fn every_truncation_is_an_error_or_runs() {
    for parts in sample::all() {
        let file = parts.write();
        for_each_offset(file.len(), |length, scratch, _| {
            let mut cut = AlignedBytes::copy_of(&file[..length]);
            assert!(matches!(run_file(&cut, scratch), Outcome::Rejected(LoadError::Truncated { .. })));
            if length >= smidgen::model::HEADER_BYTES {
                edit_header(&mut cut, |header| header.file_bytes = length as u32);
                run_file(&cut, scratch);
            }
        });
    }
}

#[test]
fn every_changed_byte_is_found() {
    for parts in sample::all() {
        let file = parts.write();
        let counts = for_each_offset(file.len(), |offset, scratch, counts| {
            let mut changed = file.clone();
            for change in 1..=255 {
                changed[offset] = file[offset] ^ change;
                count(counts, run_file(&changed, scratch));
            }
        });
        assert_eq!(counts, [255 * file.len(), 0, 0], "{}", parts.name);
    }
}

#[test]
fn every_changed_byte_behind_the_checksum_is_an_error_or_runs() {
    for parts in sample::all() {
        let file = parts.write();
        let counts = for_each_offset(file.len(), |offset, scratch, counts| {
            let mut changed = file.clone();
            for change in 1..=255 {
                changed[offset] = file[offset] ^ change;
                repair(&mut changed);
                count(counts, run_file(&changed, scratch));
            }
        });
        println!("{}: {} bytes, {counts:?} rejected, too large, ran", parts.name, file.len());
        // The other way round would be a test that does not get past the first check.
        assert!(counts[2] > 1000, "{}: {counts:?}", parts.name);
    }
}
