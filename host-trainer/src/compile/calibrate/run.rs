//! Runs a graph as it stands, node by node, every tensor in a place of its own, with the core's operators.
//!
//! No memory is shared between tensors, so that every activation can be looked at: it is for calibration and for comparisons.

use bytemuck::{AnyBitPattern, NoUninit};
use smidgen::{
    AllOperators, Bytes, Chunks, Memory, Operand, Operator, Schedule, Space, Step, StepError, ops,
};

use crate::buffer::AlignedBytes;
use crate::graph::{Graph, GraphError, GraphOp, Node, Range, TensorId};

/// A graph in memory, ready to run.
#[derive(Debug)]
pub struct GraphRun {
    steps: Vec<Step>,
    /// Place of each tensor.
    operands: Vec<Operand>,
    constant: AlignedBytes,
    arena: AlignedBytes,
}

/// Why a graph does not run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Not a valid graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Its tensors have more than 2 GiB.
    #[error("{network}: its tensors do not fit 2 GiB")]
    TooLarge {
        /// Name of the network.
        network: String,
    },
    /// An operator refuses its operands.
    #[error("layer {layer}: {error}")]
    Step {
        /// Name of the layer.
        layer: String,
        /// What the operator says.
        error: StepError,
    },
}

impl GraphRun {
    /// Gives every tensor a place and makes a step of every node.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn new(graph: &Graph) -> Result<Self, RunError> {
        graph.validate()?;
        let too_large = || RunError::TooLarge { network: graph.name.clone() };
        let [mut constant, mut arena] = [0usize; 2];
        let mut operands = Vec::with_capacity(graph.tensors.len());
        for tensor in &graph.tensors {
            let (space, length) = match tensor.value {
                Some(_) => (Space::Constant, &mut constant),
                None => (Space::Arena, &mut arena),
            };
            let offset = u32::try_from(*length).map_err(|_| too_large())?;
            let operand = Operand {
                space,
                element_type: tensor.element_type,
                offset,
                shape: tensor.shape,
                quantization: tensor.quantization,
            };
            let end = operand.range().ok_or_else(too_large)?.1.next_multiple_of(16);
            *length = Some(end).filter(|&end| end <= i32::MAX as usize).ok_or_else(too_large)?;
            operands.push(operand);
        }
        let mut run = Self {
            steps: Vec::with_capacity(graph.nodes.len()),
            operands,
            constant: AlignedBytes::zeroed(constant),
            arena: AlignedBytes::zeroed(arena),
        };
        for (operand, tensor) in run.operands.iter().zip(&graph.tensors) {
            if let (Some(value), Some((start, end))) = (&tensor.value, operand.range()) {
                run.constant.as_mut_slice()[start..end].copy_from_slice(&value.to_bytes());
            }
        }
        for node in &graph.nodes {
            let step = step(node, &run.operands);
            ops::check::<AllOperators>(&step, run.constant.as_slice())
                .map_err(|error| RunError::Step { layer: node.name.clone(), error })?;
            run.steps.push(step);
        }
        Ok(run)
    }

    /// The elements of an activation, to write.
    ///
    /// # Panics
    /// If the graph has no such activation, or not of this type: the caller knows its graph.
    pub fn activation_mut<T: NoUninit + AnyBitPattern>(&mut self, tensor: TensorId) -> &mut [T] {
        let (start, end) = self.place(tensor);
        bytemuck::cast_slice_mut(&mut self.arena.as_mut_slice()[start..end])
    }

    /// The elements of an activation.
    ///
    /// # Panics
    /// As [`activation_mut`](Self::activation_mut).
    pub fn activation<T: AnyBitPattern>(&self, tensor: TensorId) -> &[T] {
        let (start, end) = self.place(tensor);
        bytemuck::cast_slice(&self.arena.as_slice()[start..end])
    }

    fn place(&self, tensor: TensorId) -> (usize, usize) {
        let operand = &self.operands[tensor.0];
        assert_eq!(operand.space, Space::Arena, "tensor {tensor:?} is no activation");
        operand.range().unwrap_or_default()
    }

    /// Computes all activations from the inputs.
    pub fn run(&mut self) {
        let mut memory = Memory {
            constant: self.constant.as_slice(),
            parameter: Bytes::Shared(&[]),
            state: Bytes::Shared(&[]),
            gradient: Bytes::Shared(&[]),
            chunks: Chunks::One(Bytes::Shared(&[])),
            arena: self.arena.as_mut_slice(),
        };
        for step in &self.steps {
            let done = ops::run::<AllOperators>(step, &mut memory);
            debug_assert_eq!(done, Ok(()), "a checked step runs");
        }
    }
}

fn step(node: &Node, operands: &[Operand]) -> Step {
    let (operator, attributes) = operator(&node.op);
    let reads = node.inputs.iter().map(|input| operands[input.0]);
    Step {
        operator: operator as u8,
        schedule: Schedule::PerChunk,
        attributes: attributes.into_iter().collect(),
        reads: reads.collect(),
        writes: [operands[node.output.0]].into_iter().collect(),
    }
}

/// The core's operator of a node and its attributes, as `docs/operators.md` lists them.
fn operator(op: &GraphOp) -> (Operator, Vec<i32>) {
    let clamp = |range: Range| [i32::from(range.min), i32::from(range.max)];
    let attributes: Vec<i32> = match *op {
        GraphOp::Conv2d { window, activation } | GraphOp::DepthwiseConv2d { window, activation } => {
            window.attributes().into_iter().chain(activation.attributes()).collect()
        }
        GraphOp::FullyConnected { activation }
        | GraphOp::Activation { activation }
        | GraphOp::Add { activation } => activation.attributes().to_vec(),
        GraphOp::BatchNorm { epsilon, activation, .. } => {
            [epsilon.to_bits().cast_signed()].into_iter().chain(activation.attributes()).collect()
        }
        GraphOp::MaxPool2d { window } | GraphOp::AveragePool2d { window } => window.attributes().to_vec(),
        GraphOp::Conv2dI8 { window, range }
        | GraphOp::DepthwiseConv2dI8 { window, range }
        | GraphOp::MaxPool2dI8 { window, range }
        | GraphOp::AveragePool2dI8 { window, range } => {
            window.attributes().into_iter().chain(clamp(range)).collect()
        }
        GraphOp::FullyConnectedI8 { range } => clamp(range).to_vec(),
        GraphOp::AddI8 { left_shift, left, right, output, range } => {
            let factors =
                [left, right, output].into_iter().flat_map(|factor| [factor.multiplier, factor.shift]);
            [left_shift].into_iter().chain(factors).chain(clamp(range)).collect()
        }
        GraphOp::SoftmaxI8 { input, smallest_difference } => {
            vec![input.multiplier, input.shift, smallest_difference]
        }
        GraphOp::Softmax | GraphOp::Reshape | GraphOp::LookupI8 | GraphOp::Quantize | GraphOp::Dequantize => {
            Vec::new()
        }
    };
    let operator = match op {
        GraphOp::Conv2d { .. } => Operator::Conv2d,
        GraphOp::DepthwiseConv2d { .. } => Operator::DepthwiseConv2d,
        GraphOp::FullyConnected { .. } => Operator::FullyConnected,
        GraphOp::MaxPool2d { .. } => Operator::MaxPool2d,
        GraphOp::AveragePool2d { .. } => Operator::AveragePool2d,
        GraphOp::BatchNorm { .. } => Operator::BatchNorm,
        GraphOp::Softmax => Operator::Softmax,
        GraphOp::Reshape => Operator::Reshape,
        GraphOp::Activation { .. } => Operator::ActivationF32,
        GraphOp::Add { .. } => Operator::AddF32,
        GraphOp::Conv2dI8 { .. } => Operator::Conv2dI8,
        GraphOp::DepthwiseConv2dI8 { .. } => Operator::DepthwiseConv2dI8,
        GraphOp::FullyConnectedI8 { .. } => Operator::FullyConnectedI8,
        GraphOp::MaxPool2dI8 { .. } => Operator::MaxPool2dI8,
        GraphOp::AveragePool2dI8 { .. } => Operator::AveragePool2dI8,
        GraphOp::AddI8 { .. } => Operator::AddI8,
        GraphOp::SoftmaxI8 { .. } => Operator::SoftmaxI8,
        GraphOp::LookupI8 => Operator::LookupI8,
        GraphOp::Quantize => Operator::Quantize,
        GraphOp::Dequantize => Operator::Dequantize,
    };
    (operator, attributes)
}
