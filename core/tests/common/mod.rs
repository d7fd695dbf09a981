//! Random layers and the plain definition of what their operators compute, once in f32 (to the bit) and once in f64.
#![allow(dead_code, reason = "each test uses a part of it")]

use smidgen::geometry::{Axis, Window};
use smidgen::{Operand, Shape, Space};

/// A small named generator: `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..=high`.
    pub(crate) fn integer(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    /// One of `choices`.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.integer(0, choices.len() - 1)]
    }

    /// Uniform in `-1.0..1.0`.
    pub(crate) fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// Mostly numbers, among them a few of what breaks kernels: NaN, infinities, both zeros, denormals, huge ones.
    pub(crate) fn wild(&mut self, count: usize) -> Vec<f32> {
        let special =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-40, -1e-45, 1e-38, 3e38, -3e38];
        let mut wild = || if self.integer(0, 30) == 0 { self.one_of(&special) } else { self.value() };
        (0..count).map(|_| wild()).collect()
    }
}

/// What kind of layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Convolution,
    Depthwise,
    FullyConnected,
    Transposed,
}

pub(crate) const KINDS: [Kind; 4] =
    [Kind::Convolution, Kind::Depthwise, Kind::FullyConnected, Kind::Transposed];

/// A layer with weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub(crate) kind: Kind,
    pub(crate) input: Shape,
    pub(crate) filter: Shape,
    pub(crate) output: Shape,
    pub(crate) window: Window,
    /// Groups of channels, of a convolution; else 1.
    pub(crate) groups: usize,
}

pub(crate) fn elements(shape: Shape) -> usize {
    shape.elements().unwrap()
}

impl Layer {
    /// A layer of this kind. Channels go up to `channels`, so that a layer needs several blocks of lanes, and left-over ones.
    pub(crate) fn random(kind: Kind, channels: usize, random: &mut Random) -> Self {
        let size = |x: usize| u32::try_from(x).unwrap();
        loop {
            let groups = if kind == Kind::Convolution { random.one_of(&[1, 1, 1, 2, 3]) } else { 1 };
            let channels = channels.div_ceil(groups);
            let [n, c_in] = [random.integer(1, 3), random.integer(1, channels) * groups];
            let c_out = match kind {
                Kind::Depthwise => c_in * random.one_of(&[1, 1, 1, 2, 3]),
                _ => random.integer(1, channels) * groups,
            };
            let pointwise = random.integer(0, 7) == 0;
            let mut axis = || {
                let kernel = random.one_of(&[1, 1, 2, 3, 3, 3, 4, 5]);
                let axis = Axis { kernel, stride: random.one_of(&[1, 1, 1, 2, 3]), ..Axis::ONE };
                let axis = Axis { dilation: random.one_of(&[1, 1, 1, 2, 3]), ..axis };
                let most = axis.extent().unwrap() - 1;
                let (pad_before, pad_after) = (random.integer(0, most), random.integer(0, most));
                (Axis { pad_before, pad_after, ..axis }, random.integer(1, 12))
            };
            let ((y, h), (x, w)) = match kind {
                Kind::FullyConnected if pointwise => ((Axis::ONE, 2), (Axis::ONE, 3)),
                Kind::FullyConnected => ((Axis::ONE, 1), (Axis::ONE, 1)),
                _ if pointwise => ((Axis::ONE, 5), (Axis::ONE, 3)),
                _ => (axis(), axis()),
            };
            let (Some(out_h), Some(out_w)) = (y.output(h), x.output(w)) else { continue };
            if kind == Kind::Transposed {
                // The window slides over the output, which now and then has pixels that no tap reaches.
                let fewer = |most: usize, random: &mut Random| most - random.integer(0, 4).min(most - 1) / 4;
                let (in_h, in_w) = (fewer(out_h, random), fewer(out_w, random));
                return Self {
                    kind,
                    input: Shape([n, in_h, in_w, c_in].map(size)),
                    filter: Shape([y.kernel, x.kernel, c_out, c_in].map(size)),
                    output: Shape([n, h, w, c_out].map(size)),
                    window: Window { y, x },
                    groups,
                };
            }
            let filter = match kind {
                Kind::Depthwise => [1, y.kernel, x.kernel, c_out],
                _ => [y.kernel, x.kernel, c_in / groups, c_out],
            };
            return Self {
                kind,
                input: Shape([n, h, w, c_in].map(size)),
                filter: Shape(filter.map(size)),
                output: Shape([n, out_h, out_w, c_out].map(size)),
                window: Window { y, x },
                groups,
            };
        }
    }

    /// Calls `visit(input element, filter element, output element)` for each multiplication of the layer. Those of any one output,
    /// and those of any one filter element, come in the order in which the documentation says they are summed.
    pub(crate) fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([n, in_h, in_w, c_in], [_, out_h, out_w, c_out]) = (self.input.dims(), self.output.dims());
        let Window { y, x } = self.window;
        if self.kind == Kind::Transposed {
            for (k_y, k_x, n) in grid([y.kernel, x.kernel, n]) {
                for (in_y, in_x, out_c) in grid([in_h, in_w, c_out]) {
                    let place = y.input(in_y, k_y, out_h).zip(x.input(in_x, k_x, out_w));
                    let Some((out_y, out_x)) = place else { continue };
                    let input = ((n * in_h + in_y) * in_w + in_x) * c_in;
                    let output = ((n * out_h + out_y) * out_w + out_x) * c_out + out_c;
                    let filter = ((k_y * x.kernel + k_x) * c_out + out_c) * c_in;
                    (0..c_in).for_each(|in_c| visit(input + in_c, filter + in_c, output));
                }
            }
            return;
        }
        for (n, out_y, out_x) in grid([n, out_h, out_w]) {
            for (k_y, k_x, _) in grid([y.kernel, x.kernel, 1]) {
                let (Some(in_y), Some(in_x)) = (y.input(out_y, k_y, in_h), x.input(out_x, k_x, in_w)) else {
                    continue;
                };
                let input = ((n * in_h + in_y) * in_w + in_x) * c_in;
                let output = ((n * out_h + out_y) * out_w + out_x) * c_out;
                let tap = k_y * x.kernel + k_x;
                if self.kind == Kind::Depthwise {
                    (0..c_out).for_each(|c| visit(input + c / (c_out / c_in), tap * c_out + c, output + c));
                } else {
                    let (group_c, group_out_c) = (c_in / self.groups, c_out / self.groups);
                    for (in_c, out_c, _) in grid([group_c, c_out, 1]) {
                        let of_group = out_c / group_out_c * group_c;
                        visit(
                            input + of_group + in_c,
                            (tap * group_c + in_c) * c_out + out_c,
                            output + out_c,
                        );
                    }
                }
            }
        }
    }

    /// The multiplications in the order of the sums of the gradient with respect to the input.
    fn products_by_tap(&self) -> Vec<(usize, usize, usize)> {
        let mut products = Vec::new();
        self.products(|input, filter, output| products.push((input, filter, output)));
        // Filter elements of one input channel ascend with k_y, k_x and the output channel.
        products.sort_by_key(|&(_, filter, _)| filter);
        products
    }

    pub(crate) fn forward_f32(&self, input: &[f32], filter: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let channels = self.output.dims()[3];
        let bias = bias.map_or(vec![0.0; channels], <[f32]>::to_vec);
        let mut output: Vec<f32> = (0..elements(self.output)).map(|i| bias[i % channels]).collect();
        self.products(|i, f, o| output[o] = input[i].mul_add(filter[f], output[o]));
        output
    }

    pub(crate) fn grad_input_f32(&self, grad_output: &[f32], filter: &[f32]) -> Vec<f32> {
        let mut grad_input = vec![0.0f32; elements(self.input)];
        for (i, f, o) in self.products_by_tap() {
            grad_input[i] = grad_output[o].mul_add(filter[f], grad_input[i]);
        }
        grad_input
    }

    pub(crate) fn grad_weights_f32(&self, input: &[f32], grad_output: &[f32]) -> Vec<f32> {
        let mut grad_weights = vec![0.0f32; elements(self.filter)];
        self.products(|i, f, o| grad_weights[f] = input[i].mul_add(grad_output[o], grad_weights[f]));
        grad_weights
    }

    pub(crate) fn forward_f64(&self, input: &[f64], filter: &[f64], bias: &[f64]) -> Vec<f64> {
        let mut output: Vec<f64> = (0..elements(self.output)).map(|i| bias[i % bias.len()]).collect();
        self.products(|i, f, o| output[o] += input[i] * filter[f]);
        output
    }
}

fn grid([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// An operand of a step at some place in the arena.
pub(crate) fn operand(offset: u32, shape: Shape) -> Operand {
    Operand {
        space: Space::Arena,
        element_type: smidgen::ElementType::F32,
        offset,
        shape,
        quantization: smidgen::Quantization::NONE,
    }
}

/// The first element whose bits differ; one NaN is as good as another.
pub(crate) fn first_difference(found: &[f32], expected: &[f32]) -> Option<(usize, f32, f32)> {
    assert_eq!(found.len(), expected.len());
    let differ = |a: f32, b: f32| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
    let pairs = found.iter().zip(expected).enumerate();
    pairs.map(|(i, (&a, &b))| (i, a, b)).find(|&(_, a, b)| differ(a, b))
}
