//! Plain layers from their definition, tap by tap: what the operators' own kernels for this processor are held against.

use smidgen::geometry::{Axis, Window};
use smidgen::ops::conv_2d::int8::{self as conv_2d, Conv2dI8};
use smidgen::ops::depthwise_conv_2d::int8::{self as depthwise_conv_2d, DepthwiseConv2dI8};
use smidgen::ops::int8::{Channel, OutputRange};

use crate::random::Random;
use crate::{Memory, UNTOUCHED, same, shape};

/// Which input channels an output channel reads.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// All of them.
    Full,
    /// One; each is read by so many output channels.
    Depthwise { multiplier: usize },
}

/// A random layer, computed by the operator and from its definition. `None` if it is too large.
pub(crate) fn layer(random: &mut Random, memory: &mut Memory, spoil: bool) -> Option<bool> {
    let full = random.range(0, 1) == 0;
    let window = match random.range(0, 4) {
        0 if full => [(Axis::ONE, random.size(1, 6)), (Axis::ONE, random.size(1, 6))],
        1 => [random.axis(10), random.axis(5)],
        _ => [random.axis(4), random.axis(4)],
    };
    let [(y, in_h), (x, in_w)] = window;
    let window = Window { y, x };
    let (out_h, out_w) = (y.output(in_h)?, x.output(in_w)?);
    let in_c = random.size(1, 40);
    let kind = match random.range(0, 3) {
        _ if full => Kind::Full,
        0 => Kind::Depthwise { multiplier: random.size(2, 4) },
        _ => Kind::Depthwise { multiplier: 1 },
    };
    let (out_c, filter_c) = match kind {
        Kind::Full => (random.size(1, 40), in_c),
        Kind::Depthwise { multiplier } => (in_c * multiplier, 1),
    };
    let taps = y.kernel * x.kernel;
    let weights = taps * filter_c;
    let Memory { input, filter, channels, expected, found, .. } = memory;
    let (in_length, out_length) = (in_h * in_w * in_c, out_h * out_w * out_c);
    let (input, filter) = (input.get_mut(..in_length)?, filter.get_mut(..weights * out_c)?);
    let (channels, expected_outputs) = (channels.get_mut(..out_c)?, expected.get_mut(..out_length)?);
    random.fill(input, -128);
    let least = if random.range(0, 1) == 0 { -128 } else { -127 };
    random.fill(filter, least);
    let place = |c: usize, weight: usize| match kind {
        Kind::Full => c * weights + weight,
        Kind::Depthwise { .. } => weight * out_c + c,
    };
    let input_zero_point = random.zero_point();
    let shifts_left = random.range(0, 5) == 0;
    for (c, words) in channels.iter_mut().enumerate() {
        let row = (0..weights).map(|weight| filter[place(c, weight)]);
        let mut channel = random.channel(row, input_zero_point);
        if shifts_left && random.range(0, 2) == 0 {
            channel.multiplier.shift = random.range(0, 8) as i32;
        }
        *words = channel.words();
    }
    let zero_point = random.zero_point();
    let [a, b] = [random.range(-128, 127) as i32, random.range(-128, 127) as i32];
    let [activation_min, activation_max] = match random.range(0, 3) {
        0 => [a.min(b), a.max(b)],
        1 => [zero_point, 127],
        _ => [-128, 127],
    };
    let range = OutputRange { zero_point, activation_min, activation_max };

    for (index, output) in expected_outputs.iter_mut().enumerate() {
        let (pixel, c) = (index / out_c, index % out_c);
        let (out_y, out_x) = (pixel / out_w, pixel % out_w);
        let Channel { bias, multiplier } = Channel::from_words(channels[c]);
        let mut sum = bias;
        for weight in 0..weights {
            let (tap, in_c_of_filter) = (weight / filter_c, weight % filter_c);
            let at = [y.input(out_y, tap / x.kernel, in_h), x.input(out_x, tap % x.kernel, in_w)];
            let in_channel = match kind {
                Kind::Full => in_c_of_filter,
                Kind::Depthwise { multiplier } => c / multiplier,
            };
            let value = match at {
                [Some(at_y), Some(at_x)] => i32::from(input[(at_y * in_w + at_x) * in_c + in_channel]),
                _ => input_zero_point,
            };
            sum = sum.wrapping_add(value * i32::from(filter[place(c, weight)]));
        }
        *output = range.requantize(sum, multiplier);
    }

    if spoil {
        filter[0] = if filter[0] == 0 { 100 } else { 0 };
    }
    let (input_shape, output_shape) = (shape([1, in_h, in_w, in_c]), shape([1, out_h, out_w, out_c]));
    found.fill(UNTOUCHED);
    let outputs = &mut found[..out_length];
    match kind {
        Kind::Full => {
            let params = Conv2dI8 {
                window,
                input: input_shape,
                filter: shape([out_c, y.kernel, x.kernel, in_c]),
                output: output_shape,
                input_zero_point,
                range,
            };
            conv_2d::forward(&params, input, filter, channels, outputs).ok()?;
        }
        Kind::Depthwise { .. } => {
            let params = DepthwiseConv2dI8 {
                window,
                input: input_shape,
                output: output_shape,
                input_zero_point,
                range,
            };
            depthwise_conv_2d::forward(&params, input, filter, channels, outputs).ok()?;
        }
    }
    Some(same(expected, found, out_length))
}
