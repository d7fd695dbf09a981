//! int8 convolution with weights in the layout of rows.

use crate::geometry::Window;
use crate::kernels::int8::rows::{channel_words, convolve, is_sound, scratch_words};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::conv_2d::weights;
use crate::ops::overlap::pixel_by_pixel;
use crate::ops::packed::{self, Layout, Proof};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: true,
    keeps_channels: false,
    scratch: Some(ElementType::I32),
    shapes,
    in_place: None,
    proof: Some(Proof {
        is_sound: |words, Window { y, x }, in_c| is_sound(words, y.kernel * x.kernel * in_c),
        error: |channel| StepError::Accumulator { channel },
    }),
};

/// The shapes of the stream, `[1, 1, C_out, words]` i32 (see [`rows`](crate::kernels::int8::rows)), and of the scratch, `[1, 1, 1, words]` i32, for an
/// input and an output of these shapes; `None` if they do not fit.
pub fn shapes(window: &Window, input: Shape, output: Shape) -> Option<[Shape; 2]> {
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let weights = weights(window, [in_c, out_c])?;
    let words = |words: usize| u32::try_from(words).ok();
    let stream = Shape([1, 1, out_c, words(channel_words(weights))?]);
    Some([stream, Shape::vector(words(scratch_words(weights, window == &Window::ONE))?)])
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, true, pixel_by_pixel)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, true, convolve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::rows::pack;
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::reference::Random;
    use crate::ops::packed_cases::{self, Cases, Problem};
    use crate::quantization::Multiplier;

    const CASES: Cases = Cases {
        operator: Operator::Conv2dRowsI8,
        layout: &LAYOUT,
        depthwise: false,
        sizes: packed_cases::convolution,
        channel: layer_channel,
        pack: |problem, words, stream| {
            stream.chunks_mut(words).enumerate().try_for_each(|(channel, stream)| {
                let channel = problem.folded(channel, 1 << 23)?;
                pack(channel.weights, channel.bias, channel.scale, stream)
            })
        },
    };

    #[test]
    fn equals_the_plain_layout() {
        packed_cases::equals_the_plain_layout(&CASES);
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        packed_cases::output_may_run_over_the_input_as_far_as_it_says(&CASES);
    }

    #[test]
    fn check_says_what_is_wrong() {
        packed_cases::check_says_what_is_wrong(&CASES);
    }

    #[test]
    fn the_channel_that_is_not_sound_is_named() {
        let problem = Problem::random(&CASES, &mut Random(52));
        let mut stream = problem.stream(&CASES).unwrap();
        *stream.last_mut().unwrap() = 0;
        let last = problem.channels.len() as u32 - 1;
        problem.packed(&CASES, &stream).expect(StepError::Accumulator { channel: last }, |_| {});
    }

    /// A channel of these weights, a bias, and whether it is packed.
    #[test]
    fn what_24_bits_cannot_hold_is_neither_packed_nor_run() {
        let scale = Folded::new(Multiplier { multiplier: 1 << 30, shift: -1 }, 0, 1).unwrap();
        let bound = (1 << 23) - 1;
        let mut stream = [0; channel_words(2)];
        for (weights, bias, fits) in [
            ([127, 0], bound - 127 * 127, true),
            ([127, 0], bound - 127 * 127 + 1, false),
            ([127, 0], 128 * 127 - bound, true),
            ([127, 0], 128 * 127 - bound - 1, false),
            ([0, -128], bound - 128 * 128, true),
            ([0, -128], bound - 128 * 128 + 1, false),
        ] {
            assert_eq!(pack(&weights, bias, scale, &mut stream).is_some(), fits, "{weights:?} {bias}");
            if fits {
                assert!(is_sound(&stream, 2));
                stream[0] += 2 * i32::signum(bias);
                assert!(!is_sound(&stream, 2));
            }
        }
        pack(&[1, 2], 3, scale, &mut stream).unwrap();
        assert!(is_sound(&stream, 2) && !is_sound(&stream[1..], 2));
        for (word, value) in [(3, -1), (3, 1), (4, i32::MAX), (5, 0), (5, 32)] {
            let mut bad = stream;
            bad[word] = value;
            assert!(!is_sound(&bad, 2), "{word} {value}");
        }
    }
}
