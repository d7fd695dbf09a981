//! Known networks: this project's own for MNIST, the four of MLPerf Tiny, and classics in sizes for microcontrollers.
//!
//! Each is known by a name, takes inputs of any size that its layers fit, and has any number of outputs; the sizes that [`KNOWN`] gives are those of the papers, or of what it is usually
//! tried on. The softmax at the end of the classifiers is left to the loss and to the caller: the largest logit is the largest probability. `docs/networks.md` has what each costs.
//!
//! | networks | from |
//! |---|---|
//! | `ds_cnn`, `resnet8`, `mobilenet_v1_025`, `autoencoder` | C. Banbury et al.: *MLPerf Tiny Benchmark*, NeurIPS Datasets and Benchmarks 2021, and its reference models (`mlcommons/tiny`, `benchmark/training`) |
//! | `lenet5` | Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Gradient-Based Learning Applied to Document Recognition*, Proc. IEEE 1998 |
//! | `vgg_small` | after K. Simonyan, A. Zisserman: *Very Deep Convolutional Networks*, ICLR 2015 |
//! | `mobilenet_v2_035` | M. Sandler et al.: *`MobileNetV2`*, CVPR 2018, with 0.35 of the channels |
//! | `squeezenet` | F. N. Iandola et al.: *`SqueezeNet`*, 2016, version 1.1 |
//! | `shufflenet_025` | X. Zhang, X. Zhou, M. Lin, J. Sun: *`ShuffleNet`*, CVPR 2018, with three groups and 0.25 of the channels |
//! | `u_net` | after O. Ronneberger, P. Fischer, T. Brox: *U-Net*, MICCAI 2015 |

use super::build::{Network, Padding};

/// The networks that training is measured with, and held against other trainers.
pub const NAMES: [&str; 5] = ["mnist_ds_cnn", "ds_cnn", "resnet8", "mobilenet_v1_025", "autoencoder"];

/// A network that is known by its name.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The name.
    pub name: &'static str,
    /// The usual height, width and channels of its input.
    pub input: [usize; 3],
    /// The usual outputs: classes, or channels of each pixel, or numbers.
    pub outputs: usize,
    /// The names of the usual classes; empty if the outputs are no classes.
    pub class_names: &'static [&'static str],
    /// Its layers, for inputs of a shape and so many outputs.
    layers: fn(Network, [usize; 3], usize) -> Network,
}

impl Known {
    /// The network for other inputs, and so many outputs without names.
    pub fn sized(&self, input: [usize; 3], outputs: usize) -> Network {
        (self.layers)(Network::new(self.name, input), input, outputs)
    }

    /// The network in its usual size.
    pub fn network(&self) -> Network {
        self.sized(self.input, self.outputs).class_names(self.class_names.iter().copied())
    }
}

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const KEYWORDS: [&str; 12] =
    ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"];
const OBJECTS: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const PERSON: [&str; 2] = ["no person", "person"];

/// All of them, those of [`NAMES`] first.
pub static KNOWN: [Known; 15] = [
    classifier("mnist_ds_cnn", [28, 28, 1], &DIGITS, mnist_ds_cnn),
    classifier("ds_cnn", [49, 10, 1], &KEYWORDS, ds_cnn),
    classifier("resnet8", [32, 32, 3], &OBJECTS, resnet8),
    classifier("mobilenet_v1_025", [96, 96, 3], &PERSON, mobilenet_v1_025),
    Known { name: "autoencoder", input: [1, 1, 640], outputs: 640, class_names: &[], layers: autoencoder },
    classifier("mlp", [28, 28, 1], &DIGITS, mlp),
    classifier("lenet5", [28, 28, 1], &DIGITS, lenet5),
    classifier("vgg_small", [32, 32, 3], &OBJECTS, vgg_small),
    classifier("mobilenet_v2_035", [96, 96, 3], &PERSON, mobilenet_v2_035),
    classifier("squeezenet", [96, 96, 3], &PERSON, squeezenet),
    classifier("shufflenet_025", [96, 96, 3], &PERSON, shufflenet_025),
    Known { name: "u_net", input: [32, 32, 1], outputs: 1, class_names: &[], layers: u_net },
    classifier("lstm", [49, 10, 1], &KEYWORDS, lstm),
    classifier("gru", [49, 10, 1], &KEYWORDS, gru),
    classifier("pre_resnet", [32, 32, 3], &OBJECTS, pre_resnet),
];

const fn classifier(
    name: &'static str,
    input: [usize; 3],
    class_names: &'static [&'static str],
    layers: fn(Network, [usize; 3], usize) -> Network,
) -> Known {
    Known { name, input, outputs: class_names.len(), class_names, layers }
}

/// The network with this name, if there is one.
pub fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The network with this name in its usual size, if there is one.
pub fn by_name(name: &str) -> Option<Network> {
    known(name).map(Known::network)
}

/// A convolution with stride and three depthwise separable ones.
fn mnist_ds_cnn(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(8, 3).stride(2).batch_norm().relu();
    [(16, 1), (32, 2), (32, 1)]
        .into_iter()
        .fold(first, |network, (filters, stride)| separable(network, filters, stride))
        .global_average_pool_2d()
        .fully_connected(outputs)
}

/// Keyword spotting, 49 frames of 10 coefficients: DS-CNN.
fn ds_cnn(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(64, [10, 4]).stride(2).batch_norm().relu();
    (0..4)
        .fold(first, |network, _| separable(network, 64, 1))
        .global_average_pool_2d()
        .fully_connected(outputs)
}

/// Image classification: ResNet-8.
fn resnet8(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(16, 3).batch_norm().relu();
    [(16, 1), (32, 2), (64, 2)]
        .into_iter()
        .fold(first, |network, (filters, stride)| residual(network, filters, stride))
        .global_average_pool_2d()
        .fully_connected(outputs)
}

/// Visual wake words: `MobileNet` v1 with a quarter of the channels.
fn mobilenet_v1_025(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(8, 3).stride(2).batch_norm().relu();
    let layers = [
        (16, 1),
        (32, 2),
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        (128, 1),
        (128, 1),
        (128, 1),
        (128, 1),
        (128, 1),
        (256, 2),
        (256, 1),
    ];
    layers
        .into_iter()
        .fold(first, |network, (filters, stride)| separable(network, filters, stride))
        .global_average_pool_2d()
        .fully_connected(outputs)
}

/// Anomaly detection, 5 frames of 128 mel bands: an autoencoder of vectors, trained with the mean squared error to its input.
fn autoencoder(start: Network, input: [usize; 3], outputs: usize) -> Network {
    let start = if input[..2] == [1, 1] { start } else { start.flatten() };
    [128, 128, 128, 128, 8, 128, 128, 128, 128]
        .into_iter()
        .fold(start, |network, units| network.fully_connected(units).batch_norm().relu())
        .fully_connected(outputs)
}

/// Two hidden layers.
fn mlp(start: Network, _: [usize; 3], outputs: usize) -> Network {
    start.flatten().fully_connected(128).relu().fully_connected(64).relu().fully_connected(outputs)
}

/// Two convolutions with tangents, each with a mean over 2×2, and three fully connected layers. (All of the first one's channels go into each of the second one's, which the paper did not do.)
fn lenet5(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let features = start.conv_2d(6, 5).tanh().average_pool_2d(2);
    let features = features.conv_2d(16, 5).valid().tanh().average_pool_2d(2).flatten();
    features.fully_connected(120).tanh().fully_connected(84).tanh().fully_connected(outputs)
}

/// Three pairs of convolutions 3×3, each with a maximum over 2×2 behind it.
fn vgg_small(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let pair = |network: Network, filters| {
        let first = network.conv_2d(filters, 3).batch_norm().relu();
        first.conv_2d(filters, 3).batch_norm().relu().max_pool_2d(2)
    };
    let features = [16, 32, 64].into_iter().fold(start, pair).flatten();
    features.fully_connected(128).relu().dropout(0.5).fully_connected(outputs)
}

fn mobilenet_v2_035(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(16, 3).stride(2).batch_norm().relu6();
    // Expansion, filters, blocks, and the stride of the first of them.
    let blocks: [(usize, usize, usize, usize); 7] = [
        (1, 8, 1, 1),
        (6, 8, 2, 2),
        (6, 16, 3, 2),
        (6, 24, 4, 2),
        (6, 32, 3, 1),
        (6, 56, 3, 2),
        (6, 112, 1, 1),
    ];
    let features = blocks.into_iter().fold(first, |network, (expansion, filters, count, stride)| {
        let begun = network.inverted_residual(filters, expansion).stride(stride);
        (1..count).fold(begun, |network, _| network.inverted_residual(filters, expansion))
    });
    features.conv_2d(1280, 1).batch_norm().relu6().global_average_pool_2d().fully_connected(outputs)
}

fn squeezenet(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let pool = |network: Network| network.max_pool_2d(3).stride(2).padding(Padding::Same);
    let features = pool(start.conv_2d(64, 3).stride(2).relu()).fire(16, 64).fire(16, 64);
    let features = pool(features).fire(32, 128).fire(32, 128);
    let features = pool(features).fire(48, 192).fire(48, 192).fire(64, 256).fire(64, 256).dropout(0.5);
    features.conv_2d(outputs, 1).global_average_pool_2d()
}

fn shufflenet_025(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(24, 3).stride(2).batch_norm().relu();
    let first = first.max_pool_2d(3).stride(2).padding(Padding::Same);
    let stage = |network: Network, (filters, count)| {
        let begun = network.shuffle_unit(filters, 3).stride(2);
        (1..count).fold(begun, |network, _| network.shuffle_unit(filters, 3))
    };
    let features = [(60, 4), (120, 8), (240, 4)].into_iter().fold(first, stage);
    features.global_average_pool_2d().fully_connected(outputs)
}

/// An image of `outputs` channels for an image whose height and width are multiples of four: twice to half the size and back, what was computed before beside what comes back.
fn u_net(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let pair = |network: Network, filters| {
        let first = network.conv_2d(filters, 3).batch_norm().relu();
        first.conv_2d(filters, 3).batch_norm().relu()
    };
    let down = pair(pair(start, 8).tap("whole").max_pool_2d(2), 16).tap("half").max_pool_2d(2);
    let up = pair(down, 32).conv_2d_transpose(16, 2).stride(2).concat("half");
    let up = pair(up, 16).conv_2d_transpose(8, 2).stride(2).concat("whole");
    pair(up, 8).conv_2d(outputs, 1)
}

/// An LSTM over time, which is the height; what it has kept at the end is classified.
fn lstm(start: Network, input: [usize; 3], outputs: usize) -> Network {
    last_of(sequence(start, input).lstm(32), input, outputs)
}

/// As [`lstm`], with a GRU.
fn gru(start: Network, input: [usize; 3], outputs: usize) -> Network {
    last_of(sequence(start, input).gru(32), input, outputs)
}

/// Each row of an image as a step of one sequence.
fn sequence(start: Network, [height, width, channels]: [usize; 3]) -> Network {
    start.reshape([1, height, width * channels])
}

/// The last step, classified.
fn last_of(states: Network, [height, ..]: [usize; 3], outputs: usize) -> Network {
    states.crop(0, 0, height.saturating_sub(1), 0).fully_connected(outputs)
}

/// ResNet with batch norms and `ReLU`s before its convolutions, and gates on its channels.
fn pre_resnet(start: Network, _: [usize; 3], outputs: usize) -> Network {
    let first = start.conv_2d(16, 3);
    let features = [(16, 1), (32, 2), (64, 2)].into_iter().fold(first, |network, (filters, stride)| {
        network.pre_activation(filters).stride(stride).squeeze_excite(filters / 4)
    });
    features.batch_norm().relu().global_average_pool_2d().fully_connected(outputs)
}

fn separable(network: Network, filters: usize, stride: usize) -> Network {
    let depthwise = network.depthwise_conv_2d(3).stride(stride).batch_norm().relu();
    depthwise.conv_2d(filters, 1).batch_norm().relu()
}

fn residual(network: Network, filters: usize, stride: usize) -> Network {
    let (before, main) = (format!("before {filters}"), format!("main {filters}"));
    let inner = network
        .tap(before.clone())
        .conv_2d(filters, 3)
        .stride(stride)
        .batch_norm()
        .relu()
        .conv_2d(filters, 3)
        .batch_norm();
    let sum = if stride == 1 {
        inner.add(before)
    } else {
        inner.tap(main.clone()).from(before).conv_2d(filters, 1).stride(stride).add(main)
    };
    sum.relu()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Role};

    #[test]
    fn sizes_are_those_of_the_papers() {
        // The reference models (Keras) count running statistics, and have a bias before each batch norm, which it makes needless.
        let running = |graph: &Graph| -> usize {
            let running = graph.tensors.iter().filter(|tensor| tensor.role == Role::RunningStatistics);
            running.filter_map(|tensor| tensor.shape.elements()).sum()
        };
        let total = |name: &str| {
            let graph = by_name(name).unwrap().build().unwrap();
            graph.parameter_count() + running(&graph) * 3 / 2
        };
        assert_eq!(
            ["ds_cnn", "resnet8", "mobilenet_v1_025", "autoencoder"].map(total),
            [24_908, 78_666, 221_794, 269_992]
        );
        // Keras' `MobileNetV2(alpha=0.35, include_top=False)`, which has no bias before a batch norm; and 1280 weights and a bias for each class.
        let graph = by_name("mobilenet_v2_035").unwrap().build().unwrap();
        assert_eq!(graph.parameter_count() + running(&graph), 410_208 + 2 * 1281);
        let trained = |name: &str, outputs| {
            known(name).unwrap().sized([96, 96, 3], outputs).build().unwrap().parameter_count()
        };
        // torchvision's `squeezenet1_1`.
        assert_eq!(trained("squeezenet", 1000), 1_235_496);
        let trained = |name: &str| by_name(name).unwrap().build().unwrap().parameter_count();
        assert_eq!(trained("lenet5"), 61_706);
        assert_eq!(trained("mnist_ds_cnn"), 2_858);
        assert!(by_name("resnet9").is_none());
    }

    #[test]
    fn every_name_is_its_networks_name() {
        assert!(KNOWN.iter().map(|known| known.name).zip(NAMES).all(|(known, name)| known == name));
        for known in KNOWN {
            let graph = by_name(known.name).unwrap().build().unwrap();
            assert_eq!((graph.name.as_str(), graph.class_names.len()), (known.name, known.class_names.len()));
            assert_eq!(graph.tensor(graph.outputs[0]).shape.0[3] as usize, known.outputs, "{}", known.name);
        }
    }

    #[test]
    fn classifiers_take_other_images_and_classes() {
        for known in KNOWN.iter().filter(|known| !known.class_names.is_empty()) {
            let graph = known.sized([32, 24, 2], 7).build().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(graph.tensor(graph.outputs[0]).shape.0, [1, 1, 1, 7], "{}", known.name);
        }
    }
}
