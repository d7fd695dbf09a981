//! Random numbers, and TensorFlow Lite Micro's requantization by its definition.

use smidgen::geometry::{Axis, Window};
use smidgen::quantization::Multiplier;

/// `SplitMix64`.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(super) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1).cast_unsigned()).cast_signed()
    }

    /// A number in `low..=high`.
    pub(super) fn size(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }

    /// `length` numbers in `-most - 1..=most`; every third time only the two ends, every ninth only one of them.
    pub(super) fn bytes(&mut self, length: usize, most: i8) -> Vec<i8> {
        let ends = [-most - 1, most];
        let kind = self.size(0, 8);
        let one = ends[self.size(0, 1)];
        let byte = |random: &mut Self| match kind {
            0 => one,
            1 | 2 => ends[random.size(0, 1)],
            _ => random.range(i64::from(ends[0]), i64::from(ends[1])) as i8,
        };
        (0..length).map(|_| byte(self)).collect()
    }

    /// A zero point; half of the time one of the ends.
    pub(super) fn zero_point(&mut self) -> i32 {
        match self.size(0, 3) {
            0 => -128,
            1 => 127,
            _ => self.range(-128, 127) as i32,
        }
    }

    /// A clamp; half of the time the widest.
    pub(super) fn clamp(&mut self) -> [i32; 2] {
        if self.once_in(2) {
            return [-128, 127];
        }
        let low = self.range(-128, 127);
        [low as i32, self.range(low, 127) as i32]
    }

    /// An axis of up to `taps` taps, and an input length that it fits.
    pub(super) fn axis(&mut self, taps: usize, dilations: usize) -> (Axis, usize) {
        loop {
            let (kernel, stride, dilation) = (self.size(1, taps), self.size(1, 3), self.size(1, dilations));
            let extent = (kernel - 1) * dilation + 1;
            let (pad_before, pad_after) = (self.size(0, extent - 1), self.size(0, extent - 1));
            let axis = Axis { kernel, stride, dilation, pad_before, pad_after };
            let length = self.size(1, 9);
            if axis.output(length).is_some() {
                return (axis, length);
            }
        }
    }

    /// A window and the input's height and width.
    pub(super) fn window(&mut self, taps: usize) -> (Window, [usize; 2]) {
        let ((y, height), (x, width)) = (self.axis(taps, 2), self.axis(taps, 2));
        (Window { y, x }, [height, width])
    }

    /// A multiplier; often one of the ends.
    pub(super) fn significand(&mut self) -> i32 {
        match self.size(0, 5) {
            0 => 1 << 30,
            1 => i32::MAX,
            _ => self.range(1 << 30, (1 << 31) - 1) as i32,
        }
    }
}

/// `accumulator * multiplier * 2^shift` in two roundings, from their definitions, plus the zero point, clamped: gemmlowp's
/// `SaturatingRoundingDoublingHighMul`, to nearest, which divides towards zero after a nudge that has the product's sign; then `RoundingDivideByPOT`, to nearest with
/// ties away from zero.
pub(super) fn requantize(accumulator: i64, factor: Multiplier, zero_point: i32, [low, high]: [i32; 2]) -> i8 {
    let shifted = i128::from(accumulator) << factor.shift.max(0);
    let value = divide(high_mul(shifted, i128::from(factor.multiplier)), 1 << (-factor.shift).max(0));
    (value + i128::from(zero_point)).clamp(i128::from(low), i128::from(high)) as i8
}

/// The high half of twice the product, rounded to nearest.
pub(super) fn high_mul(a: i128, b: i128) -> i128 {
    let product = a * b;
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    (product + nudge) / (1 << 31)
}

/// `a / divisor` to nearest, ties away from zero.
pub(super) fn divide(a: i128, divisor: i128) -> i128 {
    a.signum() * ((a.abs() * 2 + divisor) / (divisor * 2))
}
