//! Sums and products of two tensors.

use smidgen::ops::add::int8::{AddI8, MAX_LEFT_SHIFT};
use smidgen::ops::binary::int8::{MAX_MUL_SHIFT, MulI8, WeightedSumI8};
use smidgen::ops::int8::OutputRange;
use smidgen::quantization::Multiplier;

use super::Outputs;
use super::reference::{Random, divide, high_mul, requantize};

/// Elements of a problem.
const LENGTH: usize = 200;

fn range(random: &mut Random) -> OutputRange {
    let [activation_min, activation_max] = random.clamp();
    OutputRange { zero_point: random.zero_point(), activation_min, activation_max }
}

/// A factor with a shift in `least..=greatest`; often one of the ends.
fn factor(random: &mut Random, [least, greatest]: [i32; 2]) -> Multiplier {
    let shift = match random.size(0, 7) {
        0 => least,
        1 => greatest,
        _ => random.range(least.into(), greatest.into()) as i32,
    };
    Multiplier { multiplier: random.significand(), shift }
}

fn both(
    random: &mut Random,
    what: String,
    found: impl Fn(i8, i8) -> i8,
    expected: impl Fn(i8, i8) -> i8,
) -> Option<Outputs> {
    let (left, right) = (random.bytes(LENGTH, 127), random.bytes(LENGTH, 127));
    let pairs = || left.iter().copied().zip(right.iter().copied());
    let expected = pairs().map(|(left, right)| expected(left, right)).collect();
    Some(Outputs { expected, found: pairs().map(|(left, right)| found(left, right)).collect(), what })
}

pub(super) fn add(random: &mut Random) -> Option<Outputs> {
    sum(random, 1, AddI8::apply)
}

pub(super) fn sub(random: &mut Random) -> Option<Outputs> {
    sum(random, -1, AddI8::apply_sub)
}

fn sum(random: &mut Random, sign: i64, apply: fn(&AddI8, i8, i8) -> i8) -> Option<Outputs> {
    let left_shift = if random.once_in(2) { 20 } else { random.size(0, MAX_LEFT_SHIFT as usize) as u32 };
    let zero_points = [random.zero_point(), random.zero_point()];
    let multipliers = [factor(random, [-6, 0]), factor(random, [-6, 0])];
    let params = AddI8 {
        left_shift,
        zero_points,
        multipliers,
        output_multiplier: factor(random, [-31, 0]),
        range: range(random),
    };
    let scaled = move |value: i8, side: usize| {
        let shifted = (i128::from(value) - i128::from(params.zero_points[side])) << left_shift;
        let Multiplier { multiplier, shift } = params.multipliers[side];
        divide(high_mul(shifted, i128::from(multiplier)), 1 << -shift) as i64
    };
    let OutputRange { zero_point, activation_min, activation_max } = params.range;
    both(
        random,
        format!("{params:?}"),
        |left, right| apply(&params, left, right),
        |left, right| {
            let sum = scaled(left, 0) + sign * scaled(right, 1);
            requantize(sum, params.output_multiplier, zero_point, [activation_min, activation_max])
        },
    )
}

pub(super) fn mul(random: &mut Random) -> Option<Outputs> {
    let zero_points = [random.zero_point(), random.zero_point()];
    let params =
        MulI8 { zero_points, multiplier: factor(random, [-31, MAX_MUL_SHIFT]), range: range(random) };
    let OutputRange { zero_point, activation_min, activation_max } = params.range;
    let [left_zero, right_zero] = zero_points.map(i64::from);
    both(
        random,
        format!("{params:?}"),
        |left, right| params.apply(left, right),
        |left, right| {
            let product = (i64::from(left) - left_zero) * (i64::from(right) - right_zero);
            requantize(product, params.multiplier, zero_point, [activation_min, activation_max])
        },
    )
}

pub(super) fn weighted_sum(random: &mut Random) -> Option<Outputs> {
    let most = 1i64 << random.size(1, 23);
    let mut weight = || random.range(-most, most) as i32;
    let weights = [weight(), weight()];
    let bias = random.range(-(1 << 30), 1 << 30) >> random.size(0, 30);
    let shift = if random.once_in(8) { [0, 31][random.size(0, 1)] } else { random.size(0, 31) } as u32;
    let clamp = random.clamp();
    let params = WeightedSumI8 { weights, bias: bias as i32, shift, clamp };
    if !params.fits() {
        return None;
    }
    let ([left_weight, right_weight], [low, high]) = (weights.map(i64::from), clamp.map(i64::from));
    both(
        random,
        format!("{params:?}"),
        |left, right| params.apply(left, right),
        |left, right| {
            let sum = i64::from(left) * left_weight + i64::from(right) * right_weight + bias;
            sum.div_euclid(1 << shift).clamp(low, high) as i8
        },
    )
}
