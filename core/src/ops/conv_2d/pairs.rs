//! int8 convolution with weights in the layout of channel pairs.

use crate::geometry::Window;
use crate::kernels::int8::pairs::{convolve, pair_words, scratch_words};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::conv_2d::weights;
use crate::ops::overlap::pixel_by_pixel;
use crate::ops::packed::{self, Layout};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: true,
    keeps_channels: false,
    scratch: Some(ElementType::I32),
    shapes,
    in_place: Some(in_place),
    proof: None,
};

/// The shapes of the stream, `[1, 1, pairs, words]` i32 (see [`pairs`](crate::kernels::int8::pairs)), and of the scratch, `[1, 1, 1, words]` i32, for an
/// input and an output of these shapes; `None` if they do not fit.
///
/// The output may lie in the place of the input where the order of pixels allows.
pub fn shapes(window: &Window, input: Shape, output: Shape) -> Option<[Shape; 2]> {
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let weights = weights(window, [in_c, out_c])?;
    let words = |words: usize| u32::try_from(words).ok();
    let stream = Shape([1, 1, out_c.div_ceil(2), words(pair_words(weights))?]);
    Some([stream, Shape::vector(words(scratch_words(weights, window == &Window::ONE))?)])
}

/// [`pixel_by_pixel`], whatever the number of pixels if each is a pixel of the input.
fn in_place(window: &Window, input: Shape, output: Shape) -> Option<usize> {
    if window == &Window::ONE { Some(0) } else { pixel_by_pixel(window, input, output) }
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
    use crate::kernels::int8::pairs::pack;
    use crate::kernels::int8::{Folded, PackedChannel, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::packed_cases::{self, Cases};
    use crate::quantization::Multiplier;

    const CASES: Cases = Cases {
        operator: Operator::Conv2dPairsI8,
        layout: &LAYOUT,
        depthwise: false,
        sizes: packed_cases::convolution,
        channel: layer_channel,
        pack: |problem, words, stream| {
            stream.chunks_mut(words).enumerate().try_for_each(|(pair, stream)| {
                let [even, odd] = [2 * pair, 2 * pair + 1].map(|channel| problem.folded(channel, 1 << 29));
                pack([even, odd], stream)
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
    fn works_in_the_place_of_the_input() {
        packed_cases::works_in_the_place_of_the_input(&CASES);
    }

    #[test]
    fn any_stream_runs() {
        packed_cases::any_stream_runs(&CASES);
    }

    /// Two channels of one weight.
    #[test]
    fn what_a_pair_cannot_hold_is_not_packed() {
        let scale = Folded::new(Multiplier { multiplier: 1 << 30, shift: -1 }, 0, 1).unwrap();
        let pair = |even: (i8, i32), odd: (i8, i32)| {
            let channels = [even, odd].map(|(weight, bias)| ([weight], bias));
            let channel = |index: usize| {
                let (weights, bias) = &channels[index];
                Some(PackedChannel { weights, bias: *bias, scale })
            };
            pack([channel(0), channel(1)], &mut [0; 10])
        };
        let bound = (1 << 23) - 1 - 128 * 127;
        assert_eq!(pair((-128, 0), (127, bound)), Some(()));
        assert_eq!(pair((-128, 0), (127, -bound)), Some(()));
        assert_eq!(pair((-128, 0), (127, bound + 1)), None);
        assert_eq!(pair((-128, 0), (-128, 0)), None);
        assert_eq!(pair((1, (1 << 30) - 129), (0, 0)), Some(()));
        assert_eq!(pair((1, (1 << 30) - 128), (0, 0)), None);
    }
}
