//! `smidgen personalize`.

use std::path::PathBuf;
use std::process::ExitCode;

use smidgen_trainer::compile::{GradientOptions, OnDevice, Optimizer, Prefer};
use smidgen_trainer::device::Target;
use smidgen_trainer::personalize::{Options, Part, Tier, personalize};
use smidgen_trainer::train::files::write_atomically;

use super::table::grouped;
use super::{Outcome, parse_model, read_model};

/// Give a model the entries that let a device learn.
///
/// What does not learn stays as it is: int8, in flash. What learns is f32 in RAM, from the first layer that learns to the end. `smidgen inspect` shows what it
/// takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Personalize {
    /// The model
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// What learns: head, bias or bias:N, block:N, layers:NAME,NAME or full
    #[arg(long, value_name = "TIER")]
    tier: Tier,
    /// The most RAM, everything counted: where the weights of convolutions are too many, those of as many input channels learn as fit
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["rank", "one_in"])]
    ram: Option<usize>,
    /// Of convolutions that learn, learn a product of two matrices that is added to the weights, N columns by N rows
    #[arg(long, value_name = "N", conflicts_with = "one_in")]
    rank: Option<usize>,
    /// Of the weights of convolutions that learn, let only those learn that read the first N-th of the input channels
    #[arg(long, value_name = "N")]
    one_in: Option<usize>,
    /// Compute the int8 part before a mean over all pixels in so many bands of rows: less memory, more instructions; by default as
    /// many as spare a tenth of the memory or more
    #[arg(long, value_name = "N")]
    bands: Option<usize>,
    /// Samples of an update; they are learned one after another all the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    /// How gradients change parameters
    #[arg(long, value_enum, default_value_t = Rule::Sgd)]
    optimizer: Rule,
    /// The step size that a device begins with
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    learning_rate: f32,
    /// The largest norm of a parameter's gradient; 0 for any
    #[arg(long, value_name = "NORM", default_value_t = 0.0)]
    clip_norm: f32,
    /// Order the int8 weights of the layers that do not learn for this core; the results are the same everywhere
    #[arg(long = "for", value_name = "TARGET", default_value = "host")]
    packed_for: Target,
    /// What to choose layouts for: speed, ram or flash
    #[arg(long, value_name = "WHAT", default_value_t)]
    prefer: Prefer,
    /// Where to write the model that learns
    #[arg(short, long, value_name = "OUT.smg")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rule {
    /// Plain gradient descent: no memory besides the parameters
    Sgd,
    /// With a momentum of 0.9: as much again as the parameters
    Momentum,
    /// Adam: twice as much
    Adam,
}

impl Rule {
    fn optimizer(self) -> Optimizer {
        let sgd = |momentum| Optimizer::Sgd { momentum, weight_decay: 0.0, nesterov: false };
        match self {
            Self::Sgd => sgd(0.0),
            Self::Momentum => sgd(0.9),
            Self::Adam => Optimizer::Adam {
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
                decoupled: false,
            },
        }
    }
}

impl Personalize {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let options = Options {
            tier: self.tier.clone(),
            part: match (self.rank, self.one_in) {
                (Some(rank), _) => Part::Rank(rank),
                (None, Some(count)) => Part::OneIn(count),
                (None, None) => Part::All,
            },
            bands: self.bands,
            ram_bytes: self.ram,
            optimizer: self.optimizer.optimizer(),
            gradients: GradientOptions { clip_norm: self.clip_norm, ..GradientOptions::default() },
            device: OnDevice {
                samples_per_update: self.batch,
                learning_rate: self.learning_rate,
                packing: self.packed_for.packing(),
                prefer: self.prefer,
                ..OnDevice::default()
            },
        };
        let made = personalize(&parse_model(&self.model, &file)?, &options)
            .map_err(|error| format!("{}: {error}", self.model.display()))?;
        write_atomically(&self.output, &made.file)?;
        let parameters = made.graph.trained_parameters().map(|id| made.graph.tensor(id));
        let numbers: usize = parameters
            .filter(|tensor| made.learning.contains(&tensor.name))
            .filter_map(|tensor| tensor.shape.elements())
            .sum();
        let mut how = String::new();
        if made.part != Part::All {
            how += &format!(", {} of the weights of convolutions", made.part);
        }
        if made.bands > 1 {
            how += &format!(", int8 in {} bands", made.bands);
        }
        eprintln!(
            "wrote {}: {} numbers in {} tensors learn{how}; {} bytes of RAM with the stack, a file of {} bytes",
            self.output.display(),
            grouped(numbers as u64),
            made.learning.len(),
            grouped(made.ram_bytes as u64),
            grouped(made.file.len() as u64)
        );
        Ok(ExitCode::SUCCESS)
    }
}
