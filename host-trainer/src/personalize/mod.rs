//! From a finished network to one that goes on learning on a device.
//!
//! | pass | from | to |
//! |---|---|---|
//! | `lift` | model file | graph: the layers that are understood, and the steps that only run |
//! | `tiers` | graph and tier | which parameters learn |
//! | `float_tail` | graph and layers | graph: int8 as far as nothing learns, f32 from there on |
//! | `share` | graph | graph: of a convolution's weights, a part learns |
//! | `fuse_mean` | graph | graph: a pointwise convolution that learns and the mean behind it are one |
//! | `bands` | graph | graph: what does not learn is computed in bands of rows |
//! | [`compile_training`] | graph | program: the entries `train`, `update`, `evaluate`, `infer` |

mod bands;
mod error;
mod float_tail;
mod fuse_mean;
mod lift;
mod share;
mod tiers;

use smidgen::{Metadata, Model};

pub use bands::bands;
pub use error::PersonalizeError;
pub use float_tail::float_tail;
pub use fuse_mean::fuse_mean;
pub use lift::lift;
pub use share::share;
pub use tiers::{Layer, Learning, Tier, layers};

use crate::compile::{GradientOptions, Loss, OnDevice, Optimizer, TrainingOptions, compile_training};
use crate::graph::Graph;

/// How a network goes on learning.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What learns.
    pub tier: Tier,
    /// Of the weights of convolutions that learn, one in so many does; 1 for all.
    pub one_in: usize,
    /// Bands of rows in which the int8 part before a mean is computed, see [`bands()`]; 1 for none.
    pub bands: usize,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// What happens to them before. A norm is each gradient's own.
    pub gradients: GradientOptions,
    /// How a device learns.
    pub device: OnDevice,
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
}

/// Gives a network the entries `train`, `update`, `evaluate` and `infer`.
///
/// # Errors
/// See [`PersonalizeError`].
pub fn personalize(model: &Model<'_>, options: &Options) -> Result<Personalized, PersonalizeError> {
    let lifted = lift(model)?;
    let Learning { layers, mut parameters } = options.tier.learning(&lifted)?;
    let graph = share(float_tail(&lifted, &layers)?, &mut parameters, options.one_in);
    let graph = bands(fuse_mean(graph, &parameters), options.bands);
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
            "one_in": options.one_in,
            "bands": options.bands,
            "optimizer": format!("{:?}", options.optimizer),
            "learning_rate": options.device.learning_rate,
            "samples_per_update": options.device.samples_per_update,
            "learns": learning,
        },
        "from": from,
    });
    let metadata = Metadata { step_names: "", provenance: &provenance.to_string(), ..metadata };
    Ok(Personalized { file: program.to_file(&metadata)?, graph, learning })
}
