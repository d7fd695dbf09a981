//! f32 average pooling.

use crate::kernels::each_isa::each_isa;
use crate::kernels::pieces::pieces;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::ops::pooling::PoolParams;
use crate::step::{Step, StepError};

/// `output = mean over the window's taps in the input`, channel by channel, as `TensorFlow` does it (and `PyTorch` with `count_include_pad=False`):
/// padding counts neither in the sum nor in the divisor. A window with no tap in the input, which only a dilated one can be, gives 0.
///
/// `input` is `[N, H, W, C]`, `output` `[N, H_out, W_out, C]`. Taps are summed in row-major order, then divided by their number.
pub fn forward(params: &PoolParams, input: &[f32], output: &mut [f32]) {
    forward_kernel(params, input, output);
}

each_isa! {
    fn forward_kernel<WIDE>(params: &'a PoolParams, input: &'a [f32], output: &'a mut [f32]) {
        let (in_length, out_length, c) = params.lengths();
        for (input, output) in pieces((input, output), [in_length, out_length]) {
            for (window, output) in params.windows().zip(output.chunks_exact_mut(c)) {
                output.fill(0.0);
                window.for_each(|pixel| {
                    let taps = input.get(pixel * c..).unwrap_or_default();
                    output.iter_mut().zip(taps).for_each(|(sum, &tap)| *sum += tap);
                });
                let count = window.count().max(1) as f32;
                output.iter_mut().for_each(|sum| *sum /= count);
            }
        }
    }
}

/// Gradient of [`forward`] with respect to its input: each tap of a window gets the output's gradient divided by their number.
///
/// `grad_output` is `[N, H_out, W_out, C]`, `grad_input` `[N, H, W, C]` (overwritten). Windows are added in their order.
pub fn backward(params: &PoolParams, grad_output: &[f32], grad_input: &mut [f32]) {
    backward_kernel(params, grad_output, grad_input);
}

each_isa! {
    fn backward_kernel<WIDE>(params: &'a PoolParams, grad_output: &'a [f32], grad_input: &'a mut [f32]) {
        let (in_length, out_length, c) = params.lengths();
        let samples = grad_output.chunks_exact(out_length).zip(grad_input.chunks_exact_mut(in_length));
        for (grad_output, grad_input) in samples {
            grad_input.fill(0.0);
            for (window, grad_output) in params.windows().zip(grad_output.chunks_exact(c)) {
                let count = window.count().max(1) as f32;
                window.for_each(|pixel| {
                    let taps = grad_input.get_mut(pixel * c..).unwrap_or_default();
                    taps.iter_mut().zip(grad_output).for_each(|(tap, &grad)| *tap += grad / count);
                });
            }
        }
    }
}

pub(in crate::ops) fn check(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, input, output, 1).map(|_| ())
}

pub(in crate::ops) fn run(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([input], [output]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, input, output, 1)?;
    let Views { reads: [input], writes: [output] } = memory.views([input], [output])?;
    forward(&params, elements(input)?, elements_mut(output)?);
    Ok(())
}

pub(in crate::ops) fn check_grad(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    PoolParams::read(step, grad_input, grad_output, 0).map(|_| ())
}

pub(in crate::ops) fn run_grad(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output], [grad_input]) = (step.reads()?, step.writes()?);
    let params = PoolParams::read(step, grad_input, grad_output, 0)?;
    let Views { reads: [grad_output], writes: [grad_input] } = memory.views([grad_output], [grad_input])?;
    backward(&params, elements(grad_output)?, elements_mut(grad_input)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::geometry::{Axis, Window};
    use crate::operand::Shape;
    use crate::ops::test_support::{
        Random, assert_close, changed, dot, in_arena, numeric_gradient, step, wide,
    };

    /// Roundings of 6e-8 in sums of at most 16 values below 1.
    const TOLERANCE: f64 = 1e-6;

    fn params(window: Window, [n, h, w, c]: [usize; 4]) -> PoolParams {
        let (out_h, out_w) = (window.y.output(h).unwrap(), window.x.output(w).unwrap());
        let shape = |dims: [usize; 4]| Shape(dims.map(|dimension| dimension as u32));
        PoolParams { window, input: shape([n, h, w, c]), output: shape([n, out_h, out_w, c]) }
    }

    /// `output` of the values of each window that lie in the input, in row-major order.
    fn reference(params: &PoolParams, input: &[f64], output: fn(&[f64]) -> f64) -> Vec<f64> {
        let ([n, h, w, c], [_, out_h, out_w, _]) = (params.input.dims(), params.output.dims());
        let Window { y, x } = params.window;
        let mut outputs = vec![];
        for (sample, out_y, out_x, channel) in (0..n).flat_map(|n| {
            (0..out_h).flat_map(move |y| (0..out_w).flat_map(move |x| (0..c).map(move |c| (n, y, x, c))))
        }) {
            let mut taps = vec![];
            for (k_y, k_x) in (0..y.kernel).flat_map(|k_y| (0..x.kernel).map(move |k_x| (k_y, k_x))) {
                if let (Some(in_y), Some(in_x)) = (y.input(out_y, k_y, h), x.input(out_x, k_x, w)) {
                    taps.push(input[((sample * h + in_y) * w + in_x) * c + channel]);
                }
            }
            outputs.push(if taps.is_empty() { 0.0 } else { output(&taps) });
        }
        outputs
    }

    fn mean(taps: &[f64]) -> f64 {
        taps.iter().sum::<f64>() / taps.len() as f64
    }

    #[test]
    fn output_and_gradient_are_the_reference_s() {
        let mut random = Random(1);
        for case in 0..40 {
            let shape =
                [random.integer(1, 2), random.integer(1, 7), random.integer(1, 7), random.integer(1, 5)];
            let params = params(random.window([shape[1], shape[2]]), shape);
            let input = random.values(shape.iter().product());
            let mut output = vec![f32::NAN; params.output.elements().unwrap()];
            forward(&params, &input, &mut output);
            let expected = reference(&params, &wide(&input), mean);
            assert_close(&std::format!("output {case}, {params:?}"), &output, &expected, TOLERANCE);
            let grads = random.values(output.len());
            let mut grad_input = vec![f32::NAN; input.len()];
            backward(&params, &grads, &mut grad_input);
            let expected = numeric_gradient(&input, |input| dot(&grads, &reference(&params, input, mean)));
            assert_close(&std::format!("grad_input {case}, {params:?}"), &grad_input, &expected, TOLERANCE);
        }
    }

    #[test]
    fn global_pooling_is_the_mean_of_the_image() {
        let axis = |kernel| Axis { kernel, stride: 1, dilation: 1, pad_before: 0, pad_after: 0 };
        let params = params(Window { y: axis(5), x: axis(3) }, [2, 5, 3, 40]);
        let input = Random(2).values(2 * 15 * 40);
        let mut output = vec![f32::NAN; 80];
        forward(&params, &input, &mut output);
        let expected: Vec<f64> = (0..80)
            .map(|index| {
                let (sample, channel) = (index / 40, index % 40);
                let image = input[sample * 600..][..600].iter().skip(channel).step_by(40);
                image.map(|&x| f64::from(x)).sum::<f64>() / 15.0
            })
            .collect();
        assert_close("output", &output, &expected, TOLERANCE);
    }

    #[test]
    fn a_window_over_padding_alone_gives_zero() {
        // A dilated window that steps over the only pixel.
        let axis = Axis { kernel: 2, stride: 1, dilation: 2, pad_before: 1, pad_after: 1 };
        let params = params(Window { y: axis, x: axis }, [1, 1, 1, 1]);
        let (mut output, mut grad_input) = ([f32::NAN], [f32::NAN]);
        forward(&params, &[5.0], &mut output);
        backward(&params, &[1.0], &mut grad_input);
        assert_eq!((output, grad_input), ([0.0], [0.0]));
    }

    #[test]
    fn steps_are_checked() {
        let axis = Axis::same(3, 2, 1, 7).unwrap();
        let attributes = Window { y: axis, x: axis }.attributes();
        let (input, output, grads) =
            (in_arena(0, [2, 7, 7, 3]), in_arena(300, [2, 4, 4, 3]), in_arena(400, [2, 7, 7, 3]));
        let forward = step(5, &attributes, &[input], &[output]);
        let backward = step(48, &attributes, &[output], &[grads]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        assert_eq!(changed(&backward, |_| ()), Ok(()));
        let shape = |operand| Err(StepError::Shape { operand });
        for dimension in 0..4 {
            assert_eq!(changed(&forward, |step| step.writes[0].shape.0[dimension] += 1), shape(1));
            assert_eq!(changed(&backward, |step| step.reads[0].shape.0[dimension] += 1), shape(0));
        }
        assert_eq!(changed(&forward, |step| step.attributes[2] = 0), Err(StepError::ZeroWindow { index: 2 }));
    }
}
