//! Training gives the same bits on any number of threads and with any instruction set, and again and again.
//!
//! That an emulated device gives the same bits as well is in `qemu/`.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use smidgen::checksum::crc32c;
use smidgen::kernels::isa::{self, Isa};
use smidgen::{AllOperators, Metadata, Model, Preprocessing};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::data::{Augmenter, Normalization, Split, Variation, digits};
use smidgen_trainer::graph::nets;
use smidgen_trainer::pipeline::{Run, Training, network, quantize_trained, train, training_program};
use smidgen_trainer::recipe::Recipe;
use smidgen_trainer::throughput::Benchmark;
use smidgen_trainer::train::{Executor, ImageFeed};

const METADATA: Metadata<'_> = Metadata {
    name: "same bits",
    labels: "",
    step_names: "",
    provenance: "",
    preprocessing: Preprocessing::None,
};

/// A recipe with everything in it that could depend on order: augmentation, batch norm, Adam, several chunks.
fn recipe() -> Recipe {
    let mut recipe = Recipe::load("digits").unwrap();
    for assignment in [
        "network.layers=conv_2d(8, 3).stride(2).batch_norm().relu().depthwise_conv_2d(3).batch_norm().relu().conv_2d(20, 1).batch_norm().relu()\
         .max_pool_2d(2).stride(2).depthwise_conv_2d(3).stride(2).batch_norm().relu().global_average_pool_2d().fully_connected(10)",
        "training.batch=32",
        "augmentation.noise=0.05",
    ] {
        recipe.set(assignment).unwrap();
    }
    recipe
}

/// Hash of the parameters, and of the state, after `steps` steps.
fn trained(recipe: &Recipe, split: &Split, threads: usize, isa: Isa, steps: usize) -> (u32, u32) {
    isa::choose(isa).unwrap();
    let graph = network(recipe, &split.train).unwrap();
    let file = training_program(recipe, &graph).unwrap().to_file(&METADATA).unwrap();
    let file = AlignedBytes::copy_of(&file);
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let chunks = (recipe.training.batch / recipe.training.chunk) as usize;
    let executor = Executor::new(&model, chunks, threads).unwrap();
    assert_eq!(executor.threads(), threads);
    let normalization = Normalization::of(&split.train).unwrap();
    let augmenter = Augmenter::new(recipe.augmentation, split.train.shape()).unwrap();
    let feed = ImageFeed::new(split, &normalization, Some(Variation::Image(augmenter)), recipe.training.seed);
    let trained = executor.scope(&feed, |driver| {
        let batch = executor.batch_samples() as u32;
        for step in 0..steps as u32 {
            let samples: Vec<u32> = (step * batch..(step + 1) * batch).collect();
            let losses = driver.train(step, &samples, 0.01).unwrap();
            assert!(losses.loss.is_finite());
        }
    });
    trained.unwrap();
    let (parameter, state) = executor.snapshot();
    (crc32c(parameter.as_slice()), crc32c(state.as_slice()))
}

/// The instruction set is a choice of the whole process: tests that choose take turns.
static CHOICE: Mutex<()> = Mutex::new(());

#[test]
fn a_hundred_steps_do_not_depend_on_threads_or_instruction_sets() {
    let _turn = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    let (recipe, split) = (recipe(), digits().unwrap());
    let expected = trained(&recipe, &split, 1, Isa::Scalar, 100);
    let available = Isa::ALL.into_iter().filter(|isa| isa.is_available());
    for isa in available {
        for threads in [1, 2, 3] {
            if (isa, threads) == (Isa::Scalar, 1) {
                continue;
            }
            let found = trained(&recipe, &split, threads, isa, 100);
            assert_eq!(found, expected, "{threads} threads, {isa:?}");
        }
    }

    // What must make a difference does: another seed, another chunk size.
    for assignment in ["training.seed=2", "training.chunk=4"] {
        let mut other = recipe.clone();
        other.set(assignment).unwrap();
        assert_ne!(trained(&other, &split, 2, Isa::best(), 3), trained(&recipe, &split, 2, Isa::best(), 3));
    }
}

/// Each of the known networks, with everything that its own kernels are chosen by.
#[test]
fn fifty_steps_of_each_network_do_not_depend_on_threads_or_instruction_sets() {
    const STEPS: u32 = 50;
    let _turn = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
    for net in nets::NAMES {
        // As many chunks as the most threads, and no more samples than that takes.
        let benchmark = Benchmark::new(net, 8, Some(1)).unwrap();
        let trained = |threads, isa| {
            isa::choose(isa).unwrap();
            let (parameter, state) = benchmark.train(threads, STEPS).unwrap();
            (crc32c(parameter.as_slice()), crc32c(state.as_slice()))
        };
        let expected = trained(2, Isa::Scalar);
        for isa in Isa::ALL.into_iter().filter(|&isa| isa != Isa::Scalar && isa.is_available()) {
            assert_eq!(trained(2, isa), expected, "{net}, {isa:?}");
        }
        for threads in [1, 3, 8] {
            assert_eq!(trained(threads, Isa::best()), expected, "{net}, {threads} threads");
        }
    }
    isa::choose(Isa::best()).unwrap();
}

#[test]
fn a_model_trained_twice_is_the_same_file() {
    let mut recipe = recipe();
    recipe.set("training.epochs=2").unwrap();
    let whole = digits().unwrap();
    let some = |length: u32| (0..length).map(|index| index * 5).collect::<Vec<_>>();
    let train_set = whole.train.select("digits", &some(640)).unwrap();
    let split = Split::new(train_set, whole.test.select("digits", &some(100)).unwrap()).unwrap();
    let [first, second] = [1, 2].map(|threads| {
        let stop = AtomicBool::new(false);
        let run =
            Run { recipe: &recipe, split: &split, threads, checkpoint: None, resume: false, stop: &stop };
        let Training::Done(trained) = train(&run, &mut ()).unwrap() else { panic!("nobody stopped it") };
        quantize_trained(&recipe, &split, &trained).unwrap().file
    });
    assert_eq!(first, second);
}
