//! Known networks: this project's own for MNIST and the four of MLPerf Tiny.
//!
//! C. Banbury et al.: *MLPerf Tiny Benchmark*, NeurIPS Datasets and Benchmarks 2021, and its reference models
//! (`mlcommons/tiny`, `benchmark/training`). The softmax at the end of the classifiers is left to the loss and to the caller: the largest
//! logit is the largest probability.

use super::build::Network;

/// The names of the networks that [`by_name`] knows.
pub const NAMES: [&str; 5] = ["mnist_ds_cnn", "ds_cnn", "resnet8", "mobilenet_v1_025", "autoencoder"];

/// The network with this name, if there is one.
pub fn by_name(name: &str) -> Option<Network> {
    Some(match name {
        "mnist_ds_cnn" => mnist_ds_cnn(),
        "ds_cnn" => ds_cnn(),
        "resnet8" => resnet8(),
        "mobilenet_v1_025" => mobilenet_v1_025(),
        "autoencoder" => autoencoder(),
        _ => return None,
    })
}

/// Digits, 28×28 grey: a convolution with stride and three depthwise separable ones.
pub fn mnist_ds_cnn() -> Network {
    let digits = (0..10).map(|digit| digit.to_string());
    let first = Network::new("mnist_ds_cnn", [28, 28, 1]).conv_2d(8, 3).stride(2).batch_norm().relu();
    [(16, 1), (32, 2), (32, 1)]
        .into_iter()
        .fold(first, |network, (filters, stride)| separable(network, filters, stride))
        .global_average_pool_2d()
        .fully_connected(10)
        .class_names(digits)
}

/// Keyword spotting, 49 frames of 10 coefficients: DS-CNN.
pub fn ds_cnn() -> Network {
    let first = Network::new("ds_cnn", [49, 10, 1]).conv_2d(64, [10, 4]).stride(2).batch_norm().relu();
    let classes =
        ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"];
    (0..4)
        .fold(first, |network, _| separable(network, 64, 1))
        .global_average_pool_2d()
        .fully_connected(12)
        .class_names(classes)
}

/// Image classification, 32×32 colour (CIFAR-10): ResNet-8.
pub fn resnet8() -> Network {
    let classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let first = Network::new("resnet8", [32, 32, 3]).conv_2d(16, 3).batch_norm().relu();
    [(16, 1), (32, 2), (64, 2)]
        .into_iter()
        .fold(first, |network, (filters, stride)| residual(network, filters, stride))
        .global_average_pool_2d()
        .fully_connected(10)
        .class_names(classes)
}

/// Visual wake words, 96×96 colour: MobileNet v1 with a quarter of the channels.
pub fn mobilenet_v1_025() -> Network {
    let first = Network::new("mobilenet_v1_025", [96, 96, 3]).conv_2d(8, 3).stride(2).batch_norm().relu();
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
        .fully_connected(2)
        .class_names(["no person", "person"])
}

/// Anomaly detection, 5 frames of 128 mel bands: an autoencoder, trained with the mean squared error to its input.
pub fn autoencoder() -> Network {
    [128, 128, 128, 128, 8, 128, 128, 128, 128]
        .into_iter()
        .fold(Network::new("autoencoder", [1, 1, 640]), |network, units| {
            network.fully_connected(units).batch_norm().relu()
        })
        .fully_connected(640)
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
    use crate::graph::Role;

    #[test]
    fn sizes_are_those_of_the_papers() {
        // The reference models (Keras) count running statistics, and have a bias before each batch norm, which it makes needless.
        let total = |name: &str| {
            let graph = by_name(name).unwrap().build().unwrap();
            let running = graph.tensors.iter().filter(|tensor| tensor.role == Role::RunningStatistics);
            let running: usize = running.filter_map(|tensor| tensor.shape.elements()).sum();
            graph.parameter_count() + running + running / 2
        };
        assert_eq!(
            ["ds_cnn", "resnet8", "mobilenet_v1_025", "autoencoder"].map(total),
            [24_908, 78_666, 221_794, 269_992]
        );
        assert_eq!(mnist_ds_cnn().build().unwrap().parameter_count(), 2_858);
        assert!(by_name("resnet9").is_none());
    }

    #[test]
    fn every_name_is_its_networks_name() {
        for name in NAMES {
            assert_eq!(by_name(name).unwrap().build().unwrap().name, name);
        }
    }
}
