//! `arg_max` and `arg_min`: where along one axis the extreme is.

use super::{Params, fold, store};
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand};
use crate::ops::operands::{bounded, flag, is};
use crate::step::{Step, StepError};

/// Places that are looked for together.
const BLOCK: usize = 8;

/// The first index along the one reduced axis at which the element is the largest, or with `minimum` the smallest, of every sample.
///
/// As in TensorFlow Lite the first element leads until another is strictly better, so that a NaN in front stays and others are passed over.
pub fn forward<T: Copy + PartialOrd>(minimum: bool, params: &Params, input: &[T], output: &mut [i32]) {
    let (in_length, out_length) = params.lengths();
    for (input, output) in pieces((input, output), [in_length, out_length]) {
        let mut store = store(output);
        let better = |best: Option<(T, usize)>, element: T, taken: super::Taken| match best {
            Some((best, _)) if minimum && element < best || !minimum && element > best => {
                Some((element, taken.order))
            }
            None => Some((element, taken.order)),
            best => best,
        };
        fold::<BLOCK, _, _>(params, input, None, better, |best| {
            store(best.map_or(0, |(_, order)| order as i32));
        });
    }
}

fn read<'s>(step: Step<'s>) -> Result<(bool, Params, [&'s Operand; 2]), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let &[_, axis] = step.attributes()?;
    bounded(axis, 1, 1..=3)?;
    if !matches!(input.element_type, ElementType::I8 | ElementType::F32) {
        return Err(StepError::ElementType { operand: 0 });
    }
    is(output, 1, ElementType::I32)?;
    let mask = 1i32.wrapping_shl(axis.wrapping_sub(1) as u32);
    Ok((flag(step.attributes, 0)?, Params::read(mask, 1, (input, 0), (output, 1))?, [input, output]))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    read(step).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (minimum, params, [input, output]) = read(step)?;
    let element_type = input.element_type;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    match element_type {
        ElementType::F32 => forward::<f32>(minimum, &params, elements(input)?, elements_mut(output)?),
        _ => forward::<i8>(minimum, &params, elements(input)?, elements_mut(output)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::reference::places;
    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, shape};

    fn case(minimum: i32, axis: usize, n: usize, params: &Params, element: ElementType) -> Case {
        let ([h, w, c], [out_h, out_w, out_c]) = (params.input, params.output());
        Case::new(Operator::ArgMax, &[minimum, axis as i32]).reads(element, shape([n, h, w, c]), None).writes(
            ElementType::I32,
            shape([n, out_h, out_w, out_c]),
            None,
        )
    }

    #[test]
    fn places_are_those_of_the_first_extremes() {
        let mut random = Random(61);
        for axis in (0..60).flat_map(|_| 1..=3) {
            let axes = [axis == 1, axis == 2, axis == 3];
            let params = Params { input: [random.size(1, 5), random.size(1, 6), random.size(1, 19)], axes };
            let n = random.size(1, 2);
            // Few values, so that there are equals.
            let input: Vec<i8> = (0..n * params.lengths().0).map(|_| random.range(-2, 2) as i8).collect();
            for minimum in [0, 1] {
                let samples = input.chunks_exact(params.lengths().0);
                let expected: Vec<i32> = samples
                    .flat_map(|input| {
                        places(&params).into_iter().map(|places| {
                            let values: Vec<i8> = places.iter().map(|&place| input[place]).collect();
                            let of = if minimum == 1 { values.iter().min() } else { values.iter().max() };
                            values.iter().position(|value| Some(value) == of).unwrap() as i32
                        })
                    })
                    .collect();
                let run = |element| case(minimum, axis, n, &params, element);
                assert_eq!(run(ElementType::I8).run::<i8, i32>(&[&input]), expected);
                let wide: Vec<f32> = input.iter().map(|&x| f32::from(x)).collect();
                assert_eq!(run(ElementType::F32).run::<f32, i32>(&[&wide]), expected);
            }
        }
    }

    #[test]
    fn a_nan_in_front_stays() {
        let params = Params { input: [1, 1, 3], axes: [false, false, true] };
        let mut place = [9];
        for (input, expected) in [([f32::NAN, 1.0, 2.0], 0), ([1.0, f32::NAN, 2.0], 2)] {
            forward(false, &params, &input, &mut place);
            assert_eq!(place, [expected]);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let params = Params { input: [3, 2, 4], axes: [false, true, false] };
        let case = case(0, 2, 2, &params, ElementType::I8);
        assert_eq!(case.check(), Ok(()));
        let attribute = |index, found| StepError::Attribute { index, found };
        case.expect(attribute(0, 2), |step| step.attributes[0] = 2);
        for found in [0, 4, i32::MIN] {
            case.expect(attribute(1, found), |step| step.attributes[1] = found);
        }
        case.expect(StepError::Shape { operand: 1 }, |step| step.attributes[1] = 3);
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[0] = 1);
        case.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[3] = 0);
        case.expect(StepError::ElementType { operand: 0 }, |step| {
            step.reads[0].element_type = ElementType::I32;
        });
        case.expect(StepError::ElementType { operand: 1 }, |step| {
            step.writes[0].element_type = ElementType::F32;
        });
        case.expect(StepError::AttributeCount { expected: 2, found: 1 }, |step| {
            step.attributes.pop();
        });
        case.expect(StepError::ReadCount { expected: 1, found: 0 }, |step| step.reads.clear());
        case.expect(StepError::WriteCount { expected: 1, found: 0 }, |step| step.writes.clear());
    }
}
