//! int8 depthwise convolution with weights in the layout of taps.

use crate::geometry::Window;
use crate::kernels::int8::taps::{self, channel_words, depthwise, is_sound, scratch_bytes, takes};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::packed::{self, Layout, Proof};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: true,
    keeps_channels: false,
    scratch: Some(ElementType::I8),
    shapes: |window, input, Shape([.., out_c])| shapes(window, input, out_c),
    in_place: None,
    proof: Some(Proof {
        is_sound: |words, Window { y, x }, _| is_sound(words, y.kernel * x.kernel),
        error: |channel| StepError::Accumulator { channel },
    }),
};

/// The most output rows that [`overlap`] goes through: a file cannot make a loader work for longer than its own length allows.
const MOST_ROWS: usize = 1 << 16;

/// The shapes of the stream, `[1, 1, C_out, words]` i32 (see [`taps`]), and of the scratch, `[1, 1, 1, bytes]` int8, for
/// an input of this shape and so many output channels; `None` if the layout cannot hold the layer.
pub fn shapes(window: &Window, input: Shape, out_c: u32) -> Option<[Shape; 2]> {
    let [_, _, in_w, in_c] = input.dims();
    if !takes(window, [in_c, out_c as usize]) {
        return None;
    }
    // The window is not large.
    let words = u32::try_from(channel_words(window.y.kernel * window.x.kernel)).ok()?;
    let scratch = Shape::vector(u32::try_from(scratch_bytes(window, in_w, in_c)?).ok()?);
    scratch.elements()?;
    let stream = Shape([1, 1, out_c, words]);
    stream.elements().map(|_| [stream, scratch])
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, true, |window, input, output| {
        let ([in_n, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (input.dims(), output.dims());
        if in_n != 1 || out_h > MOST_ROWS || !window.fits(input, output) {
            return None;
        }
        taps::overlap(window, [in_h, in_w.checked_mul(in_c)?], [out_h, out_w.checked_mul(out_c)?])
    })
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    packed::run(step, memory, true, depthwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::int8::taps::pack;
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::reference::shape;
    use crate::ops::packed_cases::{self, Cases};

    const CASES: Cases = Cases {
        operator: Operator::DepthwiseConv2dTapsI8,
        layout: &LAYOUT,
        depthwise: true,
        sizes: |random| {
            let (window, size) = random.window();
            let in_c = random.size(1, 9);
            (window, size, [in_c, if in_c == 1 { random.size(1, 9) } else { in_c }])
        },
        channel: layer_channel,
        pack: |problem, words, stream| {
            stream.chunks_mut(words).enumerate().try_for_each(|(channel, stream)| {
                let channel = problem.folded(channel, 1 << 23)?;
                pack(channel.weights.iter().copied(), channel.bias, channel.scale, stream)
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
    fn what_is_too_large_or_unsound_is_refused() {
        let window = |k_y: i32, k_x: i32| Window::read(&[k_y, k_x, 1, 1, 0, 0, 0, 0, 1, 1]).unwrap().0;
        let input = shape([1, 20, 20, 4]);
        assert!(shapes(&window(16, 8), input, 4).is_some());
        for (window, out_c) in [(window(17, 8), 4), (window(16, 9), 4), (window(3, 3), 8)] {
            assert_eq!(shapes(&window, input, out_c), None);
        }
        let scale = Folded::constant(3);
        let mut stream = [0; channel_words(1)];
        let bound = (1 << 23) - 1 - 127;
        assert_eq!(pack([1].into_iter(), bound + 1, scale, &mut stream), None);
        assert_eq!(pack([1].into_iter(), bound, scale, &mut stream), Some(()));
        assert!(is_sound(&stream, 1));
        for (word, value) in [(0, bound + 1), (1, 2), (2, -1), (4, 0)] {
            let mut bad = stream;
            bad[word] = value;
            assert!(!is_sound(&bad, 1), "{word}");
        }
    }
}
