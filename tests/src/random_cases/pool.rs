//! Pools.

use smidgen::Shape;
use smidgen::geometry::Window;
use smidgen::ops::average_pool_2d::{self, PoolParams};
use smidgen::ops::int8::OutputRange;
use smidgen::ops::max_pool_2d;

use super::Outputs;
use super::reference::{Random, divide};

pub(super) fn average(random: &mut Random) -> Option<Outputs> {
    // To nearest, ties away from zero; the zero point if no tap lies in the input.
    pool(random, average_pool_2d::int8::forward, |taps, zero_point| match taps.len() {
        0 => zero_point,
        count => divide(taps.iter().map(|&tap| i128::from(tap)).sum(), count as i128) as i32,
    })
}

pub(super) fn max(random: &mut Random) -> Option<Outputs> {
    pool(random, max_pool_2d::int8::forward, |taps, zero_point| {
        taps.iter().max().map_or(zero_point, |&tap| i32::from(tap))
    })
}

type Forward = fn(&PoolParams, OutputRange, &[i8], &mut [i8]);

fn pool(random: &mut Random, forward: Forward, reduce: impl Fn(&[i8], i32) -> i32) -> Option<Outputs> {
    let (window, [in_h, in_w]) = if random.once_in(50) {
        // The longest sums.
        let (height, width) = (random.size(10, 40), random.size(10, 40));
        let axis = |length: usize| smidgen::geometry::Axis { kernel: length, ..smidgen::geometry::Axis::ONE };
        (Window { y: axis(height), x: axis(width) }, [height, width])
    } else {
        random.window(4)
    };
    let channels = random.size(1, 20);
    let (out_h, out_w) = (window.y.output(in_h)?, window.x.output(in_w)?);
    let input = random.bytes(in_h * in_w * channels, 127);
    let (zero_point, [low, high]) = (random.zero_point(), random.clamp());
    let dims = |h: usize, w: usize| Shape([1, h as u32, w as u32, channels as u32]);
    let params = PoolParams { window, input: dims(in_h, in_w), output: dims(out_h, out_w) };
    let range = OutputRange { zero_point, activation_min: low, activation_max: high };
    let mut found = vec![0; out_h * out_w * channels];
    forward(&params, range, &input, &mut found);
    let mut expected = Vec::with_capacity(found.len());
    for (out_y, out_x) in (0..out_h).flat_map(|out_y| (0..out_w).map(move |out_x| (out_y, out_x))) {
        for channel in 0..channels {
            let mut taps = Vec::new();
            for (k_y, k_x) in (0..window.y.kernel).flat_map(|y| (0..window.x.kernel).map(move |x| (y, x))) {
                let in_y =
                    (out_y * window.y.stride + k_y * window.y.dilation).wrapping_sub(window.y.pad_before);
                let in_x =
                    (out_x * window.x.stride + k_x * window.x.dilation).wrapping_sub(window.x.pad_before);
                if in_y < in_h && in_x < in_w {
                    taps.push(input[(in_y * in_w + in_x) * channels + channel]);
                }
            }
            expected.push(reduce(&taps, zero_point).max(low).min(high) as i8);
        }
    }
    Some(Outputs { expected, found, what: format!("{params:?} {range:?}") })
}
