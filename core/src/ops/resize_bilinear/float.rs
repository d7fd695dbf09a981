//! f32 bilinear resizing.

use super::{Between, Grid, Params};
use crate::kernels::each_isa::each_isa;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::ElementType;
use crate::ops::operands::all_are;
use crate::step::{Step, StepError};

/// Where along an axis of `input` pixels the pixel `index` of `output` lies, in TensorFlow Lite's f32 arithmetic. Beyond the first and the last
/// centre, where both neighbours are one pixel, the weights still add up to 1.
fn between(grid: Grid, index: usize, input: usize, output: usize) -> Between<f32> {
    let scale = if grid == Grid::AlignCorners && output > 1 {
        input.saturating_sub(1) as f32 / (output - 1) as f32
    } else {
        input as f32 / output.max(1) as f32
    };
    let position = match grid {
        Grid::HalfPixelCenters => (index as f32 + 0.5) * scale - 0.5,
        _ => index as f32 * scale,
    };
    let last = input.saturating_sub(1);
    // The conversions saturate at 0.
    let lower = (libm::floorf(position) as usize).min(last);
    let upper = (libm::ceilf(position) as usize).min(last);
    let share = position - lower as f32;
    Between { lower, upper, weights: [1.0 - share, share] }
}

/// The four neighbours of a pixel and their two weights each, in the order in which they are summed: upper left, lower left, upper right,
/// lower right.
#[inline(always)]
fn corners(y: Between<f32>, x: Between<f32>, width: usize, c: usize) -> [(usize, [f32; 2]); 4] {
    let at = |y: usize, x: usize| y.wrapping_mul(width).wrapping_add(x).wrapping_mul(c);
    let ([top, bottom], [left, right]) = (y.weights, x.weights);
    [
        (at(y.lower, x.lower), [top, left]),
        (at(y.upper, x.lower), [bottom, left]),
        (at(y.lower, x.upper), [top, right]),
        (at(y.upper, x.upper), [bottom, right]),
    ]
}

/// Resizes every sample: `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`.
///
/// An output is `((a * ya) * xa + (b * yb) * xb) + ...` over its four neighbours (upper left, lower left, upper right, lower right), as TensorFlow Lite's
/// reference sums it, in f32 and without fused operations.
pub fn forward(params: &Params, input: &[f32], output: &mut [f32]) {
    forward_kernel(params, input, output);
}

each_isa! {
    fn forward_kernel<WIDE>(params: &'a Params, input: &'a [f32], output: &'a mut [f32]) {
        let ([in_h, in_w, c], [out_h, out_w]) = (params.input, params.output);
        let (in_length, out_length) = params.lengths();
        for (input, output) in input.chunks_exact(in_length).zip(output.chunks_exact_mut(out_length)) {
            let mut pixels = output.chunks_exact_mut(c.max(1));
            for out_y in 0..out_h {
                let y = between(params.grid, out_y, in_h, out_h);
                for (out_x, pixel) in (0..out_w).zip(&mut pixels) {
                    let x = between(params.grid, out_x, in_w, out_w);
                    let [a, b, c, d] = corners(y, x, in_w, c).map(|(place, weights)| {
                        (input.get(place..place.wrapping_add(c)).unwrap_or_default(), weights)
                    });
                    let term = |value: f32, [y, x]: [f32; 2]| value * y * x;
                    for ((((output, &p), &q), &r), &s) in pixel.iter_mut().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
                        *output = term(p, a.1) + term(q, b.1) + term(r, c.1) + term(s, d.1);
                    }
                }
            }
        }
    }
}

/// Gradient of [`forward`]: every output's gradient goes to its four neighbours with their weights, pixel by pixel in row-major order of the
/// output. `grad_input` is overwritten.
pub fn backward(params: &Params, grad_output: &[f32], grad_input: &mut [f32]) {
    backward_kernel(params, grad_output, grad_input);
}

each_isa! {
    fn backward_kernel<WIDE>(params: &'a Params, grad_output: &'a [f32], grad_input: &'a mut [f32]) {
        let ([in_h, in_w, c], [out_h, out_w]) = (params.input, params.output);
        let (in_length, out_length) = params.lengths();
        grad_input.fill(0.0);
        let samples = grad_output.chunks_exact(out_length).zip(grad_input.chunks_exact_mut(in_length));
        for (grad_output, grad_input) in samples {
            let mut pixels = grad_output.chunks_exact(c.max(1));
            for out_y in 0..out_h {
                let y = between(params.grid, out_y, in_h, out_h);
                for (out_x, pixel) in (0..out_w).zip(&mut pixels) {
                    let x = between(params.grid, out_x, in_w, out_w);
                    for (place, [y, x]) in corners(y, x, in_w, c) {
                        let neighbour = grad_input.get_mut(place..place.wrapping_add(c)).unwrap_or_default();
                        neighbour.iter_mut().zip(pixel).for_each(|(element, &grad)| *element += grad * y * x);
                    }
                }
            }
        }
    }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    Params::read(step, (input, 0), (output, 1)).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let params = Params::read(step, (input, 0), (output, 1))?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(in crate::ops) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    all_are(step, ElementType::F32)?;
    Params::read(step, (grad_input, 1), (grad_output, 0)).map(|_| ())
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let params = Params::read(step, (grad_input, 1), (grad_output, 0))?;
    let Views { reads: [grad_output], writes: [grad_input] } = memory.views([grad_output], [grad_input])?;
    backward(&params, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::super::MAX_DIMENSION;
    use super::*;
    use crate::ops::Operator;
    use crate::ops::test_support::{
        Random, assert_close, changed, dot, in_arena, numeric_gradient, run_in_arena, step, wide,
    };

    /// Positions are rounded to f32, and values are sums of four products below 2.
    const TOLERANCE: f64 = 1e-5;

    const GRIDS: [Grid; 3] = [Grid::Plain, Grid::AlignCorners, Grid::HalfPixelCenters];

    /// In f64, from the definition: the input is continued beyond its edges by its last pixels.
    fn reference(params: &Params, input: &[f64]) -> Vec<f64> {
        let ([in_h, in_w, c], [out_h, out_w]) = (params.input, params.output);
        let position = |index: usize, input: usize, output: usize| {
            let (index, input, output) = (index as f64, input as f64, output as f64);
            match params.grid {
                Grid::AlignCorners if output > 1.0 => index * (input - 1.0) / (output - 1.0),
                Grid::HalfPixelCenters => (index + 0.5) * input / output - 0.5,
                _ => index * input / output,
            }
        };
        let mut output = Vec::new();
        for sample in input.chunks_exact(in_h * in_w * c) {
            let at = |y: f64, x: f64, channel: usize| {
                let inside = |i: f64, length: usize| i.clamp(0.0, length as f64 - 1.0) as usize;
                sample[(inside(y, in_h) * in_w + inside(x, in_w)) * c + channel]
            };
            for (out_y, out_x) in (0..out_h).flat_map(|y| (0..out_w).map(move |x| (y, x))) {
                let (y, x) = (position(out_y, in_h, out_h), position(out_x, in_w, out_w));
                let (share_y, share_x) = (y - y.floor(), x - x.floor());
                for channel in 0..c {
                    let row = |y: f64| {
                        at(y, x.floor(), channel) * (1.0 - share_x)
                            + at(y, x.floor() + 1.0, channel) * share_x
                    };
                    output.push(row(y.floor()) * (1.0 - share_y) + row(y.floor() + 1.0) * share_y);
                }
            }
        }
        output
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_definition() {
        let mut random = Random(71);
        for grid in (0..12).flat_map(|_| GRIDS) {
            let (n, c) = (random.integer(1, 2), random.integer(1, 20));
            let input = [random.integer(1, 6), random.integer(1, 6), c];
            let output = [random.integer(1, 9), random.integer(1, 9)];
            let params = Params { input, output, grid };
            let (from, to) = ([n, input[0], input[1], c], [n, output[0], output[1], c]);
            let x = random.values(from.iter().product());
            let g = random.values(to.iter().product());

            let mut arena = [x.clone(), vec![f32::NAN; g.len()]].concat();
            let (at_x, at_y) = (in_arena(0, from), in_arena(x.len(), to));
            run_in_arena(
                &step(Operator::ResizeBilinear as u8, &grid.attributes(), &[at_x], &[at_y]),
                &mut arena,
            );
            assert_close("output", &arena[x.len()..], &reference(&params, &wide(&x)), TOLERANCE);

            let expected = numeric_gradient(&x, |x| dot(&g, &reference(&params, x)));
            let mut arena = [vec![f32::NAN; x.len()], g].concat();
            let grad = step(Operator::ResizeBilinearGrad as u8, &grid.attributes(), &[at_y], &[at_x]);
            run_in_arena(&grad, &mut arena);
            assert_close("grad_input", &arena[..x.len()], &expected, TOLERANCE);
        }
    }

    #[test]
    fn check_says_what_is_wrong() {
        let (input, output) = (in_arena(0, [2, 3, 4, 5]), in_arena(120, [2, 6, 8, 5]));
        let resize = step(Operator::ResizeBilinear as u8, &[0, 1], &[input], &[output]);
        assert_eq!(changed(&resize, |_| ()), Ok(()));
        let wrong = |index, found| Err(StepError::Attribute { index, found });
        assert_eq!(changed(&resize, |step| step.attributes[0] = 2), wrong(0, 2));
        assert_eq!(changed(&resize, |step| step.attributes[0] = 1), wrong(1, 1));
        let shape = |operand| Err(StepError::Shape { operand });
        assert_eq!(changed(&resize, |step| step.writes[0].shape.0[0] = 1), shape(1));
        assert_eq!(changed(&resize, |step| step.writes[0].shape.0[3] = 1), shape(1));
        assert_eq!(changed(&resize, |step| step.reads[0].shape.0[1] = 0), shape(0));
        let long = MAX_DIMENSION as u32 + 1;
        assert_eq!(changed(&resize, |step| step.writes[0].shape.0[2] = long), shape(1));
        let grad = step(Operator::ResizeBilinearGrad as u8, &[0, 1], &[output], &[input]);
        assert_eq!(changed(&grad, |_| ()), Ok(()));
        assert_eq!(changed(&grad, |step| step.reads[0].shape.0[3] = 1), shape(0));
        let integers = changed(&grad, |step| step.writes[0].element_type = ElementType::I32);
        assert_eq!(integers, Err(StepError::ElementType { operand: 1 }));
    }
}
