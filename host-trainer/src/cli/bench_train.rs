//! `smidgen bench-train`.

use std::num::NonZeroUsize;
use std::time::Duration;

use smidgen_trainer::graph::nets;
use smidgen_trainer::throughput::{Throughput, measure};

use super::{Outcome, print, print_json, threads};

/// Measure how fast a network trains here, on synthetic data.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchTrain {
    /// The network
    #[arg(help = format!("The network: {}", nets::NAMES.join(", ")))]
    net: String,
    /// Samples in a batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Samples in a chunk, which divides the batch [default: as suits the network]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    chunk: Option<u32>,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=3600))]
    seconds: u32,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl BenchTrain {
    pub(crate) fn run(&self) -> Outcome {
        let duration = Duration::from_secs(self.seconds.into());
        let found = measure(&self.net, self.batch, self.chunk, threads(self.threads), duration)?;
        if self.json {
            return print_json(&found);
        }
        let Throughput { net, batch, chunk, threads, samples_per_second, .. } = &found;
        let share = 100.0 * samples_per_second * found.flops_per_sample / found.peak_flops_per_second;
        let isa = smidgen::kernels::isa::current();
        print(&format!(
            "{net}: {samples_per_second:.0} samples a second, {share:.0} % of the multiply-adds that {threads} threads could do; batch {batch} in \
             chunks of {chunk}, {isa:?} kernels\n"
        ))
    }
}
