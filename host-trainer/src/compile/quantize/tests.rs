//! Whole graphs: float against int8, and int8 against the specification in f64.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use smidgen::geometry::Window;
use smidgen::ops::quantize::quantize_one;
use smidgen::{Aligned, AllOperators, EntryKind, Metadata, Model, Preprocessing, Session};

use super::*;
use crate::buffer::AlignedBytes;
use crate::compile::calibrate::GraphRun;
use crate::compile::{LowerOptions, compile_inference, fold_batch_norm, fuse_activation};
use crate::graph::{Network, Padding};
use crate::recipe::Calibration;

struct Random(Xoshiro256PlusPlus);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Uniform in `low..high`.
    fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.0.next_u64() >> 40) as f32 / 16_777_216.0)
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.0.next_u64() % bound) as usize
    }
}

/// Samples with neighbouring elements alike, in -1..2.
fn samples(seed: u64, count: usize, length: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    let mut sample = || {
        let [mean, spread] = [random.within(0.0, 1.0), random.within(0.1, 1.0)];
        (0..length).map(|_| mean + spread * random.within(-1.0, 1.0)).collect()
    };
    (0..count).map(|_| sample()).collect()
}

fn values_mut(graph: &mut Graph, id: TensorId) -> &mut [f32] {
    graph.tensor_mut(id).value.as_mut().unwrap().as_f32_mut().unwrap()
}

/// Networks that have every operator and odd windows, with random biases and batch norms, a dead channel and one of tiny weights.
fn networks() -> Vec<Graph> {
    let explicit = Padding::Explicit { top: 1, bottom: 0, left: 2, right: 1 };
    let input = |name: &str, shape| Network::new(name, shape).seed(5);
    let networks = [
        input("plain", [9, 7, 3]).conv_2d(6, 3).stride(2).batch_norm().relu().flatten().fully_connected(5),
        input("separable", [12, 12, 1])
            .conv_2d(8, 3)
            .stride(2)
            .batch_norm()
            .relu()
            .depthwise_conv_2d(3)
            .batch_norm()
            .relu6()
            .conv_2d(16, 1)
            .batch_norm()
            .relu()
            .global_average_pool_2d()
            .fully_connected(10),
        input("windows", [17, 14, 2])
            .conv_2d(5, [2, 3])
            .padding(explicit)
            .depthwise_conv_2d([3, 2])
            .channel_multiplier(2)
            .dilation(2)
            .leaky_relu(0.2)
            .max_pool_2d(2)
            .conv_2d(4, 3)
            .dilation([1, 2])
            .valid()
            .average_pool_2d(2)
            .stride(1),
        input("residual", [8, 8, 4])
            .tap("in")
            .conv_2d(8, 3)
            .stride(2)
            .batch_norm()
            .relu()
            .conv_2d(8, 3)
            .batch_norm()
            .tap("main")
            .from("in")
            .conv_2d(8, 1)
            .stride(2)
            .add("main")
            .relu()
            .tap("block")
            .conv_2d(8, 3)
            .add("block")
            .leaky_relu(0.1)
            .global_average_pool_2d()
            .reshape([1, 2, 4])
            .flatten()
            .fully_connected(4)
            .softmax(),
        input("decoder", [5, 6, 2])
            .conv_2d(4, 1)
            .relu()
            .conv_2d(6, 3)
            .groups(2)
            .stride(2)
            .batch_norm()
            .relu()
            .conv_2d_transpose(4, 3)
            .stride(2)
            .batch_norm()
            .relu()
            .conv_2d_transpose(3, 2)
            .valid()
            .stride(3)
            .conv_2d(4, 1)
            .log_softmax(),
        input("u_net", [6, 4, 2])
            .conv_2d(4, 3)
            .batch_norm()
            .relu()
            .tap("skip")
            .max_pool_2d(2)
            .conv_2d(6, 3)
            .relu()
            .upsample(2)
            .concat("skip")
            .pad(1, 0, 0, 2)
            .conv_2d(8, 3)
            .valid()
            .depth_to_space(2)
            .upsample_bilinear([1, 2])
            .tap("image")
            .global_max_pool_2d()
            .tap("most")
            .from("image")
            .global_average_pool_2d()
            .concat("most")
            .fully_connected(3),
    ];
    let mut random = Random::new(17);
    networks.into_iter().map(|network| randomized(network.build().unwrap(), &mut random)).collect()
}

/// With random biases and batch norms. The first layer with several channels gets a dead one and one of tiny weights.
fn randomized(mut graph: Graph, random: &mut Random) -> Graph {
    let mut odd_channels = true;
    for id in (0..graph.tensors.len()).map(TensorId) {
        let (role, [.., c]) = (graph.tensor(id).role, graph.tensor(id).shape.dims());
        if matches!(role, Role::Activation | Role::Constant) {
            continue;
        }
        let values = values_mut(&mut graph, id);
        let half = values.len() / 2;
        match role {
            Role::Weights if odd_channels && c > 3 => {
                odd_channels = false;
                values.iter_mut().skip(1).step_by(c).for_each(|weight| *weight = 0.0);
                values.iter_mut().skip(2).step_by(c).for_each(|weight| *weight *= 1e-9);
            }
            Role::Bias => values.fill_with(|| random.within(-0.3, 0.5)),
            Role::BatchNormParameters => {
                values[..half].fill_with(|| random.within(0.5, 1.5));
                values[half..].fill_with(|| random.within(-0.3, 0.5));
            }
            Role::RunningStatistics => {
                values[..half].fill_with(|| random.within(-0.2, 0.2));
                values[half..].fill_with(|| random.within(0.5, 2.0));
            }
            _ => {}
        }
    }
    graph
}

fn folded(graph: Graph) -> Graph {
    fuse_activation(fold_batch_norm(graph))
}

fn settings(calibration: Calibration) -> recipe::Quantization {
    recipe::Quantization { calibration, samples: 64, percentile: 99.9, ..recipe::Quantization::default() }
}

fn int8(graph: &Graph, calibration: Calibration, samples: &[Vec<f32>]) -> Graph {
    let fill = &mut |index: usize, input: &mut [f32]| input.copy_from_slice(&samples[index]);
    post_training(graph, &settings(calibration), Options::default(), samples.len(), fill).unwrap()
}

fn input_length(graph: &Graph) -> usize {
    graph.tensor(graph.inputs[0]).shape.elements().unwrap()
}

/// Runs the float graph and its int8 twin on samples; the error of each activation that both have, by name: mean of the magnitude,
/// in steps of its quantization.
fn errors(float: &Graph, int8: &Graph, samples: &[Vec<f32>]) -> Vec<(String, f64)> {
    let (mut float_run, mut int8_run) = (GraphRun::new(float).unwrap(), GraphRun::new(int8).unwrap());
    let pairs: Vec<(TensorId, TensorId, Quantization)> = (0..int8.tensors.len())
        .map(TensorId)
        .filter_map(|id| {
            let tensor = int8.tensor(id);
            Some((float.find(&tensor.name)?, id, tensor.quantization?))
        })
        .collect();
    let mut sums = vec![(0.0, 0usize); pairs.len()];
    for sample in samples {
        let quantization = int8.tensor(int8.inputs[0]).quantization.unwrap();
        let input = int8_run.activation_mut::<i8>(int8.inputs[0]);
        input.iter_mut().zip(sample).for_each(|(x, &value)| *x = quantize_one(quantization, value));
        float_run.activation_mut::<f32>(float.inputs[0]).copy_from_slice(sample);
        float_run.run();
        int8_run.run();
        for (&(float_id, int8_id, Quantization { scale, zero_point }), (sum, count)) in
            pairs.iter().zip(&mut sums)
        {
            let found = int8_run.activation::<i8>(int8_id);
            for (&integer, &value) in found.iter().zip(float_run.activation::<f32>(float_id)) {
                let real = f64::from(scale) * f64::from(i32::from(integer) - zero_point);
                *sum += (real - f64::from(value)).abs() / f64::from(scale);
                *count += 1;
            }
        }
    }
    pairs
        .iter()
        .zip(sums)
        .map(|(&(_, id, _), (sum, count))| (int8.tensor(id).name.clone(), sum / count as f64))
        .collect()
}

/// What rounding of inputs, weights and a handful of layers adds up to, in steps of an activation's quantization.
const MEAN_ERROR_STEPS: f64 = 1.5;

#[test]
fn int8_networks_are_near_their_float_twins() {
    for graph in networks().into_iter().map(folded) {
        let length = input_length(&graph);
        let (calibration, fresh) = (samples(1, 64, length), samples(2, 32, length));
        for method in [Calibration::MinMax, Calibration::Percentile, Calibration::Mse] {
            let quantized = int8(&graph, method, &calibration);
            let errors = errors(&graph, &quantized, &fresh);
            assert!(errors.len() >= 4 && errors.iter().any(|(_, error)| *error > 0.0));
            for (name, error) in errors {
                assert!(error < MEAN_ERROR_STEPS, "{} {name} {method:?}: {error} steps", graph.name);
            }
        }
    }
}

#[test]
fn the_comparison_sees_a_wrong_zero_point() {
    // The negative control of the test above.
    let graph = folded(networks().remove(1));
    let calibration = samples(1, 64, input_length(&graph));
    let mut quantized = int8(&graph, Calibration::MinMax, &calibration);
    let channels = quantized.find("depthwise_conv_2d_1/channels").unwrap();
    let Some(Value::I32(words)) = &mut quantized.tensor_mut(channels).value else { panic!("no records") };
    words.iter_mut().step_by(3).for_each(|bias| *bias += 2000);
    let worst =
        errors(&graph, &quantized, &calibration).into_iter().map(|(_, error)| error).fold(0.0, f64::max);
    assert!(worst > MEAN_ERROR_STEPS, "{worst}");
}

#[test]
fn a_compiled_model_gives_the_bytes_of_its_graph() {
    for graph in networks().into_iter().map(folded) {
        let calibration = samples(1, 16, input_length(&graph));
        let quantized = int8(&graph, Calibration::MinMax, &calibration);
        let metadata = Metadata {
            name: &graph.name,
            labels: "",
            step_names: "",
            provenance: "",
            preprocessing: Preprocessing::None,
        };
        let assembled = compile_inference(&quantized, &LowerOptions::default()).unwrap();
        let file = AlignedBytes::copy_of(&assembled.to_file(&metadata).unwrap());
        let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
        let mut memory = Aligned([0; 1 << 16]);
        let mut session = Session::new(model, &mut memory.0).unwrap();
        let mut run = GraphRun::new(&quantized).unwrap();
        let mut random = Random::new(3);
        for _ in 0..16 {
            let input = run.activation_mut::<i8>(quantized.inputs[0]);
            input.fill_with(|| random.below(256) as u8 as i8);
            session.input_mut(EntryKind::Infer, 0).unwrap().copy_from_slice(input);
            run.run();
            session.run(EntryKind::Infer).unwrap();
            let output = session.output::<i8>(EntryKind::Infer, 0).unwrap();
            assert_eq!(output, run.activation::<i8>(quantized.outputs[0]), "{}", graph.name);
        }
    }
}

/// What the specification says a convolution gives: real numbers throughout, of inputs `input_scale * (q - zero_point)`, a padding of
/// real zeros, int8 weights times their scale and the float bias; in steps of the output, before rounding and clamping.
struct Specification<'a> {
    input: (&'a [i8], Quantization, Shape),
    /// `[C_out, K_h, K_w, C_in]`, or `[1, K_h, K_w, C_out]`.
    weights: (&'a [i8], Shape),
    depthwise: bool,
    records: &'a [i32],
    bias: Vec<f32>,
    window: Window,
    output: (Quantization, Shape),
}

impl Specification<'_> {
    fn steps(&self) -> Vec<f64> {
        let (input, Quantization { scale: input_scale, zero_point }, shape) = self.input;
        let [_, in_h, in_w, in_c] = shape.dims();
        let (Quantization { scale: output_scale, zero_point: output_zero_point }, output) = self.output;
        let [_, out_h, out_w, out_c] = output.dims();
        let (weights, Shape([.., group_c])) = self.weights;
        let group_c = if self.depthwise { 1 } else { group_c as usize };
        let Window { y, x } = self.window;
        let mut steps = Vec::new();
        for (out_y, out_x, channel) in (0..out_h)
            .flat_map(|out_y| (0..out_w).flat_map(move |out_x| (0..out_c).map(move |c| (out_y, out_x, c))))
        {
            let factor =
                f64::from(self.records[3 * channel + 1]) / 2f64.powi(31 - self.records[3 * channel + 2]);
            let weight_scale = factor * f64::from(output_scale) / f64::from(input_scale);
            let mut sum = f64::from(self.bias[channel]);
            for (k_y, k_x) in (0..y.kernel).flat_map(|k_y| (0..x.kernel).map(move |k_x| (k_y, k_x))) {
                let (Some(at_y), Some(at_x)) = (y.input(out_y, k_y, in_h), x.input(out_x, k_x, in_w)) else {
                    continue;
                };
                let tap = k_y * x.kernel + k_x;
                let first = channel * in_c / (out_c * group_c) * group_c;
                for c in 0..group_c {
                    let weight = if self.depthwise {
                        weights[tap * out_c + channel]
                    } else {
                        weights[(channel * y.kernel * x.kernel + tap) * group_c + c]
                    };
                    let value = i32::from(input[(at_y * in_w + at_x) * in_c + first + c]) - zero_point;
                    sum += f64::from(weight) * weight_scale * f64::from(value) * f64::from(input_scale);
                }
            }
            steps.push(sum / f64::from(output_scale) + f64::from(output_zero_point));
        }
        steps
    }
}

/// The greatest difference of the int8 outputs of a graph's convolutions and fully connected layers from the specification, in steps,
/// for random int8 inputs; and how many layers there were. `moved` is added to each input's zero point in the specification.
fn from_specification(float: &Graph, moved: i32) -> (f64, usize) {
    let calibration = samples(1, 16, input_length(float));
    let int8 = int8(float, Calibration::MinMax, &calibration);
    let float = split_leaky_relu(float);
    let mut run = GraphRun::new(&int8).unwrap();
    let mut random = Random::new(4);
    let (mut worst, mut layers) = (0.0f64, 0);
    run.activation_mut::<i8>(int8.inputs[0]).fill_with(|| random.below(256) as u8 as i8);
    run.run();
    for node in &int8.nodes {
        let (window, range) = match node.op {
            GraphOp::Conv2dI8 { window, range } | GraphOp::DepthwiseConv2dI8 { window, range } => {
                (window, range)
            }
            GraphOp::FullyConnectedI8 { range } => (Window::ONE, range),
            _ => continue,
        };
        let original = float.nodes.iter().find(|original| original.name == node.name).unwrap();
        let [input, weights, records] = [0, 1, 2].map(|at| int8.tensor(node.inputs[at]));
        let output = int8.tensor(node.output);
        let Some(Value::I8(filter)) = &weights.value else { panic!("no weights") };
        let Some(Value::I32(records)) = &records.value else { panic!("no records") };
        let bias =
            original.inputs.get(2).map(|&id| float.tensor(id).value.as_ref().unwrap().as_f32().unwrap());
        let mut quantization = input.quantization.unwrap();
        quantization.zero_point += moved;
        let specification = Specification {
            input: (run.activation(node.inputs[0]), quantization, input.shape),
            weights: (filter, weights.shape),
            depthwise: matches!(node.op, GraphOp::DepthwiseConv2dI8 { .. }),
            records,
            bias: bias.map_or_else(|| vec![0.0; records.len() / 3], <[f32]>::to_vec),
            window,
            output: (output.quantization.unwrap(), output.shape),
        };
        let found = run.activation::<i8>(node.output);
        let expected = specification.steps();
        assert_eq!(found.len(), expected.len());
        for (&found, expected) in found.iter().zip(expected) {
            let expected = expected.clamp(range.min.into(), range.max.into());
            worst = worst.max((f64::from(found) - expected).abs());
        }
        layers += 1;
    }
    (worst, layers)
}

#[test]
fn layers_are_what_the_specification_says() {
    for graph in networks().into_iter().map(folded) {
        let (worst, layers) = from_specification(&graph, 0);
        // Half a step of the last rounding; the bias, rounded to a fraction of a step, and the first rounding add a little.
        assert!(worst < 0.52 && layers >= 2, "{}: {worst} steps", graph.name);
        let (worst, _) = from_specification(&graph, 1);
        assert!(worst > 0.6, "the negative control, {}: {worst} steps", graph.name);
    }
}

#[test]
fn the_same_samples_in_another_order_give_the_same_graph() {
    let graph = folded(networks().remove(3));
    let calibration = samples(1, 32, input_length(&graph));
    let reversed: Vec<_> = calibration.iter().rev().cloned().collect();
    for method in [Calibration::MinMax, Calibration::Percentile, Calibration::Mse] {
        let found = int8(&graph, method, &calibration);
        assert_eq!(found, int8(&graph, method, &reversed), "{method:?}");
        assert_ne!(
            found,
            int8(&graph, method, &samples(2, 32, input_length(&graph))),
            "the negative control"
        );
    }
}

#[test]
fn cutting_outliers_off_beats_min_max() {
    let graph = folded(networks().remove(1));
    let length = input_length(&graph);
    let (mut calibration, fresh) = (samples(1, 64, length), samples(2, 32, length));
    calibration[9][20] = 2000.0;
    // In real units: the steps differ.
    let output_error = |method| {
        let quantized = int8(&graph, method, &calibration);
        let Tensor { name, quantization, .. } = quantized.tensor(quantized.outputs[0]);
        let errors = errors(&graph, &quantized, &fresh);
        let (_, steps) = errors.into_iter().find(|(found, _)| found == name).unwrap();
        steps * f64::from(quantization.unwrap().scale)
    };
    let [min_max, percentile] = [Calibration::MinMax, Calibration::Percentile].map(output_error);
    assert!(min_max > 2.0 * percentile, "{min_max} and {percentile}");
}

#[test]
fn real_numbers_at_the_boundary_if_asked_for() {
    let graph = folded(networks().remove(0));
    let calibration = samples(1, 16, input_length(&graph));
    let fill = &mut |index: usize, input: &mut [f32]| input.copy_from_slice(&calibration[index]);
    let options = Options { float_io: true };
    let quantized = post_training(&graph, &settings(Calibration::MinMax), options, 16, fill).unwrap();
    let ends = [quantized.inputs[0], quantized.outputs[0]].map(|id| quantized.tensor(id).element_type);
    assert_eq!(ends, [ElementType::F32; 2]);
    let mut runs = [&graph, &quantized].map(|graph| {
        let mut run = GraphRun::new(graph).unwrap();
        run.activation_mut::<f32>(graph.inputs[0]).copy_from_slice(&calibration[3]);
        run.run();
        run.activation::<f32>(graph.outputs[0]).to_vec()
    });
    let [float, int8] = &mut runs;
    let scale = float.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(float.iter().zip(int8).all(|(a, b)| (*a - *b).abs() < 0.05 * scale), "{runs:?}");
}

#[test]
fn everything_keeps_its_place() {
    let graph = folded(networks().remove(2));
    let quantized = int8(&graph, Calibration::MinMax, &samples(1, 16, input_length(&graph)));
    let of = |id: TensorId| quantized.tensor(id).quantization.unwrap();
    let mut kept = 0;
    for node in &quantized.nodes {
        if let GraphOp::MaxPool2dI8 { .. } | GraphOp::AveragePool2dI8 { .. } | GraphOp::Reshape = node.op {
            assert_eq!(of(node.inputs[0]), of(node.output), "{}", node.name);
            kept += 1;
        }
    }
    assert_eq!(kept, 2);
    let names = |graph: &Graph| graph.nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&quantized), names(&split_leaky_relu(&graph)));
    for tensor in &quantized.tensors {
        if let (Some(Value::I8(weights)), true) = (&tensor.value, tensor.name.ends_with("/weights")) {
            assert!(weights.iter().all(|&weight| weight != -128));
        }
    }
}

#[test]
fn errors_name_the_layer() {
    let ranges = |graph: &Graph| {
        let mut ranges = Ranges::new(graph);
        (0..graph.tensors.len()).for_each(|id| ranges.set(TensorId(id), RealRange { min: -1.0, max: 1.0 }));
        ranges
    };
    let message =
        |graph: &Graph, ranges: &Ranges| quantize(graph, ranges, Options::default()).unwrap_err().to_string();
    let network = || Network::new("net", [4, 4, 1]);

    let graph = network().conv_2d(2, 1).batch_norm().build().unwrap();
    assert_eq!(
        message(&graph, &ranges(&graph)),
        "layer batch_norm_1: batch_norm has no int8 form; fold it into the convolution before it"
    );
    let mut graph = network().conv_2d(2, 1).build().unwrap();
    assert_eq!(
        message(&graph, &Ranges::new(&graph)),
        "tensor \"input\" has no range of finite numbers; calibrate this very graph"
    );
    let mut upside_down = ranges(&graph);
    upside_down.set(graph.outputs[0], RealRange { min: 1.0, max: f32::INFINITY });
    assert!(message(&graph, &upside_down).starts_with("tensor \"conv_2d_1\" has no range"));
    let mut tiny = ranges(&graph);
    tiny.set(graph.outputs[0], RealRange { min: 0.0, max: 1e-9 });
    assert!(message(&graph, &tiny).starts_with("layer conv_2d_1: its output's scale"));
    *graph.nodes[0].op.activation_mut().unwrap() =
        smidgen::ops::activation::Activation::LeakyRelu { alpha: 0.5 };
    assert!(message(&graph, &ranges(&graph)).contains("split its leaky ReLU"));
    let weights = graph.find("conv_2d_1/weights").unwrap();
    *graph.nodes[0].op.activation_mut().unwrap() = smidgen::ops::activation::Activation::None;
    values_mut(&mut graph, weights)[1] = f32::NAN;
    assert_eq!(
        message(&graph, &ranges(&graph)),
        "tensor \"conv_2d_1/weights\" has no finite constant values"
    );
}
