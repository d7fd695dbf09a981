//! int8 convolution with weights in the layout of rows.

use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::kernels::int8::rows::{Convolution, channel_words, convolve, is_sound, scratch_words};
use crate::kernels::pieces::pieces;
use crate::memory::{InOut, Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::call::Tensor;
use crate::ops::int8::{OutputRange, check_window, constant_bytes};
use crate::ops::operands::{has_shape, is, quantization};
use crate::step::{Step, StepError};

/// How many attributes the operator has.
const ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

/// What a convolution with weights in rows is told besides its operands.
///
/// Its reads are the input and the stream, `[1, 1, C_out, words]` i32 (see [`rows`](crate::kernels::int8::rows)); its writes the output and the
/// scratch, `[1, 1, 1, words]` i32. The zero point of the output and the requantization are part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dRowsI8 {
    /// The window.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C_in]`.
    pub input: Shape,
    /// Shape of the output, `[N, H_out, W_out, C_out]`, which may lie over the input as far as the order of pixels allows.
    pub output: Shape,
    /// What a tap in the padding reads: the input's zero point, in -128..=127.
    pub input_zero_point: i32,
    /// Clamp of the output.
    pub range: OutputRange,
}

impl Conv2dRowsI8 {
    /// Weights of an output channel, `None` if all of them together do not fit.
    pub fn weights(&self) -> Option<usize> {
        let ([.., in_c], [.., out_c]) = (self.input.0, self.output.0);
        let Window { y, x } = self.window;
        let filter = Shape([out_c, u32::try_from(y.kernel).ok()?, u32::try_from(x.kernel).ok()?, in_c]);
        filter.elements()?.checked_div(out_c as usize)
    }

    /// The stream's shape; `None` if it does not fit.
    pub fn stream(&self) -> Option<Shape> {
        let [.., out_c] = self.output.0;
        Some(Shape([1, 1, out_c, u32::try_from(channel_words(self.weights()?)).ok()?]))
    }

    /// The scratch's shape; `None` if it does not fit.
    pub fn scratch(&self) -> Option<Shape> {
        let words = scratch_words(self.weights()?, self.window == Window::ONE);
        Some(Shape::vector(u32::try_from(words).ok()?))
    }
}

fn params(step: Step<'_>) -> Result<(Conv2dRowsI8, [&Operand; 4]), StepError> {
    let ([input, stream], [output, scratch]) = (step.reads()?, step.writes()?);
    step.attributes::<ATTRIBUTES>()?;
    let (window, range) = Window::read(step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 2)?.zero_point)?;
    let input_zero_point = quantization(input, 0)?.zero_point;
    let params = Conv2dRowsI8 { window, input: input.shape, output: output.shape, input_zero_point, range };
    Ok((params, [input, stream, output, scratch]))
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let (params, [input, stream, output, scratch]) = params(step)?;
    is(input, 0, ElementType::I8)?;
    is(stream, 1, ElementType::I32)?;
    is(output, 2, ElementType::I8)?;
    is(scratch, 3, ElementType::I32)?;
    let fits = check_window(&params.window, input.shape, output.shape);
    fits.map_err(|tensor| StepError::Shape { operand: if tensor == Tensor::Input { 0 } else { 2 } })?;
    let weights = params.weights().ok_or(StepError::Shape { operand: 1 })?;
    has_shape(stream, 1, params.stream().ok_or(StepError::Shape { operand: 1 })?)?;
    has_shape(scratch, 3, params.scratch().ok_or(StepError::Shape { operand: 3 })?)?;
    let stream = elements::<i32>(constant_bytes(stream, 1, constant)?)?;
    for (channel, words) in (0..).zip(stream.chunks_exact(channel_words(weights))) {
        if !is_sound(words, weights) {
            return Err(StepError::Accumulator { channel });
        }
    }
    Ok(())
}

/// How far the output may run over the input, see [`overlap`](crate::ops::overlap).
pub(in crate::ops) fn overlap(step: Step<'_>) -> Option<usize> {
    let (params, _) = params(step).ok()?;
    crate::ops::overlap::pixel_by_pixel(&params.window, params.input, params.output)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (params, [input, stream, output, scratch]) = params(step)?;
    let (both, Views { reads: [_, stream], writes: [_, scratch] }) =
        memory.over([input, stream], [output, scratch])?;
    let ([_, in_h, in_w, in_c], [_, out_h, out_w, out_c]) = (params.input.dims(), params.output.dims());
    let call = Convolution {
        window: &params.window,
        size: [in_h, in_w, in_c],
        out_size: [out_h, out_w, out_c],
        padding: params.input_zero_point as i8,
        stream: elements(stream)?,
    };
    let scratch = elements_mut(scratch)?;
    match both {
        InOut::Apart { input, output } => {
            let samples = [in_h * in_w * in_c, out_h * out_w * out_c];
            for (input, output) in pieces((input, &mut *output), samples) {
                convolve(&call, InOut::Apart { input, output }, scratch);
            }
            params.range.clamp_all(elements_mut(output)?);
        }
        InOut::Over { region, input, output } => {
            convolve(&call, InOut::Over { region: &mut *region, input, output }, scratch);
            let (start, end) = output;
            params.range.clamp_all(elements_mut(region.get_mut(start..end).unwrap_or_default())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::kernels::int8::rows::pack;
    use crate::kernels::int8::{Folded, tests::layer_channel};
    use crate::ops::Operator;
    use crate::ops::int8::Channel;
    use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};
    use crate::quantization::Multiplier;

    struct Problem {
        params: Conv2dRowsI8,
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
            let params = Conv2dRowsI8 {
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
            let Shape([_, _, channels, words]) = self.params.stream().unwrap();
            let weights = self.params.weights().unwrap();
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
                .constant(ElementType::I32, params.stream().unwrap(), stream)
                .writes(ElementType::I8, params.output, at(params.range.zero_point))
                .writes(ElementType::I32, params.scratch().unwrap(), None)
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
            let Conv2dRowsI8 { window, input, output, .. } = problem.params;
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
