//! How fast a network trains, on samples that are made up.

use std::time::{Duration, Instant};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use smidgen::{EntryKind, Metadata, Model, Preprocessing};

use crate::buffer::AlignedBytes;
use crate::compile::{Loss, Optimizer, TrainingOptions, compile_training};
use crate::cost;
use crate::graph::{Graph, nets};
use crate::pipeline::PipelineError;
use crate::train::{Executor, Feed, Pass, Targets};

/// How fast a network trains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// The network.
    pub net: String,
    /// Samples in a batch.
    pub batch: u32,
    /// Samples in a chunk.
    pub chunk: u32,
    /// Threads that worked.
    pub threads: usize,
    /// Samples that went forward, backward and into an update, in a second.
    pub samples_per_second: f64,
    /// The same in a second of processor time, of all threads together: what is left of it if others use the machine, too. `None` if the system does
    /// not say.
    pub samples_per_cpu_second: Option<f64>,
    /// Floating-point operations that a sample takes: two for each multiply-accumulate of the layers, forward and backward, without the gradient of
    /// the input.
    pub flops_per_sample: f64,
    /// Floating-point operations in a second that this many threads could do at best, measured before and after.
    pub peak_flops_per_second: f64,
    /// The most memory that the process ever had, in bytes. `None` if the system does not say.
    pub peak_memory_bytes: Option<u64>,
}

/// A network and what it is trained with, on samples that are made up: Adam, and the mean squared error to its input for the autoencoder, the
/// cross-entropy for all others.
#[derive(Debug)]
pub struct Benchmark {
    net: String,
    file: AlignedBytes,
    chunk: u32,
    chunks: u32,
    feed: Synthetic,
}

impl Benchmark {
    /// Compiles the network `net` for batches of `batch` samples in chunks of `chunk`, or of as many as suit it.
    ///
    /// # Errors
    /// [`PipelineError::UnknownNet`] and what compiling gives.
    pub fn new(net: &str, batch: u32, chunk: Option<u32>) -> Result<Self, PipelineError> {
        let network = nets::by_name(net).ok_or_else(|| PipelineError::unknown_net(net))?;
        let graph = network.seed(1).build()?;
        let classes = graph.class_names.len() as u32;
        let chunk = chunk.filter(|&chunk| chunk > 0 && batch.is_multiple_of(chunk));
        let chunk = chunk.unwrap_or_else(|| suitable_chunk(&graph, batch));
        let options = TrainingOptions {
            chunk_samples: chunk,
            chunks: batch / chunk,
            loss: match classes {
                0 => Loss::MeanSquaredError,
                _ => Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
            },
            optimizer: Optimizer::Adam {
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
                decoupled: false,
            },
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
        let elements = |id: &_| graph.tensor(*id).shape.elements();
        let sample = graph.inputs.first().and_then(elements).unwrap_or(0);
        Ok(Self {
            net: net.to_owned(),
            file,
            chunk,
            chunks: batch / chunk,
            feed: Synthetic::new(classes, sample, batch),
        })
    }

    /// Trains with `threads` threads for about `duration`, at least one batch.
    ///
    /// # Errors
    /// What running gives.
    pub fn measure(&self, threads: usize, duration: Duration) -> Result<Throughput, PipelineError> {
        let model = Model::from_bytes(self.file.as_slice())?;
        let executor = Executor::new(&model, self.chunks as usize, threads)?;
        let batch = self.chunk * self.chunks;
        let samples: Vec<u32> = (0..batch).collect();
        let pause = duration / 20;
        let before = peak_flops(executor.threads(), pause);
        let (batches, wall, cpu) = executor.scope(&self.feed, |driver| {
            let mut step = || driver.train(0, &samples, LEARNING_RATE).map(|_| ());
            // The first ones touch the memory for the first time.
            step()?;
            step()?;
            let (cpu, started, mut batches) = (cpu_seconds(), Instant::now(), 0);
            while batches == 0 || started.elapsed() < duration {
                step()?;
                batches += 1;
            }
            let wall = started.elapsed().as_secs_f64();
            let cpu = cpu.zip(cpu_seconds()).map(|(before, after)| after - before);
            Ok::<_, PipelineError>((batches, wall, cpu))
        })??;
        let trained = f64::from(batch) * f64::from(batches);
        let macs: u64 = model
            .entry(EntryKind::Train)
            .map_or(0, |entry| model.steps(&entry).flatten().map(cost::macs).sum());
        Ok(Throughput {
            net: self.net.clone(),
            batch,
            chunk: self.chunk,
            threads: executor.threads(),
            samples_per_second: trained / wall,
            samples_per_cpu_second: cpu.filter(|&cpu| cpu > 0.0).map(|cpu| trained / cpu),
            flops_per_sample: 2.0 * macs as f64 / f64::from(self.chunk),
            peak_flops_per_second: before.max(peak_flops(executor.threads(), pause)),
            peak_memory_bytes: peak_memory(),
        })
    }

    /// The parameters and the state after `steps` steps with `threads` threads.
    ///
    /// # Errors
    /// What running gives.
    pub fn train(&self, threads: usize, steps: u32) -> Result<(AlignedBytes, AlignedBytes), PipelineError> {
        let executor =
            Executor::new(&Model::from_bytes(self.file.as_slice())?, self.chunks as usize, threads)?;
        let samples: Vec<u32> = (0..self.chunk * self.chunks).collect();
        executor.scope(&self.feed, |driver| {
            (0..steps).try_for_each(|epoch| driver.train(epoch, &samples, LEARNING_RATE).map(|_| ()))
        })??;
        Ok(executor.snapshot())
    }
}

const LEARNING_RATE: f32 = 0.001;

/// Bytes of the largest activation of a chunk that still stay in the second cache, with all that is beside it.
const CACHED: usize = 256 * 1024;

/// As many samples as stay in the cache; but no chunk should write gradients that are larger than its activations. At most half of the batch, so
/// that two threads have work.
fn suitable_chunk(graph: &Graph, batch: u32) -> u32 {
    let bytes = |elements: Option<usize>| elements.unwrap_or(0) * size_of::<f32>();
    let largest = graph.nodes.iter().map(|node| bytes(graph.tensor(node.output).shape.elements())).max();
    let wanted = CACHED.max(graph.parameter_count() * size_of::<f32>()).div_ceil(largest.unwrap_or(1).max(1));
    let divides = |chunk: &u32| batch.is_multiple_of(*chunk);
    let enough = |chunk: &u32| *chunk as usize >= wanted;
    let most = (batch / 2).max(1);
    (1..=most).find(|chunk| divides(chunk) && enough(chunk)).or((1..=most).rev().find(divides)).unwrap_or(1)
}

/// Floating-point operations in a second that `threads` threads can do at best: the best of some tries, for about `duration`.
fn peak_flops(threads: usize, duration: Duration) -> f64 {
    const ROUNDS: usize = 100_000;
    let started = Instant::now();
    let mut best: f64 = 0.0;
    loop {
        let begin = Instant::now();
        let done: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| multiply_adds(ROUNDS))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum()
        });
        best = best.max(2.0 * done as f64 / begin.elapsed().as_secs_f64());
        if started.elapsed() >= duration {
            return best;
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use smidgen::kernels::multiply_adds;

/// Unknown here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn multiply_adds(_rounds: usize) -> u64 {
    0
}

/// Processor time that this process has used, as Linux counts it, in hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name, which is in parentheses, user and system time are the 12th and the 13th field.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
    Some(ticks.ok()? as f64 / 100.0)
}

/// The most memory that this process ever had, as Linux counts it.
fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Trains the network `net` for about `duration` in batches of `batch` samples, see [`Benchmark`].
///
/// # Errors
/// See [`Benchmark::new`] and [`Benchmark::measure`].
pub fn measure(
    net: &str,
    batch: u32,
    chunk: Option<u32>,
    threads: usize,
    duration: Duration,
) -> Result<Throughput, PipelineError> {
    Benchmark::new(net, batch, chunk)?.measure(threads, duration)
}

/// Feeds numbers in -1..1 that are there before, and labels that the sample's index decides: what is measured is training, not reading.
#[derive(Debug)]
struct Synthetic {
    /// Classes of the labels, 0 if the input is the target.
    classes: u32,
    /// The samples of a batch, of so many elements each.
    samples: Vec<f32>,
    elements: usize,
}

impl Synthetic {
    fn new(classes: u32, elements: usize, batch: u32) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let number = |_| random.next_u64() as i32 as f32 / 2_147_483_648.0;
        Self { classes, samples: (0..elements * batch as usize).map(number).collect(), elements }
    }
}

impl Feed for Synthetic {
    fn fill(&self, _pass: Pass, indices: &[u32], input: &mut [f32], targets: Targets<'_>) {
        let first = indices.first().map_or(0, |&index| index as usize * self.elements);
        if let Some(samples) = self.samples.get(first..first + input.len()) {
            input.copy_from_slice(samples);
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
            let found = measure(net, 6, Some(6), 2, Duration::ZERO).unwrap();
            assert!(found.samples_per_second > 0.0 && found.threads == 1, "{found:?}");
        }
        let error = measure("resnet9", 8, None, 1, Duration::ZERO).unwrap_err();
        assert!(matches!(error, PipelineError::UnknownNet { .. }), "{error}");
    }
}
