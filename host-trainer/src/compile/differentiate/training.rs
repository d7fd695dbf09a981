//! The entry `train`: forward with the batch's statistics, loss, backward.

use smidgen::ops::{gru, lstm};
use smidgen::{ElementType, EntryKind, Operator, Schedule, Shape, Space};

use super::update::Updates;
use super::{LossBuffers, TrainingOptions, input_space, needed_for, push_loss, state, sum_chunks};
use crate::compile::error::CompileError;
use crate::compile::lower::{Forward, Shared, bits};
use crate::compile::program::{Buffer, BufferId, Program, VirtualEntry, VirtualStep};
use crate::graph::{Graph, GraphOp, Node, RangeSource, Role, TensorId};

/// The training pass, as far as it has been written.
pub(super) struct Training<'a> {
    pub(super) graph: &'a Graph,
    pub(super) options: &'a TrainingOptions,
    /// For each tensor, whether it is or depends on a parameter that learns.
    pub(super) learns: &'a [bool],
    pub(super) forward: Forward<'a>,
    /// The moments of each batch norm that normalizes with the batch's, by its node's output.
    pub(super) moments: Vec<Option<BufferId>>,
    /// The cache of each LSTM and GRU that learns or is learned through, by its node's output.
    pub(super) caches: Vec<Option<BufferId>>,
    /// What has to be added to give the gradient with respect to a tensor.
    pub(super) contributions: Vec<Vec<BufferId>>,
    /// The parameters that learn and their gradients.
    pub(super) gradients: Vec<(TensorId, BufferId)>,
    /// What the chunks see of the activations whose ranges follow it, and those ranges.
    seen: Vec<(BufferId, BufferId, f32)>,
    /// The samples' keys, if there is a dropout.
    pub(super) keys: Option<BufferId>,
    input: TensorId,
    shared: Shared,
}

impl<'a> Training<'a> {
    pub(super) fn new(
        program: &mut Program,
        graph: &'a Graph,
        shared: &Shared,
        options: &'a TrainingOptions,
        learns: &'a [bool],
        input: TensorId,
    ) -> Result<Self, CompileError> {
        Ok(Self {
            graph,
            options,
            learns,
            forward: Forward::new(
                program,
                graph,
                shared,
                options.chunk_samples,
                input_space(options),
                "train",
            )?,
            shared: shared.clone(),
            moments: vec![None; graph.tensors.len()],
            caches: vec![None; graph.tensors.len()],
            contributions: vec![Vec::new(); graph.tensors.len()],
            gradients: Vec::new(),
            seen: Vec::new(),
            keys: None,
            input,
        })
    }

    /// Writes the whole pass; also gives the gradients, in the order of the parameters.
    pub(super) fn run(
        mut self,
        program: &mut Program,
        prediction: TensorId,
        updates: &Updates<'_>,
    ) -> Result<(VirtualEntry, Vec<(TensorId, BufferId)>), CompileError> {
        let nodes = needed_for(self.graph, prediction);
        // Before the first of them.
        let advance = updates.advance();
        if updates.at_once() {
            self.forward.steps.extend(advance);
        }
        for &node in &nodes {
            let node = &self.graph.nodes[node];
            match node.op {
                GraphOp::BatchNorm { .. } if self.learns[node.output.0] => self.batch_norm(program, node)?,
                GraphOp::PointwiseMean { .. } if self.learns[node.output.0] => {
                    self.pointwise_mean(program, node)?;
                }
                GraphOp::Lstm { .. } if self.learns[node.output.0] => {
                    self.remembering(program, node, lstm::float::CACHED)?;
                }
                GraphOp::Gru { .. } if self.learns[node.output.0] => {
                    self.remembering(program, node, gru::float::CACHED)?;
                }
                GraphOp::Dropout { rate } => self.dropout(program, node, rate)?,
                GraphOp::FakeQuantize { range: RangeSource::Averaged { share } } => {
                    self.forward.push(program, node)?;
                    self.watch_range(program, node, share)?;
                }
                _ => self.forward.push(program, node)?,
            }
        }
        let logits = self.forward.buffer(prediction);
        let LossBuffers { target, sum, grad } =
            push_loss(program, &mut self.forward.steps, self.options, logits, "train")?;
        if self.options.device.is_some() {
            self.forward.steps.push(updates.guard("loss gradient", grad));
        }
        self.contributions[prediction.0].push(grad);
        for &node in nodes.iter().rev() {
            let node = &self.graph.nodes[node];
            if self.learns[node.output.0]
                && let Some(grad_output) = self.gradient_of(program, node.output)?
            {
                let first = self.gradients.len();
                self.backward(program, node, grad_output)?;
                if self.options.device.is_some() {
                    for index in first..self.gradients.len() {
                        let steps =
                            updates.take(program, self.graph, &self.shared, &mut self.gradients[index])?;
                        self.forward.steps.extend(steps);
                    }
                }
            }
        }
        self.gradients.sort_unstable_by_key(|&(id, _)| id);
        // Behind all that reads the ranges: the whole batch has those of the batches before it.
        for (partial, range, share) in std::mem::take(&mut self.seen) {
            self.forward.steps.push(VirtualStep {
                operator: Operator::TrackRange,
                attributes: vec![bits(share)],
                ..sum_chunks(program.buffer(range).name.clone(), partial, range)
            });
        }
        let entry = VirtualEntry {
            kind: EntryKind::Train,
            inputs: [self.forward.buffer(self.input), target].into_iter().chain(self.keys).collect(),
            outputs: vec![sum],
            steps: self.forward.steps,
        };
        Ok((entry, self.gradients))
    }

    /// Appends a step per chunk.
    pub(super) fn push(
        &mut self,
        name: impl Into<String>,
        operator: Operator,
        attributes: Vec<i32>,
        reads: Vec<BufferId>,
        writes: Vec<BufferId>,
    ) {
        self.forward.steps.push(VirtualStep {
            name: name.into(),
            operator,
            schedule: Schedule::PerChunk,
            attributes,
            reads,
            writes,
            in_place: None,
        });
    }

    /// Appends the sum of a partial over the chunks.
    pub(super) fn push_sum(&mut self, name: impl Into<String>, partial: BufferId, sum: BufferId) {
        self.forward.steps.push(sum_chunks(name, partial, sum));
    }

    /// Elements of one channel in a chunk.
    pub(super) fn elements_per_channel(&self, id: TensorId) -> u32 {
        let Shape([n, h, w, _]) = self.forward.shape(id);
        n * h * w
    }

    /// Batch norm with the batch's moments: statistics of the chunk, moments of the batch, normalization.
    fn batch_norm(&mut self, program: &mut Program, node: &Node) -> Result<(), CompileError> {
        let GraphOp::BatchNorm { epsilon, momentum, activation } = node.op else { return Ok(()) };
        let [input, parameters, running] = [0, 1, 2].map(|index| self.forward.buffer(node.inputs[index]));
        let table = program.buffer(parameters).shape;
        let name = &node.name;
        let partial = program.add_f32(format!("train/{name}/statistics"), Space::Chunk, table)?;
        self.push(
            format!("{name} statistics"),
            Operator::BatchNormStatistics,
            vec![],
            vec![input],
            vec![partial],
        );
        let moments = state(program, format!("{name}/moments"), table, None)?;
        let elements = self.elements_per_channel(node.inputs[0]) as i32;
        self.forward.steps.push(VirtualStep {
            name: format!("{name} moments"),
            operator: Operator::BatchNormReduce,
            schedule: Schedule::Once,
            attributes: vec![bits(epsilon), bits(momentum), elements],
            reads: vec![partial],
            writes: vec![moments, running],
            in_place: None,
        });
        let output = self.forward.activation(program, node.output, Space::Arena)?;
        self.push(
            name,
            Operator::BatchNormNormalize,
            activation.attributes().to_vec(),
            vec![input, moments, parameters],
            vec![output],
        );
        self.moments[node.output.0] = Some(moments);
        Ok(())
    }

    /// Dropout, with the keys of the chunk's samples.
    fn dropout(&mut self, program: &mut Program, node: &Node, rate: f32) -> Result<(), CompileError> {
        let keys = match self.keys {
            Some(keys) => keys,
            None => program.add(Buffer {
                name: "train/keys".to_owned(),
                space: Space::Chunk,
                shape: Shape([self.options.chunk_samples, 1, 1, 2]),
                element_type: ElementType::I32,
                quantization: None,
                role: Role::Activation,
                value: None,
                view_of: None,
            })?,
        };
        self.keys = Some(keys);
        let input = self.forward.buffer(node.inputs[0]);
        let output = self.forward.activation(program, node.output, Space::Arena)?;
        let attributes = dropout_attributes(rate, node.output);
        self.push(&node.name, Operator::Dropout, attributes, vec![input, keys], vec![output]);
        Ok(())
    }

    /// The smallest and the greatest element of what a fake quantization reads.
    fn watch_range(&mut self, program: &mut Program, node: &Node, share: f32) -> Result<(), CompileError> {
        let [input, range] = [0, 1].map(|index| self.forward.buffer(node.inputs[index]));
        let name = format!("{} range", node.name);
        let partial = program.add_f32(format!("train/{name} partial"), Space::Chunk, Shape::vector(2))?;
        self.push(name, Operator::Extremes, vec![], vec![input], vec![partial]);
        self.seen.push((partial, range, share));
        Ok(())
    }

    /// The gradient with respect to a tensor: the sum of what its readers contribute.
    fn gradient_of(&mut self, program: &mut Program, id: TensorId) -> Result<Option<BufferId>, CompileError> {
        let contributions = std::mem::take(&mut self.contributions[id.0]);
        let Some((&first, rest)) = contributions.split_first() else { return Ok(None) };
        let mut sum = first;
        for &other in rest {
            let name = &self.graph.tensor(id).name;
            let next = program.add_f32(
                format!("train/{name}/gradient sum"),
                Space::Arena,
                self.forward.shape(id),
            )?;
            let attributes = smidgen::ops::activation::Activation::None.attributes().to_vec();
            self.push(
                format!("{name} gradient sum"),
                Operator::AddF32,
                attributes,
                vec![sum, other],
                vec![next],
            );
            sum = next;
        }
        Ok(Some(sum))
    }
}

/// The attributes of a dropout and of its gradient: the rate, and a number that no other dropout of the network has.
pub(super) fn dropout_attributes(rate: f32, output: TensorId) -> Vec<i32> {
    vec![bits(rate), i32::try_from(output.0).unwrap_or(i32::MAX)]
}
