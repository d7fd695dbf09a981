//! Every known network learns, becomes int8 and stays close to what it was; `docs/networks.md` says what each costs.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use smidgen::{AllOperators, EntryKind, Metadata, Model, Quantization, Space};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::calibrate::GraphRun;
use smidgen_trainer::compile::quantize::{Options, post_training};
use smidgen_trainer::compile::{
    Loss, LowerOptions, Optimizer, TrainingOptions, compile_inference, compile_training, fold_batch_norm,
    fold_padding, fuse_activation, remove_dropout,
};
use smidgen_trainer::cost;
use smidgen_trainer::data::{Dataset, Split};
use smidgen_trainer::device::{Device, Target};
use smidgen_trainer::evaluate::{Interface, run_in_parts};
use smidgen_trainer::graph::Graph;
use smidgen_trainer::graph::nets::{self, Known};
use smidgen_trainer::pipeline::{Run, Trained, Training, quantize_trained, take_values, train};
use smidgen_trainer::recipe::{self, Recipe};
use smidgen_trainer::train::{Executor, Feed, Pass, Targets};

/// Sine waves whose direction and length is the class's, with noise.
fn pixel(class: usize, sample: usize, [y, x, channel]: [usize; 3]) -> f32 {
    let (speed_y, speed_x) = [(0.9, 0.1), (0.1, 0.9), (0.5, 0.5), (0.2, -0.3)][class % 4];
    let phase = (sample % 7) as f32 * 0.15 + channel as f32;
    let noise = ((sample * 7919 + y * 104_729 + x * 1_299_709 + channel * 31) % 101) as f32 / 101.0 - 0.5;
    (speed_y * y as f32 + speed_x * x as f32 + phase).sin() + 0.3 * noise
}

fn image(class: usize, sample: usize, [height, width, channels]: [usize; 3]) -> impl Iterator<Item = f32> {
    (0..height * width * channels).map(move |index| {
        let place = [index / (width * channels), index / channels % width, index % channels];
        pixel(class, sample, place)
    })
}

const CLASSES: usize = 4;

fn data(name: &str, shape: [usize; 3], samples: usize, first: usize) -> Dataset {
    let bytes = (first..first + samples)
        .flat_map(|sample| image(sample % CLASSES, sample, shape))
        .map(|value| (127.5 + 80.0 * value) as u8);
    let labels = (first..first + samples).map(|sample| (sample % CLASSES) as u32).collect();
    let names = (0..CLASSES).map(|class| format!("class {class}")).collect();
    Dataset::new(name, bytes.collect(), shape, labels, names).unwrap()
}

/// Runs the model file on samples of its f32 network, and holds that the outputs are close: their differences from their mean have at least so many decibels more power than what int8 adds to them.
fn assert_close(name: &str, least: f64, float: &Graph, file: &[u8], samples: &[Vec<f32>]) {
    let interface = Interface::of_file(file).unwrap();
    let (input, output) = (interface.input.quantization, interface.output.quantization);
    let inputs: Vec<u8> =
        samples.iter().flatten().map(|&value| integer(input, value).cast_unsigned()).collect();
    let bytes = interface.input.bytes().unwrap();
    let report = run_in_parts(&Device::new(Target::Host), file, &inputs, bytes, 1).unwrap();
    let found: Vec<f64> = report
        .outputs
        .iter()
        .map(|byte| f64::from(output.scale) * f64::from(i32::from(byte.cast_signed()) - output.zero_point))
        .collect();
    let mut run = GraphRun::new(float).unwrap();
    let mut expected = Vec::new();
    for sample in samples {
        run.activation_mut::<f32>(float.inputs[0]).copy_from_slice(sample);
        run.run();
        expected.extend(run.activation::<f32>(float.outputs[0]).iter().map(|&value| f64::from(value)));
    }
    assert_eq!(found.len(), expected.len());
    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
    let power = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let noise = power(&mut found.iter().zip(&expected).map(|(found, expected)| found - expected))
        / power(&mut expected.iter().map(|value| value - mean));
    let decibels = -10.0 * noise.log10();
    println!("{name}: {decibels:.1} dB");
    assert!(
        decibels > least,
        "{name}: the outputs are {decibels:.1} dB above what int8 adds, expected {least}"
    );
    // The negative control: outputs of other samples are farther away than what int8 adds.
    let per_sample = expected.len() / samples.len();
    let other = power(&mut found.iter().zip(expected.iter().cycle().skip(per_sample)).map(|(a, b)| a - b))
        / power(&mut expected.iter().map(|value| value - mean));
    assert!(other > 4.0 * noise, "{name}: outputs hardly depend on the samples");
}

fn integer(Quantization { scale, zero_point }: Quantization, value: f32) -> i8 {
    ((value / scale).round() as i32 + zero_point).clamp(-128, 127) as i8
}

/// Trains a classifier by a recipe, on images of this shape: the loss falls, the bits are those of any number of threads, and its int8 form is so many decibels close. These are 1 to 2 less than
/// what it is today. Noise adds up from layer to layer: in the mobile networks by some decibels in each of the first ones and about one in each of the later ones. None adds much more than its
/// neighbours; where the ratio falls by more, as from the maximum pool of `shufflenet_025` to the grouped convolution behind it, a batch norm has taken away a mean that was most of the signal.
fn learns_by_a_recipe(name: &str, shape: [usize; 3], decibels: f64, sets: &[&str]) {
    let mut recipe = Recipe::built_in("digits").unwrap();
    let net = format!("network.net={name}");
    let all = [
        net.as_str(),
        "training.batch=16",
        "training.epochs=6",
        "data.validation_fraction=0.0",
        "schedule.kind=cosine",
        "schedule.warm_up_epochs=1.0",
        "schedule.learning_rate=0.004",
        "quantization.samples=32",
    ];
    for assignment in all.iter().chain(sets) {
        recipe.set(assignment).unwrap_or_else(|error| panic!("{assignment}: {error}"));
    }
    let split = Split::new(data("waves", shape, 96, 0), data("test waves", shape, 16, 96)).unwrap();
    let trained = trained(&recipe, &split, 2);
    let mut few = recipe.clone();
    for set in ["training.epochs=1", "data.validation_fraction=0.5", "schedule.kind=constant"] {
        few.set(set).unwrap();
    }
    let hashes = [1, 3].map(|threads| self::trained(&few, &split, threads).weights_hash);
    assert_eq!(hashes[0], hashes[1], "{name}: the bits of three steps depend on threads");
    let losses: Vec<f64> = trained.progress.history.iter().map(|epoch| epoch.train_loss).collect();
    println!("{name}: {losses:.3?}");
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{name} does not learn: {losses:?}");
    let quantized =
        quantize_trained(&recipe, &split, &trained).unwrap_or_else(|error| panic!("{name}: {error}"));
    let samples: Vec<Vec<f32>> = (0..split.test.len())
        .map(|sample| {
            let mut values = vec![0.0; split.test.sample_len()];
            trained.normalization.apply(split.test.image(sample), &mut values);
            values
        })
        .collect();
    assert_close(name, decibels, &quantized.float, &quantized.file, &samples);
}

fn trained(recipe: &Recipe, split: &Split, threads: usize) -> Trained {
    let stop = AtomicBool::new(false);
    let run = Run { recipe, split, threads, checkpoint: None, resume: false, stop: &stop };
    match train(&run, &mut ()).unwrap_or_else(|error| panic!("{}: {error}", recipe.network_name())) {
        Training::Done(trained) => *trained,
        Training::Stopped(_) => panic!("nobody stopped it"),
    }
}

#[test]
fn small_classifiers_learn_by_a_recipe_and_become_int8() {
    learns_by_a_recipe("mnist_ds_cnn", [16, 16, 1], 30.0, &[]);
    learns_by_a_recipe("ds_cnn", [24, 10, 1], 39.0, &[]);
    learns_by_a_recipe("mlp", [12, 12, 1], 39.0, &[]);
    learns_by_a_recipe("lenet5", [16, 16, 1], 42.0, &["training.epochs=10"]);
}

#[test]
fn sequences_are_learned_by_a_recipe_and_become_int8() {
    let sets = ["training.epochs=12", "schedule.learning_rate=0.01"];
    learns_by_a_recipe("lstm", [20, 6, 1], 42.0, &sets);
    learns_by_a_recipe("gru", [20, 6, 1], 43.0, &sets);
}

#[test]
fn image_classifiers_learn_by_a_recipe_and_become_int8() {
    learns_by_a_recipe("resnet8", [16, 16, 3], 39.0, &[]);
    learns_by_a_recipe("pre_resnet", [16, 16, 3], 36.0, &[]);
    learns_by_a_recipe("vgg_small", [16, 16, 3], 41.0, &[]);
    learns_by_a_recipe(
        "squeezenet",
        [24, 24, 3],
        36.0,
        &["schedule.learning_rate=0.001", "training.epochs=12"],
    );
}

#[test]
fn mobile_classifiers_learn_by_a_recipe_and_become_int8() {
    // Deep ones, on few samples: what int8 adds is small beside outputs that are far apart, as they are after some epochs.
    let sets = ["training.epochs=40"];
    learns_by_a_recipe("mobilenet_v1_025", [32, 32, 3], 15.0, &sets);
    learns_by_a_recipe("mobilenet_v2_035", [32, 32, 3], 15.0, &["training.epochs=20"]);
    learns_by_a_recipe("shufflenet_025", [32, 32, 3], 15.0, &["training.epochs=20"]);
}

#[test]
fn normalizations_and_gates_become_int8() {
    let layers =
        |layers: &str| format!("network.layers={layers}.global_average_pool_2d().fully_connected(4)");
    for (text, decibels) in [
        ("conv_2d(8, 3).stride(2).layer_norm().relu().conv_2d(8, 3).layer_norm().relu()", 39.0),
        ("conv_2d(8, 3).stride(2).instance_norm().relu().conv_2d(8, 3).stride(2).group_norm(2).relu()", 29.0),
        (
            "conv_2d(8, 3).stride(2).batch_norm().maxout(2).bottleneck(16).squeeze_excite(4).channel_shuffle(4)",
            35.0,
        ),
    ] {
        learns_by_a_recipe(
            "layers",
            [16, 16, 1],
            decibels,
            &[&layers(text), "training.epochs=20", "schedule.learning_rate=0.01"],
        );
    }
}

/// Images that are to come out as they went in.
struct Same<'a>(&'a [Vec<f32>]);

impl Feed for Same<'_> {
    fn fill(&self, _: Pass, indices: &[u32], input: &mut [f32], targets: Targets<'_>) {
        for (place, &index) in input.chunks_exact_mut(self.0[0].len()).zip(indices) {
            place.copy_from_slice(&self.0[index as usize]);
        }
        if let Targets::Values(values) = targets {
            values.copy_from_slice(input);
        }
    }
}

/// Trains a network to give its input.
fn learns_its_input(name: &str, shape: [usize; 3], outputs: usize, decibels: f64) {
    const BATCH: u32 = 16;
    let mut graph = nets::known(name).unwrap().sized(shape, outputs).seed(1).build().unwrap();
    let optimizer =
        Optimizer::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false };
    let loss = Loss::MeanSquaredError;
    let options = TrainingOptions {
        chunk_samples: 8,
        chunks: BATCH / 8,
        loss,
        optimizer,
        ..TrainingOptions::default()
    };
    let program = compile_training(&graph, &options).unwrap();
    let file = AlignedBytes::copy_of(&program.to_file(&Metadata::default()).unwrap());
    let executor = Executor::new(&Model::<AllOperators>::from_bytes(file.as_slice()).unwrap(), 2, 2).unwrap();
    let samples: Vec<Vec<f32>> =
        (0..64).map(|sample| image(sample % CLASSES, sample, shape).collect()).collect();
    let losses = executor.scope(&Same(&samples), |driver| {
        (0..60u32)
            .map(|step| {
                let indices: Vec<u32> = (0..BATCH).map(|index| (step * BATCH + index) % 64).collect();
                driver.train(step, &indices, 0.005).unwrap().mean_loss()
            })
            .collect::<Vec<f64>>()
    });
    let losses = losses.unwrap();
    println!("{name}: {:.3} to {:.3}", losses[0], losses[59]);
    assert!(losses[59] < 0.6 * losses[0], "{name} does not learn: {losses:?}");
    executor.with_memory(|parameter, state| take_values(&mut graph, &program, parameter, state));
    let float = for_inference(graph);
    let settings = recipe::Quantization::default();
    let mut fill = |sample: usize, input: &mut [f32]| input.copy_from_slice(&samples[sample]);
    let int8 = post_training(&float, &settings, Options::default(), 32, &mut fill).unwrap();
    let program = compile_inference(&int8, &LowerOptions::default()).unwrap();
    assert_close(name, decibels, &float, &program.to_file(&Metadata::default()).unwrap(), &samples[..16]);
}

fn for_inference(graph: Graph) -> Graph {
    fold_padding(fuse_activation(fold_batch_norm(remove_dropout(graph))))
}

#[test]
fn networks_that_give_their_input_learn_and_become_int8() {
    learns_its_input("autoencoder", [1, 1, 64], 64, 37.0);
    learns_its_input("u_net", [12, 16, 1], 1, 30.0);
}

/// The line of the table for one network, in its usual size, in int8.
fn line(known: &Known) -> String {
    let graph = known.network().seed(1).build().unwrap();
    let parameters = graph.parameter_count();
    let float = for_inference(graph);
    let settings = recipe::Quantization::default();
    let mut fill = |sample: usize, input: &mut [f32]| {
        let values = image(sample, sample, known.input);
        input.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    };
    let int8 = post_training(&float, &settings, Options::default(), 2, &mut fill);
    let int8 = int8.unwrap_or_else(|error| panic!("{}: {error}", known.name));
    let program = compile_inference(&int8, &LowerOptions::default()).unwrap();
    let macs: u64 = program.steps_of(EntryKind::Infer).iter().map(|step| cost::macs(step.step())).sum();
    let [height, width, channels] = known.input;
    let arena = program.spaces[Space::Arena as usize].bytes;
    let file = program.to_file(&Metadata::default()).unwrap().len();
    let outputs = known.outputs;
    format!(
        "| `{}` | {height}×{width}×{channels} | {outputs} | {} | {} | {} | {} |",
        known.name,
        grouped(parameters as u64),
        grouped(macs),
        grouped(arena as u64),
        grouped(file as u64),
    )
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| str::from_utf8(part).ok()).collect();
    groups.join(",")
}

#[test]
fn the_page_says_what_each_network_costs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/networks.md");
    let written = fs::read_to_string(&path).unwrap();
    let is_line = |line: &&str| line.starts_with("| `");
    let (before, rest) = written.split_at(written.find("| `").unwrap_or(written.len()));
    let after: Vec<&str> = rest.lines().skip_while(is_line).collect();
    let expected: Vec<String> = nets::KNOWN.iter().map(line).collect();
    if std::env::var_os("SMIDGEN_WRITE").is_some() {
        let page = format!("{before}{}\n{}\n", expected.join("\n"), after.join("\n"));
        fs::write(&path, page).unwrap();
        return;
    }
    let found: Vec<&str> = rest.lines().take_while(is_line).collect();
    assert_eq!(found.len(), expected.len(), "renew docs/networks.md: it says how");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(says_the_same(found, expected), "{found}\n{expected}\nrenew docs/networks.md: it says how");
    }
}

/// Whether two lines are alike: what the compiler decides, arena and file, may be a quarter less or more.
fn says_the_same(found: &str, expected: &str) -> bool {
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let (found, expected) = (cells(found), cells(expected));
    let number = |cell: &str| cell.replace(',', "").parse::<f64>().unwrap_or(0.0);
    let near = |(found, expected): (&String, &String)| (number(found) / number(expected) - 1.0).abs() < 0.25;
    found.len() == 9 && found[..6] == expected[..6] && found[6..8].iter().zip(&expected[6..8]).all(near)
}

#[test]
fn other_figures_are_noticed() {
    let line = "| `mlp` | 28×28×1 | 10 | 109,386 | 109,184 | 1,000 | 112,000 |";
    assert!(says_the_same(line, line) && says_the_same(&line.replace("1,000", "1,040"), line));
    for (from, to) in
        [("109,386", "109,387"), ("109,184", "109,185"), ("1,000", "1,300"), ("112,000", "150,000")]
    {
        assert!(!says_the_same(&line.replace(from, to), line), "{to}");
    }
}
