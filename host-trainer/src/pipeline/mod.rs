//! From a recipe and data to a model file: train, then fold, fuse, calibrate and quantize, and measure on the test set.

mod anomaly;
mod aware;
pub mod doctor;
mod ensemble;
mod fine_tuning;
mod options;
mod prepare;
pub mod sweep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use safetensors::tensor::{Dtype, TensorView, serialize};
use sha2::{Digest, Sha256};
use smidgen::{AllOperators, Metadata, Model, Preprocessing, Space};

use crate::buffer::AlignedBytes;
use crate::compile::calibrate::calibrate;
use crate::compile::quantize::{
    NamedRanges, Options, QuantizeError, Ranges, Sensitivity, Truth, correct_bias, equalize, quantize,
    sensitivity, split_leaky_relu,
};
use crate::compile::{
    Assembled, CompileError, LowerOptions, compile_inference, compile_training, fold_batch_norm,
    fold_padding, fuse_activation, remove_dropout,
};
use crate::data::{DataError, Dataset, Normalization, Split};
use crate::device::{Device, DeviceError, Target};
use crate::evaluate::anomaly::ScoreError;
use crate::evaluate::run_in_parts;
use crate::graph::{Graph, GraphError, Network, ParseError, Value, nets};
use crate::recipe::{Recipe, TaskKind};
use crate::train::files::FileError;
use crate::train::{
    Ending, Executor, ExecutorError, Fit, FitError, Fitted, LossSum, Pass, Progress, Snapshot, Watch, fit,
    held_out, running_tensors,
};

pub use anomaly::{float_scores, normal_classes};
pub use aware::Aware;
pub use ensemble::measure_ensemble;
use prepare::inference_file;
pub use prepare::{Prepared, TeacherModel};

/// Why there is no trained or no quantized model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The recipe names a network that there is not.
    #[error("there is no network {found:?} (a recipe's network.net), expected one of {}", nets::KNOWN.map(|known| known.name).join(", "))]
    UnknownNet {
        /// The name.
        found: String,
    },
    /// The recipe's layers are not in the builder's notation.
    #[error("network.layers: {0}")]
    Layers(#[from] ParseError),
    /// The network does not fit the data.
    #[error(
        "the network {network} takes samples of {expected:?} and has {outputs} outputs, the data are {found:?} with {wanted} {numbers}"
    )]
    Mismatch {
        /// The network.
        network: String,
        /// Height, width and channels that it takes.
        expected: [usize; 3],
        /// Its outputs.
        outputs: usize,
        /// Height, width and channels of the data.
        found: [usize; 3],
        /// Outputs that the task asks for.
        wanted: usize,
        /// What they are.
        numbers: &'static str,
    },
    /// Not one weight for each class.
    #[error(
        "loss.class_weights has {found} weights, the data have {expected} classes; give one for each, or set loss.balance_classes"
    )]
    ClassWeights {
        /// Weights there are.
        found: usize,
        /// Classes there are.
        expected: usize,
    },
    /// A batch norm that has nothing to normalize.
    #[error(
        "{layer}: a batch norm with one element a channel in a batch makes everything 0; use a larger training.batch, or no batch norm there"
    )]
    BatchNormOfOne {
        /// The layer.
        layer: String,
    },
    /// A file of weights, or the run of a teacher, that cannot be used.
    #[error("{}: {message}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// What a key of the recipe names cannot be used.
    #[error("{key}: {cause}")]
    Key {
        /// The key.
        key: &'static str,
        /// Why not.
        cause: Box<PipelineError>,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name among the layers to freeze that none has.
    #[error("fine_tuning.freeze: no layer with parameters is named {pattern:?}{}", nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?")))]
    NothingToFreeze {
        /// The name.
        pattern: String,
        /// The layer with the most similar name.
        nearest: Option<String>,
    },
    /// A teacher for other samples or classes.
    #[error(
        "distillation.teacher: it takes {} numbers and gives {}, the network takes {} and gives {}; choose another teacher", found.0, found.1, expected.0, expected.1
    )]
    Teacher {
        /// Elements of its input and output.
        found: (usize, usize),
        /// Those of the network.
        expected: (usize, usize),
    },
    /// The network is not well made.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The network could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The network could not be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The model file could not be written.
    #[error(transparent)]
    Write(#[from] smidgen::model::WriteError),
    /// The compiled program is not valid, which is a defect of the compiler.
    #[error("the compiled program is not valid: {0}; this is a defect, please report it")]
    Invalid(#[from] smidgen::LoadError),
    /// An emulated device did not run it.
    #[error(transparent)]
    Device(Box<DeviceError>),
    /// Training failed.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A model could not be measured.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The program could not be run.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

impl PipelineError {
    /// The error of what this key names.
    fn of_key(self, key: &'static str) -> Self {
        Self::Key { key, cause: Box::new(self) }
    }
}

impl From<DeviceError> for PipelineError {
    fn from(error: DeviceError) -> Self {
        Self::Device(Box::new(error))
    }
}

impl From<DataError> for PipelineError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

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
        "" => nets::known(name).ok_or_else(|| PipelineError::UnknownNet { found: name.to_owned() })?.sized(
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
    let mut provenance = serde_json::json!({
        "trainer": concat!("smidgen-trainer ", env!("CARGO_PKG_VERSION")),
        "recipe": {
            "name": recipe.name,
            "network": { "net": recipe.network.net },
            "data": data,
            "training": { "seed": recipe.training.seed },
            "sha256": hex(&Sha256::digest(recipe.to_toml())),
        },
        "weights_hash": trained.weights_hash,
    });
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

/// The graph that is quantized: without what only training has, batch norms folded.
fn for_inference(graph: &Graph) -> Graph {
    split_leaky_relu(&fold_padding(fuse_activation(fold_batch_norm(remove_dropout(graph.clone())))))
}

/// The ranges of the activations of a graph for inference, by the recipe's method.
fn calibrated(
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
