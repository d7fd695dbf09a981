//! Requantization in five instructions of a Cortex-M4.

use crate::quantization::Multiplier;

/// How many words a [`Folded`] takes in a stream.
pub const FOLDED_WORDS: usize = 3;

/// A multiplier with a shift to the right and an output's zero point, folded into what [`Folded::apply`] needs.
///
/// TensorFlow Lite Micro rounds twice (see [`quantization`](crate::quantization)): with `q = floor(accumulator * multiplier / 2^31 + 1/2)`, the
/// output is `q / 2^e` to nearest, ties away from zero, plus the zero point, clamped. Here that is one multiplication and one shift,
///
/// ```text
/// high   = half + sign + q        where sign is -1 for a negative accumulator, else 0
/// output = clamp(high >> e)       half = 2^(e-1) + zero_point * 2^e
/// ```
///
/// because `(q + 2^(e-1)) >> e` rounds to nearest with ties upward, taking one off a negative `q` first sends its ties down and moves nothing
/// else, and a multiple of `2^e` passes through the shift. (An accumulator is negative if and only if `q` is, or `q` is 0; `-1 + 2^(e-1)` shifts to
/// 0 as well, for `e >= 1`.) `SMMLAR` is `half' + floor(a * b / 2^32 + 1/2)` in one instruction, with twice the accumulator for `a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The Q31 multiplier.
    pub multiplier: i32,
    /// `2^(e-1) + zero_point * 2^e`.
    pub half: i32,
    /// The shift to the right, `e`.
    pub exponent: i32,
}

impl Folded {
    /// Folds `multiplier` and `zero_point`, for accumulators of which none is larger than `bound` in magnitude.
    ///
    /// `None` if the folded form would not be exact: without a shift to the right, for an invalid multiplier or zero point, or if 32 bits are
    /// too few for twice the bound, or for the sum of `half` and `q`, which is at most the bound.
    pub const fn new(multiplier: Multiplier, zero_point: i32, bound: u64) -> Option<Self> {
        let right = -multiplier.shift;
        if !multiplier.is_valid() || right < 1 || bound >= 1 << 30 || zero_point < -128 || zero_point > 127 {
            return None;
        }
        let half = (1i64 << (right - 1)) + zero_point as i64 * (1 << right);
        if half.unsigned_abs() + bound >= i32::MAX as u64 {
            return None;
        }
        Some(Self { multiplier: multiplier.multiplier, half: half as i32, exponent: right })
    }

    /// What gives `output` for the accumulator 0.
    pub const fn constant(output: i8) -> Self {
        Self { multiplier: 0, half: 2 * output as i32, exponent: 1 }
    }

    /// The numbers in a stream.
    pub const fn words(self) -> [i32; FOLDED_WORDS] {
        [self.multiplier, self.half, self.exponent]
    }

    /// The numbers that [`Folded::words`] gave; any numbers will do.
    #[inline(always)]
    pub const fn from_words([multiplier, half, exponent]: [i32; FOLDED_WORDS]) -> Self {
        Self { multiplier, half, exponent }
    }

    /// Whether these numbers are such that [`Folded::apply`] is exact for accumulators up to `bound` in magnitude: what [`Folded::new`] promises, of numbers that
    /// come from elsewhere.
    pub const fn is_exact(self, bound: u64) -> bool {
        let Self { multiplier, half, exponent } = self;
        (multiplier == 0 || multiplier >= 1 << 30)
            && exponent >= 1
            && exponent <= 31
            && bound < 1 << 30
            && half.unsigned_abs() as u64 + bound < i32::MAX as u64
    }

    /// The output for an accumulator, of which this takes the double.
    ///
    /// Exactly the instructions `add, smmlar, asr, ssat`, whatever the numbers: sums wrap, and of the exponent only the lowest byte counts.
    ///
    /// With the zero point -128, which is that of most layers with a ReLU, the sign can be left out (`relu`): what it would change is below zero and
    /// becomes -128 all the same. That is an instruction less.
    #[inline(always)]
    pub const fn apply(self, doubled: i32, relu: bool) -> i8 {
        let sign = if relu { 0 } else { doubled >> 31 };
        let sum = self.half.wrapping_add(sign);
        let product = doubled as i64 * self.multiplier as i64;
        let high = (((sum as i64) << 32).wrapping_add(product).wrapping_add(1 << 31) >> 32) as i32;
        let exponent = self.exponent as u32 & 0xff;
        let shifted = high >> if exponent < 31 { exponent } else { 31 };
        if shifted < -128 {
            -128
        } else if shifted > 127 {
            127
        } else {
            shifted as i8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::int8::reference::{Random, requantize as reference};

    #[test]
    fn equals_the_definition() {
        let mut random = Random(40);
        let (mut refused, mut ties, mut ends) = (0, 0, [0; 2]);
        for round in 0..2_000_000 {
            let right = random.range(1, 31) as i32;
            let multiplier =
                if random.range(0, 2) == 0 { 1 << 30 } else { random.range(1 << 30, (1 << 31) - 1) as i32 };
            let multiplier = Multiplier { multiplier, shift: -right };
            let magnitude = 1i64 << random.range(1, 30);
            let accumulator = match round % 100 {
                0 => (1 << 30) - 1,
                1 => 1 - (1 << 30),
                _ => random.range(1 - magnitude, magnitude - 1),
            };
            let zero_point = random.zero_point();
            let Some(folded) = Folded::new(multiplier, zero_point, accumulator.unsigned_abs()) else {
                refused += 1;
                continue;
            };
            let found = folded.apply(accumulator as i32 * 2, false);
            let expected = reference(accumulator, multiplier, zero_point, [-128, 127]);
            assert_eq!(found, expected, "{accumulator} {multiplier:?} {zero_point}");
            if zero_point == -128 {
                assert_eq!(folded.apply(accumulator as i32 * 2, true), expected);
            }
            let q = (accumulator * i64::from(multiplier.multiplier) + (1 << 30)) >> 31;
            ties += usize::from(q < 0 && q & ((1 << right) - 1) == 1 << (right - 1));
            ends[0] += usize::from(found == -128);
            ends[1] += usize::from(found == 127);
        }
        assert!(refused < 500_000, "{refused}");
        assert!(ties > 1000 && ends[0] > 1000 && ends[1] > 1000, "{ties} {ends:?}");
    }

    #[test]
    fn what_would_not_be_exact_is_refused() {
        let valid = Multiplier { multiplier: 1 << 30, shift: -1 };
        assert!(Folded::new(valid, 127, (1 << 30) - 1).is_some());
        assert_eq!(Folded::new(valid, 127, 1 << 30), None);
        assert_eq!(Folded::new(valid, 128, 1), None);
        for (shift, zero_point) in [(0, 0), (1, 0), (-25, 127), (-25, -128), (-31, 1)] {
            assert_eq!(Folded::new(Multiplier { shift, ..valid }, zero_point, 1), None);
        }
        let right = Multiplier { shift: -24, ..valid };
        let room = i32::MAX as u64 - (127 << 24) - (1 << 23);
        assert!(Folded::new(right, 127, room - 1).is_some() && Folded::new(right, 127, room).is_none());
        assert_eq!(Folded::new(Multiplier { multiplier: 1, shift: -1 }, 0, 1), None);
    }

    #[test]
    fn a_constant_is_itself() {
        for output in i8::MIN..=i8::MAX {
            assert_eq!([true, false].map(|relu| Folded::constant(output).apply(0, relu)), [output; 2]);
        }
    }

    #[test]
    fn any_words_give_a_number() {
        for words in [[i32::MIN; 3], [i32::MAX; 3], [-1, 1, -1], [i32::MIN, i32::MAX, 300]] {
            for doubled in [i32::MIN, -1, 0, 1, i32::MAX] {
                let _ = Folded::from_words(words).apply(doubled, words[0] < 0);
            }
        }
    }
}
