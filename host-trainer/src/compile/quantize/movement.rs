//! Layers that move elements, or reduce them, in int8.

use smidgen::ops::activation::Activation;
use smidgen::ops::quantize::quantize_one;
use smidgen::ops::reduce::float::Reduction;
use smidgen::ops::reduce::int8::Sum;
use smidgen::{ElementType, Quantization, Shape};

use super::{Activated, QuantizeError, Quantizer, Ranges, keeps_quantization, too_small};
use crate::graph::{Graph, GraphOp, Movement, Node, Reduce, ReduceKind, Role, Tensor, TensorId, Value};
use crate::int8::{TableFunction, table};

/// The bits of 0.0 and -0.0.
const ZEROS: [i32; 2] = [0, i32::MIN];

/// Whether the elements keep their quantization: they come from one input, and between them are zeros at most.
pub(super) fn keeps_quantization_moving(movement: &Movement) -> bool {
    movement.transfers.iter().all(|transfer| transfer.input == 0)
        && movement.fill.is_none_or(|bits| ZEROS.contains(&bits))
}

/// The ranges, with those that are joined by a concatenation alike: what it alone reads gets the range of the whole, so that nothing has to be
/// requantized (as TensorFlow Lite's quantizer does).
pub(super) fn shared_ranges(graph: &Graph, ranges: &Ranges) -> Ranges {
    let mut shared = ranges.clone();
    // From the end, so that a concatenation of concatenations is one.
    for node in graph.nodes.iter().rev() {
        let joins = match &node.op {
            GraphOp::Movement(movement) => !keeps_quantization_moving(movement),
            _ => false,
        };
        let Some(range) = shared.get(node.output).filter(|_| joins) else { continue };
        for &input in &node.inputs {
            share(graph, &mut shared, input, range);
        }
    }
    shared
}

fn share(graph: &Graph, ranges: &mut Ranges, mut tensor: TensorId, range: super::RealRange) {
    while graph.only_consumer(tensor).is_some() {
        ranges.set(tensor, range);
        match graph.producer(tensor).map(|node| &graph.nodes[node.0]) {
            Some(node) if keeps_quantization(&node.op) => tensor = node.inputs[0],
            _ => return,
        }
    }
}

/// The int8 reduction that stands for one in f32.
pub(super) fn reduce_i8(
    reduction: Reduction,
    axes: [bool; 3],
    shape: Shape,
    input: Quantization,
    output: Quantization,
) -> Option<Reduce> {
    let params = Reduce { kind: ReduceKind::Float(reduction), axes }.params(shape);
    let kind = match reduction {
        Reduction::Sum => ReduceKind::SumI8 { factor: Sum::new(params, input, output)?.factor, mean: false },
        Reduction::Mean => ReduceKind::SumI8 { factor: Sum::mean(params, input, output)?.factor, mean: true },
        Reduction::Max => ReduceKind::ExtremeI8 { minimum: false },
        Reduction::Min => ReduceKind::ExtremeI8 { minimum: true },
    };
    Some(Reduce { kind, axes })
}

impl Quantizer<'_> {
    /// A layer that moves elements. Inputs of another quantization than the output are requantized by a table.
    pub(super) fn movement(&mut self, node: &Node, movement: &Movement) -> Result<(), QuantizeError> {
        let output = if keeps_quantization_moving(movement) {
            self.quantized(node.inputs[0])?.quantization
        } else {
            self.calibrated(node.output)?
        };
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (index, &input) in node.inputs.iter().enumerate() {
            let found = self.quantized(input)?;
            if found.quantization == output {
                inputs.push(found.id);
                continue;
            }
            let table = table(TableFunction::Activation(Activation::None), found.quantization, output)
                .ok_or_else(|| too_small(node, output.scale))?;
            let name = format!("{}/requantize_{index}", node.name);
            let shape = Shape::vector(table.len() as u32);
            let table = self.target.add_value(
                format!("{name}/table"),
                shape,
                Role::Constant,
                Value::I8(table.to_vec()),
            );
            let requantized = self.target.add_tensor(Tensor {
                name: name.clone(),
                quantization: Some(output),
                ..self.target.tensor(found.id).clone()
            });
            self.target.add_node(name, GraphOp::LookupI8, vec![found.id, table], requantized);
            inputs.push(requantized);
        }
        let fill =
            movement.fill.map(|bits| i32::from(quantize_one(output, f32::from_bits(bits.cast_unsigned()))));
        let op = GraphOp::Movement(Movement { fill, ..movement.clone() });
        let name = self.source.tensor(node.output).name.clone();
        let id = self.activation(node.output, name, output);
        self.target.add_node(node.name.clone(), op, inputs, id);
        Ok(())
    }

    /// The index of an extreme: the same in int8.
    pub(super) fn arg_max(&mut self, node: &Node, input: Activated) -> Result<(), QuantizeError> {
        let Tensor { name, shape, .. } = self.source.tensor(node.output).clone();
        let id = self.target.add_tensor(Tensor {
            name,
            shape,
            element_type: ElementType::I32,
            quantization: None,
            role: Role::Activation,
            value: None,
        });
        // Nothing but an output is made of it; the quantization is never looked at.
        self.activations[node.output.0] = Some(Activated { id, quantization: input.quantization });
        self.target.add_node(node.name.clone(), node.op.clone(), vec![input.id], id);
        Ok(())
    }

    /// The table of a gather, as it is.
    pub(super) fn table(&mut self, node: &Node) -> Result<TensorId, QuantizeError> {
        let table = self.source.tensor(node.inputs[1]);
        match &table.value {
            Some(value) => {
                Ok(self.target.add_value(table.name.clone(), table.shape, Role::Constant, value.clone()))
            }
            None => Err(QuantizeError::Unsupported {
                layer: node.name.clone(),
                operator: node.op.name(),
                advice: "its table is no constant",
            }),
        }
    }
}
