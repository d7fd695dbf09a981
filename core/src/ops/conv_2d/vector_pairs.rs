//! int8 convolution with weights in the layout of vector pairs.

use crate::geometry::Window;
use crate::kernels::int8::vector_pairs::{CHANNELS, convolve, four_words, is_sound, scratch_words};
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
        is_sound: |words, _, _| is_sound(words),
        error: |_| StepError::Quantization { operand: 1 },
    }),
};

/// The shapes of the stream, `[1, 1, fours, words]` i32 (see [`vector_pairs`](crate::kernels::int8::vector_pairs)), and of the scratch, `[1, 1, 1, words]` i32, for an
/// input and an output of these shapes; `None` if they do not fit.
pub fn shapes(window: &Window, input: Shape, output: Shape) -> Option<[Shape; 2]> {
    let ([.., in_c], [.., out_c]) = (input.0, output.0);
    let weights = weights(window, [in_c, out_c])?;
    let stream = Shape([1, 1, out_c.div_ceil(CHANNELS as u32), u32::try_from(four_words(weights)?).ok()?]);
    let scratch = Shape::vector(u32::try_from(scratch_words(weights)?).ok()?);
    stream.elements().zip(scratch.elements()).map(|_| [stream, scratch])
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
    use crate::kernels::int8::PackedChannel;
    use crate::kernels::int8::vector_pairs::pack;
    use crate::ops::Operator;
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::{
        Case, Random, at, expect_clamp_errors, expect_operand_errors, runs_over_its_input, shape,
    };
    use crate::quantization::Multiplier;

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
            let (window, [in_h, in_w]) = match random.size(0, 2) {
                0 => (Window::ONE, [random.size(1, 5), random.size(1, 5)]),
                _ => random.window(),
            };
            let (n, in_c, out_c) = (random.size(1, 2), random.size(1, 40), random.size(1, 9));
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let filter = random.bytes(out_c * window.y.kernel * window.x.kernel * in_c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels = filter.chunks(filter.len() / out_c).map(|row| {
                let Channel { bias, multiplier } = random.channel(row.iter().copied(), zero_points[0]);
                let shift = multiplier.shift.min(0);
                Channel { bias, multiplier: Multiplier { shift, ..multiplier } }
            });
            let channels = channels.collect();
            let (input, output) = ([n, in_h, in_w, in_c], [n, out_h, out_w, out_c]);
            Self { window, input, output, zero_points, clamp: random.clamp(), filter, channels }
        }

        fn attributes(&self) -> Vec<i32> {
            [self.window.attributes().as_slice(), &self.clamp].concat()
        }

        fn plain(&self) -> Case {
            let ([.., in_c], [.., out_c]) = (self.input, self.output);
            Case::new(Operator::Conv2dI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(
                    ElementType::I8,
                    shape([out_c, self.window.y.kernel, self.window.x.kernel, in_c]),
                    &self.filter,
                )
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        fn packed(&self) -> Case {
            let [stream_shape, scratch] =
                shapes(&self.window, shape(self.input), shape(self.output)).unwrap();
            let mut stream = std::vec![0; stream_shape.elements().unwrap()];
            let rows = self.filter.chunks(self.filter.len() / self.channels.len()).zip(&self.channels);
            let channels: Vec<_> = rows
                .map(|(weights, &Channel { bias, multiplier: scale })| PackedChannel { weights, bias, scale })
                .collect();
            let records = stream.chunks_mut(stream_shape.dims()[3]);
            for (four, record) in channels.chunks(CHANNELS).zip(records) {
                pack(core::array::from_fn(|index| four.get(index).copied()), record).unwrap();
            }
            Case::new(Operator::Conv2dVectorPairsI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I32, stream_shape, &stream)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
                .writes(ElementType::I32, scratch, None)
        }
    }

    #[test]
    fn equals_the_plain_layout() {
        let mut random = Random(110);
        for _ in 0..600 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.input.iter().product());
            let found: Vec<i8> = problem.packed().run(&[&input]);
            let expected: Vec<i8> = problem.plain().run(&[&input]);
            assert_eq!(found, expected, "{:?} {:?} {:?}", problem.window, problem.input, problem.output);
        }
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        let mut random = Random(112);
        runs_over_its_input(&mut random, |random| {
            let problem = Problem::random(random);
            (problem.packed(), shape(problem.input))
        });
    }

    #[test]
    fn check_says_what_is_wrong() {
        let mut problem = Problem::random(&mut Random(113));
        let case = problem.packed();
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        for dim in 0..3 {
            case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] += 1);
        // A shift to the left is not packed, and not taken.
        problem.channels[0].multiplier.shift = 1;
        let row = &problem.filter[..problem.filter.len() / problem.channels.len()];
        let Channel { bias, multiplier: scale } = problem.channels[0];
        let mut stream = std::vec![0; four_words(row.len()).unwrap()];
        let one = [Some(PackedChannel { weights: row, bias, scale }), None, None, None];
        assert_eq!(pack(one, &mut stream), None);
        assert!(!is_sound(&stream));
    }
}
