use smidgen::{Shape, StepError};

use crate::graph::GraphError;

/// Why a graph could not be compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The graph is not one.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An option is out of its range.
    #[error("{option} is {found}, expected {expected}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The graph has a number of inputs or outputs that cannot be trained.
    #[error(
        "{network}: training needs one input and one output, the network has {inputs} inputs and {outputs} outputs"
    )]
    Interface {
        /// Name of the network.
        network: String,
        /// Number of inputs.
        inputs: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// Several samples in one run of a network that keeps a state from run to run.
    #[error("{network} keeps a state from run to run: a run has one sample, found {samples}")]
    StateOfSamples {
        /// Name of the network.
        network: String,
        /// Samples in a run.
        samples: u32,
    },
    /// Cross-entropy of something that is not a vector of logits.
    #[error(
        "{network}: the output has shape {:?}, cross-entropy needs a vector of logits [1, 1, 1, C]; use the mean squared error, or end with a fully connected layer",
        .found.0
    )]
    NotLogits {
        /// Name of the network.
        network: String,
        /// The output's shape.
        found: Shape,
    },
    /// An operator without a gradient.
    #[error("{layer}: {operator} cannot be trained; train the f32 network and quantize it afterwards")]
    NoGradient {
        /// Name of the node.
        layer: String,
        /// Name of the operator.
        operator: &'static str,
    },
    /// A parameter that several layers read.
    #[error("{parameter} is read by {readers} layers; a trained parameter belongs to one")]
    SharedParameter {
        /// Name of the parameter.
        parameter: String,
        /// How many layers read it.
        readers: usize,
    },
    /// A name among the frozen parameters that is none.
    #[error(
        "{network} has no parameter {parameter:?} that could be frozen; names are like \"conv_2d_1/weights\""
    )]
    NoParameter {
        /// Name of the network.
        network: String,
        /// The name that was given.
        parameter: String,
    },
    /// There is nothing to train.
    #[error("{network}: every parameter is frozen, so there is nothing to train")]
    NothingToTrain {
        /// Name of the network.
        network: String,
    },
    /// A shape too large for the number of samples.
    #[error("{name} of shape {:?} has more than {} bytes; use smaller chunks", .shape.0, i32::MAX)]
    TooLarge {
        /// Name of the buffer.
        name: String,
        /// Its shape.
        shape: Shape,
    },
    /// A pass left a program that does not hold what it promises. A defect of the compiler.
    #[error("the compiler made a wrong program: step {step}, buffer {buffer}: {problem}; please report it")]
    Invariant {
        /// Name of the step.
        step: String,
        /// Name of the buffer.
        buffer: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The core refuses a step.
    #[error("the runtime refuses step {step} ({operator}): {error}")]
    Step {
        /// Name of the step.
        step: String,
        /// Name of the operator.
        operator: &'static str,
        /// What the operator says.
        error: StepError,
    },
}
