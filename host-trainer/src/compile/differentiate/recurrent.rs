//! Training through an LSTM or a GRU: forward with a cache of the gates, and back through time.

use smidgen::geometry::Window;
use smidgen::ops::{gru, lstm};
use smidgen::{Operator, Shape, Space};

use super::training::Training;
use crate::compile::error::CompileError;
use crate::compile::program::{BufferId, Program};
use crate::graph::{Node, TensorId};

impl Training<'_> {
    /// The shape of an activation with `parts` times the channels.
    fn with_parts(&self, id: TensorId, parts: usize) -> Shape {
        let Shape([n, h, w, c]) = self.forward.shape(id);
        Shape([n, h, w, c.saturating_mul(parts as u32)])
    }

    /// The forward step, which also caches what the gradient needs: so many numbers for each of the output.
    pub(super) fn remembering(
        &mut self,
        program: &mut Program,
        node: &Node,
        cached: usize,
    ) -> Result<(), CompileError> {
        let cached = self.with_parts(node.output, cached);
        let cache = program.add_f32(format!("train/{}/cache", node.name), Space::Arena, cached)?;
        self.forward.push(program, node)?;
        if let Some(step) = self.forward.steps.last_mut() {
            step.writes.push(cache);
        }
        self.caches[node.output.0] = Some(cache);
        Ok(())
    }

    /// The gradients of an LSTM: of its gates through time, then as a pointwise convolution's.
    pub(super) fn lstm_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
    ) -> Result<(), CompileError> {
        let Some(cache) = self.caches[node.output.0] else { return Ok(()) };
        let [input, weights, recurrent] = [0, 1, 2].map(|index| self.forward.buffer(node.inputs[index]));
        let (name, (_, attributes)) = (&node.name, crate::compile::lower::operator(node));
        let gates = self.with_parts(node.output, lstm::GATES);
        let gates = program.add_f32(format!("train/{name}/gates gradient"), Space::Arena, gates)?;
        let Shape([.., units]) = self.forward.shape(node.output);
        let scratch = Shape::vector(units.saturating_mul(2));
        let scratch =
            program.add_f32(format!("train/{name}/gradients of the states"), Space::Arena, scratch)?;
        self.push(
            format!("{name} gates gradient"),
            Operator::LstmGradGates,
            attributes.clone(),
            vec![grad_output, cache, recurrent],
            vec![gates, scratch],
        );
        let pointwise = Window::ONE.attributes().to_vec();
        let grad_weights = Operator::Conv2dGradWeights;
        self.push_parameter_gradient(
            program,
            node.inputs[1],
            grad_weights,
            pointwise.clone(),
            vec![input, gates],
        )?;
        let output = self.forward.buffer(node.output);
        let grad_recurrent = Operator::LstmGradRecurrent;
        self.push_parameter_gradient(
            program,
            node.inputs[2],
            grad_recurrent,
            attributes,
            vec![output, gates],
        )?;
        self.push_parameter_gradient(program, node.inputs[3], Operator::GradBias, vec![], vec![gates])?;
        self.push_input_gradient(program, node, 0, Operator::Conv2dGradInput, pointwise, vec![gates, weights])
    }

    /// The gradients of a GRU: of its gates through time, which is that of the layer before, and of its sums, which gives those of the recurrent weights and the bias.
    pub(super) fn gru_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
    ) -> Result<(), CompileError> {
        let Some(cache) = self.caches[node.output.0] else { return Ok(()) };
        let [output, recurrent] = [node.output, node.inputs[1]].map(|id| self.forward.buffer(id));
        let (name, (_, attributes)) = (&node.name, crate::compile::lower::operator(node));
        let shape = self.with_parts(node.output, gru::GATES);
        let Shape([.., units]) = self.forward.shape(node.output);
        let gates = program.add_f32(format!("train/{name}/gates gradient"), Space::Arena, shape)?;
        let sums = program.add_f32(format!("train/{name}/sums gradient"), Space::Arena, shape)?;
        let scratch = Shape::vector(units);
        let scratch =
            program.add_f32(format!("train/{name}/gradient of the state"), Space::Arena, scratch)?;
        self.push(
            format!("{name} gates gradient"),
            Operator::GruGradGates,
            attributes.clone(),
            vec![grad_output, output, cache, recurrent],
            vec![gates, sums, scratch],
        );
        // An LSTM's has a third attribute, the clip of its cell states.
        let attributes = [&attributes[..], &[0]].concat();
        let reads = vec![output, sums];
        self.push_parameter_gradient(
            program,
            node.inputs[1],
            Operator::LstmGradRecurrent,
            attributes,
            reads,
        )?;
        self.push_parameter_gradient(program, node.inputs[2], Operator::GradBias, vec![], vec![sums])?;
        if self.learns[node.inputs[0].0] {
            self.contributions[node.inputs[0].0].push(gates);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use smidgen::{AllOperators, Model, Operator};

    use crate::buffer::AlignedBytes;
    use crate::compile::{TrainingOptions, compile_training};
    use crate::graph::Network;

    #[test]
    fn a_network_that_remembers_becomes_a_valid_training_model() {
        let text = "lstm(5).gru(4).flatten().fully_connected(3)";
        let graph = Network::new("sequence", [1, 6, 2]).layers(text).unwrap().build().unwrap();
        let options = TrainingOptions { chunk_samples: 2, chunks: 2, ..TrainingOptions::default() };
        let program = compile_training(&graph, &options).unwrap();
        let file = program.to_file(&smidgen::model::Metadata::default()).unwrap();
        let file = AlignedBytes::copy_of(&file);
        let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
        let operators = model.header().operators;
        let lstm = [Operator::Lstm, Operator::LstmGradGates, Operator::LstmGradRecurrent];
        for operator in lstm.into_iter().chain([Operator::Gru, Operator::GruGradGates]) {
            assert!(operators.contains(operator as u8), "{operator:?}");
        }
    }
}
