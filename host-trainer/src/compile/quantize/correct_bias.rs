//! Bias correction: what quantized weights add to the mean of an output is taken off its bias.

use smidgen::Shape;
use smidgen::geometry::Window;

use crate::compile::CompileError;
use crate::compile::calibrate::GraphRun;
use crate::graph::{Graph, GraphOp, Node, Role, TensorId, Value};

/// Changes the biases of convolutions and fully connected layers so that the mean of each output channel stays what it is when the weights are
/// quantized: `bias -= sum (quantized weight - weight) * mean(input)`, over the taps, with the mean of what each tap reads over `count`
/// samples and all places of the window (Nagel et al. 2019, `arXiv:1906.04721`, section 4.2, with measured means). `fill` writes the sample with
/// this index.
///
/// For graphs whose batch norms are folded and activations fused. A layer without a bias gets one. Gives the greatest change of a bias.
///
/// # Errors
/// [`CompileError`] for a graph that does not run.
pub fn correct_bias(
    graph: &mut Graph,
    count: usize,
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<f32, CompileError> {
    let layers: Vec<usize> =
        (0..graph.nodes.len()).filter(|&node| is_corrected(graph, &graph.nodes[node])).collect();
    let mut means: Vec<Vec<f64>> = layers.iter().map(|&layer| vec![0.0; taps(graph, layer)]).collect();
    let mut run = GraphRun::new(graph)?;
    for sample in 0..count {
        fill(sample, run.activation_mut(graph.inputs[0]));
        run.run();
        for (&layer, means) in layers.iter().zip(&mut means) {
            add_means(graph, layer, run.activation(graph.nodes[layer].inputs[0]), means);
        }
    }
    let mut greatest = 0.0_f32;
    for (&layer, means) in layers.iter().zip(&means) {
        greatest = greatest.max(correct(graph, layer, means, count.max(1) as f64).unwrap_or(0.0));
    }
    Ok(greatest)
}

fn is_corrected(graph: &Graph, node: &Node) -> bool {
    let known = matches!(
        node.op,
        GraphOp::Conv2d { .. } | GraphOp::DepthwiseConv2d { .. } | GraphOp::FullyConnected { .. }
    );
    known && node.inputs.get(1).is_some_and(|&id| graph.tensor(id).role == Role::Weights)
}

/// Taps of a layer times the channels of its input.
fn taps(graph: &Graph, layer: usize) -> usize {
    let node = &graph.nodes[layer];
    let [.., in_c] = graph.tensor(node.inputs[0]).shape.dims();
    node.op.window().map_or(1, |window| window.y.kernel * window.x.kernel) * in_c
}

/// Adds the mean of what each tap reads, over the places of the window.
fn add_means(graph: &Graph, layer: usize, input: &[f32], means: &mut [f64]) {
    let node = &graph.nodes[layer];
    let [[_, h, w, c], [_, out_h, out_w, _]] =
        [node.inputs[0], node.output].map(|id| graph.tensor(id).shape.dims());
    let window = node.op.window().copied().unwrap_or(Window::ONE);
    let share = 1.0 / (out_h * out_w) as f64;
    let at = |axis: smidgen::geometry::Axis, out: usize, tap: usize, length: usize| {
        (out * axis.stride + tap * axis.dilation).checked_sub(axis.pad_before).filter(|&at| at < length)
    };
    for k_y in 0..window.y.kernel {
        for k_x in 0..window.x.kernel {
            let means = &mut means[(k_y * window.x.kernel + k_x) * c..][..c];
            for y in (0..out_h).filter_map(|out| at(window.y, out, k_y, h)) {
                for x in (0..out_w).filter_map(|out| at(window.x, out, k_x, w)) {
                    let pixel = &input[(y * w + x) * c..][..c];
                    means.iter_mut().zip(pixel).for_each(|(mean, &value)| *mean += share * f64::from(value));
                }
            }
        }
    }
}

/// Corrects one layer's bias; gives the greatest change.
fn correct(graph: &mut Graph, layer: usize, sums: &[f64], samples: f64) -> Option<f32> {
    let node = graph.nodes[layer].clone();
    let weights = graph.tensor(node.inputs[1]).clone();
    let ([.., in_c], [_, _, filter_c, out_c]) =
        (graph.tensor(node.inputs[0]).shape.dims(), weights.shape.dims());
    let exact = weights.value.as_ref()?.as_f32()?;
    let mut quantized = vec![0.0; exact.len()];
    smidgen::ops::fake_quantize::weights::forward(out_c, exact, &mut quantized);
    let is_depthwise = matches!(node.op, GraphOp::DepthwiseConv2d { .. });
    let groups = in_c / filter_c.max(1);
    let mut shifts = vec![0.0_f64; out_c];
    for (index, (exact, quantized)) in exact.iter().zip(&quantized).enumerate() {
        let (row, out) = (index / out_c, index % out_c);
        // The tap and the input channel that this weight meets.
        let (tap, channel) = if is_depthwise {
            (row, out / (out_c / in_c).max(1))
        } else {
            (row / filter_c, row % filter_c + out / (out_c / groups.max(1)).max(1) * filter_c)
        };
        shifts[out] +=
            (f64::from(*quantized) - f64::from(*exact)) * sums.get(tap * in_c + channel)? / samples;
    }
    let bias = match node.inputs.get(2) {
        Some(&bias) => bias,
        None => {
            let value = Value::F32(vec![0.0; out_c]);
            let bias: TensorId = graph.add_value(
                format!("{}/bias", node.name),
                Shape::vector(out_c as u32),
                Role::Bias,
                value,
            );
            graph.nodes[layer].inputs.push(bias);
            bias
        }
    };
    let values = graph.tensor_mut(bias).value.as_mut()?.as_f32_mut()?;
    values.iter_mut().zip(&shifts).for_each(|(value, shift)| *value = (f64::from(*value) - shift) as f32);
    Some(shifts.iter().fold(0.0, |greatest: f64, shift| greatest.max(shift.abs())) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::quantize::{NamedRanges, Simulation, simulate};
    use crate::compile::{fold_batch_norm, fuse_activation};
    use crate::graph::{Network, RangeSource};

    const SAMPLES: usize = 40;

    fn fill(sample: usize, input: &mut [f32]) {
        // Not around 0: else there is nothing to correct.
        input.iter_mut().enumerate().for_each(|(i, x)| *x = 1.0 + ((sample * 31 + i * 7) as f32).sin());
    }

    /// The mean over samples and places of each channel of the linear output.
    fn means(graph: &Graph) -> Vec<f64> {
        let mut run = GraphRun::new(graph).unwrap();
        let [.., channels] = graph.tensor(graph.outputs[0]).shape.dims();
        let mut means = vec![0.0; channels];
        for sample in 0..SAMPLES {
            fill(sample, run.activation_mut(graph.inputs[0]));
            run.run();
            let output = run.activation::<f32>(graph.outputs[0]);
            let share = channels as f64 / (output.len() * SAMPLES) as f64;
            output.iter().enumerate().for_each(|(i, &x)| means[i % channels] += share * f64::from(x));
        }
        means
    }

    #[test]
    fn means_are_what_they_are_without_quantization() {
        let networks = [
            Network::new("n", [5, 5, 3]).conv_2d(4, 3).stride(2).with_bias(),
            Network::new("n", [5, 5, 3]).depthwise_conv_2d(3),
            Network::new("n", [1, 1, 12]).fully_connected(4),
        ];
        for network in networks {
            let float = fuse_activation(fold_batch_norm(network.seed(5).build().unwrap()));
            let ranges = NamedRanges::new();
            // Weights only.
            let weights = Simulation { ranges: &ranges, source: RangeSource::Given, only: None };
            let mut corrected = float.clone();
            let change = correct_bias(&mut corrected, SAMPLES, &mut fill).unwrap();
            corrected.validate().unwrap();
            assert!(change > 1e-5);
            let distance = |graph: &Graph| -> f64 {
                let found = means(&simulate(graph, &weights));
                found.iter().zip(means(&float)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let (before, after) = (distance(&float), distance(&corrected));
            assert!(after < 0.02 * before, "{before} {after}");
        }
    }
}
