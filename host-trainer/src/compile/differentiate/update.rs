//! The entry `update`.

use smidgen::{EntryKind, Operator, Schedule, Shape};

use super::state;
use super::{Optimizer, TrainingOptions};
use crate::compile::error::CompileError;
use crate::compile::lower::{Shared, bits};
use crate::compile::program::{BufferId, Program, VirtualEntry, VirtualStep};
use crate::graph::{Graph, Role, TensorId};

/// A step of the optimizer for each parameter that has a gradient.
pub(super) fn update(
    program: &mut Program,
    graph: &Graph,
    shared: &Shared,
    options: &TrainingOptions,
    gradients: &[(TensorId, BufferId)],
) -> Result<VirtualEntry, CompileError> {
    let start = vec![0.0, 1.0, 1.0, 0.0];
    let hyperparameters = state(program, "hyperparameters".to_owned(), Shape::vector(4), Some(start))?;
    let once = |name: String, operator, attributes, reads, writes| VirtualStep {
        name,
        operator,
        schedule: Schedule::Once,
        attributes,
        reads,
        writes,
        in_place: None,
    };
    let mut steps = Vec::new();
    if let Optimizer::Adam { beta_1, beta_2, .. } = options.optimizer {
        let attributes = vec![bits(beta_1), bits(beta_2)];
        let name = "count the update".to_owned();
        steps.push(once(name, Operator::AdamAdvance, attributes, vec![], vec![hyperparameters]));
    }
    for &(id, gradient) in gradients {
        let tensor = graph.tensor(id);
        let Some(parameter) = shared.get(id) else { continue };
        let decay = |weight_decay: f32| bits(if tensor.role == Role::Weights { weight_decay } else { 0.0 });
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
        };
        let name = format!("update {}", tensor.name);
        steps.push(once(name, operator, attributes, vec![gradient, hyperparameters], writes));
    }
    Ok(VirtualEntry { kind: EntryKind::Update, steps, inputs: vec![hyperparameters], outputs: vec![] })
}
