//! Inner loops of the int8 operators, most of them on packed weights.
//!
//! A *layout* is an order of a layer's constants that suits one family of processors: weights, biases and the numbers of the requantization
//! lie in one stream, in the order in which the kernel of that family reads them. Each layout is a module with its packing (which the host
//! calls), its kernels in safe Rust, and, on the processors that it is made for, its kernels in assembly:
//!
//! | layout | for | what |
//! |---|---|---|
//! | [`pairs`] | Armv7E-M and Armv8-M with DSP: Cortex-M4, M7, M33 | convolutions of any window: 4 pixels of 2 channels at a time |
//! | [`double_pairs`] | the same | fully connected layers: 1 pixel of 4 channels at a time |
//! | [`quads`] | the same | depthwise convolutions of 3 by 3 taps: 1 pixel of 4 channels at a time |
//! | [`rows`] | Armv7-M and Armv6-M: Cortex-M3, M0 | convolutions of any window: 4 pixels of 1 channel at a time |
//! | [`fours`] | the same | fully connected layers: 1 pixel of 4 channels at a time |
//! | [`vector_pairs`] | Armv8.1-M with Helium: Cortex-M55, M85 | convolutions of any window: 3 pixels of 2 channels at a time |
//! | [`eights`] | the same | fully connected layers: 1 pixel of 8 channels at a time |
//! | [`sixteens`] | the same | depthwise convolutions of any window: 16 channels at a time |
//! | [`taps`] | all without Helium | depthwise convolutions of nearly any window: 4 pixels of 1 channel at a time |
//!
//! The two forms of a kernel give the same bytes for *every* stream, also for one that no host has packed: what the numbers of a stream
//! mean is defined by wrapping arithmetic. (Of [`rows`], [`fours`], [`eights`], [`vector_pairs`], [`sixteens`] and [`taps`]: for every stream of which the operator's `check` has proved what the kernels take for granted.) So any model file runs anywhere with the same bits, the layout only says where it is
//! fastest, and a hostile file can make a kernel compute nonsense, but the same nonsense everywhere. What a kernel may touch in
//! memory depends only on lengths of slices, which its safe boundary checks.

#[cfg(arm_v6m)]
mod armv6m;
#[cfg(any(arm_v7m, arm_dsp))]
mod armv7m;
pub(crate) mod blocks;
mod bounds;
pub mod double_pairs;
#[cfg(arm_dsp)]
mod dsp;
pub mod eights;
pub mod fours;
mod gather;
#[cfg(arm_helium)]
mod helium;
mod layer;
pub(crate) mod maxima;
pub mod pairs;
pub mod quads;
mod requantize;
pub mod rows;
#[cfg(any(arm_v6m, arm_v7m, arm_dsp))]
mod scalar;
pub mod sixteens;
pub(crate) mod sums;
pub mod taps;
pub mod vector_pairs;

#[cfg(arm_helium)]
pub(crate) use helium::clamp;
pub use layer::{PackedChannel, PackedKernel, PackedLayer};
pub use requantize::{FOLDED_WORDS, Folded};

/// Brings all values into the range from `min` to `max`, or to `max` if that is less.
#[cfg(not(arm_helium))]
pub(crate) fn clamp(values: &mut [i8], [min, max]: [i32; 2]) {
    if [min, max] != [i32::from(i8::MIN), i32::from(i8::MAX)] {
        values.iter_mut().for_each(|value| *value = i32::from(*value).max(min).min(max) as i8);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::Random;
    use crate::quantization::Multiplier;

    /// A channel that the layouts can hold, for these weights, whose outputs are spread over the int8 range and a little beyond.
    pub(crate) fn layer_channel(random: &mut Random, weights: &[i8], input_zero_point: i32) -> Channel {
        let (sum, norm) =
            weights.iter().fold((0, 1), |(sum, norm), &w| (sum + i64::from(w), norm + i64::from(w).abs()));
        let bias = random.range(-20 * norm, 20 * norm) - i64::from(input_zero_point) * sum;
        let right = (i64::from(norm.ilog2()) - 1 + random.range(-2, 2)).clamp(1, 22);
        let multiplier = random.range(1 << 30, (1 << 31) - 1) as i32;
        Channel { bias: bias as i32, multiplier: Multiplier { multiplier, shift: -right as i32 } }
    }
}
