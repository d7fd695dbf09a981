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
    use std::vec::Vec;

    use super::*;
    use crate::geometry::WINDOW_ATTRIBUTES;
    use crate::kernels::int8::taps::pack;
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};

    struct Problem {
        window: Window,
        input: [usize; 4],
        output: [usize; 4],
        zero_points: [i32; 2],
        clamp: [i32; 2],
        filter: Vec<i8>,
        channels: Vec<Channel>,
    }

    impl Problem {
        fn random(random: &mut Random) -> Self {
            let (window, [in_h, in_w]) = random.window();
            let (n, in_c) = (random.size(1, 2), random.size(1, 9));
            let out_c = if in_c == 1 { random.size(1, 9) } else { in_c };
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let filter = random.bytes(window.y.kernel * window.x.kernel * out_c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let weights =
                |channel: usize| filter.iter().skip(channel).step_by(out_c).copied().collect::<Vec<_>>();
            let channels = (0..out_c).map(|c| layer_channel(random, &weights(c), zero_points[0])).collect();
            let (input, output) = ([n, in_h, in_w, in_c], [n, out_h, out_w, out_c]);
            Self { window, input, output, zero_points, clamp: random.clamp(), filter, channels }
        }

        fn attributes(&self) -> Vec<i32> {
            [self.window.attributes().as_slice(), &self.clamp].concat()
        }

        fn plain(&self) -> Case {
            Case::new(Operator::DepthwiseConv2dI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(
                    ElementType::I8,
                    shape([1, self.window.y.kernel, self.window.x.kernel, self.output[3]]),
                    &self.filter,
                )
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        fn packed(&self) -> Case {
            let out_c = self.output[3];
            let [stream_shape, scratch] = shapes(&self.window, shape(self.input), out_c as u32).unwrap();
            let mut stream = std::vec![0; stream_shape.elements().unwrap()];
            let words = stream_shape.dims()[3];
            for (index, (stream, channel)) in stream.chunks_mut(words).zip(&self.channels).enumerate() {
                let taps: Vec<i8> = self.filter.iter().skip(index).step_by(out_c).copied().collect();
                let scale = Folded::new(channel.multiplier, self.zero_points[1], 1 << 23).unwrap();
                pack(taps.iter().copied(), channel.bias, scale, stream).unwrap();
                assert!(is_sound(stream, taps.len()));
            }
            Case::new(Operator::DepthwiseConv2dTapsI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I32, stream_shape, &stream)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
                .writes(ElementType::I8, scratch, None)
        }
    }

    #[test]
    fn equals_the_plain_layout() {
        let mut random = Random(70);
        for _ in 0..600 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.input.iter().product());
            let found: Vec<i8> = problem.packed().run(&[&input]);
            let expected: Vec<i8> = problem.plain().run(&[&input]);
            assert_eq!(found, expected, "{:?} {:?}", problem.window, problem.input);
        }
    }

    #[test]
    fn runs_over_the_input_as_far_as_it_may() {
        let mut random = Random(71);
        let (mut tested, mut apart) = (0, 0);
        while tested < 200 {
            let problem = Problem::random(&mut random);
            let mut case = problem.packed();
            let Some(distance) = crate::ops::overlap::<crate::AllOperators>(case.step.step()) else {
                continue;
            };
            let input = random.bytes(problem.input.iter().product());
            let expected: Vec<i8> = case.run(&[&input]);
            let first = case.step.reads[0].offset;
            case.step.writes[0].offset = first;
            case.step.reads[0].offset = first + distance as u32;
            assert_eq!(case.run::<i8, i8>(&[&input]), expected, "{:?}", problem.window);
            tested += 1;
            apart += usize::from(distance > 0);
        }
        assert!(apart > 10, "{apart}");
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

    #[test]
    fn check_says_what_is_wrong() {
        let case = Problem::random(&mut Random(72)).packed();
        case.expect(StepError::Memory, |step| step.reads[1].offset = 1 << 20);
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        for dim in 0..3 {
            case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| {
            step.reads[0].shape.0[3] += 1;
            step.writes[0].shape.0[3] += 1;
        });
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] += 1);
    }
}
