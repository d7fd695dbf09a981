//! What the pools share: their parameters, and the walk over windows.

use super::operands::all_are;
use crate::geometry::{WINDOW_ATTRIBUTES, Window};
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

    /// The parameters of a step whose window slides over `input` and gives `output`; `operand` is the index that an error names.
    pub(super) fn read(
        step: Step<'_>,
        input: &Operand,
        output: &Operand,
        operand: u8,
    ) -> Result<Self, StepError> {
        step.attributes::<WINDOW_ATTRIBUTES>()?;
        let (window, _) = Window::read(step.attributes)?;
        all_are(step, ElementType::F32)?;
        let (Shape([in_n, _, _, in_c]), Shape([out_n, _, _, out_c])) = (input.shape, output.shape);
        if in_n != out_n || in_c != out_c || !window.fits(input.shape, output.shape) {
            return Err(StepError::Shape { operand });
        }
        Ok(Self { window, input: input.shape, output: output.shape })
    }
}
