//! From a trained network to a model file in int8, and what each layer loses by it.

use sha2::{Digest, Sha256};
use smidgen::{AllOperators, Metadata, Model, Preprocessing};

use super::{PipelineError, Trained, anomaly, hex, normal_classes};
use crate::buffer::AlignedBytes;
use crate::compile::calibrate::calibrate;
use crate::compile::quantize::{
    NamedRanges, Options, QuantizeError, Ranges, Sensitivity, Truth, correct_bias, equalize, quantize,
    sensitivity, split_leaky_relu,
};
use crate::compile::{
    Assembled, LowerOptions, compile_inference, fold_batch_norm, fold_padding, fuse_activation,
    remove_dropout,
};
use crate::data::{Normalization, Split};
use crate::graph::Graph;
use crate::recipe::{Recipe, TaskKind};
use crate::train::held_out;

/// A network in int8, and its model file.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The network.
    pub graph: Graph,
    /// What it was made from: in f32, with folded batch norms.
    pub float: Graph,
    /// The ranges of its activations.
    pub ranges: NamedRanges,
    /// Its program.
    pub program: Assembled,
    /// The model file.
    pub file: Vec<u8>,
    /// For a reconstruction: the score above which a sample is an anomaly.
    pub threshold: Option<f32>,
}

impl Quantized {
    /// The same network compiled in another way, and its model file.
    ///
    /// # Errors
    /// [`PipelineError::Compile`], and what reading [`Self::file`] gives.
    pub fn compiled(&self, options: &LowerOptions) -> Result<(Assembled, Vec<u8>), PipelineError> {
        let program = compile_inference(&self.graph, options)?;
        let bytes = AlignedBytes::copy_of(&self.file);
        let model = Model::<AllOperators>::from_bytes(bytes.as_slice())?;
        let file = program.to_file(&model.metadata())?;
        Ok((program, file))
    }
}

/// Quantizes a trained network to int8, with training samples for the calibration.
///
/// # Errors
/// See [`PipelineError`].
pub fn quantize_trained(
    recipe: &Recipe,
    split: &Split,
    trained: &Trained,
) -> Result<Quantized, PipelineError> {
    quantize_trained_for(recipe, split, trained, &LowerOptions::default())
}

/// [`quantize_trained`], compiled in a certain way.
///
/// # Errors
/// See [`PipelineError`].
pub fn quantize_trained_for(
    recipe: &Recipe,
    split: &Split,
    trained: &Trained,
    options: &LowerOptions,
) -> Result<Quantized, PipelineError> {
    let (float, ranges) = match &trained.aware {
        Some(aware) => (for_inference(&aware.graph), aware.ranges.clone()),
        None => {
            let mut float = for_inference(&trained.graph);
            if recipe.quantization.equalize {
                equalize(&mut float);
            }
            let ranges = calibrated(recipe, split, &trained.normalization, &float)?;
            if recipe.quantization.correct_bias {
                let (count, mut fill) = calibration_samples(recipe, split, &trained.normalization);
                correct_bias(&mut float, count, &mut fill)?;
            }
            (float, ranges)
        }
    };
    let graph = quantize(&float, &Ranges::of_names(&float, &ranges), Options::default())?;
    let program = compile_inference(&graph, options)?;
    let normalization = &trained.normalization;
    let preprocessing = match (normalization.audio(), normalization.mean(), normalization.std()) {
        (Some(audio), ..) => Preprocessing::Audio(audio),
        // The same for all channels.
        (None, &[mean, ..], &[std, ..]) => Preprocessing::Normalize { mean, std },
        _ => Preprocessing::None,
    };
    let mut provenance = provenance(recipe, &trained.weights_hash);
    // Other outputs are no classes of samples.
    let labels = if recipe.task.kind == TaskKind::Classify {
        split.train.class_names().join("\n")
    } else {
        String::new()
    };
    let file = |provenance: &serde_json::Value| {
        let provenance = provenance.to_string();
        let metadata = Metadata {
            name: &recipe.name,
            labels: &labels,
            step_names: "",
            provenance: &provenance,
            preprocessing,
        };
        program.to_file(&metadata)
    };
    let mut threshold = None;
    if recipe.task.kind == TaskKind::Reconstruct {
        let found = anomaly::threshold_of(recipe, split, &file(&provenance)?)?;
        provenance["task"] = serde_json::json!({
            "kind": "reconstruct",
            "normal": normal_classes(&split.train),
            "threshold": found,
        });
        threshold = Some(found);
    }
    if recipe.task.kind == TaskKind::Segment {
        provenance["task"] = serde_json::json!({ "kind": "segment", "classes": split.train.class_names() });
    }
    Ok(Quantized { file: file(&provenance)?, program, graph, float, ranges, threshold })
}

/// What the file says of where it is from: the recipe, so far as it takes part in how a sample is read, and the hashes.
fn provenance(recipe: &Recipe, weights_hash: &str) -> serde_json::Value {
    // How the data's files are read; what says nothing is left out, because all of it is in the device's flash.
    let mut data = serde_json::json!({
        "image_size": recipe.data.image_size,
        "crop": recipe.data.crop,
        "name_pattern": recipe.data.name_pattern,
        "test_below": recipe.data.test_below,
    });
    if recipe.data.dataset == "series" {
        data["full_scale"] = recipe.data.full_scale.into();
    }
    if recipe.data.silence > 0.0 {
        data["silence"] = recipe.data.silence.into();
    }
    if !recipe.data.background.is_empty() {
        data["background"] = recipe.data.background.as_str().into();
    }
    if recipe.data.all_windows {
        data["all_windows"] = true.into();
    }
    serde_json::json!({
        "trainer": concat!("smidgen-trainer ", env!("CARGO_PKG_VERSION")),
        "recipe": {
            "name": recipe.name,
            "network": { "net": recipe.network.net },
            "data": data,
            "training": { "seed": recipe.training.seed },
            "sha256": hex(&Sha256::digest(recipe.to_toml())),
        },
        "weights_hash": weights_hash,
    })
}

/// The graph that is quantized: without what only training has, batch norms folded.
pub(super) fn for_inference(graph: &Graph) -> Graph {
    split_leaky_relu(&fold_padding(fuse_activation(fold_batch_norm(remove_dropout(graph.clone())))))
}

/// The ranges of the activations of a graph for inference, by the recipe's method.
pub(super) fn calibrated(
    recipe: &Recipe,
    split: &Split,
    normalization: &Normalization,
    float: &Graph,
) -> Result<NamedRanges, PipelineError> {
    let (count, mut fill) = calibration_samples(recipe, split, normalization);
    let ranges = calibrate(float, &recipe.quantization, count, &mut fill).map_err(QuantizeError::from)?;
    Ok(ranges.by_name(float))
}

/// As many samples as the recipe says, evenly spread over those that were trained on: the held-out ones have already chosen the epoch.
fn calibration_samples<'a>(
    recipe: &Recipe,
    split: &'a Split,
    normalization: &'a Normalization,
) -> (usize, impl FnMut(usize, &mut [f32]) + use<'a>) {
    let (train, _) = held_out(recipe, split.train.len());
    let count = train.len().min(recipe.quantization.samples as usize);
    let fill = move |sample: usize, input: &mut [f32]| {
        let spread = sample * train.len() / count.max(1);
        normalization.apply(split.train.image(train[spread] as usize), input);
    };
    (count, fill)
}

/// What each layer of a quantized network loses, on up to `count` held-out samples; without such ones, on samples that were trained on.
///
/// # Errors
/// See [`PipelineError`].
pub fn measure_sensitivity(
    recipe: &Recipe,
    split: &Split,
    trained: &Trained,
    quantized: &Quantized,
    count: usize,
) -> Result<Sensitivity, PipelineError> {
    let (train, validation) = held_out(recipe, split.train.len());
    let all = if validation.is_empty() { train } else { validation };
    let count = count.min(all.len());
    let samples: Vec<usize> = (0..count).map(|index| all[index * all.len() / count] as usize).collect();
    let labels: Vec<u32> = samples.iter().map(|&sample| split.train.label(sample)).collect();
    let masks: Vec<&[u8]> = samples.iter().filter_map(|&sample| split.train.mask(sample)).collect();
    let truth = match recipe.task.kind {
        TaskKind::Segment => Truth::Masks(&masks),
        TaskKind::Classify => Truth::Labels(&labels),
        TaskKind::Reconstruct => Truth::Input(count),
    };
    let Quantized { graph, float, ranges, .. } = quantized;
    Ok(sensitivity((float, graph), ranges, truth, &mut |sample, input| {
        trained.normalization.apply(split.train.image(samples[sample]), input);
    })?)
}
