//! What a run needs before its first step, and the checks that can be made by then.

use std::path::{Path, PathBuf};

use smidgen::{AllOperators, LoadError, Metadata, Model, Preprocessing, Shape};

use super::{PipelineError, fine_tuning, network, options};
use crate::buffer::AlignedBytes;
use crate::compile::{
    Assembled, LowerOptions, TargetKind, TrainingOptions, compile_inference, compile_training,
    fold_batch_norm, fuse_activation, remove_dropout,
};
use crate::data::audio::AudioAugmenter;
use crate::data::{Augmenter, DataError, Dataset, Mixer, Normalization, Split, Variation};
use crate::graph::{Graph, GraphOp};
use crate::recipe::{Recipe, TaskKind};
use crate::train::{ImageFeed, Teacher, Values, held_out};

const METADATA: Metadata<'_> =
    Metadata { name: "", labels: "", step_names: "", provenance: "", preprocessing: Preprocessing::None };

/// A network and its training program, as a recipe has them for its data.
#[derive(Debug)]
pub struct Prepared {
    /// The network, with its initial weights.
    pub graph: Graph,
    /// Its training program.
    pub program: Assembled,
    /// What the program was made for.
    pub options: TrainingOptions,
    /// What samples are normalized with.
    pub normalization: Normalization,
    /// The samples to train on.
    pub train: Vec<u32>,
    /// The held-out samples.
    pub validation: Vec<u32>,
    /// Parameters that a file of weights was to give and did not.
    pub not_loaded: Vec<String>,
    /// The program as a model file.
    pub file: AlignedBytes,
    /// The networks of the teacher, if there is one.
    teacher: Vec<AlignedBytes>,
    augmenter: Option<Variation>,
    mixer: Option<Mixer>,
    seed: u64,
    task: TaskKind,
    /// What moves masks as their images.
    mask_augmenter: Option<Augmenter>,
}

/// The teacher of a run, if there is one.
pub type TeacherModel<'p> = Option<Teacher<'p>>;

impl Prepared {
    /// Prepares a run of `recipe` on `split`.
    ///
    /// # Errors
    /// See [`PipelineError`]: everything that can be known to be wrong before training.
    pub fn new(recipe: &Recipe, split: &Split) -> Result<Self, PipelineError> {
        let mut graph = network(recipe, &split.train)?;
        graph.class_names = split.train.class_names().to_vec();
        let mut not_loaded = Vec::new();
        if !recipe.fine_tuning.weights.is_empty() {
            not_loaded = fine_tuning::load_weights(&mut graph, Path::new(&recipe.fine_tuning.weights))
                .map_err(|error| error.of_key("fine_tuning.weights"))?;
        }
        Ok(Self { not_loaded, ..Self::of_graph(recipe, split, graph)? })
    }

    /// Prepares a run of `recipe` that begins with this network.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_graph(recipe: &Recipe, split: &Split, graph: Graph) -> Result<Self, PipelineError> {
        let (train, validation) = held_out(recipe, split.train.len());
        if recipe.task.kind == TaskKind::Classify {
            check_classes(&split.train, &train, &recipe.data.leave_out)?;
        }
        let mut options = options::training_options(recipe);
        options.frozen = fine_tuning::frozen(&graph, &recipe.fine_tuning)?;
        options.class_weights = class_weights(recipe, &split.train, &train)?;
        check_batch_norms(&graph, options.batch_samples())?;
        let program = compile_training(&graph, &options)?;
        let normalization = Normalization::of_all_channels(&split.train)?;
        let source = split.uncropped.as_ref().map_or(split.train.shape(), Dataset::shape);
        let [height, width, _] = split.train.shape();
        let augmenter = match recipe.augmentation.is_none() && split.uncropped.is_none() {
            true => None,
            false => {
                Some(Variation::Image(Augmenter::cropping(recipe.augmentation, source, [height, width])?))
            }
        };
        let augmenter = match normalization.audio() {
            None => augmenter,
            Some(_) if recipe.audio_augmentation.is_none() => None,
            Some(audio) => Some(Variation::Sound(AudioAugmenter::new(
                recipe.audio_augmentation,
                &audio,
                &split.background,
            )?)),
        };
        let teacher = match recipe.distillation.teacher.as_str() {
            "" => Vec::new(),
            directory => teacher(Path::new(directory), &split.train)
                .map_err(|error| error.of_key("distillation.teacher"))?,
        };
        Ok(Self {
            file: AlignedBytes::copy_of(&program.to_file(&Metadata { name: &recipe.name, ..METADATA })?),
            mask_augmenter: match recipe.task.kind == TaskKind::Segment && !recipe.augmentation.is_none() {
                true => Some(Augmenter::new(recipe.augmentation.geometry(), [height, width, 1])?),
                false => None,
            },
            mixer: Mixer::new(&recipe.augmentation),
            seed: recipe.training.seed,
            task: recipe.task.kind,
            graph,
            program,
            options,
            normalization,
            train,
            validation,
            not_loaded: Vec::new(),
            teacher,
            augmenter,
        })
    }

    /// The program as a model.
    ///
    /// # Errors
    /// None, unless the compiler is wrong.
    pub fn model(&self) -> Result<Model<'_, AllOperators>, LoadError> {
        Model::from_bytes(self.file.as_slice())
    }

    /// The teacher, if the recipe has one.
    ///
    /// # Errors
    /// [`PipelineError::Teacher`] if it does not fit the network.
    pub fn teacher(&self) -> Result<TeacherModel<'_>, PipelineError> {
        if self.teacher.is_empty() {
            return Ok(None);
        }
        let elements = |shape: Shape| shape.elements().unwrap_or(0);
        let shape = |id| elements(self.graph.tensor(id).shape);
        let (inputs, outputs) = (shape(self.graph.inputs[0]), shape(self.graph.outputs[0]));
        let models = self
            .teacher
            .iter()
            .map(|file| Model::from_bytes(file.as_slice()))
            .collect::<Result<Vec<_>, _>>()?;
        match Teacher::new(models, inputs, outputs) {
            Ok(teacher) => Ok(Some(teacher)),
            Err(found) => Err(PipelineError::Teacher { found, expected: (inputs, outputs) }),
        }
    }

    /// What feeds the program: augmented if `varied`.
    pub fn feed<'a>(
        &'a self,
        split: &'a Split,
        teacher: &'a TeacherModel<'_>,
        varied: bool,
    ) -> ImageFeed<'a> {
        let augmenter = self.augmenter.clone().filter(|_| varied);
        let feed = ImageFeed::new(split, &self.normalization, augmenter, self.seed);
        let values = match (self.options.loss.target(), teacher) {
            (TargetKind::WithTeacher, Some(teacher)) => Values::Teacher(teacher),
            _ => match self.task {
                TaskKind::Classify => Values::Classes,
                TaskKind::Reconstruct => Values::Input,
                TaskKind::Segment => Values::Masks(self.mask_augmenter.as_ref().filter(|_| varied)),
            },
        };
        feed.mixing(self.mixer.filter(|_| varied), self.train.clone()).values(values)
    }
}

/// There are classes to tell apart, and every one that is not left out has a sample to train on.
fn check_classes(train: &Dataset, samples: &[u32], leave_out: &[String]) -> Result<(), PipelineError> {
    if let [class] = train.class_names() {
        return Err(PipelineError::OneClass { dataset: train.name().to_owned(), class: class.clone() });
    }
    let counts = class_counts(train, samples);
    let is_needed = |class: usize| !leave_out.contains(&train.class_names()[class]);
    match (0..counts.len()).find(|&class| counts[class] == 0 && is_needed(class)) {
        None => Ok(()),
        Some(empty) => Err(DataError::NothingOfClass {
            dataset: train.name().to_owned(),
            class: train.class_names()[empty].clone(),
        }
        .into()),
    }
}

fn class_counts(train: &Dataset, samples: &[u32]) -> Vec<usize> {
    let mut counts = vec![0; train.class_names().len()];
    samples.iter().for_each(|&sample| counts[train.label(sample as usize) as usize] += 1);
    counts
}

/// The recipe's weights of the classes, or those that balance them; none if all are 1.
fn class_weights(recipe: &Recipe, train: &Dataset, samples: &[u32]) -> Result<Vec<f32>, PipelineError> {
    let counts = class_counts(train, samples);
    if recipe.loss.balance_classes {
        // Of a class that is left out there is nothing to weigh.
        let there = counts.iter().filter(|&&count| count > 0).count();
        let each = samples.len() as f64 / there as f64;
        return Ok(counts.into_iter().map(|count| (each / count.max(1) as f64) as f32).collect());
    }
    let weights = &recipe.loss.class_weights;
    if !weights.is_empty() && weights.len() != counts.len() {
        return Err(PipelineError::ClassWeights { found: weights.len(), expected: counts.len() });
    }
    Ok(weights.iter().map(|&weight| weight as f32).collect())
}

/// No batch norm that learns has one element a channel, whose deviation is 0 whatever the input.
fn check_batch_norms(graph: &Graph, batch: u32) -> Result<(), PipelineError> {
    for node in &graph.nodes {
        let Shape([_, h, w, _]) = graph.tensor(node.output).shape;
        if matches!(node.op, GraphOp::BatchNorm { .. }) && h * w * batch < 2 {
            return Err(PipelineError::BatchNormOfOne { layer: node.name.clone() });
        }
    }
    Ok(())
}

/// Model files for inference in f32, from the directory of a run: its ensemble, if it has one, else its network.
fn teacher(directory: &Path, data: &Dataset) -> Result<Vec<AlignedBytes>, PipelineError> {
    let recipe_path: PathBuf = directory.join("recipe.toml");
    if !recipe_path.is_file() {
        let message = "there is no recipe.toml; give the directory of a run".to_owned();
        return Err(PipelineError::Weights { path: directory.into(), message });
    }
    let recipe = Recipe::load(&recipe_path.display().to_string())
        .map_err(|error| PipelineError::Weights { path: recipe_path, message: error.to_string() })?;
    let graph = network(&recipe, data)?;
    let members = (1..).map(|member| directory.join("ensemble").join(format!("member-{member}.safetensors")));
    let mut paths: Vec<PathBuf> = members.take_while(|path| path.is_file()).collect();
    if paths.is_empty() {
        paths.push(directory.join("weights.safetensors"));
    }
    let file = |path: PathBuf| {
        let mut graph = graph.clone();
        if let Some(missing) = fine_tuning::load_weights(&mut graph, &path)?.first() {
            let message = format!("it has no {missing} of the teacher's shape");
            return Err(PipelineError::Weights { path, message });
        }
        inference_file(graph)
    };
    paths.into_iter().map(file).collect()
}

/// A model file for inference in f32.
pub(super) fn inference_file(graph: Graph) -> Result<AlignedBytes, PipelineError> {
    let graph = fuse_activation(fold_batch_norm(remove_dropout(graph)));
    let program = compile_inference(&graph, &LowerOptions::default())?;
    Ok(AlignedBytes::copy_of(&program.to_file(&METADATA)?))
}
