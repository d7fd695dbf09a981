//! int8 convolution with weights in the layout of vector pairs.

use crate::geometry::Window;
use crate::kernels::int8::vector_pairs::{CHANNELS, convolve, four_words, is_sound, scratch_words};
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
        is_sound: |words, _, _| is_sound(words),
        error: |_| StepError::Quantization { operand: 1 },
    }),
};

/// The shapes of the stream, `[1, 1, fours, words]` i32 (see [`vector_pairs`](crate::kernels::int8::vector_pairs)), and of the scratch, `[1, 1, 1, words]` i32, for an
/// input and an output of these shapes; `None` if they do not fit.
pub fn shapes(window: &Window, input: Shape, output: Shape) -> Option<[Shape; 2]> {
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let weights = weights(window, [in_c, out_c])?;
    let stream = Shape([1, 1, out_c.div_ceil(CHANNELS as u32), u32::try_from(four_words(weights)?).ok()?]);
    let scratch = Shape::vector(u32::try_from(scratch_words(weights)?).ok()?);
    stream.elements().zip(scratch.elements()).map(|_| [stream, scratch])
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
    use crate::kernels::int8::PackedChannel;
    use crate::kernels::int8::vector_pairs::pack;
    use crate::ops::Operator;
    use crate::ops::packed_cases::{self, Cases};
    use crate::quantization::Multiplier;

    const CASES: Cases = Cases {
        operator: Operator::Conv2dVectorPairsI8,
        layout: &LAYOUT,
        depthwise: false,
        sizes: packed_cases::convolution,
        channel: packed_cases::shifted_right,
        pack: |problem, words, stream| {
            stream.chunks_mut(words).enumerate().try_for_each(|(four, stream)| {
                pack(core::array::from_fn(|index| problem.scaled(CHANNELS * four + index)), stream)
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
    fn a_shift_to_the_left_is_neither_packed_nor_run() {
        let packed = |shift: i32| {
            let scale = Multiplier { multiplier: 1 << 30, shift };
            let mut stream = std::vec![0; four_words(2).unwrap()];
            let one = [Some(PackedChannel { weights: &[1, 2], bias: 3, scale }), None, None, None];
            (pack(one, &mut stream), is_sound(&stream))
        };
        assert_eq!(packed(0), (Some(()), true));
        assert_eq!(packed(1), (None, false));
    }
}
