//! From the steps of a model file back to a graph.

use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::binary::int8::WeightedSumI8;
use smidgen::ops::reduce::Params;
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, EntryKind, Model, Operand, Operator, Quantization, Shape, Space, Step};

use super::PersonalizeError;
use crate::graph::movement::Part;
use crate::graph::{
    Elementwise, Frozen, Graph, GraphOp, Range, Reduce, ReduceKind, Role, Tensor, TensorId, Value,
};

/// The graph of the entry `infer`. Layers that can be trained in f32 are what they are in a network that was never compiled; what is not understood
/// stays as the steps that it is ([`Frozen`]).
///
/// # Errors
/// See [`PersonalizeError`].
pub fn lift(model: &Model<'_>) -> Result<Graph, PersonalizeError> {
    let entry = model.entry(EntryKind::Infer).ok_or(PersonalizeError::NoInference)?;
    let metadata = model.metadata();
    let mut graph = Graph::new(metadata.name);
    graph.class_names = metadata.labels.lines().map(str::to_owned).collect();
    let mut lifting = Lifting { model, graph, live: Vec::new() };
    for (index, input) in entry.inputs.iter().enumerate() {
        let id = lifting.activation(format!("input_{index}"), input);
        lifting.graph.inputs.push(id);
        lifting.live.push((*input, id));
    }
    let names: Vec<&str> = metadata.step_names.lines().skip(entry.first_step as usize).collect();
    for (index, step) in model.steps(&entry).flatten().enumerate() {
        let operator = Operator::from_code(step.operator);
        let fallback = || format!("{}_{index}", operator.map_or("step", Operator::name));
        let name =
            names.get(index).filter(|name| !name.is_empty()).map_or_else(fallback, |&name| name.into());
        let Some(operator) = operator else { continue };
        lifting.step(name, operator, step)?;
    }
    for output in entry.outputs {
        let id = lifting.read("output", Operator::Reshape, output)?;
        lifting.graph.outputs.push(id);
    }
    let graph = lifting.graph.without_unused_tensors();
    graph.validate().map_err(crate::compile::CompileError::from)?;
    Ok(graph)
}

struct Lifting<'a, 'm> {
    model: &'a Model<'m>,
    graph: Graph,
    /// What is in the arena.
    live: Vec<(Operand, TensorId)>,
}

impl Lifting<'_, '_> {
    fn activation(&mut self, name: String, operand: &Operand) -> TensorId {
        self.graph.add_tensor(Tensor {
            name,
            shape: operand.shape,
            element_type: operand.element_type,
            quantization: operand.quantization.some(),
            role: Role::Activation,
            value: None,
        })
    }

    fn step(&mut self, name: String, operator: Operator, step: Step<'_>) -> Result<(), PersonalizeError> {
        let error =
            |problem| PersonalizeError::Step { step: name.clone(), operator: operator.name(), problem };
        if matches!(operator as u8, 160..) {
            return Err(PersonalizeError::Packed { step: name, operator: operator.name() });
        }
        if step.operands().any(|operand| !matches!(operand.space, Space::Constant | Space::Arena)) {
            return Err(PersonalizeError::Lasting { step: name, operator: operator.name() });
        }
        let &[output] = step.writes else {
            return Err(error("it writes several tensors"));
        };
        let op = understood(operator, step);
        let mut inputs = Vec::new();
        for (index, read) in step.reads.iter().enumerate() {
            inputs.push(if read.space == Space::Constant {
                self.constant(&name, index, op.as_ref(), read)
                    .ok_or_else(|| error("a constant is not there"))?
            } else {
                self.read(&name, operator, read)?
            });
        }
        if op.is_none() && matches!(operator, Operator::Copy | Operator::CopyAdd) {
            // Part of a tensor that is there already.
            let found = self.live.iter().find(|(live, _)| *live == output).map(|&(_, id)| id);
            let node = found.and_then(|id| self.graph.producer(id));
            if let Some(node) = node
                && let node = &mut self.graph.nodes[node.0]
                && let GraphOp::Frozen(frozen) = &mut node.op
            {
                let from = node.inputs.len();
                let reads = (from..from + inputs.len()).collect();
                frozen.steps.push(Part { operator, attributes: step.attributes.to_vec(), reads });
                node.inputs.extend(inputs);
                return Ok(());
            }
        }
        let op = op.unwrap_or_else(|| {
            let reads = (0..inputs.len()).collect();
            let steps = vec![Part { operator, attributes: step.attributes.to_vec(), reads }];
            GraphOp::Frozen(Frozen { steps, shape: output.shape, element_type: output.element_type })
        });
        self.live.retain(|(live, _)| !live.overlaps(&output));
        let id = self.activation(format!("{name}/output"), &output);
        self.live.push((output, id));
        self.graph.add_node(name, op, inputs, id);
        Ok(())
    }

    /// The tensor that an operand in the arena reads.
    fn read(
        &mut self,
        name: &str,
        operator: Operator,
        operand: &Operand,
    ) -> Result<TensorId, PersonalizeError> {
        let missing = || PersonalizeError::Step {
            step: name.to_owned(),
            operator: operator.name(),
            problem: "it reads what no step before it has written",
        };
        let found = self.live.iter().find(|(live, _)| live.same_place(operand));
        let &(written, id) = found.ok_or_else(missing)?;
        if (written.shape, written.quantization) == (operand.shape, operand.quantization) {
            return Ok(id);
        }
        // The same elements, seen in another shape.
        let node = format!("{name}/view_{}", self.graph.nodes.len());
        let view = self.activation(format!("{node}/output"), operand);
        self.graph.add_node(node, GraphOp::Reshape, vec![id], view);
        Ok(view)
    }

    /// The constant that a step reads.
    fn constant(
        &mut self,
        name: &str,
        index: usize,
        op: Option<&GraphOp>,
        operand: &Operand,
    ) -> Option<TensorId> {
        let (start, end) = operand.range()?;
        let bytes = self.model.constant().get(start..end)?;
        let is_float_layer = matches!(
            op,
            Some(GraphOp::Conv2d { .. } | GraphOp::DepthwiseConv2d { .. } | GraphOp::FullyConnected { .. })
        );
        let (name, role) = match (is_float_layer, index) {
            (true, 1) => (format!("{name}/weights"), Role::Weights),
            (true, 2) => (format!("{name}/bias"), Role::Bias),
            _ => (format!("{name}/constant_{}_{index}", self.graph.tensors.len()), Role::Constant),
        };
        let id = self.graph.add_value(name, operand.shape, role, value(operand.element_type, bytes));
        self.graph.tensor_mut(id).quantization = operand.quantization.some();
        Some(id)
    }
}

fn value(element_type: ElementType, bytes: &[u8]) -> Value {
    let words = bytes.as_chunks::<4>().0.iter();
    match element_type {
        ElementType::I8 => Value::I8(bytes.iter().map(|&byte| byte.cast_signed()).collect()),
        ElementType::U8 => Value::U8(bytes.to_vec()),
        ElementType::I16 => {
            Value::I16(bytes.as_chunks::<2>().0.iter().map(|&pair| i16::from_le_bytes(pair)).collect())
        }
        ElementType::I32 => Value::I32(words.map(|&word| i32::from_le_bytes(word)).collect()),
        ElementType::F32 => Value::F32(words.map(|&word| f32::from_le_bytes(word)).collect()),
    }
}

/// The layer of a step, if it is one that can be changed to f32 or is f32 already.
fn understood(operator: Operator, step: Step<'_>) -> Option<GraphOp> {
    let attributes = step.attributes;
    let window = || Some(Window::read(attributes).ok()?.0);
    let rest = || Some(Window::read(attributes).ok()?.1);
    let activation = |attributes: &[i32]| Some(Activation::read(attributes, 0).ok()?.0);
    let range = |attributes: &[i32]| match *attributes {
        [min, max] => Some(Range { min: min.try_into().ok()?, max: max.try_into().ok()? }),
        _ => None,
    };
    Some(match operator {
        Operator::Conv2d => GraphOp::Conv2d { window: window()?, activation: activation(rest()?)? },
        Operator::DepthwiseConv2d => {
            GraphOp::DepthwiseConv2d { window: window()?, activation: activation(rest()?)? }
        }
        Operator::FullyConnected => GraphOp::FullyConnected { activation: activation(attributes)? },
        Operator::MaxPool2d => GraphOp::MaxPool2d { window: window()? },
        Operator::AveragePool2d => GraphOp::AveragePool2d { window: window()? },
        Operator::Softmax => GraphOp::Softmax,
        Operator::ActivationF32 => GraphOp::Activation { activation: activation(attributes)? },
        Operator::AddF32 => GraphOp::Add { activation: activation(attributes)? },
        Operator::Conv2dI8 => GraphOp::Conv2dI8 { window: window()?, range: range(rest()?)? },
        Operator::DepthwiseConv2dI8 => {
            GraphOp::DepthwiseConv2dI8 { window: window()?, range: range(rest()?)? }
        }
        Operator::FullyConnectedI8 => GraphOp::FullyConnectedI8 { range: range(attributes)? },
        Operator::MaxPool2dI8 => GraphOp::MaxPool2dI8 { window: window()?, range: range(rest()?)? },
        Operator::AveragePool2dI8 => GraphOp::AveragePool2dI8 { window: window()?, range: range(rest()?)? },
        Operator::SoftmaxI8 => {
            let &[multiplier, shift, smallest_difference] = attributes else { return None };
            GraphOp::SoftmaxI8 { input: Multiplier { multiplier, shift }, smallest_difference }
        }
        Operator::WeightedSumI8 => {
            let &[left, right, bias, shift, min, max] = attributes else { return None };
            let sum = WeightedSumI8 {
                weights: [left, right],
                bias,
                shift: shift.try_into().ok()?,
                clamp: [min, max],
            };
            GraphOp::Elementwise(Elementwise::WeightedSumI8(sum))
        }
        Operator::AddI8 => {
            let &[left_shift, a, b, c, d, e, f, min, max] = attributes else { return None };
            let factor = |multiplier, shift| Multiplier { multiplier, shift };
            GraphOp::AddI8 {
                left_shift,
                left: factor(a, b),
                right: factor(c, d),
                output: factor(e, f),
                range: range(&[min, max])?,
            }
        }
        Operator::SumI8 => mean(step)?,
        Operator::Quantize => GraphOp::Quantize,
        Operator::Dequantize => GraphOp::Dequantize,
        _ => return None,
    })
}

/// A sum or a mean: they differ in nothing but the factor.
fn mean(step: Step<'_>) -> Option<GraphOp> {
    let (&[mask, multiplier, shift], [input], [output]) = (step.attributes, step.reads, step.writes) else {
        return None;
    };
    let axes = [0, 1, 2].map(|axis| mask >> axis & 1 == 1);
    if (Params { input: [1; 3], axes }).mask() != mask {
        return None;
    }
    let scale =
        |operand: &Operand| operand.quantization.some().map(|Quantization { scale, .. }| f64::from(scale));
    let elements = |Shape(shape): Shape| shape.iter().map(|&extent| f64::from(extent)).product::<f64>();
    let factor = f64::from(multiplier) / (1u64 << 31) as f64 * 2f64.powi(shift);
    // Of a sum it is 1, of a mean one over the number of elements that are reduced.
    let share = factor * scale(output)? / scale(input)?;
    let count = elements(input.shape) / elements(output.shape);
    let mean = (share * count - 1.0).abs() < 1e-3;
    let factor = Multiplier { multiplier, shift };
    Some(GraphOp::Reduce(Reduce { kind: ReduceKind::SumI8 { factor, mean }, axes }))
}
