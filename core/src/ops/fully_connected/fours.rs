//! int8 fully connected layer with weights in the layout of channel fours.

use super::int8::FullyConnectedI8;
use crate::kernels::int8::fours::{CHANNELS, MAX_INPUTS, four_words, fully_connected, is_sound};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::Tensor;
use crate::ops::int8::{OutputRange, constant_bytes};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// The shape of the stream, `[1, 1, fours, words]` i32 (see [`fours`](crate::kernels::int8::fours)), for `in_c` inputs and `out_c` outputs; `None` if the
/// layout cannot hold them.
pub fn stream(in_c: u32, out_c: u32) -> Option<Shape> {
    let inputs = usize::try_from(in_c).ok().filter(|&inputs| inputs <= MAX_INPUTS)?;
    let stream = Shape([1, 1, out_c.div_ceil(CHANNELS as u32), u32::try_from(four_words(inputs)).ok()?]);
    stream.elements().map(|_| stream)
}

/// The operands are the input `[N, H, W, C_in]`, the stream and the output `[N, H, W, C_out]`.
fn params(step: Step<'_>) -> Result<(FullyConnectedI8, [&Operand; 3]), StepError> {
    let ([input, stream], [output]) = (step.reads()?, step.writes()?);
    let range = OutputRange::read(step.attributes::<2>()?, 0, quantization(output, 2)?.zero_point)?;
    let params = FullyConnectedI8 { input: input.shape, output: output.shape, range };
    Ok((params, [input, stream, output]))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, [input, constants, output]) = params(step)?;
    is(input, 0, ElementType::I8)?;
    is(constants, 1, ElementType::I32)?;
    is(output, 2, ElementType::I8)?;
    quantization(input, 0)?;
    let operand = |tensor| if tensor == Tensor::Input { 0 } else { 2 };
    params.check().map_err(|tensor| StepError::Shape { operand: operand(tensor) })?;
    let ([.., in_c], [.., out_c]) = (input.shape.0, output.shape.0);
    has_shape(constants, 1, stream(in_c, out_c).ok_or(StepError::Shape { operand: 1 })?)?;
    let stream = elements::<i32>(constant_bytes(constants, 1, constant)?)?;
    for (four, words) in (0..).zip(stream.chunks_exact(four_words(in_c as usize))) {
        if !is_sound(words, in_c as usize) {
            return Err(StepError::Accumulator { channel: CHANNELS as u32 * four });
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, stream, output]) = params(step)?;
    let Views { reads: [input, stream], writes: [output] } = memory.views([input, stream], [output])?;
    let ([.., in_c], [.., out_c]) = (params.input.dims(), params.output.dims());
    let output = elements_mut(output)?;
    fully_connected(elements(stream)?, [in_c, out_c], elements(input)?, output);
    params.range.clamp_all(output);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::kernels::int8::fours::{FourthChannel, pack};
    use crate::kernels::int8::{Folded, tests::layer_channel};
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
            let size = [random.size(1, 3), random.size(1, 150), random.size(1, 9)];
            let [_, in_c, out_c] = size;
            let weights = random.bytes(in_c * out_c);
            let zero_points = [random.zero_point(), random.zero_point()];
            let channels =
                weights.chunks(in_c).map(|row| layer_channel(random, row, zero_points[0])).collect();
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
            let fours: Vec<_> = rows_of
                .map(|(weights, channel)| {
                    let scale = Folded::new(channel.multiplier, self.zero_points[1], 1 << 29).unwrap();
                    FourthChannel { weights, bias: channel.bias, scale }
                })
                .collect();
            for (four, stream) in fours.chunks(CHANNELS).zip(stream.chunks_mut(four_words(in_c))) {
                let channels: [_; CHANNELS] = core::array::from_fn(|index| four.get(index).copied());
                pack(channels, stream).unwrap();
                assert!(is_sound(stream, in_c));
            }
            Case::new(Operator::FullyConnectedFoursI8, &self.clamp)
                .reads(ElementType::I8, shape([rows, 1, 1, in_c]), at(self.zero_points[0]))
                .constant(ElementType::I32, stream_shape, &stream)
                .writes(ElementType::I8, shape([rows, 1, 1, out_c]), at(self.zero_points[1]))
        }
    }

    #[test]
    fn equals_the_plain_layout() {
        let mut random = Random(60);
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
        let case = Problem::random(&mut Random(61)).packed();
        expect_operand_errors(&case, &[0, 2]);
        expect_clamp_errors(&case, 0);
        case.expect(StepError::Shape { operand: 2 }, |step| step.reads[0].shape.0[1] += 1);
        case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[0] += 1);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] += 1);
    }

    #[test]
    fn a_stream_that_could_leave_24_bits_is_refused() {
        Problem::random(&mut Random(62))
            .packed()
            .expect(StepError::Memory, |step| step.reads[1].offset = 1 << 20);
        let scale = Folded::new(Multiplier { multiplier: 1 << 30, shift: -1 }, 0, 1).unwrap();
        let mut words = [0; four_words(1)];
        let bound = (1 << 23) - 1 - 128 * 128;
        for (bias, fits) in [(bound, true), (bound + 1, false)] {
            let channel = |weights| Some(FourthChannel { weights, bias, scale });
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
