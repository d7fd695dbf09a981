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
    use std::vec::Vec;

    use super::*;
    use crate::geometry::WINDOW_ATTRIBUTES;
    use crate::kernels::int8::rows::pack;
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};
    use crate::ops::int8::{Channel, OutputRange};
    use crate::quantization::Multiplier;

    #[derive(Clone, Copy, Debug)]
    struct Params {
        window: Window,
        input: Shape,
        output: Shape,
        input_zero_point: i32,
        range: OutputRange,
    }

    impl Params {
        fn weights(&self) -> usize {
            let ([.., in_c], [.., out_c]) = (self.input.0, self.output.0);
            weights(&self.window, [in_c, out_c]).unwrap()
        }

        fn shapes(&self) -> [Shape; 2] {
            shapes(&self.window, self.input, self.output).unwrap()
        }
    }

    struct Problem {
        params: Params,
        filter: Vec<i8>,
        channels: Vec<Channel>,
    }

    impl Problem {
        /// One that the layout can hold.
        fn random(random: &mut Random) -> Self {
            loop {
                let problem = Self::any(random);
                if problem.try_stream().is_some() {
                    return problem;
                }
            }
        }

        fn any(random: &mut Random) -> Self {
            let (window, [in_h, in_w]) = match random.size(0, 2) {
                0 => (Window::ONE, [random.size(1, 5), random.size(1, 5)]),
                _ => random.window(),
            };
            let (n, in_c, out_c) = (random.size(1, 2), random.size(1, 40), random.size(1, 9));
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let weights = window.y.kernel * window.x.kernel * in_c;
            let filter = random.bytes(out_c * weights);
            let input_zero_point = random.zero_point();
            let channels = filter
                .chunks(weights)
                .map(|filter| layer_channel(random, filter, input_zero_point))
                .collect();
            let [activation_min, activation_max] = random.clamp();
            let params = Params {
                window,
                input: shape([n, in_h, in_w, in_c]),
                output: shape([n, out_h, out_w, out_c]),
                input_zero_point,
                range: OutputRange { zero_point: random.zero_point(), activation_min, activation_max },
            };
            Self { params, filter, channels }
        }

        fn attributes(&self) -> Vec<i32> {
            let OutputRange { activation_min, activation_max, .. } = self.params.range;
            [self.params.window.attributes().as_slice(), &[activation_min, activation_max]].concat()
        }

        fn plain(&self) -> Case {
            let params = &self.params;
            let ([.., in_c], [.., out_c]) = (params.input.dims(), params.output.dims());
            let filter = [out_c, params.window.y.kernel, params.window.x.kernel, in_c];
            Case::new(Operator::Conv2dI8, &self.attributes())
                .reads(ElementType::I8, params.input, at(params.input_zero_point))
                .constant(ElementType::I8, shape(filter), &self.filter)
                .channels(&self.channels)
                .writes(ElementType::I8, params.output, at(params.range.zero_point))
        }

        fn stream(&self) -> Vec<i32> {
            self.try_stream().unwrap()
        }

        fn try_stream(&self) -> Option<Vec<i32>> {
            let Shape([_, _, channels, words]) = self.params.shapes()[0];
            let weights = self.params.weights();
            let mut stream = std::vec![0; (channels * words) as usize];
            let rows = self.channels.iter().zip(self.filter.chunks(weights));
            for ((channel, weights), stream) in rows.zip(stream.chunks_mut(words as usize)) {
                let scale = Folded::new(channel.multiplier, self.params.range.zero_point, 1 << 23)?;
                pack(weights, channel.bias, scale, stream)?;
            }
            Some(stream)
        }

        fn packed(&self, stream: &[i32]) -> Case {
            let params = &self.params;
            Case::new(Operator::Conv2dRowsI8, &self.attributes())
                .reads(ElementType::I8, params.input, at(params.input_zero_point))
                .constant(ElementType::I32, params.shapes()[0], stream)
                .writes(ElementType::I8, params.output, at(params.range.zero_point))
                .writes(ElementType::I32, params.shapes()[1], None)
        }
    }

    #[test]
    fn equals_the_plain_layout() {
        let mut random = Random(50);
        let mut saturated = [0, 0];
        for _ in 0..600 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.params.input.elements().unwrap());
            let found: Vec<i8> = problem.packed(&problem.stream()).run(&[&input]);
            let expected: Vec<i8> = problem.plain().run(&[&input]);
            assert_eq!(found, expected, "{:?}", problem.params);
            saturated[0] += found.iter().filter(|&&value| value == -128).count();
            saturated[1] += found.iter().filter(|&&value| value == 127).count();
        }
        assert!(saturated[0] > 0 && saturated[1] > 0);
    }

    #[test]
    fn runs_over_the_input_as_far_as_it_may() {
        let mut random = Random(53);
        let (mut inside, mut refused) = (0, 0);
        while inside < 100 {
            let problem = Problem::random(&mut random);
            let Params { window, input, output, .. } = problem.params;
            let mut case = problem.packed(&problem.stream());
            let Some(distance) = crate::ops::overlap::pixel_by_pixel(&window, input, output) else {
                continue;
            };
            let samples = random.bytes(input.elements().unwrap());
            let expected: Vec<i8> = case.run(&[&samples]);
            let apart = case.step.reads[0].offset;
            case.step.writes[0].offset = apart;
            case.step.reads[0].offset = apart + distance as u32;
            assert_eq!(case.run::<i8, i8>(&[&samples]), expected, "{window:?} {input:?} {output:?}");
            inside += 1;
            if distance > 0 {
                refused += 1;
            }
        }
        assert!(refused > 10, "{refused}");
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

    #[test]
    fn check_says_what_is_wrong() {
        let problem = Problem::random(&mut Random(52));
        let case = problem.packed(&problem.stream());
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        case.expect(StepError::Space { operand: 1 }, |step| {
            step.reads[1].space = crate::operand::Space::Arena;
        });
        case.expect(StepError::Memory, |step| step.reads[1].offset = 1 << 20);
        let mut stream = problem.stream();
        *stream.last_mut().unwrap() = 0;
        let [.., out_c] = problem.params.output.0;
        problem.packed(&stream).expect(StepError::Accumulator { channel: out_c - 1 }, |_| {});
        for dim in 0..3 {
            case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] -= 1);
    }
}
