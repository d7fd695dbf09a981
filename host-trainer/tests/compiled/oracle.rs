//! A naive interpreter of graphs in f64, written from the definitions: what compiled programs are held against.

use smidgen::Shape;
use smidgen::geometry::Window;
use smidgen::ops::activation::Activation;
use smidgen::ops::function::Function;
use smidgen::ops::reduce::float::Reduction;
use smidgen::ops::resize_bilinear::Grid;
use smidgen_trainer::compile::Loss;
use smidgen_trainer::graph::movement::Strided;
use smidgen_trainer::graph::{Elementwise, Graph, GraphOp, Node, ReduceKind, TensorId};

/// Values of all tensors of a graph for a whole batch.
pub(crate) type Values = Vec<Vec<f64>>;

/// How batch norms normalize.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Statistics {
    Batch,
    Running,
}

/// The parameters and constants of a graph; activations are empty.
pub(crate) fn constants(graph: &Graph) -> Values {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    let tensors = graph.tensors.iter();
    tensors
        .map(|tensor| tensor.value.as_ref().and_then(|value| value.as_f32()).map_or(vec![], wide))
        .collect()
}

/// Computes every activation from `input`, which holds `samples` samples.
pub(crate) fn forward(
    graph: &Graph,
    values: &mut Values,
    input: &[f64],
    samples: usize,
    statistics: Statistics,
) {
    values[graph.inputs[0].0] = input.to_vec();
    for node in &graph.nodes {
        values[node.output.0] = compute(graph, node, values, samples, statistics);
    }
}

fn apply(function: Function, x: f64) -> f64 {
    let normal = |x: f64| 0.5 * libm::erfc(-x / 2f64.sqrt());
    match function {
        Function::Logistic => 1.0 / (1.0 + (-x).exp()),
        Function::Tanh => x.tanh(),
        Function::Elu if x >= 0.0 => x,
        Function::Elu => x.exp_m1(),
        Function::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::Gelu => x * normal(x),
        Function::Exp => x.exp(),
        Function::Neg => -x,
        Function::Abs => x.abs(),
        Function::Sqrt => x.sqrt(),
        Function::Rsqrt => 1.0 / x.sqrt(),
        other => panic!("the oracle does not know {}", other.name()),
    }
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::ReluN1To1 => x.clamp(-1.0, 1.0),
        Activation::LeakyRelu { alpha } => {
            if x > 0.0 {
                x
            } else {
                f64::from(alpha) * x
            }
        }
    }
}

/// The positions `(n, out_y, out_x)` of an output, and for each the taps `(k_y, k_x, in_y, in_x)` inside the input.
fn slide(
    window: &Window,
    input: Shape,
    output: Shape,
    samples: usize,
    mut visit: impl FnMut(usize, usize, &[(usize, usize)]),
) {
    let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (input.dims(), output.dims());
    for n in 0..samples {
        for out_y in 0..out_h {
            for out_x in 0..out_w {
                let mut taps = Vec::new();
                for k_y in 0..window.y.kernel {
                    for k_x in 0..window.x.kernel {
                        let y = (out_y * window.y.stride + k_y * window.y.dilation) as i64
                            - window.y.pad_before as i64;
                        let x = (out_x * window.x.stride + k_x * window.x.dilation) as i64
                            - window.x.pad_before as i64;
                        if (0..in_h as i64).contains(&y) && (0..in_w as i64).contains(&x) {
                            let pixel = (n * in_h + y as usize) * in_w + x as usize;
                            taps.push((k_y * window.x.kernel + k_x, pixel));
                        }
                    }
                }
                visit((n * out_h + out_y) * out_w + out_x, taps.len(), &taps);
            }
        }
    }
}

fn compute(graph: &Graph, node: &Node, values: &Values, samples: usize, statistics: Statistics) -> Vec<f64> {
    let value = |index: usize| &values[node.inputs[index].0];
    let shape = |index: usize| graph.tensor(node.inputs[index]).shape;
    let output = graph.tensor(node.output).shape;
    let [_, _, _, in_c] = shape(0).dims();
    let [_, _, _, out_c] = output.dims();
    let input = value(0);
    let mut result = vec![0.0; output.elements().unwrap() * samples];
    let bias = |c: usize| if node.inputs.len() > 2 { value(2)[c] } else { 0.0 };
    match &node.op {
        GraphOp::Conv2d { window, .. } => slide(window, shape(0), output, samples, |pixel, _, taps| {
            let [_, _, group_c, _] = shape(1).dims();
            for c in 0..out_c {
                let first = c / (out_c * group_c / in_c) * group_c;
                let products = taps.iter().flat_map(|&(tap, from)| {
                    (0..group_c).map(move |i| {
                        input[from * in_c + first + i] * value(1)[(tap * group_c + i) * out_c + c]
                    })
                });
                result[pixel * out_c + c] = bias(c) + products.sum::<f64>();
            }
        }),
        GraphOp::TransposeConv { window, .. } => {
            result.iter_mut().enumerate().for_each(|(index, sum)| *sum = bias(index % out_c));
            // The convolution whose gradient it is reads the output.
            slide(window, output, shape(0), samples, |from, _, taps| {
                for (&(tap, pixel), c) in taps.iter().flat_map(|tap| (0..out_c).map(move |c| (tap, c))) {
                    let products =
                        (0..in_c).map(|i| input[from * in_c + i] * value(1)[(tap * out_c + c) * in_c + i]);
                    result[pixel * out_c + c] += products.sum::<f64>();
                }
            });
        }
        GraphOp::DepthwiseConv2d { window, .. } => {
            slide(window, shape(0), output, samples, |pixel, _, taps| {
                for c in 0..out_c {
                    let i = c / (out_c / in_c);
                    let products =
                        taps.iter().map(|&(tap, from)| input[from * in_c + i] * value(1)[tap * out_c + c]);
                    result[pixel * out_c + c] = bias(c) + products.sum::<f64>();
                }
            });
        }
        GraphOp::FullyConnected { .. } => {
            for n in 0..input.len() / in_c {
                for c in 0..out_c {
                    let products = (0..in_c).map(|i| input[n * in_c + i] * value(1)[i * out_c + c]);
                    result[n * out_c + c] = bias(c) + products.sum::<f64>();
                }
            }
        }
        GraphOp::MaxPool2d { window } => slide(window, shape(0), output, samples, |pixel, _, taps| {
            for c in 0..out_c {
                let candidates = taps.iter().map(|&(_, from)| input[from * in_c + c]);
                result[pixel * out_c + c] = candidates.fold(f64::NEG_INFINITY, f64::max);
            }
        }),
        GraphOp::AveragePool2d { window } => {
            slide(window, shape(0), output, samples, |pixel, count, taps| {
                for c in 0..out_c {
                    let sum: f64 = taps.iter().map(|&(_, from)| input[from * in_c + c]).sum();
                    result[pixel * out_c + c] = sum / count as f64;
                }
            });
        }
        GraphOp::BatchNorm { epsilon, .. } => {
            for c in 0..out_c {
                let (mean, variance) = match statistics {
                    Statistics::Running => (value(2)[c], value(2)[out_c + c]),
                    Statistics::Batch => moments(input, c, out_c),
                };
                let scale = value(1)[c] / (variance + f64::from(*epsilon)).sqrt();
                for (result, x) in result.iter_mut().zip(input).skip(c).step_by(out_c) {
                    *result = (x - mean) * scale + value(1)[out_c + c];
                }
            }
        }
        GraphOp::Softmax => {
            for (result, x) in result.chunks_exact_mut(out_c).zip(input.chunks_exact(out_c)) {
                result.copy_from_slice(&softmax(x));
            }
        }
        GraphOp::LogSoftmax => {
            for (result, x) in result.chunks_exact_mut(out_c).zip(input.chunks_exact(out_c)) {
                result.iter_mut().zip(softmax(x)).for_each(|(result, p)| *result = p.ln());
            }
        }
        GraphOp::Reshape | GraphOp::Activation { .. } => result.copy_from_slice(input),
        GraphOp::Elementwise(Elementwise::Function { function }) => {
            for (result, &x) in result.iter_mut().zip(input) {
                *result = apply(*function, x);
            }
        }
        operator @ (GraphOp::Add { .. } | GraphOp::Elementwise(_)) => {
            let function: fn(f64, f64) -> f64 = match operator {
                GraphOp::Add { .. } => |x, y| x + y,
                GraphOp::Elementwise(Elementwise::Sub { .. }) => |x, y| x - y,
                GraphOp::Elementwise(Elementwise::Mul { .. }) => |x, y| x * y,
                GraphOp::Elementwise(Elementwise::Maximum { .. }) => f64::max,
                GraphOp::Elementwise(Elementwise::Minimum { .. }) => f64::min,
                GraphOp::Elementwise(Elementwise::Prelu) => |x, alpha| if x >= 0.0 { x } else { x * alpha },
                other => panic!("the oracle does not know {}", other.name()),
            };
            let [_, h, w, c] = output.dims();
            for (index, result) in result.iter_mut().enumerate() {
                let at = [index / (h * w * c), index / (w * c) % h, index / c % w, index % c];
                let side = |input: usize| {
                    let [_, h, w, c] = shape(input).dims();
                    // A parameter is the same for all samples.
                    let n = value(input).len() / (h * w * c);
                    let place = |place, axis: usize, dim| place * dim + if dim == 1 { 0 } else { at[axis] };
                    value(input)
                        [[n, h, w, c].into_iter().enumerate().fold(0, |p, (axis, dim)| place(p, axis, dim))]
                };
                *result = function(side(0), side(1));
            }
        }
        GraphOp::Movement(movement) => {
            let per_sample = output.elements().unwrap();
            result.fill(movement.fill.map_or(0.0, |bits| f64::from(f32::from_bits(bits.cast_unsigned()))));
            for (n, result) in result.chunks_exact_mut(per_sample).enumerate() {
                for transfer in &movement.transfers {
                    let length = shape(transfer.input).elements().unwrap();
                    let input = &value(transfer.input)[n * length..][..length];
                    for (from, to) in places(&transfer.source).into_iter().zip(places(&transfer.destination))
                    {
                        result[to] = input[from];
                    }
                }
            }
        }
        GraphOp::Gather(gather) => {
            // Rows and columns, the only ones a layer picks, `height / out_h` and `width / out_w` apart.
            assert_eq!(gather.axes, [true, true, false]);
            let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (shape(0).dims(), output.dims());
            for (place, result) in result.iter_mut().enumerate() {
                let (pixel, c) = (place / out_c, place % out_c);
                let (n, y, x) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
                *result = input[((n * in_h + y * in_h / out_h) * in_w + x * in_w / out_w) * in_c + c];
            }
        }
        GraphOp::Reduce(reduce) => {
            let ReduceKind::Float(kind) = reduce.kind else { panic!("not f32") };
            let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (shape(0).dims(), output.dims());
            let mut of_output = vec![vec![]; result.len()];
            for (place, &x) in input.iter().enumerate() {
                let (n, rest) = (place / (in_h * in_w * in_c), place % (in_h * in_w * in_c));
                let index = [rest / (in_w * in_c), rest / in_c % in_w, rest % in_c];
                let [y, x_, c] = [0, 1, 2].map(|axis| if reduce.axes[axis] { 0 } else { index[axis] });
                of_output[((n * out_h + y) * out_w + x_) * out_c + c].push(x);
            }
            for (result, values) in result.iter_mut().zip(of_output) {
                let sum: f64 = values.iter().sum();
                *result = match kind {
                    Reduction::Sum => sum,
                    Reduction::Mean => sum / values.len() as f64,
                    Reduction::Max => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
                    Reduction::Min => values.into_iter().fold(f64::INFINITY, f64::min),
                };
            }
        }
        GraphOp::Lstm { time_major: false, .. } => {
            recurrent([in_c, out_c], shape(0).dims()[2], input, &mut result, |x, h, cell| {
                let at = |unit: usize, gate: usize| {
                    let column = gate * out_c + unit;
                    let sums: f64 = dot(x, value(1), 4 * out_c, column) + dot(h, value(2), 4 * out_c, column);
                    value(3)[column] + sums
                };
                (0..out_c)
                    .map(|unit| {
                        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| at(unit, gate));
                        cell[unit] = sigmoid(f) * cell[unit] + sigmoid(i) * g.tanh();
                        sigmoid(o) * cell[unit].tanh()
                    })
                    .collect()
            });
        }
        GraphOp::Gru { time_major: false } => {
            recurrent([in_c, out_c], shape(0).dims()[2], input, &mut result, |x, h, _| {
                let sum = |unit: usize, gate: usize| {
                    let column = gate * out_c + unit;
                    value(2)[column] + dot(h, value(1), 3 * out_c, column)
                };
                (0..out_c)
                    .map(|unit| {
                        let reset = sigmoid(x[unit] + sum(unit, 0));
                        let update = sigmoid(x[out_c + unit] + sum(unit, 1));
                        let new = (x[2 * out_c + unit] + reset * sum(unit, 2)).tanh();
                        (1.0 - update) * new + update * h[unit]
                    })
                    .collect()
            });
        }
        GraphOp::ResizeBilinear(resize) => {
            assert_eq!(resize.grid, Grid::HalfPixelCenters);
            let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (shape(0).dims(), output.dims());
            let along = |index: usize, input: usize, output: usize| {
                let position = ((index as f64 + 0.5) * input as f64 / output as f64 - 0.5)
                    .clamp(0.0, input as f64 - 1.0);
                (position.floor() as usize, position.ceil() as usize, position.fract())
            };
            for (place, result) in result.iter_mut().enumerate() {
                let (pixel, c) = (place / out_c, place % out_c);
                let (n, y, x) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
                let ((y0, y1, down), (x0, x1, right)) = (along(y, in_h, out_h), along(x, in_w, out_w));
                let at = |y: usize, x: usize| input[((n * in_h + y) * in_w + x) * in_c + c];
                let row = |y: usize| at(y, x0) * (1.0 - right) + at(y, x1) * right;
                *result = row(y0) * (1.0 - down) + row(y1) * down;
            }
        }
        other => panic!("the oracle does not know {}", other.name()),
    }
    result.iter().map(|&x| activate(node.op.activation(), x)).collect()
}

/// Runs `step` over sequences of `steps` rows, from input, hidden state and cell state to the next hidden state.
fn recurrent(
    [in_c, units]: [usize; 2],
    steps: usize,
    input: &[f64],
    output: &mut [f64],
    step: impl Fn(&[f64], &[f64], &mut [f64]) -> Vec<f64>,
) {
    for (input, output) in input.chunks_exact(steps * in_c).zip(output.chunks_exact_mut(steps * units)) {
        let (mut hidden, mut cell) = (vec![0.0; units], vec![0.0; units]);
        for (x, output) in input.chunks_exact(in_c).zip(output.chunks_exact_mut(units)) {
            hidden = step(x, &hidden, &mut cell);
            output.copy_from_slice(&hidden);
        }
    }
}

fn dot(values: &[f64], matrix: &[f64], columns: usize, column: usize) -> f64 {
    values.iter().zip(matrix.iter().skip(column).step_by(columns)).map(|(value, weight)| value * weight).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// All places of a block, in the order of its indices.
fn places(block: &Strided) -> Vec<usize> {
    let mut places = vec![block.offset];
    for (&dim, &stride) in block.dims.iter().zip(&block.strides) {
        places = places.iter().flat_map(|&place| (0..dim).map(move |i| place + i as i64 * stride)).collect();
    }
    places.into_iter().map(|place| usize::try_from(place).unwrap()).collect()
}

/// Mean and biased variance of one channel.
pub(crate) fn moments(values: &[f64], channel: usize, channels: usize) -> (f64, f64) {
    let of_channel = || values.iter().skip(channel).step_by(channels);
    let count = of_channel().count() as f64;
    let mean = of_channel().sum::<f64>() / count;
    (mean, of_channel().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - most).exp()).sum();
    logits.iter().map(|x| (x - most).exp() / sum).collect()
}

/// What the predictions are compared with.
pub(crate) enum Target {
    Labels(Vec<i32>),
    Values(Vec<f64>),
}

/// The sum of the losses over the batch.
pub(crate) fn loss(graph: &Graph, values: &Values, target: &Target, loss: Loss) -> f64 {
    let output = graph.outputs[0];
    let per_sample = graph.tensor(output).shape.elements().unwrap();
    match (loss, target) {
        (Loss::SoftmaxCrossEntropy { label_smoothing }, Target::Labels(labels)) => {
            let logits = logits(graph, output);
            let smoothing = f64::from(label_smoothing);
            let losses = values[logits.0].chunks_exact(per_sample).zip(labels).map(|(logits, &label)| {
                let probabilities = softmax(logits);
                let wanted = |c: usize| {
                    let hit = if c == label as usize { 1.0 - smoothing } else { 0.0 };
                    hit + smoothing / per_sample as f64
                };
                -probabilities.iter().enumerate().map(|(c, p)| wanted(c) * p.ln()).sum::<f64>()
            });
            losses.sum()
        }
        (Loss::MeanSquaredError, Target::Values(target)) => {
            let squares = values[output.0].iter().zip(target).map(|(y, t)| (y - t).powi(2));
            squares.sum::<f64>() / per_sample as f64
        }
        _ => panic!("the target does not belong to the loss"),
    }
}

fn logits(graph: &Graph, output: TensorId) -> TensorId {
    match graph.nodes.iter().find(|node| node.output == output) {
        Some(node) if node.op == GraphOp::Softmax => node.inputs[0],
        _ => output,
    }
}

/// Central differences of the mean loss with respect to every element of a parameter.
pub(crate) fn gradient(
    graph: &Graph,
    parameter: TensorId,
    input: &[f64],
    target: &Target,
    samples: usize,
    kind: Loss,
) -> Vec<f64> {
    /// The error of the difference is about `STEP²`, that of rounding about `1e-16 / STEP`; and the smaller the step, the fewer activations go over an edge.
    const STEP: f64 = 1e-6;
    let mut values = constants(graph);
    let at = |values: &mut Values, element: usize, x: f64| {
        values[parameter.0][element] = x;
        forward(graph, values, input, samples, Statistics::Batch);
        loss(graph, values, target, kind) / samples as f64
    };
    (0..values[parameter.0].len())
        .map(|element| {
            let x = values[parameter.0][element];
            let difference = at(&mut values, element, x + STEP) - at(&mut values, element, x - STEP);
            values[parameter.0][element] = x;
            difference / (2.0 * STEP)
        })
        .collect()
}
