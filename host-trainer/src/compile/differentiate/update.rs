//! The entry `update`.

use smidgen::{EntryKind, Operator, Schedule, Shape, Space};

use super::state;
use super::{GradientOptions, Optimizer, TrainingOptions};
use crate::compile::error::CompileError;
use crate::compile::lower::{Shared, bits};
use crate::compile::program::{BufferId, Program, VirtualEntry, VirtualStep};
use crate::graph::{Graph, Role, TensorId};

/// What happens to the gradients, then a step of the optimizer for each parameter that has one.
pub(super) fn update(
    program: &mut Program,
    graph: &Graph,
    shared: &Shared,
    options: &TrainingOptions,
    gradients: &[(TensorId, BufferId)],
) -> Result<VirtualEntry, CompileError> {
    let start = vec![0.0, 1.0, 1.0, 0.0];
    let hyperparameters = state(program, "hyperparameters".to_owned(), Shape::vector(4), Some(start))?;
    let mut steps = Vec::new();
    if let Optimizer::Adam { beta_1, beta_2, .. } = options.optimizer {
        let attributes = vec![bits(beta_1), bits(beta_2)];
        let name = "count the update".to_owned();
        steps.push(once(name, Operator::AdamAdvance, attributes, vec![], vec![hyperparameters]));
    }
    clip(program, graph, options.gradients, gradients, &mut steps)?;
    for &(id, gradient) in gradients {
        let tensor = graph.tensor(id);
        let Some(parameter) = shared.get(id) else { continue };
        let is_weights = tensor.role == Role::Weights;
        if is_weights && options.gradients.l1_penalty > 0.0 {
            let (name, strength) = (format!("penalty {}", tensor.name), bits(options.gradients.l1_penalty));
            steps.push(once(name, Operator::L1Penalty, vec![strength], vec![parameter], vec![gradient]));
        }
        let decay = |weight_decay: f32| bits(if is_weights { weight_decay } else { 0.0 });
        let mut moment = |kind: &str| state(program, format!("{}/{kind}", tensor.name), tensor.shape, None);
        let mut writes = vec![parameter];
        let (operator, attributes) = match options.optimizer {
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
        let name = format!("update {}", tensor.name);
        steps.push(once(name, operator, attributes, vec![gradient, hyperparameters], writes));
    }
    Ok(VirtualEntry { kind: EntryKind::Update, steps, inputs: vec![hyperparameters], outputs: vec![] })
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
