//! Gradients change parameters: in the entry `update`, or on a device as soon as they are there.

use smidgen::{ElementType, EntryKind, Operator, Schedule, Shape, Space};

use super::state;
use super::{GradientOptions, Optimizer, TrainingOptions};
use crate::compile::error::CompileError;
use crate::compile::lower::{Shared, bits};
use crate::compile::program::{Buffer, BufferId, Program, VirtualEntry, VirtualStep};
use crate::graph::{Graph, Role, TensorId};

/// What updates share.
pub(super) struct Updates<'a> {
    options: &'a TrainingOptions,
    hyperparameters: BufferId,
    /// On a device, how many gradients were not used.
    pub(super) faults: Option<BufferId>,
    /// On a device, the squared norm of one gradient.
    squares: Option<BufferId>,
}

impl<'a> Updates<'a> {
    pub(super) fn new(program: &mut Program, options: &'a TrainingOptions) -> Result<Self, CompileError> {
        let device = options.device;
        let (rate, samples) =
            device.map_or((0.0, 0.0), |device| (device.learning_rate, device.samples_per_update as f32));
        let start = vec![rate, 1.0, 1.0, samples];
        let hyperparameters = state(program, "hyperparameters".to_owned(), Shape::vector(4), Some(start))?;
        let (mut faults, mut squares) = (None, None);
        if device.is_some() {
            faults = Some(program.add(Buffer {
                name: "gradients not used".to_owned(),
                space: Space::State,
                shape: Shape::vector(1),
                element_type: ElementType::I32,
                quantization: None,
                role: Role::Activation,
                value: None,
                view_of: None,
            })?);
            if options.gradients.clip_norm > 0.0 {
                let name = "squared norm of a gradient";
                squares = Some(program.add_f32(name, Space::State, Shape::vector(1))?);
            }
        }
        Ok(Self { options, hyperparameters, faults, squares })
    }

    /// Whether a gradient is used as soon as it is there.
    pub(super) fn at_once(&self) -> bool {
        self.options.device.is_some_and(|device| device.samples_per_update == 1)
    }

    /// The step before the first of an update.
    pub(super) fn advance(&self) -> Option<VirtualStep> {
        let Optimizer::Adam { beta_1, beta_2, .. } = self.options.optimizer else { return None };
        let (attributes, writes) = (vec![bits(beta_1), bits(beta_2)], vec![self.hyperparameters]);
        Some(once("count the update".to_owned(), Operator::AdamAdvance, attributes, vec![], writes))
    }

    /// The step that keeps what is not finite out of the parameters.
    pub(super) fn guard(&self, name: &str, gradient: BufferId) -> VirtualStep {
        let largest = self.options.device.map_or(f32::MAX, |device| device.largest_gradient);
        let writes = [Some(gradient), self.faults].into_iter().flatten().collect();
        once(format!("guard {name}"), Operator::Guard, vec![bits(largest)], vec![], writes)
    }

    /// What a device does with a gradient that is there: it uses it, or adds it to those before, of which `gradient` is the sum then.
    pub(super) fn take(
        &self,
        program: &mut Program,
        graph: &Graph,
        shared: &Shared,
        (id, gradient): &mut (TensorId, BufferId),
    ) -> Result<Vec<VirtualStep>, CompileError> {
        if self.at_once() {
            return self.apply(program, graph, shared, *id, *gradient);
        }
        let tensor = graph.tensor(*id);
        let guard = self.guard(&tensor.name, *gradient);
        let sum = program.add_f32(format!("{}/gradient", tensor.name), Space::Gradient, tensor.shape)?;
        let attributes = smidgen::ops::activation::Activation::None.attributes().to_vec();
        let name = format!("add {}", tensor.name);
        let add = once(name, Operator::AddF32, attributes, vec![sum, *gradient], vec![sum]);
        *gradient = sum;
        Ok(vec![guard, add])
    }

    /// Guard, clipping by the gradient's own norm, and the optimizer's step.
    fn apply(
        &self,
        program: &mut Program,
        graph: &Graph,
        shared: &Shared,
        id: TensorId,
        gradient: BufferId,
    ) -> Result<Vec<VirtualStep>, CompileError> {
        let name = |what: &str| format!("{what} {}", graph.tensor(id).name);
        let GradientOptions { clip_norm, clip_value, .. } = self.options.gradients;
        let mut steps = vec![self.guard(&graph.tensor(id).name, gradient)];
        if let Some(squares) = self.squares {
            steps.push(once(name("norm"), Operator::SumOfSquares, vec![1], vec![gradient], vec![squares]));
            let largest = vec![bits(clip_norm)];
            steps.push(once(name("clip"), Operator::ClipByNorm, largest, vec![squares], vec![gradient]));
        }
        if clip_value > 0.0 {
            let largest = vec![bits(clip_value)];
            steps.push(once(name("limit"), Operator::ClipByValue, largest, vec![], vec![gradient]));
        }
        self.optimize(program, graph, shared, (id, gradient), &mut steps)?;
        Ok(steps)
    }

    /// The entry `update`: what happens to the gradients, then a step of the optimizer for each parameter that has one.
    pub(super) fn entry(
        &self,
        program: &mut Program,
        graph: &Graph,
        shared: &Shared,
        gradients: &[(TensorId, BufferId)],
    ) -> Result<VirtualEntry, CompileError> {
        let mut steps = Vec::new();
        if self.options.device.is_none() {
            steps.extend(self.advance());
            clip(program, graph, self.options.gradients, gradients, &mut steps)?;
            for &gradient in gradients {
                self.optimize(program, graph, shared, gradient, &mut steps)?;
            }
        } else if !self.at_once() {
            steps.extend(self.advance());
            for &(id, gradient) in gradients {
                steps.extend(self.apply(program, graph, shared, id, gradient)?);
                let name = format!("clear {}", graph.tensor(id).name);
                steps.push(once(name, Operator::Fill, vec![0], vec![], vec![gradient]));
            }
        }
        let inputs = vec![self.hyperparameters];
        Ok(VirtualEntry { kind: EntryKind::Update, steps, inputs, outputs: vec![] })
    }

    /// The optimizer's step for one parameter.
    fn optimize(
        &self,
        program: &mut Program,
        graph: &Graph,
        shared: &Shared,
        (id, gradient): (TensorId, BufferId),
        steps: &mut Vec<VirtualStep>,
    ) -> Result<(), CompileError> {
        let tensor = graph.tensor(id);
        let Some(parameter) = shared.get(id) else { return Ok(()) };
        let is_weights = tensor.role == Role::Weights;
        let l1_penalty = self.options.gradients.l1_penalty;
        if is_weights && l1_penalty > 0.0 {
            let (name, strength) = (format!("penalty {}", tensor.name), bits(l1_penalty));
            steps.push(once(name, Operator::L1Penalty, vec![strength], vec![parameter], vec![gradient]));
        }
        let decay = |weight_decay: f32| bits(if is_weights { weight_decay } else { 0.0 });
        let mut moment = |kind: &str| state(program, format!("{}/{kind}", tensor.name), tensor.shape, None);
        let mut writes = vec![parameter];
        let (operator, attributes) = match self.options.optimizer {
            Optimizer::Sgd { momentum, weight_decay, nesterov } => {
                if momentum != 0.0 {
                    writes.push(moment("momentum")?);
                }
                (Operator::Sgd, vec![bits(momentum), decay(weight_decay), i32::from(nesterov)])
            }
            Optimizer::Adam { beta_1, beta_2, epsilon, weight_decay, decoupled } => {
                writes.extend([moment("first moment")?, moment("second moment")?]);
                let numbers = [bits(beta_1), bits(beta_2), bits(epsilon), decay(weight_decay)];
                (Operator::Adam, [&numbers[..], &[i32::from(decoupled)]].concat())
            }
            Optimizer::RmsProp { alpha, epsilon, weight_decay, momentum } => {
                writes.push(moment("mean square")?);
                if momentum != 0.0 {
                    writes.push(moment("momentum")?);
                }
                let numbers = vec![bits(alpha), bits(epsilon), decay(weight_decay), bits(momentum)];
                (Operator::Rmsprop, numbers)
            }
            Optimizer::Adagrad { epsilon, weight_decay } => {
                writes.push(moment("sum of squares")?);
                (Operator::Adagrad, vec![bits(epsilon), decay(weight_decay)])
            }
            Optimizer::Adadelta { rho, epsilon, weight_decay } => {
                writes.extend([moment("mean square")?, moment("mean squared step")?]);
                (Operator::Adadelta, vec![bits(rho), bits(epsilon), decay(weight_decay)])
            }
        };
        let (name, reads) = (format!("update {}", tensor.name), vec![gradient, self.hyperparameters]);
        steps.push(once(name, operator, attributes, reads, writes));
        Ok(())
    }
}

/// Clips the gradients: first their common norm, summed in the order of the parameters, then each element.
fn clip(
    program: &mut Program,
    graph: &Graph,
    options: GradientOptions,
    gradients: &[(TensorId, BufferId)],
    steps: &mut Vec<VirtualStep>,
) -> Result<(), CompileError> {
    let name = |what: &str, id| format!("{what} {}", graph.tensor(id).name);
    if options.clip_norm > 0.0 {
        let squares = program.add_f32("squared norm of the gradients", Space::State, Shape::vector(1))?;
        for (index, &(id, gradient)) in gradients.iter().enumerate() {
            let is_first = i32::from(index == 0);
            let (reads, writes) = (vec![gradient], vec![squares]);
            steps.push(once(name("norm", id), Operator::SumOfSquares, vec![is_first], reads, writes));
        }
        for &(id, gradient) in gradients {
            let largest = vec![bits(options.clip_norm)];
            steps.push(once(name("clip", id), Operator::ClipByNorm, largest, vec![squares], vec![gradient]));
        }
    }
    if options.clip_value > 0.0 {
        for &(id, gradient) in gradients {
            let largest = vec![bits(options.clip_value)];
            steps.push(once(name("limit", id), Operator::ClipByValue, largest, vec![], vec![gradient]));
        }
    }
    Ok(())
}

fn once(
    name: String,
    operator: Operator,
    attributes: Vec<i32>,
    reads: Vec<BufferId>,
    writes: Vec<BufferId>,
) -> VirtualStep {
    VirtualStep { name, operator, schedule: Schedule::Once, attributes, reads, writes, in_place: None }
}
