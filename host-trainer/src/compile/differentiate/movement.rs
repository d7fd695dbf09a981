//! The gradient of layers that move elements: they go back.

use smidgen::Space;

use super::training::Training;
use crate::compile::error::CompileError;
use crate::compile::program::{BufferId, Program};
use crate::graph::{Movement, Node, Role};

impl Training<'_> {
    /// For each input that learns, the steps that carry the gradient back to it.
    pub(super) fn movement_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
        movement: &Movement,
    ) -> Result<(), CompileError> {
        for (index, &input) in node.inputs.iter().enumerate() {
            if !self.learns[input.0] {
                continue;
            }
            let (tensor, shape) = (self.graph.tensor(input), self.forward.shape(input));
            let name = format!("train/{}/gradient", tensor.name);
            if movement.is_view() {
                let view = program.add_view(name, grad_output, shape)?;
                self.contributions[input.0].push(view);
                continue;
            }
            let elements = tensor.shape.elements().unwrap_or(0);
            let no_gradient =
                || CompileError::NoGradient { layer: node.name.clone(), operator: movement.kind.name() };
            // A parameter's gradient is summed over the batch, which these steps do not do.
            let is_activation = tensor.role == Role::Activation;
            let back =
                movement.gradient(index, elements).filter(|_| is_activation).ok_or_else(no_gradient)?;
            let grad = program.add_f32(name, Space::Arena, shape)?;
            for (part, step) in back.into_iter().enumerate() {
                let reads = step.reads.iter().map(|_| grad_output).collect();
                let name = format!("{} input {index} gradient/{part}", node.name);
                self.push(name, step.operator, step.attributes, reads, vec![grad]);
            }
            self.contributions[input.0].push(grad);
        }
        Ok(())
    }
}
