//! What a network keeps from run to run: resource variables, and tensors that operators change in place.
//!
//! A variable is a [`Role::State`] tensor. Its first value is the zero point, as in TensorFlow Lite Micro, unless a subgraph that `CALL_ONCE` runs assigns a constant to it.
//! `READ_VARIABLE` is the state itself wherever nothing reads it after a later `ASSIGN_VARIABLE`; otherwise it is a copy.

use std::collections::HashMap;

use smidgen::ElementType;
use smidgen_tflite_schema::{BuiltinOperator as Op, BuiltinOptionsRef, TensorType};

use super::importer::{Importer, representable};
use super::view::View;
use super::{Refusal, describe_tensor, unsupported};
use crate::graph::{GraphOp, Role, Tensor, TensorId, Value};
use crate::tflite::error::ImportError;
use crate::tflite::net::{NetTensor, Subgraph};

/// The variables of a file.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// In the order in which they appear.
    known: Vec<Variable>,
    /// The variable of each resource tensor of the first subgraph.
    handles: HashMap<usize, usize>,
    /// The operator until which the memory of each tensor of the first subgraph may be read.
    last_uses: Vec<usize>,
}

#[derive(Debug)]
struct Variable {
    container: String,
    name: String,
    /// Its tensor, once an operator has read or assigned it.
    state: Option<TensorId>,
    /// What the subgraph of `CALL_ONCE` assigns: the elements' type and bytes.
    first: Option<(TensorType, Vec<u8>)>,
    /// The operators of the first subgraph that assign it, in order.
    assignments: Vec<usize>,
}

impl Variables {
    /// Gives every resource tensor of a subgraph its variable.
    fn handles(&mut self, subgraph: &Subgraph<'_>) -> Result<HashMap<usize, usize>, ImportError> {
        let mut handles = HashMap::new();
        for operator in &subgraph.operators {
            let (Some(BuiltinOptionsRef::VarHandleOptions(options)), Some(&output)) =
                (&operator.options, operator.outputs.first())
            else {
                continue;
            };
            let (container, name) = (options.container()?, options.shared_name()?.unwrap_or_default());
            handles.insert(output, self.find(container, name));
        }
        Ok(handles)
    }

    /// The variable of this name; without a container, one in any.
    fn find(&mut self, container: Option<&str>, name: &str) -> usize {
        let is = |known: &Variable| {
            known.name == name && container.is_none_or(|container| container == known.container)
        };
        if let Some(found) = self.known.iter().position(is) {
            return found;
        }
        let (container, name) = (container.unwrap_or_default().to_owned(), name.to_owned());
        self.known.push(Variable { container, name, state: None, first: None, assignments: Vec::new() });
        self.known.len() - 1
    }

    /// Those of the first subgraph.
    pub(super) fn of(subgraph: &Subgraph<'_>) -> Result<Self, ImportError> {
        let mut variables = Self::default();
        variables.handles = variables.handles(subgraph)?;
        if variables.known.is_empty() {
            return Ok(variables);
        }
        variables.last_uses = last_uses(subgraph);
        for (index, operator) in subgraph.operators.iter().enumerate() {
            let resource = operator.inputs.first().copied().flatten();
            let variable = resource.and_then(|resource| variables.handles.get(&resource));
            if let (Some(&variable), true) = (variable, operator.code == Op::AssignVariable as i32) {
                variables.known[variable].assignments.push(index);
            }
        }
        Ok(variables)
    }

    /// Whether nothing reads tensor `read`, which operator `index` reads from a variable, after the variable's next assignment.
    fn is_read_in_time(&self, variable: usize, index: usize, read: usize) -> bool {
        let assignments = &self.known[variable].assignments;
        let next = assignments.get(assignments.partition_point(|&assignment| assignment <= index));
        next.is_none_or(|&next| self.last_uses[read] < next)
    }
}

/// `VAR_HANDLE`: which variable a tensor stands for was found out before.
pub(super) fn var_handle(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    variable(importer, view, view.output_index(0)?).map(|_| ())
}

pub(super) fn read_variable(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let index = resource(importer, view)?;
    let to = view.output(0)?;
    let state = state_of(importer, index, to)?;
    let (shape, element_type, _) = representable(to)?;
    let held = importer.tensor(state);
    if held.shape.elements() != shape.elements() || held.element_type != element_type {
        return Err(unsupported(format!(
            "the variable has shape {:?} of {:?}, and it reads {}",
            held.shape.0,
            held.element_type,
            describe_tensor(to)
        )));
    }
    let same = held.shape == shape && held.quantization == representable(to)?.2;
    if same && importer.variables.is_read_in_time(index, view.index, view.output_index(0)?) {
        return importer.alias(view, 0, state);
    }
    let from = importer.reshaped(view, state, shape)?;
    let output = importer.output(view, 0)?;
    let from = importer.requantized_as(view, from, output)?;
    importer.push(view.node_name(), GraphOp::Store, vec![from], output)
}

pub(super) fn assign_variable(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let index = resource(importer, view)?;
    let value = importer.activation(view, 1)?;
    let state = state_of(importer, index, view.input(1)?)?;
    let value = importer.reshaped(view, value, importer.tensor(state).shape)?;
    let value = importer.requantized_as(view, value, state)?;
    importer.push(view.node_name(), GraphOp::Store, vec![value], state)
}

/// `CALL_ONCE`: the subgraph may assign constants to variables, which are their first values.
pub(super) fn call_once(importer: &mut Importer<'_, '_>, view: &View<'_, '_>) -> Result<(), Refusal> {
    let index = super::view::options!(view, CallOnceOptions)?.init_subgraph_index()?;
    let found = usize::try_from(index).ok().and_then(|index| importer.net.subgraphs.get(index));
    let missing = || view.broken("builtin_options", &format!("there is no subgraph {index}"));
    let subgraph = found.ok_or_else(missing)?;
    let handles = importer.variables.handles(subgraph)?;
    for (position, operator) in subgraph.operators.iter().enumerate() {
        if operator.code == Op::VarHandle as i32 {
            continue;
        }
        let refused = |reason: &str| {
            let name = operator.name();
            unsupported(format!("operator {position} of its subgraph {index}, {name}, {reason}"))
        };
        if operator.code != Op::AssignVariable as i32 {
            return Err(refused("does something else than to assign constants to variables"));
        }
        let (&[Some(resource), Some(value)], value_refused) =
            (operator.inputs.as_slice(), refused("does not assign a constant"))
        else {
            return Err(refused("does not have two inputs"));
        };
        let value = &subgraph.tensors[value];
        let Some(data) = &value.data else { return Err(value_refused) };
        let variable = *handles.get(&resource).ok_or_else(|| refused("assigns to no variable"))?;
        if importer.variables.known[variable].state.is_some() {
            return Err(refused("assigns to a variable that was used before"));
        }
        importer.take(data.len())?;
        importer.variables.known[variable].first = Some((value.element_type, data.to_vec()));
    }
    Ok(())
}

impl Importer<'_, '_> {
    /// The state that is input `position` of an operator: a variable tensor, which the operator changes in place. It begins at its zero point.
    pub(super) fn state(&mut self, view: &View<'_, '_>, position: usize) -> Result<TensorId, Refusal> {
        let tensor = view.input(position)?;
        if !tensor.is_variable {
            let name = describe_tensor(tensor);
            return Err(unsupported(format!("input {position}, {name}, is not a variable")));
        }
        let name = format!("{}/state_{position}", view.node_name());
        self.add_state(name, tensor, None)
    }

    fn add_state(
        &mut self,
        name: String,
        tensor: &NetTensor<'_>,
        first: Option<(TensorType, Vec<u8>)>,
    ) -> Result<TensorId, Refusal> {
        let (shape, element_type, quantization) = representable(tensor)?;
        let elements = shape.elements().unwrap_or(0);
        let bytes = elements * element_type.bytes();
        self.take_state(bytes)?;
        let data = match first {
            None => vec![quantization.map_or(0, |quantization| quantization.zero_point as u8); bytes],
            Some((first_type, data)) if first_type == tensor.element_type && data.len() == bytes => data,
            Some((first_type, data)) => {
                return Err(unsupported(format!(
                    "{} begins with {} bytes of {first_type:?}",
                    describe_tensor(tensor),
                    data.len()
                )));
            }
        };
        let (role, value) = (Role::State, Some(value_of(element_type, &data)));
        Ok(self.add_tensor(Tensor { name, shape, element_type, quantization, role, value }))
    }
}

/// Elements of little-endian bytes.
fn value_of(element_type: ElementType, data: &[u8]) -> Value {
    let words = data.as_chunks().0;
    match element_type {
        ElementType::I8 => Value::I8(data.iter().map(|byte| byte.cast_signed()).collect()),
        ElementType::U8 => Value::U8(data.to_vec()),
        ElementType::I16 => {
            Value::I16(data.as_chunks().0.iter().map(|&bytes| i16::from_le_bytes(bytes)).collect())
        }
        ElementType::I32 => Value::I32(words.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect()),
        ElementType::F32 => Value::F32(words.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()),
    }
}

/// The variable that a resource tensor stands for.
fn variable(importer: &Importer<'_, '_>, view: &View<'_, '_>, tensor: usize) -> Result<usize, Refusal> {
    let found = importer.variables.handles.get(&tensor).copied();
    found.ok_or_else(|| {
        let name = describe_tensor(&view.subgraph.tensors[tensor]);
        view.broken("inputs", &format!("{name} is no variable of any VAR_HANDLE"))
    })
}

/// The variable that an operator's first input stands for.
fn resource(importer: &Importer<'_, '_>, view: &View<'_, '_>) -> Result<usize, Refusal> {
    view.input(0)?;
    variable(importer, view, view.input_index(0).unwrap_or(0))
}

/// The state of a variable; it is added like `tensor` if there is none yet.
fn state_of(
    importer: &mut Importer<'_, '_>,
    variable: usize,
    tensor: &NetTensor<'_>,
) -> Result<TensorId, Refusal> {
    if let Some(state) = importer.variables.known[variable].state {
        return Ok(state);
    }
    let first = importer.variables.known[variable].first.take();
    let state = importer.add_state(format!("variable_{variable}"), tensor, first)?;
    importer.variables.known[variable].state = Some(state);
    Ok(state)
}

/// For each tensor, the index of the last operator that may read its memory; the number of operators for an output. What operators that move elements compute may be a
/// view of what they read.
fn last_uses(subgraph: &Subgraph<'_>) -> Vec<usize> {
    let mut last = vec![0; subgraph.tensors.len()];
    subgraph.outputs.iter().for_each(|&output| last[output] = subgraph.operators.len());
    for (index, operator) in subgraph.operators.iter().enumerate().rev() {
        let views = if may_view(operator.code) { operator.outputs.as_slice() } else { &[] };
        let until = views.iter().map(|&output| last[output]).fold(index, usize::max);
        operator.inputs.iter().flatten().for_each(|&input| last[input] = last[input].max(until));
    }
    last
}

/// Whether what an operator computes may lie where its input does.
fn may_view(code: i32) -> bool {
    const MOVE: [Op; 12] = [
        Op::Reshape,
        Op::Squeeze,
        Op::ExpandDims,
        Op::Slice,
        Op::StridedSlice,
        Op::Split,
        Op::SplitV,
        Op::Unpack,
        Op::Pack,
        Op::Transpose,
        Op::Concatenation,
        Op::Gather,
    ];
    MOVE.iter().any(|&op| op as i32 == code)
}
