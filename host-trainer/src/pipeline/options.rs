//! What a recipe asks of the compiler.

use crate::compile::{GradientOptions, Loss, Optimizer, TrainingOptions};
use crate::recipe::{self, LossKind, OptimizerKind, Recipe};

/// The options of the training program, without what depends on the data and the network.
pub(super) fn training_options(recipe: &Recipe) -> TrainingOptions {
    let Recipe { training, optimizer, .. } = recipe;
    TrainingOptions {
        chunk_samples: training.chunk,
        chunks: training.batch / training.chunk,
        loss: loss(recipe),
        counts_largest: recipe.task.has_accuracy(),
        optimizer: optimizer_options(optimizer),
        gradients: GradientOptions {
            clip_norm: optimizer.clip_norm,
            clip_value: optimizer.clip_value,
            l1_penalty: optimizer.l1_penalty,
        },
        ..TrainingOptions::default()
    }
}

fn loss(recipe: &Recipe) -> Loss {
    let Recipe { loss, distillation, augmentation, training, .. } = recipe;
    let label_smoothing = training.label_smoothing;
    match loss.kind {
        LossKind::CrossEntropy if !distillation.teacher.is_empty() => {
            let recipe::Distillation { temperature, share, .. } = *distillation;
            Loss::Distillation { temperature, share, label_smoothing }
        }
        LossKind::CrossEntropy if augmentation.mixes() => Loss::SoftCrossEntropy { label_smoothing },
        LossKind::CrossEntropy => Loss::SoftmaxCrossEntropy { label_smoothing },
        LossKind::Focal => Loss::Focal { gamma: loss.focal_gamma },
        LossKind::MeanSquaredError => Loss::MeanSquaredError,
        LossKind::Huber => Loss::Huber { delta: loss.huber_delta },
        LossKind::BinaryCrossEntropy => Loss::BinaryCrossEntropy,
        LossKind::Dice => Loss::Dice { smooth: loss.dice_smooth },
    }
}

fn optimizer_options(recipe: &recipe::Optimizer) -> Optimizer {
    let recipe::Optimizer { kind, weight_decay, momentum, nesterov, beta_1, beta_2, alpha, rho, .. } =
        *recipe;
    let epsilon = recipe.epsilon();
    match kind {
        OptimizerKind::Sgd => Optimizer::Sgd { momentum, nesterov, weight_decay },
        OptimizerKind::Adam | OptimizerKind::AdamW => {
            let decoupled = kind == OptimizerKind::AdamW;
            Optimizer::Adam { beta_1, beta_2, epsilon, weight_decay, decoupled }
        }
        OptimizerKind::RmsProp => Optimizer::RmsProp { alpha, epsilon, weight_decay, momentum },
        OptimizerKind::Adagrad => Optimizer::Adagrad { epsilon, weight_decay },
        OptimizerKind::Adadelta => Optimizer::Adadelta { rho, epsilon, weight_decay },
    }
}
