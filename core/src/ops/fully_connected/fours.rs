//! int8 fully connected layer with weights in the layout of channel fours.

use crate::kernels::int8::fours::{CHANNELS, MAX_INPUTS, four_words, fully_connected, is_sound};
use crate::memory::Memory;
use crate::operand::Shape;
use crate::ops::packed::{self, Layout, Proof};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: false,
    keeps_channels: false,
    scratch: None,
    shapes: |_, Shape([.., in_c]), Shape([.., out_c])| Some([stream(in_c, out_c)?, Shape::vector(0)]),
    in_place: None,
    proof: Some(Proof {
        is_sound: |words, _, in_c| is_sound(words, in_c),
        error: |four| StepError::Accumulator { channel: four.wrapping_mul(CHANNELS as u32) },
    }),
};

/// The shape of the stream, `[1, 1, fours, words]` i32 (see [`fours`](crate::kernels::int8::fours)), for `in_c` inputs and `out_c` outputs; `None` if the
/// layout cannot hold them.
pub fn stream(in_c: u32, out_c: u32) -> Option<Shape> {
    let inputs = usize::try_from(in_c).ok().filter(|&inputs| inputs <= MAX_INPUTS)?;
    let stream = Shape([1, 1, out_c.div_ceil(CHANNELS as u32), u32::try_from(four_words(inputs)).ok()?]);
    stream.elements().map(|_| stream)
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, false, fully_connected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::fours::pack;
    use crate::kernels::int8::{Folded, PackedChannel};
    use crate::ops::Operator;
    use crate::ops::fully_connected::packed_cases;
    use crate::quantization::Multiplier;

    const CASES: packed_cases::Layout = packed_cases::Layout {
        operator: Operator::FullyConnectedFoursI8,
        shapes: |in_c, out_c| [stream(in_c, out_c), None],
        channels: CHANNELS,
        pack: |four, stream| pack(core::array::from_fn(|index| four.get(index).copied()), stream),
    };

    #[test]
    fn equals_the_plain_layout() {
        packed_cases::equals_the_plain_layout(&CASES);
    }

    #[test]
    fn check_says_what_is_wrong() {
        packed_cases::check_says_what_is_wrong(&CASES);
    }

    #[test]
    fn a_stream_that_could_leave_24_bits_is_refused() {
        let scale = Folded::new(Multiplier { multiplier: 1 << 30, shift: -1 }, 0, 1).unwrap();
        let mut words = [0; four_words(1)];
        let bound = (1 << 23) - 1 - 128 * 128;
        for (bias, fits) in [(bound, true), (bound + 1, false)] {
            let channel = |weights| Some(PackedChannel { weights, bias, scale });
            let packed = pack([channel(&[1]), None, channel(&[-128]), None], &mut words);
            assert_eq!(packed.is_some(), fits);
        }
        for word in [0, 1, 2, 3, 5, 7] {
            let mut bad = words;
            bad[word] = if word < 4 { 1 << 24 } else { -1 };
            assert!(is_sound(&words, 1) && !is_sound(&bad, 1), "{word}");
        }
        assert!(stream(MAX_INPUTS as u32, 1).is_some() && stream(MAX_INPUTS as u32 + 1, 1).is_none());
    }
}
