//! Element-wise operators in int8.

use smidgen::ops::activation::Activation;
use smidgen::ops::add::int8::AddI8;
use smidgen::ops::binary::int8::MulI8;
use smidgen::ops::function::Function;
use smidgen::ops::prelu::PreluI8;
use smidgen::ops::quantize::quantize;
use smidgen::{ElementType, Quantization, Shape};

use super::{Activated, QuantizeError, Quantizer, RealRange, too_small};
use crate::graph::{Elementwise, GraphOp, Node, Role, Tensor, TensorId, Value};
use crate::int8::{LOGISTIC_OUTPUT, TANH_OUTPUT, TableFunction, table};

impl Quantizer<'_> {
    /// Quantizes one element-wise node.
    pub(super) fn elementwise(&mut self, node: &Node, operator: &Elementwise) -> Result<(), QuantizeError> {
        let output = match operator {
            Elementwise::Function { function: Function::Logistic } => LOGISTIC_OUTPUT,
            Elementwise::Function { function: Function::Tanh } => TANH_OUTPUT,
            _ => self.calibrated(node.output)?,
        };
        let left = match operator {
            // These compare integers, so that both sides need the output's quantization.
            Elementwise::Maximum { .. } | Elementwise::Minimum { .. } => self.side_as(node, 0, output)?,
            _ => self.side(node, 0)?,
        };
        if let Elementwise::Function { function } = *operator {
            let table = table(TableFunction::Function(function), left.quantization, output)
                .ok_or_else(|| too_small(node, output.scale))?;
            let table = self.table_of(node, "table", &table);
            return self.computed(node, GraphOp::LookupI8, vec![left.id, table], output);
        }
        let right = match operator {
            Elementwise::Maximum { .. } | Elementwise::Minimum { .. } => self.side_as(node, 1, output)?,
            _ => self.side(node, 1)?,
        };
        let (from, other) = (left.quantization, right.quantization);
        let unsupported = |advice| QuantizeError::Unsupported {
            layer: node.name.clone(),
            operator: node.op.name(),
            advice,
        };
        let op = match *operator {
            Elementwise::Sub { activation } => {
                AddI8::new_sub(from, other, output, activation).map(Elementwise::SubI8)
            }
            Elementwise::Mul { activation } => {
                MulI8::new(from, other, output, activation).map(Elementwise::MulI8)
            }
            Elementwise::Prelu => PreluI8::new(from, other, output).map(Elementwise::PreluI8),
            Elementwise::Maximum { activation: Activation::None } => Some(Elementwise::MaximumI8),
            Elementwise::Minimum { activation: Activation::None } => Some(Elementwise::MinimumI8),
            Elementwise::Maximum { .. } | Elementwise::Minimum { .. } => {
                return Err(unsupported("split its activation from it before the calibration"));
            }
            _ => return Err(unsupported("it has no int8 form")),
        };
        let op = op.ok_or_else(|| too_small(node, output.scale))?;
        self.computed(node, GraphOp::Elementwise(op), vec![left.id, right.id], output)
    }

    fn computed(
        &mut self,
        node: &Node,
        op: GraphOp,
        inputs: Vec<TensorId>,
        output: Quantization,
    ) -> Result<(), QuantizeError> {
        let name = self.source.tensor(node.output).name.clone();
        let id = self.activation(node.output, name, output);
        self.target.add_node(node.name.clone(), op, inputs, id);
        Ok(())
    }

    fn table_of(&mut self, node: &Node, kind: &str, table: &[i8]) -> TensorId {
        self.constant(node, kind, Shape::vector(table.len() as u32), Value::I8(table.to_vec()))
    }

    /// Input `index`, an activation, or a constant in the quantization of its range.
    pub(super) fn side(&mut self, node: &Node, index: usize) -> Result<Activated, QuantizeError> {
        let id = node.inputs[index];
        if self.source.tensor(id).role == Role::Activation {
            return self.quantized(id);
        }
        let values = self.finite(id)?;
        let (min, max) = values.iter().fold((0.0f32, 0.0f32), |(min, max), &x| (min.min(x), max.max(x)));
        self.quantized_constant(node, index, RealRange { min, max }.quantization())
    }

    /// Input `index` in this quantization.
    fn side_as(&mut self, node: &Node, index: usize, to: Quantization) -> Result<Activated, QuantizeError> {
        let id = node.inputs[index];
        if self.source.tensor(id).role != Role::Activation {
            return self.quantized_constant(node, index, to);
        }
        let found = self.quantized(id)?;
        if found.quantization == to {
            return Ok(found);
        }
        let table = table(TableFunction::Activation(Activation::None), found.quantization, to)
            .ok_or_else(|| too_small(node, to.scale))?;
        let table = self.table_of(node, &format!("table_{index}"), &table);
        let name = format!("{}/rescaled_{index}", node.name);
        let rescaled = self.target.add_tensor(Tensor {
            name: name.clone(),
            shape: self.source.tensor(id).shape,
            element_type: ElementType::I8,
            quantization: Some(to),
            role: Role::Activation,
            value: None,
        });
        self.target.add_node(name, GraphOp::LookupI8, vec![found.id, table], rescaled);
        Ok(Activated { id: rescaled, quantization: to })
    }

    fn quantized_constant(
        &mut self,
        node: &Node,
        index: usize,
        quantization: Quantization,
    ) -> Result<Activated, QuantizeError> {
        let source = node.inputs[index];
        let values = self.finite(source)?;
        let mut integers = vec![0; values.len()];
        quantize(quantization, values, &mut integers);
        let shape = self.source.tensor(source).shape;
        let id = self.constant(node, &format!("input_{index}"), shape, Value::I8(integers));
        self.target.tensor_mut(id).quantization = Some(quantization);
        Ok(Activated { id, quantization })
    }
}
