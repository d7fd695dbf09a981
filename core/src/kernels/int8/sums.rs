//! Sums of neighbouring channels over pixels, for pools. They need no layout of their own.

#[cfg(all(arm_dsp, not(arm_helium)))]
use super::dsp::add_run;
#[cfg(arm_helium)]
use super::helium::add_run;

/// Channels that are summed together.
pub(crate) const CHANNELS: usize = 8;
/// Pixels whose sums of int8 fit 16 bits.
const RUN: usize = 256;

/// Adds to `sums` as many channels of each of `count` pixels: `input[p * stride..]` for `p` in `0..count`. Of [`CHANNELS`] channels it is fast.
///
/// Adds nothing if `input` is too short. Sums wrap.
#[inline(never)]
pub(crate) fn add_pixels(input: &[i8], stride: usize, count: usize, sums: &mut [i32]) {
    if !super::gather::runs_fit(input.len(), stride, [count, sums.len()]) {
        return;
    }
    let Some((eight, [])) = sums.split_first_chunk_mut::<CHANNELS>() else {
        for pixel in 0..count {
            let channels = input.get(pixel * stride..).unwrap_or_default();
            for (sum, &value) in sums.iter_mut().zip(channels) {
                *sum = sum.wrapping_add(i32::from(value));
            }
        }
        return;
    };
    let mut input = input;
    let mut left = count;
    while left > 0 {
        let run = left.min(RUN);
        add_run(input, stride, run, eight);
        left -= run;
        input = input.get(run * stride..).unwrap_or_default();
    }
}

/// [`add_pixels`] of at most [`RUN`] pixels and [`CHANNELS`] channels.
#[cfg(not(any(arm_dsp, arm_helium)))]
fn add_run(input: &[i8], stride: usize, count: usize, sums: &mut [i32; CHANNELS]) {
    for pixel in 0..count {
        let channels = input.get(pixel * stride..).and_then(<[_]>::first_chunk::<CHANNELS>);
        for (sum, &value) in sums.iter_mut().zip(channels.into_iter().flatten()) {
            *sum = sum.wrapping_add(i32::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::int8::reference::Random;

    #[test]
    fn equals_the_definition() {
        let mut random = Random(80);
        for _ in 0..200 {
            let channels = if random.size(0, 1) == 0 { CHANNELS } else { random.size(1, CHANNELS) };
            let (stride, count) = (random.size(CHANNELS, 20), random.size(1, 700));
            let input = random.bytes((count - 1) * stride + channels);
            let first: Vec<i32> = (0..channels).map(|_| random.range(-1000, 1000) as i32).collect();
            let mut sums = first.clone();
            add_pixels(&input, stride, count, &mut sums);
            let sum = |c: usize| (0..count).map(|p| i32::from(input[p * stride + c])).sum::<i32>();
            let expected: Vec<i32> = (0..channels).map(|c| first[c] + sum(c)).collect();
            assert_eq!(sums.as_slice(), expected);
            add_pixels(&input[1..], stride, count, &mut sums);
            assert_eq!(sums.as_slice(), expected, "a pixel is missing");
        }
    }
}
