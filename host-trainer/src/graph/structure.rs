//! The graph itself.

use smidgen::{ElementType, Quantization, Shape};

use super::error::{GraphError, Problem};
use super::op::GraphOp;

/// Index of a tensor in [`Graph::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// Index of a node in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Elements of a tensor that is known before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Signed 8-bit integers.
    I8(Vec<i8>),
    /// Unsigned 8-bit integers.
    U8(Vec<u8>),
    /// Signed 16-bit integers.
    I16(Vec<i16>),
    /// Signed 32-bit integers.
    I32(Vec<i32>),
    /// IEEE 754 binary32.
    F32(Vec<f32>),
}

impl Value {
    /// The type of the elements.
    pub const fn element_type(&self) -> ElementType {
        match self {
            Self::I8(_) => ElementType::I8,
            Self::U8(_) => ElementType::U8,
            Self::I16(_) => ElementType::I16,
            Self::I32(_) => ElementType::I32,
            Self::F32(_) => ElementType::F32,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::I8(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let Self::F32(values) = self { Some(values) } else { None }
    }

    /// The elements to change, if they are f32.
    pub fn as_f32_mut(&mut self) -> Option<&mut [f32]> {
        if let Self::F32(values) = self { Some(values) } else { None }
    }

    /// The elements in little-endian order, as the model file has them.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::I8(values) => values.iter().map(|&value| value as u8).collect(),
            Self::U8(values) => values.clone(),
            Self::I16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// What a tensor is to its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Computed for each sample, or an input.
    Activation,
    /// Weights of a convolution or a fully connected layer. Trained, with weight decay.
    Weights,
    /// A bias, the slopes of a `prelu` or the factors of a `mul`. Trained, without weight decay.
    Bias,
    /// `gamma` and `beta` of a batch norm, `[1, 1, 2, C]`. Trained, without weight decay.
    BatchNormParameters,
    /// Running mean and variance of a batch norm, `[1, 1, 2, C]`. Follows the batches, has no gradient.
    RunningStatistics,
    /// A constant that is not trained: channel records, lookup tables.
    Constant,
    /// Kept from run to run, and put back to its value by a reset: a recurrent state, a variable. Nodes change it in place.
    State,
}

impl Role {
    /// Whether an optimizer changes it.
    pub const fn is_trained(self) -> bool {
        matches!(self, Self::Weights | Self::Bias | Self::BatchNormParameters)
    }
}

/// A tensor of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name, unique in the graph: `conv_2d_1/weights`.
    pub name: String,
    /// Shape. An activation has `N = 1`: it is the shape of one sample.
    pub shape: Shape,
    /// Type of the elements.
    pub element_type: ElementType,
    /// Quantization of an int8 activation.
    pub quantization: Option<Quantization>,
    /// What it is.
    pub role: Role,
    /// Its elements; there are some exactly if the role is not [`Role::Activation`].
    pub value: Option<Value>,
}

/// An operator with what it reads and what it computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name, unique in the graph: `conv_2d_1`.
    pub name: String,
    /// The operator.
    pub op: GraphOp,
    /// What it reads, in the order of `docs/operators.md`.
    pub inputs: Vec<TensorId>,
    /// What it computes. A state, if the operator is [`GraphOp::Store`].
    pub output: TensorId,
    /// The states that it changes in place. They are written behind the output.
    pub updates: Vec<TensorId>,
}

/// A network: tensors, and nodes in an order in which they can run.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name of the network.
    pub name: String,
    /// The tensors.
    pub tensors: Vec<Tensor>,
    /// The nodes; each reads only inputs, constants and outputs of nodes before it.
    pub nodes: Vec<Node>,
    /// What the caller gives.
    pub inputs: Vec<TensorId>,
    /// What the caller gets.
    pub outputs: Vec<TensorId>,
    /// Names of the classes that the outputs stand for; empty if there are none.
    pub class_names: Vec<String>,
}

impl Graph {
    /// A graph without nodes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tensors: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            class_names: Vec::new(),
        }
    }

    /// The tensor with this index.
    ///
    /// # Panics
    /// If there is none: an id is only good for the graph that gave it.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// The tensor with this index, to change.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor_mut(&mut self, id: TensorId) -> &mut Tensor {
        &mut self.tensors[id.0]
    }

    /// The tensor with this name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|tensor| tensor.name == name).map(TensorId)
    }

    /// Adds a tensor.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() - 1)
    }

    /// Adds an f32 activation with `N = 1`.
    pub fn add_activation(&mut self, name: impl Into<String>, shape: Shape) -> TensorId {
        self.add_tensor(Tensor {
            name: name.into(),
            shape,
            element_type: ElementType::F32,
            quantization: None,
            role: Role::Activation,
            value: None,
        })
    }

    /// Adds a parameter or a constant.
    pub fn add_value(&mut self, name: impl Into<String>, shape: Shape, role: Role, value: Value) -> TensorId {
        self.add_tensor(Tensor {
            name: name.into(),
            shape,
            element_type: value.element_type(),
            quantization: None,
            role,
            value: Some(value),
        })
    }

    /// Adds a node behind all others.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: GraphOp,
        inputs: Vec<TensorId>,
        output: TensorId,
    ) {
        self.nodes.push(Node { name: name.into(), op, inputs, output, updates: Vec::new() });
    }

    /// Whether something is kept from run to run.
    pub fn has_state(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.role == Role::State)
    }

    /// The node that computes a tensor.
    pub fn producer(&self, tensor: TensorId) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.output == tensor).map(NodeId)
    }

    /// The nodes that read a tensor, each once.
    pub fn consumers(&self, tensor: TensorId) -> Vec<NodeId> {
        let reads = |node: &Node| node.inputs.contains(&tensor);
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| reads(node).then_some(NodeId(index)))
            .collect()
    }

    /// The only node that reads a tensor; `None` if it is an output of the graph or has no or several readers.
    pub fn only_consumer(&self, tensor: TensorId) -> Option<NodeId> {
        match self.consumers(tensor).as_slice() {
            &[node] if !self.outputs.contains(&tensor) => Some(node),
            _ => None,
        }
    }

    /// The tensors that an optimizer changes, in order.
    pub fn trained_parameters(&self) -> impl Iterator<Item = TensorId> + '_ {
        let trained = |tensor: &Tensor| tensor.role.is_trained();
        (0..self.tensors.len()).map(TensorId).filter(move |&id| trained(self.tensor(id)))
    }

    /// The number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.trained_parameters().filter_map(|id| self.tensor(id).shape.elements()).sum()
    }

    /// Drops nodes whose output nothing reads, and that change no state.
    #[must_use]
    pub fn without_unused_nodes(mut self) -> Self {
        let mut used = vec![false; self.tensors.len()];
        self.outputs.iter().for_each(|id| used[id.0] = true);
        let tensors = &self.tensors;
        let keeps = |node: &Node, used: &[bool]| {
            let writes_state = tensors[node.output.0].role == Role::State || !node.updates.is_empty();
            writes_state || used[node.output.0]
        };
        let mut kept = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.drain(..).rev() {
            if keeps(&node, &used) {
                node.inputs.iter().for_each(|id| used[id.0] = true);
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self
    }

    /// Drops tensors that nothing names any more; ids change.
    #[must_use]
    pub fn without_unused_tensors(mut self) -> Self {
        let mut used = vec![false; self.tensors.len()];
        let named = |node: &'_ Node| [&node.inputs[..], &[node.output], &node.updates].concat();
        let read: Vec<TensorId> = self.nodes.iter().flat_map(named).collect();
        for id in read.iter().chain(&self.inputs).chain(&self.outputs) {
            used[id.0] = true;
        }
        let mut next = 0;
        let new_ids: Vec<usize> = used
            .iter()
            .map(|&used| {
                next += usize::from(used);
                next.saturating_sub(1)
            })
            .collect();
        let rename = |id: &mut TensorId| id.0 = new_ids[id.0];
        for node in &mut self.nodes {
            node.inputs.iter_mut().chain(&mut node.updates).for_each(rename);
            rename(&mut node.output);
        }
        self.inputs.iter_mut().chain(&mut self.outputs).for_each(rename);
        let mut keep = used.into_iter();
        self.tensors.retain(|_| keep.next().unwrap_or(false));
        self
    }

    /// Checks that nodes are in order, shapes follow from each other, and every tensor has what its role needs.
    ///
    /// # Errors
    /// The first thing that is wrong, by the name of its layer.
    pub fn validate(&self) -> Result<(), GraphError> {
        let graph = |problem| GraphError::Graph { network: self.name.clone(), problem };
        let lacks = |id: TensorId, what| Problem::Tensor { tensor: self.tensor(id).name.clone(), what };
        let mut known = vec![false; self.tensors.len()];
        for (index, tensor) in self.tensors.iter().enumerate() {
            let id = TensorId(index);
            known[index] = tensor.role != Role::Activation;
            if tensor.value.is_some() != known[index] {
                return Err(graph(lacks(id, "must have a value exactly if it is not an activation")));
            }
            if let Some(value) = &tensor.value
                && (Some(value.len()) != tensor.shape.elements()
                    || value.element_type() != tensor.element_type)
            {
                return Err(graph(lacks(id, "has a value that is not of its shape or element type")));
            }
            if tensor.shape.has_zero() || tensor.shape.elements().is_none() {
                return Err(graph(lacks(id, "has a dimension of zero or too many elements")));
            }
        }
        for &input in &self.inputs {
            known[input.0] = true;
        }
        for node in &self.nodes {
            let layer =
                |problem| GraphError::Layer { network: self.name.clone(), layer: node.name.clone(), problem };
            if let Some(&missing) = node.inputs.iter().find(|id| !known[id.0]) {
                return Err(layer(lacks(missing, "is read before anything computes it")));
            }
            let is_state = |id: TensorId| self.tensor(id).role == Role::State;
            if let Some(&other) = node.updates.iter().find(|&&id| !is_state(id)) {
                return Err(layer(lacks(other, "is changed in place, which only a state can be")));
            }
            // A state may be written any number of times.
            let writes_state = is_state(node.output) && node.op == GraphOp::Store;
            if known[node.output.0] && !writes_state {
                return Err(layer(lacks(node.output, "is computed twice")));
            }
            known[node.output.0] = true;
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|&id| self.tensor(id)).collect();
            let (shape, element_type) = node.op.output(&inputs).map_err(layer)?;
            let output = self.tensor(node.output);
            if let GraphOp::Reshape = node.op {
                if output.shape.elements() != shape.elements() {
                    return Err(layer(Problem::Elements { input: shape, output: output.shape }));
                }
            } else if output.shape != shape {
                return Err(layer(Problem::Shape {
                    what: "the output",
                    found: output.shape,
                    expected: shape,
                }));
            }
            if output.element_type != element_type {
                let (found, expected) = (output.element_type, element_type);
                return Err(layer(Problem::ElementType { what: "the output", found, expected }));
            }
        }
        match self.outputs.iter().find(|id| !known[id.0]) {
            Some(&missing) => Err(graph(lacks(missing, "is an output that nothing computes"))),
            None => Ok(()),
        }
    }
}
