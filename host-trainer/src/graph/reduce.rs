//! Layers that reduce dimensions or resize images.

use smidgen::ops::reduce::{Params, float::Reduction};
use smidgen::ops::resize_bilinear::Grid;
use smidgen::quantization::Multiplier;
use smidgen::{ElementType, Operator, Shape};

use super::error::Problem;
use super::structure::Tensor;

/// What a reduction computes of the elements that make one output, and in which arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// f32.
    Float(Reduction),
    /// int8: the sum of the differences from the zero point, times a factor.
    SumI8 {
        /// Scale of the input to the output's; of a mean, with the division in it.
        factor: Multiplier,
        /// Whether it is a mean.
        mean: bool,
    },
    /// int8: the largest or the smallest.
    ExtremeI8 {
        /// The smallest.
        minimum: bool,
    },
    /// f32 or int8: the index of the largest or the smallest along the one axis.
    ArgMax {
        /// The smallest.
        minimum: bool,
    },
}

/// A reduction; reduced dimensions stay as ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Whether height, width and channels are reduced.
    pub axes: [bool; 3],
}

impl Reduce {
    /// The name in TensorFlow Lite's terms.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Float(Reduction::Sum) => "sum",
            ReduceKind::Float(Reduction::Mean) => "mean",
            ReduceKind::Float(Reduction::Max) => "reduce_max",
            ReduceKind::Float(Reduction::Min) => "reduce_min",
            ReduceKind::SumI8 { mean: false, .. } => "sum_i8",
            ReduceKind::SumI8 { mean: true, .. } => "mean_i8",
            ReduceKind::ExtremeI8 { minimum: false } => "reduce_max_i8",
            ReduceKind::ExtremeI8 { minimum: true } => "reduce_min_i8",
            ReduceKind::ArgMax { minimum: false } => "arg_max",
            ReduceKind::ArgMax { minimum: true } => "arg_min",
        }
    }

    /// The core's parameters for an input of this shape.
    pub fn params(&self, input: Shape) -> Params {
        let [_, h, w, c] = input.dims();
        Params { input: [h, w, c], axes: self.axes }
    }

    pub(super) fn output(&self, inputs: &[&Tensor]) -> Result<(Shape, ElementType), Problem> {
        use ElementType::{F32, I8, I32};
        let &[input] = inputs else {
            return Err(Problem::InputCount { expected: "1", found: inputs.len() });
        };
        let expected = match self.kind {
            ReduceKind::SumI8 { .. } | ReduceKind::ExtremeI8 { .. } => I8,
            ReduceKind::ArgMax { .. } if input.element_type == I8 => I8,
            ReduceKind::Float(_) | ReduceKind::ArgMax { .. } => F32,
        };
        if input.element_type != expected {
            return Err(Problem::ElementType { what: "the input", found: input.element_type, expected });
        }
        let axes = self.axes.iter().filter(|&&reduced| reduced).count();
        let is_arg = matches!(self.kind, ReduceKind::ArgMax { .. });
        if axes == 0 || is_arg && axes != 1 {
            let expected = if is_arg { "1" } else { "at least 1" };
            return Err(Problem::Number { what: "the number of axes", found: axes, expected });
        }
        let [h, w, c] = self.params(input.shape).output().map(|extent| extent as u32);
        Ok((Shape([1, h, w, c]), if is_arg { I32 } else { expected }))
    }

    /// Its operator and attributes.
    pub fn step(&self) -> (Operator, Vec<i32>) {
        let mask = Params { input: [1; 3], axes: self.axes }.mask();
        match self.kind {
            ReduceKind::Float(reduction) => (Operator::Reduce, vec![reduction as i32, mask]),
            ReduceKind::SumI8 { factor, .. } => {
                (Operator::SumI8, vec![mask, factor.multiplier, factor.shift])
            }
            ReduceKind::ExtremeI8 { minimum } => (Operator::ReduceExtremeI8, vec![i32::from(minimum), mask]),
            ReduceKind::ArgMax { minimum } => {
                let axis = self.axes.iter().position(|&reduced| reduced).map_or(3, |axis| axis as i32 + 1);
                (Operator::ArgMax, vec![i32::from(minimum), axis])
            }
        }
    }
}

/// Bilinear resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeBilinear {
    /// How the output's pixels lie over the input's.
    pub grid: Grid,
    /// Height and width of the output.
    pub output: [u32; 2],
    /// Whether it computes in int8.
    pub int8: bool,
}

impl ResizeBilinear {
    /// The name in TensorFlow Lite's terms.
    pub const fn name(&self) -> &'static str {
        if self.int8 { "resize_bilinear_i8" } else { "resize_bilinear" }
    }

    pub(super) fn output(&self, inputs: &[&Tensor]) -> Result<(Shape, ElementType), Problem> {
        let &[input] = inputs else {
            return Err(Problem::InputCount { expected: "1", found: inputs.len() });
        };
        let expected = if self.int8 { ElementType::I8 } else { ElementType::F32 };
        if input.element_type != expected {
            return Err(Problem::ElementType { what: "the input", found: input.element_type, expected });
        }
        let ([h, w], [.., c]) = (self.output, input.shape.0);
        Ok((Shape([1, h, w, c]), expected))
    }

    /// Its operator and attributes.
    pub fn step(&self) -> (Operator, Vec<i32>) {
        let operator = if self.int8 { Operator::ResizeBilinearI8 } else { Operator::ResizeBilinear };
        (operator, self.grid.attributes().to_vec())
    }
}
