//! The power spectrum of real samples: a transform of half the length over pairs of samples, and its untangling.
//!
//! H. V. Sorensen et al.: *Real-valued fast Fourier transform algorithms*, IEEE Trans. ASSP 35(6), 1987; the complex transform is Cooley and
//! Tukey's, decimation in time, radix 4 first and radix 2 after.

use core::num::NonZeroU32;

use super::turn::{cosine_of_turn, sine_of_turn};

/// Where pair `index` of samples goes, for a transform of `2^bits` pairs: the index with its bits reversed.
#[inline(always)]
pub(super) fn place(index: u32, bits: u32) -> usize {
    (index.reverse_bits() >> (32_u32.wrapping_sub(bits) & 31)) as usize
}

/// Fills the factors `exp(-2 pi i k / (2 half))`, `k < half`, of the stages with `half` = 4, 8, … up to a quarter of `length`, one stage after another, as
/// real and imaginary parts in turns.
pub(super) fn fill_twiddles(length: u32, twiddles: &mut [f32]) {
    let mut rest = twiddles.as_chunks_mut::<2>().0.iter_mut();
    let mut half = 4;
    while half <= length / 4 {
        let turn = NonZeroU32::MIN.saturating_add(2 * half - 1);
        for (k, factor) in (0..half).zip(rest.by_ref()) {
            *factor = unit(k, turn);
        }
        half *= 2;
    }
}

/// Fills `exp(-2 pi i k / length)`, `k < length / 4`.
pub(super) fn fill_split(length: u32, split: &mut [f32]) {
    let turn = NonZeroU32::MIN.saturating_add(length.saturating_sub(1));
    for (k, factor) in (0..).zip(split.as_chunks_mut::<2>().0) {
        *factor = unit(k, turn);
    }
}

fn unit(k: u32, turn: NonZeroU32) -> [f32; 2] {
    [cosine_of_turn(k, turn), -sine_of_turn(k, turn)]
}

/// The powers `|X[k]|^2` of the bins 0 to `length / 2` of `length` real samples.
///
/// `data` holds the samples in pairs, pair `i` at [`place`]`(i)`. Afterwards the power of bin `k` is at `2 k`, and the last one's at 1.
pub(super) fn power_spectrum(data: &mut [f32], twiddles: &[f32], split: &[f32]) {
    transform(data, twiddles);
    let pairs = data.as_chunks_mut::<2>().0;
    let Some((first, rest)) = pairs.split_first_mut() else { return };
    let (sum, difference) = (first[0] + first[1], first[0] - first[1]);
    *first = [sum * sum, difference * difference];
    let (left, right) = rest.split_at_mut(rest.len() / 2);
    let Some((middle, left_of_right)) = right.split_first_mut() else { return };
    // The bins k and length / 2 - k, for k from 1.
    let factors = split.as_chunks::<2>().0.get(1..).unwrap_or_default();
    for ((a, b), w) in left.iter_mut().zip(left_of_right.iter_mut().rev()).zip(factors) {
        // Of even and odd samples, both halved.
        let even = [(a[0] + b[0]) * 0.5, (a[1] - b[1]) * 0.5];
        let odd = [(a[1] + b[1]) * 0.5, (b[0] - a[0]) * 0.5];
        let turned = [odd[0] * w[0] - odd[1] * w[1], odd[0] * w[1] + odd[1] * w[0]];
        a[0] = power([even[0] + turned[0], even[1] + turned[1]]);
        b[0] = power([even[0] - turned[0], even[1] - turned[1]]);
    }
    middle[0] = power(*middle);
}

#[inline(always)]
fn power([re, im]: [f32; 2]) -> f32 {
    re * re + im * im
}

/// The discrete Fourier transform of complex numbers whose indices are bit-reversed, at least 8 of them.
fn transform(data: &mut [f32], twiddles: &[f32]) {
    for [a, b, c, d] in data.as_chunks_mut::<2>().0.as_chunks_mut::<4>().0 {
        let (ab, ba) = ([a[0] + b[0], a[1] + b[1]], [a[0] - b[0], a[1] - b[1]]);
        let (cd, dc) = ([c[0] + d[0], c[1] + d[1]], [c[0] - d[0], c[1] - d[1]]);
        *a = [ab[0] + cd[0], ab[1] + cd[1]];
        *c = [ab[0] - cd[0], ab[1] - cd[1]];
        // Times -i.
        *b = [ba[0] + dc[1], ba[1] - dc[0]];
        *d = [ba[0] - dc[1], ba[1] + dc[0]];
    }
    let mut half = 4;
    let mut rest = twiddles.as_chunks::<2>().0;
    while let Some((factors, after)) = rest.split_at_checked(half) {
        let mut pairs = data.as_chunks_mut::<2>().0;
        while let Some((block, others)) = core::mem::take(&mut pairs).split_at_mut_checked(2 * half) {
            let (upper, lower) = block.split_at_mut(half);
            for ((a, b), w) in upper.iter_mut().zip(lower).zip(factors) {
                let turned = [b[0] * w[0] - b[1] * w[1], b[0] * w[1] + b[1] * w[0]];
                *b = [a[0] - turned[0], a[1] - turned[1]];
                *a = [a[0] + turned[0], a[1] + turned[1]];
            }
            pairs = others;
        }
        half *= 2;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Against the definition, in f64. Errors of an FFT grow with the logarithm of its length; 12 stages of half a unit each, with room.
    const TOLERANCE: f64 = 2e-6;

    #[test]
    fn it_is_the_power_of_the_definition() {
        for length in [32_u32, 64, 256, 1024] {
            let n = length as usize;
            let samples: Vec<f32> =
                (0..length).map(|i| (i.wrapping_mul(0x9e37_79b9) as i32) as f32 / 2_147_483_648.0).collect();
            let (mut twiddles, mut split) = (vec![0.0; n - 8], vec![0.0; n / 2]);
            fill_twiddles(length, &mut twiddles);
            fill_split(length, &mut split);
            let mut data = vec![0.0; n];
            for (i, pair) in samples.chunks_exact(2).enumerate() {
                let at = 2 * place(i as u32, (length / 2).trailing_zeros());
                data[at..at + 2].copy_from_slice(pair);
            }
            power_spectrum(&mut data, &twiddles, &split);
            let all: f64 =
                samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() * f64::from(length);
            for k in 0..=n / 2 {
                let (mut re, mut im) = (0.0, 0.0);
                for (i, &x) in samples.iter().enumerate() {
                    let angle = core::f64::consts::TAU * ((k * i) % n) as f64 / n as f64;
                    re += f64::from(x) * angle.cos();
                    im -= f64::from(x) * angle.sin();
                }
                let expected = re * re + im * im;
                let found = f64::from(if k == n / 2 { data[1] } else { data[2 * k] });
                assert!(
                    (found - expected).abs() <= TOLERANCE * all,
                    "{length}, bin {k}: {found}, expected {expected}"
                );
            }
        }
    }
}
