//! Broken TensorFlow Lite files: no panic, no hang, no allocation beyond what the file's length allows.
//!
//! The only test of its program, with an allocator of its own: a test beside it would allocate as well.
//!
//! ```text
//! SMIDGEN_MUTATIONS=2000000 cargo test --release -p smidgen-tests --test tflite_faults
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use smidgen_tests::faults::{Seeded, TfliteOutcome, convert_tflite, mutate_tflite, tflite_seeds};

/// How many files, if the variable `SMIDGEN_MUTATIONS` does not say.
const MUTATIONS: usize = 200_000;

/// Bytes in memory at the same time, for each byte of a file and for any file: the tables, the graph, the program and the model file, and what is copied meanwhile. A
/// file that nobody has broken takes a fraction of that.
const GROWTH: usize = 64;
const ALLOWANCE: usize = 4 << 20;

/// No file takes as long, on a slow machine that does something else as well.
const LIMIT: Duration = Duration::from_secs(20);

/// Counts the bytes that are in use, and the most that ever were.
struct Counting {
    used: AtomicUsize,
    most: AtomicUsize,
}

// SAFETY: everything is done by the system's allocator; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = self.used.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting { used: AtomicUsize::new(0), most: AtomicUsize::new(0) };

/// Runs `work` and returns the most bytes that it had in use.
fn most<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = MEMORY.used.load(Ordering::Relaxed);
    MEMORY.most.store(before, Ordering::Relaxed);
    let result = work();
    (result, MEMORY.most.load(Ordering::Relaxed) - before)
}

#[test]
fn broken_files_are_refused_or_converted() {
    // The instrument does count, also what is given back.
    let (_, bytes) = most(|| drop(std::hint::black_box(vec![0u8; 1 << 20])));
    assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");

    let seeds = tflite_seeds().unwrap();
    assert!(seeds.len() > 40, "{} goldens", seeds.len());
    let count = std::env::var("SMIDGEN_MUTATIONS").map_or(MUTATIONS, |count| count.parse().unwrap());
    let mut outcomes: BTreeMap<TfliteOutcome, usize> = BTreeMap::new();
    let (mut largest, mut longest) = (0, Duration::ZERO);
    for index in 0..count {
        let (name, seed) = &seeds[index % seeds.len()];
        let file = mutate_tflite(seed, &mut Seeded(index as u64));
        let began = Instant::now();
        let (outcome, bytes) = most(|| catch_unwind(|| convert_tflite(&file)));
        let (took, what) = (began.elapsed(), format!("mutation {index}, of {name}"));
        let outcome = outcome.unwrap_or_else(|_| panic!("{what}: it panicked"));
        *outcomes.entry(outcome).or_default() += 1;
        let limit = GROWTH * file.len() + ALLOWANCE;
        assert!(bytes <= limit, "{what}: {bytes} bytes in use for a file of {}, {outcome:?}", file.len());
        assert!(took < LIMIT, "{what}: {took:?}");
        (largest, longest) = (largest.max(bytes), longest.max(took));
    }
    println!("{outcomes:?}; at most {largest} bytes and {longest:?} for a file");
    // Mutations that never got past the first check would show nothing.
    for expected in [
        TfliteOutcome::Converted,
        TfliteOutcome::NotTflite,
        TfliteOutcome::Malformed,
        TfliteOutcome::Unsupported,
    ] {
        let found = outcomes.get(&expected).copied().unwrap_or(0);
        assert!(found * 200 > count, "only {found} of {count} are {expected:?}");
    }
}
