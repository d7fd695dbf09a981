//! Softmax, by gemmlowp's definitions of its functions in 128 bits.

use smidgen::ops::softmax::int8::{MAX_ROW, SoftmaxI8, forward_in_place};

use super::Outputs;
use super::reference::{Random, divide, high_mul};

pub(super) fn softmax(random: &mut Random) -> Option<Outputs> {
    // The longest rows, the shortest, in which one element has all, and scales whose differences are cut.
    let row = match random.size(0, 199) {
        0 => random.size(1, MAX_ROW),
        1..60 => random.size(1, 2),
        _ => random.size(1, 40),
    };
    let scale = 2f32.powi(random.range(-24, 6) as i32) * (1.0 + random.range(0, 999) as f32 / 1000.0);
    let params = SoftmaxI8::new(scale)?;
    let input = random.bytes(row, 127);
    let mut found = input.clone();
    forward_in_place(&params, row, &mut found);
    Some(Outputs { expected: expected(&params, &input), found, what: format!("{params:?} row of {row}") })
}

fn expected(params: &SoftmaxI8, row: &[i8]) -> Vec<i8> {
    let max = row.iter().copied().max().map_or(0, i128::from);
    let multiplier = i128::from(params.input_multiplier);
    let exponential_of = |value: i8| {
        let difference = i128::from(value) - max;
        let shifted = difference << params.input_left_shift;
        (difference >= params.difference_min.into()).then(|| exponential(high_mul(shifted, multiplier)))
    };
    // Each of the values once.
    let mut table: [Option<Option<i128>>; 256] = [None; 256];
    let mut of =
        |value: i8| *table[usize::from(value.cast_unsigned())].get_or_insert_with(|| exponential_of(value));
    let exponentials: Vec<Option<i128>> = row.iter().map(|&value| of(value)).collect();
    let sum: i128 = exponentials.iter().flatten().map(|&exp| divide(exp, 1 << 12)).sum();
    let bits = sum.ilog2() - 19;
    let reciprocal = one_over_one_plus((sum << (12 - bits)) - (1 << 31));
    let probability = |exp: i128| divide(high_mul(reciprocal, exp), 1 << (bits + 23));
    exponentials.into_iter().map(|exp| (exp.map_or(0, probability) - 128).clamp(-128, 127) as i8).collect()
}

/// `exp_on_negative_values` of a Q5, in Q0.
fn exponential(x: i128) -> i128 {
    if x == 0 {
        return (1 << 31) - 1;
    }
    let q0 = |value: f64| (value * 2f64.powi(31)).round() as i128;
    let quarters = (-x - 1) / (1 << 24);
    let a = ((x + quarters * (1 << 24)) << 5) + (1 << 28);
    let (square, centre) = (high_mul(a, a), q0((-0.125f64).exp()));
    let (third, fourth) = (high_mul(square, a), high_mul(square, square));
    let tail = divide(high_mul(divide(fourth, 4) + third, q0(1.0 / 3.0)) + square, 2);
    let start = centre + high_mul(centre, a + tail);
    let bits = (0..7).filter(|bit| quarters >> bit & 1 == 1);
    bits.fold(start, |result, bit| high_mul(result, q0((-(2f64.powi(bit - 2))).exp())))
}

/// `1 / (1 + fraction)` in Q0, by three steps of Newton's method for twice that of half of it, in Q2.
fn one_over_one_plus(fraction: i128) -> i128 {
    let saturated = |value: i128| value.clamp(i32::MIN.into(), i32::MAX.into());
    let half = (fraction + (1 << 31)) / 2;
    let q2 = |value: f64| (value * 2f64.powi(29)).round() as i128;
    let start = q2(48.0 / 17.0) + high_mul(half, q2(-32.0 / 17.0));
    let found = (0..3).fold(start, |y, _| {
        let error = (1 << 29) - high_mul(half, y);
        y + saturated(high_mul(y, error) * 4)
    });
    saturated(found * 2)
}
