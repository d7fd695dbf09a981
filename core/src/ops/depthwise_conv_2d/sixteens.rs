//! int8 depthwise convolution with weights in the layout of channel sixteens.

use crate::geometry::Window;
use crate::kernels::int8::sixteens::{LANES, depthwise, is_sound, scratch_words, sixteen_words};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::overlap::{pixel_by_pixel, row_by_row};
use crate::ops::packed::{self, Layout, Proof};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: true,
    keeps_channels: true,
    scratch: Some(ElementType::I32),
    shapes,
    in_place: None,
    proof: Some(Proof {
        is_sound: |words, _, _| is_sound(words),
        error: |_| StepError::Quantization { operand: 1 },
    }),
};

/// The shapes of the stream, `[1, 1, sixteens, words]` i32 (see [`sixteens`](crate::kernels::int8::sixteens)), and of the scratch, `[1, 1, 1, words]` i32, for
/// an input and an output of these shapes; `None` if they do not fit.
pub fn shapes(window: &Window, input: Shape, output: Shape) -> Option<[Shape; 2]> {
    let ([.., channels], [_, _, out_w, _]) = (input.0, output.dims());
    let words = sixteen_words(window.y.kernel.checked_mul(window.x.kernel)?)?;
    let stream = Shape([1, 1, channels.div_ceil(LANES as u32), u32::try_from(words).ok()?]);
    let words = scratch_words(window, out_w, usize::try_from(channels).ok()?)?;
    let scratch = Shape::vector(u32::try_from(words).ok()?);
    stream.elements().map(|_| [stream, scratch])
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, true, |window, input, output| {
        // Of dilated windows, rows between those that have been copied are still needed.
        let distance = if window.y.dilation == 1 { row_by_row } else { pixel_by_pixel };
        distance(window, input, output)
    })
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, true, depthwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::PackedChannel;
    use crate::kernels::int8::sixteens::{channel_of, pack};
    use crate::ops::Operator;
    use crate::ops::packed_cases::{self, Cases};
    use crate::quantization::Multiplier;

    const CASES: Cases = Cases {
        operator: Operator::DepthwiseConv2dSixteensI8,
        layout: &LAYOUT,
        depthwise: true,
        sizes: |random| {
            let (window, size) = random.window();
            (window, size, [[1, 2, 4, 8, 16, random.size(1, 40)][random.size(0, 5)]; 2])
        },
        channel: packed_cases::shifted_right,
        pack: |problem, words, stream| {
            stream.chunks_mut(words).enumerate().try_for_each(|(record, stream)| {
                let channels = problem.channels.len();
                let lane = |lane: usize| {
                    problem.scaled(channel_of(&problem.window, channels, LANES * record + lane)?)
                };
                pack(core::array::from_fn(lane), stream)
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
    fn what_the_layout_cannot_hold_is_not_packed() {
        let scale = Multiplier { multiplier: 1 << 30, shift: 0 };
        let packed = |weight: i8, shift: i32| {
            let channel = PackedChannel { weights: &[weight], bias: 0, scale: Multiplier { shift, ..scale } };
            let mut lanes = [None; LANES];
            lanes[3] = Some(channel);
            let mut stream = std::vec![0; sixteen_words(1).unwrap()];
            pack(lanes, &mut stream).map(|()| is_sound(&stream))
        };
        assert_eq!(packed(-127, 0), Some(true));
        assert_eq!(packed(-128, 0), None);
        assert_eq!(packed(1, 1), None);
    }
}
