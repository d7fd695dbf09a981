//! `lookup_i8`: any element-wise int8 function of one input, as a table of its 256 values. Input and output may be uint8, too.

use super::operands::{has_shape, is, quantization};
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Operand, Shape};
use crate::step::{Step, StepError};

/// Values of a table, one per int8; entry `x + 128` is the value at `x`. For a uint8 input, entry `x` with its greatest bit flipped.
pub const TABLE_ELEMENTS: usize = 256;

/// `output = table[input + 128]`, both of the same length.
pub fn forward(table: &[i8; TABLE_ELEMENTS], input: &[i8], output: &mut [i8]) {
    for (output, &input) in output.iter_mut().zip(input) {
        *output = value(table, input);
    }
}

/// `values = table[values + 128]`.
pub fn forward_in_place(table: &[i8; TABLE_ELEMENTS], values: &mut [i8]) {
    for x in values {
        *x = value(table, *x);
    }
}

#[inline(always)]
fn value(table: &[i8; TABLE_ELEMENTS], x: i8) -> i8 {
    // Flipping the sign bit adds 128. The index is below 256, so that the default is never taken and not compiled.
    table.get(usize::from(x as u8 ^ 0x80)).copied().unwrap_or_default()
}

fn operands(step: Step<'_>) -> Result<[&Operand; 3], StepError> {
    let ([input, table], [output]) = (step.reads()?, step.writes()?);
    Ok([input, table, output])
}

pub(super) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let [input, table, output] = operands(step)?;
    step.attributes::<0>()?;
    for (index, operand) in [(0, input), (2, output)] {
        if !matches!(operand.element_type, ElementType::I8 | ElementType::U8) {
            return Err(StepError::ElementType { operand: index });
        }
    }
    is(table, 1, output.element_type)?;
    quantization(input, 0)?;
    quantization(output, 2)?;
    has_shape(table, 1, Shape::vector(TABLE_ELEMENTS as u32))?;
    has_shape(output, 2, input.shape)
}

pub(super) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let [input, table, output] = operands(step)?;
    let as_table = |table| <&[i8; TABLE_ELEMENTS]>::try_from(table).map_err(|_| StepError::Memory);
    if input.same_place(output) {
        let Views { reads: [table], writes: [output] } = memory.views([table], [output])?;
        forward_in_place(as_table(elements(table)?)?, elements_mut(output)?);
    } else {
        let Views { reads: [input, table], writes: [output] } = memory.views([input, table], [output])?;
        forward(as_table(elements(table)?)?, elements(input)?, elements_mut(output)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::Operator;
    use super::super::int8::reference::{Case, Random, at, expect_operand_errors, shape};
    use super::*;

    fn case(table: &[i8; TABLE_ELEMENTS]) -> Case {
        Case::new(Operator::LookupI8, &[])
            .reads(ElementType::I8, shape([2, 1, 4, 32]), at(1))
            .constant(ElementType::I8, Shape::vector(256), table)
            .writes(ElementType::I8, shape([2, 1, 4, 32]), at(2))
    }

    #[test]
    fn looks_up_in_place_or_not() {
        let mut random = Random(12);
        let table: [i8; 256] = random.bytes(256).try_into().unwrap();
        let input: Vec<i8> = (-128..=127).collect();
        let mut case = case(&table);
        assert_eq!(case.run::<i8, i8>(&[&input]), table);
        case.step.writes[0].offset = case.step.reads[0].offset;
        assert_eq!(case.run::<i8, i8>(&[&input]), table);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = case(&[0; 256]);
        expect_operand_errors(&case, &[0, 2]);
        case.expect(StepError::Shape { operand: 1 }, |step| step.reads[1].shape.0[3] = 255);
        case.expect(StepError::Shape { operand: 2 }, |step| step.writes[0].shape.0[3] = 31);
    }
}
