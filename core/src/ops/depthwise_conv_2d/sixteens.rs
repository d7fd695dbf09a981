//! int8 depthwise convolution with weights in the layout of channel sixteens.

use crate::geometry::Window;
use crate::kernels::int8::sixteens::{LANES, depthwise, is_sound, scratch_words, sixteen_words};
use crate::memory::Memory;
use crate::operand::{ElementType, Shape};
use crate::ops::overlap::{pixel_by_pixel, row_by_row};
use crate::ops::packed::{self, Layout, Proof};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: true,
    keeps_channels: true,
    scratch: Some(ElementType::I32),
    shapes,
    in_place: None,
    proof: Some(Proof {
        is_sound: |words, _, _| is_sound(words),
        error: |_| StepError::Quantization { operand: 1 },
    }),
};

/// The shapes of the stream, `[1, 1, sixteens, words]` i32 (see [`sixteens`](crate::kernels::int8::sixteens)), and of the scratch, `[1, 1, 1, words]` i32, for
/// an input and an output of these shapes; `None` if they do not fit.
pub fn shapes(window: &Window, input: Shape, output: Shape) -> Option<[Shape; 2]> {
    let ([.., channels], [_, _, out_w, _]) = (input.0, output.dims());
    let words = sixteen_words(window.y.kernel.checked_mul(window.x.kernel)?)?;
    let stream = Shape([1, 1, channels.div_ceil(LANES as u32), u32::try_from(words).ok()?]);
    let words = scratch_words(window, out_w, usize::try_from(channels).ok()?)?;
    let scratch = Shape::vector(u32::try_from(words).ok()?);
    stream.elements().map(|_| [stream, scratch])
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    packed::overlap(step, true, |window, input, output| {
        // Of dilated windows, rows between those that have been copied are still needed.
        let distance = if window.y.dilation == 1 { row_by_row } else { pixel_by_pixel };
        distance(window, input, output)
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
    use crate::kernels::int8::PackedChannel;
    use crate::kernels::int8::sixteens::{channel_of, pack};
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
            let (window, [in_h, in_w]) = random.window();
            let (n, c) = (random.size(1, 2), [1, 2, 4, 8, 16, random.size(1, 40)][random.size(0, 5)]);
            let (out_h, out_w) = (window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap());
            let mut filter = random.bytes(window.y.kernel * window.x.kernel * c);
            filter.iter_mut().for_each(|weight| *weight = (*weight).max(-127));
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels = (0..c).map(|channel| {
                let taps = filter.iter().skip(channel).step_by(c).copied();
                let Channel { bias, multiplier } = random.channel(taps, zero_points[0]);
                let shift = multiplier.shift.min(0);
                Channel { bias, multiplier: Multiplier { shift, ..multiplier } }
            });
            let channels = channels.collect();
            let (input, output) = ([n, in_h, in_w, c], [n, out_h, out_w, c]);
            Self { window, input, output, zero_points, clamp: random.clamp(), filter, channels }
        }

        fn attributes(&self) -> Vec<i32> {
            [self.window.attributes().as_slice(), &self.clamp].concat()
        }

        fn plain(&self) -> Case {
            let Window { y, x } = self.window;
            Case::new(Operator::DepthwiseConv2dI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I8, shape([1, y.kernel, x.kernel, self.input[3]]), &self.filter)
                .channels(&self.channels)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
        }

        fn packed(&self) -> Case {
            let c = self.input[3];
            let [stream_shape, scratch] =
                shapes(&self.window, shape(self.input), shape(self.output)).unwrap();
            let mut stream = std::vec![0; stream_shape.elements().unwrap()];
            let rows: Vec<Vec<i8>> = (0..c)
                .map(|channel| self.filter.iter().skip(channel).step_by(c).copied().collect())
                .collect();
            for (record, stream) in stream.chunks_mut(stream_shape.dims()[3]).enumerate() {
                let lane = |lane: usize| {
                    let channel = channel_of(&self.window, c, LANES * record + lane)?;
                    let Channel { bias, multiplier: scale } = self.channels[channel];
                    Some(PackedChannel { weights: &rows[channel], bias, scale })
                };
                pack(core::array::from_fn(lane), stream).unwrap();
            }
            Case::new(Operator::DepthwiseConv2dSixteensI8, &self.attributes())
                .reads(ElementType::I8, shape(self.input), at(self.zero_points[0]))
                .constant(ElementType::I32, stream_shape, &stream)
                .writes(ElementType::I8, shape(self.output), at(self.zero_points[1]))
                .writes(ElementType::I32, scratch, None)
        }
    }

    #[test]
    fn equals_the_plain_layout() {
        let mut random = Random(120);
        for _ in 0..600 {
            let problem = Problem::random(&mut random);
            let input = random.bytes(problem.input.iter().product());
            let found: Vec<i8> = problem.packed().run(&[&input]);
            let expected: Vec<i8> = problem.plain().run(&[&input]);
            assert_eq!(found, expected, "{:?} {:?}", problem.window, problem.input);
        }
    }

    #[test]
    fn output_may_run_over_the_input_as_far_as_it_says() {
        let mut random = Random(122);
        runs_over_its_input(&mut random, |random| {
            let problem = Problem::random(random);
            (problem.packed(), shape(problem.input))
        });
    }

    #[test]
    fn what_the_layout_cannot_hold_is_not_packed() {
        let scale = Multiplier { multiplier: 1 << 30, shift: 0 };
        let packed = |weight: i8, shift: i32| {
            let channel = PackedChannel { weights: &[weight], bias: 0, scale: Multiplier { shift, ..scale } };
            let mut lanes = [None; LANES];
            lanes[3] = Some(channel);
            let mut stream = std::vec![0; sixteen_words(1).unwrap()];
            pack(lanes, &mut stream).map(|()| is_sound(&stream))
        };
        assert_eq!(packed(-127, 0), Some(true));
        assert_eq!(packed(-128, 0), None);
        assert_eq!(packed(1, 1), None);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = Problem::random(&mut Random(123)).packed();
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        for dim in 0..4 {
            case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[dim] += 1);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] += 1);
    }
}
