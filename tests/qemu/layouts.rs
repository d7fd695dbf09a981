//! The table of what layouts cost is that of today's kernels, and what is chosen by it is the fastest.

use smidgen_trainer::compile::{Costs, Packing};
use smidgen_trainer::layout_costs::{Example, Sample, examples, measure, measured_on};

use crate::emulator;

/// By how much the predictions of a layout's layers may be wrong in the mean. Those too high make up for those too low.
const TOLERANCE: f64 = 0.04;
/// How many more instructions the way with the fewest predicted ones may take than the best way of a layer.
const LOSS: f64 = 0.05;

/// Layers that the table was not made from, and that several layouts can hold.
fn others() -> Vec<Example> {
    vec![
        Example::fully_connected(1, [96, 24]),
        Example::fully_connected(1, [256, 100]),
        Example::fully_connected(1, [12, 3]),
        Example::fully_connected(5, [48, 20]),
        Example::depthwise([10, 7, 12], 12, [3, 3], 1),
        Example::depthwise([11, 11, 40], 40, [3, 3], 2),
        Example::depthwise([6, 6, 20], 20, [5, 3], 1),
        Example::convolution([7, 6, 12], 20, [3, 3], 1),
        Example::convolution([1, 1, 40], 10, [1, 1], 1),
    ]
}

/// The layouts whose layers were predicted wrongly in the mean, with the share of it.
fn wrong(samples: &[Sample], costs: &Costs) -> Vec<(&'static str, f64)> {
    let mut operators: Vec<_> = samples.iter().map(|sample| sample.operator).collect();
    operators.sort_by_key(|&operator| operator as u8);
    operators.dedup();
    let error = |operator| {
        let of: Vec<f64> = samples
            .iter()
            .filter(|sample| sample.operator == operator)
            .map(|sample| sample.predicted(costs).unwrap_or(0.0) / sample.instructions - 1.0)
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let errors = operators.into_iter().map(|operator| (operator.name(), error(operator)));
    errors.filter(|(_, error)| error.abs() > TOLERANCE).collect()
}

/// The layers whose way with the fewest predicted instructions is not the fastest: layer, that way, and by how much it is slower.
fn slower(samples: &[Sample], costs: &Costs) -> Vec<(String, &'static str, f64)> {
    let layers = samples.chunk_by(|a, b| a.name == b.name);
    let loss = |ways: &[Sample]| {
        let predicted = |sample: &Sample| sample.predicted(costs).unwrap_or(f64::INFINITY);
        let chosen = ways.iter().min_by(|a, b| predicted(a).total_cmp(&predicted(b)))?;
        let best = ways.iter().map(|way| way.instructions).fold(f64::INFINITY, f64::min);
        Some((chosen.name.clone(), chosen.operator.name(), chosen.instructions / best - 1.0))
    };
    layers.filter_map(loss).filter(|(.., loss)| *loss > LOSS).collect()
}

#[test]
fn the_table_is_that_of_today_s_kernels() {
    for packing in Packing::ALL {
        if !emulator(measured_on(packing)) {
            return;
        }
        let costs = Costs::of(packing).unwrap();
        let samples = measure(packing, &examples()).unwrap();
        assert_eq!(
            wrong(&samples, costs),
            [],
            "{packing:?}: kernels take other numbers of instructions than the table of their costs says; make it anew with \
             `cargo run --release -p smidgen-tests --example layout_costs`, look at what other layouts it chooses, and commit both"
        );
        // The check can fail: the kernels of every layout a little slower.
        let mut slow = samples.clone();
        slow.iter_mut().for_each(|sample| sample.instructions *= 1.0 + 2.0 * TOLERANCE);
        assert!(wrong(&slow, costs).len() > 3);
    }
}

#[test]
fn what_the_table_chooses_is_the_fastest() {
    for packing in Packing::ALL {
        if !emulator(measured_on(packing)) {
            return;
        }
        let costs = Costs::of(packing).unwrap();
        let samples = measure(packing, &others()).unwrap();
        assert!(samples.len() >= 2 * others().len(), "each layer in several ways");
        assert_eq!(slower(&samples, costs), [], "{packing:?}");
        // The check can fail: what is slow is said to be fast.
        let mut upside_down = costs.clone();
        for coefficients in upside_down.instructions.values_mut() {
            coefficients.values_mut().for_each(|value| *value = -*value);
        }
        assert!(slower(&samples, &upside_down).len() > others().len() / 2);
    }
}
