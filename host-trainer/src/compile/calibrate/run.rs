//! Runs a graph as it stands, node by node, every tensor in a place of its own, with the core's operators.
//!
//! No memory is shared between tensors, so that every activation can be looked at: it is for calibration and for comparisons.

use bytemuck::{AnyBitPattern, NoUninit};
use smidgen::{
    AllOperators, Bytes, Memory, NewStep, Operand, OtherSpaces, Quantization, Schedule, Space, ops,
};

use crate::buffer::AlignedBytes;
use crate::compile::CompileError;
use crate::compile::lower::{Scratch, parts, scratch};
use crate::graph::movement::Part;
use crate::graph::{Graph, Node, Role, TensorId};

/// A graph in memory, ready to run.
#[derive(Debug)]
pub struct GraphRun {
    steps: Vec<NewStep>,
    /// Place of each tensor.
    operands: Vec<Operand>,
    constant: AlignedBytes,
    /// What the states are before every run.
    first_state: AlignedBytes,
    state: AlignedBytes,
    arena: AlignedBytes,
}

impl GraphRun {
    /// Gives every tensor a place and makes a step of every node.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn new(graph: &Graph) -> Result<Self, CompileError> {
        graph.validate()?;
        let [mut constant, mut state, mut arena] = [0usize; 3];
        let mut operands = Vec::with_capacity(graph.tensors.len());
        for tensor in &graph.tensors {
            let too_large = || CompileError::TooLarge { name: tensor.name.clone(), shape: tensor.shape };
            let (space, length) = match tensor.role {
                Role::Activation => (Space::Arena, &mut arena),
                Role::State => (Space::State, &mut state),
                _ => (Space::Constant, &mut constant),
            };
            let offset = u32::try_from(*length).map_err(|_| too_large())?;
            let operand = Operand {
                space,
                element_type: tensor.element_type,
                offset,
                shape: tensor.shape,
                quantization: Quantization::or_none(tensor.quantization),
            };
            let end = operand.range().ok_or_else(too_large)?.1.next_multiple_of(16);
            *length = Some(end).filter(|&end| end <= i32::MAX as usize).ok_or_else(too_large)?;
            operands.push(operand);
        }
        let mut scratches = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let mut operands = Vec::new();
            for Scratch { shape, element_type, quantization } in scratch(graph, node) {
                let too_large = || CompileError::TooLarge { name: node.name.clone(), shape };
                let offset = u32::try_from(arena).map_err(|_| too_large())?;
                let quantization = Quantization::or_none(quantization);
                let operand = Operand { space: Space::Arena, element_type, offset, shape, quantization };
                let end = operand.range().ok_or_else(too_large)?.1.next_multiple_of(16);
                arena = Some(end).filter(|&end| end <= i32::MAX as usize).ok_or_else(too_large)?;
                operands.push(operand);
            }
            scratches.push(operands);
        }
        let mut run = Self {
            steps: Vec::with_capacity(graph.nodes.len()),
            operands,
            constant: AlignedBytes::zeroed(constant),
            first_state: AlignedBytes::zeroed(state),
            state: AlignedBytes::zeroed(state),
            arena: AlignedBytes::zeroed(arena),
        };
        for (operand, tensor) in run.operands.iter().zip(&graph.tensors) {
            if let (Some(value), Some((start, end))) = (&tensor.value, operand.range()) {
                let space = match operand.space {
                    Space::State => &mut run.first_state,
                    _ => &mut run.constant,
                };
                space.as_mut_slice()[start..end].copy_from_slice(&value.to_bytes());
            }
        }
        for (node, scratch) in graph.nodes.iter().zip(scratches) {
            for step in steps(node, &run.operands, &scratch) {
                ops::check::<AllOperators>(step.step(), run.constant.as_slice()).map_err(|error| {
                    CompileError::Step { step: node.name.clone(), operator: node.op.name(), error }
                })?;
                run.steps.push(step);
            }
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

    /// Computes all activations from the inputs, with the states at their first values.
    pub fn run(&mut self) {
        self.state.as_mut_slice().copy_from_slice(self.first_state.as_slice());
        let mut memory = Memory {
            constant: self.constant.as_slice(),
            arena: self.arena.as_mut_slice(),
            elsewhere: &mut OtherSpaces {
                state: Bytes::Exclusive(self.state.as_mut_slice()),
                ..OtherSpaces::empty()
            },
        };
        for step in &self.steps {
            let done = ops::run::<AllOperators>(step.step(), &mut memory);
            debug_assert_eq!(done, Ok(()), "a checked step runs");
        }
    }
}

fn steps(node: &Node, operands: &[Operand], scratch: &[Operand]) -> Vec<NewStep> {
    let written: Vec<Operand> = std::iter::once(&node.output)
        .chain(&node.updates)
        .map(|id| operands[id.0])
        .chain(scratch.iter().copied())
        .collect();
    let step = |part: Part| NewStep {
        operator: part.operator as u8,
        schedule: Schedule::PerChunk,
        attributes: part.attributes.into_iter().collect(),
        reads: part.reads.into_iter().map(|read| operands[node.inputs[read].0]).collect(),
        writes: written.iter().copied().collect(),
    };
    parts(node).into_iter().map(step).collect()
}
