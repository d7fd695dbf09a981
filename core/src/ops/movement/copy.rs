//! `copy`: elements of any type from one strided place to another; `copy_add` adds them to what is there.

use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand};
use crate::ops::operands::{all_are, is};
use crate::step::{Step, StepError};

/// How many attributes a step that copies has.
const ATTRIBUTES: usize = 14;
/// Index of the source's offset among them; the destination's follows.
const SOURCE_OFFSET: u8 = 12;

/// From where to where elements go in one sample: `output[place in it] = input[place in it]` for every index
/// `[i, j, k, l]` below `dims`, in row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// How many elements go along each dimension.
    pub dims: [usize; 4],
    /// Where they are in a sample of the input.
    pub source: Place,
    /// Where they go in a sample of the output.
    pub destination: Place,
}

/// Where the elements of a block with four dimensions are: `offset + sum(index * stride)`, in elements from a sample's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Place of the first element.
    pub offset: i32,
    /// From one index to the next along each dimension; a negative one goes back, zero stays.
    pub strides: [i32; 4],
}

impl Place {
    /// Whether all elements of a block of these dimensions lie among the first `length`.
    fn fits(&self, dims: [usize; 4], length: usize) -> bool {
        let (mut low, mut high) = (i64::from(self.offset), i64::from(self.offset));
        for (dim, &stride) in dims.into_iter().zip(&self.strides) {
            let Ok(dim) = i32::try_from(dim) else { return false };
            // Below 2^62, and of four such sums none exceeds 2^64; a place that far off has been refused before.
            let extent = i64::from(dim).saturating_sub(1).saturating_mul(i64::from(stride));
            if extent < 0 { low = low.saturating_add(extent) } else { high = high.saturating_add(extent) }
        }
        low >= 0 && usize::try_from(high).is_ok_and(|high| high < length)
    }
}

impl Params {
    /// The attributes of a step: dimensions, strides of the source, strides of the destination, offset of the source, of the
    /// destination. A dimension that does not fit 31 bits becomes `i32::MAX`, which no tensor has.
    pub fn attributes(&self) -> [i32; ATTRIBUTES] {
        let [a, b, c, d] = self.dims.map(|dim| i32::try_from(dim).unwrap_or(i32::MAX));
        let ([e, f, g, h], [i, j, k, l]) = (self.source.strides, self.destination.strides);
        [a, b, c, d, e, f, g, h, i, j, k, l, self.source.offset, self.destination.offset]
    }

    fn read(step: Step<'_>) -> Result<Self, StepError> {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, from, to] = step.attributes::<ATTRIBUTES>()?;
        let mut dims = [1; 4];
        for (index, (dim, found)) in dims.iter_mut().zip([a, b, c, d]).enumerate() {
            let positive = usize::try_from(found).ok().filter(|&found| found > 0);
            *dim = positive.ok_or(StepError::Attribute { index: index as u8, found })?;
        }
        Ok(Self {
            dims,
            source: Place { offset: from, strides: [e, f, g, h] },
            destination: Place { offset: to, strides: [i, j, k, l] },
        })
    }

    /// Calls `row(source, destination)` with the places of the first elements of every row: all dimensions but the last.
    #[inline(always)]
    fn for_each_row(&self, mut row: impl FnMut(usize, usize)) {
        let [first, second, third, _] = self.dims;
        let ([s0, s1, s2, _], [d0, d1, d2, _]) =
            (self.source.strides.map(|s| s as usize), self.destination.strides.map(|s| s as usize));
        // A negative number is a large one of the same bits; sums wrap back into the range that was checked.
        let mut outer = (self.source.offset as usize, self.destination.offset as usize);
        for _ in 0..first {
            let mut middle = outer;
            for _ in 0..second {
                let mut inner = middle;
                for _ in 0..third {
                    row(inner.0, inner.1);
                    inner = (inner.0.wrapping_add(s2), inner.1.wrapping_add(d2));
                }
                middle = (middle.0.wrapping_add(s1), middle.1.wrapping_add(d1));
            }
            outer = (outer.0.wrapping_add(s0), outer.1.wrapping_add(d0));
        }
    }

    /// Strides of a row: of the source, of the destination.
    #[inline(always)]
    fn row_strides(&self) -> (usize, usize) {
        let ([.., source], [.., destination]) = (self.source.strides, self.destination.strides);
        (source as usize, destination as usize)
    }
}

/// Copies one sample's elements. Elements of the output that are no destination keep their value, those outside of a slice are left out.
pub fn forward<T: Copy>(params: &Params, input: &[T], output: &mut [T]) {
    let [.., length] = params.dims;
    let (source_stride, stride) = params.row_strides();
    if (source_stride, stride) == (1, 1) {
        params.for_each_row(|from, to| {
            let source = input.get(from..from.wrapping_add(length)).unwrap_or_default();
            let row = output.get_mut(to..to.wrapping_add(length)).unwrap_or_default();
            row.iter_mut().zip(source).for_each(|(element, &source)| *element = source);
        });
    } else {
        params.for_each_row(|mut from, mut to| {
            for _ in 0..length {
                if let (Some(&source), Some(element)) = (input.get(from), output.get_mut(to)) {
                    *element = source;
                }
                (from, to) = (from.wrapping_add(source_stride), to.wrapping_add(stride));
            }
        });
    }
}

/// As [`forward`], but adds to what is in the output, in row-major order of the block: the gradient of a copy, whose elements may have been
/// copied to several places.
pub fn add(params: &Params, input: &[f32], output: &mut [f32]) {
    let [.., length] = params.dims;
    let (source_stride, stride) = params.row_strides();
    params.for_each_row(|mut from, mut to| {
        for _ in 0..length {
            if let (Some(&source), Some(element)) = (input.get(from), output.get_mut(to)) {
                *element += source;
            }
            (from, to) = (from.wrapping_add(source_stride), to.wrapping_add(stride));
        }
    });
}

/// Elements of one sample; `None` if the operand is empty or too long.
fn sample(operand: &Operand) -> Option<usize> {
    operand
        .shape
        .elements()?
        .checked_div(usize::try_from(operand.shape.0[0]).ok()?)
        .filter(|&length| length > 0)
}

fn parts<'s>(step: Step<'s>) -> Result<(&'s Operand, &'s Operand), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    Ok((input, output))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let (input, output) = parts(step)?;
    let params = Params::read(step)?;
    is(output, 1, input.element_type)?;
    let [from, to] = [input, output].map(sample);
    let from = from.ok_or(StepError::Shape { operand: 0 })?;
    let to = to.ok_or(StepError::Shape { operand: 1 })?;
    if input.shape.0[0] != output.shape.0[0] && input.shape.0[0] != 1 {
        return Err(StepError::Shape { operand: 1 });
    }
    // No more elements than one of the two has, so that a stride of 0 cannot make it run for ever.
    let elements = params.dims.into_iter().try_fold(1usize, usize::checked_mul);
    if elements.is_none_or(|elements| elements > from.max(to)) {
        let found = step.attributes.first().copied().unwrap_or_default();
        return Err(StepError::Attribute { index: 0, found });
    }
    for (place, length, index) in
        [(params.source, from, SOURCE_OFFSET), (params.destination, to, SOURCE_OFFSET + 1)]
    {
        if !place.fits(params.dims, length) {
            return Err(StepError::Attribute { index, found: place.offset });
        }
    }
    Ok(())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (input, output) = parts(step)?;
    // Only the size of the elements matters.
    match input.element_type.bytes() {
        1 => run_as::<u8>(step, memory, input, output, forward),
        2 => run_as::<u16>(step, memory, input, output, forward),
        _ => run_as::<u32>(step, memory, input, output, forward),
    }
}

pub(in crate::ops) fn check_add(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    all_are(step, ElementType::F32)?;
    check(step, constant)
}

pub(in crate::ops) fn run_add(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let (input, output) = parts(step)?;
    run_as::<f32>(step, memory, input, output, add)
}

/// Applies `apply` sample by sample; an input of one sample is every sample's.
fn run_as<T: bytemuck::NoUninit + bytemuck::AnyBitPattern>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
    input: &Operand,
    output: &Operand,
    apply: impl Fn(&Params, &[T], &mut [T]),
) -> Result<(), StepError> {
    let params = Params::read(step)?;
    let (from, to) = (sample(input).ok_or(StepError::Memory)?, sample(output).ok_or(StepError::Memory)?);
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    let (input, output) = (elements::<T>(input)?, elements_mut::<T>(output)?);
    let mut samples = input.chunks_exact(from.max(1));
    let mut current = samples.next().unwrap_or_default();
    for output in output.chunks_exact_mut(to.max(1)) {
        apply(&params, current, output);
        current = samples.next().unwrap_or(current);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::operand::Space;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, shape};

    fn case(operator: Operator, params: &Params, element: ElementType, shapes: [[usize; 4]; 2]) -> Case {
        let [input, output] = shapes.map(shape);
        Case::new(operator, &params.attributes()).reads(element, input, None).writes(element, output, None)
    }

    /// Where an element of the block is, from the definition.
    fn place(place: &Place, index: [usize; 4]) -> usize {
        let sum: i64 =
            index.iter().zip(place.strides).map(|(&index, stride)| index as i64 * i64::from(stride)).sum();
        usize::try_from(i64::from(place.offset) + sum).unwrap()
    }

    fn indices(dims: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
        let [a, b, c, d] = dims;
        (0..a * b * c * d).map(move |i| [i / (b * c * d), i / (c * d) % b, i / d % c, i % d])
    }

    /// A random block and the lengths of the samples that it just fits.
    fn random_params(random: &mut Random) -> (Params, usize, usize) {
        let dims = [(); 4].map(|()| random.size(1, 4));
        let contiguous = random.size(0, 2) == 0;
        let mut place = |is_source: bool| {
            let mut strides = [(); 4].map(|()| random.range(-7, 7) as i32);
            if contiguous {
                strides[3] = 1;
            }
            if !is_source {
                strides = strides.map(i32::abs);
            }
            let extents = strides.into_iter().zip(dims).map(|(stride, dim)| stride * (dim as i32 - 1));
            let (low, high) = extents.fold((0, 0), |(low, high), e| (low + e.min(0), high + e.max(0)));
            let slack = random.size(0, 3);
            let length = (slack as i32 - low + high + 1) as usize;
            (Place { offset: slack as i32 - low, strides }, length.max(dims.iter().product()))
        };
        let ((source, from), (destination, to)) = (place(true), place(false));
        (Params { dims, source, destination }, from, to)
    }

    #[test]
    fn elements_of_every_size_go_where_the_definition_says() {
        let mut random = Random(21);
        for _ in 0..400 {
            let (params, from, to) = random_params(&mut random);
            let (samples, extra) = (random.size(1, 3), random.size(0, 2));
            let shapes = [[samples, 1, 1, from + extra], [samples, 1, to, 1]];
            let input: Vec<i8> = random.bytes(samples * (from + extra));
            let found: Vec<i8> = case(Operator::Copy, &params, ElementType::I8, shapes).run(&[&input]);
            let mut expected = vec![0i8; samples * to];
            for sample in 0..samples {
                for index in indices(params.dims) {
                    expected[sample * to + place(&params.destination, index)] =
                        input[sample * (from + extra) + place(&params.source, index)];
                }
            }
            assert_eq!(found, expected, "{params:?}");
            let wide: Vec<i32> = input.iter().map(|&x| i32::from(x).wrapping_mul(0x0101_0107)).collect();
            let found: Vec<i32> = case(Operator::Copy, &params, ElementType::I32, shapes).run(&[&wide]);
            let expected: Vec<i32> =
                expected.iter().map(|&x| i32::from(x).wrapping_mul(0x0101_0107)).collect();
            assert_eq!(found, expected, "{params:?}");
        }
    }

    #[test]
    fn an_input_of_one_sample_is_every_samples() {
        let strides = [0, 0, 0, 1];
        let params = Params {
            dims: [1, 1, 1, 2],
            source: Place { offset: 0, strides },
            destination: Place { offset: 1, strides },
        };
        let case = case(Operator::Copy, &params, ElementType::I8, [[1, 1, 1, 2], [2, 1, 1, 3]]);
        assert_eq!(case.run::<i8, i8>(&[&[7, 8]]), [0, 7, 8, 0, 7, 8]);
    }

    #[test]
    fn copy_add_adds_in_the_order_of_the_block() {
        let mut random = Random(22);
        for _ in 0..200 {
            let (params, from, to) = random_params(&mut random);
            let input: Vec<f32> = (0..2 * from).map(|_| random.range(-999, 999) as f32 * 0.37).collect();
            let shapes = [[2, 1, 1, from], [2, 1, 1, to]];
            let found: Vec<f32> = case(Operator::CopyAdd, &params, ElementType::F32, shapes).run(&[&input]);
            let mut expected = vec![0f32; 2 * to];
            for (sample, index) in (0..2).flat_map(|sample| indices(params.dims).map(move |i| (sample, i))) {
                expected[sample * to + place(&params.destination, index)] +=
                    input[sample * from + place(&params.source, index)];
            }
            assert_eq!(found, expected, "{params:?}");
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let params = Params {
            dims: [2, 1, 2, 3],
            source: Place { offset: 6, strides: [-6, 0, 3, 1] },
            destination: Place { offset: 1, strides: [6, 0, 3, 1] },
        };
        let case = case(Operator::Copy, &params, ElementType::F32, [[2, 1, 4, 3], [2, 1, 1, 13]]);
        assert_eq!(case.check(), Ok(()));
        let attribute = |index, found| StepError::Attribute { index, found };
        for index in 0..4u8 {
            case.expect(attribute(index, 0), |step| step.attributes[usize::from(index)] = 0);
            case.expect(attribute(index, -1), |step| step.attributes[usize::from(index)] = -1);
        }
        // One element before the first and one past the last, of the source and the destination.
        case.expect(attribute(12, 5), |step| step.attributes[12] = 5);
        case.expect(attribute(12, 7), |step| step.attributes[12] = 7);
        case.expect(attribute(13, 2), |step| step.attributes[13] = 2);
        case.expect(attribute(13, -1), |step| step.attributes[13] = -1);
        // More elements than there are, which strides of 0 would allow.
        case.expect(attribute(0, i32::MAX), |step| {
            step.attributes[..8].copy_from_slice(&[i32::MAX, i32::MAX, i32::MAX, i32::MAX, 0, 0, 0, 0]);
        });
        case.expect(attribute(0, 5), |step| step.attributes[..4].copy_from_slice(&[5, 1, 1, 3]));
        // Strides whose product with the dimension does not fit 32 bits.
        case.expect(attribute(12, 6), |step| step.attributes[4..8].copy_from_slice(&[i32::MAX; 4]));
        case.expect(attribute(12, 6), |step| step.attributes[4..8].copy_from_slice(&[i32::MIN; 4]));
        case.expect(StepError::ElementType { operand: 1 }, |step| {
            step.writes[0].element_type = ElementType::I32;
        });
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[0] = 3);
        case.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[2] = 0);
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0 = [2, 65_536, 65_536, 1]);
        case.expect(StepError::ReadCount { expected: 1, found: 0 }, |step| step.reads.clear());
        case.expect(StepError::WriteCount { expected: 1, found: 0 }, |step| step.writes.clear());
        case.expect(StepError::AttributeCount { expected: 14, found: 13 }, |step| {
            step.attributes.pop();
        });
        case.expect(StepError::ElementType { operand: 0 }, |step| {
            step.operator = Operator::CopyAdd as u8;
            step.reads[0].element_type = ElementType::I8;
        });
        // Where it lies is the loader's business.
        case.expect_ok(|step| step.reads[0].space = Space::Constant);
    }
}
