//! Optimizers, over twenty updates.

use smidgen::ops::updates::{adadelta, adagrad, adam, gradient, rmsprop, sgd};

use crate::goldens::{Goldens, TOLERANCE, assert_close};

/// As [`TOLERANCE`], after twenty Adam updates: `1 - β₂ᵗ` is as small as 1e-3 and known to 6e-8, its root to 3e-5, times steps of 0.1.
const ADAM_TOLERANCE: f32 = 1e-5;
/// As [`TOLERANCE`], after twenty updates that divide by roots of mean squares, of steps of up to 1 each.
const MEAN_SQUARE_TOLERANCE: f32 = 5e-6;

/// Clips and penalizes as a case says, then lets `update` change the parameter, and compares all its values.
fn over_all_steps(
    goldens: &Goldens,
    case: &str,
    tolerance: f32,
    mut update: impl FnMut(f32, &[f32], &mut [f32]),
) {
    let (mut parameter, gradients) = (goldens.values(case, "start"), goldens.values(case, "gradient"));
    let rates = goldens.values(case, "learning_rate");
    assert_eq!(rates.len(), 20);
    let [clip_norm, clip_value, l1_penalty] =
        ["clip_norm", "clip_value", "l1_penalty"].map(|name| goldens.scalar(case, name));
    let mut history = vec![];
    for (values, rate) in gradients.chunks(parameter.len()).zip(rates) {
        let mut values = values.to_vec();
        if clip_norm > 0.0 {
            gradient::clip_by_norm(clip_norm, gradient::sum_of_squares(&values), &mut values);
        }
        if clip_value > 0.0 {
            gradient::clip_by_value(clip_value, &mut values);
        }
        if l1_penalty > 0.0 {
            gradient::l1_penalty(l1_penalty, &parameter, &mut values);
        }
        update(rate, &values, &mut parameter);
        history.extend_from_slice(&parameter);
    }
    assert_close(goldens, case, "parameter", &history, tolerance);
}

#[test]
fn sgd_and_what_happens_to_gradients_before() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("sgd") {
        let mut buffer = vec![0.0; goldens.values(&case, "start").len()];
        over_all_steps(&goldens, &case, TOLERANCE, |learning_rate, gradient, parameter| {
            let params = sgd::Params {
                learning_rate,
                momentum: goldens.scalar(&case, "momentum"),
                weight_decay: goldens.scalar(&case, "weight_decay"),
                nesterov: goldens.get(&case, "nesterov").integers == [1],
            };
            sgd::update(params, gradient, parameter, &mut buffer);
        });
    }
}

#[test]
fn adam_and_adam_w() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("adam") {
        let length = goldens.values(&case, "start").len();
        let (mut first, mut second) = (vec![0.0; length], vec![0.0; length]);
        let (beta_1, beta_2) = (0.9, 0.999);
        let mut hyperparameters = [f32::NAN, 1.0, 1.0, 0.0];
        over_all_steps(&goldens, &case, ADAM_TOLERANCE, |learning_rate, gradient, parameter| {
            adam::advance(beta_1, beta_2, &mut hyperparameters);
            let params = adam::Params {
                learning_rate,
                beta_1,
                beta_2,
                beta_1_power: hyperparameters[1],
                beta_2_power: hyperparameters[2],
                epsilon: goldens.scalar(&case, "epsilon"),
                weight_decay: goldens.scalar(&case, "weight_decay"),
                decoupled: goldens.get(&case, "decoupled").integers == [1],
            };
            adam::update(params, gradient, parameter, &mut first, &mut second);
        });
    }
}

#[test]
fn rmsprop_with_and_without_momentum() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("rmsprop") {
        let length = goldens.values(&case, "start").len();
        let (mut square, mut buffer) = (vec![0.0; length], vec![0.0; length]);
        over_all_steps(&goldens, &case, MEAN_SQUARE_TOLERANCE, |learning_rate, gradient, parameter| {
            let params = rmsprop::Params {
                learning_rate,
                alpha: goldens.scalar(&case, "alpha"),
                epsilon: goldens.scalar(&case, "epsilon"),
                weight_decay: goldens.scalar(&case, "weight_decay"),
                momentum: goldens.scalar(&case, "momentum"),
            };
            rmsprop::update(params, gradient, parameter, &mut square, &mut buffer);
        });
    }
}

#[test]
fn adagrad_sums_squares() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("adagrad") {
        let mut sum = vec![0.0; goldens.values(&case, "start").len()];
        over_all_steps(&goldens, &case, TOLERANCE, |learning_rate, gradient, parameter| {
            let epsilon = goldens.scalar(&case, "epsilon");
            let weight_decay = goldens.scalar(&case, "weight_decay");
            let params = adagrad::Params { learning_rate, epsilon, weight_decay };
            adagrad::update(params, gradient, parameter, &mut sum);
        });
    }
}

#[test]
fn adadelta_needs_no_unit() {
    let goldens = Goldens::load("updates.safetensors");
    for case in goldens.cases("adadelta") {
        let length = goldens.values(&case, "start").len();
        let (mut square, mut delta) = (vec![0.0; length], vec![0.0; length]);
        over_all_steps(&goldens, &case, MEAN_SQUARE_TOLERANCE, |learning_rate, gradient, parameter| {
            let params = adadelta::Params {
                learning_rate,
                rho: goldens.scalar(&case, "rho"),
                epsilon: goldens.scalar(&case, "epsilon"),
                weight_decay: goldens.scalar(&case, "weight_decay"),
            };
            adadelta::update(params, gradient, parameter, &mut square, &mut delta);
        });
    }
}
