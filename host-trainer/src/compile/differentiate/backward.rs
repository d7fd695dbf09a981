//! The gradient of each operator.

use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::{Operator, Space};

use super::training::{Training, dropout_attributes};
use crate::compile::error::CompileError;
use crate::compile::lower::bits;
use crate::compile::program::{BufferId, Program};
use crate::graph::{GraphOp, Node, RangeSource, Reduce, ReduceKind, ResizeBilinear, TensorId};

impl Training<'_> {
    /// Writes the backward pass of one node.
    pub(super) fn backward(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
    ) -> Result<(), CompileError> {
        match &node.op {
            GraphOp::Conv2d { window, activation } => {
                let operators = (Operator::Conv2dGradWeights, Operator::Conv2dGradInput);
                self.weighted(program, node, grad_output, *activation, Some(window), operators)
            }
            GraphOp::DepthwiseConv2d { window, activation } => {
                let operators = (Operator::DepthwiseConv2dGradWeights, Operator::DepthwiseConv2dGradInput);
                self.weighted(program, node, grad_output, *activation, Some(window), operators)
            }
            GraphOp::FullyConnected { activation } => {
                let operators = (Operator::FullyConnectedGradWeights, Operator::FullyConnectedGradInput);
                self.weighted(program, node, grad_output, *activation, None, operators)
            }
            GraphOp::TransposeConv { window, activation, .. } => {
                let operators = (Operator::TransposeConvGradWeights, Operator::TransposeConvGradInput);
                self.weighted(program, node, grad_output, *activation, Some(window), operators)
            }
            GraphOp::PointwiseMean { .. } => self.pointwise_mean_grad(program, node, grad_output),
            GraphOp::MaxPool2d { window } => {
                let input = self.forward.buffer(node.inputs[0]);
                let attributes = window.attributes().to_vec();
                self.push_input_gradient(
                    program,
                    node,
                    0,
                    Operator::MaxPool2dGrad,
                    attributes,
                    vec![input, grad_output],
                )
            }
            GraphOp::AveragePool2d { window } => {
                let attributes = window.attributes().to_vec();
                self.push_input_gradient(
                    program,
                    node,
                    0,
                    Operator::AveragePool2dGrad,
                    attributes,
                    vec![grad_output],
                )
            }
            GraphOp::BatchNorm { activation, .. } => {
                self.batch_norm_grad(program, node, grad_output, *activation)
            }
            GraphOp::Dropout { rate } => {
                let Some(keys) = self.keys else { return Ok(()) };
                let attributes = dropout_attributes(*rate, node.output);
                self.push_input_gradient(
                    program,
                    node,
                    0,
                    Operator::Dropout,
                    attributes,
                    vec![grad_output, keys],
                )
            }
            GraphOp::FakeQuantize { range } => self.fake_quantize_grad(program, node, grad_output, *range),
            GraphOp::Softmax | GraphOp::LogSoftmax => {
                let output = self.forward.buffer(node.output);
                let operator = match node.op {
                    GraphOp::Softmax => Operator::SoftmaxGrad,
                    _ => Operator::LogSoftmaxGrad,
                };
                self.push_input_gradient(program, node, 0, operator, vec![], vec![output, grad_output])
            }
            GraphOp::Reshape => {
                let input = node.inputs[0];
                let name = format!("train/{}/gradient", self.graph.tensor(input).name);
                let view = program.add_view(name, grad_output, self.forward.shape(input))?;
                self.contributions[input.0].push(view);
                Ok(())
            }
            GraphOp::Activation { activation } => {
                let grad = self.through_activation(program, node, grad_output, *activation)?;
                self.contributions[node.inputs[0].0].push(grad);
                Ok(())
            }
            GraphOp::Add { activation } => {
                let grad = self.through_activation(program, node, grad_output, *activation)?;
                self.sum_grad(program, node, grad, [1.0, 1.0])
            }
            GraphOp::Elementwise(operator) => self.elementwise_grad(program, node, grad_output, operator),
            GraphOp::Movement(movement) => self.movement_grad(program, node, grad_output, movement),
            GraphOp::Gather(gather) => {
                let table = self.forward.buffer(node.inputs[1]);
                let (attributes, reads) = (gather.attributes(), vec![grad_output, table]);
                self.push_input_gradient(program, node, 0, Operator::GatherGrad, attributes, reads)
            }
            GraphOp::Reduce(Reduce { kind: ReduceKind::Float(reduction), axes }) => {
                let input = self.forward.buffer(node.inputs[0]);
                let attributes = Reduce { kind: ReduceKind::Float(*reduction), axes: *axes }.step().1;
                let (operator, reads) = if reduction.is_extreme() {
                    (Operator::ReduceExtremeGrad, vec![input, grad_output])
                } else {
                    (Operator::ReduceGrad, vec![grad_output])
                };
                self.push_input_gradient(program, node, 0, operator, attributes, reads)
            }
            GraphOp::ResizeBilinear(resize @ ResizeBilinear { int8: false, .. }) => {
                let (attributes, reads) = (resize.step().1, vec![grad_output]);
                self.push_input_gradient(program, node, 0, Operator::ResizeBilinearGrad, attributes, reads)
            }
            GraphOp::Lstm { .. } if node.updates.is_empty() => self.lstm_grad(program, node, grad_output),
            GraphOp::Gru { .. } if node.updates.is_empty() => self.gru_grad(program, node, grad_output),
            other => Err(CompileError::NoGradient { layer: node.name.clone(), operator: other.name() }),
        }
    }

    /// The gradient before the node's activation, from the one behind it.
    pub(super) fn through_activation(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
        activation: Activation,
    ) -> Result<BufferId, CompileError> {
        if activation == Activation::None {
            return Ok(grad_output);
        }
        let (name, shape) = (&node.name, self.forward.shape(node.output));
        let grad = program.add_f32(format!("train/{name}/activation gradient"), Space::Arena, shape)?;
        let output = self.forward.buffer(node.output);
        self.push(
            format!("{name} activation gradient"),
            Operator::ActivationGrad,
            activation.attributes().to_vec(),
            vec![output, grad_output],
            vec![grad],
        );
        Ok(grad)
    }

    /// Appends the step that computes the gradient with respect to an input, if that is needed.
    pub(super) fn push_input_gradient(
        &mut self,
        program: &mut Program,
        node: &Node,
        index: usize,
        operator: Operator,
        attributes: Vec<i32>,
        reads: Vec<BufferId>,
    ) -> Result<(), CompileError> {
        let input = node.inputs[index];
        if !self.learns[input.0] {
            return Ok(());
        }
        let name = format!("train/{}/gradient", self.graph.tensor(input).name);
        let grad_input = program.add_f32(name, Space::Arena, self.forward.shape(input))?;
        self.push(format!("{} input gradient", node.name), operator, attributes, reads, vec![grad_input]);
        self.contributions[input.0].push(grad_input);
        Ok(())
    }

    /// Appends the gradient of a parameter, if it learns: a partial per chunk and the sum over the chunks.
    pub(super) fn push_parameter_gradient(
        &mut self,
        program: &mut Program,
        id: TensorId,
        operator: Operator,
        attributes: Vec<i32>,
        reads: Vec<BufferId>,
    ) -> Result<(), CompileError> {
        // Straight through a fake quantization.
        let id = match self.graph.producer(id).map(|node| &self.graph.nodes[node.0]) {
            Some(Node { op: GraphOp::FakeQuantizeWeights { .. }, inputs, .. }) => inputs[0],
            _ => id,
        };
        if !self.learns[id.0] {
            return Ok(());
        }
        let tensor = self.graph.tensor(id);
        if self.options.device.is_some() {
            let name = format!("train/{}/gradient", tensor.name);
            let gradient = program.add_f32(name, Space::Arena, tensor.shape)?;
            self.push(format!("{} gradient", tensor.name), operator, attributes, reads, vec![gradient]);
            self.gradients.push((id, gradient));
            return Ok(());
        }
        let partial =
            program.add_f32(format!("train/{}/gradient partial", tensor.name), Space::Chunk, tensor.shape)?;
        self.push(format!("{} gradient", tensor.name), operator, attributes, reads, vec![partial]);
        self.sum_to_gradient(program, id, partial)
    }

    fn sum_to_gradient(
        &mut self,
        program: &mut Program,
        id: TensorId,
        partial: BufferId,
    ) -> Result<(), CompileError> {
        let tensor = self.graph.tensor(id);
        let gradient = program.add_f32(format!("{}/gradient", tensor.name), Space::Gradient, tensor.shape)?;
        self.push_sum(format!("{} gradient sum", tensor.name), partial, gradient);
        self.gradients.push((id, gradient));
        Ok(())
    }

    /// Convolutions and fully connected layers: input, weights and perhaps a bias.
    fn weighted(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
        activation: Activation,
        window: Option<&Window>,
        (grad_weights, grad_input): (Operator, Operator),
    ) -> Result<(), CompileError> {
        let grad = self.through_activation(program, node, grad_output, activation)?;
        let attributes = window.map_or(vec![], |window| window.attributes().to_vec());
        let [input, weights] = [0, 1].map(|index| self.forward.buffer(node.inputs[index]));
        // Weights first: afterwards the layer's input is not needed any more.
        self.push_parameter_gradient(
            program,
            node.inputs[1],
            grad_weights,
            attributes.clone(),
            vec![input, grad],
        )?;
        if let Some(&bias) = node.inputs.get(2) {
            self.push_parameter_gradient(program, bias, Operator::GradBias, vec![], vec![grad])?;
        }
        self.push_input_gradient(program, node, 0, grad_input, attributes, vec![grad, weights])
    }

    /// The gradient of what is not cut off, and that of a range that learns.
    fn fake_quantize_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
        source: RangeSource,
    ) -> Result<(), CompileError> {
        let [input, range] = [0, 1].map(|index| self.forward.buffer(node.inputs[index]));
        let reads = vec![input, grad_output, range];
        if source == RangeSource::Learned {
            // As many elements push at the range as there are: Esser et al. 2020 (`arXiv:1902.08153`), section 2.2.
            let elements = self.graph.tensor(node.output).shape.elements().unwrap_or(1);
            let factor = 1.0 / libm::sqrt(elements as f64 * f64::from(i8::MAX)) as f32;
            let (id, attributes) = (node.inputs[1], vec![bits(factor)]);
            let operator = Operator::FakeQuantizeGradRange;
            self.push_parameter_gradient(program, id, operator, attributes, reads.clone())?;
        }
        self.push_input_gradient(program, node, 0, Operator::FakeQuantizeGrad, vec![], reads)
    }

    fn batch_norm_grad(
        &mut self,
        program: &mut Program,
        node: &Node,
        grad_output: BufferId,
        activation: Activation,
    ) -> Result<(), CompileError> {
        let Some(moments) = self.moments[node.output.0] else { return Ok(()) };
        let [input, parameters] = [0, 1].map(|index| self.forward.buffer(node.inputs[index]));
        let (name, table) = (&node.name, program.buffer(parameters).shape);
        let partial = program.add_f32(format!("train/{name}/sums partial"), Space::Chunk, table)?;
        let reads = vec![input, grad_output, moments, parameters];
        self.push(
            format!("{name} sums"),
            Operator::BatchNormGradStatistics,
            activation.attributes().to_vec(),
            reads.clone(),
            vec![partial],
        );
        // The sums are the gradients of gamma and beta.
        let sums = if self.learns[node.inputs[1].0] {
            self.sum_to_gradient(program, node.inputs[1], partial)?;
            self.gradients.last().map(|&(_, gradient)| gradient)
        } else {
            None
        };
        let sums = match sums {
            Some(sums) => sums,
            None => {
                let sums = super::state(program, format!("{name}/sums"), table, None)?;
                self.push_sum(format!("{name} sums of the batch"), partial, sums);
                sums
            }
        };
        let elements = self.elements_per_channel(node.inputs[0]).saturating_mul(self.options.chunks);
        let mut attributes = activation.attributes().to_vec();
        attributes.push(i32::try_from(elements).unwrap_or(i32::MAX));
        let reads = [&reads[..], &[sums]].concat();
        self.push_input_gradient(program, node, 0, Operator::BatchNormGradInput, attributes, reads)
    }
}
