//! int8 depthwise convolution of 3 by 3 taps with weights in the layout of channel quads.

use crate::geometry::Window;
use crate::kernels::int8::quads::{CHANNELS, QUAD_WORDS, depthwise, scratch_bytes, takes};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::overlap::row_by_row;
use crate::ops::packed::{self, Layout};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: true,
    keeps_channels: true,
    scratch: Some(ElementType::I8),
    shapes: |window, input, _| shapes(window, input),
    in_place: Some(row_by_row),
    proof: None,
};

/// The shapes of the stream, `[1, 1, quads, words]` i32 (see [`quads`](crate::kernels::int8::quads)), and of the scratch, `[1, 1, 1, bytes]` int8, for
/// an input of this shape; `None` if the layout cannot hold the layer.
pub fn shapes(window: &Window, input: Shape) -> Option<[Shape; 2]> {
    let [_, _, in_w, channels] = input.dims();
    if !takes(window, channels) {
        return None;
    }
    let quads = u32::try_from(channels.checked_div(CHANNELS)?).ok()?;
    let scratch = Shape::vector(u32::try_from(scratch_bytes(window, in_w, channels)?).ok()?);
    scratch.elements()?;
    Some([Shape([1, 1, quads, QUAD_WORDS as u32]), scratch])
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, true, row_by_row)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, true, depthwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::quads::pack;
    use crate::kernels::int8::tests::layer_channel;
    use crate::ops::Operator;
    use crate::ops::packed_cases::{self, Cases};

    const CASES: Cases = Cases {
        operator: Operator::DepthwiseConv2dQuadsI8,
        layout: &LAYOUT,
        depthwise: true,
        sizes: |random| loop {
            let (window, size) = random.window();
            if takes(&window, CHANNELS) {
                return (window, size, [CHANNELS * random.size(1, 4); 2]);
            }
        },
        channel: layer_channel,
        pack: |problem, words, stream| {
            stream.chunks_mut(words).enumerate().try_for_each(|(quad, stream)| {
                let channel = |index: usize| problem.folded(CHANNELS * quad + index, 1 << 29).unwrap();
                let channels = core::array::from_fn(|index| (channel(index).bias, channel(index).scale));
                pack(|index, tap| channel(index).weights[tap], channels, stream.first_chunk_mut()?)
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
}
