//! Initial weights, the same bits on every machine.

use libm::sqrt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use serde::{Deserialize, Serialize};
use smidgen::ops::lstm::GATES;

use super::elementwise::Elementwise;
use super::op::GraphOp;
use super::structure::{Graph, NodeId, Role};

/// How weights start. `fan_in` is the number of inputs that one output sums, `fan_out` the number of outputs that one input goes to.
///
/// K. He, X. Zhang, S. Ren, J. Sun: *Delving Deep into Rectifiers*, ICCV 2015; X. Glorot, Y. Bengio: *Understanding the difficulty of
/// training deep feedforward neural networks*, AISTATS 2010.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[doc(alias = "kaiming")]
#[doc(alias = "xavier")]
pub enum Initialization {
    /// [`Self::GlorotUniform`] where a function with two bounds follows (sigmoid, tanh, softmax, hard sigmoid, a GRU's gates), else [`Self::HeUniform`].
    #[default]
    ByActivation,
    /// Uniform in `±sqrt(6 / fan_in)`.
    HeUniform,
    /// Normal with standard deviation `sqrt(2 / fan_in)`.
    HeNormal,
    /// Uniform in `±sqrt(6 / (fan_in + fan_out))`.
    GlorotUniform,
    /// Normal with standard deviation `sqrt(2 / (fan_in + fan_out))`.
    GlorotNormal,
}

impl Graph {
    /// Gives every weight its initial value: the weights by `initialization`, biases 0, factors 1, batch norms the identity with running mean 0 and
    /// variance 1.
    ///
    /// Each tensor has a generator (xoshiro256++) of its own, seeded by `seed` and its name: a layer's values do not depend on the other
    /// layers.
    pub fn initialize(&mut self, seed: u64, initialization: Initialization) {
        for node in 0..self.nodes.len() {
            let op = self.nodes[node].op.clone();
            let initialization = initialization.resolved(|| self.is_bounded_after(node));
            for id in self.nodes[node].inputs.clone() {
                let tensor = self.tensor_mut(id);
                let (shape, role) = (tensor.shape, tensor.role);
                let mut random = generator(seed, &tensor.name);
                let Some(values) = tensor.value.as_mut().and_then(|value| value.as_f32_mut()) else {
                    continue;
                };
                match role {
                    Role::Weights => {
                        let fans = fans(&op, shape.dims());
                        values.iter_mut().for_each(|value| *value = initialization.draw(&mut random, fans));
                    }
                    Role::Bias if matches!(op, GraphOp::Lstm { .. }) => {
                        // An open forget gate, the second of four, lets gradients through from the start (Jozefowicz et al. 2015).
                        let units = values.len() / GATES;
                        values.fill(0.0);
                        values[units..2 * units].fill(1.0);
                    }
                    // Factors that change nothing.
                    Role::Bias if matches!(op, GraphOp::Elementwise(Elementwise::Mul { .. })) => {
                        values.fill(1.0);
                    }
                    Role::Bias => values.fill(0.0),
                    Role::BatchNormParameters => halves(values, 1.0, 0.0),
                    Role::RunningStatistics => halves(values, 0.0, 1.0),
                    Role::Activation | Role::Constant | Role::State => {}
                }
            }
        }
    }
}

impl Graph {
    /// Whether the next function after a node, behind what only scales or drops, is one with two bounds.
    fn is_bounded_after(&self, node: usize) -> bool {
        let mut output = self.nodes[node].output;
        loop {
            let Some(NodeId(next)) = self.consumers(output).first().copied() else { return false };
            match self.nodes[next].op.name() {
                "batch_norm" | "dropout" | "reshape" | "add" => output = self.nodes[next].output,
                name => {
                    return ["sigmoid", "logistic", "tanh", "softmax", "hard_sigmoid", "gru"].contains(&name);
                }
            }
        }
    }
}

impl Initialization {
    /// The choice, if there is one, is made.
    fn resolved(self, is_bounded: impl FnOnce() -> bool) -> Self {
        match self {
            Self::ByActivation if is_bounded() => Self::GlorotUniform,
            Self::ByActivation => Self::HeUniform,
            other => other,
        }
    }

    fn draw(self, random: &mut Xoshiro256PlusPlus, [fan_in, fan_out]: [usize; 2]) -> f32 {
        let one = fan_in.max(1) as f64;
        let both = (fan_in + fan_out).max(1) as f64;
        match self {
            Self::HeUniform | Self::ByActivation => uniform(random, sqrt(6.0 / one)),
            Self::HeNormal => normal(random, sqrt(2.0 / one)),
            Self::GlorotUniform => uniform(random, sqrt(6.0 / both)),
            Self::GlorotNormal => normal(random, sqrt(2.0 / both)),
        }
    }
}

fn uniform(random: &mut Xoshiro256PlusPlus, bound: f64) -> f32 {
    ((2.0 * unit(random) - 1.0) * bound) as f32
}

fn normal(random: &mut Xoshiro256PlusPlus, deviation: f64) -> f32 {
    // Box and Muller's method; the radius takes 1 - u, which is in (0, 1], so that the logarithm is finite.
    let radius = sqrt(-2.0 * libm::log(1.0 - unit(random)));
    (radius * libm::cos(core::f64::consts::TAU * unit(random)) * deviation) as f32
}

/// Inputs of an output, and outputs of an input.
fn fans(op: &GraphOp, [a, b, c, d]: [usize; 4]) -> [usize; 2] {
    match op {
        // The input channel is innermost, and an output is met by one tap in each stride.
        GraphOp::TransposeConv { window, .. } => {
            [a * b * d / (window.y.stride * window.x.stride).max(1), a * b * c]
        }
        // One output channel reads one input channel; how many outputs an input goes to does not show in the filter's shape.
        GraphOp::DepthwiseConv2d { .. } => [b * c, b * c],
        _ => [a * b * c, a * b * d],
    }
}

fn halves(values: &mut [f32], first: f32, second: f32) {
    let (start, end) = values.split_at_mut(values.len() / 2);
    start.fill(first);
    end.fill(second);
}

/// So many random weights, uniform in `±sqrt(3 / parts)`: the squares of `parts` of them are 1 on average. They depend on the name alone.
pub(crate) fn even_weights(name: &str, parts: usize, count: usize) -> Vec<f32> {
    let (mut random, bound) = (generator(0, name), sqrt(3.0 / parts.max(1) as f64));
    (0..count).map(|_| uniform(&mut random, bound)).collect()
}

fn generator(seed: u64, name: &str) -> Xoshiro256PlusPlus {
    // FNV-1a over the seed's bytes and the name's (Fowler, Noll, Vo); the generator's own seeding mixes it further.
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Xoshiro256PlusPlus::seed_from_u64(hash)
}

/// A uniform multiple of 2^-53 in `[0, 1)`.
fn unit(random: &mut Xoshiro256PlusPlus) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (random.next_u64() >> 11) as f64 * STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    fn weights(seed: u64, initialization: Initialization) -> Vec<f32> {
        let network = Network::new("n", [1, 1, 100]).fully_connected(400).batch_norm();
        let graph = network.seed(seed).initialization(initialization).build().unwrap();
        let id = graph.find("fully_connected_1/weights").unwrap();
        graph.tensor(id).value.as_ref().unwrap().as_f32().unwrap().to_vec()
    }

    #[test]
    fn weights_have_the_variance_of_he() {
        for initialization in [Initialization::HeUniform, Initialization::HeNormal] {
            let values = weights(1, initialization);
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
            // 40,000 draws of variance 0.02: standard errors 0.0007 of the mean, below 0.0002 of the variance.
            assert!(mean.abs() < 0.003, "{initialization:?} mean {mean}");
            assert!((variance - 0.02).abs() < 0.001, "{initialization:?} variance {variance}");
        }
    }

    #[test]
    fn weights_have_the_variance_of_glorot() {
        for initialization in [Initialization::GlorotUniform, Initialization::GlorotNormal] {
            let values = weights(1, initialization);
            let variance = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
            // 40,000 draws of variance 2 / (100 + 400).
            assert!((variance - 0.004).abs() < 0.0002, "{initialization:?} variance {variance}");
        }
    }

    #[test]
    fn what_follows_decides_by_default() {
        let first = |network: Network| {
            let graph = network.build().unwrap();
            let id = graph.find("fully_connected_1/weights").unwrap();
            graph.tensor(id).value.as_ref().unwrap().as_f32().unwrap().to_vec()
        };
        let network = || Network::new("n", [1, 1, 100]).fully_connected(40);
        let he = |network: Network| first(network.initialization(Initialization::HeUniform));
        let glorot = |network: Network| first(network.initialization(Initialization::GlorotUniform));
        assert_eq!(first(network()), he(network()));
        assert_eq!(first(network().batch_norm().relu()), he(network().batch_norm().relu()));
        assert_eq!(first(network().dropout(0.5).softmax()), glorot(network().dropout(0.5).softmax()));
        assert_ne!(first(network().softmax()), he(network().softmax()));
    }

    #[test]
    fn the_seed_and_the_name_decide() {
        let initialization = Initialization::HeUniform;
        assert_eq!(weights(1, initialization), weights(1, initialization));
        assert_ne!(weights(1, initialization), weights(2, initialization));
        assert_ne!(generator(1, "a").next_u64(), generator(1, "b").next_u64());
    }

    #[test]
    fn the_first_values_are_known() {
        // Frozen: a change of these bits changes every trained network.
        let bits: Vec<u32> = weights(1, Initialization::HeUniform)[..3].iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [1_045_282_508, 1_045_334_359, 1_033_501_330]);
    }

    #[test]
    fn batch_norm_starts_as_the_identity() {
        let graph = Network::new("n", [1, 1, 2]).fully_connected(3).batch_norm().build().unwrap();
        let values = |name: &str| {
            let tensor = graph.tensor(graph.find(name).unwrap());
            tensor.value.as_ref().unwrap().as_f32().unwrap().to_vec()
        };
        assert_eq!(values("batch_norm_1/parameters"), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(values("batch_norm_1/running"), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }
}
