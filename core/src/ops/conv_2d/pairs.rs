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
    use std::vec::Vec;

    use super::*;
    use crate::geometry::WINDOW_ATTRIBUTES;
    use crate::kernels::int8::pairs::pack;
    use crate::kernels::int8::{Folded, PackedChannel, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::reference::{
        Case, Random, at, expect_clamp_errors, expect_operand_errors, runs_over_its_input, shape,
    };
    use crate::ops::int8::{Channel, OutputRange};
    use crate::ops::overlap::sample;
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
            let mut filter = random.bytes(out_c * weights);
            filter.iter_mut().for_each(|weight| *weight = (*weight).max(-127));
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
            let Shape([_, _, pairs, words]) = self.params.shapes()[0];
            let weights = self.params.weights();
            let mut stream = std::vec![0; (pairs * words) as usize];
            let paired: Vec<_> = self
                .channels
                .iter()
                .zip(self.filter.chunks(weights))
                .map(|(channel, weights)| {
                    let zero_point = self.params.range.zero_point;
                    let scale = Folded::new(channel.multiplier, zero_point, 1 << 29).unwrap();
                    PackedChannel { weights, bias: channel.bias, scale }
                })
                .collect();
            for (pair, stream) in paired.chunks(2).zip(stream.chunks_mut(words as usize)) {
                pack([pair.first().copied(), pair.get(1).copied()], stream)?;
            }
            Some(stream)
        }

        fn packed(&self, stream: &[i32]) -> Case {
            let params = &self.params;
            Case::new(Operator::Conv2dPairsI8, &self.attributes())
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
    fn works_in_the_place_of_the_input() {
        let mut random = Random(53);
        let mut tested = 0;
        while tested < 50 {
            let problem = Problem::random(&mut random);
            let Params { window, input, output, .. } = problem.params;
            let mut case = problem.packed(&problem.stream());
            if input != output {
                continue;
            }
            let samples = random.bytes(input.elements().unwrap());
            let expected: Vec<i8> = case.run(&[&samples]);
            case.step.writes[0].offset = case.step.reads[0].offset;
            if pixel_by_pixel(&window, sample(input), sample(output)) == Some(0) {
                assert_eq!(case.run::<i8, i8>(&[&samples]), expected);
                tested += 1;
            } else {
                assert_eq!(case.check(), Err(StepError::Overlap { write: 0 }));
            }
        }
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        let mut random = Random(54);
        runs_over_its_input(&mut random, |random| {
            let problem = Problem::random(random);
            (problem.packed(&problem.stream()), problem.params.input)
        });
    }

    #[test]
    fn any_stream_runs() {
        let mut random = Random(51);
        for _ in 0..100 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.params.input.elements().unwrap());
            let stream: Vec<i32> = problem
                .stream()
                .iter()
                .map(|_| random.range(i32::MIN.into(), i32::MAX.into()) as i32)
                .collect();
            let found: Vec<i8> = problem.packed(&stream).run(&[&input]);
            assert_eq!(found.len(), problem.params.output.elements().unwrap());
        }
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
        for dim in 0..3 {
            case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] -= 1);
    }
}
