//! int8 fully connected layer with weights in the layout of channel pairs.

use crate::kernels::int8::pairs::{convolve, pair_words, row_words};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::overlap::pixel_by_pixel;
use crate::ops::packed::{self, Layout};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: false,
    keeps_channels: false,
    scratch: Some(ElementType::I32),
    shapes: |_, Shape([.., in_c]), Shape([.., out_c])| shapes(in_c, out_c),
    in_place: None,
    proof: None,
};

/// The shapes of the stream, `[1, 1, pairs, words]` i32 (see [`pairs`](crate::kernels::int8::pairs)), and of the scratch, `[1, 1, 1, words]` i32, for
/// `in_c` inputs and `out_c` outputs; `None` if they do not fit.
pub fn shapes(in_c: u32, out_c: u32) -> Option<[Shape; 2]> {
    packed::row_shapes([in_c, out_c], 2, pair_words, row_words)
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap): a row is a pixel, all of it is expanded before its outputs are
/// written.
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, false, pixel_by_pixel)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, false, convolve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::pairs::pack;
    use crate::ops::Operator;
    use crate::ops::fully_connected::packed_cases;

    const CASES: packed_cases::Layout = packed_cases::Layout {
        operator: Operator::FullyConnectedPairsI8,
        shapes: |in_c, out_c| shapes(in_c, out_c).map_or([None; 2], |shapes| shapes.map(Some)),
        channels: 2,
        pack: |pair, stream| pack([pair.first().copied(), pair.get(1).copied()], stream),
    };

    #[test]
    fn equals_the_plain_layout() {
        packed_cases::equals_the_plain_layout(&CASES);
    }

    #[test]
    fn output_may_lie_over_the_input() {
        packed_cases::output_may_lie_over_the_input(&CASES);
    }

    #[test]
    fn check_says_what_is_wrong() {
        packed_cases::check_says_what_is_wrong(&CASES);
    }
}
