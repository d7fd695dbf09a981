//! int8 bilinear resizing, bit for bit TensorFlow Lite Micro's.

use super::{Between, Grid, Params};
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::ElementType;
use crate::ops::operands::{all_are, quantization};
use crate::step::{Step, StepError};

/// One pixel in units of a position.
const ONE: i32 = 1 << 10;

/// Where along an axis of `input` pixels the pixel `index` of `output` lies, in units of 1/1024 pixel.
///
/// The distance between two outputs is rounded to such a unit, so that a long axis can reach beyond the last pixel; there TensorFlow Lite Micro reads
/// what follows the row, and here the last pixel counts.
fn between(grid: Grid, index: usize, input: usize, output: usize) -> Between<i32> {
    // Dimensions are at most 2^19, so that nothing here exceeds 32 bits.
    let (index, input, output) = (index as i32, input as i32, output as i32);
    let divide = |pixels: i32, by: i32| {
        pixels.wrapping_mul(ONE).wrapping_add(by / 2).checked_div(by).unwrap_or_default()
    };
    let step = match grid {
        Grid::AlignCorners if output > 1 => divide(input.wrapping_sub(1), output.wrapping_sub(1)),
        _ => divide(input, output),
    };
    let position = match grid {
        Grid::HalfPixelCenters => index.wrapping_mul(step).wrapping_add(step / 2).wrapping_sub(ONE / 2),
        _ => index.wrapping_mul(step),
    };
    let last = input.wrapping_sub(1).max(0);
    // These divisions are towards zero.
    let lower = (position / ONE).max(0).min(last);
    let upper = (position.wrapping_add(ONE - 1) / ONE).max(0).min(last);
    let share = position.wrapping_sub(lower.wrapping_mul(ONE));
    Between { lower: lower as usize, upper: upper as usize, weights: [ONE.wrapping_sub(share), share] }
}

/// Resizes every sample: `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`, both of one quantization.
///
/// An output is the sum of its four neighbours with their weights, in units of `2^-20`, rounded to nearest with ties away from zero
/// (TensorFlow Lite, `ResizeBilinearInteger` with double rounding). The weights of a pixel add up to `2^20` and none is far beyond, so that sums
/// fit 32 bits.
pub fn forward(params: &Params, input: &[i8], output: &mut [i8]) {
    let ([in_h, in_w, c], [out_h, out_w]) = (params.input, params.output);
    let (in_length, out_length) = params.lengths();
    for (input, output) in pieces((input, output), [in_length, out_length]) {
        let mut pixels = output.chunks_exact_mut(c.max(1));
        for out_y in 0..out_h {
            let y = between(params.grid, out_y, in_h, out_h);
            for (out_x, pixel) in (0..out_w).zip(&mut pixels) {
                let x = between(params.grid, out_x, in_w, out_w);
                let neighbour = |y: usize, x: usize| {
                    let place = y.wrapping_mul(in_w).wrapping_add(x).wrapping_mul(c);
                    input.get(place..place.wrapping_add(c)).unwrap_or_default()
                };
                let ([top, bottom], [left, right]) = (y.weights, x.weights);
                let (a, b) = (neighbour(y.lower, x.lower), neighbour(y.upper, x.lower));
                let (c, d) = (neighbour(y.lower, x.upper), neighbour(y.upper, x.upper));
                let weights = [(top, left), (bottom, left), (top, right), (bottom, right)];
                let [wa, wb, wc, wd] = weights.map(|(y, x)| y.wrapping_mul(x));
                for ((((output, &p), &q), &r), &s) in pixel.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    let term = |value: i8, weight: i32| i32::from(value).wrapping_mul(weight);
                    let sum = term(p, wa).wrapping_add(term(q, wb));
                    *output = rounded(sum.wrapping_add(term(r, wc)).wrapping_add(term(s, wd)));
                }
            }
        }
    }
}

/// `sum / 2^20`, rounded to nearest with ties away from zero.
#[inline(always)]
fn rounded(sum: i32) -> i8 {
    let half = if sum > 0 { 1 << 19 } else { -(1 << 19) };
    (sum.wrapping_add(half) / (1 << 20)) as i8
}

fn read(step: Step<'_>) -> Result<Params, StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::I8)?;
    let (from, to) = (quantization(input, 0)?, quantization(output, 1)?);
    if from != to {
        return Err(StepError::Quantization { operand: 1 });
    }
    Params::read(step, (input, 0), (output, 1))
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    read(step).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output], params) = (step.reads()?, step.writes()?, read(step)?);
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::ops::Operator;
    use crate::ops::int8::reference::{Case, Random, at, divide, expect_operand_errors, shape};

    fn case(params: &Params, n: usize) -> Case {
        let ([in_h, in_w, c], [out_h, out_w]) = (params.input, params.output);
        Case::new(Operator::ResizeBilinearI8, &params.grid.attributes())
            .reads(ElementType::I8, shape([n, in_h, in_w, c]), at(5))
            .writes(ElementType::I8, shape([n, out_h, out_w, c]), at(5))
    }

    /// From the formulas of the reference, in 128 bits.
    fn expected(params: &Params, input: &[i8]) -> Vec<i8> {
        let ([in_h, in_w, c], [out_h, out_w]) = (params.input, params.output);
        let (align, half) = (params.grid == Grid::AlignCorners, params.grid == Grid::HalfPixelCenters);
        let axis = |index: usize, input: usize, output: usize| {
            let (index, input, output) = (index as i128, input as i128, output as i128);
            let (pixels, parts) = if align && output > 1 { (input - 1, output - 1) } else { (input, output) };
            let scale = (1024 * pixels + parts / 2) / parts;
            let position = if half { index * scale + scale / 2 - 512 } else { index * scale };
            ((position / 1024).max(0), ((position + 1023) / 1024).min(input - 1), position)
        };
        let mut output = Vec::new();
        for sample in input.chunks_exact(in_h * in_w * c) {
            for (out_y, out_x) in (0..out_h).flat_map(|y| (0..out_w).map(move |x| (y, x))) {
                let ((y0, y1, y), (x0, x1, x)) = (axis(out_y, in_h, out_h), axis(out_x, in_w, out_w));
                for channel in 0..c {
                    let tap = |row: i128, column: i128| {
                        i128::from(sample[(row as usize * in_w + column as usize) * c + channel])
                    };
                    let (down, right) = (y - 1024 * y0, x - 1024 * x0);
                    let sum = tap(y0, x0) * (1024 - down) * (1024 - right)
                        + tap(y1, x0) * down * (1024 - right)
                        + tap(y0, x1) * (1024 - down) * right
                        + tap(y1, x1) * down * right;
                    output.push(divide(sum, 1 << 20) as i8);
                }
            }
        }
        output
    }

    #[test]
    fn outputs_are_those_of_the_reference() {
        let mut random = Random(81);
        for grid in (0..120).flat_map(|_| [Grid::Plain, Grid::AlignCorners, Grid::HalfPixelCenters]) {
            let input = [random.size(1, 7), random.size(1, 7), random.size(1, 5)];
            let params = Params { input, output: [random.size(1, 15), random.size(1, 15)], grid };
            let n = random.size(1, 2);
            let values = random.bytes(n * params.lengths().0);
            assert_eq!(case(&params, n).run::<i8, i8>(&[&values]), expected(&params, &values), "{params:?}");
        }
    }

    #[test]
    fn a_long_axis_stays_in_the_row() {
        for grid in [Grid::Plain, Grid::AlignCorners, Grid::HalfPixelCenters] {
            for (input, output) in [(1000, 1900), (3, 4000), (1 << 19, 1 << 19), (1, 1 << 19), (1 << 19, 1)] {
                for index in [0, 1, output / 2, output - 1] {
                    let Between { lower, upper, .. } = between(grid, index, input, output);
                    assert!(lower < input && upper < input, "{grid:?} {input} {output} {index}");
                }
            }
        }
    }

    #[test]
    fn ties_go_away_from_zero() {
        assert_eq!([3 << 19, -3 << 19, 1 << 19, -1 << 19, 0].map(rounded), [2, -2, 1, -1, 0]);
    }

    #[test]
    fn check_says_what_is_wrong() {
        let case = case(&Params { input: [3, 4, 5], output: [6, 8], grid: Grid::Plain }, 1);
        expect_operand_errors(&case, &[0, 1]);
        case.expect(StepError::Quantization { operand: 1 }, |step| {
            step.writes[0].quantization = at(4).unwrap();
        });
        case.expect(StepError::Attribute { index: 1, found: 1 }, |step| {
            step.attributes.copy_from_slice(&[1, 1]);
        });
        case.expect(StepError::Shape { operand: 1 }, |step| step.writes[0].shape.0[3] = 4);
        case.expect(StepError::Shape { operand: 0 }, |step| step.reads[0].shape.0[3] = 0);
    }
}
