//! How fast a network trains, on samples that are made up.

use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use smidgen::{Metadata, Model, Preprocessing};

use crate::buffer::AlignedBytes;
use crate::compile::{Loss, Optimizer, TrainingOptions, compile_training};
use crate::graph::nets;
use crate::pipeline::PipelineError;
use crate::train::{Executor, Feed, Pass, Targets};

/// How fast a network trains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// The network.
    pub net: String,
    /// Samples in a batch.
    pub batch: u32,
    /// Threads that worked.
    pub threads: usize,
    /// Samples that went forward, backward and into an update, in a second.
    pub samples_per_second: f64,
}

/// Trains the network `net` for about `duration` in batches of `batch` samples, chunks of 8 where that divides, with SGD and momentum; the
/// autoencoder with the mean squared error to its input, all others with the cross-entropy.
///
/// # Errors
/// [`PipelineError::UnknownNet`] and what compiling or running gives.
pub fn measure(
    net: &str,
    batch: u32,
    threads: usize,
    duration: Duration,
) -> Result<Throughput, PipelineError> {
    let network = nets::by_name(net).ok_or_else(|| PipelineError::UnknownNet { found: net.to_owned() })?;
    let graph = network.seed(1).build()?;
    let classes = graph.class_names.len() as u32;
    let chunk_samples = (1..=8.min(batch)).rev().find(|&chunk| batch.is_multiple_of(chunk)).unwrap_or(1);
    let options = TrainingOptions {
        chunk_samples,
        chunks: batch / chunk_samples,
        loss: match classes {
            0 => Loss::MeanSquaredError,
            _ => Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
        },
        optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: false },
        ..TrainingOptions::default()
    };
    let metadata = Metadata {
        name: net,
        labels: "",
        step_names: "",
        provenance: "",
        preprocessing: Preprocessing::None,
    };
    let file = AlignedBytes::copy_of(&compile_training(&graph, &options)?.to_file(&metadata)?);
    let executor = Executor::new(&Model::from_bytes(file.as_slice())?, options.chunks as usize, threads)?;
    // Samples are few and stay in the cache: what is measured is training, not reading.
    let samples: Vec<u32> = (0..batch).collect();
    let seconds_per_batch = executor.scope(&Synthetic { classes }, |driver| {
        let mut step = || driver.train(0, &samples, 0.01).map(|_| ());
        // The first ones touch the memory for the first time.
        step()?;
        step()?;
        let (started, mut batches) = (Instant::now(), 0);
        while batches == 0 || started.elapsed() < duration {
            step()?;
            batches += 1;
        }
        Ok::<_, PipelineError>(started.elapsed().as_secs_f64() / f64::from(batches))
    })??;
    Ok(Throughput {
        net: net.to_owned(),
        batch,
        threads: executor.threads(),
        samples_per_second: f64::from(batch) / seconds_per_batch,
    })
}

/// Feeds numbers in -1..1, and labels that the sample's index decides.
#[derive(Debug)]
struct Synthetic {
    /// Classes of the labels, 0 if the input is the target.
    classes: u32,
}

impl Feed for Synthetic {
    fn fill(&self, _pass: Pass, indices: &[u32], input: &mut [f32], targets: Targets<'_>) {
        let mut random =
            Xoshiro256PlusPlus::seed_from_u64(indices.first().copied().unwrap_or_default().into());
        for pair in input.chunks_mut(2) {
            let bits = random.next_u64();
            for (value, bits) in pair.iter_mut().zip([bits as i32, (bits >> 32) as i32]) {
                *value = bits as f32 / 2_147_483_648.0;
            }
        }
        match targets {
            Targets::Values(values) => values.copy_from_slice(input),
            Targets::Labels(labels) => {
                labels
                    .iter_mut()
                    .zip(indices)
                    .for_each(|(label, index)| *label = (index % self.classes.max(1)) as i32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_net_is_measured_and_others_are_refused() {
        // The largest takes long in a test build.
        for net in nets::NAMES.into_iter().filter(|&net| net != "mobilenet_v1_025") {
            let found = measure(net, 6, 2, Duration::ZERO).unwrap();
            assert!(found.samples_per_second > 0.0 && found.threads == 1, "{found:?}");
        }
        let error = measure("resnet9", 8, 1, Duration::ZERO).unwrap_err();
        assert!(matches!(error, PipelineError::UnknownNet { .. }), "{error}");
    }
}
