//! What the pools share: their parameters, and the walk over windows.

use super::operands::all_are;
use crate::geometry::{WINDOW_ATTRIBUTES, Window};
use crate::kernels::pieces::pieces;
use crate::operand::{ElementType, Operand, Shape};
use crate::step::{Step, StepError};

/// What a pool is told besides its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolParams {
    /// The window.
    pub window: Window,
    /// Shape of the input, `[N, H, W, C]`.
    pub input: Shape,
    /// Shape of the output, `[N, H_out, W_out, C]`.
    pub output: Shape,
}

/// One output pixel of a pool: its index, and the pixels of the input that its window covers.
#[derive(Clone, Copy)]
pub(super) struct Covered {
    first: usize,
    rows: usize,
    row_step: usize,
    columns: usize,
    column_step: usize,
}

/// Computes an output pixel of an int8 pool from a sample of the input and what the pixel's window covers.
type Visit<'a> = dyn FnMut(&[i8], Covered, &mut [i8]) + 'a;

impl Covered {
    /// How many input pixels the window covers; padding is none. Zero only for a dilated window that steps over the input.
    #[inline(always)]
    pub(super) fn count(self) -> usize {
        self.rows * self.columns
    }

    /// Calls `visit` with each run of input pixels: the first one's index, how many there are, and from one to the next.
    #[inline(always)]
    pub(super) fn for_each_run(self, mut visit: impl FnMut(usize, usize, usize)) {
        let Self { first, rows, row_step, columns, column_step } = self;
        if column_step == 1 && row_step == columns {
            return visit(first, rows * columns, 1);
        }
        (0..rows).for_each(|row| visit(first + row * row_step, columns, column_step));
    }

    /// Calls `visit` with the index of each input pixel, in row-major order of the window.
    #[inline(always)]
    pub(super) fn for_each(self, mut visit: impl FnMut(usize)) {
        for row in 0..self.rows {
            let start = self.first + row * self.row_step;
            for column in 0..self.columns {
                visit(start + column * self.column_step);
            }
        }
    }
}

impl PoolParams {
    /// Elements of one sample of the input and of the output, and channels; none of them zero.
    #[inline(always)]
    pub(super) fn lengths(&self) -> (usize, usize, usize) {
        let ([_, in_h, in_w, c], [_, out_h, out_w, _]) = (self.input.dims(), self.output.dims());
        ((in_h * in_w * c).max(1), (out_h * out_w * c).max(1), c.max(1))
    }

    /// What the windows of the output pixels cover, in the pixels' order; the same in every sample.
    #[inline(always)]
    pub(super) fn windows(&self) -> impl Iterator<Item = Covered> {
        let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (self.input.dims(), self.output.dims());
        let Window { y: axis_y, x: axis_x } = self.window;
        (0..out_h).flat_map(move |out_y| {
            let y = axis_y.taps(out_y, in_h);
            (0..out_w).map(move |out_x| {
                let x = axis_x.taps(out_x, in_w);
                Covered {
                    first: y.position * in_w + x.position,
                    rows: y.count(),
                    row_step: axis_y.dilation * in_w,
                    columns: x.count(),
                    column_step: axis_x.dilation,
                }
            })
        })
    }

    /// Calls `visit` with each output pixel of an int8 pool, what its window covers, and the sample of the input.
    ///
    /// Not generic over what is done with a pixel, and with loops instead of iterators: it is small, and an image has it once.
    #[inline(never)]
    pub(super) fn for_each_pixel(&self, input: &[i8], output: &mut [i8], visit: &mut Visit<'_>) {
        let ([_, in_h, in_w, _], [_, out_h, out_w, _]) = (self.input.dims(), self.output.dims());
        let (Window { y: axis_y, x: axis_x }, (in_length, out_length, c)) = (&self.window, self.lengths());
        for (input, mut output) in pieces((input, output), [in_length, out_length]) {
            for out_y in 0..out_h {
                let y = axis_y.taps(out_y, in_h);
                for out_x in 0..out_w {
                    let x = axis_x.taps(out_x, in_w);
                    let window = Covered {
                        first: y.position * in_w + x.position,
                        rows: y.count(),
                        row_step: axis_y.dilation * in_w,
                        columns: x.count(),
                        column_step: axis_x.dilation,
                    };
                    let Some((pixel, rest)) = output.split_at_mut_checked(c) else { return };
                    visit(input, window, pixel);
                    output = rest;
                }
            }
        }
    }

    /// The parameters of a step whose window slides over `input` and gives `output`; `operand` is the index that an error names.
    pub(super) fn read(
        step: Step<'_>,
        input: &Operand,
        output: &Operand,
        operand: u8,
    ) -> Result<Self, StepError> {
        step.attributes::<WINDOW_ATTRIBUTES>()?;
        Window::read(step.attributes)?;
        all_are(step, ElementType::F32)?;
        Self::of_window(step, input, output, operand)
    }

    /// [`read`](Self::read) for operands of any type.
    pub(super) fn of_window(
        step: Step<'_>,
        input: &Operand,
        output: &Operand,
        operand: u8,
    ) -> Result<Self, StepError> {
        step.attributes::<WINDOW_ATTRIBUTES>()?;
        let (window, _) = Window::read(step.attributes)?;
        let (Shape([in_n, _, _, in_c]), Shape([out_n, _, _, out_c])) = (input.shape, output.shape);
        if in_n != out_n || in_c != out_c || !window.fits(input.shape, output.shape) {
            return Err(StepError::Shape { operand });
        }
        Ok(Self { window, input: input.shape, output: output.shape })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::geometry::Axis;
    use crate::ops::test_support::{
        Random, assert_close, changed, dot, in_arena, numeric_gradient, step, wide,
    };

    /// Roundings of 6e-8 in sums of at most 16 values below 1.
    pub(in crate::ops) const TOLERANCE: f64 = 1e-6;

    /// A pool's two passes, `forward(params, input, output)` and `backward(params, input, grad_output, grad_input)`.
    pub(in crate::ops) struct Passes {
        pub forward: fn(&PoolParams, &[f32], &mut [f32]),
        pub backward: fn(&PoolParams, &[f32], &[f32], &mut [f32]),
    }

    pub(in crate::ops) fn params(window: Window, [n, h, w, c]: [usize; 4]) -> PoolParams {
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

    /// Both passes are `output` of a window's values and its gradient by differences, the output within `tolerance`.
    pub(in crate::ops) fn assert_is_reference(passes: &Passes, output: fn(&[f64]) -> f64, tolerance: f64) {
        let mut random = Random(1);
        for case in 0..40 {
            let shape =
                [random.integer(1, 2), random.integer(1, 7), random.integer(1, 7), random.integer(1, 5)];
            let params = params(random.window([shape[1], shape[2]]), shape);
            let input = random.values(shape.iter().product());
            let mut found = vec![f32::NAN; params.output.elements().unwrap()];
            (passes.forward)(&params, &input, &mut found);
            let expected = reference(&params, &wide(&input), output);
            assert_close(&std::format!("output {case}, {params:?}"), &found, &expected, tolerance);
            let grads = random.values(found.len());
            let mut grad_input = vec![f32::NAN; input.len()];
            (passes.backward)(&params, &input, &grads, &mut grad_input);
            let expected = numeric_gradient(&input, |input| dot(&grads, &reference(&params, input, output)));
            assert_close(&std::format!("grad_input {case}, {params:?}"), &grad_input, &expected, TOLERANCE);
        }
    }

    /// A dilated window that steps over the only pixel covers padding alone: output and gradient are 0.
    pub(in crate::ops) fn assert_padding_alone_gives_zero(passes: &Passes) {
        let axis = Axis { kernel: 2, stride: 1, dilation: 2, pad_before: 1, pad_after: 1 };
        let params = params(Window { y: axis, x: axis }, [1, 1, 1, 1]);
        let (mut output, mut grad_input) = ([f32::NAN], [f32::NAN]);
        (passes.forward)(&params, &[5.0], &mut output);
        (passes.backward)(&params, &[5.0], &[1.0], &mut grad_input);
        assert_eq!((output, grad_input), ([0.0], [0.0]));
    }

    /// The steps of both passes are refused where shapes or attributes do not go together. The backward step reads the input if `reads_input`.
    pub(in crate::ops) fn assert_steps_are_checked([forward, backward]: [u8; 2], reads_input: bool) {
        let axis = Axis::same(3, 2, 1, 7).unwrap();
        let attributes = Window { y: axis, x: axis }.attributes();
        let (input, output, grads) =
            (in_arena(0, [2, 7, 7, 3]), in_arena(300, [2, 4, 4, 3]), in_arena(400, [2, 7, 7, 3]));
        let forward = step(forward, &attributes, &[input], &[output]);
        let reads = [input, output];
        let reads = if reads_input { &reads[..] } else { &reads[1..] };
        let last = reads.len() - 1;
        let backward = step(backward, &attributes, reads, &[grads]);
        assert_eq!(changed(&forward, |_| ()), Ok(()));
        assert_eq!(changed(&backward, |_| ()), Ok(()));
        let shape = |operand| Err(StepError::Shape { operand });
        for dimension in 0..4 {
            assert_eq!(changed(&forward, |step| step.writes[0].shape.0[dimension] += 1), shape(1));
            assert_eq!(
                changed(&backward, |step| step.reads[last].shape.0[dimension] += 1),
                shape(last as u8)
            );
        }
        assert_eq!(changed(&forward, |step| step.attributes[2] = 0), Err(StepError::ZeroWindow { index: 2 }));
    }
}
