//! What each layer loses by quantization.

use serde::Serialize;
use smidgen::frontend::reconstruction_error;

use super::{NamedRanges, Simulation, simulate};
use crate::compile::CompileError;
use crate::compile::calibrate::GraphRun;
use crate::graph::{Graph, GraphOp, RangeSource, TensorId};

/// What one layer loses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSensitivity {
    /// Name of the layer; `"input"` for what comes in.
    pub layer: String,
    /// Its operator.
    pub operator: &'static str,
    /// Accuracy with only this layer's weights and output quantized, if there are labels.
    pub accuracy: Option<f64>,
    /// Mean cross-entropy then, or mean squared error.
    pub loss: f64,
    /// Signal to noise of its output with all layers in int8, in decibels: `10 * log10(sum float^2 / sum (int8 - float)^2)`; nothing for an output that is
    /// always exact.
    pub signal_to_noise_db: Option<f64>,
}

/// A network's accuracy with nothing, with all, and with one layer at a time in int8.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Samples that were looked at.
    pub samples: usize,
    /// Accuracy in f32, if there are labels.
    pub float_accuracy: Option<f64>,
    /// Mean cross-entropy in f32, or mean squared error.
    pub float_loss: f64,
    /// Accuracy in int8, if there are labels.
    pub int8_accuracy: Option<f64>,
    /// The layers, in order.
    pub layers: Vec<LayerSensitivity>,
}

/// What the outputs of a network should be.
#[derive(Clone, Copy, Debug)]
pub enum Truth<'a> {
    /// The classes of samples.
    Labels(&'a [u32]),
    /// The inputs, of so many samples.
    Input(usize),
    /// The classes of the samples' pixels, with an output for each; of two classes, with one for the second.
    Masks(&'a [&'a [u8]]),
}

impl Truth<'_> {
    fn samples(self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Input(count) => count,
            Self::Masks(masks) => masks.len(),
        }
    }

    /// Whether so many correct ones are an accuracy, and which.
    fn accuracy(self, correct: f64) -> Option<f64> {
        match self {
            Self::Labels(_) | Self::Masks(_) => Some(correct / self.samples().max(1) as f64),
            Self::Input(_) => None,
        }
    }

    /// How right the outputs of a sample are, of which `zero` stands for 0: 1 if the largest is that of its class, or the share of the pixels of which that holds.
    fn right<T: PartialOrd + Copy>(self, sample: usize, outputs: &[T], zero: T) -> f64 {
        match self {
            Self::Labels(labels) => {
                let is_right = labels.get(sample).is_some_and(|&label| largest(outputs) == label as usize);
                f64::from(u8::from(is_right))
            }
            Self::Input(_) => 0.0,
            Self::Masks(masks) => {
                let mask = masks.get(sample).copied().unwrap_or_default();
                let found = pixel_classes(outputs, mask.len(), zero);
                let right = found.zip(mask).filter(|&(found, &class)| found == usize::from(class)).count();
                right as f64 / mask.len().max(1) as f64
            }
        }
    }

    fn loss(self, sample: usize, inputs: &[f32], outputs: &[f32]) -> f64 {
        match self {
            Self::Labels(labels) => {
                cross_entropy(outputs, labels.get(sample).map_or(0, |&label| label as usize))
            }
            Self::Input(_) => reconstruction_error(inputs.iter().copied(), outputs.iter().copied()).into(),
            Self::Masks(masks) => {
                binary_cross_entropy(masks.get(sample).copied().unwrap_or_default(), outputs)
            }
        }
    }
}

/// Measures a network's sensitivity. `float` has folded batch norms and fused activations, `int8` is what it was quantized to, with these `ranges`;
/// `fill` writes the sample with this index, of as many as `truth` has.
///
/// # Errors
/// [`CompileError`] for a graph that does not run.
pub fn sensitivity(
    (float, int8): (&Graph, &Graph),
    ranges: &NamedRanges,
    truth: Truth<'_>,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<Sensitivity, CompileError> {
    let (float_accuracy, float_loss) = accuracy(float, truth, fill)?;
    let (int8_accuracy, noise) = compare(float, int8, truth, fill)?;
    let mut layers = Vec::new();
    let names = float.nodes.iter().map(|node| (node.name.as_str(), node.op.name(), node.output));
    for (layer, operator, output) in [("input", "quantize", float.inputs[0])].into_iter().chain(names) {
        if !has_noise(float, ranges, output) {
            continue;
        }
        let simulation = Simulation { ranges, source: RangeSource::Given, only: Some(layer) };
        let (accuracy, loss) = self::accuracy(&simulate(float, &simulation), truth, fill)?;
        let signal_to_noise_db = noise.iter().find(|(id, _)| *id == output).and_then(|&(_, ratio)| ratio);
        layers.push(LayerSensitivity {
            layer: layer.to_owned(),
            operator,
            accuracy,
            loss,
            signal_to_noise_db,
        });
    }
    Ok(Sensitivity { samples: truth.samples(), float_accuracy, float_loss, int8_accuracy, layers })
}

/// Whether quantization changes what the layer computes.
fn has_noise(graph: &Graph, ranges: &NamedRanges, output: TensorId) -> bool {
    let rounds = |op: &GraphOp| matches!(op, GraphOp::AveragePool2d { .. } | GraphOp::ResizeBilinear(_));
    let node = graph.producer(output).map(|node| &graph.nodes[node.0]);
    ranges.contains_key(&graph.tensor(output).name)
        && node.is_none_or(|node| !super::keeps_quantization(&node.op) || rounds(&node.op))
}

/// Accuracy and mean loss of a float network.
fn accuracy(
    graph: &Graph,
    truth: Truth<'_>,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<(Option<f64>, f64), CompileError> {
    let mut run = GraphRun::new(graph)?;
    let (mut correct, mut loss) = (0.0, 0.0);
    for sample in 0..truth.samples() {
        fill(sample, run.activation_mut(graph.inputs[0]));
        // Steps may compute over it.
        let inputs = run.activation::<f32>(graph.inputs[0]).to_vec();
        run.run();
        let outputs = run.activation::<f32>(graph.outputs[0]);
        correct += truth.right(sample, outputs, 0.0);
        loss += truth.loss(sample, &inputs, outputs);
    }
    Ok((truth.accuracy(correct), loss / truth.samples().max(1) as f64))
}

/// The mean over all outputs of the cross-entropy of the sigmoid with whether the pixel is of that class.
fn binary_cross_entropy(mask: &[u8], outputs: &[f32]) -> f64 {
    let channels = (outputs.len() / mask.len().max(1)).max(1);
    let first = usize::from(channels == 1);
    let each = outputs.chunks_exact(channels).zip(mask).flat_map(|(outputs, &class)| {
        (first..).zip(outputs).map(move |(channel, &logit)| {
            let towards = if usize::from(class) == channel { f64::from(logit) } else { -f64::from(logit) };
            (-towards).max(0.0) + libm::log1p(libm::exp(-towards.abs()))
        })
    });
    each.sum::<f64>() / outputs.len().max(1) as f64
}

/// The class of each of so many pixels: the largest of its outputs, or of one output whether it is above `zero`.
pub fn pixel_classes<T: PartialOrd + Copy>(
    outputs: &[T],
    pixels: usize,
    zero: T,
) -> impl Iterator<Item = usize> + '_ {
    let channels = outputs.len() / pixels.max(1);
    outputs.chunks_exact(channels.max(1)).map(move |pixel| match pixel {
        [one] => usize::from(*one > zero),
        several => largest(several),
    })
}

fn largest<T: PartialOrd>(values: &[T]) -> usize {
    let better = |best: usize, next: usize| if values[next] > values[best] { next } else { best };
    (0..values.len()).reduce(better).unwrap_or(0)
}

fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let greatest = logits.iter().fold(f64::NEG_INFINITY, |greatest, &logit| greatest.max(logit.into()));
    let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - greatest)).sum();
    libm::log(sum) + greatest - logits.get(label).map_or(0.0, |&logit| logit.into())
}

/// Signal to noise of each activation.
type Noise = Vec<(TensorId, Option<f64>)>;

/// The int8 graph's accuracy, and the signal to noise of each activation that both graphs have.
fn compare(
    float: &Graph,
    int8: &Graph,
    truth: Truth<'_>,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<(Option<f64>, Noise), CompileError> {
    let (mut exact, mut integers) = (GraphRun::new(float)?, GraphRun::new(int8)?);
    let activations = float.inputs.iter().copied().chain(float.nodes.iter().map(|node| node.output));
    let both = activations.filter_map(|id| {
        let other = int8.find(&float.tensor(id).name)?;
        Some((id, other, int8.tensor(other).quantization?))
    });
    let both: Vec<_> = both.collect();
    let mut sums = vec![(0.0_f64, 0.0_f64); both.len()];
    let input = int8.inputs[0];
    let quantization = int8.tensor(input).quantization.unwrap_or(smidgen::Quantization::NONE);
    let mut correct = 0.0;
    let output = int8.outputs[0];
    let zero = int8.tensor(output).quantization.map_or(0, |quantization| quantization.zero_point as i8);
    for sample in 0..truth.samples() {
        fill(sample, exact.activation_mut(float.inputs[0]));
        let samples = exact.activation::<f32>(float.inputs[0]);
        let place = integers.activation_mut::<i8>(input);
        place.iter_mut().zip(samples).for_each(|(place, &value)| *place = quantization.quantize(value));
        exact.run();
        integers.run();
        for (&(id, other, quantization), (signal, noise)) in both.iter().zip(&mut sums) {
            let values = exact.activation::<f32>(id).iter().zip(integers.activation::<i8>(other));
            for (&exact, &integer) in values {
                let error = smidgen::ops::quantize::dequantize_one(quantization, integer) - exact;
                *signal += f64::from(exact).powi(2);
                *noise += f64::from(error).powi(2);
            }
        }
        correct += truth.right(sample, integers.activation::<i8>(output), zero);
    }
    let ratio = |(signal, noise): (f64, f64)| (noise > 0.0).then(|| 10.0 * libm::log10(signal / noise));
    let noise = both.iter().zip(sums).map(|(&(id, ..), sums)| (id, ratio(sums))).collect();
    Ok((truth.accuracy(correct), noise))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::calibrate::calibrate;
    use crate::compile::quantize::{Options, Ranges, RealRange, quantize};
    use crate::compile::{fold_batch_norm, fuse_activation};
    use crate::graph::Network;
    use crate::recipe;

    fn fill(sample: usize, input: &mut [f32]) {
        input.iter_mut().enumerate().for_each(|(i, x)| *x = ((sample * 13 + i * 5) as f32 * 0.7).sin());
    }

    #[test]
    fn the_layer_with_a_bad_range_is_found() {
        let network = Network::new("n", [6, 6, 2]).conv_2d(4, 3).relu().conv_2d(6, 3).relu();
        let network = network.global_average_pool_2d().fully_connected(3);
        let float = fuse_activation(fold_batch_norm(network.seed(2).build().unwrap()));
        let mut ranges =
            calibrate(&float, &recipe::Quantization::default(), 50, &mut fill).unwrap().by_name(&float);
        // Labels are what the network says, so that it is always right.
        let mut run = GraphRun::new(&float).unwrap();
        let labels: Vec<u32> = (0..50)
            .map(|sample| {
                fill(sample, run.activation_mut(float.inputs[0]));
                run.run();
                largest(run.activation::<f32>(float.outputs[0])) as u32
            })
            .collect();
        let measure = |ranges: &NamedRanges| {
            let int8 = quantize(&float, &Ranges::of_names(&float, ranges), Options::default()).unwrap();
            sensitivity((&float, &int8), ranges, Truth::Labels(&labels), &mut fill).unwrap()
        };
        let good = measure(&ranges);
        assert_eq!(good.float_accuracy, Some(1.0));
        assert!(good.int8_accuracy > Some(0.9), "{good:?}");
        let names: Vec<&str> = good.layers.iter().map(|layer| layer.layer.as_str()).collect();
        assert_eq!(names, ["input", "conv_2d_1", "conv_2d_2", "average_pool_2d_1", "fully_connected_1"]);
        assert!(good.layers.iter().all(|layer| layer.signal_to_noise_db.unwrap() > 20.0), "{good:?}");
        // A range that is a thousand times too wide leaves nothing of the second layer.
        let wide = ranges.get_mut("relu_2").unwrap();
        *wide = RealRange { min: 0.0, max: wide.max * 1000.0 };
        let bad = measure(&ranges);
        let worst = bad.layers.iter().min_by(|a, b| a.accuracy.partial_cmp(&b.accuracy).unwrap()).unwrap();
        assert_eq!(worst.layer, "conv_2d_2");
        assert!(worst.accuracy < Some(0.8) && worst.signal_to_noise_db.unwrap() < 3.0, "{bad:?}");
        assert_eq!(bad.layers[1], good.layers[1]);
    }
}
