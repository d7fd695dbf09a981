use smidgen::{ElementType, Quantization, Shape};
use smidgen_tflite_schema::TensorType;

use super::state::Variables;
use super::view::{View, shape};
use super::{Refusal, describe_tensor, unsupported};
use crate::graph::{Graph, GraphOp, Role, Tensor, TensorId, Value};
use crate::tflite::error::ImportError;
use crate::tflite::net::{Net, NetTensor, Subgraph};

/// Bytes of constants in the graph for each byte of the file, and for any file. A record of a channel has 12 bytes, its weights, bias and scale at least 5.
const GROWTH: usize = 16;
const ALLOWANCE: usize = 1 << 16;
/// Bytes that constants may take in the graph of a file of `file_bytes`.
pub(super) const fn constant_bytes(file_bytes: usize) -> usize {
    file_bytes.saturating_mul(GROWTH).saturating_add(ALLOWANCE)
}

/// Bytes of states for any file, which names only their dimensions.
const STATE_ALLOWANCE: usize = 1 << 20;

/// A graph under construction.
#[derive(Debug)]
pub(in crate::tflite) struct Importer<'n, 'f> {
    /// The file.
    pub(super) net: &'n Net<'f>,
    /// The subgraph that is being imported.
    pub(super) subgraph: &'n Subgraph<'f>,
    /// What there is of the graph.
    graph: Graph,
    /// What the subgraph's tensors became.
    activations: Vec<Option<TensorId>>,
    /// Bytes that constants may still take.
    constants_left: usize,
    /// Bytes that states may still take.
    state_left: usize,
    /// What is kept from run to run.
    pub(super) variables: Variables,
}

impl<'n, 'f> Importer<'n, 'f> {
    /// Begins with the inputs of the file's first subgraph, `subgraph`.
    pub(super) fn new(net: &'n Net<'f>, subgraph: &'n Subgraph<'f>, name: &str) -> Result<Self, ImportError> {
        let variables = Variables::of(subgraph)?;
        let mut importer = Self {
            net,
            subgraph,
            graph: Graph::new(name),
            activations: vec![None; subgraph.tensors.len()],
            constants_left: constant_bytes(net.file_bytes),
            state_left: net.file_bytes.saturating_mul(GROWTH).saturating_add(STATE_ALLOWANCE),
            variables,
        };
        let network = |problem| ImportError::Network { problem };
        for (position, &index) in subgraph.inputs.iter().enumerate() {
            let tensor = &subgraph.tensors[index];
            if importer.activations[index].is_some() {
                return Err(network(format!("{} is an input twice", describe_tensor(tensor))));
            }
            let id =
                importer.add_activation(format!("input_{position}"), tensor).map_err(
                    |refusal| match refusal {
                        Refusal::Unsupported(reason) => network(format!("input {position}: {reason}")),
                        Refusal::Broken(error) => error,
                    },
                )?;
            importer.activations[index] = Some(id);
            importer.graph.inputs.push(id);
        }
        Ok(importer)
    }

    /// The graph, if all its outputs are computed and everything fits.
    pub(super) fn finish(mut self) -> Result<Graph, ImportError> {
        let network = |problem| Err(ImportError::Network { problem });
        for &index in &self.subgraph.outputs {
            match self.activations[index] {
                Some(id) => self.graph.outputs.push(id),
                None => {
                    let tensor = describe_tensor(&self.subgraph.tensors[index]);
                    return network(format!("the output {tensor} is computed by no operator"));
                }
            }
        }
        if self.graph.inputs.is_empty() || self.graph.outputs.is_empty() {
            return network("the network has no inputs or no outputs".to_owned());
        }
        let graph = self.graph.without_unused_nodes().without_unused_tensors();
        graph.validate()?;
        Ok(graph)
    }

    /// The activation that is input `position` of an operator.
    pub(super) fn activation(&self, view: &View<'_, '_>, position: usize) -> Result<TensorId, Refusal> {
        let tensor = view.input(position)?;
        let found = view.input_index(position).and_then(|index| self.activations[index]);
        if let Some(id) = found {
            return Ok(id);
        }
        let name = describe_tensor(tensor);
        if tensor.data.is_some() {
            return Err(unsupported(format!("input {position}, {name}, is a constant")));
        }
        if representable(tensor).is_err() {
            return Err(unsupported(format!("input {position} is {name}")));
        }
        Err(view.broken("inputs", &format!("it reads {name} before anything computes it")))
    }

    /// The activation that is output `position` of an operator, which is added.
    pub(super) fn output(&mut self, view: &View<'_, '_>, position: usize) -> Result<TensorId, Refusal> {
        let index = view.output_index(position)?;
        let tensor = view.output(position)?;
        if self.activations[index].is_some() || tensor.data.is_some() {
            let name = describe_tensor(tensor);
            return Err(view.broken("outputs", &format!("it computes {name}, which is there already")));
        }
        let name = match position {
            0 => view.node_name(),
            _ => format!("{}/output_{position}", view.node_name()),
        };
        let id = self.add_activation(name, tensor)?;
        self.activations[index] = Some(id);
        Ok(id)
    }

    /// Makes output `position` of an operator the same tensor as `id`.
    pub(super) fn alias(
        &mut self,
        view: &View<'_, '_>,
        position: usize,
        id: TensorId,
    ) -> Result<(), Refusal> {
        let index = view.output_index(position)?;
        self.activations[index] = Some(id);
        Ok(())
    }

    /// Adds the outputs of an operator that was refused, as far as they can be, so that those behind it are looked at, too.
    pub(super) fn pretend(&mut self, view: &View<'_, '_>) {
        for (position, &index) in view.operator.outputs.iter().enumerate() {
            if self.activations[index].is_none() {
                let _ = self.output(view, position);
            }
        }
    }

    /// Adds an activation with the file's shape, type and quantization.
    fn add_activation(&mut self, name: String, tensor: &NetTensor<'_>) -> Result<TensorId, Refusal> {
        let (shape, element_type, quantization) = representable(tensor)?;
        Ok(self.intermediate(name, shape, element_type, quantization))
    }

    /// Adds an activation that the file does not have.
    pub(super) fn intermediate(
        &mut self,
        name: String,
        shape: Shape,
        element_type: ElementType,
        quantization: Option<Quantization>,
    ) -> TensorId {
        let (role, value) = (Role::Activation, None);
        self.graph.add_tensor(Tensor { name, shape, element_type, quantization, role, value })
    }

    /// Adds a constant of node `node`.
    pub(super) fn constant(
        &mut self,
        node: &str,
        kind: &str,
        shape: Shape,
        role: Role,
        value: Value,
    ) -> Result<TensorId, Refusal> {
        let bytes = value.len() * value.element_type().bytes();
        self.take(bytes)?;
        Ok(self.graph.add_value(format!("{node}/{kind}"), shape, role, value))
    }

    /// Takes the bytes of a constant from what the file may have.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.affords(bytes)?;
        self.constants_left -= bytes;
        Ok(())
    }

    /// Whether the file may have a constant of as many bytes. To be asked before one is made that its dimensions alone make long.
    pub(super) fn affords(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.constants_left {
            return Ok(());
        }
        Err(Refusal::Broken(ImportError::Network {
            problem: format!(
                "the constants have more than {GROWTH} times the {} bytes of the file; constants of it are used over and over",
                self.net.file_bytes
            ),
        }))
    }

    /// Takes the bytes of a state from what the file may have.
    pub(super) fn take_state(&mut self, bytes: usize) -> Result<(), Refusal> {
        let left = self.state_left.checked_sub(bytes);
        self.state_left = left.ok_or_else(|| {
            unsupported(format!(
                "what it keeps from run to run has more than {STATE_ALLOWANCE} bytes and {GROWTH} times those of the file"
            ))
        })?;
        Ok(())
    }

    /// Adds a tensor.
    pub(super) fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        self.graph.add_tensor(tensor)
    }

    /// A tensor of the graph.
    pub(super) fn tensor(&self, id: TensorId) -> &Tensor {
        self.graph.tensor(id)
    }

    /// Adds a node, whose output has to have the shape and type that follow from its inputs.
    pub(super) fn push(
        &mut self,
        name: String,
        op: GraphOp,
        inputs: Vec<TensorId>,
        output: TensorId,
    ) -> Result<(), Refusal> {
        let read: Vec<&Tensor> = inputs.iter().map(|&id| self.graph.tensor(id)).collect();
        let computed = self.graph.tensor(output);
        let (shape, element_type) = op.output(&read).map_err(|problem| unsupported(problem.to_string()))?;
        let same_shape = match op {
            GraphOp::Reshape => shape.elements() == computed.shape.elements(),
            _ => shape == computed.shape,
        };
        if !same_shape || element_type != computed.element_type {
            return Err(unsupported(format!(
                "the output has shape {:?} of {:?}, expected {:?} of {element_type:?}",
                computed.shape.0, computed.element_type, shape.0
            )));
        }
        self.graph.add_node(name, op, inputs, output);
        Ok(())
    }

    /// Says what states the node that was added last changes.
    pub(super) fn updates(&mut self, states: Vec<TensorId>) {
        if let Some(node) = self.graph.nodes.last_mut() {
            node.updates = states;
        }
    }

    /// `id` with another shape: itself, or a view.
    pub(super) fn reshaped(
        &mut self,
        view: &View<'_, '_>,
        id: TensorId,
        shape: Shape,
    ) -> Result<TensorId, Refusal> {
        let tensor = self.graph.tensor(id);
        if tensor.shape == shape {
            return Ok(id);
        }
        let (element_type, quantization) = (tensor.element_type, tensor.quantization);
        let name = format!("{}/reshape_{}", view.node_name(), self.graph.nodes.len());
        let output = self.intermediate(name.clone(), shape, element_type, quantization);
        self.push(name, GraphOp::Reshape, vec![id], output)?;
        Ok(output)
    }

    /// `id` with the quantization of `other`, its integers as they are: itself, or a view.
    pub(super) fn requantized_as(
        &mut self,
        view: &View<'_, '_>,
        id: TensorId,
        other: TensorId,
    ) -> Result<TensorId, Refusal> {
        let (tensor, quantization) = (self.graph.tensor(id), self.graph.tensor(other).quantization);
        if tensor.quantization == quantization {
            return Ok(id);
        }
        let (shape, element_type) = (tensor.shape, tensor.element_type);
        let name = format!("{}/rename_{}", view.node_name(), self.graph.nodes.len());
        let output = self.intermediate(name.clone(), shape, element_type, quantization);
        self.push(name, GraphOp::Reshape, vec![id], output)?;
        Ok(output)
    }
}

/// Shape, type and quantization of an activation.
pub(super) fn representable(
    tensor: &NetTensor<'_>,
) -> Result<(Shape, ElementType, Option<Quantization>), Refusal> {
    let name = || describe_tensor(tensor);
    let shape = shape(tensor).ok_or_else(|| {
        unsupported(format!("{} has a dimension of zero or more than {} elements", name(), i32::MAX))
    })?;
    match tensor.element_type {
        TensorType::Float32 => Ok((shape, ElementType::F32, None)),
        TensorType::Int8 => Ok((shape, ElementType::I8, Some(integers(tensor)?))),
        TensorType::Uint8 => Ok((shape, ElementType::U8, Some(integers(tensor)?))),
        TensorType::Int16 => Ok((shape, ElementType::I16, Some(integers(tensor)?))),
        TensorType::Int32 => Ok((shape, ElementType::I32, None)),
        _ => Err(unsupported(format!("{} is none of float32, int8, uint8, int16 and int32", name()))),
    }
}

/// The quantization of an activation of integers, which stand for themselves if it has none, as those of a cast may.
pub(super) fn integers(tensor: &NetTensor<'_>) -> Result<Quantization, Refusal> {
    match &tensor.quantization {
        Some(found) if !found.scales.is_empty() => quantization(tensor),
        _ => Ok(Quantization { scale: 1.0, zero_point: 0 }),
    }
}

/// The quantization of an activation of integers.
pub(super) fn quantization(tensor: &NetTensor<'_>) -> Result<Quantization, Refusal> {
    let found = tensor.quantization.as_ref().and_then(|found| {
        let (&[scale], &[zero_point]) = (found.scales.as_slice(), found.zero_points.as_slice()) else {
            return None;
        };
        Some(Quantization { scale, zero_point: i32::try_from(zero_point).ok()? })
    });
    let is_uint8 = tensor.element_type == TensorType::Uint8;
    let (element_type, zero_points) =
        if is_uint8 { (ElementType::U8, "0..=255") } else { (ElementType::I8, "-128..=127") };
    found.filter(|found| found.is_valid_for(element_type)).ok_or_else(|| {
        let name = describe_tensor(tensor);
        unsupported(format!("{name} needs one positive scale and one zero point in {zero_points}"))
    })
}
