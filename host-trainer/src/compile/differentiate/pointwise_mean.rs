//! Training through a pointwise convolution with the mean over all pixels: forward with a mask, and the gradients of weights and bias.

use smidgen::{ElementType, Operator, Shape, Space};

use super::training::Training;
use crate::compile::error::CompileError;
use crate::compile::program::{Buffer, BufferId, Program};
use crate::graph::{Node, Role};

impl Training<'_> {
    /// The forward step, which also keeps where the activation lets gradients pass.
    pub(super) fn pointwise_mean(&mut self, program: &mut Program, node: &Node) -> Result<(), CompileError> {
        let Shape([n, h, w, _]) = self.forward.shape(node.inputs[0]);
        let Shape([.., channels]) = self.forward.shape(node.output);
        let mask = program.add(Buffer {
            name: format!("train/{}/mask", node.name),
            space: Space::Arena,
            shape: Shape([n, h, w, channels.div_ceil(8)]),
            element_type: ElementType::U8,
            quantization: None,
            role: Role::Activation,
            value: None,
            view_of: None,
        })?;
        self.forward.push(program, node)?;
        if let Some(step) = self.forward.steps.last_mut() {
            step.writes.push(mask);
        }
        self.caches[node.output.0] = Some(mask);
        Ok(())
    }

    /// The gradients of weights and bias, of which at least one learns. There is none of the input: what is before does not learn.
    pub(super) fn pointwise_mean_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
    ) -> Result<(), CompileError> {
        let &[input, weights, bias] = node.inputs.as_slice() else { return Ok(()) };
        if self.learns[input.0] {
            return Err(CompileError::NoGradient { layer: node.name.clone(), operator: node.op.name() });
        }
        let Some(mask) = self.caches[node.output.0] else { return Ok(()) };
        let mut writes = Vec::new();
        // Weights that do not learn have no gradient in memory.
        let parameters = [weights, bias];
        let parameters = if self.learns[weights.0] { &parameters[..] } else { &parameters[1..] };
        for &id in parameters {
            let tensor = self.graph.tensor(id);
            writes.push(program.add_f32(
                format!("train/{}/gradient", tensor.name),
                Space::Arena,
                tensor.shape,
            )?);
        }
        let learned = parameters.iter().copied().zip(writes.iter().copied());
        self.gradients.extend(learned.filter(|&(id, _)| self.learns[id.0]));
        let scratch = format!("train/{}/gradient scratch", node.name);
        writes.push(program.add_f32(scratch, Space::Arena, self.forward.shape(node.output))?);
        let reads = vec![self.forward.buffer(input), mask, grad_output];
        self.push(format!("{} gradients", node.name), Operator::PointwiseMeanGrad, vec![], reads, writes);
        Ok(())
    }
}
