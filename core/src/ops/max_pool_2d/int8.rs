//! int8 maximum pooling.

use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::int8::{OutputRange, same_quantization};
use crate::ops::operands::{all_are, quantization};
use crate::step::{Step, StepError};

/// What int8 maximum pooling is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The window.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C]`.
    pub input: Shape,
    /// Shape of the output, `[N, H_out, W_out, C]`.
    pub output: Shape,
    /// Clamp of the output.
    pub range: OutputRange,
}

/// `output = clamp(max over the window's taps in the input)`, channel by channel.
///
/// Padding does not take part; a window with no tap in the input, which only a dilated one can be, gives `activation_min`.
/// Slices that are shorter than the shapes say leave outputs unwritten or maxima incomplete; nothing panics.
pub fn forward(parameters: &Parameters, input: &[i8], output: &mut [i8]) {
    let Parameters { window, range, .. } = *parameters;
    let ([_, in_h, in_w, c], [_, out_h, out_w, _]) = (parameters.input.dims(), parameters.output.dims());
    let samples = input.chunks_exact((in_h * in_w * c).max(1));
    for (input, output) in samples.zip(output.chunks_exact_mut((out_h * out_w * c).max(1))) {
        for (out_y, output) in output.chunks_exact_mut((out_w * c).max(1)).enumerate() {
            let y = window.y.taps(out_y, in_h);
            for (out_x, output) in output.chunks_exact_mut(c.max(1)).enumerate() {
                let x = window.x.taps(out_x, in_w);
                output.fill(i8::MIN);
                for k_y in 0..y.count() {
                    let mut at = ((y.position + k_y * window.y.dilation) * in_w + x.position) * c;
                    for _ in 0..x.count() {
                        let pixel = input.get(at..).unwrap_or_default();
                        for (greatest, &tap) in output.iter_mut().zip(pixel) {
                            *greatest = (*greatest).max(tap);
                        }
                        at += window.x.dilation * c;
                    }
                }
                for value in output {
                    *value = range.clamp(i32::from(*value));
                }
            }
        }
    }
}

/// How many attributes the operator has.
const ATTRIBUTES: usize = WINDOW_ATTRIBUTES + 2;

fn parameters(step: &Step) -> Result<(Parameters, [&Operand; 2]), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    step.attributes::<ATTRIBUTES>()?;
    let (window, range) = Window::read(&step.attributes)?;
    let range = OutputRange::read(range, WINDOW_ATTRIBUTES as u8, quantization(output, 1)?.zero_point)?;
    Ok((Parameters { window, input: input.shape, output: output.shape, range }, [input, output]))
}

pub(in crate::ops) fn check(step: &Step, _constant: &[u8]) -> Result<(), StepError> {
    let (Parameters { window, .. }, [input, output]) = parameters(step)?;
    all_are(step, ElementType::I8)?;
    same_quantization(quantization(input, 0)?, quantization(output, 1)?, 1)?;
    let (Shape([in_n, _, _, in_c]), Shape([out_n, _, _, out_c])) = (input.shape, output.shape);
    if in_n != out_n || in_c != out_c || !window.fits(input.shape, output.shape) {
        return Err(StepError::Shape { operand: 1 });
    }
    Ok(())
}

pub(in crate::ops) fn run(step: &Step, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (parameters, [input, output]) = parameters(step)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&parameters, elements(input)?, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, expect_clamp_errors, expect_operand_errors, shape};

    fn case(window: &Window, input: [usize; 4], clamp: [i32; 2]) -> Case {
        let [n, in_h, in_w, c] = input;
        let output = [n, window.y.output(in_h).unwrap(), window.x.output(in_w).unwrap(), c];
        Case::new(Operator::MaxPool2dI8, &[window.attributes().as_slice(), &clamp].concat())
            .reads(ElementType::I8, shape(input), at(3))
            .writes(ElementType::I8, shape(output), at(3))
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random(9);
        for _ in 0..400 {
            let (window, [in_h, in_w]) = random.window();
            let (n, c, clamp) = (random.size(1, 2), random.size(1, 9), random.clamp());
            let input = random.bytes(n * in_h * in_w * c);
            let found: Vec<i8> = case(&window, [n, in_h, in_w, c], clamp).run(&[&input]);
            let mut found = found.into_iter();
            for b in 0..n {
                for out_y in 0..window.y.output(in_h).unwrap() {
                    for out_x in 0..window.x.output(in_w).unwrap() {
                        for c_ in 0..c {
                            let taps =
                                (0..window.y.kernel).flat_map(|y| (0..window.x.kernel).map(move |x| (y, x)));
                            let values = taps.filter_map(|(k_y, k_x)| {
                                let y = window.y.input(out_y, k_y, in_h)?;
                                let x = window.x.input(out_x, k_x, in_w)?;
                                Some(i32::from(input[((b * in_h + y) * in_w + x) * c + c_]))
                            });
                            let expected = values.max().unwrap_or(-128).clamp(clamp[0], clamp[1]) as i8;
                            assert_eq!(found.next(), Some(expected), "{window:?}");
                        }
                    }
                }
            }
            assert_eq!(found.next(), None);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let (window, _) = Window::read(&[2, 2, 2, 2, 0, 0, 0, 0, 1, 1]).unwrap();
        let case = case(&window, [1, 4, 4, 3], [-128, 127]);
        expect_operand_errors(&case, &[0, 1]);
        expect_clamp_errors(&case, WINDOW_ATTRIBUTES);
        case.expect(StepError::Quantization { operand: 1 }, |step| step.writes[0].quantization = at(4));
        case.expect(StepError::ZeroWindow { index: 0 }, |step| step.attributes[0] = 0);
        for dim in 0..4 {
            case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[dim] += 1);
        }
    }
}
