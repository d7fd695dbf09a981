//! Models with a few fields changed at random, with a seed: errors or runs within bounds. The fuzz targets do the same where a
//! fuzzer is at hand; this runs everywhere.

use std::thread;

use smidgen_tests::faults::{Choices, Outcome, Scratch, Seeded, fuzz_model, mutate, run_file, sample};

/// How many changed models of each sample are tried.
const CASES: u64 = 12_000;

/// How many changes a model gets at most. Several change things that have to agree with each other.
const MAX_CHANGES: usize = 4;

#[test]
fn changed_models_are_errors_or_run() {
    let samples = sample::all();
    thread::scope(|scope| {
        for parts in &samples {
            scope.spawn(move || {
                let mut scratch = Scratch::new(7);
                let mut ran = 0;
                for case in 0..CASES {
                    let mut choices = Seeded(case);
                    let mut changed = parts.clone();
                    for _ in 0..1 + case as usize % MAX_CHANGES {
                        mutate(&mut changed, &mut choices);
                    }
                    ran += u64::from(run_file(&changed.write(), &mut scratch) == Outcome::Ran);
                }
                println!("{}: {ran} of {CASES} ran", parts.name);
                assert!(ran > CASES / 20, "{}: hardly any of the changed models is one", parts.name);
            });
        }
    });
}

#[test]
fn noise_through_the_fuzz_target_is_errors_or_runs() {
    let mut scratch = Scratch::default();
    let mut choices = Seeded(3);
    for _ in 0..4_000 {
        let length = Choices::below(&mut choices, 96);
        let bytes: Vec<u8> = (0..length).map(|_| Choices::next(&mut choices) as u8).collect();
        fuzz_model(&bytes, &mut scratch);
    }
}
