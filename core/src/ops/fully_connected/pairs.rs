//! int8 fully connected layer with weights in the layout of channel pairs.

use super::int8::FullyConnectedI8;
use crate::geometry::Window;
use crate::kernels::int8::pairs::{fully_connected, pair_words, row_words};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::Tensor;
use crate::ops::int8::{OutputRange, check_constant};
use crate::ops::operands::{has_shape, is, quantization};
use crate::ops::overlap::pixel_by_pixel;
use crate::step::{Step, StepError};

/// The shapes of the stream, `[1, 1, pairs, words]` i32 (see [`pairs`](crate::kernels::int8::pairs)), and of the scratch, `[1, 1, 1, words]` i32, for
/// `in_c` inputs and `out_c` outputs; `None` if they do not fit.
pub fn shapes(in_c: u32, out_c: u32) -> Option<[Shape; 2]> {
    let inputs = Shape([out_c, 1, 1, in_c]).elements()?.checked_div(out_c as usize)?;
    let words = |words: usize| u32::try_from(words).ok();
    let stream = Shape([1, 1, out_c.div_ceil(2), words(pair_words(inputs))?]);
    Some([stream, Shape::vector(words(row_words(inputs))?)])
}

/// The operands are the input `[N, H, W, C_in]`, the stream, the output `[N, H, W, C_out]` and the scratch.
fn params(step: Step<'_>) -> Result<(FullyConnectedI8, [&Operand; 4]), StepError> {
    let ([input, stream], [output, scratch]) = (step.reads()?, step.writes()?);
    let range = OutputRange::read(step.attributes::<2>()?, 0, quantization(output, 2)?.zero_point)?;
    let params = FullyConnectedI8 { input: input.shape, output: output.shape, range };
    Ok((params, [input, stream, output, scratch]))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, [input, stream, output, scratch]) = params(step)?;
    is(input, 0, ElementType::I8)?;
    is(stream, 1, ElementType::I32)?;
    is(output, 2, ElementType::I8)?;
    is(scratch, 3, ElementType::I32)?;
    quantization(input, 0)?;
    let operand = |tensor| if tensor == Tensor::Input { 0 } else { 2 };
    params.check().map_err(|tensor| StepError::Shape { operand: operand(tensor) })?;
    let ([.., in_c], [.., out_c]) = (input.shape.0, output.shape.0);
    let [stream_shape, scratch_shape] = shapes(in_c, out_c).ok_or(StepError::Shape { operand: 1 })?;
    has_shape(stream, 1, stream_shape)?;
    has_shape(scratch, 3, scratch_shape)?;
    check_constant(stream, 1, constant)
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap): a row is a pixel, all of it is expanded before its outputs are
/// written.
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    let (params, _) = params(step).ok()?;
    pixel_by_pixel(&Window::ONE, params.input, params.output)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, stream, output, scratch]) = params(step)?;
    let (mut both, Views { reads: [_, stream], writes: [_, scratch] }) =
        memory.over([input, stream], [output, scratch])?;
    let (stream, scratch) = (elements(stream)?, elements_mut(scratch)?);
    let ([n, h, w, in_c], [.., out_c]) = (params.input.dims(), params.output.dims());
    for row in 0..n * h * w {
        let part = |length: usize| (row * length, (row + 1) * length);
        fully_connected(stream, &mut both.part(part(in_c), part(out_c)), scratch);
    }
    params.range.clamp_all(elements_mut(both.output())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::kernels::int8::pairs::{PairedChannel, pack};
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};

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
            let mut weights = random.bytes(in_c * out_c);
            weights.iter_mut().for_each(|weight| *weight = (*weight).max(-127));
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
            let [stream_shape, scratch] = shapes(in_c as u32, out_c as u32).unwrap();
            let mut stream = std::vec![0; stream_shape.elements().unwrap()];
            let rows_of = self.weights.chunks(in_c).zip(&self.channels);
            let paired: Vec<_> = rows_of
                .map(|(weights, channel)| {
                    let scale = Folded::new(channel.multiplier, self.zero_points[1], 1 << 29).unwrap();
                    PairedChannel { weights, bias: channel.bias, scale }
                })
                .collect();
            for (pair, stream) in paired.chunks(2).zip(stream.chunks_mut(pair_words(in_c))) {
                pack([pair.first().copied(), pair.get(1).copied()], stream).unwrap();
            }
            Case::new(Operator::FullyConnectedPairsI8, &self.clamp)
                .reads(ElementType::I8, shape([rows, 1, 1, in_c]), at(self.zero_points[0]))
                .constant(ElementType::I32, stream_shape, &stream)
                .writes(ElementType::I8, shape([rows, 1, 1, out_c]), at(self.zero_points[1]))
                .writes(ElementType::I32, scratch, None)
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
    fn output_may_lie_over_the_input() {
        let mut random = Random(62);
        for _ in 0..200 {
            let problem = Problem::random(&mut random);
            let mut case = problem.packed();
            let input = random.bytes(problem.size[0] * problem.size[1]);
            let apart: Vec<i8> = case.run(&[&input]);
            if problem.size[0] > 1 {
                assert_eq!(overlap(case.step.step()), None);
                continue;
            }
            assert_eq!(overlap(case.step.step()), Some(0));
            case.step.writes[0].offset = case.step.reads[0].offset;
            assert_eq!(case.run::<i8, i8>(&[&input]), apart, "{:?}", problem.size);
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
        case.expect(StepError::Shape { operand: 3 }, |step| step.writes[1].shape.0[3] += 1);
    }
}
