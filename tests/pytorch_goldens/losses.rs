//! Losses and their gradients.

use smidgen::ops::losses::{
    binary_cross_entropy, dice, distillation, focal, huber, mean_squared_error, soft_cross_entropy,
    softmax_cross_entropy, weighted_cross_entropy,
};

use crate::goldens::{Golden, Goldens, TOLERANCE, assert_close, unwritten};

#[test]
fn losses() {
    let goldens = Goldens::load("losses.safetensors");
    for case in goldens.cases("softmax_cross_entropy") {
        let (input, labels) = (goldens.get(&case, "input"), goldens.get(&case, "labels").integers);
        let grad_scale = 1.0 / labels.len() as f32;
        let label_smoothing = goldens.scalar(&case, "label_smoothing");
        let params = softmax_cross_entropy::Params { classes: input.shape[1], label_smoothing, grad_scale };
        let mut grads = unwritten(&input);
        let [loss, correct] = softmax_cross_entropy::forward(params, &input.values, &labels, &mut grads);
        assert_close(&goldens, &case, "loss", &[loss * grad_scale], TOLERANCE);
        assert_close(&goldens, &case, "correct", &[correct], 0.0);
        assert_close(&goldens, &case, "grad_input", &grads, TOLERANCE);
    }
    for case in goldens.cases("mean_squared_error") {
        let (input, target) = (goldens.get(&case, "input"), goldens.values(&case, "target"));
        let samples = input.shape[0];
        let (sample_elements, grad_scale) = (target.len() / samples, 1.0 / samples as f32);
        let params = mean_squared_error::Params { sample_elements, grad_scale };
        let mut grads = unwritten(&input);
        let loss = mean_squared_error::forward(params, &input.values, &target, &mut grads);
        assert_close(&goldens, &case, "loss", &[loss * grad_scale], TOLERANCE);
        assert_close(&goldens, &case, "grad_input", &grads, TOLERANCE);
    }
}

/// As [`TOLERANCE`], after a power, or products with a squared temperature of 16.
const LOOSE_TOLERANCE: f32 = 1e-5;
const BATCHES: usize = 20;

/// Runs `forward(input, first target, second target, grad_scale, grads)`, which gives a sum of losses, on each batch of each case of a loss.
fn over_all_batches(
    operator: &str,
    tolerance: f32,
    forward: impl Fn(&Goldens, &str, &[f32], [Golden; 2], f32, &mut [f32]) -> f32,
) {
    let goldens = Goldens::load("more_losses.safetensors");
    for case in goldens.cases(operator) {
        let input = goldens.get(&case, "input");
        assert_eq!(input.shape[0], BATCHES);
        let grad_scale = 1.0 / input.shape[1] as f32;
        let (mut losses, mut gradients) = (vec![], vec![]);
        for (batch, values) in input.values.chunks(input.values.len() / BATCHES).enumerate() {
            let part = |name| {
                let Some(Golden { values, integers, .. }) = goldens.find(&case, name) else {
                    return Golden { shape: vec![], values: vec![], integers: vec![] };
                };
                let (length, count) = (values.len() / BATCHES, integers.len() / BATCHES);
                Golden {
                    shape: vec![],
                    values: values[batch * length..][..length].to_vec(),
                    integers: integers[batch * count..][..count].to_vec(),
                }
            };
            let mut grads = vec![f32::NAN; values.len()];
            let targets = [part("target_0"), part("target_1")];
            losses.push(grad_scale * forward(&goldens, &case, values, targets, grad_scale, &mut grads));
            gradients.extend(grads);
        }
        assert_close(&goldens, &case, "loss", &losses, tolerance);
        assert_close(&goldens, &case, "grad_input", &gradients, tolerance);
    }
}

const CLASSES: usize = 5;
/// Elements and pixels of an image, and its channels.
const IMAGE: (usize, usize, usize) = (30, 6, 5);

#[test]
fn weighted_cross_entropies() {
    over_all_batches(
        "weighted_cross_entropy",
        TOLERANCE,
        |goldens, case, input, [labels, _], scale, grads| {
            let label_smoothing = goldens.scalar(case, "label_smoothing");
            let params =
                weighted_cross_entropy::Params { classes: CLASSES, label_smoothing, grad_scale: scale };
            let weights = goldens.values("weights", "weights");
            weighted_cross_entropy::forward(params, input, &labels.integers, &weights, grads)[0]
        },
    );
}

#[test]
fn focal_losses() {
    over_all_batches("focal", LOOSE_TOLERANCE, |goldens, case, input, [labels, _], grad_scale, grads| {
        let params = focal::Params { classes: CLASSES, gamma: goldens.scalar(case, "gamma"), grad_scale };
        let weights = goldens.values("weights", "weights");
        focal::forward(params, input, &labels.integers, &weights, grads)[0]
    });
}

#[test]
fn soft_cross_entropies() {
    over_all_batches(
        "soft_cross_entropy",
        TOLERANCE,
        |goldens, case, input, [target, _], grad_scale, grads| {
            let label_smoothing = goldens.scalar(case, "label_smoothing");
            let params = soft_cross_entropy::Params { classes: CLASSES, label_smoothing, grad_scale };
            soft_cross_entropy::forward(params, input, &target.values, grads)
        },
    );
}

#[test]
fn distillation_and_the_kullback_leibler_divergence() {
    over_all_batches("distillation", LOOSE_TOLERANCE, |goldens, case, input, targets, grad_scale, grads| {
        let params = distillation::Params {
            classes: CLASSES,
            temperature: goldens.scalar(case, "temperature"),
            share: goldens.scalar(case, "share"),
            label_smoothing: 0.0,
            grad_scale,
        };
        let [hard, teacher] = targets.map(|target| target.values);
        let rows = hard.chunks(CLASSES).zip(teacher.chunks(CLASSES));
        let together: Vec<f32> = rows.flat_map(|(hard, teacher)| [hard, teacher].concat()).collect();
        distillation::forward(params, input, &together, grads)[0]
    });
}

#[test]
fn huber_losses() {
    over_all_batches("huber", TOLERANCE, |goldens, case, input, [target, _], grad_scale, grads| {
        let delta = goldens.scalar(case, "delta");
        let params = huber::Params { sample_elements: IMAGE.0, delta, grad_scale };
        huber::forward(params, input, &target.values, grads)
    });
}

#[test]
fn binary_cross_entropies() {
    over_all_batches("binary_cross_entropy", TOLERANCE, |_, _, input, [target, _], grad_scale, grads| {
        let params = binary_cross_entropy::Params { sample_elements: IMAGE.0, grad_scale };
        binary_cross_entropy::forward(params, input, &target.values, grads)
    });
}

#[test]
fn dice_losses() {
    over_all_batches("dice", TOLERANCE, |goldens, case, input, [target, _], grad_scale, grads| {
        let (_, pixels, channels) = IMAGE;
        let params = dice::Params { pixels, channels, smooth: goldens.scalar(case, "smooth"), grad_scale };
        dice::forward(params, input, &target.values, grads)
    });
}
