//! Compiled programs against an interpreter in f64 and central differences.

mod machine;
mod oracle;

use std::collections::BTreeSet;

use machine::Machine;
use oracle::{Statistics, Target};
use smidgen::EntryKind;
use smidgen_trainer::compile::{
    Assembled, Loss, LowerOptions, Optimizer, TrainingOptions, compile_inference, compile_training,
    fold_batch_norm, fuse_activation,
};
use smidgen_trainer::graph::{Graph, Network, Padding, Role};

const BATCH: usize = 8;
/// Error of a gradient, of the largest element of its tensor: f32 arithmetic with sums of some hundred terms, and batch norm's
/// cancellations.
const GRADIENT_TOLERANCE: f64 = 2e-5;
/// Error of a gradient relative to the largest of the network's: a gradient that is 0 in exact arithmetic (a bias before a batch norm) is
/// a cancellation of such terms.
const ZERO_TOLERANCE: f64 = 1e-6;
/// Error of an output or a loss, of its size and at least of 1.
const VALUE_TOLERANCE: f64 = 2e-5;

const CROSS_ENTROPY: Loss = Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 };

fn separable() -> (Network, Loss) {
    let network = Network::new("separable", [9, 8, 2]).conv_2d(4, 3).stride(2).batch_norm().relu();
    let network = network.depthwise_conv_2d([3, 2]).channel_multiplier(2).batch_norm().leaky_relu(0.1);
    let network = network.conv_2d(5, 1).with_bias().batch_norm().relu6().max_pool_2d(2).flatten();
    (network.fully_connected(3), CROSS_ENTROPY)
}

fn residual() -> (Network, Loss) {
    let network = Network::new("residual", [6, 6, 2]).conv_2d(4, 3).batch_norm().relu().tap("a");
    let network =
        network.conv_2d(4, 3).batch_norm().relu().conv_2d(4, 3).batch_norm().add("a").relu().tap("b");
    let network = network.conv_2d(6, 3).stride(2).batch_norm().relu().tap("c");
    let network = network.from("b").conv_2d(6, 1).stride(2).add("c").relu().global_average_pool_2d();
    (network.fully_connected(4).softmax(), Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 })
}

fn plain() -> (Network, Loss) {
    let padding = Padding::Explicit { top: 1, bottom: 0, left: 2, right: 1 };
    let network = Network::new("plain", [8, 7, 3]).conv_2d(4, 3).padding(padding).dilation([1, 2]).relu6();
    let network = network.average_pool_2d(2).tap("a").leaky_relu(0.2).add("a").max_pool_2d(3).stride(1);
    (network.flatten().fully_connected(6).relu().fully_connected(3), CROSS_ENTROPY)
}

fn autoencoder() -> (Network, Loss) {
    let network = Network::new("autoencoder", [2, 2, 3]).flatten().fully_connected(7).batch_norm().relu();
    let network = network.fully_connected(3).batch_norm().relu().fully_connected(7).batch_norm().relu();
    (network.fully_connected(12).reshape([2, 2, 3]), Loss::MeanSquaredError)
}

fn u_net() -> (Network, Loss) {
    let network = Network::new("u_net", [4, 6, 2]).conv_2d(3, 3).batch_norm().relu().tap("a").max_pool_2d(2);
    let network = network.conv_2d(4, 3).batch_norm().relu().tap("b").max_pool_2d([2, 1]).conv_2d(4, 1).relu();
    let network = network.upsample([2, 1]).concat("b").conv_2d(4, 3).batch_norm().relu();
    let network = network.upsample_bilinear(2).concat("a").pad(1, 0, 0, 2).conv_2d(2, 3).valid();
    (network, Loss::MeanSquaredError)
}

fn pieces() -> (Network, Loss) {
    let network =
        Network::new("pieces", [4, 4, 3]).conv_2d(8, 3).tap("x").relu().concat("x").depth_to_space(2);
    let network = network.conv_2d(3, 2).pad(0, 1, 2, 0).tap("p").global_max_pool_2d().tap("most").from("p");
    (network.global_average_pool_2d().concat("most").fully_connected(3), CROSS_ENTROPY)
}

/// Squeeze and excitation, and every layer of two inputs, with broadcasting.
fn gated() -> (Network, Loss) {
    let network = Network::new("gated", [4, 5, 3]).conv_2d(4, 3).prelu().tap("a").hard_swish().tap("b");
    let network = network.global_average_pool_2d().tap("mean").fully_connected(4).sigmoid().mul("b").tap("c");
    let network = network.from("b").sub("mean").tanh().maximum("c").tap("d");
    let network = network.from("mean").gelu().add("a").minimum("d").elu().relu_n1_to_1();
    (network.flatten().fully_connected(3), CROSS_ENTROPY)
}

fn squared_probabilities() -> (Network, Loss) {
    (Network::new("probabilities", [1, 1, 5]).fully_connected(4).softmax(), Loss::MeanSquaredError)
}

/// Up again to a larger image, with odd sizes and outputs that no tap reaches.
fn decoder() -> (Network, Loss) {
    let network = Network::new("decoder", [3, 4, 2]).conv_2d(4, 1).relu();
    let network = network.conv_2d(6, 3).groups(2).stride(2).batch_norm().relu();
    let network = network.conv_2d_transpose(4, 3).stride(2).batch_norm().relu();
    let padding = Padding::Explicit { top: 1, bottom: 0, left: 0, right: 1 };
    let network = network.conv_2d_transpose(3, [3, 2]).padding(padding).stride([1, 2]).relu6();
    (network.conv_2d_transpose(2, 2).valid().stride(3).log_softmax(), Loss::MeanSquaredError)
}

/// Every normalization over one sample, and what takes the greatest of channels or puts them in another order.
fn normalized() -> (Network, Loss) {
    let network = Network::new("normalized", [3, 4, 2]).conv_2d(6, 2).layer_norm().relu().conv_2d(8, 1);
    let network = network.instance_norm().channel_shuffle(4).conv_2d(12, [2, 1]).group_norm(3);
    (network.maxout(2).crop(1, 0, 0, 1).flatten().layer_norm().fully_connected(3), CROSS_ENTROPY)
}

/// Few pixels, here and below: the difference of a weight is to move no activation over its edge.
fn residuals() -> (Network, Loss) {
    let network = Network::new("residuals", [3, 3, 4]).residual(4).residual(6).stride(2);
    (network.global_average_pool_2d().fully_connected(3), CROSS_ENTROPY)
}

fn bottlenecks() -> (Network, Loss) {
    let network = Network::new("bottlenecks", [3, 3, 4]).bottleneck(8).stride(2).squeeze_excite(3);
    (network.global_average_pool_2d().fully_connected(3), CROSS_ENTROPY)
}

fn pre_activations() -> (Network, Loss) {
    let network = Network::new("pre_activations", [3, 3, 4]).pre_activation(4).pre_activation(6).stride(2);
    (network.global_average_pool_2d().fully_connected(3), CROSS_ENTROPY)
}

fn inverted() -> (Network, Loss) {
    let network =
        Network::new("inverted", [4, 3, 3]).inverted_residual(4, 2).stride(2).inverted_residual(4, 1);
    (network.global_average_pool_2d().fully_connected(3), CROSS_ENTROPY)
}

fn shuffled() -> (Network, Loss) {
    let network =
        Network::new("shuffled", [4, 3, 4]).shuffle_unit(8, 2).stride(2).shuffle_unit(8, 2).fire(3, 4);
    (network.global_average_pool_2d().fully_connected(3), CROSS_ENTROPY)
}

/// Back through time, and through what stands before and behind.
fn remembering() -> (Network, Loss) {
    let network = Network::new("remembering", [2, 5, 3]).conv_2d(2, [1, 2]).lstm(3).tap("lstm").gru(4).gru(3);
    (network.add("lstm").crop(0, 0, 4, 0).flatten().fully_connected(3), CROSS_ENTROPY)
}

fn networks() -> Vec<(Graph, Loss)> {
    [
        separable(),
        residual(),
        plain(),
        gated(),
        autoencoder(),
        squared_probabilities(),
        decoder(),
        u_net(),
        pieces(),
        normalized(),
        residuals(),
        bottlenecks(),
        pre_activations(),
        inverted(),
        shuffled(),
        remembering(),
    ]
    .into_iter()
    .map(|(network, loss)| (vary(network.seed(5).build().unwrap()), loss))
    .collect()
}

/// Batch norms and biases that are not at their special first values.
fn vary(mut graph: Graph) -> Graph {
    for tensor in &mut graph.tensors {
        let role = tensor.role;
        let half = tensor.shape.elements().unwrap() / 2;
        for (index, value) in
            tensor.value.iter_mut().filter_map(|value| value.as_f32_mut()).flatten().enumerate()
        {
            let wave = (index as f32 * 1.7 + half as f32).sin();
            match role {
                Role::Bias => *value = 0.3 * wave,
                Role::BatchNormParameters => *value += 0.4 * wave,
                Role::RunningStatistics => *value += if index < half { 0.2 * wave } else { 0.5 * wave.abs() },
                _ => {}
            }
        }
    }
    graph
}

struct Batch {
    input: Vec<f32>,
    target: Target,
}

impl Batch {
    fn new(graph: &Graph, loss: Loss) -> Self {
        let elements = |id| graph.tensor(id).shape.elements().unwrap() * BATCH;
        let wave = |count: usize, speed: f64| (0..count).map(move |i| (i as f64 * speed + 0.3).sin() as f32);
        let target = match loss {
            Loss::MeanSquaredError => {
                Target::Values(wave(elements(graph.outputs[0]), 0.37).map(f64::from).collect())
            }
            Loss::SoftmaxCrossEntropy { .. } => {
                Target::Labels((0..BATCH as i32).map(|i| (i * 5) % 3).collect())
            }
            other => panic!("the oracle has no {other:?}"),
        };
        Self { input: wave(elements(graph.inputs[0]), 0.731).collect(), target }
    }

    fn wide(&self) -> Vec<f64> {
        self.input.iter().map(|&x| f64::from(x)).collect()
    }

    fn target_bytes(&self) -> Vec<u8> {
        match &self.target {
            Target::Labels(labels) => labels.iter().flat_map(|label| label.to_le_bytes()).collect(),
            Target::Values(values) => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        }
    }
}

fn options(loss: Loss, chunks: usize) -> TrainingOptions {
    TrainingOptions {
        chunk_samples: (BATCH / chunks) as u32,
        chunks: chunks as u32,
        loss,
        optimizer: Optimizer::Sgd { momentum: 0.0, weight_decay: 0.01, nesterov: false },
        ..TrainingOptions::default()
    }
}

/// The largest error of each gradient, as a share of what is tolerated.
fn gradient_errors(assembled: Assembled, graph: &Graph, loss: Loss, chunks: usize) -> Vec<(String, f64)> {
    let batch = Batch::new(graph, loss);
    let mut machine = Machine::new(assembled, chunks);
    machine.run_batch(EntryKind::Train, &batch.input, &batch.target_bytes());
    let wanted: Vec<_> = graph
        .trained_parameters()
        .map(|id| (id, oracle::gradient(graph, id, &batch.wide(), &batch.target, BATCH, loss)))
        .collect();
    let largest = |values: &[f64]| values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let most = wanted.iter().map(|(_, gradient)| largest(gradient)).fold(0.0, f64::max);
    wanted
        .iter()
        .map(|(id, expected)| {
            let name = &graph.tensor(*id).name;
            let found = machine.tensor(&format!("{name}/gradient"));
            let tolerated = GRADIENT_TOLERANCE * largest(expected) + ZERO_TOLERANCE * most;
            let errors =
                found.iter().zip(expected).map(|(&found, expected)| (f64::from(found) - expected).abs());
            let worst =
                errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst });
            (name.clone(), worst / tolerated)
        })
        .collect()
}

#[test]
fn gradients_are_those_of_central_differences() {
    for (graph, loss) in networks() {
        for chunks in [1, 2, 4] {
            let assembled = compile_training(&graph, &options(loss, chunks)).unwrap();
            for (name, error) in gradient_errors(assembled, &graph, loss, chunks) {
                println!("{} {chunks} {name} {error:.4}", graph.name);
                assert!(
                    error <= 1.0,
                    "{}, {chunks} chunks: {name} is {error} times the tolerance away",
                    graph.name
                );
            }
        }
    }
}

#[test]
fn a_wrong_step_is_noticed() {
    let (network, loss) = separable();
    let graph = vary(network.seed(5).build().unwrap());
    let mut unnoticed = Vec::new();
    let clean = compile_training(&graph, &options(loss, 2)).unwrap();
    for step in 0..clean.entry(EntryKind::Train).unwrap().step_count as usize {
        let mut assembled = clean.clone();
        let name = assembled.step_names[step].clone();
        let step = &mut assembled.steps[step];
        match smidgen::Operator::from_code(step.operator).unwrap().name() {
            // Half as many elements, no activation, the padding on the other side, another scale.
            "batch_norm_grad_input" => step.attributes[2] /= 2,
            "batch_norm_grad_statistics" => step.attributes.iter_mut().for_each(|attribute| *attribute = 0),
            "depthwise_conv_2d_grad_weights" => step.attributes.swap(6, 7),
            "softmax_cross_entropy" => step.attributes[1] = 0.25f32.to_bits().cast_signed(),
            _ => continue,
        }
        let errors = gradient_errors(assembled, &graph, loss, 2);
        if errors.iter().all(|&(_, error)| error <= 1.0) {
            unnoticed.push(name);
        }
    }
    assert!(unnoticed.is_empty(), "wrong but within the tolerance: {unnoticed:?}");
}

fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(
            error <= VALUE_TOLERANCE * expected.abs().max(1.0),
            "{what}[{index}]: {found}, expected {expected}"
        );
    }
}

#[test]
fn losses_and_running_statistics_are_those_of_the_batch() {
    for (graph, loss) in networks() {
        let batch = Batch::new(&graph, loss);
        for chunks in [1, 4] {
            let mut machine = Machine::new(compile_training(&graph, &options(loss, chunks)).unwrap(), chunks);
            for (kind, statistics) in
                [(EntryKind::Evaluate, Statistics::Running), (EntryKind::Train, Statistics::Batch)]
            {
                let mut values = oracle::constants(&graph);
                oracle::forward(&graph, &mut values, &batch.wide(), BATCH, statistics);
                machine.run_batch(kind, &batch.input, &batch.target_bytes());
                let output = machine.assembled.entry(kind).unwrap().outputs[0];
                let expected = oracle::loss(&graph, &values, &batch.target, loss);
                assert_close(&format!("{} {kind:?}", graph.name), &machine.read(&output)[..1], &[expected]);
                if kind == EntryKind::Evaluate {
                    continue;
                }
                for node in graph.nodes.iter().filter(|node| node.op.name() == "batch_norm") {
                    let input = &values[node.inputs[0].0];
                    let old = &values[node.inputs[2].0];
                    let channels = old.len() / 2;
                    let count = (input.len() / channels) as f64;
                    let moments: Vec<_> =
                        (0..channels).map(|c| oracle::moments(input, c, channels)).collect();
                    let new = |old: f64, new: f64| 0.9 * old + 0.1 * new;
                    let means = moments.iter().zip(old).map(|(&(mean, _), &old)| new(old, mean));
                    let variances = moments
                        .iter()
                        .zip(&old[channels..])
                        .map(|(&(_, variance), &old)| new(old, variance * count / (count - 1.0)));
                    let expected: Vec<f64> = means.chain(variances).collect();
                    let name = &graph.tensor(node.inputs[2]).name;
                    assert_close(name, &machine.tensor(name), &expected);
                }
            }
        }
    }
}

/// The output of the entry `infer` for the whole batch.
fn infer(assembled: Assembled, batch: &Batch) -> Vec<f32> {
    let mut machine = Machine::new(assembled, 1);
    let entry = machine.assembled.entry(EntryKind::Infer).unwrap().clone();
    let bytes: Vec<u8> = batch.input.iter().flat_map(|x| x.to_le_bytes()).collect();
    machine.write(&entry.inputs[0], 0, &bytes);
    machine.run(EntryKind::Infer);
    machine.read(&entry.outputs[0])
}

#[test]
fn inference_is_the_same_folded_and_not() {
    for (graph, loss) in networks() {
        let batch = Batch::new(&graph, loss);
        let mut values = oracle::constants(&graph);
        oracle::forward(&graph, &mut values, &batch.wide(), BATCH, Statistics::Running);
        let expected = &values[graph.outputs[0].0];
        let options = LowerOptions { samples: BATCH as u32, ..LowerOptions::default() };
        let fused = fuse_activation(graph.clone());
        let folded = fold_batch_norm(fused.clone());
        assert!(folded.nodes.iter().all(|node| node.op.name() != "batch_norm"));
        for (what, graph) in [("as it is", &graph), ("fused", &fused), ("folded", &folded)] {
            let found = infer(compile_inference(graph, &options).unwrap(), &batch);
            assert_close(&format!("{} {what}", graph.name), &found, expected);
        }
        let training = compile_training(&graph, &self::options(loss, 1)).unwrap();
        assert_close(&format!("{} in training", graph.name), &infer(training, &batch), expected);
    }
}

#[test]
fn an_update_moves_weights_against_their_gradients() {
    let (network, loss) = separable();
    let graph = vary(network.build().unwrap());
    let batch = Batch::new(&graph, loss);
    let mut machine = Machine::new(compile_training(&graph, &options(loss, 2)).unwrap(), 2);
    machine.run_batch(EntryKind::Train, &batch.input, &batch.target_bytes());
    let hyperparameters = machine.assembled.entry(EntryKind::Update).unwrap().inputs[0];
    let start = machine.read(&hyperparameters);
    assert_eq!(start, [0.0, 1.0, 1.0, 0.0]);
    let bytes: Vec<u8> = [0.5f32, 1.0, 1.0, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    machine.write(&hyperparameters, 0, &bytes);
    machine.run(EntryKind::Update);
    for id in graph.trained_parameters() {
        let tensor = graph.tensor(id);
        let decay = if tensor.role == Role::Weights { 0.01 } else { 0.0 };
        let gradient = machine.tensor(&format!("{}/gradient", tensor.name));
        let old = tensor.value.as_ref().and_then(|value| value.as_f32()).unwrap();
        let expected: Vec<f64> = old
            .iter()
            .zip(&gradient)
            .map(|(&old, &gradient)| f64::from(old) - 0.5 * (f64::from(gradient) + decay * f64::from(old)))
            .collect();
        assert_close(&tensor.name, &machine.tensor(&tensor.name), &expected);
    }
}

fn names(graph: &Graph) -> impl Iterator<Item = String> + '_ {
    graph.trained_parameters().map(|id| graph.tensor(id).name.clone())
}

#[test]
fn what_is_frozen_has_no_gradient_and_the_rest_keeps_its_own() {
    let (network, loss) = residual();
    let graph = vary(network.seed(3).build().unwrap());
    let batch = Batch::new(&graph, loss);
    let run = |options: &TrainingOptions| {
        let mut machine = Machine::new(compile_training(&graph, options).unwrap(), 2);
        machine.run_batch(EntryKind::Train, &batch.input, &batch.target_bytes());
        machine
    };
    let all = options(loss, 2);
    let mut whole = run(&all);
    // In the middle: batch norms there go on with the batch's statistics, as something before them learns.
    let in_the_middle = |name: &str| name.starts_with("conv_2d_3") || name.starts_with("batch_norm_3");
    let frozen = names(&graph).filter(|name| in_the_middle(name)).collect();
    let mut part = run(&TrainingOptions { frozen, ..all.clone() });
    for id in graph.trained_parameters() {
        let name = &graph.tensor(id).name;
        let gradient = format!("{name}/gradient");
        assert_eq!(part.assembled.tensor(&gradient).is_none(), in_the_middle(name), "{name}");
        if !in_the_middle(name) {
            assert_eq!(part.tensor(&gradient), whole.tensor(&gradient), "{name}");
        }
    }
    // All but the last layer: one phase, and nothing of the backward pass but that layer's.
    let last = |name: &str| name.starts_with("fully_connected");
    let frozen = names(&graph).filter(|name| !last(name)).collect();
    let assembled = compile_training(&graph, &TrainingOptions { frozen, ..all.clone() }).unwrap();
    let names: Vec<&str> = assembled
        .steps_of(EntryKind::Train)
        .iter()
        .filter_map(|step| smidgen::Operator::from_code(step.operator))
        .map(smidgen::Operator::name)
        .filter(|name| name.contains("grad") || name.contains("reduce"))
        .collect();
    assert_eq!(names, ["fully_connected_grad_weights", "grad_bias"]);
    let error = |frozen: BTreeSet<String>| {
        compile_training(&graph, &TrainingOptions { frozen, ..all.clone() }).unwrap_err().to_string()
    };
    assert_eq!(
        error(self::names(&graph).collect()),
        "residual: every parameter is frozen, so there is nothing to train"
    );
    assert_eq!(
        error(BTreeSet::from(["conv/weights".to_owned()])),
        "residual has no parameter \"conv/weights\" that could be frozen; names are like \"conv_2d_1/weights\""
    );
}
