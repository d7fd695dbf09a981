//! int8 fully connected layer with weights in the layout of double pairs.

use crate::kernels::int8::double_pairs::{CHANNELS, double_words, fully_connected, row_words};
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

/// The shapes of the stream, `[1, 1, fours, words]` i32 (see [`double_pairs`](crate::kernels::int8::double_pairs)), and of the scratch, `[1, 1, 1, words]` i32,
/// for `in_c` inputs and `out_c` outputs; `None` if they do not fit.
pub fn shapes(in_c: u32, out_c: u32) -> Option<[Shape; 2]> {
    packed::row_shapes([in_c, out_c], CHANNELS, double_words, row_words)
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap): all of a row is expanded before its outputs are written.
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, false, pixel_by_pixel)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, false, fully_connected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::double_pairs::pack;
    use crate::ops::Operator;
    use crate::ops::fully_connected::packed_cases;

    const CASES: packed_cases::Layout = packed_cases::Layout {
        operator: Operator::FullyConnectedDoublePairsI8,
        shapes: |in_c, out_c| shapes(in_c, out_c).map_or([None; 2], |shapes| shapes.map(Some)),
        channels: CHANNELS,
        pack: |four, stream| pack(core::array::from_fn(|index| four.get(index).copied()), stream),
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
