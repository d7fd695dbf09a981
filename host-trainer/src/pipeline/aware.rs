//! Quantization-aware training: some more epochs of a trained network, with what int8 will leave of its weights and activations.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::quantize::{calibrated, for_inference};
use super::{PipelineError, Prepared, Run, Trained, hex, take_values};
use crate::compile::quantize::{NamedRanges, Simulation, learned_ranges, simulate};
use crate::compile::{fold_padding, fuse_activation};
use crate::graph::{Graph, RangeSource};
use crate::recipe::AwareRanges;
use crate::train::{Ending, Executor, Fit, Progress, Watch, fit, running_tensors};

/// A network that was trained for int8.
#[derive(Clone, Debug)]
pub struct Aware {
    /// The network with its weights; batch norms are not folded.
    pub graph: Graph,
    /// The ranges of its activations.
    pub ranges: NamedRanges,
    /// How these epochs went.
    pub progress: Progress,
    /// SHA-256 of the parameters, in hexadecimal.
    pub weights_hash: String,
}

/// Where these epochs keep their checkpoints, beside those of the others.
pub(super) fn checkpoint(run: &Run<'_>) -> Option<PathBuf> {
    Some(run.checkpoint?.with_file_name("checkpoint-int8.safetensors"))
}

/// Trains a trained network for int8, as `quantization.aware_epochs` and the other keys of the recipe say. The progress, if it was asked to stop.
pub(super) fn train_aware(
    run: &Run<'_>,
    trained: &Trained,
    watch: &mut dyn Watch,
) -> Result<Result<Aware, Progress>, PipelineError> {
    let Run { recipe, split, .. } = *run;
    watch.note(&format!(
        "training for int8: {} epochs with quantized weights and activations",
        recipe.quantization.aware_epochs
    ));
    let ranges = calibrated(recipe, split, &trained.normalization, &for_inference(&trained.graph))?;
    let source = match recipe.quantization.aware_ranges {
        AwareRanges::Averaged => RangeSource::Averaged { share: recipe.quantization.aware_share },
        AwareRanges::Learned => RangeSource::Learned,
        AwareRanges::Fixed => RangeSource::Given,
    };
    let float = fold_padding(fuse_activation(trained.graph.clone()));
    let graph = simulate(&float, &Simulation { ranges: &ranges, source, only: None });
    let recipe = recipe.aware();
    let prepared = Prepared::of_graph(&recipe, split, graph)?;
    let model = prepared.model()?;
    let executor = Executor::new(&model, prepared.options.chunks as usize, run.threads)?;
    let teacher = prepared.teacher()?;
    let feed = prepared.feed(split, &teacher, true);
    let running = running_tensors(&prepared.graph, &prepared.program);
    let checkpoint = checkpoint(run);
    let plan = Fit {
        recipe: &recipe,
        labels: split.train.labels(),
        running: &running,
        checkpoint: checkpoint.as_deref(),
        resume: run.resume,
        stop: run.stop,
    };
    let fitted = executor.scope(&feed, |driver| fit(&plan, driver, watch))??;
    if fitted.ending == Ending::Stopped {
        return Ok(Err(fitted.progress));
    }
    let (parameter, state) = executor.snapshot();
    let mut simulated = prepared.graph.clone();
    take_values(&mut simulated, &prepared.program, parameter.as_slice(), state.as_slice());
    let mut graph = trained.graph.clone();
    for tensor in &mut graph.tensors {
        if let Some(id) = simulated.find(&tensor.name).filter(|_| tensor.value.is_some()) {
            tensor.value.clone_from(&simulated.tensor(id).value);
        }
    }
    Ok(Ok(Aware {
        graph,
        ranges: learned_ranges(&simulated),
        progress: fitted.progress,
        weights_hash: hex(&Sha256::digest(parameter.as_slice())),
    }))
}
