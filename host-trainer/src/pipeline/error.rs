//! Why a recipe does not lead to a model.

use std::path::PathBuf;

use crate::compile::CompileError;
use crate::compile::quantize::QuantizeError;
use crate::data::DataError;
use crate::device::DeviceError;
use crate::evaluate::anomaly::ScoreError;
use crate::graph::{GraphError, ParseError, nets};
use crate::nearest::{nearest, suggestion};
use crate::train::files::FileError;
use crate::train::{ExecutorError, FitError};

/// Why there is no trained or no quantized model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The recipe names a network that there is not.
    #[error("there is no network {found:?} (a recipe's network.net), expected one of {}{}", nets::KNOWN.map(|known| known.name).join(", "), suggestion(nearest))]
    UnknownNet {
        /// The name.
        found: String,
        /// The network with the most similar name.
        nearest: Option<String>,
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
    /// Nothing to tell apart.
    #[error(
        "{dataset}: all samples are of the class {class}, expected two classes or more; add some, or set task.kind to \"reconstruct\" to find what is not of this one"
    )]
    OneClass {
        /// The data.
        dataset: String,
        /// The class.
        class: String,
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
    #[error("fine_tuning.freeze: no layer with parameters is named {pattern:?}{}", suggestion(nearest))]
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
    /// That there is no network of this name.
    pub(crate) fn unknown_net(name: &str) -> Self {
        let nearest = nearest(name, nets::KNOWN.iter().map(|known| known.name)).map(str::to_owned);
        Self::UnknownNet { found: name.to_owned(), nearest }
    }

    /// The error of what this key names.
    pub(super) fn of_key(self, key: &'static str) -> Self {
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
