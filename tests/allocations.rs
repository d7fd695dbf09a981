//! Training allocates nothing between the first and the last step.
//!
//! The only test of its program: a test beside it would allocate as well.

use std::alloc::System;

use smidgen::{AllOperators, Metadata, Model, Preprocessing};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::data::{Augmenter, Normalization, Variation, digits, epoch_order};
use smidgen_trainer::pipeline::{network, training_program};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::train::{Executor, ImageFeed, Pass};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The memory that the process has of the system, where Linux says so.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

#[test]
fn a_step_of_training_allocates_nothing_on_any_thread() {
    let mut recipe = Recipe::load("digits").unwrap();
    for assignment in ["network.net=mnist_ds_cnn", "training.batch=32"] {
        recipe.set(assignment).unwrap();
    }
    let split = digits().unwrap();
    let graph = network(&recipe, &split.train).unwrap();
    let metadata = Metadata {
        name: "allocations",
        labels: "",
        step_names: "",
        provenance: "",
        preprocessing: Preprocessing::None,
    };
    let file = AlignedBytes::copy_of(&training_program(&recipe, &graph).unwrap().to_file(&metadata).unwrap());
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let executor = Executor::new(&model, 4, 2).unwrap();
    let normalization = Normalization::of(&split.train).unwrap();
    let augmenter = Augmenter::new(recipe.augmentation, split.train.shape()).unwrap();
    let feed = ImageFeed::new(&split, &normalization, Some(Variation::Image(augmenter)), 1);
    let mut order = vec![0; split.train.len()];
    let validation: Vec<u32> = (0..100).collect();
    let scope = executor.scope(&feed, |driver| {
        // The threads start, and the instruction set is found out.
        driver.train(0, &(0..32).collect::<Vec<_>>(), 0.01).unwrap();

        let region = Region::new(GLOBAL);
        for epoch in 0..2 {
            epoch_order(1, epoch, &mut order);
            for batch in order.chunks_exact(32).take(10) {
                driver.train(epoch, batch, 0.01).unwrap();
            }
            driver.evaluate(Pass::Validate, &validation).unwrap();
        }
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));

        // Nor over many steps: what does not allocate cannot grow, and the system gives it no more memory either.
        let samples: Vec<u32> = (0..32).collect();
        let (before, region) = (resident_bytes(), Region::new(GLOBAL));
        for step in 0..10_000 {
            driver.train(2 + step / 100, &samples, 0.001).unwrap();
        }
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));
        if let (Some(before), Some(after)) = (before, resident_bytes()) {
            // The counters of the system lag behind by some pages.
            assert!(after <= before + (256 << 10), "{before} bytes became {after}");
        }

        // The instrument does count.
        let region = Region::new(GLOBAL);
        drop(std::hint::black_box(vec![1u8; 100]));
        assert_eq!(region.change().allocations, 1);
    });
    scope.unwrap();
}
