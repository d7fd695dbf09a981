//! `gather`: rows, columns and channels of any type picked by constant tables, and its gradient.

use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape, Space};
use crate::ops::operands::{bounded, is};
use crate::step::{Step, StepError};

/// What a gather is told: the dimensions of one sample, and for each that is picked from, the table of what is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'t> {
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Height, width and channels of the output.
    pub output: [usize; 3],
    /// For rows, columns and channels: which of the input's each of the output's is; `None` for the same.
    pub tables: [Option<&'t [i32]>; 3],
}

impl Params<'_> {
    /// Calls `row(source, destination)` with the places of the first channel of each pixel.
    #[inline(always)]
    fn for_each_pixel(&self, mut pixel: impl FnMut(usize, usize)) {
        let ([_, in_w, in_c], [out_h, out_w, out_c]) = (self.input, self.output);
        let [rows, columns, _] = self.tables;
        let mut destination = 0usize;
        for out_y in 0..out_h {
            let y = pick(rows, out_y).wrapping_mul(in_w);
            for out_x in 0..out_w {
                pixel(y.wrapping_add(pick(columns, out_x)).wrapping_mul(in_c), destination);
                destination = destination.wrapping_add(out_c);
            }
        }
    }
}

/// The input's index for `index` of the output. One that the table lacks becomes one that no tensor has.
#[inline(always)]
fn pick(table: Option<&[i32]>, index: usize) -> usize {
    match table {
        None => index,
        Some(table) => table.get(index).map_or(usize::MAX, |&picked| picked as usize),
    }
}

/// `output[y, x, c] = input[rows[y], columns[x], channels[c]]` for one sample.
pub fn forward<T: Copy>(params: &Params<'_>, input: &[T], output: &mut [T]) {
    let ([.., in_c], [.., out_c], [.., channels]) = (params.input, params.output, params.tables);
    params.for_each_pixel(|from, to| {
        let source = input.get(from..from.wrapping_add(in_c)).unwrap_or_default();
        let pixel = output.get_mut(to..to.wrapping_add(out_c)).unwrap_or_default();
        match channels {
            None => pixel.iter_mut().zip(source).for_each(|(element, &source)| *element = source),
            Some(_) => {
                for (c, element) in pixel.iter_mut().enumerate() {
                    if let Some(&source) = source.get(pick(channels, c)) {
                        *element = source;
                    }
                }
            }
        }
    });
}

/// Gradient of [`forward`]: every element of the output adds its gradient to the element it was picked from, in row-major order of the
/// output. `grad_input` is overwritten.
pub fn backward(params: &Params<'_>, grad_output: &[f32], grad_input: &mut [f32]) {
    let ([.., in_c], [.., out_c], [.., channels]) = (params.input, params.output, params.tables);
    grad_input.fill(0.0);
    params.for_each_pixel(|from, to| {
        let grads = grad_output.get(to..to.wrapping_add(out_c)).unwrap_or_default();
        let pixel = grad_input.get_mut(from..from.wrapping_add(in_c)).unwrap_or_default();
        for (c, &grad) in grads.iter().enumerate() {
            if let Some(element) = pixel.get_mut(pick(channels, c)) {
                *element += grad;
            }
        }
    });
}

fn dims(shape: Shape) -> [usize; 3] {
    let [_, h, w, c] = shape.dims();
    [h, w, c]
}

/// Which of rows, columns and channels are picked.
fn axes(step: Step<'_>) -> Result<[bool; 3], StepError> {
    let &[mask] = step.attributes()?;
    bounded(mask, 0, 1..=7)?;
    Ok([mask & 1 != 0, mask & 2 != 0, mask & 4 != 0])
}

/// Cuts the table of all axes into those of each.
fn tables(axes: [bool; 3], output: [usize; 3], table: &[i32]) -> Result<[Option<&[i32]>; 3], StepError> {
    let mut rest = table;
    let mut found = [None; 3];
    for ((found, picked), length) in found.iter_mut().zip(axes).zip(output) {
        if picked {
            let (this, after) = rest.split_at_checked(length).ok_or(StepError::Shape { operand: 1 })?;
            (*found, rest) = (Some(this), after);
        }
    }
    if rest.is_empty() { Ok(found) } else { Err(StepError::Shape { operand: 1 }) }
}

/// Checks a gather from `input` to `output`, which have these indices among the operands; the table is operand 1.
fn check_from_to(
    step: Step<'_>,
    (input, input_index): (&Operand, u8),
    (output, output_index): (&Operand, u8),
    constant: &[u8],
) -> Result<(), StepError> {
    let axes = axes(step)?;
    let [_, table] = step.reads()?;
    is(output, usize::from(output_index), input.element_type)?;
    is(table, 1, ElementType::I32)?;
    if table.space != Space::Constant {
        return Err(StepError::Space { operand: 1 });
    }
    for (operand, index) in [(input, input_index), (output, output_index)] {
        if operand.shape.has_zero() || operand.shape.elements().is_none() {
            return Err(StepError::Shape { operand: index });
        }
    }
    let ([in_n, ..], [out_n, ..]) = (input.shape.0, output.shape.0);
    let (from, to) = (dims(input.shape), dims(output.shape));
    let same =
        axes.into_iter().zip(from.into_iter().zip(to)).all(|(picked, (from, to))| picked || from == to);
    if in_n != out_n || !same {
        return Err(StepError::Shape { operand: 2 });
    }
    let (start, end) = table.range().ok_or(StepError::Memory)?;
    let table = elements::<i32>(constant.get(start..end).ok_or(StepError::Memory)?)?;
    for (picked, length) in tables(axes, to, table)?.into_iter().zip(from) {
        let outside = |&&index: &&i32| !usize::try_from(index).is_ok_and(|index| index < length);
        if picked.unwrap_or_default().iter().find(outside).is_some() {
            return Err(StepError::Table { operand: 1 });
        }
    }
    Ok(())
}

pub(in crate::ops) fn check(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let ([input, _], [output]) = (step.reads()?, step.writes()?);
    check_from_to(step, (input, 0), (output, 2), constant)
}

pub(in crate::ops) fn check_grad(step: Step<'_>, constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output, _], [grad_input]) = (step.reads()?, step.writes()?);
    is(grad_output, 0, ElementType::F32)?;
    check_from_to(step, (grad_input, 2), (grad_output, 0), constant)
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [input, _] = step.reads()?;
    match input.element_type.bytes() {
        1 => run_as::<u8>(step, memory),
        2 => run_as::<u16>(step, memory),
        _ => run_as::<u32>(step, memory),
    }
}

fn run_as<T: bytemuck::NoUninit + bytemuck::AnyBitPattern>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
) -> Result<(), StepError> {
    let ([input, table], [output], axes) = (step.reads()?, step.writes()?, axes(step)?);
    let (from, to) = (dims(input.shape), dims(output.shape));
    let Views { reads: [input, table], writes: [output] } = memory.views([input, table], [output])?;
    let params = Params { input: from, output: to, tables: tables(axes, to, elements(table)?)? };
    let samples = elements::<T>(input)?.chunks_exact(length(from));
    for (input, output) in samples.zip(elements_mut::<T>(output)?.chunks_exact_mut(length(to))) {
        forward(&params, input, output);
    }
    Ok(())
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output, table], [grad_input], axes) = (step.reads()?, step.writes()?, axes(step)?);
    let (from, to) = (dims(grad_input.shape), dims(grad_output.shape));
    let Views { reads: [grad_output, table], writes: [grad_input] } =
        memory.views([grad_output, table], [grad_input])?;
    let params = Params { input: from, output: to, tables: tables(axes, to, elements(table)?)? };
    let samples = elements::<f32>(grad_output)?.chunks_exact(length(to));
    for (grad_output, grad_input) in
        samples.zip(elements_mut::<f32>(grad_input)?.chunks_exact_mut(length(from)))
    {
        backward(&params, grad_output, grad_input);
    }
    Ok(())
}

/// Elements of a sample, at least 1.
fn length([h, w, c]: [usize; 3]) -> usize {
    h.wrapping_mul(w).wrapping_mul(c).max(1)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, shape};
    use crate::ops::test_support::{assert_close, dot, numeric_gradient};

    /// The gradient is a sum of at most a hundred values below 4.
    const TOLERANCE: f64 = 1e-5;

    struct Problem {
        samples: usize,
        input: [usize; 3],
        output: [usize; 3],
        mask: i32,
        table: Vec<i32>,
    }

    impl Problem {
        fn new(random: &mut Random) -> Self {
            let (mask, samples) = (random.range(1, 7) as i32, random.size(1, 2));
            let input = [(); 3].map(|()| random.size(1, 5));
            let (mut output, mut table) = (input, Vec::new());
            for (axis, length) in output.iter_mut().enumerate().filter(|(axis, _)| mask >> axis & 1 == 1) {
                *length = random.size(1, 6);
                table.extend((0..*length).map(|_| random.range(0, input[axis] as i64 - 1) as i32));
            }
            Self { samples, input, output, mask, table }
        }

        /// For every element of the output in its order, the element of the input, from the definition.
        fn sources(&self) -> Vec<usize> {
            let picked = |axis: usize, index: usize| {
                if self.mask >> axis & 1 == 0 {
                    return index;
                }
                let before = (0..axis).filter(|before| self.mask >> before & 1 == 1);
                let start: usize = before.map(|before| self.output[before]).sum();
                self.table[start + index] as usize
            };
            let ([in_h, in_w, in_c], [out_h, out_w, out_c]) = (self.input, self.output);
            let mut sources = Vec::new();
            for n in 0..self.samples {
                for (y, x) in (0..out_h).flat_map(|y| (0..out_w).map(move |x| (y, x))) {
                    let pixel = (n * in_h + picked(0, y)) * in_w + picked(1, x);
                    sources.extend((0..out_c).map(|c| pixel * in_c + picked(2, c)));
                }
            }
            sources
        }

        fn shapes(&self) -> [Shape; 2] {
            [self.input, self.output].map(|[h, w, c]| shape([self.samples, h, w, c]))
        }

        fn case(&self, element: ElementType) -> Case {
            let [input, output] = self.shapes();
            Case::new(Operator::Gather, &[self.mask])
                .reads(element, input, None)
                .constant(ElementType::I32, Shape::vector(self.table.len() as u32), &self.table)
                .writes(element, output, None)
        }
    }

    #[test]
    fn elements_are_those_that_the_tables_pick() {
        let mut random = Random(31);
        for _ in 0..300 {
            let problem = Problem::new(&mut random);
            let length = problem.shapes()[0].elements().unwrap();
            let input = random.bytes(length);
            let expected: Vec<i8> = problem.sources().iter().map(|&from| input[from]).collect();
            assert_eq!(problem.case(ElementType::I8).run::<i8, i8>(&[&input]), expected);
            let wide: Vec<f32> = input.iter().map(|&x| f32::from(x) + 0.5).collect();
            let expected: Vec<f32> = expected.iter().map(|&x| f32::from(x) + 0.5).collect();
            assert_eq!(problem.case(ElementType::F32).run::<f32, f32>(&[&wide]), expected);
        }
    }

    #[test]
    fn the_gradient_is_that_of_central_differences() {
        let mut random = Random(32);
        for _ in 0..60 {
            let problem = Problem::new(&mut random);
            let [input, output] = problem.shapes();
            let mut values = |shape: Shape| -> Vec<f32> {
                (0..shape.elements().unwrap()).map(|_| random.range(-1000, 1000) as f32 / 250.0).collect()
            };
            let (x, g) = (values(input), values(output));
            let sources = problem.sources();
            let expected =
                numeric_gradient(&x, |x| dot(&g, &sources.iter().map(|&from| x[from]).collect::<Vec<_>>()));
            let found: Vec<f32> = Case::new(Operator::GatherGrad, &[problem.mask])
                .reads(ElementType::F32, output, None)
                .constant(ElementType::I32, Shape::vector(problem.table.len() as u32), &problem.table)
                .writes(ElementType::F32, input, None)
                .run(&[&g]);
            assert_close("grad_input", &found, &expected, TOLERANCE);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let problem = Problem { samples: 2, input: [3, 2, 4], output: [4, 2, 1], mask: 5, table: Vec::new() };
        let case = |table: [i32; 5]| Problem { table: table.to_vec(), ..problem }.case(ElementType::I8);
        let right = case([0, 2, 1, 1, 3]);
        assert_eq!(right.check(), Ok(()));
        for wrong in [[3, 0, 0, 0, 0], [0, 0, 0, -1, 0], [0, 0, 0, 0, 4]] {
            assert_eq!(case(wrong).check(), Err(StepError::Table { operand: 1 }), "{wrong:?}");
        }
        for found in [0, 8, -1] {
            right.expect(StepError::Attribute { index: 0, found }, |step| step.attributes[0] = found);
        }
        right.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 4);
        right.expect(StepError::Memory, |step| step.reads[1].shape.0[3] = 40);
        right.expect(StepError::Shape { operand: 1 }, |step| step.attributes[0] = 7);
        right.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[2] = 3);
        right.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[0] = 1);
        right.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[1] = 0);
        right.expect(StepError::Space { operand: 1 }, |step| step.reads[1].space = Space::Arena);
        right.expect(StepError::ElementType { operand: 1 }, |step| {
            step.reads[1].element_type = ElementType::F32;
        });
        right.expect(StepError::ElementType { operand: 2 }, |step| {
            step.writes[0].element_type = ElementType::I32;
        });
        right
            .expect(StepError::ElementType { operand: 0 }, |step| step.operator = Operator::GatherGrad as u8);
        right.expect(StepError::ReadCount { expected: 2, found: 1 }, |step| {
            step.reads.pop();
        });
        right.expect(StepError::WriteCount { expected: 1, found: 0 }, |step| step.writes.clear());
        right.expect(StepError::AttributeCount { expected: 1, found: 0 }, |step| step.attributes.clear());
    }
}
