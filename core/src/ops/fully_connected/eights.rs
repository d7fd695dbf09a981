//! int8 fully connected layer with weights in the layout of channel eights.

use crate::geometry::Window;
use crate::kernels::int8::PackedLayer;
use crate::kernels::int8::eights::{CHANNELS, eight_words, fully_connected, is_sound};
use crate::kernels::pieces::pieces;
use crate::memory::{InOut, Memory, Views, elements};
use crate::operand::Shape;
use crate::ops::int8::OutputRange;
use crate::ops::packed::{self, Layout, Proof};
use crate::step::{Step, StepError};

const LAYOUT: Layout = Layout {
    windowed: false,
    keeps_channels: false,
    scratch: None,
    shapes: |_, Shape([.., in_c]), Shape([.., out_c])| Some([stream(in_c, out_c)?, Shape::vector(0)]),
    in_place: None,
    proof: Some(Proof {
        is_sound: |words, _, _| is_sound(words),
        error: |_| StepError::Quantization { operand: 1 },
    }),
};

/// The shape of the stream, `[1, 1, eights, words]` i32 (see [`eights`](crate::kernels::int8::eights)), for `in_c` inputs and `out_c` outputs; `None` if it would
/// be too long.
pub fn stream(in_c: u32, out_c: u32) -> Option<Shape> {
    let words = eight_words(usize::try_from(in_c).ok()?)?;
    let stream = Shape([1, 1, out_c.div_ceil(CHANNELS as u32), u32::try_from(words).ok()?]);
    stream.elements().map(|_| stream)
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    packed::check(step, constant, &LAYOUT)
}

/// Not by [`packed::run`]: the vectors of a small layer take so few instructions that those before them count.
pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input, stream], [output]) = (step.reads()?, step.writes()?);
    let &[activation_min, activation_max] = step.attributes::<2>()?;
    let range = OutputRange { zero_point: output.quantization.zero_point, activation_min, activation_max };
    let ([.., in_c], [.., out_c]) = (input.shape.dims(), output.shape.dims());
    let padding = input.quantization.zero_point as i8;
    let ([inputs, stream], outputs) = match memory.layer([input, stream], output) {
        Some(views) => views,
        None => {
            let Views { reads, writes: [outputs] } = memory.views([input, stream], [output])?;
            (reads, outputs)
        }
    };
    let layer = PackedLayer {
        window: &Window::ONE,
        size: [1, 1, in_c],
        out_size: [1, 1, out_c],
        padding,
        range: range.words(),
        stream: elements(stream)?,
    };
    for (input, output) in pieces((inputs, outputs), [in_c, out_c]) {
        fully_connected(&layer, &mut InOut::Apart { input, output }, &mut []);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::kernels::int8::PackedChannel;
    use crate::kernels::int8::eights::pack;
    use crate::operand::ElementType;
    use crate::ops::Operator;
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};
    use crate::quantization::Multiplier;

    struct Problem {
        /// Rows, inputs, outputs.
        size: [usize; 3],
        zero_points: [i32; 2],
        clamp: [i32; 2],
        weights: Vec<i8>,
        channels: Vec<Channel>,
    }

    impl Problem {
        fn random(random: &mut Random) -> Self {
            let size = [random.size(1, 3), random.size(1, 150), random.size(1, 20)];
            let [_, in_c, out_c] = size;
            let weights = random.bytes(in_c * out_c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels = weights.chunks(in_c).map(|row| {
                let Channel { bias, multiplier } = random.channel(row.iter().copied(), zero_points[0]);
                let shift = multiplier.shift.min(0);
                Channel { bias, multiplier: Multiplier { shift, ..multiplier } }
            });
            let channels = channels.collect();
            Self { size, zero_points, clamp: random.clamp(), weights, channels }
        }

        fn plain(&self) -> Case {
            let [rows, in_c, out_c] = self.size;
            Case::new(Operator::FullyConnectedI8, &self.clamp)
                .reads(ElementType::I8, shape([rows, 1, 1, in_c]), at(self.zero_points[0]))
                .constant(ElementType::I8, shape([out_c, 1, 1, in_c]), &self.weights)
                .channels(&self.channels)
                .writes(ElementType::I8, shape([rows, 1, 1, out_c]), at(self.zero_points[1]))
        }

        fn packed(&self) -> Case {
            let [rows, in_c, out_c] = self.size;
            let stream_shape = stream(in_c as u32, out_c as u32).unwrap();
            let mut stream = std::vec![0; stream_shape.elements().unwrap()];
            let rows_of = self.weights.chunks(in_c).zip(&self.channels);
            let channels: Vec<_> = rows_of
                .map(|(weights, &Channel { bias, multiplier })| PackedChannel {
                    weights,
                    bias,
                    scale: multiplier,
                })
                .collect();
            let eights = channels.chunks(CHANNELS).zip(stream.chunks_mut(stream_shape.dims()[3]));
            for (eight, stream) in eights {
                let channels: [_; CHANNELS] = core::array::from_fn(|index| eight.get(index).copied());
                pack(channels, stream).unwrap();
            }
            Case::new(Operator::FullyConnectedEightsI8, &self.clamp)
                .reads(ElementType::I8, shape([rows, 1, 1, in_c]), at(self.zero_points[0]))
                .constant(ElementType::I32, stream_shape, &stream)
                .writes(ElementType::I8, shape([rows, 1, 1, out_c]), at(self.zero_points[1]))
        }
    }

    #[test]
    fn equals_the_plain_layout() {
        let mut random = Random(70);
        for _ in 0..600 {
            let problem = Problem::random(&mut random);
            let [rows, in_c, _] = problem.size;
            let input = random.bytes(rows * in_c);
            let found: Vec<i8> = problem.packed().run(&[&input]);
            assert_eq!(found, problem.plain().run::<i8, i8>(&[&input]), "{:?}", problem.size);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = Problem::random(&mut Random(71)).packed();
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, 0);
        case.expect(StepError::Shape { operand: 2 }, |step| step.reads[0].shape.0[1] += 1);
        case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[0] += 1);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
        case.expect(StepError::Memory, |step| step.reads[1].offset = 1 << 20);
    }

    #[test]
    fn a_requantization_out_of_range_is_refused() {
        let mut words = [0; eight_words(1).unwrap()];
        for (multiplier, shift, fits) in [
            (1 << 30, 0, true),
            (0, -31, true),
            (1 << 30, 1, false),
            (1 << 29, 0, false),
            (1 << 30, -32, false),
        ] {
            let channel = PackedChannel { weights: &[1], bias: 5, scale: Multiplier { multiplier, shift } };
            let packed = pack(core::array::from_fn(|index| (index < 3).then_some(channel)), &mut words);
            assert_eq!(packed.is_some(), fits && is_sound(&words));
            assert_eq!(is_sound(&words), fits);
        }
    }
}
