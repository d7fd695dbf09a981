//! Shape rules of the operators that remember.

use smidgen::Shape;
use smidgen::ops::{gru, lstm};

use super::error::Problem;
use super::op::is;
use super::structure::Tensor;

/// The output of an LSTM over `input`, `[1, H, W, C_in]`; weights, recurrent weights and bias have the gates innermost.
pub(super) fn lstm(input: &Tensor, [weights, recurrent, bias]: [&Tensor; 3]) -> Result<Shape, Problem> {
    let Shape([n, h, w, in_c]) = input.shape;
    let Shape([.., columns]) = weights.shape;
    let units = units(columns, lstm::GATES)?;
    is("the weights", weights.shape, Shape([1, 1, in_c, columns]))?;
    is("the recurrent weights", recurrent.shape, Shape([1, 1, units, columns]))?;
    is("the bias", bias.shape, Shape::vector(columns))?;
    Ok(Shape([n, h, w, units]))
}

/// As [`lstm`], in int8: the gates are outermost, and factors are a constant.
pub(super) fn lstm_i8(
    input: &Tensor,
    [weights, recurrent, biases, factors]: [&Tensor; 4],
) -> Result<Shape, Problem> {
    let Shape([n, h, w, in_c]) = input.shape;
    let Shape([rows, ..]) = weights.shape;
    let units = units(rows, lstm::GATES)?;
    is("the weights", weights.shape, Shape([rows, 1, 1, in_c]))?;
    is("the recurrent weights", recurrent.shape, Shape([rows, 1, 1, units]))?;
    is("the biases", biases.shape, Shape([1, 1, rows, 2]))?;
    is("the factors", factors.shape, Shape([1, 1, lstm::GATES as u32, 4]))?;
    Ok(Shape([n, h, w, units]))
}

/// The output of a GRU, `gates` being what its inputs give to the gates, `[1, H, W, 3 * units]`.
pub(super) fn gru(gates: &Tensor, [recurrent, bias]: [&Tensor; 2]) -> Result<Shape, Problem> {
    let Shape([n, h, w, columns]) = gates.shape;
    let units = units(columns, gru::GATES)?;
    is("the recurrent weights", recurrent.shape, Shape([1, 1, units, columns]))?;
    is("the bias", bias.shape, Shape::vector(columns))?;
    Ok(Shape([n, h, w, units]))
}

/// As [`gru`], in int8: the gates are outermost, and factors are a constant.
pub(super) fn gru_i8(gates: &Tensor, [recurrent, biases, factors]: [&Tensor; 3]) -> Result<Shape, Problem> {
    let Shape([n, h, w, rows]) = gates.shape;
    let units = units(rows, gru::GATES)?;
    is("the recurrent weights", recurrent.shape, Shape([rows, 1, 1, units]))?;
    is("the biases", biases.shape, Shape::vector(rows))?;
    is("the factors", factors.shape, Shape([1, 1, gru::GATES as u32, 2]))?;
    Ok(Shape([n, h, w, units]))
}

fn units(rows: u32, gates: usize) -> Result<u32, Problem> {
    if rows > 0 && rows.is_multiple_of(gates as u32) {
        return Ok(rows / gates as u32);
    }
    let (found, expected) = (rows as usize, "a multiple of the gates: four of an LSTM, three of a GRU");
    Err(Problem::Number { what: "the number of rows of the weights", found, expected })
}

/// The output of an SVDF over `input`, `[1, H, W, C_in]`. `feature` is the shape that its feature weights have for so many inputs and filters.
pub(super) fn svdf(
    input: &Tensor,
    [feature, time, bias]: [&Tensor; 3],
    feature_shape: impl Fn(u32, u32) -> Shape,
) -> Result<Shape, Problem> {
    let Shape([n, h, w, in_c]) = input.shape;
    let (Shape([_, _, filters, memory]), Shape([.., units])) = (time.shape, bias.shape);
    is("the time weights", time.shape, Shape([1, 1, filters, memory]))?;
    is("the feature weights", feature.shape, feature_shape(in_c, filters))?;
    is("the bias", bias.shape, Shape::vector(units))?;
    if units == 0 || !filters.is_multiple_of(units) {
        let (found, expected) = (filters as usize, "a multiple of the units");
        return Err(Problem::Number { what: "the number of filters", found, expected });
    }
    Ok(Shape([n, h, w, units]))
}
