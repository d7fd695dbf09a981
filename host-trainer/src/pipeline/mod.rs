//! From a recipe and data to a model file: train, then fold, fuse, calibrate and quantize, and measure on the test set.

mod anomaly;
mod aware;
pub mod doctor;
mod ensemble;
mod error;
mod fine_tuning;
mod options;
mod prepare;
mod quantize;
pub mod sweep;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use safetensors::tensor::{Dtype, TensorView, serialize};
use sha2::{Digest, Sha256};
use smidgen::Space;

use crate::compile::{Assembled, compile_training};
use crate::data::{Dataset, Normalization, Split};
use crate::device::{Device, Target};
use crate::evaluate::run_in_parts;
use crate::graph::{Graph, Network, Value, nets};
use crate::recipe::{Recipe, TaskKind};
use crate::train::{
    Ending, Executor, Fit, Fitted, LossSum, Pass, Progress, Snapshot, Watch, fit, running_tensors,
};

pub use anomaly::{float_scores, normal_classes};
pub use aware::Aware;
pub use ensemble::measure_ensemble;
pub use error::PipelineError;
use prepare::inference_file;
pub use prepare::{Prepared, TeacherModel};
pub use quantize::{Quantized, measure_sensitivity, quantize_trained, quantize_trained_for};

/// A training run: a recipe, data, and how to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The data.
    pub split: &'a Split,
    /// Threads to use. The result does not depend on it.
    pub threads: usize,
    /// Where to keep checkpoints; nowhere without it.
    pub checkpoint: Option<&'a Path>,
    /// Go on from the checkpoint, if there is one.
    pub resume: bool,
    /// Stops the training after the present step when it becomes true.
    pub stop: &'a AtomicBool,
}

/// A trained network.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The network with its trained weights; batch norms are not folded.
    pub graph: Graph,
    /// What the samples were normalized with.
    pub normalization: Normalization,
    /// How training went.
    pub progress: Progress,
    /// How it ended.
    pub ending: Ending,
    /// Losses on the test set, in f32.
    pub test: LossSum,
    /// SHA-256 of the trained parameters, in hexadecimal.
    pub weights_hash: String,
    /// The networks of the ensemble, the oldest first; none if the recipe wants none.
    pub ensemble: Vec<Graph>,
    /// What quantization-aware training made of it, if the recipe wants that.
    pub aware: Option<Aware>,
}

impl Trained {
    /// The weights, the tables of batch norm included, as a safetensors file, by the names and in the layouts of the graph.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        self.safetensors_of(&self.graph)
    }

    /// The weights of each network of the ensemble, as [`Self::to_safetensors`] has them.
    pub fn ensemble_to_safetensors(&self) -> Result<Vec<Vec<u8>>, safetensors::SafeTensorError> {
        self.ensemble.iter().map(|graph| self.safetensors_of(graph)).collect()
    }

    fn safetensors_of(&self, graph: &Graph) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let values =
            graph.tensors.iter().filter_map(|tensor| Some((tensor, tensor.value.as_ref()?.to_bytes())));
        let values: Vec<_> = values.collect();
        let mut views = Vec::with_capacity(values.len());
        for (tensor, bytes) in &values {
            views.push((
                tensor.name.as_str(),
                TensorView::new(Dtype::F32, tensor.shape.dims().to_vec(), bytes)?,
            ));
        }
        serialize(views, Some(HashMap::from([("weights_hash".to_owned(), self.weights_hash.clone())])))
    }
}

/// What became of a run.
#[derive(Clone, Debug)]
pub enum Training {
    /// It was asked to stop; the checkpoint has everything to go on.
    Stopped(Progress),
    /// It is done.
    Done(Box<Trained>),
}

/// The network that a recipe names, with its first weights, checked against the data.
///
/// # Errors
/// [`PipelineError::UnknownNet`], [`PipelineError::Mismatch`], [`PipelineError::Graph`].
pub fn network(recipe: &Recipe, data: &Dataset) -> Result<Graph, PipelineError> {
    let name = recipe.network_name();
    let [height, width, _] = data.shape();
    let (wanted, numbers) = match recipe.task.kind {
        TaskKind::Classify => (data.class_names().len(), "classes"),
        TaskKind::Segment => (height * width * mask_channels(data), "numbers of masks"),
        TaskKind::Reconstruct => (data.sample_len(), "numbers to give back"),
    };
    let network = match recipe.network.layers.as_str() {
        "" => nets::known(name).ok_or_else(|| PipelineError::unknown_net(name))?.sized(
            data.shape(),
            if recipe.task.kind == TaskKind::Segment { mask_channels(data) } else { wanted },
        ),
        layers => Network::new(name, data.shape()).layers_for_classes(layers, data.class_names().len())?,
    };
    let graph = network.seed(recipe.training.seed).initialization(recipe.network.initialization).build()?;
    let [_, height, width, channels] = graph.tensor(graph.inputs[0]).shape.dims();
    let expected = [height, width, channels];
    let outputs = graph.tensor(graph.outputs[0]).shape.elements().unwrap_or(usize::MAX);
    let found = data.shape();
    if expected != found || outputs != wanted {
        let network = name.to_owned();
        return Err(PipelineError::Mismatch { network, expected, outputs, found, wanted, numbers });
    }
    Ok(graph)
}

/// Channels of a mask: one for each class, of two classes one that says which.
pub fn mask_channels(data: &Dataset) -> usize {
    match data.class_names().len() {
        2 => 1,
        classes => classes,
    }
}

/// The training program of a network, as a recipe has it, with all classes of equal weight and no layer frozen.
///
/// # Errors
/// [`PipelineError::Compile`].
pub fn training_program(recipe: &Recipe, graph: &Graph) -> Result<Assembled, PipelineError> {
    Ok(compile_training(graph, &options::training_options(recipe))?)
}

/// Trains as the recipe says.
///
/// # Errors
/// See [`PipelineError`].
pub fn train(run: &Run<'_>, watch: &mut dyn Watch) -> Result<Training, PipelineError> {
    let Run { recipe, split, .. } = *run;
    let prepared = Prepared::new(recipe, split)?;
    if !prepared.not_loaded.is_empty() {
        let (weights, left) = (&recipe.fine_tuning.weights, prepared.not_loaded.join(", "));
        watch.note(&format!("not in {weights} in the network's shape, so begun anew: {left}"));
    }
    if let (false, Some(other)) = (run.resume, aware::checkpoint(run)) {
        // Another run's, if it is there: nothing may go on from it.
        let _ = std::fs::remove_file(other);
    }
    let model = prepared.model()?;
    let chunks = (recipe.training.batch / recipe.training.chunk) as usize;
    let executor = Executor::new(&model, chunks, run.threads)?;
    let teacher = prepared.teacher()?;
    let feed = prepared.feed(split, &teacher, true);
    let running = running_tensors(&prepared.graph, &prepared.program);
    let plan = Fit {
        recipe,
        labels: split.train.labels(),
        running: &running,
        checkpoint: run.checkpoint,
        resume: run.resume,
        stop: run.stop,
    };
    let (fitted, test) = executor.scope(&feed, |driver| {
        let fitted = fit(&plan, driver, watch)?;
        let test = match fitted.ending {
            Ending::Stopped => LossSum::default(),
            Ending::Complete | Ending::Early => {
                let samples: Vec<u32> = (0..split.test.len() as u32).collect();
                driver.evaluate(Pass::Test, &samples)?
            }
        };
        Ok::<_, PipelineError>((fitted, test))
    })??;
    let Fitted { progress, ending, snapshots } = fitted;
    if ending == Ending::Stopped {
        return Ok(Training::Stopped(progress));
    }
    let normalization = prepared.normalization.clone();
    let network = |(parameter, state): &Snapshot| {
        let mut graph = prepared.graph.clone();
        take_values(&mut graph, &prepared.program, parameter.as_slice(), state.as_slice());
        graph
    };
    let best = executor.snapshot();
    let weights_hash = hex(&Sha256::digest(best.0.as_slice()));
    let ensemble = snapshots.iter().map(network).collect();
    let graph = network(&best);
    let mut trained =
        Trained { graph, normalization, progress, ending, test, weights_hash, ensemble, aware: None };
    if recipe.quantization.aware_epochs > 0 {
        match aware::train_aware(run, &trained, watch)? {
            Ok(aware) => trained.aware = Some(aware),
            Err(stopped) => return Ok(Training::Stopped(stopped)),
        }
    }
    Ok(Training::Done(Box::new(trained)))
}

/// Copies what was trained, parameters and running statistics, from the memory of a graph's training program into the graph.
pub fn take_values(graph: &mut Graph, program: &Assembled, parameter: &[u8], state: &[u8]) {
    for named in &program.tensors {
        let space = match named.operand.space {
            Space::Parameter => parameter,
            Space::State => state,
            _ => continue,
        };
        let (Some(id), Some((start, end))) = (graph.find(&named.name), named.operand.range()) else {
            continue;
        };
        let values = space[start..end].as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
        graph.tensor_mut(id).value = Some(Value::F32(values.collect()));
    }
}

/// The inputs of the trained network for all samples of `data`, and its outputs, in f32.
///
/// # Errors
/// See [`PipelineError`].
pub fn float_outputs(
    trained: &Trained,
    data: &Dataset,
    threads: usize,
) -> Result<(Vec<f32>, Vec<f32>), PipelineError> {
    let file = inference_file(trained.graph.clone())?;
    let elements = data.sample_len();
    let mut inputs = vec![0.0; elements * data.len()];
    for (index, input) in inputs.chunks_exact_mut(elements).enumerate() {
        trained.normalization.apply(data.image(index), input);
    }
    let bytes: Vec<u8> = inputs.iter().flat_map(|value| value.to_le_bytes()).collect();
    let report = run_in_parts(&Device::new(Target::Host), file.as_slice(), &bytes, 4 * elements, threads)?;
    let outputs = report.outputs.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Ok((inputs, outputs))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
