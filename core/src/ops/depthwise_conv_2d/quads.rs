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
    use std::vec::Vec;

    use super::*;
    use crate::geometry::WINDOW_ATTRIBUTES;
    use crate::kernels::int8::quads::pack;
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::{
        Case, Random, at, expect_clamp_errors, expect_operand_errors, runs_over_its_input, shape,
    };

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
            let (window, [in_h, in_w]) = loop {
                let (window, size) = random.window();
                if takes(&window, CHANNELS) {
                    break (window, size);
                }
            };
            let (n, c) = (random.size(1, 2), CHANNELS * random.size(1, 4));
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let filter = random.bytes(9 * c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let weights =
                |channel: usize| filter.iter().skip(channel).step_by(c).copied().collect::<Vec<_>>();
            let channels = (0..c).map(|c| layer_channel(random, &weights(c), zero_points[0])).collect();
            let (input, output) = ([n, in_h, in_w, c], [n, out_h, out_w, c]);
            Self { window, input, output, zero_points, clamp: random.clamp(), filter, channels }
        }

        fn attributes(&self) -> Vec<i32> {
            [self.window.attributes().as_slice(), &self.clamp].concat()
        }

        fn plain(&self) -> Case {
            Case::new(Operator::DepthwiseConv2dI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I8, shape([1, 3, 3, self.input[3]]), &self.filter)
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        fn packed(&self) -> Case {
            let c = self.input[3];
            let [stream_shape, scratch] = shapes(&self.window, shape(self.input)).unwrap();
            let mut stream = std::vec![0; stream_shape.elements().unwrap()];
            for (quad, stream) in stream.as_chunks_mut::<QUAD_WORDS>().0.iter_mut().enumerate() {
                let first = quad * CHANNELS;
                let channels = core::array::from_fn(|index| {
                    let Channel { bias, multiplier } = self.channels[first + index];
                    (bias, Folded::new(multiplier, self.zero_points[1], 1 << 29).unwrap())
                });
                pack(|index, tap| self.filter[tap * c + first + index], channels, stream).unwrap();
            }
            Case::new(Operator::DepthwiseConv2dQuadsI8, &self.attributes())
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
    fn works_in_the_place_of_the_input() {
        let mut random = Random(71);
        let mut tested = 0;
        while tested < 100 {
            let problem = Problem::random(&mut random);
            if problem.input != problem.output {
                continue;
            }
            let mut case = problem.packed();
            let input = random.bytes(problem.input.iter().product());
            let expected: Vec<i8> = case.run(&[&input]);
            case.step.writes[0].offset = case.step.reads[0].offset;
            assert_eq!(case.run::<i8, i8>(&[&input]), expected, "{:?}", problem.window);
            tested += 1;
        }
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        let mut random = Random(73);
        runs_over_its_input(&mut random, |random| {
            let problem = Problem::random(random);
            (problem.packed(), shape(problem.input))
        });
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = Problem::random(&mut Random(72)).packed();
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        for dim in 0..4 {
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
