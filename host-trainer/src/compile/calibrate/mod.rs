//! Calibration: the range of every activation of a float graph, from samples.

mod histogram;
mod run;
mod search;

use smidgen::ElementType;

use crate::compile::CompileError;
use crate::compile::quantize::{Ranges, keeps_quantization};
use crate::graph::{Graph, Role, TensorId};
use crate::recipe;

use histogram::Histogram;
pub use run::GraphRun;

/// Why a graph was not calibrated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// There is nothing to look at.
    #[error(
        "{network}: there are no samples to calibrate on; at least one is needed, some hundreds are better"
    )]
    NoSamples {
        /// Name of the network.
        network: String,
    },
    /// Not exactly one input.
    #[error("{network}: it has {found} inputs; calibration gives samples to one")]
    Inputs {
        /// Name of the network.
        network: String,
        /// How many inputs it has.
        found: usize,
    },
    /// An activation with an infinity or a NaN in it.
    #[error("tensor {tensor:?} is {value} at sample {sample} (element {element})")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Index of the sample.
        sample: usize,
        /// Index of the element.
        element: usize,
        /// The element.
        value: f32,
    },
    /// The graph does not run.
    #[error(transparent)]
    Run(#[from] CompileError),
}

/// Runs a float graph on samples and chooses the range of every activation by the method of the settings.
///
/// Of `count` samples it takes as many as the settings say, evenly spread; `fill` writes the sample with this index into the input.
/// The outputs of the graph keep their full range whatever the method: what is cut off of logits makes classes equal. Results do not depend
/// on threads; the order of the samples does not matter either.
///
/// # Errors
/// See [`CalibrationError`].
pub fn calibrate(
    graph: &Graph,
    settings: &recipe::Quantization,
    count: usize,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<Ranges, CalibrationError> {
    let network = || graph.name.clone();
    let &[input] = graph.inputs.as_slice() else {
        return Err(CalibrationError::Inputs { network: network(), found: graph.inputs.len() });
    };
    let samples = count.min(settings.samples as usize);
    if samples == 0 {
        return Err(CalibrationError::NoSamples { network: network() });
    }
    let mut run = GraphRun::new(graph)?;
    let is_activation = |id: &TensorId| {
        let tensor = graph.tensor(*id);
        // Indices have no range.
        tensor.role == Role::Activation && tensor.element_type == ElementType::F32
    };
    let activations: Vec<TensorId> = (0..graph.tensors.len()).map(TensorId).filter(is_activation).collect();
    let mut histograms = vec![Histogram::default(); graph.tensors.len()];
    for sample in (0..samples).map(|sample| spread(sample, samples, count)) {
        fill(sample, run.activation_mut(input));
        run.run();
        for &id in &activations {
            let values = run.activation::<f32>(id);
            if let Some(element) = values.iter().position(|value| !value.is_finite()) {
                let (tensor, value) = (graph.tensor(id).name.clone(), values[element]);
                return Err(CalibrationError::NotFinite { tensor, sample, element, value });
            }
            values.iter().for_each(|&value| histograms[id.0].add(value));
        }
    }
    let outputs = scales_of_outputs(graph);
    let mut ranges = Ranges::new(graph);
    for &id in &activations {
        let histogram = &histograms[id.0];
        let range = match settings.calibration {
            recipe::Calibration::Percentile if !outputs[id.0] => {
                search::percentile(histogram, settings.percentile)
            }
            recipe::Calibration::Mse if !outputs[id.0] => search::mean_squared_error(histogram),
            _ => search::min_max(histogram),
        };
        if let Some(range) = range {
            ranges.set(id, range);
        }
    }
    Ok(ranges)
}

/// Which of `count` samples is the one with index `sample` of `samples` evenly spread ones.
fn spread(sample: usize, samples: usize, count: usize) -> usize {
    (sample as u128 * count as u128 / samples as u128) as usize
}

/// Which tensors have the scale of an output of the graph.
fn scales_of_outputs(graph: &Graph) -> Vec<bool> {
    let mut found = vec![false; graph.tensors.len()];
    for output in &graph.outputs {
        found[output.0] = true;
    }
    for node in graph.nodes.iter().rev().filter(|node| keeps_quantization(&node.op)) {
        if found[node.output.0] {
            node.inputs.iter().for_each(|input| found[input.0] = true);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;
    use crate::recipe::Calibration;

    fn settings(calibration: Calibration) -> recipe::Quantization {
        recipe::Quantization { calibration, ..recipe::Quantization::default() }
    }

    /// `y = relu(2x - 1)`, then the mean of four.
    fn graph() -> Graph {
        let mut graph =
            Network::new("net", [2, 2, 1]).conv_2d(1, 1).relu().average_pool_2d(2).build().unwrap();
        for (name, value) in [("conv_2d_1/weights", 2.0), ("conv_2d_1/bias", -1.0)] {
            let id = graph.find(name).unwrap();
            graph.tensor_mut(id).value.as_mut().unwrap().as_f32_mut().unwrap().fill(value);
        }
        graph
    }

    #[test]
    fn the_extremes_are_those_of_every_tensor() {
        let graph = graph();
        let fill = &mut |sample: usize, input: &mut [f32]| {
            input.copy_from_slice(&[sample as f32, 0.0, -1.0, 0.5]);
        };
        let ranges = calibrate(&graph, &settings(Calibration::MinMax), 4, fill).unwrap();
        let found = |name| ranges.get(graph.find(name).unwrap()).map(|range| (range.min, range.max));
        assert_eq!(found("input"), Some((-1.0, 3.0)));
        assert_eq!(found("conv_2d_1"), Some((-3.0, 5.0)));
        assert_eq!(found("relu_1"), Some((0.0, 5.0)));
        assert_eq!(found("average_pool_2d_1"), Some((0.0, 1.25)));
        assert_eq!(found("conv_2d_1/weights"), None);
    }

    #[test]
    fn samples_are_spread_evenly_and_no_more_than_asked_for() {
        let mut seen = Vec::new();
        let few = recipe::Quantization { samples: 4, ..settings(Calibration::Percentile) };
        calibrate(&graph(), &few, 10, &mut |sample, input| {
            seen.push(sample);
            input.fill(0.0);
        })
        .unwrap();
        assert_eq!(seen, [0, 2, 5, 7]);
    }

    #[test]
    fn outputs_keep_their_full_range() {
        let graph = graph();
        let fill = &mut |sample: usize, input: &mut [f32]| {
            input.fill(if sample == 7 { 1000.0 } else { 1.0 + sample as f32 / 1000.0 });
        };
        let narrow = recipe::Quantization { percentile: 90.0, ..settings(Calibration::Percentile) };
        let ranges = calibrate(&graph, &narrow, 100, fill).unwrap();
        let max = |name| ranges.get(graph.find(name).unwrap()).unwrap().max;
        // The pool has the scale of the ReLU before it, which therefore is an output's too.
        assert_eq!((max("average_pool_2d_1"), max("relu_1")), (1999.0, 1999.0));
        assert!(max("conv_2d_1") < 2.0 && max("input") < 2.0);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let message = |count, value| {
            let fill = &mut |_: usize, input: &mut [f32]| input.fill(value);
            calibrate(&graph(), &settings(Calibration::Mse), count, fill).unwrap_err().to_string()
        };
        assert_eq!(
            message(0, 1.0),
            "net: there are no samples to calibrate on; at least one is needed, some hundreds are better"
        );
        assert_eq!(message(3, f32::NAN), "tensor \"input\" is NaN at sample 0 (element 0)");
        assert_eq!(message(3, 3e38), "tensor \"conv_2d_1\" is inf at sample 0 (element 0)");
    }
}
