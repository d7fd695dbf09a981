//! The int8 mean over all pixels of a tensor that is there in bands of rows, one after another.
//!
//! Sums of integers do not depend on how they are cut: the mean is that of [`int8::forward`](super::int8::forward) over the whole tensor, bit for bit.

use super::int8::{MAX_TAPS, rounded_mean};
use crate::kernels::int8::sums::{CHANNELS, add_pixels};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::int8::OutputRange;
use crate::ops::operands::{bounded, has_shape, is, quantization};
use crate::step::{Step, StepError};

/// `sums[c] = before[c] + sum over all pixels p of input[p, c]`, wrapping. `input` is `[1, H, W, C]`, `sums` and `before` are `[1, 1, 1, C]`; an empty `before` is zeros.
pub fn add(input: &[i8], before: &[i32], sums: &mut [i32]) {
    each_block(input, before, sums, |sum| sum);
}

/// `output[c] = clamp((before[c] + sum over all pixels p of input[p, c]) / count)`, rounded to nearest with ties away from zero. Shapes are those of [`add`]; `count` is the number of pixels of all bands.
pub fn finish(count: i32, range: OutputRange, input: &[i8], before: &[i32], output: &mut [i8]) {
    each_block(input, before, output, |sum| range.clamp(rounded_mean(sum, count)));
}

fn each_block<T>(input: &[i8], before: &[i32], output: &mut [T], finish: impl Fn(i32) -> T) {
    let channels = output.len().max(1);
    let count = input.len() / channels;
    let (mut first, mut before) = (0, before.iter());
    for output in output.chunks_mut(CHANNELS) {
        let mut sums = [0i32; CHANNELS];
        sums.iter_mut().zip(before.by_ref().take(output.len())).for_each(|(sum, &before)| *sum = before);
        if output.len() == CHANNELS {
            add_pixels(input.get(first..).unwrap_or_default(), channels, count, &mut sums);
        } else {
            for pixel in input.chunks_exact(channels) {
                let pixel = pixel.get(first..).unwrap_or_default();
                sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum = sum.wrapping_add(value.into()));
            }
        }
        output.iter_mut().zip(sums).for_each(|(output, sum)| *output = finish(sum));
        first += CHANNELS;
    }
}

/// Input, and the sums of the bands before if this is not the first.
fn operands(step: Step<'_>) -> Result<(&Operand, Option<&Operand>, &Operand), StepError> {
    let [output] = step.writes()?;
    let (input, before) = match step.reads {
        [input] => (input, None),
        [input, before] => (input, Some(before)),
        other => return Err(StepError::ReadCount { expected: 2, found: other.len() as u8 }),
    };
    Ok((input, before, output))
}

/// The number of pixels and the clamp, if the step writes the mean, and not sums.
fn ending(step: Step<'_>, output: &Operand) -> Result<Option<(i32, OutputRange)>, StepError> {
    if output.element_type == ElementType::I32 {
        step.attributes::<0>()?;
        return Ok(None);
    }
    let &[count, min, max] = step.attributes()?;
    bounded(count, 0, 1..=MAX_TAPS as i32)?;
    Ok(Some((count, OutputRange::read(&[min, max], 1, output.quantization.zero_point)?)))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let (input, before, output) = operands(step)?;
    let Shape([samples, .., channels]) = input.shape;
    is(input, 0, ElementType::I8)?;
    if samples != 1 || input.shape.has_zero() || input.shape.elements().is_none() {
        return Err(StepError::Shape { operand: 0 });
    }
    let vector = Shape::vector(channels);
    if let Some(before) = before {
        is(before, 1, ElementType::I32)?;
        has_shape(before, 1, vector)?;
    }
    let last = step.reads.len();
    has_shape(output, last, vector)?;
    if ending(step, output)?.is_some() {
        is(output, last, ElementType::I8)?;
        if quantization(input, 0)? != quantization(output, last)? {
            return Err(StepError::Quantization { operand: last as u8 });
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (input, before, output) = operands(step)?;
    let ending = ending(step, output)?;
    let (input, before, output) = if let Some(before) = before {
        let Views { reads: [input, before], writes: [output] } = memory.views([input, before], [output])?;
        (input, elements(before)?, output)
    } else {
        let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
        (input, &[][..], output)
    };
    match ending {
        Some((count, range)) => finish(count, range, elements(input)?, before, elements_mut(output)?),
        None => add(elements(input)?, before, elements_mut(output)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, divide, expect_clamp_errors, operand_mut, shape};

    /// A band with what was before, or without.
    fn case(attributes: &[i32], input: [usize; 4], is_first: bool, output: ElementType) -> Case {
        let quantization = at(3);
        let vector = shape([1, 1, 1, input[3]]);
        let mut case =
            Case::new(Operator::MeanBandI8, attributes).reads(ElementType::I8, shape(input), quantization);
        if !is_first {
            case = case.reads(ElementType::I32, vector, None);
        }
        case.writes(output, vector, quantization.filter(|_| output == ElementType::I8))
    }

    #[test]
    fn bands_give_the_mean_of_the_whole() {
        let mut random = Random(12);
        for _ in 0..300 {
            let (w, c) = (random.size(1, 7), random.size(1, 19));
            let heights = [random.size(1, 4), random.size(1, 3), random.size(1, 5)];
            let count: usize = heights.iter().sum::<usize>() * w;
            let input = random.bytes(count * c);
            let range = OutputRange { zero_point: 3, activation_min: -90, activation_max: 100 };
            let (mut left, mut sums) = (input.as_slice(), Vec::<i32>::new());
            for (band, h) in heights.into_iter().enumerate() {
                let (part, rest) = left.split_at(h * w * c);
                left = rest;
                if band < 2 {
                    let mut next = std::vec![7; c];
                    add(part, &sums, &mut next);
                    sums = next;
                } else {
                    let mut output = std::vec![0; c];
                    finish(count as i32, range, part, &sums, &mut output);
                    let expected: Vec<i8> = (0..c)
                        .map(|channel| {
                            let sum: i128 =
                                input.iter().skip(channel).step_by(c).map(|&v| i128::from(v)).sum();
                            (divide(sum, count as i128) as i32).clamp(-90, 100) as i8
                        })
                        .collect();
                    assert_eq!(output, expected);
                    // As a step.
                    let attributes = [count as i32, -90, 100];
                    let step = case(&attributes, [1, h, w, c], false, ElementType::I8);
                    let bytes: Vec<i8> = bytemuck::cast_slice(&sums).to_vec();
                    assert_eq!(step.run::<i8, i8>(&[part, &bytes]), expected);
                }
            }
        }
    }

    #[test]
    fn one_band_is_average_pooling() {
        let input: Vec<i8> = (0..6 * 9).map(|i| (i * 47 % 251) as u8 as i8).collect();
        let attributes = [2, 3, 1, 1, 0, 0, 0, 0, 1, 1, -128, 127];
        let pool = Case::new(Operator::AveragePool2dI8, &attributes)
            .reads(ElementType::I8, shape([1, 2, 3, 9]), at(3))
            .writes(ElementType::I8, shape([1, 1, 1, 9]), at(3));
        let expected: Vec<i8> = pool.run(&[&input]);
        let found: Vec<i8> = case(&[6, -128, 127], [1, 2, 3, 9], true, ElementType::I8).run(&[&input]);
        assert_eq!(found, expected);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let sums = case(&[], [1, 2, 3, 9], false, ElementType::I32);
        sums.check().unwrap();
        for operand in 1..3 {
            let error = StepError::Shape { operand: operand as u8 };
            sums.expect(error, |step| operand_mut(step, operand).shape = shape([1, 1, 1, 8]));
        }
        for operand in 0..2 {
            let error = StepError::ElementType { operand: operand as u8 };
            sums.expect(error, |step| operand_mut(step, operand).element_type = ElementType::F32);
        }
        sums.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[0] = 2);
        sums.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[1] = 0);
        sums.expect(StepError::ReadCount { expected: 2, found: 0 }, |step| step.reads.clear());
        sums.expect(StepError::WriteCount { expected: 1, found: 0 }, |step| step.writes.clear());
        sums.expect(StepError::AttributeCount { expected: 0, found: 1 }, |step| {
            step.attributes.push(0).unwrap();
        });
        let mean = case(&[6, -128, 127], [1, 2, 3, 9], false, ElementType::I8);
        mean.check().unwrap();
        expect_clamp_errors(&mean, 1);
        for found in [0, -1, MAX_TAPS as i32 + 1] {
            mean.expect(StepError::Attribute { index: 0, found }, |step| step.attributes[0] = found);
        }
        mean.expect(StepError::ElementType { operand: 2 }, |step| {
            step.writes[0].element_type = ElementType::F32;
        });
        mean.expect(StepError::Quantization { operand: 2 }, |step| {
            step.writes[0].quantization = at(4).unwrap();
        });
    }
}
