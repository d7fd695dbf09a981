use smidgen::model::WriteError;

use crate::compile::CompileError;

/// Why a network cannot go on learning.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PersonalizeError {
    /// The file has no entry `infer`.
    #[error("the model has no entry infer")]
    NoInference,
    /// The file has parameters or a state.
    #[error(
        "step {step} ({operator}) uses memory that lasts: a network that learns already, or remembers, cannot be personalized"
    )]
    Lasting {
        /// Name of the step.
        step: String,
        /// Its operator.
        operator: &'static str,
    },
    /// The constants of a layer are packed.
    #[error(
        "step {step} ({operator}) is packed for a processor; personalize the model that was made without --for"
    )]
    Packed {
        /// Name of the step.
        step: String,
        /// Its operator.
        operator: &'static str,
    },
    /// A step reads or writes something in a way that the compiler's own programs do not.
    #[error("step {step} ({operator}): {problem}")]
    Step {
        /// Name of the step.
        step: String,
        /// Its operator.
        operator: &'static str,
        /// What about it.
        problem: &'static str,
    },
    /// An operator behind the first layer that learns has no form in f32.
    #[error("{layer}: {operator} has no form in f32 here, so that no layer before it can learn")]
    NoFloat {
        /// Name of the layer.
        layer: String,
        /// Its operator.
        operator: &'static str,
    },
    /// The tier is not one.
    #[error("there is no tier {found:?}; expected head, bias, bias:N, block:N, layers:NAME,NAME or full")]
    Tier {
        /// What was given.
        found: String,
    },
    /// The tier names a layer that there is not, or more of them than there are.
    #[error("{found}: there is no such layer, or there are not so many; the network has {known}")]
    Layer {
        /// What was asked for.
        found: String,
        /// The layers.
        known: String,
    },
    /// Nothing that this tier could do fits.
    #[error("it takes at least {least} bytes of RAM, {most} are there")]
    Memory {
        /// The most that there is.
        most: usize,
        /// The least that was found.
        least: usize,
    },
    /// The graph did not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The file could not be written.
    #[error("the model file: {0}")]
    Write(WriteError),
}

impl From<WriteError> for PersonalizeError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}
