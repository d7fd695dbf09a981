//! Bilinear resizing of images, with TensorFlow Lite's three ways to lay one grid of pixels over the other.

pub mod float;
pub mod int8;

use super::operands::flag;
use crate::operand::{Operand, Shape};
use crate::step::{Step, StepError};

/// How the pixels of the output lie over those of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grid {
    /// The first corners of the first pixels coincide: `x * in / out`.
    #[default]
    Plain,
    /// The centres of the four corner pixels coincide: `x * (in - 1) / (out - 1)`.
    AlignCorners,
    /// Centres are at a half: `(x + 0.5) * in / out - 0.5`. What PyTorch does with `align_corners=False`.
    HalfPixelCenters,
}

impl Grid {
    /// The attributes of a step: align corners, half pixel centres.
    pub const fn attributes(self) -> [i32; 2] {
        match self {
            Self::Plain => [0, 0],
            Self::AlignCorners => [1, 0],
            Self::HalfPixelCenters => [0, 1],
        }
    }
}

/// The largest dimension of an image: with it no position in units of 1/1024 pixel exceeds 32 bits.
pub const MAX_DIMENSION: usize = 1 << 19;

/// What resizing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// How one lies over the other.
    pub grid: Grid,
}

impl Params {
    /// Elements of one sample of the input and of the output, neither of them zero.
    fn lengths(&self) -> (usize, usize) {
        let ([h, w, c], [out_h, out_w]) = (self.input, self.output);
        (h.wrapping_mul(w).wrapping_mul(c).max(1), out_h.wrapping_mul(out_w).wrapping_mul(c).max(1))
    }

    /// The parameters of a step that resizes `input` to `output`, each with its index among the operands.
    fn read(
        step: Step<'_>,
        (input, input_index): (&Operand, u8),
        (output, output_index): (&Operand, u8),
    ) -> Result<Self, StepError> {
        step.attributes::<2>()?;
        let grid = match (flag(step.attributes, 0)?, flag(step.attributes, 1)?) {
            (false, false) => Grid::Plain,
            (true, false) => Grid::AlignCorners,
            (false, true) => Grid::HalfPixelCenters,
            (true, true) => return Err(StepError::Attribute { index: 1, found: 1 }),
        };
        for (operand, index) in [(input, input_index), (output, output_index)] {
            let [_, h, w, _] = operand.shape.dims();
            let too_large = h > MAX_DIMENSION || w > MAX_DIMENSION || operand.shape.elements().is_none();
            if operand.shape.has_zero() || too_large {
                return Err(StepError::Shape { operand: index });
            }
        }
        let (Shape([n, _, _, c]), Shape([out_n, _, _, out_c])) = (input.shape, output.shape);
        if n != out_n || c != out_c {
            return Err(StepError::Shape { operand: output_index });
        }
        let ([_, in_h, in_w, c], [_, out_h, out_w, _]) = (input.shape.dims(), output.shape.dims());
        Ok(Self { input: [in_h, in_w, c], output: [out_h, out_w], grid })
    }
}

/// Where one output row or column lies in the input: between `lower` and `upper`, and how much each counts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between<T> {
    lower: usize,
    upper: usize,
    /// What `lower` and `upper` are multiplied by.
    weights: [T; 2],
}
