//! Recipes: everything that decides what a training run gives, in one TOML file.
//!
//! A run saves its recipe resolved, with every default written out and every `--set` applied, so that it can be repeated.
//!
//! ```
//! use smidgen_trainer::recipe::Recipe;
//!
//! let mut recipe = Recipe::built_in("digits").unwrap();
//! recipe.set("training.epochs=3")?;
//! assert_eq!(recipe.training.epochs, 3);
//! let error = recipe.set("training.epoch=3").unwrap_err();
//! assert!(error.to_string().contains("did you mean `training.epochs`?"), "{error}");
//! # Ok::<(), smidgen_trainer::recipe::RecipeError>(())
//! ```

mod audio;
mod error;
mod keys;
mod life;
mod loss;
mod optimizer;
mod quantization;
mod schedule;
mod task;

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use audio::AudioSettings;
pub use error::RecipeError;
pub use life::{Averaging, AveragingKind, FineTuning};
pub use loss::{Distillation, Loss, LossKind};
pub use optimizer::{Optimizer, OptimizerKind};
pub use quantization::{AwareRanges, Calibration, Quantization};
pub use schedule::{Schedule, ScheduleKind};
pub use task::{Task, TaskKind};

use crate::data::audio::{AudioAugmentation, AudioOptions};
use crate::data::{Augmentation, DataError, ImageOptions, Sampling};
use crate::graph::Initialization;
use crate::nearest::nearest;
use keys::check_keys;

/// Everything that decides what a training run gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the run, and of the model.
    pub name: String,
    /// What is learned from.
    #[serde(default)]
    pub data: Data,
    /// What the network is to do.
    #[serde(default)]
    pub task: Task,
    /// What is trained.
    #[serde(default)]
    pub network: Network,
    /// How long, in what portions, from which seed.
    #[serde(default)]
    pub training: Training,
    /// What is minimized.
    #[serde(default)]
    pub loss: Loss,
    /// A teacher, if there is one.
    #[serde(default)]
    pub distillation: Distillation,
    /// How parameters are updated.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: Schedule,
    /// Random variation of the training samples.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// The front end, for `audio`.
    #[serde(default)]
    pub audio: AudioSettings,
    /// Random variation of the training samples, for `audio`.
    #[serde(default)]
    pub audio_augmentation: AudioAugmentation,
    /// Averages of the weights.
    #[serde(default)]
    pub averaging: Averaging,
    /// What training begins from.
    #[serde(default)]
    pub fine_tuning: FineTuning,
    /// How the trained network becomes int8.
    #[serde(default)]
    pub quantization: Quantization,
}

/// What is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Kind of data: `digits` is bundled; `mnist`, `images` (PNG or JPEG in `train/CLASS` and `test/CLASS`),
    /// `cifar` (the binary files of CIFAR-10 or CIFAR-100), `series` (CSV or NumPy files, as `audio`) and `audio` (WAV files, there or named by `name_pattern`) are read from `--data DIR`.
    pub dataset: String,
    /// The part of the training samples that is held out to choose the best epoch, in 0..1.
    pub validation_fraction: f64,
    /// Cross-validation: into how many parts the training samples are cut, of which one is held out, instead of `validation_fraction`; 0 for none.
    pub folds: u32,
    /// Which of the `folds` is held out, counted from 0.
    pub fold: u32,
    /// How often the samples of each class come in an epoch.
    pub sampling: Sampling,
    /// For `images`: height and width to which all are scaled; empty if they have one size.
    pub image_size: Vec<usize>,
    /// For `images`: height and width of what is cut out of them, at random places for training, else the centre; empty for all.
    pub crop: Vec<usize>,
    /// For `images`: one channel instead of three.
    pub greyscale: bool,
    /// For `audio`: how files are named, see [`AudioOptions::name_pattern`]; empty if the label is the folder's name.
    pub name_pattern: String,
    /// For `audio`: a recording gives a sample wherever a device would infer, once a stride, and not only its middle. `series` always do.
    pub all_windows: bool,
    /// For `audio` with a pattern: recordings whose `{index}` is less than this are for testing.
    pub test_below: u32,
    /// Names of classes of which no sample is trained on. The network has an output for each all the same: a device can learn them later.
    pub leave_out: Vec<String>,
    /// For `series`: the value that is full scale, such as 4 for an accelerometer of 4 g.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub full_scale: f32,
    /// For `audio`: clips of a class `_silence_` for each recording of the others; 0 for no such class.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub silence: f32,
    /// For `audio`: a folder in the data directory with recordings of background noise, which are no samples; empty for none.
    pub background: String,
}

impl Data {
    fn image_options(&self) -> ImageOptions {
        let pair =
            |values: &[usize]| values.first().copied().zip(values.get(1).copied()).map(|(h, w)| [h, w]);
        ImageOptions {
            size: pair(&self.image_size),
            crop: pair(&self.crop),
            greyscale: self.greyscale,
            classes_differ: false,
        }
    }

    fn check(&self) -> Result<(), RecipeError> {
        let validation = self.validation_fraction;
        let expected = "at least 0 and below 1";
        rule((0.0..1.0).contains(&validation), "data.validation_fraction", &validation, expected)?;
        rule(self.folds != 1 && self.folds <= 1000, "data.folds", &self.folds, "0, or 2 to 1000")?;
        rule(self.fold < self.folds.max(1), "data.fold", &self.fold, "less than data.folds")?;
        let silence = self.silence;
        let is_part = (0.0..=1.0).contains(&silence) && (silence == 0.0 || self.dataset == "audio");
        rule(is_part, "data.silence", &silence, "0 to 1, above 0 for audio only")?;
        let scale = self.full_scale;
        rule(scale.is_finite() && scale > 0.0, "data.full_scale", &scale, "a number above 0")?;
        for (key, pair) in [("data.image_size", &self.image_size), ("data.crop", &self.crop)] {
            let good =
                pair.is_empty() || pair.len() == 2 && pair.iter().all(|side| (1..=4096).contains(side));
            rule(good, key, &format!("{pair:?}"), "[height, width] from 1 to 4096, or []")?;
        }
        Ok(())
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            dataset: "digits".into(),
            validation_fraction: 0.05,
            folds: 0,
            fold: 0,
            sampling: Sampling::Shuffle,
            image_size: Vec::new(),
            crop: Vec::new(),
            greyscale: false,
            name_pattern: String::new(),
            all_windows: false,
            test_below: 0,
            leave_out: Vec::new(),
            full_scale: 1.0,
            silence: 0.0,
            background: String::new(),
        }
    }
}

/// What is trained: a built-in network, or one that is described here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Name of a built-in network; empty if `layers` describes one.
    pub net: String,
    /// The layers, in the notation of the builder: `conv_2d(8, 3).stride(2).batch_norm().relu()` and so on. See
    /// [`crate::graph::Network::layers`]. `classes` stands for the number of classes that the data have.
    pub layers: String,
    /// How weights start.
    pub initialization: Initialization,
}

/// How long, in what portions, from which seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Training {
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples in a batch; a multiple of `chunk`.
    pub batch: u32,
    /// Samples in a chunk. The sums over a batch are made of sums over chunks, so this is part of what defines the result.
    pub chunk: u32,
    /// Seed of the initial weights, the order of the samples and the augmentation.
    pub seed: u64,
    /// Label smoothing of the cross-entropy, in 0..1.
    #[serde(serialize_with = "crate::decimal::shortest")]
    pub label_smoothing: f32,
    /// Stops when the validation accuracy has not risen for so many epochs; 0 never does.
    pub early_stopping: u32,
    /// How many of the best epochs are kept as checkpoints of their own, in the directory `best` of the run.
    pub best_checkpoints: u32,
    /// The networks at the ends of so many of the schedule's last cycles make an ensemble; 0 for none.
    pub snapshots: u32,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 64,
            chunk: 8,
            seed: 1,
            label_smoothing: 0.0,
            early_stopping: 0,
            best_checkpoints: 0,
            snapshots: 0,
        }
    }
}

/// The built-in recipes.
const BUILT_IN: [(&str, &str); 6] = [
    ("anomaly", include_str!("../../recipes/anomaly.toml")),
    ("cifar10", include_str!("../../recipes/cifar10.toml")),
    ("digits", include_str!("../../recipes/digits.toml")),
    ("fsdd", include_str!("../../recipes/fsdd.toml")),
    ("gestures", include_str!("../../recipes/gestures.toml")),
    ("mnist", include_str!("../../recipes/mnist.toml")),
];

impl Recipe {
    /// The names of the built-in recipes.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|&(name, _)| name)
    }

    /// The built-in recipe of this name.
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.iter().find(|&&(built_in, _)| built_in == name)?;
        Self::parse(text, name).ok()
    }

    /// A built-in recipe, or the file of this name.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn load(name: &str) -> Result<Self, RecipeError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|&&(built_in, _)| built_in == name) {
            return Self::parse(text, name);
        }
        let path = Path::new(name);
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, name),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let known: Vec<_> = Self::built_in_names().collect();
                let nearest = nearest(name, known.iter().copied()).map(str::to_owned);
                Err(RecipeError::Unknown { name: name.into(), known, nearest })
            }
            Err(cause) => Err(RecipeError::Unreadable { path: path.into(), cause }),
        }
    }

    /// A recipe from the text of a TOML file; `origin` names it in errors.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn parse(text: &str, origin: &str) -> Result<Self, RecipeError> {
        let malformed = |error: toml::de::Error| RecipeError::Malformed {
            origin: origin.into(),
            message: error.to_string().trim_end().to_owned(),
        };
        let table: toml::Table = text.parse().map_err(malformed)?;
        check_keys(&table, origin)?;
        // From the text and not from the table, so that an error shows the line.
        let recipe: Self = toml::from_str(text).map_err(malformed)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Applies `key=value`, the key with its table, the value in TOML's syntax (a string without quotes will do).
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn set(&mut self, assignment: &str) -> Result<(), RecipeError> {
        self.set_all([assignment])
    }

    /// [`Self::set`] of several ones, which have to be right together only.
    ///
    /// # Errors
    /// See [`RecipeError`].
    pub fn set_all<'a>(&mut self, assignments: impl IntoIterator<Item = &'a str>) -> Result<(), RecipeError> {
        let mut recipe = self.clone();
        for assignment in assignments {
            recipe = recipe.with(assignment)?;
        }
        recipe.check()?;
        *self = recipe;
        Ok(())
    }

    /// The recipe with one assignment, its values not checked against each other.
    fn with(&self, assignment: &str) -> Result<Self, RecipeError> {
        let found = || assignment.to_owned();
        let (key, value) =
            assignment.split_once('=').ok_or_else(|| RecipeError::Assignment { found: found() })?;
        let (key, value) = (key.trim(), value.trim());
        let origin = format!("--set {assignment}");
        let value: toml::Value = match format!("value = {value}").parse::<toml::Table>() {
            Ok(mut table) => table.remove("value").unwrap_or(toml::Value::String(value.into())),
            Err(_) => toml::Value::String(value.into()),
        };
        let mut table = self.to_table();
        let mut place = &mut table;
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                place.insert(name.into(), value);
                break;
            }
            let next = place.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let Some(next) = next.as_table_mut() else {
                return Err(RecipeError::UnknownKey { origin, key: key.into(), nearest: None });
            };
            place = next;
        }
        check_keys(&table, &origin)?;
        // The two say the same thing in two ways: the one that is set now replaces the other.
        let replaced = match key {
            "network.net" => Some("layers"),
            "network.layers" => Some("net"),
            _ => None,
        };
        if let (Some(replaced), Some(toml::Value::Table(network))) = (replaced, table.get_mut("network")) {
            network.remove(replaced);
        }
        table.try_into().map_err(|error: toml::de::Error| RecipeError::Malformed {
            origin,
            message: error.message().into(),
        })
    }

    /// How recordings become samples.
    pub fn audio_options(&self) -> AudioOptions {
        AudioOptions {
            config: self.audio.config(),
            name_pattern: self.data.name_pattern.clone(),
            test_below: self.data.test_below,
            background: self.data.background.clone(),
            all_windows: self.data.all_windows,
            classes_differ: self.classes_differ(),
            silence: self.data.silence,
        }
    }

    /// How image files become samples.
    pub fn image_options(&self) -> ImageOptions {
        ImageOptions { classes_differ: self.classes_differ(), ..self.data.image_options() }
    }

    /// Whether the training and the test set may have classes that the other one has not: who looks for anomalies has none to train on.
    fn classes_differ(&self) -> bool {
        self.task.kind == TaskKind::Reconstruct
    }

    /// The network's name: that of the built-in one, or the recipe's own.
    pub fn network_name(&self) -> &str {
        if self.network.net.is_empty() { &self.name } else { &self.network.net }
    }

    /// The recipe as TOML, with every key.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.to_table()).unwrap_or_default()
    }

    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }

    /// Checks the values' ranges.
    fn check(&self) -> Result<(), RecipeError> {
        let Self { name, data, network, training, loss, distillation, optimizer, schedule, .. } = self;
        let Self { augmentation, averaging, quantization, .. } = self;
        let fraction = |value: f32| (0.0..1.0).contains(&value);
        let named = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\\', '\0']);
        rule(named, "name", &format!("{name:?}"), "a name that a directory can have")?;
        let [net, layers] = [&network.net, &network.layers].map(String::is_empty);
        let expected = "network.net, the name of a network, or network.layers";
        rule(!(net && layers), "network", &"not described", expected)?;
        rule(net || layers, "network", &"described twice", "either network.net or network.layers")?;
        data.check()?;
        rule((1..=100_000).contains(&training.epochs), "training.epochs", &training.epochs, "1 to 100000")?;
        rule((1..=4096).contains(&training.chunk), "training.chunk", &training.chunk, "1 to 4096")?;
        let batch = training.batch;
        let whole = batch > 0 && batch <= 65_536 && batch % training.chunk == 0;
        let chunk = training.chunk;
        let found = format!("{batch} with a training.chunk of {chunk}");
        rule(whole, "training.batch", &found, "a multiple of training.chunk, at most 65536")?;
        let smoothing = training.label_smoothing;
        rule(fraction(smoothing), "training.label_smoothing", &smoothing, "at least 0 and below 1")?;
        rule(i64::try_from(training.seed).is_ok(), "training.seed", &training.seed, "below 2^63")?;
        rule(
            training.best_checkpoints <= 1000,
            "training.best_checkpoints",
            &training.best_checkpoints,
            "at most 1000",
        )?;
        let snapshots = training.snapshots;
        let expected = "0, or 2 to schedule.cycles";
        rule(
            snapshots == 0 || (2..=schedule.cycles).contains(&snapshots),
            "training.snapshots",
            &snapshots,
            expected,
        )?;
        rule(
            schedule.cycles <= training.epochs,
            "schedule.cycles",
            &schedule.cycles,
            "at most training.epochs",
        )?;
        setting(&augmentation.check().and_then(|()| self.audio_augmentation.check()))?;
        loss.check(augmentation.mixes(), distillation)?;
        self.audio.check()?;
        let axes = self.audio.axes;
        rule(axes == 1 || data.dataset == "series", "audio.axes", &axes, "1, unless data.dataset is series")?;
        optimizer.check()?;
        averaging.check(training.epochs)?;
        schedule.check()?;
        self.task.check(self)?;
        quantization.check()
    }
}

/// A setting of the augmentation that is out of its range, as a recipe's value.
fn setting(checked: &Result<(), DataError>) -> Result<(), RecipeError> {
    match checked {
        &Err(DataError::Setting { name: key, found, expected }) => {
            Err(RecipeError::Value { key, found: found.to_string(), expected })
        }
        _ => Ok(()),
    }
}

/// An error that names `key` unless the value `found` is `good`.
fn rule(
    good: bool,
    key: &'static str,
    found: &dyn Display,
    expected: &'static str,
) -> Result<(), RecipeError> {
    if good { Ok(()) } else { Err(RecipeError::Value { key, found: found.to_string(), expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_are_right_and_resolve() {
        for name in Recipe::built_in_names() {
            let recipe = Recipe::load(name).unwrap();
            assert_eq!(recipe.name, name);
            let resolved = recipe.to_toml();
            assert!(resolved.contains("beta_1 = 0.9\n") && resolved.contains("scale = "), "{resolved}");
            assert_eq!(Recipe::parse(&resolved, "resolved").unwrap(), recipe);
        }
    }

    #[test]
    fn every_key_is_documented() {
        let text = include_str!("../../../docs/recipes.md");
        for (table, keys) in Recipe::built_in("digits").unwrap().to_table() {
            let toml::Value::Table(keys) = keys else { continue };
            let section = text.split_once(&format!("\n## `[{table}]`\n")).map(|(_, rest)| rest);
            let section = section.unwrap_or_else(|| panic!("docs/recipes.md has no section [{table}]"));
            let section = section.split("\n## ").next().unwrap();
            for key in keys.keys() {
                let rows = section.lines().filter_map(|line| line.split('|').nth(1));
                let found = rows.flat_map(|cell| cell.split('`')).any(|word| word == key);
                assert!(found, "docs/recipes.md does not document {table}.{key}");
            }
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let text = "name = 'x'\n[network]\nnet = 'mnist_ds_cnn'\n[training]\nepocs = 3\n";
        let error = Recipe::parse(text, "my.toml").unwrap_err().to_string();
        assert_eq!(error, "my.toml: unknown key `training.epocs`; did you mean `training.epochs`?");
        let error = Recipe::load("mnits").unwrap_err().to_string();
        assert!(error.contains("did you mean `mnist`?"), "{error}");
    }

    #[test]
    fn values_are_checked() {
        let mut recipe = Recipe::built_in("digits").unwrap();
        for (bad, part) in [
            ("training.batch=60", "multiple of training.chunk"),
            ("training.epochs=0", "1 to 100000"),
            ("optimizer.momentum=1.0", "below 1"),
            ("augmentation.flip_horizontal=2", "augmentation.flip_horizontal is 2, expected a fraction"),
            ("audio_augmentation.speed=0.95", "audio_augmentation.speed is 0.95, expected a fraction"),
            ("training.epochs=many", "invalid type"),
            ("training.epochs", "key=value"),
            ("optimizer.kind=adamw", "adam_w"),
            ("schedule.learning_rate=-1.0", "positive"),
        ] {
            let error = recipe.set(bad).unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
        recipe.set("network.net=mnist_ds_cnn").unwrap();
        assert_eq!((recipe.network.net.as_str(), recipe.network.layers.as_str()), ("mnist_ds_cnn", ""));
        recipe.set("optimizer.kind=sgd").unwrap();
        assert_eq!(recipe.optimizer.kind, OptimizerKind::Sgd);
        // Neither of the two would be right without the other.
        let both = ["task.kind=reconstruct", "training.label_smoothing=0", "loss.kind=huber"];
        assert!(recipe.clone().set(both[0]).is_err());
        recipe.set_all(both).unwrap();
        assert!(recipe.set("loss.kind=focal").unwrap_err().to_string().contains("task.kind reconstruct"));
    }

    #[test]
    fn a_syntax_error_shows_its_line() {
        let error = Recipe::parse("name = 'x'\nbatch = = 3\n", "my.toml").unwrap_err().to_string();
        assert!(error.starts_with("my.toml: ") && error.contains("line 2"), "{error}");
    }
}
