//! int8 maximum pooling.

use crate::kernels::int8::maxima::keep_greater;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::int8::{OutputRange, pool, pool_params};
use crate::ops::pooling::PoolParams;
use crate::step::{Step, StepError};

/// `output = clamp(max over the window's taps in the input)`, channel by channel.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`; both have one scale and zero point. A window with no tap in the
/// input, which only a dilated one can be, gives the zero point.
///
/// Slices that are shorter than the shapes say leave outputs unwritten or maxima incomplete; nothing panics.
pub fn forward(params: &PoolParams, range: OutputRange, input: &[i8], output: &mut [i8]) {
    let (_, _, c) = params.lengths();
    params.for_each_pixel(input, output, &mut |input, window, output| {
        output.fill(if window.count() == 0 { range.zero_point as i8 } else { i8::MIN });
        window.for_each(|pixel| {
            keep_greater(output, input.get(pixel * c..).unwrap_or_default());
        });
        range.clamp_all(output);
    });
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    pool(step).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (attributes, [input], [output]) = step.parts()?;
    let (params, range) = pool_params(attributes, [input, output]);
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, range, elements(input)?, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::geometry::{WINDOW_ATTRIBUTES, Window};
    use crate::operand::ElementType;
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
                            let expected = values.max().unwrap_or(3).clamp(clamp[0], clamp[1]) as i8;
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
        case.expect(StepError::Quantization { operand: 1 }, |step| {
            step.writes[0].quantization = at(4).unwrap();
        });
        case.expect(StepError::ZeroWindow { index: 0 }, |step| step.attributes[0] = 0);
        for dim in 0..4 {
            case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[dim] += 1);
        }
    }
}
