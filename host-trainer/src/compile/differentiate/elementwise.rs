//! The gradients of element-wise operators. That of a side that broadcasts is the sum over what reads the same value.

use smidgen::Operator;

use super::bits;
use super::training::Training;
use crate::compile::error::CompileError;
use crate::compile::program::{BufferId, Program};
use crate::graph::{Elementwise, Node, Role};

impl Training<'_> {
    /// Writes the backward pass of one element-wise node.
    pub(super) fn elementwise_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
        operator: &Elementwise,
    ) -> Result<(), CompileError> {
        let grad = self.through_activation(program, node, grad_output, operator.activation())?;
        let sides = match operator {
            Elementwise::Sub { .. } => return self.sum_grad(program, node, grad, [1.0, -1.0]),
            Elementwise::Function { function } => {
                let value = if function.gradient_takes_output() { node.output } else { node.inputs[0] };
                let reads = vec![self.forward.buffer(value), grad];
                let attributes = vec![*function as i32];
                return self.push_input_gradient(program, node, 0, Operator::FunctionGrad, attributes, reads);
            }
            Elementwise::Mul { .. } => {
                for (index, other) in [(0, 1), (1, 0)] {
                    let reads = vec![grad, self.forward.buffer(node.inputs[other])];
                    self.side_gradient(program, node, index, Operator::MulGrad, vec![], reads)?;
                }
                return Ok(());
            }
            Elementwise::Maximum { .. } => Operator::MaximumGrad,
            Elementwise::Minimum { .. } => Operator::MinimumGrad,
            Elementwise::Prelu => Operator::PreluGrad,
            other => {
                return Err(CompileError::NoGradient { layer: node.name.clone(), operator: other.name() });
            }
        };
        for index in 0..2 {
            let [left, right] = [0, 1].map(|side| self.forward.buffer(node.inputs[side]));
            self.side_gradient(program, node, index, sides, vec![index as i32], vec![left, right, grad])?;
        }
        Ok(())
    }

    /// The gradients of both sides of a sum with these factors.
    pub(super) fn sum_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad: BufferId,
        factors: [f32; 2],
    ) -> Result<(), CompileError> {
        for (index, factor) in factors.into_iter().enumerate() {
            let input = node.inputs[index];
            let is_activation = self.graph.tensor(input).role == Role::Activation;
            if factor == 1.0 && is_activation && program.buffer(grad).shape == self.forward.shape(input) {
                if self.learns[input.0] {
                    self.contributions[input.0].push(grad);
                }
                continue;
            }
            let attributes = vec![bits(factor)];
            self.side_gradient(program, node, index, Operator::BroadcastGrad, attributes, vec![grad])?;
        }
        Ok(())
    }

    /// Appends the step that computes the gradient with respect to an input, an activation or a parameter, if that is needed.
    fn side_gradient(
        &mut self,
        program: &mut Program,
        node: &Node,
        index: usize,
        operator: Operator,
        attributes: Vec<i32>,
        reads: Vec<BufferId>,
    ) -> Result<(), CompileError> {
        let input = node.inputs[index];
        if self.graph.tensor(input).role.is_trained() {
            self.push_parameter_gradient(program, input, operator, attributes, reads)
        } else {
            self.push_input_gradient(program, node, index, operator, attributes, reads)
        }
    }
}
