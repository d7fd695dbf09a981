//! Random layers.

use smidgen::geometry::Axis;
use smidgen::ops::int8::Channel;
use smidgen::quantization::Multiplier;

/// Marsaglia's xorshift64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    /// A number in `low..=high`.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.next().cast_signed() % (high - low + 1)
    }

    /// A number in `low..=high`.
    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        self.range(low as i64, high as i64) as usize
    }

    /// Numbers from `low` to 127; now and then only these two.
    pub(crate) fn fill(&mut self, values: &mut [i8], low: i8) {
        let extreme = self.range(0, 9) == 0;
        for value in values {
            let random = self.next();
            *value = match (extreme, random & 0x100) {
                (true, 0) => low,
                (true, _) => 127,
                _ => (random as i8).max(low),
            };
        }
    }

    /// A zero point; often one of the two extremes.
    pub(crate) fn zero_point(&mut self) -> i32 {
        match self.range(0, 3) {
            0 => -128,
            1 => 127,
            _ => self.range(-128, 127) as i32,
        }
    }

    /// An axis with up to `taps` taps, and an input length that it fits.
    pub(crate) fn axis(&mut self, taps: usize) -> (Axis, usize) {
        loop {
            let (kernel, stride, dilation) = (self.size(1, taps), self.size(1, 3), self.size(1, 2));
            let extent = (kernel - 1) * dilation + 1;
            let (pad_before, pad_after) = (self.size(0, extent - 1), self.size(0, extent - 1));
            let axis = Axis { kernel, stride, dilation, pad_before, pad_after };
            let length = self.size(1, 12);
            if axis.output(length).is_some() {
                return (axis, length);
            }
        }
    }

    /// An output channel with these weights, whose outputs are spread over the int8 range and a little beyond.
    pub(crate) fn channel(&mut self, weights: impl Iterator<Item = i8>, input_zero_point: i32) -> Channel {
        let (sum, norm) = weights.fold((0, 1), |(sum, norm), weight| {
            (sum + i64::from(weight), norm + i64::from(weight.unsigned_abs()))
        });
        let bias = self.range(-20 * norm, 20 * norm) - i64::from(input_zero_point) * sum;
        let right = (i64::from(norm.ilog2()) - 1 + self.range(-2, 2)).clamp(1, 22);
        let multiplier = self.range(1 << 30, (1 << 31) - 1) as i32;
        Channel { bias: bias as i32, multiplier: Multiplier { multiplier, shift: -right as i32 } }
    }
}
