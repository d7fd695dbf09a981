//! From a finished network to one that goes on learning on a device.
//!
//! | pass | from | to |
//! |---|---|---|
//! | `lift` | model file | graph: the layers that are understood, and the steps that only run |
//! | `tiers` | graph and tier | which parameters learn |
//! | `float_tail` | graph and layers | graph: int8 as far as nothing learns, f32 from there on |
//! | `part` | graph | graph: of a convolution's weights, a part learns |
//! | `fuse_mean` | graph | graph: a pointwise convolution that learns and the mean behind it are one |
//! | `bands` | graph | graph: what does not learn is computed in bands of rows |
//! | [`compile_training`] | graph | program: the entries `train`, `update`, `evaluate`, `infer` |

mod bands;
mod error;
mod float_tail;
mod fuse_mean;
mod lift;
mod part;
mod tiers;

use std::collections::BTreeSet;

use smidgen::{Metadata, Model};

pub use bands::{bands, most_bands};
pub use error::PersonalizeError;
pub use float_tail::float_tail;
pub use fuse_mean::fuse_mean;
pub use lift::lift;
pub use part::{Part, part};
pub use tiers::{Layer, Learning, Tier, layers};

use crate::buffer::AlignedBytes;
use crate::compile::{GradientOptions, Loss, OnDevice, Optimizer, TrainingOptions, compile_training, unpack};
use crate::graph::Graph;
use crate::inspect::STACK_BYTES;

/// How a network goes on learning.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What learns.
    pub tier: Tier,
    /// What learns of the weights of a convolution that learns.
    pub part: Part,
    /// Bands of rows in which the int8 part before a mean is computed, see [`bands()`]; 1 for none, and `None` for as few as come within a tenth of the least memory that
    /// bands lead to, if that spares a tenth.
    pub bands: Option<usize>,
    /// The most RAM, everything counted, in bytes. Where all weights of convolutions are too many, those learn that read the largest [`Part::OneIn`] that there is room for.
    pub ram_bytes: Option<usize>,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// What happens to them before. A norm is each gradient's own.
    pub gradients: GradientOptions,
    /// How a device learns.
    pub device: OnDevice,
}

impl Default for Options {
    /// The last layer, by plain gradient descent.
    fn default() -> Self {
        Self {
            tier: Tier::Head,
            part: Part::All,
            bands: None,
            ram_bytes: None,
            optimizer: Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false },
            gradients: GradientOptions::default(),
            device: OnDevice::default(),
        }
    }
}

/// A network that learns.
#[derive(Clone, Debug)]
pub struct Personalized {
    /// The model file.
    pub file: Vec<u8>,
    /// Its graph.
    pub graph: Graph,
    /// Names of the parameters that learn.
    pub learning: Vec<String>,
    /// What learns of the weights of a convolution that learns.
    pub part: Part,
    /// Bands of rows in which the int8 part is computed.
    pub bands: usize,
    /// All memory that can be written, in bytes: what `inspect` says.
    pub ram_bytes: usize,
}

/// The most bands that are tried.
const MOST_BANDS: usize = 8;
/// The most parts that input channels are cut into to fit the RAM.
const MOST_PARTS: usize = 256;

/// Gives a network the entries `train`, `update`, `evaluate` and `infer`. It may be packed for a core: what stays int8 is packed for the one of the options instead.
///
/// # Errors
/// See [`PersonalizeError`].
pub fn personalize(model: &Model<'_>, options: &Options) -> Result<Personalized, PersonalizeError> {
    let plain = unpack(model)?.map(|file| AlignedBytes::copy_of(&file));
    if let Some(Ok(plain)) = plain.as_ref().map(|file| Model::from_bytes(file.as_slice())) {
        return personalize(&plain, options);
    }
    let lifted = lift(model)?;
    let learning = options.tier.learning(&lifted)?;
    let tail = float_tail(&lifted, &learning.layers)?;
    let made = |part| in_bands(model, &tail, &learning, options, part);
    let whole = made(options.part)?;
    let Some(most) = options.ram_bytes.filter(|&most| whole.ram_bytes > most) else { return Ok(whole) };
    if options.part != Part::All {
        return Err(PersonalizeError::Memory { most, least: whole.ram_bytes });
    }
    // The memory falls with the number of parts: it is doubled until one of them fits, and then looked for between the last two.
    let (mut low, mut high) = (1usize, 2);
    let (mut least, mut best) = (whole.ram_bytes, None);
    while high - low > 1 || best.is_none() {
        let count = if best.is_none() { high } else { low.midpoint(high) };
        let found = made(Part::OneIn(count))?;
        least = least.min(found.ram_bytes);
        if found.ram_bytes <= most {
            (high, best) = (count, Some(found));
        } else if count >= MOST_PARTS {
            return Err(PersonalizeError::Memory { most, least });
        } else {
            low = count;
            high = if best.is_none() { 2 * count } else { high };
        }
    }
    best.ok_or(PersonalizeError::Memory { most, least })
}

/// With as many bands as the options say, or as lead to the least memory.
fn in_bands(
    model: &Model<'_>,
    tail: &Graph,
    learning: &Learning,
    options: &Options,
    part: Part,
) -> Result<Personalized, PersonalizeError> {
    let mut parameters = learning.parameters.clone();
    let graph = fuse_mean(self::part(tail.clone(), &mut parameters, part), &parameters);
    let made = |bands| compiled(model, &graph, &parameters, options, part, bands);
    if let Some(count) = options.bands {
        return made(count);
    }
    let one = made(1)?;
    let others: Vec<Personalized> =
        (2..=most_bands(&graph).min(MOST_BANDS)).map(made).collect::<Result<_, _>>()?;
    let least = others.iter().map(|made| made.ram_bytes).min().unwrap_or(one.ram_bytes);
    if least > one.ram_bytes / 10 * 9 {
        return Ok(one);
    }
    Ok(others.into_iter().find(|made| made.ram_bytes <= least + least / 10).unwrap_or(one))
}

fn compiled(
    model: &Model<'_>,
    graph: &Graph,
    parameters: &BTreeSet<String>,
    options: &Options,
    part: Part,
    band_count: usize,
) -> Result<Personalized, PersonalizeError> {
    let graph = bands(graph.clone(), band_count);
    let frozen = graph.trained_parameters().map(|id| graph.tensor(id).name.clone());
    let frozen = frozen.filter(|name| !parameters.contains(name)).collect();
    let training = TrainingOptions {
        loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
        optimizer: options.optimizer,
        gradients: options.gradients,
        device: Some(options.device),
        frozen,
        ..TrainingOptions::default()
    };
    let program = compile_training(&graph, &training)?;
    let learning: Vec<String> = graph
        .trained_parameters()
        .map(|id| graph.tensor(id).name.clone())
        .filter(|name| parameters.contains(name))
        .collect();
    let metadata = model.metadata();
    let from: serde_json::Value =
        serde_json::from_str(metadata.provenance).unwrap_or_else(|_| metadata.provenance.into());
    let provenance = serde_json::json!({
        "trainer": concat!("smidgen-trainer ", env!("CARGO_PKG_VERSION")),
        "personalized": {
            "tier": options.tier.to_string(),
            "part": part.to_string(),
            "bands": band_count,
            "optimizer": format!("{:?}", options.optimizer),
            "learning_rate": options.device.learning_rate,
            "samples_per_update": options.device.samples_per_update,
            "learns": learning,
        },
        "from": from,
    });
    let metadata = Metadata { step_names: "", provenance: &provenance.to_string(), ..metadata };
    let ram_bytes = program.memory.total().map_or(usize::MAX, |total| total as usize + STACK_BYTES);
    let file = program.to_file(&metadata)?;
    Ok(Personalized { file, graph, learning, part, bands: band_count, ram_bytes })
}
